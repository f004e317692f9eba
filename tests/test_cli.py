"""The command: its numbers, its one document, its exit codes, its one line of blame."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from physgrad import problems
from physgrad.cli import comparing, run
from physgrad.cli.process import uninterrupted
from physgrad.comparison import archive
from physgrad.comparison.comparison import Comparison
from physgrad.inverses.numerical import NumericalInverse
from physgrad.names import (
    INVERSES,
    OPTIMIZERS,
    PROBLEMS,
    SOLVERS,
    nearest,
    number,
    parse_optimizer,
    parse_optimizers,
)
from physgrad.optimizers.named import named_optimizer
from physgrad.results import MissingExtra

REFERENCE = json.loads(Path(__file__).with_name("reference_values.json").read_text())
RUN_KEYS = [
    *("optimizer", "result", "message", "spaces", "targets", "losses", "distance"),
    *("diagonal", "evaluations", "seconds"),
]


def refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def strict_json(text: str) -> dict:
    """The one document that is on stdout."""
    return json.loads(text, parse_constant=refuse)


def environment() -> dict[str, str]:
    """That of the tests, with their compilation cache."""
    cache = Path(__file__).parent.parent / ".cache" / "jax"
    own = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_ENABLE_X64": "0",
    }
    return {**os.environ, **own}


def physgrad(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "physgrad", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, env=environment(), text=True, **options)


@pytest.fixture
def here(capsys):
    """The command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def figures(monkeypatch):
    """Stand in for the figures, which take their time."""
    from physgrad import plot

    monkeypatch.setattr(plot, "figures", lambda comparison: {"x.png": b"picture"})
    return plot


@pytest.fixture
def unused(monkeypatch):
    """Nothing may be computed."""

    def fail(*arguments):
        raise AssertionError("something ran")

    monkeypatch.setattr(comparing, "_compare", fail)


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    """`physgrad compare --json --out DIR`: its document, and DIR."""
    folder = tmp_path_factory.mktemp("default") / "out"
    answer = physgrad("compare", "--json", "--out", str(folder))
    assert (answer.returncode, answer.stderr) == (0, "")
    return strict_json(answer.stdout), folder


# The numbers of the notebook


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


# Runs in this process


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
    assert row[:6] == ["gd", "completed", "[-3, 3]", "4.243", "90", "-"]
    assert lines[-1] == "pg-numeric: mean absolute difference to pg in x 0"


