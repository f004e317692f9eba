"""`physgrad compare`: the numbers of the notebook, tables and documents."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
from command import REFERENCE, RUN_KEYS, physgrad, strict_json

from physgrad.cli import tables
from physgrad.comparison.comparison import Comparison
from physgrad.names import (
    OPTIMIZERS,
)


@pytest.mark.parametrize(
    ("key", "reference", "rtol"),
    [
        ("gd", "gd", 2e-6),
        ("newton", "newton", 2e-6),
        ("pg", "pg", 2e-6),
        ("pg-numeric", "pg_numeric", 2e-5),
    ],
)
def test_the_iterates_are_those_of_the_notebook(default, key, reference, rtol):
    found = default[0]["runs"][key]
    assert found["result"] == "completed"
    xs, zs = (np.array(found["spaces"][space]) for space in ("x", "z"))
    np.testing.assert_array_equal(xs[0], [3.0, 3.0])
    np.testing.assert_allclose(xs[1:], REFERENCE[reference], rtol=rtol)
    squares = np.stack([xs[:, 0], xs[:, 1] ** 2], axis=1)
    np.testing.assert_allclose(zs, squares, rtol=1e-6)
    np.testing.assert_allclose(found["losses"], np.sum(zs**2, axis=1), rtol=1e-6)


def test_first_steps_are_held_against_the_diagonal(default):
    for key, expected in REFERENCE["diagonal"].items():
        assert default[0]["runs"][key]["diagonal"] == pytest.approx(expected, abs=1e-6)


def test_the_numerical_inverse_is_as_good_as_the_formula(default):
    xs = [default[0]["runs"][key]["spaces"]["x"] for key in ("pg", "pg-numeric")]
    assert np.mean(np.abs(np.subtract(*xs))) <= 2e-6


def test_the_document_has_its_form(default):
    document, _ = default
    assert list(document) == [
        *("schema", "physgrad", "problem", "start", "steps", "dtype", "runs")
    ]
    assert document["schema"] == 1
    assert (document["problem"], document["dtype"]) == ("toy", "float32")
    assert (document["start"], document["steps"]) == ([3.0, 3.0], 10)
    assert list(document["runs"]) == ["gd", "newton", "pg", "pg-numeric"]
    for found in document["runs"].values():
        assert list(found) == RUN_KEYS
        assert set(found["seconds"]) == {"compile", "run"}
    runs = document["runs"]
    assert runs["gd"]["optimizer"] == "GradientDescent(learning_rate=0.01)"
    assert runs["gd"]["targets"] is None
    assert np.shape(runs["pg"]["targets"]) == (10, 2)


def test_out_holds_the_results_and_figures(default):
    document, folder = default
    saved = Comparison.load(folder)
    assert json.loads(saved.to_json()) == document
    suffixes = [path.suffix for path in folder.iterdir()]
    assert suffixes.count(".png") == suffixes.count(".svg") >= 6


def test_float64_is_double_precision():
    arguments = ("--float64", "--json", "--optimizer", "pg", "--start=-3,3")
    answer = physgrad("compare", *arguments)
    document = strict_json(answer.stdout)
    assert (answer.returncode, document["dtype"]) == (0, "float64")
    exact = np.array([-3.0 * 0.7**10, 3.0 * 0.7**5])
    x = document["runs"]["pg"]["spaces"]["x"][-1]
    np.testing.assert_allclose(x, exact, rtol=1e-14)


def test_a_local_inverse_stays_on_its_branch_and_others_fail_by_name(here):
    code, out, err = here(
        *("compare", "--json", "--start", "3,-3", "--optimizer", "pg"),
        *("--optimizer", "pg:inverse=notebook", "--optimizer", "pg:step_size=1.5"),
    )
    runs = strict_json(out)["runs"]
    assert (code, err) == (0, "")  # a run that fails beside others is a result
    assert list(runs) == ["pg", "pg:inverse=notebook", "pg:step_size=1.5"]
    assert runs["pg"]["spaces"]["x"][-1][1] == pytest.approx(-0.50421, abs=1e-6)
    for key in ("pg:inverse=notebook", "pg:step_size=1.5"):
        assert runs[key]["result"] == "inverse_failed"
        assert "inverse" in runs[key]["message"]
        assert runs[key]["spaces"]["x"] == [[3.0, -3.0]]
        assert runs[key]["diagonal"] is None


def test_where_no_run_succeeds_the_exit_code_says_so(here):
    code, out, err = here("compare", "--optimizer", "pg:step_size=1.5")
    assert (code, err) == (1, "")
    assert out.splitlines()[-1].startswith("pg: inverse_failed: the inverse failed in")


def test_every_optimizer_runs_and_says_what_it_was(here):
    names = [name for name in OPTIMIZERS if name not in ("gd", "newton", "pg")]
    code, out, _ = here(
        "compare", "--json", *(x for name in names for x in ("--optimizer", name))
    )
    runs = strict_json(out)["runs"]
    assert (code, list(runs)) == (0, names)
    for found in runs.values():
        assert found["result"] == "completed", found["message"]
        assert found["losses"][-1] < found["losses"][0]
        assert " at 0x" not in found["optimizer"]
    assert runs["adam"]["optimizer"].startswith("adam(learning_rate=0.3, b1=0.9, ")


def test_the_table_is_not_cut_in_a_file(here):
    code, out, _ = here("compare", "--start", "-3,3", "--steps", "0")
    lines = out.splitlines()
    assert (code, lines[0]) == (0, "toy: 0 steps")
    assert len({len(line) for line in lines[1:8]}) == 1
    assert "…" not in out
    row = [cell.strip() for cell in lines[4].split("│")[1:]]
    assert row[:6] == ["gd", "completed", "[-3, 3]", "4.243", "90", "1 forward"]
    assert lines[-1] == "pg-numeric: mean absolute difference to pg in x 0"


def test_the_table_is_not_cut_on_a_terminal(here, monkeypatch):
    terminal = types.SimpleNamespace(encoding="utf-8", isatty=lambda: True)
    monkeypatch.setattr(tables, "open_stdout", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = here("compare", "--optimizer", "gd")
    lines = [line.rstrip() for line in out.splitlines()]
    assert code == 0
    assert max(map(len, lines)) <= 80
    words = ["gd", "completed", "[2.4512,", "2.633", "1.053930", "11", "forward,", "10"]
    assert set(words) <= set(lines[2].split())
    assert "0.96171]" in lines[3]


def test_a_step_that_is_too_long_is_shortened_where_asked():
    method = "pg:step_size=1.5,acceptance=monotone"
    answer = physgrad("compare", "toy", "--optimizer", method, "--json")
    assert answer.returncode == 0
    (found,) = strict_json(answer.stdout)["runs"].values()
    assert found["result"] == "completed" and found["losses"][-1] < 1e-2
    assert "shortened in z" in found["message"]
    assert "acceptance=Monotone" in found["optimizer"]
