"""Bounds by a change of variables: round trips, and solutions within the bounds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import physgrad as pg

BIJECTIONS = {
    "positive": (pg.Positive(), [1e-6, 0.5, 2e4]),
    "interval": (pg.Interval(-1.0, 3.0), [-0.999, 0.0, 2.5]),
    "intervals": (
        pg.Interval(jnp.array([0.0, -5.0, 1.0]), jnp.array([1.0, 5.0, 100.0])),
        [0.25, 4.5, 1.5],
    ),
    "simplex": (pg.Simplex(), [0.5, 0.3, 0.2]),
}
SMALLER = pg.LevenbergMarquardt()


@pytest.mark.parametrize("name", BIJECTIONS)
def test_start_is_the_inverse(name, dtype):
    bijection, x = BIJECTIONS[name]
    x = jnp.asarray(x, dtype)
    back = bijection(bijection.start(x))
    assert back.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(back, x, rtol=20 * eps, atol=4 * eps)


@pytest.mark.parametrize("name", BIJECTIONS)
def test_every_u_obeys_the_bounds(name, dtype):
    bijection, x = BIJECTIONS[name]
    free = bijection.start(jnp.asarray(x, dtype))
    for u in jax.random.normal(jax.random.key(0), (50, free.size), dtype) * 20:
        end = np.asarray(bijection(u), float)
        assert np.all(np.isfinite(end))
        if name == "intervals":
            low, high = np.array([0.0, -5.0, 1.0]), np.array([1.0, 5.0, 100.0])
        else:
            low, high = {"interval": (-1.0, 3.0)}.get(name, (0.0, np.inf))
        rounding = 8 * float(jnp.finfo(dtype).eps) * np.abs(end)
        assert np.all((end >= low - rounding) & (end <= high + rounding))
        if name == "simplex":
            assert np.sum(end) == pytest.approx(1.0, rel=1e-5)


def test_a_tree_is_bounded_leaf_by_leaf():
    lower, upper = {"a": 0.0, "b": -1.0}, {"a": 2.0, "b": 1.0}
    box = pg.Interval(lower, upper)
    u = box.start({"a": 1.5, "b": jnp.array([0.5, -0.5])})
    x = box(u)
    np.testing.assert_allclose(x["a"], 1.5, rtol=1e-6)
    np.testing.assert_allclose(x["b"], [0.5, -0.5], rtol=1e-6)


def misfit(x):
    return jnp.stack([x[0] - 3.0, x[1] + 1.0, x[0] * x[1] - 0.5])


@pytest.mark.parametrize(
    "method", [SMALLER, pg.PhysicalGradient(0.5), pg.LBFGS()], ids=["lm", "pg", "lbfgs"]
)
def test_the_end_is_scipys_bounded_solution(method):
    with jax.enable_x64(True):
        lower, upper = np.array([0.0, 0.1]), np.array([2.0, 5.0])
        expected = scipy.optimize.least_squares(
            lambda x: np.asarray(misfit(jnp.asarray(x))),
            [1.0, 1.0],
            bounds=(lower, upper),
        ).x
        box = pg.Interval(jnp.asarray(lower), jnp.asarray(upper))
        chain = pg.Chain(box, misfit, names=("u", "x", "z"))
        objective = pg.Objective(chain, pg.SquaredLoss(jnp.zeros(3)))
        start = box.start(jnp.array([1.0, 1.0]))
        run = pg.minimize(objective, method, start, 400, progress=False)
        x = run.trajectory["x"]
        assert np.all((x >= lower) & (x <= upper))
        np.testing.assert_allclose(x[-1], expected, atol=2e-2)


def test_parts_of_a_mixture_are_found():
    with jax.enable_x64(True):
        spectra = jnp.array([[1.0, 0.2, 0.0], [0.1, 1.0, 0.3], [0.0, 0.2, 1.0]])
        truth = jnp.array([0.6, 0.1, 0.3])
        shares = pg.Simplex()
        chain = pg.Chain(shares, lambda x: spectra @ x, names=("u", "x", "z"))
        objective = pg.Objective(chain, pg.SquaredLoss(spectra @ truth))
        start = shares.start(jnp.ones(3) / 3)
        run = pg.minimize(objective, SMALLER, start, 30)
        np.testing.assert_allclose(run.trajectory["x"][-1], truth, rtol=1e-8)
        np.testing.assert_allclose(np.sum(run.trajectory["x"], axis=1), 1.0, rtol=1e-12)


def test_new_bounds_compile_nothing_anew():
    def solve(upper):
        box = pg.Interval(jnp.zeros(2), jnp.asarray(upper))
        chain = pg.Chain(box, misfit, names=("u", "x", "z"))
        objective = pg.Objective(chain, pg.SquaredLoss(jnp.zeros(3)))
        return pg.minimize(objective, SMALLER, box.start(jnp.full(2, 0.5)), 5)

    solve([1.0, 1.0])
    assert solve([2.0, 3.0]).compilations == 0


WRONG = {
    "negative": (
        lambda: pg.Positive().start(jnp.array([1.0, -2.0])),
        "got -2.0 at x[1]",
    ),
    "on a bound": (
        lambda: pg.Interval(0.0, 1.0).start({"a": jnp.array([0.5, 1.0])}),
        "x['a'][1] must lie between 0.0 and 1.0, got 1.0",
    ),
    "crossed": (lambda: pg.Interval(1.0, 0.0), "upper less lower must be positive"),
    "equal": (lambda: pg.Interval(1.0, 1.0), "upper less lower must be positive"),
    "infinite": (lambda: pg.Interval(0.0, np.inf), "upper must be finite"),
    "another structure": (
        lambda: pg.Interval({"a": 0.0}, 1.0),
        "must have the same structure",
    ),
    "no parts": (
        lambda: pg.Simplex().start(jnp.ones(2)),
        "must have the sum 1, got 2.0",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use(name):
    make, words = WRONG[name]
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value)
