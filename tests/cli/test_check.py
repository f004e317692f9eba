"""`physgrad check`: three diagnoses of the toy, objects of the user, wrong use."""

from __future__ import annotations

import pytest
from command import TESTS, strict_json

README = (TESTS.parent / "README.md").read_text(encoding="utf-8")

TOY = {
    "3,3": ((), 0, "fine"),
    "3,-3": (("--inverse", "notebook"), 1, "wrong_branch"),
    "0,0": ((), 0, "singular_at_start"),
}


@pytest.mark.parametrize("start", TOY)
def test_the_toy_has_three_diagnoses(here, start):
    options, expected, name = TOY[start]
    code, out, err = here("check", "toy", "--start", start, *options)
    assert (code, err) == (expected, "")
    others = {diagnosis for _, _, diagnosis in TOY.values()} - {name}
    assert f" {name}: " in out and not any(f"{other}:" in out for other in others)
    assert ("FAULT" in out) == (expected == 1)
    if expected == 1:
        text = README.split("```text\n")[1].split("```")[0]
        assert [
            x for x in text.splitlines() if x not in (*out.splitlines(), "...")
        ] == []


def test_another_rule_starts_at_the_start_of_the_problem(here):
    code, out, err = here("check", "toy", "--inverse", "numerical")
    assert (code, err) == (0, "") and "x = [3, 3]" in out


MODULE = """
import jax.numpy as jnp
import physgrad as pg

print("a module may print")
X0 = jnp.array([1.0, 2.0])


def double(x):
    print("a simulator, too")
    return x * jnp.array([2.0, 6.0])


liar = pg.Simulator(double, pg.AnalyticInverse(lambda z: z / 2))
number = 3


class Nested:
    double = staticmethod(double)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user in the current folder."""
    (tmp_path / "mine_to_check.py").write_text(MODULE)
    (tmp_path / "broken_to_check.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "raises_to_check.py").write_text("raise ValueError('no\\ndata')\n")
    (tmp_path / "exits_to_check.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_inverse_that_lies_exits_with_1(here, module):
    code, out, err = here("check", "mine_to_check:liar", "--start", "1,2", "--json")
    assert code == 1
    document = strict_json(out)  # what their code prints is on stderr
    assert "a module may print" in err and "a simulator, too" in err
    assert document["diagnosis"][0] == "inverse_misses" and not document["ok"]
    assert document["round_trips"]["rings"][0]["held"] == 0


def test_files_functions_trees_and_other_inverses(here, module):
    name = f"{module}/mine_to_check.py:Nested.double"
    code, out, _ = here(
        *("check", name, "--start", f"{module}/mine_to_check.py:X0"),
        *("--inverse", "numerical,solver=newton", "--noise", "1e-3"),
    )
    assert code == 0
    assert "numerical_inverse" in out and "standard deviations x " in out


WRONG_USE = {
    "toyy": "unknown problem 'toyy'; did you mean 'toy'?; your own is named MODULE:",
    "toy --start 3": "--start must be 2 finite numbers separated by commas, got '3'",
    "toy --noise loud": "--noise must be a positive number such as 1e-3, got 'loud'",
    "toy --noise 0": "got '0'",
    "toy --inverse notbook": "'notbook'; did you mean 'notebook'?",
    "toy --inverse numerical,rtol=x": "rtol must be a positive number",
    "toy --samples 3": "no such option",
    "nowhere_to_check:f --start 1": "there is no module 'nowhere_to_check'",
    "broken_to_check:f --start 1": "(ModuleNotFoundError: No module named 'nothing_of",
    "raises_to_check:f --start 1": "cannot be imported (ValueError: no): see what",
    "exits_to_check:f --start 1": "(SystemExit: 3)",
    ":f --start 1": "expected MODULE:OBJECT or path/to/file.py:OBJECT, got ':f'",
    "mine_to_check:doubel --start 1": "did you mean 'double'?",
    "mine_to_check:liar.x --start 1": "there is no 'x'",
    "mine_to_check:double": "--start is needed: x0 as numbers",
    "mine_to_check:double --start 1,x": "--start must be 2 finite numbers",
    "mine_to_check:number --start 1": "got 3 (mine_to_check:number)",
    "mine_to_check:double --start mine_to_check:double": "x0 must be a floating array",
}


@pytest.mark.parametrize("arguments", WRONG_USE)
def test_wrong_use_of_check_is_answered_in_one_line(here, module, arguments):
    code, out, err = here("check", *arguments.split())
    err = "".join(f"{x}\n" for x in err.splitlines() if not x.startswith("a "))
    assert (code, out) == (2, "")
    assert err.startswith("physgrad: ") and err.count("\n") == 1
    assert WRONG_USE[arguments] in err


def test_files_that_cannot_be_read(here, module):
    for name in ("missing.py", ".", "./none/of/this"):
        code, out, err = here("check", f"{name}/:f", "--start", "1")
        assert (code, out, err.count("\n")) == (3, "", 1)
    (module / "text.txt").write_text("double = 2")
    code, _, err = here("check", "./text.txt:f", "--start", "1")
    assert code == 2 and "is no Python file" in err
