"""Wrong use is answered in one line, with exit code 2; nothing is computed."""

from __future__ import annotations

import sys

import pytest

from physgrad.names import (
    number,
)


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
        ("compare --optimizer pg:inverse=regularized,noise=-1", "zero or a positive"),
        (
            "compare --optimizer pg:inverse=regularized,operator=laplace",
            "did you mean 'laplacian'?",
        ),
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
