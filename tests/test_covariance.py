"""How well a fit knows its parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import physgrad as pg

TIMES = np.linspace(0.0, 4.0, 25)
NOISE = 0.05


def decay(x):
    return x["height"] * jnp.exp(-x["rate"] * TIMES.astype(x["rate"].dtype))


def measured(seed=0):
    draws = np.random.default_rng(seed).standard_normal(TIMES.shape)
    return 2.0 * np.exp(-0.7 * TIMES) + NOISE * draws


def fitted(data, weight=None):
    start = {"height": jnp.array(1.0), "rate": jnp.array(1.5)}
    loss = pg.SquaredLoss(jnp.asarray(data), weight)
    stop = pg.Stop(optimality=1e-6)
    return pg.minimize(
        pg.Objective(decay, loss), pg.LevenbergMarquardt(), start, 100, stop=stop
    )


@pytest.mark.parametrize("absolute", [False, True])
def test_it_is_that_of_scipy(absolute):
    data, sigma = measured(), np.where(TIMES < 2, 0.02, 0.1)
    _, expected = scipy.optimize.curve_fit(
        lambda t, height, rate: height * np.exp(-rate * t),
        TIMES,
        data,
        (1.0, 1.5),
        sigma,
        absolute_sigma=absolute,
    )
    with jax.enable_x64(True):
        run = fitted(data, jnp.asarray(1 / sigma**2))
        assert run.result == "converged"
        found = run.covariance(absolute=absolute)
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-4)
    np.testing.assert_allclose(
        [found.deviations["height"], found.deviations["rate"]],
        np.sqrt(np.diag(expected)),
        rtol=1e-4,
    )
    assert found.rank == 2 and found.degrees_of_freedom == 23
    np.testing.assert_allclose(np.diag(found.correlations), 1.0)


def test_fits_of_many_data_scatter_as_it_says(dtype):
    runs = [fitted(measured(seed).astype(dtype)) for seed in range(60)]
    ends = np.array([[run.x["height"], run.x["rate"]] for run in runs], float)
    said = [run.covariance() for run in runs]
    matrix = np.mean([one.matrix for one in said], axis=0)
    np.testing.assert_allclose(np.std(ends, axis=0), np.sqrt(np.diag(matrix)), rtol=0.3)
    noise = np.sqrt(np.mean([one.variance for one in said]))
    assert noise == pytest.approx(NOISE, rel=0.05)


def test_data_that_are_masked_do_not_count():
    weight = jnp.where(TIMES < 2.0, 1.0, 0.0)
    full, few = fitted(measured()), fitted(measured(), weight)
    masked = few.covariance()
    assert masked.degrees_of_freedom == int(np.sum(TIMES < 2.0)) - 2
    assert masked.deviations["rate"] > full.covariance().deviations["rate"]


def test_what_the_data_do_not_show_is_infinitely_uncertain():
    objective = pg.Objective(
        lambda x: jnp.stack([x[0] + x[1], x[2], 2 * x[2]]), pg.SquaredLoss(jnp.ones(3))
    )
    found = pg.covariance(objective, jnp.array([0.5, 0.5, 0.6]))
    assert found.rank == 2 and found.degrees_of_freedom == 1
    assert np.all(np.isinf(found.deviations[:2])) and np.isfinite(found.deviations[2])


def test_units_do_not_change_the_rank():
    units = jnp.array([1e9, 1e-9])
    objective = pg.Objective(
        lambda x: jnp.stack([x[0] / units[0], x[1] / units[1], x[1] / units[1]]),
        pg.SquaredLoss(jnp.array([1.0, 2.0, 3.0])),
    )
    found = pg.covariance(objective, jnp.array([1.0, 2.5]) * units)
    assert found.rank == 2
    np.testing.assert_allclose(found.deviations / units, [0.7071, 0.5], rtol=1e-3)


def test_wrong_use(tmp_path):
    exact = pg.Objective(lambda x: x, pg.SquaredLoss(jnp.ones(2)))
    with pytest.raises(ValueError, match="2 data and 2 parameters"):
        pg.covariance(exact, jnp.ones(2))
    assert pg.covariance(exact, jnp.ones(2), absolute=True).variance == 1
    other = pg.Objective(lambda x: x, lambda z: jnp.sum(z**4))
    with pytest.raises(TypeError, match="residuals of a SquaredLoss"):
        pg.covariance(other, jnp.ones(2))
    comparison = pg.compare(exact, jnp.zeros(2), {"GN": pg.GaussNewton()}, 1)
    comparison.save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"physgrad\.covariance\(objective, run\.x\)"):
        pg.Comparison.load(tmp_path / "run")["GN"].covariance()
