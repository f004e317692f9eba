"""Wrong kinds and values of arguments: one line names them before anything runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import lineax as lx
import numpy as np
import optax
import pytest

import physgrad as pg

NAN, INF = float("nan"), float("inf")


def double(x):
    return 2 * x


def squares(z):
    return jnp.sum(z**2)


ANY: Any = pg
"""The library without its types: what is wrong here is wrong on purpose."""
X0 = jnp.array([3.0])
OBJECTIVE = pg.Objective(double, squares)
DESCENT = pg.GradientDescent(0.1)


@pytest.fixture(autouse=True)
def no_annotation_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users have no checker of annotations: the library itself must refuse."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def refused(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    assert words in message


# What takes one positive number: its name, and how it is made.
POSITIVE = {
    "step_size": [pg.PhysicalGradient, pg.Newton, pg.GaussNewton],
    "learning_rate": [pg.GradientDescent],
    "radius": [pg.LevenbergMarquardt],
    "loss": [lambda v: pg.Stop(loss=v)],
    "gradient": [lambda v: pg.Stop(gradient=v)],
    "step": [lambda v: pg.Stop(step=v)],
    "rtol": [lambda v: pg.NumericalInverse(rtol=v)],
}
POSITIVE_MAKERS = [
    pytest.param(name, make, id=f"{name}-{i}")
    for name, makers in POSITIVE.items()
    for i, make in enumerate(makers)
]
WRONG_VALUES = [0, 0.0, -1, -0.5, NAN, INF, -INF, np.float32(-1), 10**400]
WRONG_KINDS = [
    "0.1",
    b"0.1",
    True,
    np.True_,
    [0.1],
    (0.1,),
    {},
    1j,
    object,
    np.array([0.1]),
    np.array(True),
    np.array(0.1 + 0j),
    np.array("0.1"),
]


@pytest.mark.parametrize(("name", "make"), POSITIVE_MAKERS)
@pytest.mark.parametrize("value", WRONG_VALUES, ids=lambda v: str(v)[:8])
def test_numbers_that_must_be_positive(name, make, value):
    refused(
        lambda: make(value), ValueError, f"{name} must be a positive, finite number"
    )


@pytest.mark.parametrize(("name", "make"), POSITIVE_MAKERS)
@pytest.mark.parametrize("value", WRONG_KINDS, ids=repr)
def test_what_is_no_number(name, make, value):
    refused(lambda: make(value), TypeError, f"{name} must be a positive, finite number")


@pytest.mark.parametrize("value", [1e-300, 1e300])
def test_numbers_that_the_dtype_cannot_hold(value):
    refused(lambda: pg.GradientDescent(value), ValueError, "float32 cannot hold")
    with jax.enable_x64(True):
        assert float(pg.GradientDescent(value).learning_rate) == value


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.array(2), jnp.array(3)])
def test_numbers_of_every_good_kind(value):
    kept = pg.GradientDescent(value).learning_rate
    assert kept.dtype == jnp.float32 and kept == float(value)


def test_damping_may_be_zero_but_not_negative():
    assert float(pg.LinearizedInverse(damping=0).damping) == 0
    for make in (pg.LinearizedInverse, pg.NewtonMetric):
        refused(
            lambda make=make: make(damping=-1.0),
            ValueError,
            "damping must be zero or a positive number, got -1.0",
        )


run = functools.partial(pg.minimize, OBJECTIVE, DESCENT, X0)
COUNTS = {
    "num_steps": (run, 0),
    "record_every": (lambda v: run(1, record_every=v), 1),
    "max_steps": (lambda v: pg.NumericalInverse(max_steps=v), 1),
    "history_length": (pg.LBFGS, 1),
}
NOT_WHOLE = [None, 2.5, 2.0, NAN, True, "10", [2], np.array([2])]
CASES = [(name, value) for name in COUNTS for value in NOT_WHOLE]
CASES.remove(("record_every", None))  # no iterate but the first and the last


@pytest.mark.parametrize(("name", "value"), CASES)
def test_what_is_no_count(name, value):
    make, least = COUNTS[name]
    words = f"{name} must be a whole number from {least} on"
    refused(lambda: make(value), TypeError, words)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_below_the_least(name):
    make, least = COUNTS[name]
    words = f"a whole number from {least} on, got {least - 1}"
    refused(lambda: make(least - 1), ValueError, words)


KINDS = {
    "simulator of text": (lambda: ANY.Simulator("f"), "forward must be a function"),
    "simulator of None": (lambda: ANY.Simulator(None), "forward must be a function"),
    "chain of a number": (lambda: ANY.Chain(3.0), "forward must be a function"),
    "function as inverse": (
        lambda: ANY.Simulator(double, double),
        "wrap it: AnalyticInverse(double)",
    ),
    "function as inverse of a method": (
        lambda: ANY.PhysicalGradient(0.3, double),
        "wrap it: AnalyticInverse(double)",
    ),
    "inverse that is a class": (
        lambda: ANY.Simulator(double, pg.NumericalInverse),
        "make one: NumericalInverse(...)",
    ),
    "text as inverse": (
        lambda: ANY.PhysicalGradient(0.3, "numerical"),
        "got 'numerical'",
    ),
    "formula that is a number": (
        lambda: ANY.AnalyticInverse(2.0),
        "an inverse must be a function f(z) or f(z, x), got 2.0",
    ),
    "loss that is a number": (
        lambda: ANY.Objective(double, 2.0),
        "loss must be a function of z, got 2.0",
    ),
    "loss that is a class": (
        lambda: ANY.Objective(double, pg.SquaredLoss),
        "got SquaredLoss; make one first",
    ),
    "objective that is a function": (
        lambda: ANY.minimize(squares, DESCENT, X0, 1),
        "objective must be an Objective, got <function squares",
    ),
    "optimizer that is a class": (
        lambda: ANY.minimize(OBJECTIVE, pg.GradientDescent, X0, 1),
        "make one: GradientDescent(...)",
    ),
    "optimizer by name": (
        lambda: ANY.minimize(OBJECTIVE, "gd", X0, 1),
        "optimizer must be an Optimizer, got 'gd'",
    ),
    "Optax transformation": (
        lambda: ANY.minimize(OBJECTIVE, optax.identity(), X0, 1),
        "OptaxOptimizer(transformation)",
    ),
    "Optax function that makes one": (
        lambda: ANY.OptaxOptimizer(optax.adam),
        "transformation must be an Optax transformation such as optax.adam(0.1)",
    ),
    "solver by name": (
        lambda: ANY.NumericalInverse("bfgs"),
        "solver must be an optimistix",
    ),
    "linear solver of a numerical inverse by name": (
        lambda: ANY.NumericalInverse(linear_solver="gmres"),
        "linear_solver must be None or a lineax solver, got 'gmres'",
    ),
    "preconditioner that is a number": (
        lambda: ANY.NumericalInverse(
            linear_solver=lx.GMRES(1e-6, 0.0), preconditioner=3
        ),
        "preconditioner must be a function M(dz, x), got 3",
    ),
    "rungs that are no list": (
        lambda: ANY.Ladder(pg.NumericalInverse()),
        "rungs must be a list of rules, got ",
    ),
    "rung that is None": (lambda: ANY.Ladder([None]), "a rung must be a rule, got"),
    "rung that is a function": (
        lambda: ANY.Ladder([double]),
        "wrap it: AnalyticInverse(double)",
    ),
    "acceptance that is a class": (
        lambda: ANY.PhysicalGradient(0.3, acceptance=pg.Monotone),
        "make one: Monotone(...)",
    ),
    "acceptance that is a number": (
        lambda: ANY.PhysicalGradient(0.3, acceptance=1),
        "acceptance must be None, 'monotone', 'trust-region'",
    ),
    "optimistix solver by name": (
        lambda: ANY.OptimistixOptimizer("bfgs"),
        "solver must be an optimistix",
    ),
    "stop that is a number": (
        lambda: ANY.minimize(OBJECTIVE, DESCENT, X0, 1, stop=1e-3),
        "stop must be None, a Stop or a function, got 0.001",
    ),
    "callback that is a list": (
        lambda: ANY.minimize(OBJECTIVE, DESCENT, X0, 1, callback=[1]),
        "callback must be a function of a Snapshot, got [1]",
    ),
    "metric that is None": (
        lambda: ANY.PhysicalGradient(0.3, metric=None),
        "or a NewtonMetric, got None",
    ),
    "metric that is a class": (
        lambda: ANY.PhysicalGradient(0.3, metric=pg.NewtonMetric),
        "make one: NewtonMetric(...)",
    ),
    "metric of text": (lambda: pg.MatrixMetric(np.array([["a"]])), "metric must be a"),
    "metric of bools": (lambda: pg.MatrixMetric(jnp.eye(2, dtype=bool)), "got bool"),
    "complex metric": (lambda: pg.MatrixMetric(jnp.eye(2) * 1j), "got complex64"),
    "matrix that is None": (lambda: ANY.MatrixMetric(None), "metric must be a"),
    "switch that is text": (
        lambda: ANY.NewtonMetric(absolute="yes"),
        "absolute must be True or False, got 'yes'",
    ),
    "linear solver by name": (
        lambda: ANY.LinearizedInverse(solver="qr"),
        "solver must be None or a lineax solver, got 'qr'",
    ),
    "simulator of a class": (
        lambda: ANY.Simulator(pg.Simulator),
        "forward must be a function",
    ),
    "chain of a list": (lambda: ANY.Chain([double, double]), "Chain(*simulators)"),
    "name that is a number": (
        lambda: ANY.Chain(double, double, names=("x", 1, "z")),
        "names must be the names of all spaces, got ('x', 1, 'z')",
    ),
    "pure loop over a function": (
        lambda: ANY.iterate(squares, DESCENT, X0, 1),
        "objective must be an Objective, got <function squares",
    ),
    "pure loop with a class": (
        lambda: ANY.iterate(OBJECTIVE, pg.GradientDescent, X0, 1),
        "got the class GradientDescent; make one: GradientDescent(...)",
    ),
    "pure loop from text": (
        lambda: ANY.iterate(OBJECTIVE, DESCENT, "3", 1),
        "x0 must be a floating array, got '3'",
    ),
    "stop that is a class": (
        lambda: ANY.minimize(OBJECTIVE, DESCENT, X0, 1, stop=pg.Stop),
        "make one: Stop(loss=...)",
    ),
    "problem that is None": (lambda: ANY.problems.get(None), "must be text, got None"),
    "compared number": (
        lambda: ANY.compare(OBJECTIVE, X0, {1: DESCENT}),
        "names of optimizers must be text, got [1]",
    ),
    "optimizers in a list": (
        lambda: ANY.compare(OBJECTIVE, X0, [DESCENT]),
        "optimizers must map names to optimizers, got list",
    ),
    "compared class": (
        lambda: ANY.compare(OBJECTIVE, X0, {"GD": pg.GradientDescent}),
        "make one: GradientDescent(...)",
    ),
}


@pytest.mark.parametrize("fault", KINDS)
def test_wrong_kinds(fault):
    call, words = KINDS[fault]
    refused(call, TypeError, words)


VALUES = {
    "chain without links": (pg.Chain, "at least one simulator, got none"),
    "too few names": (
        lambda: pg.Chain(double, double, names=("x", "z")),
        "a chain of 2 needs 3 different names of spaces, got ('x', 'z')",
    ),
    "a name twice": (
        lambda: pg.Chain(double, double, names=("x", "x", "z")),
        "needs 3 different names",
    ),
    "stop without a criterion": (pg.Stop, "a step or an optimality, got none"),
    "unknown metric": (
        lambda: pg.PhysicalGradient(0.3, metric="nwton"),  # type: ignore[arg-type]
        "or a NewtonMetric, got 'nwton'",
    ),
    "negative metric": (
        lambda: pg.MatrixMetric(-jnp.eye(2)),
        "metric must be positive definite, got the eigenvalue -1",
    ),
    "singular metric": (
        lambda: pg.MatrixMetric(jnp.ones((2, 2))),
        "metric must be positive definite",
    ),
    "skew metric": (
        lambda: pg.MatrixMetric(jnp.array([[1.0, 2.0], [0.0, 1.0]])),
        "metric must be symmetric",
    ),
    "metric of NaN": (
        lambda: pg.MatrixMetric(jnp.full((2, 2), NAN)),
        "metric must be finite",
    ),
    "metric without entries": (
        lambda: pg.MatrixMetric(jnp.zeros((0, 0))),
        "metric must be a square matrix, got shape (0, 0)",
    ),
    "name without letters": (
        lambda: pg.Chain(double, double, names=("x", "", "z")),
        "names must not be empty",
    ),
    "solution of another size": (
        lambda: pg.compare(OBJECTIVE, X0, {"GD": DESCENT}, solution=jnp.ones(2)),
        "solution must have 1 entries like x0, got 2",
    ),
    "start of another length": (
        lambda: pg.minimize(pg.problems.get("toy").objective, DESCENT, X0, 1),
        "the toy's x has 2 entries, got shape (1,)",
    ),
    "metric that is a vector": (
        lambda: pg.MatrixMetric(jnp.ones(2)),
        "metric must be a square matrix, got shape (2,)",
    ),
    "metric of another size": (
        lambda: pg.minimize(
            OBJECTIVE, ANY.PhysicalGradient(0.3, metric=jnp.eye(3)), X0, 1
        ),
        "metric must have 1 rows like z, got 3",
    ),
    "empty comparison": (
        lambda: pg.compare(OBJECTIVE, X0, {}),
        "at least one optimizer, got none",
    ),
    "unknown problem": (lambda: pg.problems.get("tyo"), "did you mean 'toy'?"),
}


@pytest.mark.parametrize("fault", VALUES)
def test_wrong_values(fault):
    call, words = VALUES[fault]
    refused(call, ValueError, words)


ARITIES = {
    "none": lambda: 1,
    "three": lambda z, x, y: z,
    "a keyword": lambda z, *, x: z,
    "keywords only": lambda **k: 1,
}


@pytest.mark.parametrize("arguments", ARITIES)
def test_formulas_with_a_wrong_number_of_arguments(arguments):
    words = "an inverse must be a function f(z) or f(z, x), got"
    refused(lambda: pg.AnalyticInverse(ARITIES[arguments]), TypeError, words)


def test_traced_numbers_must_be_scalars():
    def end(rates):
        return pg.iterate(OBJECTIVE, pg.GradientDescent(rates), X0, 1).x

    refused(lambda: jax.jit(end)(jnp.ones(2)), TypeError, "learning_rate must be")
    assert jax.jit(end)(1).dtype == jnp.float32
