"""The studies: each is resumable, has a page, and shows what its last run wrote."""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

import orbit_arm
import pytest
import run as runner
import store

from physgrad.training_names import EXPERIMENTS, METHODS, parse_methods

PAGES = Path(__file__).parents[1] / "docs" / "experiments"
STUDIES = list(runner.STUDIES)
TRAININGS = [name for name in STUDIES if name.startswith("train_")]


@pytest.mark.parametrize("name", STUDIES)
def test_each_study_is_small_when_quick(name):
    study = importlib.import_module(name)
    few, all_of_them = study.cases(True), study.cases(False)
    assert few and few != all_of_them


@pytest.mark.parametrize("name", [n for n in STUDIES if n not in TRAININGS])
def test_each_study_has_ten_draws(name):
    cases = importlib.import_module(name).cases(False)
    seeds = {case["seed"] for case in cases.values() if "seed" in case}
    counts = [case.get("starts", case.get("count")) for case in cases.values()]
    assert len(seeds) >= 10 or min(counts) >= 10


@pytest.mark.parametrize("name", TRAININGS)
def test_each_training_has_its_rivals(name):
    plan = importlib.import_module(name).PLAN
    texts = [text for texts in plan.methods.values() for text in texts]
    assert len(plan.methods["adam"]) > 1 or plan.experiment == "heat"
    assert all(parse_methods([text], plan.experiment) for text in texts)
    assert {*plan.repeated, *plan.builds} <= {*plan.methods, ""}
    known = {text.partition(":")[0] for text in texts}
    assert known | {*EXPERIMENTS[plan.experiment].without} == {*METHODS}


def test_all_experiments_are_studied():
    plans = [importlib.import_module(name).PLAN for name in TRAININGS]
    assert {plan.experiment for plan in plans} == {*EXPERIMENTS}


@pytest.mark.parametrize("name", STUDIES)
def test_each_study_has_a_page_with_what_its_last_run_wrote(name):
    page = (PAGES / f"{name}.md").read_text()
    assert f"results/{name}.md" in page and f"results/{name}.svg" in page
    assert name in (PAGES / "index.md").read_text()
    written = (PAGES / "results" / f"{name}.md").read_text()
    words = importlib.import_module(name).__doc__ or ""
    assert words.partition("\n")[2].strip() in written
    assert "cores" in written and "float64." in written
    assert (PAGES / "results" / f"{name}.svg").read_text().startswith("<?xml")


def test_a_study_that_was_cut_off_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "CACHE", tmp_path)
    called = []

    def run(**case):
        called.append(case)
        if len(called) == 3:
            raise KeyboardInterrupt
        return {"success": [True], "prices": [1], "steps": [1], "seconds": 0.1}

    monkeypatch.setattr(orbit_arm, "run", run)
    with pytest.raises(KeyboardInterrupt):
        runner._study("orbit_arm", True, False)
    runner._study("orbit_arm", True, False)
    assert len(called) == len(orbit_arm.cases(True)) + 1
    assert "Arm of 5 joints" in capsys.readouterr().out
    runner._study("orbit_arm", True, True)
    assert len(called) == 2 * len(orbit_arm.cases(True)) + 1


def test_each_core_has_one_study_at_a_time(monkeypatch):
    busy, ended, most = set(), [], []

    def process(name, options, core):
        assert core not in busy
        busy.add(core)
        time.sleep(0.01)
        most.append(len(busy))
        busy.remove(core)
        ended.append(name)
        return name != "mesh"

    monkeypatch.setattr(runner, "_process", process)
    monkeypatch.setattr(runner, "_cores", lambda: [3, 5])
    assert runner._processes(STUDIES, argparse.Namespace()) == ["mesh"]
    assert sorted(ended) == sorted(STUDIES)
    assert max(most) == 2


def test_the_best_of_several_starts_is_what_the_price_allows():
    within = orbit_arm.within
    assert within([True, False], [5, 5], 4) == 0.0
    assert abs(within([True, False], [5, 5], 5) - 0.5) < 0.02
    assert abs(within([True, False], [5, 5], 14) - 0.75) < 0.02
    assert within([False], [1], 50) == 0.0
