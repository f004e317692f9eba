"""Laws of failures: each result code is reached, says what to do, and loses nothing."""

from __future__ import annotations

import equinox as eqx
import families
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import physgrad as pg

TOY = pg.Simulator(families.square, pg.AnalyticInverse(families.square_root))


def identity(x: Array) -> Array:
    return x


def sum_of_squares(z: Array) -> Array:
    return jnp.sum(z**2)


def half_line(x: Array) -> Array:
    """Finite at the start, NaN left of zero."""
    return jnp.sqrt(x)


def linear(z: Array) -> Array:
    return jnp.sum(z)


def saddle(z: Array) -> Array:
    return z[0] ** 2 - z[1] ** 2


def lifted(x: Array) -> Array:
    """z = [x0, x1, 1 + |x|^2]: no x has z2 below 1."""
    return jnp.concatenate([x, 1 + jnp.sum(x**2, keepdims=True)])


def cube(x: Array) -> Array:
    return x**3


def distance(x: Array) -> Array:
    """A trap: the value is 0 at 0, the derivative of the norm is NaN."""
    return jnp.stack([jnp.sqrt(jnp.sum((x - 1) ** 2)), x[1]])


PG = pg.PhysicalGradient
CASES = {
    "completed": (pg.Objective(TOY, sum_of_squares), PG(0.3), (3.0, 3.0), None),
    "converged": (
        pg.Objective(TOY, sum_of_squares),
        PG(0.3),
        (3.0, 3.0),
        pg.Stop(loss=1e-2),
    ),
    "target_not_reachable": (
        pg.Objective(lifted, pg.SquaredLoss(jnp.zeros(3))),
        PG(1.0),
        (0.5, 0.4),
        None,
    ),
    "diverged": (
        pg.Objective(identity, sum_of_squares),
        pg.GradientDescent(1e6),
        (3.0, 3.0),
        None,
    ),
    "non_finite": (
        pg.Objective(half_line, sum_of_squares),
        pg.GradientDescent(2.0),
        (1.0, 1.0),
        None,
    ),
    "inverse_failed": (pg.Objective(TOY, sum_of_squares), PG(1.5), (3.0, 3.0), None),
    "singular": (pg.Objective(identity, saddle), PG(1.0), (3.0, 3.0), None),
}


def as_objective(
    result: str,
) -> tuple[pg.Objective, pg.Optimizer, Array, pg.Stop | None]:
    objective, method, start, stop = CASES[result]
    return objective, method, jnp.asarray(start), stop


@pytest.mark.parametrize("result", CASES)
def test_each_result_is_reached_and_loses_nothing(result):
    objective, method, x0, stop = as_objective(result)
    run = pg.minimize(objective, method, x0, 40, stop=stop)
    assert run.result == result, run
    failed = ("diverged", "non_finite", "inverse_failed", "singular", "stalled")
    assert run.ok == (result not in failed)
    if not run.ok or result == "target_not_reachable":
        assert run.message
    trajectory = run.trajectory
    for values in (*trajectory.spaces.values(), trajectory.losses):
        assert np.all(np.isfinite(values)) and len(values) == run.num_steps + 1
    assert np.array_equal(run.x, trajectory["x"][-1])
    assert run.loss == trajectory.losses[-1]
    if not run.ok:
        with pytest.raises(pg.RunError, match=result) as raised:
            pg.minimize(objective, method, x0, 40, stop=stop, throw=True)
        assert np.array_equal(raised.value.run.x, run.x)


@pytest.mark.parametrize("result", ["converged", "inverse_failed"])
def test_iterate_repeats_the_last_good_iterate_and_counts_the_valid_ones(result):
    objective, method, x0, stop = as_objective(result)
    trajectory = pg.minimize(objective, method, x0, 40, stop=stop).trajectory
    iterates = eqx.filter_jit(pg.iterate)(objective, method, x0, 40, stop=stop)
    assert pg.Result.from_code(int(iterates.result)) == result
    assert int(iterates.num_valid) == len(trajectory)
    for values in (*iterates.spaces.values(), iterates.losses):
        assert np.all(np.isfinite(values))
        assert np.all(values[len(trajectory) :] == values[-1])


class Constant(pg.SquaredLoss):
    """A loss whose Newton step leads uphill."""

    def newton_step(self, z):
        return z - self.target


