"""Inverses that are wrong, inexact or out of their range: failures by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from families import positive_root, square, square_root
from jax import lax
from jaxtyping import Array

import physgrad as pg


def squares(z):
    return jnp.sum(z**2)


def double(x):
    return 2 * x


def shifted(x):
    return x + 1


def polar(x):
    return jnp.stack([x[0] * jnp.cos(x[1]), x[0] * jnp.sin(x[1])])


def angle_in_turn(z):
    return jnp.stack([jnp.hypot(z[0], z[1]), jnp.arctan2(z[1], z[0])])


def flipped(z, x):
    return square_root(z, x) * jnp.array([1, -1])


def right_above_one(z, x):
    return jnp.where(z < 1, z, z / 2)


def right_at_two(z, x):
    return z / 2 * (1 + 1e-2 * (z - 2))


PAIRS = {
    # forward, formula
    "one percent off": (double, lambda z, x: 0.505 * z),
    "ignores z": (shifted, lambda z, x: jnp.zeros_like(z)),
    "arguments swapped": (double, lambda x, z: z / 2),
    "inverse of nothing": (double, lambda z, x: z),
    "other branch": (square, lambda z, x: positive_root(z)),
    "sign flipped": (square, flipped),
    "angle in one turn": (polar, lambda z, x: angle_in_turn(z)),
    "right at the start only": (double, right_at_two),
    "right above one only": (double, right_above_one),
    "never a number": (double, lambda z, x: z * jnp.nan),
    "never finite": (double, lambda z, x: z * jnp.inf),
    "right": (square, square_root),
}


class Pick(eqx.Module):
    """One of several functions by a traced index, so that all share one program."""

    functions: tuple[Callable, ...] = eqx.field(static=True)
    index: Array

    def __call__(self, *args):
        return lax.switch(self.index, self.functions, *args)


def pair(name: str, target: Any = (0, 0)) -> pg.Objective:
    forwards, formulas = zip(*PAIRS.values(), strict=True)
    index = jnp.int32(list(PAIRS).index(name))
    formula = pg.AnalyticInverse(Pick(formulas, index))
    simulator = pg.Simulator(Pick(forwards, index), formula)
    return pg.Objective(simulator, pg.SquaredLoss(jnp.array(target, float)))


def run_pair(name: str, start: Any, target: Any = (0, 0)) -> pg.Run:
    method, x0 = pg.PhysicalGradient(0.3), jnp.array(start, float)
    return pg.minimize(pair(name, target), method, x0, 5)


START_FAULTS = {
    "one percent off": ([1, 2], "is not x0"),
    "ignores z": ([1, 2], "is not x0"),
    "arguments swapped": ([1, 2], "argument order"),
    "inverse of nothing": ([1, 2], "residual 4,"),
    "other branch": ([3, -3], "another preimage than x0"),
    "sign flipped": ([3, 3], "another preimage than x0"),
    "angle in one turn": ([1, 7], "another preimage than x0"),
}


@pytest.mark.parametrize("fault", START_FAULTS)
def test_wrong_formulas_are_seen_before_the_first_step(fault):
    start, words = START_FAULTS[fault]
    run = run_pair(fault, start)
    assert (run.result, run.num_steps) == ("inverse_failed", 0)
    assert "at the start (residual" in run.message and words in run.message
    assert np.array_equal(run.trajectory["x"], [start])


STEP_FAULTS = {
    "right at the start only": ([1, 1], [0, 0], 0, "maps to another z"),
    "right above one only": ([1, 1], [0, 0], 1, "maps to another z"),
    "angle in one turn": ([1, 3], [-1, -0.5], 0, "jumped to another branch"),
}


@pytest.mark.parametrize("fault", STEP_FAULTS)
def test_wrong_points_are_seen_in_their_step(fault):
    start, target, good_steps, words = STEP_FAULTS[fault]
    run = run_pair(fault, start, target)
    assert (run.result, run.num_steps) == ("inverse_failed", good_steps)
    assert f"in step {good_steps + 1} (residual" in run.message
    assert words in run.message
    assert len(run.trajectory) == good_steps + 1
    assert np.array_equal(run.x, run.trajectory["x"][-1])


TOY = pair("right")
START = jnp.array([3.0, 3.0])


def test_a_formula_that_is_right_is_left_alone():
    for start in ([3, 3], [3, -3]):
        run = run_pair("right", start)
        assert run.ok and run.num_steps == 5 and run.message == ""
        assert np.all(np.sign(run.x) == np.sign(start))


def test_a_root_of_a_negative_number_is_named():
    run = pg.minimize(TOY, pg.PhysicalGradient(1.5), START, 5)
    assert (run.result, run.num_steps) == ("inverse_failed", 0)
    assert "NaN or infinity" in run.message and "lower step_size" in run.message
    assert np.array_equal(run.x, START)
    arrays = [run.trajectory["x"], run.trajectory["z"], run.trajectory.losses]
    assert all(np.all(np.isfinite(a)) for a in arrays)


def test_inside_jit_failures_are_codes_and_never_nan():
    @jax.jit
    def ends(step_sizes):
        def end(step_size):
            return pg.iterate(TOY, pg.PhysicalGradient(step_size), START, 3)

        return jax.vmap(end)(step_sizes)

    both = ends(jnp.array([0.5, 1.5]))
    codes = [pg.Result.from_code(int(code)) for code in both.result]
    assert codes == ["completed", "inverse_failed"]
    assert both.num_valid.tolist() == [4, 1]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(both.spaces))
    assert np.array_equal(both.x[1], START)


def test_a_thrown_failure_carries_the_run():
    with pytest.raises(pg.RunError, match="inverse_failed: the inverse failed") as e:
        pg.minimize(TOY, pg.PhysicalGradient(1.5), START, 5, throw=True)
    assert np.array_equal(e.value.run.x, START)
    assert len(e.value.run.trajectory) == 1
    run = pg.minimize(TOY, pg.PhysicalGradient(0.5), START, 5, throw=True)
    assert run.ok


def test_a_comparison_goes_on_after_a_failure():
    methods = {"far": pg.PhysicalGradient(1.5), "near": pg.PhysicalGradient(0.5)}
    comparison = pg.compare(TOY, START, methods, num_steps=5)
    assert comparison["far"].result == "inverse_failed"
    assert comparison["near"].result == "completed"
    assert "inverse_failed" in str(comparison)


@pytest.mark.parametrize("fault", ["never a number", "never finite"])
def test_a_formula_that_is_never_finite(fault):
    run = run_pair(fault, [1, 1])
    assert (run.result, run.num_steps) == ("inverse_failed", 0)
    assert "at the start" in run.message
    assert np.array_equal(run.x, [1, 1])


def below_zero(z):
    return jnp.sum((z + 1) ** 2)


def parabola(x):
    return x**2


def test_a_target_out_of_range_is_labelled_and_its_nearest_point_taken():
    objective = pg.Objective(parabola, below_zero)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.ones(1), 3)
    assert run.result == "target_not_reachable"
    words = "recorded targets were not reached: they are out of the range"
    assert run.message.startswith(f"3 of 3 {words}")
    thinned = pg.minimize(
        objective, pg.PhysicalGradient(1.0), jnp.ones(1), 6, record_every=3
    )
    assert thinned.message.startswith(f"2 of 2 {words}")
    assert abs(float(run.x[0])) < 1e-3
    certificates = run.trajectory.certificates
    assert certificates is not None
    assert np.all(certificates.residuals > certificates.tolerances)


def test_a_root_finder_cannot_call_a_target_out_of_range():
    rule = pg.NumericalInverse(optx.Newton(rtol=1e-6, atol=1e-6))
    objective = pg.Objective(pg.Simulator(parabola, rule), below_zero)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.ones(1), 3)
    assert (run.result, run.num_steps) == ("inverse_failed", 0)
    assert "did not converge" in run.message
    tall = pg.Objective(pg.Simulator(lambda x: jnp.stack([x, x]), rule), squares)
    with pytest.raises(ValueError, match="as many entries in z as in x, got 2 and 1"):
        pg.minimize(tall, pg.PhysicalGradient(1.0), jnp.ones(()), 1)


def same(x):
    return x


@pytest.mark.parametrize("start", [[1e4, -1e4], [1e-9, 1e9], [1e-9, -1e-9]])
def test_units_do_not_put_a_target_out_of_range(start):
    x0 = jnp.array(start)
    objective = pg.Objective(same, pg.SquaredLoss(2 * x0))
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), x0, 1)
    assert (run.result, run.message) == ("completed", "")
    assert np.allclose(run.x, 2 * x0, rtol=1e-5, atol=0)


def first_leaf_doubled(z):
    return {"a": 2 * z["a"], "b": z["b"]}


def test_a_small_leaf_does_not_hide_behind_a_large_one():
    x0 = {"a": jnp.array([1e-9]), "b": jnp.array([1e9])}
    loss = pg.SquaredLoss(jax.tree.map(lambda leaf: 2 * leaf, x0))
    simulator = pg.Simulator(same, pg.AnalyticInverse(first_leaf_doubled))
    run = pg.minimize(pg.Objective(simulator, loss), pg.PhysicalGradient(1.0), x0, 1)
    assert (run.result, run.num_steps) == ("inverse_failed", 0)


def test_a_solver_out_of_budget_is_named_with_its_residual():
    rule = pg.NumericalInverse(max_steps=2)
    objective = pg.Objective(pg.Simulator(lambda x: x**9, rule), squares)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([3.0]), 3)
    assert (run.result, run.num_steps) == ("inverse_failed", 0)
    assert "in step 1 (residual" in run.message and "raise max_steps" in run.message


def test_a_numerical_inverse_stops_by_its_own_tolerance():
    objective = pg.Objective(pg.Simulator(lambda x: x**9), squares)
    residuals, costs = [], []
    for rtol in (1e-1, 1e-2, 1e-4):
        method = pg.PhysicalGradient(0.3, inverse=pg.NumericalInverse(rtol=rtol))
        run = pg.minimize(objective, method, jnp.array([3.0]), 1)
        step = abs(run.trajectory.targets[0, 0] - run.trajectory["z"][0, 0])
        certificates = run.trajectory.certificates
        assert certificates is not None
        residuals.append(certificates.residuals[0] / step)
        costs.append(run.evaluations["inverse"])
        assert residuals[-1] <= rtol
    assert costs[0] < costs[-1] and residuals[0] > residuals[-1]


def pairs(x):
    return jnp.stack([x[0] + x[1], 2 * (x[0] + x[1])])


RANK_DEFICIENT = {
    "Gauss-Newton": pg.GaussNewton(),
    "Levenberg-Marquardt": pg.LevenbergMarquardt(),
    "linearized": pg.PhysicalGradient(1.0, pg.LinearizedInverse()),
}


@pytest.mark.parametrize("name", RANK_DEFICIENT)
def test_a_rank_deficient_jacobian_gives_the_shortest_step(name):
    objective = pg.Objective(pairs, pg.SquaredLoss(jnp.ones(2)))
    run = pg.minimize(objective, RANK_DEFICIENT[name], jnp.array([1.0, 2.0]), 4)
    assert run.ok
    assert np.allclose(np.sum(run.x), 0.6, atol=1e-4)  # where the loss is least
    assert np.allclose(run.x[1] - run.x[0], 1, atol=1e-4)  # nothing along (1, -1)


def wide(x):
    return jnp.tile(x, 10)


TOO_LARGE = {
    "Levenberg-Marquardt": (pg.LevenbergMarquardt(), "LinearizedInverse(solver="),
    "half": (pg.HalfInverse(1.0), "LinearizedInverse(solver="),
    "numerical, by another solver": (
        pg.PhysicalGradient(1.0, pg.NumericalInverse(optx.Dogleg(1e-6, 1e-6))),
        "NumericalInverse(linear_solver=",
    ),
    "Newton": (pg.Newton(1.0), "use LBFGS"),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_matrix_that_does_not_fit_is_refused_before_it_is_made(name):
    method, words = TOO_LARGE[name]
    objective = pg.Objective(wide, pg.SquaredLoss(jnp.zeros(200_000)))
    with pytest.raises(ValueError, match="needs more than 1 GiB") as e:
        pg.minimize(objective, method, jnp.ones(20_000), 1)
    assert words in str(e.value) and "x 20000 entries" in str(e.value)


BY_PRODUCTS = {
    "Gauss-Newton": pg.GaussNewton(),
    "linearized": pg.PhysicalGradient(1.0, pg.LinearizedInverse()),
    "damped": pg.PhysicalGradient(1.0, pg.LinearizedInverse(1e-8)),
    "relative": pg.PhysicalGradient(1.0, pg.LinearizedInverse(1e-6, relative=True)),
    "numerical": pg.PhysicalGradient(1.0, pg.NumericalInverse()),
    "the default": pg.PhysicalGradient(1.0),
}


@pytest.mark.parametrize("name", BY_PRODUCTS)
def test_above_a_gib_only_products_with_the_jacobian_are_made(name):
    weights = jnp.linspace(1.0, 3.0, 20_000)
    objective = pg.Objective(
        lambda x: weights * x + 0.1 * x**2, pg.SquaredLoss(weights + 0.1)
    )
    run = pg.minimize(objective, BY_PRODUCTS[name], jnp.full(20_000, 0.9), 4)
    assert run.ok and np.allclose(run.x, 1, atol=1e-3), run.message
    assert run.evaluations["jvp"] < 2000


def test_the_size_of_a_relative_damping_is_found_by_products():
    matrix = np.random.default_rng(0).standard_normal((6, 4))
    objective = pg.Objective(lambda x: matrix @ x, pg.SquaredLoss(jnp.ones(6)))
    rule = pg.LinearizedInverse(0.1, relative=True)
    with jax.enable_x64(True):
        dense = pg.minimize(objective, pg.PhysicalGradient(1.0, rule), np.ones(4), 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("physgrad.inverses.linearized.fits", lambda *_: False)
            other = pg.PhysicalGradient(1.0, pg.LinearizedInverse(0.1, relative=True))
            run = pg.minimize(objective, other, np.ones(4, np.float64), 1)
    assert np.allclose(run.x, dense.x, rtol=1e-2) and np.all(run.x != dense.x)


@pytest.mark.parametrize("wide", [False, True], ids=["x64-off", "x64-on"])
@pytest.mark.parametrize("solver", [None, optx.GaussNewton(1e-6, 1e-6)])
def test_float32_is_inverted_whatever_the_switch(wide, solver):
    with jax.enable_x64(wide):
        x0 = jnp.array([2.0], jnp.float32)
        method = pg.PhysicalGradient(0.5, pg.NumericalInverse(solver))
        run = pg.minimize(pg.Objective(lambda x: x**3, squares), method, x0, 3)
    assert run.result == "completed" and run.x.dtype == jnp.float32


def test_a_long_way_round_is_no_jump_in_a_chain_either(dtype):
    def valley(x):
        return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    def formula(z):
        return jnp.stack([1 - z[1], z[0] / 10 + (1 - z[1]) ** 2])

    chain = pg.Chain(
        pg.Simulator(valley, pg.AnalyticInverse(formula)),
        pg.Simulator(lambda z: 2 * z, pg.AnalyticInverse(lambda z: z / 2)),
    )
    x0 = jnp.array([-1.2, 1.0], dtype)
    run = pg.minimize(pg.Objective(chain, squares), pg.PhysicalGradient(0.5), x0, 3)
    assert run.result == "completed" and run.loss < 2


def test_a_full_step_of_any_loss_ends_at_its_minimum_not_beyond(dtype):
    def square(x):
        return jnp.stack([x[0], x[1] ** 2])

    def root(z, x):
        return jnp.stack([z[0], jnp.copysign(jnp.sqrt(z[1]), x[1])])

    simulator = pg.Simulator(square, pg.AnalyticInverse(root))
    objective = pg.Objective(simulator, lambda z: jnp.sum(z**2))
    starts = np.random.default_rng(0).uniform(0.5, 4.0, (200, 2)).astype(dtype)
    method = pg.PhysicalGradient(1.0)
    ends = jax.vmap(lambda x0: pg.iterate(objective, method, x0, 1))(starts)
    assert np.all(ends.result == pg.Result.completed.code)
    assert np.all(ends.losses[:, -1] <= 1e-12)
