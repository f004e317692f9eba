"""Simulators, losses, formulas and callbacks that are not what they should be."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from jax import lax

import physgrad as pg

ANY: Any = pg
DESCENT = pg.GradientDescent(0.1)
PHYSICAL = pg.PhysicalGradient(0.5)
ONE = jnp.ones(1)
TREE = {"a": jnp.ones(2), "b": jnp.ones(3)}


@pytest.fixture(autouse=True)
def no_annotation_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users have no checker of annotations: the library itself must refuse."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def same(x):
    return x


def first_square(z):
    return jnp.sum(jax.tree.leaves(z)[0] ** 2)


def minimize_through(simulator: Any, loss: Any = first_square) -> pg.Run:
    return pg.minimize(pg.Objective(simulator, loss), DESCENT, ONE, 1)


# --- what JAX cannot trace; the line that leaves it ends in the word "here"


def with_numpy(x):
    y = x + 1
    return np.sin(y)  # here


def with_if(x):
    if x[0] > 0:  # here
        return x
    return -x


def with_while(x):
    while x[0] > 0:  # here
        x = x - 1
    return x


def with_float(x):
    return x * float(x[0])  # here


def with_math(x):
    return x * math.sin(x[0])  # here


def with_index(x):
    return [1.0, 2.0][x[0].astype(int)] * x  # here


def with_range(x):
    return sum(x * i for i in range(x[0].astype(int)))  # here


def with_mask(x):
    return x[x > 0]  # here


def helped(x):
    y = jnp.sin(x)
    return helper(y) + 1


def helper(x):
    return np.exp(x)  # here


@jax.jit
def jitted(x):
    return np.tanh(x)  # here


def scanned(x):
    def body(carry, _):
        return carry + np.sin(carry), None  # here

    return lax.scan(body, x, None, length=3)[0]


anonymous = lambda x: np.cosh(x)  # noqa: E731 here


class Scaled(eqx.Module):
    scale: float

    def __call__(self, x):
        return self.scale * np.abs(x)  # here


class Doubled:
    def __call__(self, x):
        return 2 * np.abs(x)  # here


def scaled(scale, x):
    return scale * np.arctan(x)  # here


UNTRACEABLE = {
    "NumPy": with_numpy,
    "if": with_if,
    "while": with_while,
    "float": with_float,
    "math": with_math,
    "index": with_index,
    "range": with_range,
    "mask": with_mask,
    "helper": helped,
    "jit": jitted,
    "scan": scanned,
    "lambda": anonymous,
    "module": Scaled(2.0),
    "object": Doubled(),
    "partial": functools.partial(scaled, 2.0),
    "vmap": jax.vmap(helper),
    "simulator": pg.Simulator(with_numpy),
}
LINE_IS_IN = {
    "helper": helper,
    "vmap": helper,
    "module": Scaled,
    "object": Doubled,
    "partial": scaled,
    "simulator": with_numpy,
}


def marked_line(place: Any) -> int:
    """The line of this file, in the source of `place`, that says "here"."""
    lines, first = inspect.getsourcelines(place)
    (offset,) = (i for i, line in enumerate(lines) if line.endswith("here\n"))
    return max(first, 1) + offset


def refused(call: Callable[[], Any], error: type[Exception], words: str) -> str:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert words in message
    return message


@pytest.mark.parametrize("way", UNTRACEABLE)
def test_a_simulator_that_leaves_jax_is_told_its_line(way):
    line = marked_line(LINE_IS_IN.get(way, UNTRACEABLE[way]))
    words = f"the simulator must use jax.numpy; line {line} of test_bad_callables.py"
    message = refused(lambda: minimize_through(UNTRACEABLE[way]), TypeError, words)
    assert message.startswith("the simulator")


def test_the_second_simulator_of_a_chain_is_told_its_line():
    words = f"line {marked_line(with_if)} of"
    refused(lambda: minimize_through(pg.Chain(same, with_if)), TypeError, words)


def test_losses_and_formulas_are_told_their_lines():
    words = f"the loss must use jax.numpy; line {marked_line(with_numpy)} of"
    refused(lambda: minimize_through(same, with_numpy), TypeError, words)
    formula = pg.Simulator(same, pg.AnalyticInverse(with_if))
    objective = pg.Objective(formula, first_square)
    words = f"the inverse must use jax.numpy; line {marked_line(with_if)} of"
    refused(lambda: pg.minimize(objective, PHYSICAL, ONE, 1), TypeError, words)


OUTPUTS = {
    "text": (lambda x: "z", TypeError, "the simulator's output must be a float32"),
    "text beside": (
        lambda x: (x, "log"),
        TypeError,
        "output[1] must be a float32 or float64 array, got str; return only the",
    ),
    "counter beside": (
        lambda x: (x, {"n": 3}),
        TypeError,
        "output[1]['n'] must be a float32 or float64 array, got int32; return only",
    ),
    "whole numbers": (lambda x: x.astype(int), TypeError, "got int32"),
    "bools": (lambda x: x > 0, TypeError, "got bool"),
    "half precision": (lambda x: x.astype(jnp.float16), TypeError, "got float16"),
    "complex": (jnp.fft.fft, TypeError, "write complex states as real pairs"),
    "nothing": (lambda x: None, ValueError, "output has no entries, got None"),
    "no entries": (lambda x: x[:0], ValueError, "output has no entries"),
    "two arguments": (
        lambda x, y: x,
        TypeError,
        "the simulator is called with 1 argument, but <lambda>(x, y) does not",
    ),
    "no argument": (lambda: ONE, TypeError, "is called with 1 argument"),
}


@pytest.mark.parametrize("fault", OUTPUTS)
def test_simulators_that_return_something_else(fault):
    simulator, error, words = OUTPUTS[fault]
    refused(lambda: minimize_through(simulator), error, words)


def test_a_simulator_of_another_dtype():
    with jax.enable_x64(True):
        refused(
            lambda: pg.minimize(
                pg.Objective(lambda x: x * np.ones(1), first_square),
                DESCENT,
                jnp.ones(1, jnp.float32),
                1,
            ),
            TypeError,
            "the simulator must keep the dtype of x, float32, got float64",
        )


LOSSES = {
    "vector": (same, ValueError, "the loss must be a scalar, got shape (1,)"),
    "tuple": (lambda z: (z[0], 1), TypeError, "the loss must return one number, got ("),
    "dict": (lambda z: {"loss": z[0]}, TypeError, "the loss must return one number"),
    "None": (lambda z: None, TypeError, "the loss must return one number, got None"),
    "text": (lambda z: "z", TypeError, "the loss must return one number, got 'z'"),
    "whole number": (lambda z: 3, TypeError, "the dtype of z, float32, got int32"),
    "bool": (lambda z: z[0] > 0, TypeError, "the dtype of z, float32, got bool"),
    "complex": (lambda z: z[0] * 1j, TypeError, "of z, float32, got complex64"),
    "two arguments": (lambda z, y: z[0], TypeError, "the loss is called with 1 arg"),
}


@pytest.mark.parametrize("fault", LOSSES)
def test_losses_that_are_no_scalar(fault):
    loss, error, words = LOSSES[fault]
    refused(lambda: minimize_through(same, loss), error, words)


def halved(z):
    return {"a": z["a"] / 2, "b": z["b"]}


FORMULAS = {
    "list": (lambda z: [z["a"], z["b"]], "structure of x, PyTreeDef({'a': *, 'b': *})"),
    "missing leaf": (lambda z: {"a": z["a"]}, "got PyTreeDef({'a': *})"),
    "None": (lambda z: None, "got PyTreeDef(None)"),
    "shape": (
        lambda z: halved(z) | {"b": z["b"][:2]},
        "return x['b'] as float32 of shape (3,), got float32 of shape (2,)",
    ),
    "would broadcast": (
        lambda z: halved(z) | {"a": z["a"][:1]},
        "return x['a'] as float32 of shape (2,), got float32 of shape (1,)",
    ),
    "number": (lambda z: halved(z) | {"b": 1.0}, "x['b'] as float32 of shape (3,)"),
    "text": (lambda z: halved(z) | {"b": "b"}, "got str of shape ()"),
    "dtype": (
        lambda z: halved(z) | {"b": z["b"].astype(int)},
        "x['b'] as float32 of shape (3,), got int32 of shape (3,)",
    ),
}


@pytest.mark.parametrize("fault", FORMULAS)
def test_formulas_that_return_something_else_than_x(fault):
    formula, words = FORMULAS[fault]
    simulator = pg.Simulator(
        lambda x: {"a": 2 * x["a"], "b": x["b"]}, pg.AnalyticInverse(formula)
    )
    objective = pg.Objective(simulator, first_square)
    for call in (pg.minimize, pg.iterate):
        refused(lambda call=call: call(objective, PHYSICAL, TREE, 1), TypeError, words)


def both(z):
    return {"a": jnp.stack([z["a"] / 2, -z["a"]]), "b": jnp.stack([z["b"], z["b"]])}


BRANCHES = {
    "no axis": (halved, "x['a'] as float32 of shape (2, 2), got float32 of shape (2,)"),
    "no branches": (
        lambda z: jax.tree.map(lambda a: a[:0], both(z)),
        "x['a'] as float32 of shape (branches, 2), got float32 of shape (0, 2)",
    ),
    "numbers differ": (
        lambda z: both(z) | {"b": z["b"][None]},
        "x['b'] as float32 of shape (2, 3), got float32 of shape (1, 3)",
    ),
    "list": (lambda z: [halved(z)], "the structure of x"),
}


@pytest.mark.parametrize("fault", BRANCHES)
def test_formulas_that_return_no_branches(fault):
    formula, words = BRANCHES[fault]
    rule = pg.AnalyticInverse(formula, branches=True)
    simulator = pg.Simulator(lambda x: {"a": 2 * x["a"], "b": x["b"]}, rule)
    objective = pg.Objective(simulator, first_square)
    refused(lambda: pg.minimize(objective, PHYSICAL, TREE, 1), TypeError, words)


def test_trees_may_have_branches():
    rule = pg.AnalyticInverse(both, branches=True)
    simulator = pg.Simulator(lambda x: {"a": 2 * x["a"], "b": x["b"]}, rule)
    target = {"a": jnp.ones(2), "b": jnp.ones(3)}
    objective = pg.Objective(simulator, pg.SquaredLoss(target))
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), TREE, 1)
    assert run.result == "completed" and run.loss == 0


class OwnErrorType(Exception):
    """What a user's code raises."""