def test_levenberg_marquardt_without_an_acceptable_step_is_stalled():
    objective = pg.Objective(identity, Constant(jnp.zeros(2)))
    x0 = jnp.array([1.0, 2.0])
    run = pg.minimize(objective, pg.LevenbergMarquardt(), x0, 60)
    assert run.result == "stalled" and "no acceptable step" in run.message
    assert np.array_equal(run.x, x0)


@pytest.mark.parametrize(
    "method",
    [PG(0.5, pg.LinearizedInverse()), pg.GaussNewton(), pg.GradientDescent(0.1)],
    ids=["pg", "gauss-newton", "gd"],
)
def test_a_zero_jacobian_is_stalled_not_solved(method):
    objective = pg.Objective(cube, pg.SquaredLoss(jnp.ones(2)))
    run = pg.minimize(objective, method, jnp.zeros(2), 5)
    assert run.result == "stalled" and "Jacobian" in run.message


def test_a_nan_derivative_of_a_finite_loss_is_named():
    objective = pg.Objective(distance, sum_of_squares)
    x0 = jnp.array([1.0, 1.0])
    run = pg.minimize(objective, pg.GradientDescent(0.1), x0, 5)
    assert run.result == "non_finite" and "jnp.where" in run.message
    assert np.array_equal(run.x, x0)


def test_a_start_that_is_not_finite_is_refused():
    objective = pg.Objective(half_line, sum_of_squares)
    with pytest.raises(ValueError, match=r"z\[0\] is nan"):
        pg.minimize(objective, PG(0.3), jnp.array([-1.0, 1.0]), 5)


def test_ways_out_of_a_singular_hessian():
    """|H| leads away from the saddle, damping towards the gradient."""
    x0 = jnp.array([3.0, 3.0])
    for metric in (pg.NewtonMetric(absolute=True), pg.NewtonMetric(damping=2.0)):
        objective = pg.Objective(
            pg.Simulator(identity, pg.AnalyticInverse(identity)), saddle
        )
        run = pg.minimize(objective, PG(0.1, metric=metric), x0, 5)
        assert run.result == "completed" and np.all(np.diff(run.trajectory.losses) < 0)


def test_newton_on_x_names_a_singular_hessian():
    objective = pg.Objective(identity, linear)
    run = pg.minimize(objective, pg.Newton(1.0), jnp.array([3.0, 3.0]), 5)
    assert run.result == "singular" and "GaussNewton" in run.message


@pytest.mark.parametrize("angle", [0.3, 1.0])
def test_newton_on_x_names_a_hessian_that_is_singular_to_rounding(dtype, angle):
    """A valley along a slanted line: no entry of the Hessian is zero, a value is."""
    along = jnp.array([np.cos(angle), np.sin(angle)], dtype)
    objective = pg.Objective(lambda x: along @ x, lambda z: (z - 2) ** 2)
    run = pg.minimize(objective, pg.Newton(1.0), jnp.array([3.0, 0.5], dtype), 5)
    assert run.result == "singular" and np.all(np.isfinite(run.x))


@pytest.mark.parametrize("units", [1e-6, 1.0, 1e6])
def test_units_of_x_do_not_make_a_hessian_singular(dtype, units):
    scale = jnp.array([units, 1.0], dtype)
    objective = pg.Objective(
        lambda x: scale * x, lambda z: jnp.sum((z - 1) ** 2) + z[0] * z[1]
    )
    run = pg.minimize(objective, pg.Newton(1.0), jnp.array([3.0, 3.0], dtype), 3)
    assert run.result == "completed"
    np.testing.assert_allclose(run.trajectory["z"][-1], [2 / 3, 2 / 3], rtol=1e-5)


def test_small_curvatures_beside_large_couplings_are_not_singular(dtype):
    """H = [[e^2, 2 e^2 - 1, 0], ...]: its condition is 1, its diagonal nearly zero."""
    objective = pg.Objective(
        lambda x: jnp.stack([x[0] * x[1], x[2]]),
        pg.SquaredLoss(jnp.array([1.0, 0.0], dtype)),
    )
    x0 = jnp.array([3e-4, 3e-4, 1.0], dtype)
    run = pg.minimize(objective, pg.Newton(1.0), x0, 1)
    assert run.result == "completed"
    np.testing.assert_allclose(run.x, np.zeros(3), atol=1e-6)


def test_growth_of_the_loss_is_said():
    objective = pg.Objective(identity, sum_of_squares)
    run = pg.minimize(objective, pg.GradientDescent(1.1), jnp.array([3.0, 3.0]), 5)
    assert run.result == "completed" and "grew" in run.message