def test_the_table_is_not_cut_on_a_terminal(here, monkeypatch):
    terminal = types.SimpleNamespace(encoding="utf-8", isatty=lambda: True)
    monkeypatch.setattr(comparing, "open_stdout", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = here("compare", "--optimizer", "gd")
    lines = [line.rstrip() for line in out.splitlines()]
    assert code == 0
    assert max(map(len, lines)) <= 80
    words = ["gd", "completed", "[2.4512,", "2.633", "1.053930", "11", "forward,", "10"]
    assert set(words) <= set(lines[2].split())
    assert "0.96171]" in lines[3]


# Wrong use: one line, exit 2, nothing computed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("compair", "no such command 'compair'. Did you mean 'compare'?"),
        ("compare --stps 3", "no such option '--stps'. (Did you mean one of"),
        ("compare toyy", "unknown problem 'toyy'; did you mean 'toy'?"),
        ("compare toy toy", "unexpected extra argument (toy)"),
        ("compare --steps", "option '--steps' requires an argument"),
        ("compare --steps 2.5", "--steps must be a whole number from 0 on, got '2.5'"),
        ("compare --steps -1", "--steps must be a whole number from 0 on, got '-1'"),
        ("compare --steps ten", "got 'ten'"),
        ("compare --steps 0x10", "got '0x10'"),
        ("compare --steps \u0663", "got '\u0663'"),
        (
            "compare --steps 1000000000000",
            "more than 10,000,000 iterates: ask for fewer",
        ),
        ("compare --start 3", "--start must be 2 finite numbers separated by commas"),
        ("compare --start 3,3,3", "got '3,3,3'"),
        ("compare --start 3,three", "got '3,three'"),
        ("compare --start 3,nan", "got '3,nan'"),
        ("compare --start inf,3", "got 'inf,3'"),
        ("compare --start 1e400,3", "got '1e400,3'"),
        ("compare --start=", "got ''"),
        ("compare --out=", "--out must name a folder"),
        ("compare --optimizer nwton", "'nwton'; did you mean 'newton'?"),
        ("compare --optimizer=", "unknown optimizer ''; known: gd, newton, pg"),
        ("compare --optimizer pg --optimizer pg", "'pg' comes more than once"),
        ("compare --optimizer pg:", "expected key=value, got '' (optimizer 'pg:')"),
        ("compare --optimizer pg:step_size", "expected key=value, got 'step_size'"),
        ("compare --optimizer pg:stepsize=1", "did you mean 'step_size'?"),
        ("compare --optimizer pg:step_size=1,step_size=2", "comes more than once"),
        ("compare --optimizer pg:step_size=0", "must be a positive number"),
        (
            "compare --optimizer pg:step_size=-1",
            "got '-1' (optimizer 'pg:step_size=-1')",
        ),
        ("compare --optimizer pg:step_size=nan", "got 'nan'"),
        ("compare --optimizer pg:step_size=ten", "step_size must be a positive number"),
        ("compare --optimizer pg:metric=newtn", "unknown metric 'newtn'"),
        ("compare --optimizer pg:inverse=numercal", "did you mean 'numerical'?"),
        ("compare --optimizer pg:damping=1", "it belongs to inverse=linearized"),
        ("compare --optimizer adam:b1=1", "b1 must be a number from 0 to below 1"),
        ("compare --optimizer lbfgs:history_length=1.5", "must be a whole number"),
    ],
)
def test_wrong_use_is_answered_in_one_line(here, unused, arguments, expected):
    code, out, err = here(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("physgrad: ") and err.count("\n") == 1
    assert expected in err


def test_a_start_that_the_dtype_cannot_hold(here):
    code, _, err = here("compare", "--start", "1e39,3", "--optimizer", "gd")
    assert code == 2
    assert err == "physgrad: --start 1e+39 is too large for float32: add --float64\n"


def test_a_start_where_the_objective_is_not_finite(here):
    code, _, err = here("compare", "--start", "1e30,1e30", "--optimizer", "gd")
    assert (code, err.count("\n")) == (2, 1)
    assert "not finite at x0" in err


def test_without_optax_the_extra_is_named(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "optax", None)
    code, _, err = here("compare", "--optimizer", "adam")
    assert (code, err.count("\n")) == (2, 1)
    assert "pip install 'physgrad[train]'" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", 3.0), ("-.5", -0.5), ("+2.", 2.0), ("1e-3", 1e-3), ("1/3", 1 / 3)],
)
def test_numbers_are_read(text, expected):
    assert number(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 3",
        "1_0",
        "0x10",
        "1e400",
        "nan",
        "-inf",
        "\u0663",
        "1/0",
        "--3",
        "1,0",
        ".",
    ],
)
def test_other_text_is_no_number(text):
    with pytest.raises(ValueError, match="must be a number, got "):
        number(text)


# Names


def test_names_agree_with_the_problems():
    assert tuple(PROBLEMS) == problems.names()
    for name, card in PROBLEMS.items():
        problem = problems.get(name)
        assert sum(leaf.size for leaf in jax.tree.leaves(problem.start)) == card.entries
        assert set(problem.inverses) == set(card.inverses)
        assert not set(card.inverses) & set(INVERSES)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_agree_with_the_optimizers(name):
    made = named_optimizer(parse_optimizer(name))
    assert type(made).__name__ == OPTIMIZERS[name].class_name


