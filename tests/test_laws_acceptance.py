"""Laws of the acceptance of steps: with it the true loss never rises."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest
from families import FAMILIES, Pick, eps, square, square_root

import physgrad as pg
from physgrad.inverses.rule import Inverse, PullBack
from physgrad.results import Cause

SIZES = (0.3, 1.0, 1.5, 3.0)
ACCEPTANCES = {"monotone": pg.Monotone, "trust-region": pg.TrustRegion}


def squares(z):
    return jnp.sum(z**2)


def identity(x):
    return x


TOY = pg.Simulator(square, pg.AnalyticInverse(square_root))
SAME = pg.Simulator(identity, pg.AnalyticInverse(identity))
TOY_LOSS = pg.Objective(TOY, squares)
BOWL = pg.Objective(SAME, squares)
START = (3.0, 3.0)


@eqx.filter_jit
def runs(objective, method, x0, num_steps=8):
    return pg.iterate(objective, method, x0, num_steps)


def run(objective, method, start, num_steps, dtype=jnp.float32, **options):
    x0 = jnp.asarray(start, dtype)
    return pg.minimize(objective, method, x0, num_steps, **options)


def certificates(of):
    """Those of a trajectory, or of iterates."""
    assert of.certificates is not None
    return of.certificates


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("monotone", "float32"),
        ("monotone", "float64"),
        ("trust-region", "float32"),
    ],
    indirect=["dtype"],
)
def test_the_loss_never_rises(family, name, dtype):
    random = np.random.default_rng(0)
    for member in family.maps:
        forward, rule = family.pick(member), family.exact(member)
        for start in member.points:
            scale = 1 + 0.1 * random.standard_normal(len(start))
            x0 = jnp.asarray(start * scale, dtype)
            target = forward(jnp.asarray(member.points[-1], dtype))
            target = target + jnp.asarray(0.3 * random.standard_normal(family.size))
            loss = pg.SquaredLoss(jnp.asarray(target, dtype))
            objective = pg.Objective(pg.Simulator(forward, rule), loss)
            for size in SIZES:
                method = pg.PhysicalGradient(size, acceptance=ACCEPTANCES[name]())
                losses = runs(objective, method, x0).losses
                assert np.all(np.isfinite(losses))
                assert np.all(np.diff(losses) <= 0), (member.name, start, size)


@pytest.mark.parametrize("name", ACCEPTANCES)
def test_steps_that_serve_are_those_of_the_plain_method(name):
    dtype = jnp.float32
    plain = runs(TOY_LOSS, pg.PhysicalGradient(0.3), jnp.asarray(START, dtype), 30)
    method = pg.PhysicalGradient(0.3, acceptance=name)
    held = runs(TOY_LOSS, method, jnp.asarray(START, dtype), 30)
    assert held.result == plain.result == 0
    np.testing.assert_allclose(held.spaces["x"], plain.spaces["x"], rtol=8 * eps(dtype))
    assert np.array_equal(certificates(held).rejections, np.zeros(30))
    assert jax.tree.map(int, held.evaluations) == jax.tree.map(int, plain.evaluations)


def test_a_step_out_of_range_is_halved_and_said(dtype):
    """eta = 1.5 asks the toy for the root of a negative number."""
    method = pg.PhysicalGradient(1.5, acceptance="monotone")
    found = run(TOY_LOSS, method, START, 10, dtype)
    rejections = certificates(found.trajectory).rejections
    assert found.result == "completed" and found.trajectory.losses[-1] < 1e-2
    assert rejections[0] == 1 and np.all(np.isfinite(found.trajectory["x"]))
    many = int(np.sum(rejections > 0))
    assert f"{many} of 10 recorded steps were shortened in z" in found.message
    assert f"{np.sum(rejections)} point" in found.message
    assert found.evaluations["inverse"] == 10 + np.sum(rejections)
    plain = run(TOY_LOSS, pg.PhysicalGradient(1.5), START, 10, dtype)
    assert plain.result == "inverse_failed" and plain.num_steps == 0


def near(z, x):
    """An inverse that serves for steps shorter than 1 only."""
    return jnp.where(jnp.max(jnp.abs(z - x)) < 1, z, jnp.nan)


def wrong_far_away(z, x):
    """An inverse that is right for steps shorter than 1 only."""
    return jnp.where(jnp.max(jnp.abs(z - x)) < 1, z, 2 * z + 1)


def at_home(z, x):
    """An inverse that serves for no step at all."""
    return jnp.where(jnp.all(z == x), z, jnp.nan)


LOCAL = (near, wrong_far_away, at_home)


def local(function):
    rule = pg.AnalyticInverse(Pick(LOCAL, jnp.int32(LOCAL.index(function))))
    return pg.Objective(pg.Simulator(identity, rule), squares)


@pytest.mark.parametrize("name", ACCEPTANCES)
def test_a_local_inverse_is_asked_for_shorter_steps(name):
    """One that serves for no step at all is named."""
    method = pg.PhysicalGradient(1.0, acceptance=name)
    for function in (near, wrong_far_away):
        found = run(local(function), method, START, 40)
        assert found.result == "completed" and np.allclose(found.x, 0, atol=1e-6)
        assert certificates(found.trajectory).rejections[0] > 0
    found = run(local(at_home), method, START, 40)
    assert found.result == "inverse_failed" and np.array_equal(found.x, START)
    assert "NaN" in found.message


def hole(x):
    """NaN near 0."""
    return jnp.where(jnp.abs(x) < 0.5, jnp.nan, x)


@pytest.mark.parametrize("name", ACCEPTANCES)
def test_a_simulator_that_is_nan_at_the_trial_is_asked_nearer(name):
    objective = pg.Objective(pg.Simulator(hole, SAME.rule), squares)
    assert run(objective, pg.PhysicalGradient(1.0), START, 3).num_steps == 0
    method = pg.PhysicalGradient(1.0, acceptance=name)
    found = run(objective, method, START, 3)
    assert np.all(np.isfinite(found.trajectory["z"]))
    losses = found.trajectory.losses
    assert np.all(np.diff(losses) <= 0) and losses[-1] < losses[0]
    assert certificates(found.trajectory).rejections[0] > 0


def fenced(z):
    """A loss that is NaN below 2.9."""
    return jnp.where(jnp.min(z) < 2.9999, jnp.nan, jnp.sum(z**2))


def test_a_loss_that_is_nan_all_around_is_non_finite():
    metric = pg.NewtonMetric(absolute=True)
    method = pg.PhysicalGradient(1.0, metric=metric, acceptance=pg.Monotone(3))
    found = run(pg.Objective(SAME, fenced), method, START, 5)
    assert found.result == "non_finite" and np.array_equal(found.x, START)


class HalfWay(Inverse):
    """Of the identity: runs out of its budget half way."""

    def pull_back(self, forward, z_target, state, metric):
        z = state.z + 0.5 * (z_target - state.z)
        failed = jnp.asarray(pg.Result.inverse_failed.code)
        residual, cause = jnp.max(jnp.abs(z - z_target)), Cause.out_of_budget.code
        return PullBack(z, z, residual, failed, 0.0, cause)


def test_a_partial_result_serves_where_the_loss_falls():
    objective = pg.Objective(pg.Simulator(identity, HalfWay()), squares)
    plain = run(objective, pg.PhysicalGradient(1.0), START, 5)
    assert plain.result == "inverse_failed" and plain.num_steps == 0
    found = run(objective, pg.PhysicalGradient(1.0, acceptance="monotone"), START, 5)
    assert found.result == "completed"
    np.testing.assert_allclose(found.x, np.array(START) / 32)
    assert "5 of 5 recorded steps went part of the way" in found.message


def test_a_partial_result_that_went_nowhere_does_not_serve():
    rule = pg.NumericalInverse(optx.GradientDescent(0.2, 1e-8, 1e-8), max_steps=2)
    objective = pg.Objective(pg.Simulator(lambda x: 0.9 * x, rule), squares)
    method = pg.PhysicalGradient(1.0, acceptance=pg.Monotone(2))
    found = run(objective, method, (3.0,), 1)
    assert found.result == "inverse_failed" and found.num_steps == 0


def lies(z, x):
    """Right at the start only."""
    return jnp.where(jnp.all(z == square(x)), x, 0.5 * x + 7)


def test_the_next_rung_serves_where_the_first_one_lies(dtype):
    ladder = pg.Ladder([pg.AnalyticInverse(lies), pg.NumericalInverse()])
    method = pg.PhysicalGradient(0.5, ladder, acceptance=pg.Monotone(2))
    found = run(TOY_LOSS, method, START, 5, dtype)
    assert found.result == "completed"
    assert np.array_equal(certificates(found.trajectory).rungs, np.ones(5))
    assert np.array_equal(certificates(found.trajectory).rejections, np.full(5, 3))
    assert "NumericalInverse served 5 of 5 recorded steps" in found.message
    np.testing.assert_allclose(found.trajectory["z"][1], [1.5, 4.5], rtol=1e-4)


def rosenbrock(z):
    return 100 * (z[1] - z[0] ** 2) ** 2 + (1 - z[0]) ** 2


@pytest.mark.parametrize("radius", [None, 0.3])
def test_a_trust_region_follows_the_valley(radius, dtype):
    metric = pg.NewtonMetric(absolute=True)
    region = pg.TrustRegion(radius)
    method = pg.PhysicalGradient(1.0, metric=metric, acceptance=region)
    found = run(pg.Objective(SAME, rosenbrock), method, (-1.2, 1.0), 80, dtype)
    losses, xs = found.trajectory.losses, found.trajectory["x"]
    assert np.all(np.diff(losses) <= 0) and found.result == "completed"
    np.testing.assert_allclose(found.x, 1.0, atol=eps(dtype) ** 0.4)
    rejected = certificates(found.trajectory).rejections > 0
    assert np.array_equal(xs[1:][rejected], xs[:-1][rejected])
    moved = np.abs(found.trajectory.targets - found.trajectory["z"][:-1])
    if radius is None:
        assert np.any(rejected[:40])
    sizes = np.max(moved, axis=1)[:40]
    # after a rejection the step asked for is a quarter
    after = np.flatnonzero(rejected[:39])
    np.testing.assert_allclose(sizes[after + 1], sizes[after] / 4, rtol=1e-3)


def test_a_radius_grows_where_the_loss_falls_as_promised(dtype):
    method = pg.PhysicalGradient(1.0, acceptance=pg.TrustRegion(0.5))
    found = run(BOWL, method, (100.0, 0.0), 12, dtype)
    moved = -np.diff(found.trajectory["x"][:, 0])
    np.testing.assert_allclose(moved[1:6] / moved[:5], 2.0, rtol=1e-3)
    np.testing.assert_allclose(found.x, 0.0, atol=1e-4)


def test_going_to_and_fro_is_seen():
    dtype = jnp.float32
    found = run(BOWL, pg.PhysicalGradient(2.0), START, 12, dtype)
    assert found.result == "stalled" and found.num_steps == 1
    assert "to and fro" in found.message
    for size in (0.3, 1.0, 1.9):
        assert run(BOWL, pg.PhysicalGradient(size), START, 12, dtype).ok
    held = pg.PhysicalGradient(2.0, acceptance="monotone")
    assert np.allclose(run(BOWL, held, START, 12, dtype).x, 0, atol=1e-6)


def by_hand(transformation, start, num_steps):
    z, memory = np.array(start), transformation.init(np.array(start))
    path = [z]
    for _ in range(num_steps):
        turned, memory = transformation.update(z, memory, z)  # H^-1 dL/dz is z
        z = z - 0.3 * np.asarray(turned)
        path.append(z)
    return np.stack(path)


@pytest.mark.parametrize("turn", [optax.trace(0.5), optax.scale_by_adam()])
def test_momentum_is_that_of_the_step_in_z(turn):
    method = pg.PhysicalGradient(0.3, transformation=turn)
    found = run(BOWL, method, START, 12)
    np.testing.assert_allclose(
        found.trajectory["z"], by_hand(turn, START, 12), rtol=1e-4, atol=1e-5
    )


def test_heavy_ball_in_z(dtype):
    method = pg.PhysicalGradient(0.3, transformation=optax.trace(0.5))
    found, z = run(BOWL, method, START, 12, dtype), np.array(START)
    ball = np.zeros(2)
    for k in range(13):
        np.testing.assert_allclose(found.trajectory["z"][k], z, rtol=1e-4, atol=1e-6)
        ball = 0.5 * ball - 0.3 * z
        z = z + ball


def test_rejected_steps_give_no_momentum():
    """The trust region tries the same way again, a quarter as far."""
    region = pg.TrustRegion()
    method = pg.PhysicalGradient(
        3.0, acceptance=region, transformation=optax.trace(0.9)
    )
    found = run(BOWL, method, START, 2)
    assert certificates(found.trajectory).rejections.tolist() == [1, 0]
    np.testing.assert_allclose(found.trajectory.targets[0], -2 * np.array(START))
    np.testing.assert_allclose(found.x, 0.25 * np.array(START), rtol=1e-5)


@pytest.mark.parametrize("whole", [optax.adam(0.1), optax.sgd(0.1), optax.lbfgs()])
def test_whole_optimizers_are_refused(whole):
    with pytest.raises((ValueError, TypeError), match="transformation must"):
        pg.PhysicalGradient(0.3, transformation=whole)


@pytest.mark.parametrize("value", [0.9, "adam", optax.trace])
def test_what_is_no_transformation_is_refused(value):
    with pytest.raises(TypeError, match="transformation"):
        pg.PhysicalGradient(0.3, transformation=value)


@pytest.mark.parametrize(
    ("value", "error"),
    [("steepest", ValueError), (1.0, TypeError), (pg.Monotone, TypeError)],
)
def test_other_acceptances_are_refused(value, error):
    with pytest.raises(error, match="acceptance must be"):
        pg.PhysicalGradient(0.3, acceptance=value)


def guarded(z, x):
    """The square root: the derivative of a rejected NaN would be NaN."""
    inside = z[1] > 0
    root = square_root(z.at[1].set(jnp.where(inside, z[1], 1.0)), x)
    return root.at[1].set(jnp.where(inside, root[1], jnp.nan))


@pytest.mark.parametrize("acceptance", [pg.Monotone(3), pg.TrustRegion()], ids=repr)
def test_derivatives_of_a_run_that_shortens_steps(acceptance):
    """1.5 takes shortened steps; how often is constant nearby."""
    objective = pg.Objective(pg.Simulator(square, pg.AnalyticInverse(guarded)), squares)

    @eqx.filter_jit
    @jax.value_and_grad
    def end(x0, method):
        return pg.iterate(objective, method, x0, 2).x @ jnp.array([1.0, 2.0])

    with jax.enable_x64(True):
        x0, h = jnp.array([3.0, 2.0]), 1e-6
        for size in (0.3, 1.5):
            method = pg.PhysicalGradient(size, acceptance=acceptance)
            found = end(x0, method)[1]
            ends = [end(x0 + h * e, method)[0] for e in (*jnp.eye(2), *-jnp.eye(2))]
            wanted = (np.array(ends[:2]) - np.array(ends[2:])) / (2 * h)
            np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_batch_is_one_by_one():
    method = pg.PhysicalGradient(1.5, acceptance="monotone")
    starts = jnp.array([[3.0, 3.0], [0.5, -2.0], [1e-3, 4.0]])
    batch = jax.vmap(lambda x0: runs(TOY_LOSS, method, x0))(starts)
    for k, x0 in enumerate(starts):
        alone = runs(TOY_LOSS, method, x0)
        np.testing.assert_allclose(batch.x[k], alone.x, rtol=1e-6)
        assert batch.result[k] == alone.result
        assert np.array_equal(
            certificates(batch).rejections[k], certificates(alone).rejections
        )


TALL = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 1.0]])


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("monotone", pg.LinearizedInverse()),
        ("monotone", pg.NumericalInverse()),
        ("trust-region", pg.LinearizedInverse()),
    ],
)
def test_a_run_stays_at_the_minimum_of_a_tall_problem(name, rule):
    dtype = jnp.float32

    def tall(x):
        return jnp.asarray(TALL, dtype) @ x

    data = np.array([1.0, -2.0, 0.5])
    best = np.linalg.lstsq(TALL, data)[0]
    loss = pg.SquaredLoss(jnp.asarray(data, dtype))
    objective = pg.Objective(pg.Simulator(tall, rule), loss)
    method = pg.PhysicalGradient(1.0, acceptance=name)
    for start in ((2.0, -1.0), best):
        found = run(objective, method, start, 20, dtype)
        assert found.result in ("completed", "target_not_reachable"), found.message
        np.testing.assert_allclose(found.x, best, atol=eps(dtype) ** 0.4)
        assert np.all(np.diff(found.trajectory.losses) <= 0)


def test_a_monotone_run_goes_on_where_rounding_hides_the_fall(dtype):
    """The rounding of z - 1000 is far above that of a loss near 0."""
    shift = pg.Simulator(lambda x: x - 1000, pg.AnalyticInverse(lambda z: z + 1000))
    objective = pg.Objective(shift, pg.SquaredLoss(jnp.zeros(1, dtype) + 0.3))
    method = pg.PhysicalGradient(0.3, acceptance="monotone")
    found = run(objective, method, (1003.7,), 150, dtype)
    assert found.result == "completed" and found.num_steps == 150, found.message
