"""Least squares that can be trusted: steps within a radius, and honest ends."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import physgrad as pg
from physgrad.objective.local_model import local_model

LM = pg.LevenbergMarquardt()


def residuals_of(function, dtype, count):
    return pg.Objective(function, pg.SquaredLoss(jnp.zeros(count, dtype)))


def fit(function, x0, count, stop=1e-5, steps=200, method=LM):
    x0 = jnp.asarray(x0)
    objective = residuals_of(function, x0.dtype, count)
    return pg.minimize(
        objective, method, x0, steps, stop=pg.Stop(optimality=stop), progress=False
    )


def freudenstein_roth(x):
    a, b = x
    return jnp.stack(
        [-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b]
    )


def meyer(x):
    data = [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005]
    data = jnp.asarray([*data, 5147, 4427, 3820, 3307, 2872], x.dtype)
    return x[0] * jnp.exp(x[1] / (45 + 5 * jnp.arange(1.0, 17) + x[2])) - data


def helical(x):
    turn = jnp.arctan(x[1] / x[0]) / (2 * jnp.pi) + jnp.where(x[0] < 0, 0.5, 0.0)
    far = jnp.sqrt(x[0] ** 2 + x[1] ** 2)
    return jnp.stack([10 * (x[2] - 10 * turn), 10 * (far - 1), x[2]])


def brown_badly_scaled(x):
    return jnp.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def rational(x):
    """A fit whose data leave a misfit."""
    t = jnp.linspace(0.0, 2.0, 9)
    return x[0] / (1 + jnp.exp(x[1] * t)) - jnp.cos(2 * t)


PUBLISHED = {
    "a local minimum": (freudenstein_roth, (0.5, -2.0), 2, 48.9842),
    "Meyer": (meyer, (0.02, 4000.0, 250.0), 16, 87.9458),
    "helical valley": (helical, (-1.0, 0.0, 0.0), 3, 0.0),
    "badly scaled": (brown_badly_scaled, (1.0, 1.0), 3, 0.0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_minima_are_reached_and_said_to_be(name):
    function, start, count, least = PUBLISHED[name]
    with jax.enable_x64(True):
        run = fit(function, start, count, steps=1000)
        assert run.result == "converged"
        np.testing.assert_allclose(run.loss, least, rtol=1e-5, atol=1e-15)


def test_units_of_x_and_of_the_loss_do_not_matter(dtype):
    units = 2.0 ** np.array([-20, 20])
    plain = fit(rational, np.array([1.0, 1.0], dtype), 9)

    def in_units(x):
        return 2.0**10 * rational(x / jnp.asarray(units, x.dtype))

    other = fit(in_units, np.asarray(units, dtype), 9)
    assert plain.result == other.result == "converged"
    assert plain.num_steps == other.num_steps
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(other.x / units, plain.x, rtol=1e4 * eps)
    np.testing.assert_allclose(other.loss, 2.0**20 * plain.loss, rtol=1e3 * eps)


def test_the_end_is_that_of_scipy(dtype):
    run = fit(rational, np.array([1.0, 1.0], dtype), 9)
    with jax.enable_x64(True):
        found = scipy.optimize.least_squares(
            lambda x: np.asarray(rational(jnp.asarray(x))), [1.0, 1.0], xtol=1e-12
        )
    assert run.result == "converged"
    np.testing.assert_allclose(run.x, found.x, rtol=2e-3 if dtype == "f" else 1e-4)


def double_well(x):
    return jnp.stack([x[0], x[1] ** 2 - 1])


def test_what_the_data_do_not_determine_is_told_of(dtype):
    times = np.linspace(0.0, 4.0, 20)
    data = 2 * np.exp(-0.7 * times) + 0.1 * np.sin(9 * times)

    def decay(x):
        return x[0] * jnp.exp(-x[1] * times.astype(x.dtype))

    objective = pg.Objective(decay, pg.SquaredLoss(jnp.asarray(data, dtype)))
    stop, method = pg.Stop(optimality=1e-4), pg.LevenbergMarquardt()
    for rate, words in ((1.0, ""), (5000.0, "along 1 of 2 directions L is flat")):
        x0 = jnp.array([1.0, rate], dtype)
        run = pg.minimize(objective, method, x0, 50, stop=stop)
        assert run.result == "converged" and run.message.startswith(words)
        assert bool(run.message) == bool(words)


def test_a_saddle_is_no_success():
    run = fit(double_well, [1.0, 0.0], 2)
    assert run.result == "converged" and run.message == "left 1 saddle"
    assert run.loss < 1e-8 and abs(run.x[1]) == pytest.approx(1.0)
    assert np.all(np.diff(run.trajectory.losses) <= 0)
    place = int(np.argmax(run.trajectory["x"][:, 1] != 0))
    assert run.trajectory.losses[place - 1] == pytest.approx(1.0)
    # without a step left to leave it, it is named
    objective = pg.Objective(double_well, pg.SquaredLoss(jnp.zeros(2)))
    stop = pg.Stop(optimality=1e-6)
    x0, method = jnp.array([1.0, 0.0]), pg.LevenbergMarquardt()
    short = pg.minimize(objective, method, x0, place - 1, stop=stop)
    assert short.result == "stalled" and "a saddle" in short.message
    beside = fit(double_well, [1.0, 0.01], 2)
    assert beside.result == "converged" and beside.message == ""


def test_a_saddle_is_left_within_bounds_and_in_a_run_that_is_saved(tmp_path):
    def two_wells(x):
        return jnp.stack([x[0] ** 2 - 1, x[1] ** 2 - 4, 0.1 * x[0] * x[1]])

    objective = pg.Objective(
        two_wells, pg.SquaredLoss(jnp.zeros(3)), bounds=(-0.1, 5.0)
    )
    stop, method = pg.Stop(optimality=1e-4), pg.LevenbergMarquardt()
    x0 = jnp.array([0.0, 1.0])
    run = pg.minimize(objective, method, x0, 200, stop=stop, record_every=3)
    assert run.result == "converged" and "saddle" in run.message
    assert np.all(run.trajectory["x"] >= -0.1) and np.all(run.x > 0.9)
    saved = pg.minimize(objective, method, x0, 200, stop=stop, checkpoint=tmp_path)
    np.testing.assert_allclose(saved.x, run.x, rtol=1e-4)
    again = pg.minimize(objective, method, x0, 200, stop=stop, checkpoint=tmp_path)
    assert again.message == saved.message == run.message
    np.testing.assert_array_equal(again.trajectory["x"], saved.trajectory["x"])
    ends = pg.minimize(objective, method, x0, 200, stop=stop, record_every=None)
    at_saddle = int(ends.trajectory.steps[1])
    assert ends.trajectory.steps.tolist() == [0, at_saddle, ends.num_steps]
    assert ends.trajectory["x"][1, 0] == 0


def test_an_infimum_at_infinity_is_no_success():
    run = fit(lambda x: jnp.stack([1 / x[0], x[0] / x[0]]), [1.0], 2, steps=2000)
    assert run.result == "stalled" and run.x[0] > 100


def test_where_z_does_not_depend_on_x_nothing_is_reached():
    run = fit(lambda x: x**2 - 1, [0.0], 1)
    assert run.result == "stalled" and "Jacobian" in run.message
    solved = fit(lambda x: x**2, [0.0], 1)
    assert solved.result == "converged" and solved.num_steps == 0


def test_fewer_data_than_unknowns_are_fitted():
    def sums(x):
        return jnp.stack([x[0] + x[1] - 1, x[0] + x[1] + 1, x[2] * x[3] - 2])

    run = fit(sums, [1.0, 2.0, 1.0, 1.0], 3)
    assert run.result == "converged"
    assert run.loss == pytest.approx(2.0)


def test_a_scale_of_ones_over_units_is_one_of_ones(dtype):
    """x_scale in the units of x: the same iterates, whatever the units."""
    units = 2.0 ** np.array([-20, 20])

    def in_units(x):
        return rational(x / jnp.asarray(units, x.dtype))

    ones, scaled = (
        pg.LevenbergMarquardt(x_scale=jnp.asarray(scale, dtype))
        for scale in (np.ones(2), units)
    )
    plain = fit(rational, np.array([1.0, 1.0], dtype), 9, method=ones)
    other = fit(in_units, np.asarray(units, dtype), 9, method=scaled)
    assert plain.result == other.result == "converged"
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(other.x / units, plain.x, rtol=1e4 * eps)


def test_the_first_step_keeps_to_the_scale():
    scale = jnp.array([1e-3, 1e3])
    method = pg.LevenbergMarquardt(radius=0.1, x_scale=scale)
    run = fit(rational, [1.0, 1.0], 9, steps=1, method=method)
    moved = np.linalg.norm((run.x - 1.0) / scale)
    assert 0 < moved <= 0.1 * np.linalg.norm(1 / scale) * (1 + 1e-3)


def test_wrong_scales_are_refused():
    with pytest.raises(ValueError, match="x_scale must be positive and finite, got 0"):
        pg.LevenbergMarquardt(x_scale=jnp.array([1.0, 0.0]))
    method = pg.LevenbergMarquardt(x_scale=jnp.ones(3))
    with pytest.raises(ValueError, match=r"x_scale must have the shape \(2,\) of x"):
        fit(rational, [1.0, 1.0], 9, method=method)


METHODS = {
    "pg": pg.PhysicalGradient(1.0),
    "gauss-newton": pg.GaussNewton(0.5),
    "gd": pg.GradientDescent(0.05),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_measure_is_one_for_all_methods(name):
    run = fit(rational, [1.0, 1.0], 9, stop=1e-2, steps=500, method=METHODS[name])
    assert run.result == "converged" and run.num_steps > 0
    objective = residuals_of(rational, jnp.float32, 9)
    flat, _ = objective.flatten(run.x)

    def part_left(x):
        """By NumPy: the part of the residual in the range of J."""
        r = np.asarray(rational(jnp.asarray(x)), float)
        jacobian = np.asarray(jax.jacobian(rational)(jnp.asarray(x)), float)
        q, _ = np.linalg.qr(jacobian)
        return np.linalg.norm(q.T @ r) / np.linalg.norm(r)

    at_end = flat.start(jnp.asarray(run.x))
    measured = float(local_model(flat, at_end).optimality(flat, at_end))
    if measured > 0 or part_left(run.x) > 1e-3:  # else it is lost in rounding
        assert measured == pytest.approx(part_left(run.x), rel=2e-2, abs=1e-5)
    assert measured <= 1e-2 < part_left(run.trajectory["x"][-2])


def model_of(matrix, vector):
    """The model of L = |A x - b|^2 at x = 0, up to the factor of its metric."""
    objective = pg.Objective(lambda x: matrix @ x, pg.SquaredLoss(vector))
    flat, x = objective.flatten(jnp.zeros(matrix.shape[1], matrix.dtype))
    return local_model(flat, flat.start(x))


@eqx.filter_jit
def bounded(matrix, vector, scale, radius):
    model = model_of(matrix, vector)
    return model, *model.bounded(scale, radius)


@pytest.mark.parametrize("shape", [(5, 3), (3, 3), (3, 5)])
@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0, 1e3])
def test_a_bounded_step_is_the_lowest_point_within_its_radius(dtype, shape, radius):
    keys = jax.random.split(jax.random.key(0), 3)
    matrix = jax.random.normal(keys[0], shape, dtype)
    vector = jax.random.normal(keys[1], shape[:1], dtype)
    scale = 2 ** jax.random.normal(keys[2], shape[1:], dtype)
    model, dx, length = bounded(matrix, vector, scale, jnp.asarray(radius, dtype))
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(length, jnp.linalg.norm(scale * dx), rtol=10 * eps)
    assert length <= radius * (1 + 1e-3)
    a, b = (np.asarray(part, float) for part in (model.matrix, model.vector))
    slope, outward = a.T @ (b - a @ np.asarray(dx)), np.asarray(scale**2 * dx)
    if length < 0.999 * radius:
        floor = float(1e4 * eps * np.linalg.norm(a) ** 2)
        np.testing.assert_allclose(slope, 0, atol=floor)
    else:  # the slope of the model points out of the region
        damping = slope @ outward / (outward @ outward)
        assert damping > 0
        np.testing.assert_allclose(slope, damping * outward, rtol=1e-2, atol=1e-3)


def test_bounded_steps_can_be_differentiated():
    with jax.enable_x64(True):
        matrix = jnp.array([[2.0, 0.3], [0.1, 1.0], [0.5, -0.4]])
        scale = jnp.array([1.0, 3.0])

        @jax.jit
        def step(b, radius):
            dx, _ = model_of(matrix, jnp.stack([b, 2.0, -1.0])).bounded(scale, radius)
            return dx

        h = 1e-6
        for argument in range(2):
            at = [1.0, 0.2]
            by_rule = jax.jit(jax.jacfwd(step, argument))(*map(jnp.asarray, at))
            back = jax.jit(jax.jacrev(step, argument))(*map(jnp.asarray, at))
            up, down = list(at), list(at)
            up[argument] += h
            down[argument] -= h
            numeric = (step(*map(jnp.asarray, up)) - step(*map(jnp.asarray, down))) / (
                2 * h
            )
            np.testing.assert_allclose(by_rule, numeric, rtol=1e-5)
            np.testing.assert_allclose(back, numeric, rtol=1e-5)