def test_every_inverse_has_its_name():
    inverses = problems.get("toy").inverses

    def rule(text: str) -> Any:
        named = parse_optimizer(f"pg:inverse={text}", inverses)
        return vars(named_optimizer(named, inverses))["inverse"]

    assert rule("own") is None
    assert rule("notebook") is inverses["notebook"]
    assert rule("linearized,damping=0.5").damping == 0.5
    assert type(rule("transposed")).__name__ == "TransposedInverse"
    names = set()
    for solver in SOLVERS:
        numerical = rule(f"numerical,solver={solver},rtol=0.5,max_steps=7")
        assert isinstance(numerical, NumericalInverse)
        assert (numerical.rtol, numerical.max_steps) == (0.5, 7)
        names.add(type(numerical.solver).__name__)
    assert names == {"LevenbergMarquardt", "Newton", "LBFGS", "BFGS", "Dogleg"}


def test_runs_are_called_by_bare_names_where_those_are_given_once():
    texts = ["gd:learning_rate=0.1", "pg", "pg:step_size=1"]
    assert list(parse_optimizers(texts)) == ["gd", "pg", "pg:step_size=1"]
    assert parse_optimizers(texts)["gd"].settings == {"learning_rate": 0.1}


def test_the_nearest_name_is_offered_whatever_its_case():
    assert nearest("NEWTON", ["gd", "newton"]) == "; did you mean 'newton'?"


# Files


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


# Faults of ours, streams, interrupts


def test_a_fault_of_ours_has_a_traceback_only_on_request(here, unused, monkeypatch):
    code, out, err = here("compare")
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert err.startswith("physgrad: internal error (AssertionError: something ran)")
    monkeypatch.setenv("PHYSGRAD_DEBUG", "1")
    assert "Traceback" in here("compare")[2]


def test_without_a_command_there_is_help(here):
    code, out, err = here()
    assert (code, out) == (2, "")
    assert "Commands:\n  compare" in err
    code, out, err = here("compare", "--help")
    assert (code, err) == (0, "")
    for name in OPTIMIZERS:
        assert f"\n    {name} " in out


def test_problems_are_listed(here):
    assert here("problems")[1].startswith("toy: z = ")
    document = strict_json(here("problems", "--json")[1])
    assert document["problems"]["toy"]["inverses"] == ["notebook"]


def test_names_and_help_need_no_jax():
    program = """
import sys
from physgrad.cli import run
for line in ["--help", "--version", "problems", "compare --help", "compare toyy",
             "compare --optimizer nwton", "compare --optimizer pg:inverse=x",
             "compare --start 3", "compare --out /dev/null/x"]:
    print("exit code", run(line.split()))
print(sorted({"jax", "equinox", "rich", "scipy"} & set(sys.modules)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    lines = answer.stdout.splitlines()
    assert lines[-1] == "[]"
    codes = [int(line[-1]) for line in lines if line.startswith("exit code")]
    assert codes == [0, 0, 0, 0, 2, 2, 2, 2, 3]


def test_a_stream_that_takes_nothing_leaves_no_traceback():
    with open("/dev/full", "w") as full:
        answer = physgrad("problems", stdout=full)
        assert (answer.returncode, answer.stderr) == (
            3,
            "physgrad: cannot print (stdout): No space left on device\n",
        )
        assert physgrad("compare", "--bad", stderr=full).returncode == 2
    reader, writer = os.pipe()
    os.close(reader)
    answer = physgrad("problems", stdout=writer)
    os.close(writer)
    assert (answer.returncode, answer.stderr) == (141, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_command(number):
    program = f"""
import os, sys, threading
from physgrad.cli import main
sys.argv = ["physgrad", "compare"]
threading.Timer(0.3, os.kill, (os.getpid(), {int(number)})).start()
main()
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert (answer.returncode, answer.stdout) == (128 + number, "")
    assert answer.stderr == "physgrad: interrupted\n"


def test_an_interrupt_waits_for_a_save():
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("saved")
    assert done == ["saved"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
