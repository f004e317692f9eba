"""Numbers that break a run, or nearly: named, and never a wrong "ok"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jaxtyping import Array

import physgrad as pg

FORWARDS: list[dict[str, Callable]] = [
    {  # run with all methods
        "square": lambda x: x**2,
        "root": lambda x: jnp.sqrt(x),
        "norm": lambda x: jnp.stack([jnp.linalg.norm(x), x[1]]),
    },
    {  # run with one or two
        "identity": lambda x: x,
        "guarded root": lambda x: jnp.where(x > 0, jnp.sqrt(x), 0),  # only its result
        "shifted root": lambda x: jnp.sqrt(x - 0.5),
        "log": lambda x: jnp.log(x),
        "huge": lambda x: 1e30 * x,
        "stretched": lambda x: jnp.stack([1e9 * x[0], 1e-9 * x[1]]),
    },
]
METHODS: dict[str, pg.Optimizer] = {
    "GD": pg.GradientDescent(0.1),
    "Newton": pg.Newton(1.0),
    "Gauss-Newton": pg.GaussNewton(),
    "Levenberg-Marquardt": pg.LevenbergMarquardt(),
    "L-BFGS": pg.LBFGS(),
    "Adam": pg.OptaxOptimizer(optax.adam(0.1)),
}


class Pick(eqx.Module):
    """One of several functions by a traced index, so that all share one program."""

    functions: tuple[Callable, ...] = eqx.field(static=True)
    index: Array

    def __call__(self, *args):
        return lax.switch(self.index, self.functions, *args)


def objective(forward: str, target: Any) -> pg.Objective:
    (group,) = (g for g in FORWARDS if forward in g)
    pick = Pick(tuple(group.values()), jnp.int32(list(group).index(forward)))
    return pg.Objective(pick, pg.SquaredLoss(jnp.array(target, float)))


def run(method: str | pg.Optimizer, forward: str, start: Any, target: Any) -> pg.Run:
    optimizer = METHODS[method] if isinstance(method, str) else method
    x0 = jnp.array(start, float)
    return pg.minimize(objective(forward, target), optimizer, x0, 30)


@pytest.mark.parametrize(
    ("forward", "start", "words", "method"),
    [
        *(("root", [0, 1], "dL/dx[0] is -inf", method) for method in METHODS),
        *(("norm", [0, 0], "dL/dx[0] is nan", method) for method in METHODS),
        ("guarded root", [1, 0], "dL/dx[1] is nan", "GD"),
    ],
)
def test_a_value_whose_derivative_is_not_finite(forward, start, words, method):
    end = run(method, forward, start, [2, 1])
    assert end.result == "non_finite" and not end.ok
    assert words in end.message and "jnp.where" in end.message
    assert np.array_equal(end.x, start)
    assert np.all(np.isfinite(end.trajectory.losses))


def test_a_numerical_inverse_without_a_derivative_does_not_blame_the_target():
    loss = pg.SquaredLoss(jnp.ones(1))
    method, x0 = pg.PhysicalGradient(0.5), jnp.zeros(1)
    end = pg.minimize(pg.Objective(jnp.sqrt, loss), method, x0, 3)
    assert end.result == "non_finite" and "dL/dx[0] is -inf" in end.message
    assert np.array_equal(end.x, x0)


@pytest.mark.parametrize("method", METHODS)
def test_a_jacobian_of_zero(method):
    end = run(method, "square", [0, 0], [1, 1])
    assert end.result == "stalled" and not end.ok
    assert "Jacobian of the simulator is zero" in end.message
    assert "the loss 2" in end.message
    assert np.array_equal(end.x, [0, 0])


@pytest.mark.parametrize("method", METHODS)
def test_a_start_that_is_the_solution(method):
    end = run(method, "square", [1, -1], [1, 1])
    assert (end.result, end.num_steps, end.message) == ("completed", 30, "")
    assert np.all(end.trajectory["x"] == np.array([1, -1]))


def test_a_solution_that_a_stop_sees_at_once():
    end = pg.minimize(
        objective("square", [1, 1]),
        METHODS["GD"],
        jnp.array([1.0, -1.0]),
        30,
        stop=pg.Stop(gradient=1e-6),
    )
    assert (end.result, end.num_steps) == ("converged", 0)


NOT_FINITE_AT_START = {
    "NaN in z": ("log", [1, -1], "z[1] is nan"),
    "infinity in z": ("log", [0, 1], "z[0] is -inf"),
    "squares that overflow": ("huge", [1, 1], "the loss is inf, though z is finite"),
}


@pytest.mark.parametrize("fault", NOT_FINITE_AT_START)
@pytest.mark.parametrize("method", ["GD", "Levenberg-Marquardt"])
def test_an_objective_that_is_not_finite_at_the_start(fault, method):
    forward, start, words = NOT_FINITE_AT_START[fault]
    with pytest.raises(ValueError, match="the objective is not finite at x0") as e:
        run(method, forward, start, [0, 0])
    assert words in str(e.value)


def twice_ten_to_the_200(x):
    return 2e200 * x


def test_squares_that_overflow_in_float64():
    with jax.enable_x64(True):
        loss = pg.SquaredLoss(jnp.zeros(1))
        with pytest.raises(ValueError, match="the loss is inf, though z is finite"):
            pg.minimize(
                pg.Objective(twice_ten_to_the_200, loss), METHODS["GD"], jnp.ones(1), 1
            )


def log_of_leaf(x):
    return {"a": jnp.log(x["a"])}


def finite_leaf(z):
    return jnp.nan_to_num(z["a"])


def test_a_space_between_that_is_not_finite():
    chain = pg.Chain(log_of_leaf, finite_leaf, names=("x", "logs", "z"))
    loss, x0 = pg.SquaredLoss(jnp.zeros(2)), {"a": jnp.array([1.0, -1.0])}
    with pytest.raises(ValueError, match=r"at x0: logs\['a'\]\[1\] is nan"):
        pg.minimize(pg.Objective(chain, loss), METHODS["GD"], x0, 1)


def test_a_start_that_is_not_finite_is_a_code_inside_jit():
    @jax.jit
    def end(x0):
        return pg.iterate(objective("log", [0, 0]), METHODS["GD"], x0, 3)

    bad, good = end(jnp.array([1.0, -1.0])), end(jnp.array([1.0, 2.0]))
    assert pg.Result.from_code(int(bad.result)) == "non_finite"
    assert np.array_equal(bad.x, [1, -1]) and int(bad.num_steps) == 0
    assert pg.Result.from_code(int(good.result)) == "completed"


def test_a_point_tried_that_is_not_finite_ends_a_plain_run_where_it_was():
    end = run(pg.GradientDescent(1.0), "shifted root", [1, 1], [-3, -3])
    assert (end.result, end.num_steps) == ("non_finite", 0)
    assert "at the point tried in step 1; lower the step size" in end.message
    assert np.array_equal(end.x, [1, 1])


def test_a_point_tried_that_is_not_finite_is_rejected_where_steps_can_be():
    end = run("Levenberg-Marquardt", "shifted root", [1, 1], [-3, -3])
    assert end.ok and np.all(end.x >= 0.5) and end.loss < 25
    assert np.all(np.isfinite(end.trajectory.losses))


def test_growth_beyond_the_dtype_is_divergence():
    end = run(pg.GradientDescent(10.0), "identity", [1, 1], [0, 0])
    assert end.result == "diverged" and 0 < end.num_steps < 30
    assert "the loss went from 2 to" in end.message
    assert np.all(np.isfinite(end.x)) and np.isfinite(end.loss)


def test_growth_within_the_dtype_is_said():
    end = run(pg.GradientDescent(1.5), "identity", [1, 1], [0, 0])
    assert end.result == "completed" and "the loss grew from 2 to" in end.message


@pytest.mark.parametrize("method", [pg.GradientDescent, pg.PhysicalGradient])
def test_steps_lost_to_rounding_are_said(method):
    end = run(method(1e-12), "identity", [1, 1], [0, 0])
    assert end.result == "completed" and np.array_equal(end.x, [1, 1])
    assert "x did not move, though dL/dx has entries up to 2" in end.message


def test_a_run_that_comes_back_to_its_start_is_not_at_rest():
    end = run(pg.GradientDescent(1.0), "identity", [1, 1], [0, 0])
    assert np.array_equal(end.x, [1, 1]) and "did not move" not in end.message


def test_parameters_of_very_different_size():
    start, target = [1e-9, 1e9], [2, 2]
    end = run("Levenberg-Marquardt", "stretched", start, target)
    assert np.allclose(end.x, [2e-9, 2e9], rtol=1e-4) and end.loss < 1e-6


class Times(eqx.Module):
    """Its argument times a constant."""

    constant: Array

    def __call__(self, x):
        return self.constant * x


@pytest.mark.parametrize(("small", "ok"), [(1e-9, True), (2e-9, False)])
def test_a_certificate_sees_the_small_parameter(small, ok):
    simulator = pg.Simulator(
        Times(jnp.array([1e9, 1e-9])),
        pg.AnalyticInverse(Times(jnp.array([small, 1e9]))),
    )
    loss = pg.SquaredLoss(jnp.array([2.0, 2.0]))
    method, x0 = pg.PhysicalGradient(1.0), jnp.array([1e-9, 1e9])
    end = pg.minimize(pg.Objective(simulator, loss), method, x0, 1)
    assert end.result == ("completed" if ok else "inverse_failed")


SHAPES = {
    # forward, start
    "scalars": (lambda x: x**2, 2.0),
    "one and one": (lambda x: x**2, [2.0]),
    "z without axes": (lambda x: jnp.sum(x**2), [1.0, 2.0]),
    "more x than z": (lambda x: x[:1] * x[1:2] + x[2:], [1.0, 1.0, 1.0]),
    "far more z than x": (lambda x: jnp.outer(jnp.arange(1.0, 3e3), x), [1.0, 2.0]),
}


@pytest.mark.parametrize("shapes", SHAPES)
def test_shapes_of_every_kind(shapes):
    forward, start = SHAPES[shapes]
    x0 = jnp.array(start)
    loss = pg.SquaredLoss(jnp.zeros_like(forward(x0)))
    end = pg.minimize(pg.Objective(forward, loss), pg.LevenbergMarquardt(), x0, 10)
    assert end.ok and end.x.shape == x0.shape
    assert end.trajectory["x"].shape == (11, *x0.shape)
    assert end.loss < 1e-3 * end.trajectory.losses[0]


@jax.custom_vjp
def solved_outside(x):
    return x**2


solved_outside.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))


def test_a_simulator_that_knows_only_its_reverse_derivative():
    objective = pg.Objective(solved_outside, pg.SquaredLoss(jnp.zeros(1)))
    end = pg.minimize(objective, METHODS["GD"], jnp.array([0.5]), 5)
    assert end.ok and end.loss < 0.05


@pytest.mark.parametrize("rule", [pg.NumericalInverse, pg.BroydenInverse])
def test_a_tolerance_below_rounding_is_told_of_at_the_users_line(rule):
    with pytest.warns(UserWarning, match="rtol=1e-30 is below the rounding") as found:
        made = rule(rtol=1e-30)
    assert found[0].filename == __file__
    objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8.0) ** 2))
    run = pg.minimize(objective, pg.PhysicalGradient(1.0, made), jnp.array([3.0]), 1)
    assert run.ok and np.allclose(run.x, 2.0)