def failing(_):
    raise OwnErrorType("mesh file is missing")


def test_the_users_own_exceptions_pass_through():
    with pytest.raises(OwnErrorType, match="mesh file"):
        minimize_through(failing)
    objective = pg.Objective(same, first_square)
    with pytest.raises(OwnErrorType, match="mesh file"):
        pg.minimize(objective, DESCENT, ONE, 5, callback=failing)


STOPS = {
    "vector": (lambda now: now.x < 1, ValueError, "return one bool, got shape (1,)"),
    "text": (lambda now: "yes", TypeError, "must return one bool, got 'yes'"),
    "None": (lambda now: None, TypeError, "must return one bool, got None"),
    "no argument": (lambda: True, TypeError, "is called with 1 argument"),
    "float": (
        lambda now: float(now.loss) < 1,
        TypeError,
        "the stopping function must use jax.numpy; line",
    ),
}


@pytest.mark.parametrize("fault", STOPS)
def test_stopping_functions_that_return_something_else(fault):
    stop, error, words = STOPS[fault]
    objective = pg.Objective(same, first_square)
    refused(
        lambda: pg.minimize(objective, DESCENT, ONE, 1, stop=stop),  # type: ignore
        error,
        words,
    )


def test_functions_made_afresh_are_named_after_five_compilations():
    def run() -> pg.Run:
        return pg.minimize(pg.Objective(lambda x: 3 * x, first_square), DESCENT, ONE, 1)

    assert [run().compilations for _ in range(5)] == [1] * 5  # and no warning
    with pytest.warns(UserWarning, match="compiled 6 times .* made afresh"):
        assert run().compilations == 1
    run()  # said once


def test_what_is_made_once_is_compiled_once():
    objective = pg.Objective(same, first_square)
    adam = pg.OptaxOptimizer(optax.adam(0.1))
    counts = [pg.minimize(objective, adam, ONE * i, 1).compilations for i in (2, 3, 4)]
    assert counts == [1, 0, 0]
