"""Formulas of a user: right where they are read, and nothing but formulas is read."""

from __future__ import annotations

import math
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physgrad import expressions
from physgrad.expressions import CONSTANTS, FUNCTIONS, ExpressionError, parse

NAMES = ["x0", "x1"]

HOSTILE = {
    "import": "__import__('os').system('echo')",
    "open": "open(x0)",
    "eval": "eval(x0)",
    "getattr": "getattr(x0, x1)",
    "classes": "().__class__.__base__.__subclasses__()",
    "attribute": "x0.real",
    "globals": "exp.__globals__",
    "format": "'{0.__class__}'.format(x0)",
    "f-string": "f'{x0}'",
    "shift": "1<<10**9",
    "text": "'a'*10**9",
    "list": "[x0]",
    "dict": "{x0: x1}",
    "comprehension": "[x0 for x0 in x1]",
    "lambda": "lambda: x0",
    "walrus": "(x0 := 3)",
    "starred": "sin(*x0)",
    "keyword": "sin(x=x0)",
    "brackets": "(" * 5000 + "x0" + ")" * 5000,
    "brackets below the length": "(" * 900 + "x0" + ")" * 900,
    "signs": "-" * 20_000 + "x0",
    "signs below the length": "-" * 700 + "x0",
    "powers": "**".join(["x0"] * 300),
    "terms": "+".join(["x0"] * 20_000),
    "terms below the length": "+".join(["x0"] * 390),
    "digits": "1" * 100_000,
    "digits below the length": "1" * 1000,
    "a megabyte": "x0 " * 350_000,
    "null byte": "x0\0",
    "surrogate": "x0\ud800",
    "look-alike": "\N{MATHEMATICAL BOLD SMALL X}0",
    "right to left": "x0\N{RIGHT-TO-LEFT OVERRIDE}",
    "byte order mark": "\N{ZERO WIDTH NO-BREAK SPACE}x0",
    "digits of another script": "\N{ARABIC-INDIC DIGIT THREE}",
    "nan": "nan",
    "inf": "inf",
    "overflow": "1e999",
    "imaginary": "1j",
    "hexadecimal": "0x10",
    "grouped": "1_000",
    "true": "True",
    "none": "None",
    "ellipsis": "...",
    "bytes": "b''",
    "empty": "",
    "blank": "   ",
    "assignment": "x0 = 1",
    "statement": "import os",
    "two lines": "x0\nx1",
    "semicolon": "x0; x1",
    "comment": "x0 # one",
    "comparison": "x0 < x1",
    "condition": "x0 if x1 else 1",
    "floor": "x0 // x1",
    "remainder": "x0 % x1",
    "tuple": "x0, x1",
    "subscript": "x0[0]",
    "product without a sign": "2x0",
    "arity": "sin(x0, x1)",
    "function as a value": "sin + 1",
    "unknown": "x2",
    "open end": "x0 +",
    "open bracket": "(x0",
    "dunder": "__name__",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_but_a_formula_is_read(text):
    with pytest.raises(ExpressionError, match=r"^column \d+: .") as caught:
        parse(text, NAMES)
    assert isinstance(caught.value, ValueError) and caught.value.column >= 1
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "names",
    [["sin"], ["pi"], ["__class__"], ["lambda"], ["X"], [""], ["x 0"], ["x0", "x0"]],
    ids=repr,
)
def test_a_variable_must_have_a_name_of_its_own(names):
    with pytest.raises(ExpressionError):
        parse("1", names)


@pytest.mark.parametrize(
    ("text", "column"), [("x0 + y", 6), ("  x0 ? 1", 6), ("x0 + * x1", 6), ("(x0))", 5)]
)
def test_the_column_is_that_of_the_fault(text, column):
    with pytest.raises(ExpressionError) as caught:
        parse(text, NAMES)
    assert caught.value.column == column


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.text("x01()+-*/., e_sinq'=[]", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        read = parse(text, NAMES)
    except ExpressionError:
        return
    assert set(text) <= set(string.ascii_letters + string.digits + "_ +-*/().,")
    assert read.names <= set(NAMES)


def formulas() -> st.SearchStrategy[str]:
    numbers = st.sampled_from(["2", "0.5", "3.25", "1e-2", "pi", "e"])
    leaves = st.sampled_from(NAMES) | numbers

    def above(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        unary = st.sampled_from(["sin", "cos", "tanh", "exp", "abs", "arctan"])
        return st.one_of(
            st.builds("({} {} {})".format, parts, st.sampled_from("+-*/"), parts),
            st.builds("{}({})".format, unary, parts),
            st.builds("hypot({}, {})".format, parts, parts),
            st.builds("-{}".format, parts),
            st.builds("{}**{}".format, leaves, st.sampled_from(["2", "3", "-1"])),
        )

    return st.recursive(leaves, above, max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(formulas())
def test_the_value_is_that_of_numpy(text):
    x = np.array([0.75, -1.5])
    known = {name: getattr(np, name) for name in FUNCTIONS} | CONSTANTS
    with np.errstate(all="ignore"):
        try:
            expected = float(eval(text, dict(known), dict(zip(NAMES, x, strict=True))))
        except (ZeroDivisionError, OverflowError):  # of Python's own numbers
            return
    with jax.enable_x64(True):
        got = float(parse(text, NAMES)(dict(zip(NAMES, jnp.asarray(x), strict=True))))
    assert got == pytest.approx(expected, rel=1e-10, nan_ok=True)


def test_it_can_be_differentiated_jitted_and_mapped(dtype):
    read = parse("x0**2 * sin(x1) - (-x1)**3 + 2**x0", NAMES)
    x = jnp.asarray([[-3.0, 1.0], [0.0, 2.0]], dtype)

    def value(x):
        return read({"x0": x[0], "x1": x[1]})

    slopes = jax.jit(jax.vmap(jax.grad(value)))(x)
    a, b = np.asarray(x, float).T
    expected = [
        2 * a * np.sin(b) + np.log(2) * 2**a,
        a**2 * np.cos(b) + 3 * b**2,
    ]
    assert slopes.dtype == dtype
    rtol = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(slopes.T, expected, rtol=rtol)


@pytest.mark.parametrize("text", ["9**9**9", "10**10**10", "1/0 - 1/0 + x0", "log(-1)"])
def test_what_is_not_finite_is_a_value_and_costs_nothing(text):
    assert not math.isfinite(
        parse(text, NAMES)({"x0": jnp.ones(()), "x1": jnp.ones(())})
    )


def test_a_long_sum_is_no_deep_formula():
    read = parse("+".join(["x0"] * 150), NAMES)
    assert read({"x0": jnp.asarray(2.0)}) == 300 and read.names == {"x0"}


def test_a_constant_needs_no_variable():
    assert parse("2 * pi", NAMES)({}) == pytest.approx(2 * math.pi)


def test_every_function_is_numpys_and_has_a_derivative():
    for name, (_, arity) in expressions.FUNCTIONS.items():
        read = parse(f"{name}({', '.join(NAMES[:arity])})", NAMES)
        point = [0.5, 0.25][:arity]

        def value(x, read=read):
            return read(dict(zip(NAMES, x, strict=False)))

        assert value(jnp.array(point)) == pytest.approx(
            float(getattr(np, name)(*point)), rel=1e-5
        )
        assert np.all(np.isfinite(jax.grad(value)(jnp.array(point))))
