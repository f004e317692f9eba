"""What --out writes, and what it never loses."""

from __future__ import annotations

import errno
import json

from command import strict_json

from physgrad.cli import comparing
from physgrad.comparison import archive
from physgrad.comparison.comparison import Comparison
from physgrad.results import MissingExtra


def test_out_is_refused_before_anything_runs(here, unused, tmp_path):
    file, results = tmp_path / "file", tmp_path / "results"
    file.touch()
    results.mkdir()
    (results / "results.json").touch()
    for folder, expected in [(file, 3), (file / "below", 3), (results, 2)]:
        code, out, err = here("compare", "--out", str(folder))
        assert (code, out, err.count("\n")) == (expected, "", 1)
        assert str(folder) in err
    assert "--force" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "results"]


def test_older_results_are_replaced_as_a_whole_with_force(here, figures, tmp_path):
    folder = tmp_path / "out"
    arguments = ("compare", "--optimizer", "gd", "--out", str(folder))
    names = ["manifest.json", "results.json", "results.npz", "x.png"]
    code, out, _ = here(*arguments)
    assert code == 0
    assert out.splitlines()[-1].endswith(": results.json, results.npz, x.png")
    assert sorted(path.name for path in folder.iterdir()) == names

    code, out, err = here(*arguments)
    assert (code, out) == (2, "")
    assert "holds older results" in err and "--force" in err

    code, _, _ = here(*arguments, "--force", "--steps", "3")
    assert (code, Comparison.load(folder).num_steps) == (0, 3)
    assert sorted(path.name for path in folder.iterdir()) == names


def test_without_matplotlib_results_are_saved(here, figures, monkeypatch, tmp_path):
    def missing(comparison):
        raise MissingExtra("matplotlib", "plot", "plot.figures")

    monkeypatch.setattr(figures, "figures", missing)
    folder = tmp_path / "out"
    code, out, err = here(
        "compare", "--json", "--optimizer", "gd", "--out", str(folder)
    )
    assert (code, err.count("\n")) == (0, 1)
    assert "warning: no figures" in err and "physgrad[plot]" in err
    assert json.loads(Comparison.load(folder).to_json()) == strict_json(out)


def test_a_full_disk_costs_no_results(here, figures, monkeypatch, tmp_path):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "out"))

    monkeypatch.setattr("physgrad.comparison.comparison.save_comparison", full)
    folder = str(tmp_path / "out")
    code, out, err = here("compare", "--optimizer", "gd", "--out", folder)
    assert (code, out.splitlines()[0]) == (3, "toy: 10 steps")
    assert '{"gd": [2.4512184, 0.96171' in err.splitlines()[0]
    assert err.splitlines()[1].startswith("physgrad: cannot save results in ")


def test_a_figure_that_cannot_be_drawn_costs_no_results(
    here, figures, monkeypatch, tmp_path
):
    monkeypatch.setattr(figures, "figures", lambda comparison: 1 / 0)
    folder = tmp_path / "out"
    code, out, err = here("compare", "--optimizer", "gd", "--out", str(folder))
    assert (code, out.splitlines()[0]) == (4, "toy: 10 steps")
    assert "internal error (ZeroDivisionError" in err
    assert list(Comparison.load(folder).runs) == ["gd"]


def test_the_names_of_result_files_are_those_of_the_archive():
    assert (archive.RESULTS, archive.ARRAYS) == comparing.RESULT_FILES
