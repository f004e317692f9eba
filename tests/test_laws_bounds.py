"""Laws of bounds: no iterate leaves them, and a run ends where they alone hold it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import optimistix as optx
import pytest
import scipy.optimize as so

import physgrad as pg

TIMES = np.linspace(0.0, 3.0, 20)
RNG = np.random.default_rng(0)
NOISE = 0.01 * RNG.standard_normal(20)
MATRIX = np.random.default_rng(1).standard_normal((4, 3))


def decay(x):
    return x[0] * jnp.exp(-x[1] * jnp.asarray(TIMES, x.dtype)) + x[2]


def linear(x):
    return jnp.asarray(MATRIX, x.dtype) @ x


def rosenbrock(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


DECAY = 2.0 * np.exp(-1.3 * TIMES) - 0.3 + NOISE
# simulator, data, bounds, start: in each a bound is active at the minimum
PROBLEMS = {
    "decay": (decay, DECAY, ([0, 0, 0], [10, 10, 10]), [1, 1, 1]),
    "linear": (linear, [3, -2, 1, 0.5], ([-0.2] * 3, [0.3, 0.9, 0.3]), [0, 0, 0]),
    "rosenbrock": (rosenbrock, [0, 0], ([-2, -2], [0.7, 0.3]), [-1, 0.2]),
}
METHODS = {
    "lm": (pg.LevenbergMarquardt(), 60),
    "gauss-newton": (pg.GaussNewton(1.0), 60),
    "pg": (pg.PhysicalGradient(1.0, acceptance="monotone"), 60),
    "trust-region": (pg.PhysicalGradient(1.0, acceptance="trust-region"), 60),
    "damped": (
        pg.PhysicalGradient(
            1.0, pg.LinearizedInverse(1e-3, relative=True), acceptance="monotone"
        ),
        200,
    ),
    "transposed": (
        pg.PhysicalGradient(
            1.0, pg.TransposedInverse(), metric="gradient", acceptance="monotone"
        ),
        4000,
    ),
    "newton": (pg.Newton(1.0), 60),
    "gradient": (pg.GradientDescent(0.002), 20_000),
    "adam": (pg.OptaxOptimizer(optax.adam(0.005)), 10_000),
    "lbfgs": (pg.LBFGS(), 300),
    "bfgs": (pg.OptimistixOptimizer(optx.BFGS(1e-8, 1e-8)), 300),
    "dogleg": (pg.OptimistixOptimizer(optx.Dogleg(1e-8, 1e-8)), 300),
}


def posed(name, dtype=jnp.float64):
    forward, data, (lower, upper), x0 = PROBLEMS[name]
    lower, upper, x0, data = (
        jnp.asarray(v, dtype) for v in (lower, upper, x0, np.asarray(data, float))
    )
    return pg.Objective(forward, pg.SquaredLoss(data)), (lower, upper), x0


def by_scipy(name, method="trf"):
    forward, data, bounds, x0 = PROBLEMS[name]
    with jax.enable_x64(True):
        residual = jax.jit(lambda x: forward(x) - jnp.asarray(data, float))
        found = so.least_squares(
            lambda x: np.asarray(residual(x)),
            np.asarray(x0, float),
            bounds=bounds,
            method=method,
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
        )
    return found.x


def kkt(objective, bounds, x):
    """Largest entry of x - clip(x - gradient)."""
    gradient = jax.grad(lambda x: objective(x))(x)
    return float(jnp.max(jnp.abs(x - jnp.clip(x - gradient, *bounds))))


# the fit is what the others are not, tall and bent; not each needs it
CASES = [(name, problem) for name in METHODS for problem in ("linear", "rosenbrock")]
CASES += [(name, "decay") for name in ("lm", "pg", "newton", "lbfgs", "dogleg")]


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_every_method_stays_within_and_ends_where_bounds_hold_it(name, problem):
    method, steps = METHODS[name]
    with jax.enable_x64(True):
        objective, bounds, x0 = posed(problem)
        stop = pg.Stop(gradient=1e-6)
        run = pg.minimize(objective, method, x0, steps, bounds=bounds, stop=stop)
        points = run.trajectory["x"]
        assert np.all(points >= bounds[0]) and np.all(points <= bounds[1])
        assert run.result == "converged" and kkt(objective, bounds, run.x) <= 1e-6
        np.testing.assert_allclose(run.x, by_scipy(problem), atol=1e-5)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_levenberg_marquardt_ends_by_optimality_in_both_precisions(problem, dtype):
    objective, bounds, x0 = posed(problem, dtype)
    stop = pg.Stop(optimality=1e-3 if dtype == jnp.float32 else 1e-8)
    method = pg.LevenbergMarquardt()
    run = pg.minimize(objective, method, x0, 100, bounds=bounds, stop=stop)
    assert run.result == "converged", run.message
    rtol = 2e-3 if dtype == jnp.float32 else 1e-6
    np.testing.assert_allclose(run.x, by_scipy(problem, "dogbox"), rtol, rtol)


def test_bounds_that_are_not_active_change_nothing():
    with jax.enable_x64(True):
        objective, _, x0 = posed("decay")
        for name in ("lm", "lbfgs"):  # plain Newton leaves any bounds on its way
            method, steps = METHODS[name]
            runs = [
                pg.minimize(
                    objective, method, x0, steps, bounds=b, stop=pg.Stop(gradient=1e-8)
                )
                for b in (None, (-100, 100), (None, 100), (-np.inf, None))
            ]
            for run in runs[1:]:
                np.testing.assert_allclose(run.x, runs[0].x, rtol=1e-6)


def test_random_bounded_least_squares_against_scipy():
    with jax.enable_x64(True):
        for seed in range(25):
            rng = np.random.default_rng(seed)
            matrix, data = rng.standard_normal((8, 5)), 2 * rng.standard_normal(8)
            matrix *= 10.0 ** rng.uniform(-3, 3, 5)
            half = np.abs(np.linalg.lstsq(matrix, data)[0]) * rng.uniform(0.2, 2, 5)
            found = so.lsq_linear(matrix, data, (-half, half), method="bvls")
            forward = jax.tree_util.Partial(jnp.matmul, jnp.asarray(matrix))
            run = pg.minimize(
                pg.Objective(forward, pg.SquaredLoss(jnp.asarray(data))),
                pg.LevenbergMarquardt(),
                jnp.zeros(5),
                100,
                bounds=(jnp.asarray(-half), jnp.asarray(half)),
                stop=pg.Stop(optimality=1e-10),
            )
            assert run.result == "converged"
            np.testing.assert_allclose(run.x / half, found.x / half, atol=1e-7)


def test_equal_bounds_fix_an_entry_to_the_bit():
    objective, _, x0 = posed("decay", jnp.float32)
    x0 = x0.at[2].set(0.1234567)
    bounds = (jnp.array([0.0, 0.0, x0[2]]), jnp.array([9.0, 9.0, x0[2]]))
    for name in ("lm", "pg", "newton", "adam", "lbfgs"):
        run = pg.minimize(objective, METHODS[name][0], x0, 20, bounds=bounds)
        assert np.all(run.trajectory["x"][:, 2] == x0[2]), name
    all_fixed = pg.minimize(
        objective,
        pg.LevenbergMarquardt(),
        x0,
        20,
        bounds=(x0, x0),
        stop=pg.Stop(optimality=1e-3),
    )
    assert all_fixed.result == "converged" and np.array_equal(all_fixed.x, x0)


def test_a_start_on_a_bound_may_leave_it_and_an_end_there_stays():
    objective = pg.Objective(lambda x: x, pg.SquaredLoss(jnp.array([1.0, -1.0])))
    for name in ("lm", "gauss-newton", "newton", "lbfgs"):
        method, stop = METHODS[name][0], pg.Stop(gradient=1e-5)
        run = pg.minimize(
            objective, method, jnp.zeros(2), 50, bounds=(0.0, None), stop=stop
        )
        np.testing.assert_allclose(run.x, [1.0, 0.0], atol=1e-5)
        again = pg.minimize(
            objective, method, jnp.array([1.0, 0.0]), 50, bounds=(0.0, None), stop=stop
        )
        assert (again.result, again.num_steps) == ("converged", 0)


def test_trees_and_bounds_of_the_objective():
    objective = pg.Objective(
        lambda x: {"z": x["a"] + jnp.sum(x["b"])},
        pg.SquaredLoss({"z": jnp.array([5.0, 9.0])}),
        bounds=({"a": None, "b": 0.0}, {"a": jnp.array([1.0, 2.0]), "b": 1.0}),
    )
    start = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
    run = pg.minimize(objective, pg.LevenbergMarquardt(), start, 30)
    np.testing.assert_allclose(run.x["a"], [1.0, 2.0])
    np.testing.assert_allclose(run.x["b"], [1.0, 1.0, 1.0])
    runs = pg.minimize_many(
        objective,
        pg.LevenbergMarquardt(),
        jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 0.5]), start),
        30,
    )
    np.testing.assert_allclose(runs.x["a"], [[1.0, 2.0]] * 2)


def test_the_covariance_is_that_of_what_no_bound_holds():
    with jax.enable_x64(True):
        objective, bounds, x0 = posed("decay")
        run = pg.minimize(
            objective,
            pg.LevenbergMarquardt(),
            x0,
            60,
            bounds=bounds,
            stop=pg.Stop(optimality=1e-8),
        )
        found = run.covariance()
        without = pg.Objective(lambda x: decay(jnp.append(x, 0.0)), objective.loss)
        other = pg.covariance(without, run.x[:2])
        np.testing.assert_allclose(found.deviations[:2], other.deviations, rtol=1e-6)
        assert found.deviations[2] == 0 and found.rank == 2


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        (3.0, TypeError, r"bounds must be a pair \(lower, upper\), got"),
        ((0.0,), TypeError, r"bounds must be a pair \(lower, upper\), got"),
        (("a", 1.0), TypeError, "lower"),
        ((float("nan"), 1.0), ValueError, "the lower bound must be a number, got nan"),
        (
            (jnp.zeros(3), jnp.array([1.0, jnp.nan, 1.0])),
            ValueError,
            r"bound\[1\]",
        ),
        ((2.0, 1.0), ValueError, r"got 2.0 and 1.0 for x\[0\]"),
        ((0.0, jnp.ones(2)), ValueError, r"upper bound of x must fit its shape \(3,\)"),
        (({"a": 0.0}, 1.0), ValueError, "lower bound must be a number or have the str"),
        ((1.5, None), ValueError, r"x0\[0\] must lie between 1.5 and inf, got 1.0"),
        ((None, jnp.array([9.0, 9.0, 0.5])), ValueError, r"x0\[2\] must lie between"),
    ],
)
def test_wrong_bounds_are_refused_by_name(bounds, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    objective, _, x0 = posed("decay", jnp.float32)
    with pytest.raises(error, match=message):
        pg.minimize(objective, pg.LevenbergMarquardt(), x0, 3, bounds=bounds)


def test_starts_outside_are_refused_in_a_batch():
    objective = pg.Objective(lambda x: x, pg.SquaredLoss(jnp.zeros(2)), (0.0, 1.0))
    starts = jnp.array([[0.5, 0.5], [0.5, 2.0]])
    with pytest.raises(ValueError, match=r"x0\[1\]\[1\] must lie between 0.0 and 1.0"):
        pg.minimize_many(objective, pg.GradientDescent(0.1), starts)
