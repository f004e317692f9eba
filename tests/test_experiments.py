"""The studies: each is resumable, has a page, and shows what its last run wrote."""

from __future__ import annotations

import importlib
from pathlib import Path

import orbit_arm
import pytest
import run as runner
import store

PAGES = Path(__file__).parents[1] / "docs" / "experiments"
STUDIES = list(runner.STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_each_study_is_small_when_quick_and_has_ten_draws_else(name):
    study = importlib.import_module(name)
    few, all_of_them = study.cases(True), study.cases(False)
    assert few and few != all_of_them
    seeds = {case["seed"] for case in all_of_them.values() if "seed" in case}
    counts = [case.get("starts", case.get("count")) for case in all_of_them.values()]
    assert len(seeds) >= 10 or min(counts) >= 10


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


def test_the_best_of_several_starts_is_what_the_price_allows():
    within = orbit_arm.within
    assert within([True, False], [5, 5], 4) == 0.0
    assert abs(within([True, False], [5, 5], 5) - 0.5) < 0.02
    assert abs(within([True, False], [5, 5], 14) - 0.75) < 0.02
    assert within([False], [1], 50) == 0.0
