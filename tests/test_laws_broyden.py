"""The inverse without derivatives: what it finds, and how few calls it takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import physgrad as pg

TIMES = np.linspace(0.0, 4.0, 12)
DATA = 2.0 * np.exp(-0.7 * TIMES) + 0.05 * np.sin(7.0 * np.arange(12))


class Counted:
    """A simulator in NumPy, with its calls."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, x):
        self.calls += 1
        return self.function(x)


def valley(x):
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def mixed(x):
    return np.array(
        [x[0] + 0.1 * np.sin(x[1]), x[1] ** 3 + x[0], 0.5 * x[2] + x[0] * x[1]]
    )


def decay(x):
    return x[0] * np.exp(-x[1] * TIMES)


def units(x):
    """Entries of x of 1e-9 and 1e9."""
    return np.array([1e9 * x[0] + (1e-9 * x[1]) ** 2, np.exp(1e-9 * x[1])])


SQUARE = {
    "valley": (valley, [0.0, 0.0], [-1.2, 1.0]),
    "mixed": (mixed, [1.0, 2.0, 3.0], [0.5, 0.8, 0.0]),
    "units": (units, [2.0, 1.5], [1e-9, 1e9]),
}


def objective_of(function, target, dtype, inverse=None):
    output = np.zeros(len(target))
    simulator = pg.Simulator.from_callback(function, output, inverse)
    return pg.Objective(simulator, pg.SquaredLoss(jnp.asarray(target, dtype)))


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("step_size", [1.0, 0.3])
def test_steps_are_those_of_an_inverse(name, step_size, dtype):
    """Each z is 1 - step_size of the way to the target farther, as with a formula."""
    function, target, start = SQUARE[name]
    counted, x0 = Counted(function), jnp.asarray(start, dtype)
    objective, steps = objective_of(counted, target, dtype), 6
    run = pg.minimize(objective, pg.PhysicalGradient(step_size), x0, steps)
    assert run.result == "completed", run.message
    assert run.evaluations["vjp"] == run.evaluations["jvp"] == 0
    misfits = np.abs(run.trajectory["z"] - np.asarray(target))
    expected = misfits[0] * (1 - step_size) ** np.arange(steps + 1)[:, None]
    size = np.max(np.abs(run.trajectory["z"])) + 1
    tolerance = 2e-3 if dtype == np.float32 else 1e-6
    np.testing.assert_allclose(misfits, expected, atol=tolerance * size)
    held = run.trajectory.certificates
    assert held is not None and np.all(held.residuals <= held.tolerances)
    # what prepares the first step is not counted
    assert run.evaluations["forward"] <= counted.calls
    assert counted.calls <= run.evaluations["forward"] + 3


def test_what_it_has_learned_saves_calls():
    """Against a run whose steps each begin with differences: one with a ladder."""
    function, target, start = SQUARE["mixed"]
    x0 = jnp.asarray(start, jnp.float32)
    calls = []
    for inverse in (None, pg.Ladder([pg.BroydenInverse()])):
        objective = objective_of(function, target, jnp.float32, inverse)
        run = pg.minimize(objective, pg.PhysicalGradient(0.1), x0, 20)
        assert run.result == "completed"
        calls.append(run.evaluations["forward"])
    assert calls[0] < 0.7 * calls[1]


def test_out_of_range_the_nearest_point_is_taken(dtype):
    objective = objective_of(decay, DATA, dtype)
    x0 = jnp.array([1.0, 1.5], dtype)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), x0, 2)
    best = scipy.optimize.least_squares(lambda x: decay(x) - DATA, x0)
    assert run.result == "target_not_reachable"
    np.testing.assert_allclose(run.x, best.x, rtol=1e-3)
    assert run.loss <= 2 * best.cost * (1 + 1e-5)


def test_data_without_weight_may_be_anything():
    weight = jnp.where(jnp.arange(12) < 6, 1.0, 0.0)
    wrong = np.where(np.arange(12) < 6, decay([2.0, 0.7]), 1e6)
    simulator = pg.Simulator.from_callback(decay, np.zeros(12))
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.asarray(wrong), weight))
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([1.0, 1.5]), 2)
    assert run.ok
    np.testing.assert_allclose(run.x, [2.0, 0.7], rtol=1e-2)


def test_it_is_the_rule_of_a_callback_and_only_of_that():
    def rule(**more):
        return pg.Simulator.from_callback(valley, np.zeros(2), **more).inverse

    assert isinstance(rule(), pg.BroydenInverse)
    assert isinstance(rule(differences=True), pg.Ladder)
    assert isinstance(pg.Simulator(lambda x: x).inverse, pg.Ladder)


def test_members_of_a_batch_go_as_alone_and_are_called_no_more_often():
    function, target, _ = SQUARE["mixed"]
    counted, method = Counted(function), pg.PhysicalGradient(0.5)
    objective = objective_of(counted, target, jnp.float32)
    starts = jnp.array([[0.5, 0.8, 0.0], [2.0, 1.0, -1.0], [0.1, 2.0, 5.0]])
    alone = []
    for start in starts:
        before = counted.calls
        run = pg.minimize(objective, method, start, 4)
        alone.append((run.x, counted.calls - before))
    before = counted.calls
    runs = pg.minimize_many(objective, method, starts, 4)
    np.testing.assert_allclose(runs.x, [x for x, _ in alone], rtol=1e-3, atol=1e-3)
    # each step of the loop calls for each member; a step more looks for a jump
    slowest = max(calls for _, calls in alone)
    assert counted.calls - before <= 2 * len(starts) * slowest


def test_each_link_of_a_chain_remembers_its_own():
    bend = pg.Simulator.from_callback(lambda x: x**3 + x, np.zeros(2))
    mix = pg.Simulator.from_callback(
        lambda y: np.array([y[0] + 0.2 * y[1] ** 2, y[1]]), np.zeros(2)
    )
    target = jnp.array([3.0, 1.0])
    objective = pg.Objective(pg.Chain(bend, mix), pg.SquaredLoss(target))
    run = pg.minimize(objective, pg.PhysicalGradient(0.5), jnp.ones(2), 20)
    assert run.result == "completed" and run.loss < 1e-8
    np.testing.assert_allclose(objective.simulator(run.x), target, atol=1e-4)


@pytest.mark.parametrize("acceptance", ["monotone", "trust-region"])
def test_steps_may_be_shortened(acceptance):
    function, target, start = SQUARE["valley"]
    objective = objective_of(function, target, jnp.float32)
    method = pg.PhysicalGradient(1.0, acceptance=acceptance)
    run = pg.minimize(objective, method, jnp.asarray(start), 8)
    assert run.ok and run.loss < 1e-6
    assert np.all(np.diff(run.trajectory.losses) <= 0)


def test_bounds_are_kept_without_a_derivative():
    objective = pg.Objective(
        pg.Simulator.from_callback(mixed, np.zeros(3)),
        pg.SquaredLoss(jnp.array([1.0, 2.0, 3.0])),
        bounds=(None, jnp.array([0.8, 2.0, 9.0])),
    )
    run = pg.minimize(
        objective, pg.PhysicalGradient(1.0), jnp.array([0.5, 0.8, 0.0]), 9
    )
    best = scipy.optimize.least_squares(
        lambda x: mixed(x) - [1.0, 2.0, 3.0],
        [0.5, 0.8, 0.0],
        bounds=(-np.inf, [0.8, 2.0, 9.0]),
    )
    assert np.all(run.trajectory["x"][:, 0] <= 0.8)
    np.testing.assert_allclose(run.x, best.x, rtol=1e-2)


def test_derivatives_of_a_run_are_refused():
    def end(x0):
        objective = pg.Objective(lambda x: x**3, pg.SquaredLoss(jnp.array([8.0])))
        method = pg.PhysicalGradient(1.0, pg.BroydenInverse())
        return pg.iterate(objective, method, x0, 1).x[0]

    assert end(jnp.array([3.0])) == pytest.approx(2.0, abs=1e-3)
    for derivative in (jax.grad, jax.jacfwd):
        with pytest.raises(Exception, match="BroydenInverse has no derivatives"):
            derivative(end)(jnp.array([3.0]))


def test_a_budget_that_is_too_small_is_said():
    function, target, start = SQUARE["valley"]
    objective = objective_of(
        function, target, jnp.float32, pg.BroydenInverse(max_steps=2)
    )
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.asarray(start), 3)
    assert run.result == "inverse_failed" and "raise max_steps" in run.message
    np.testing.assert_array_equal(run.x, np.float32(start))


def test_where_it_is_not_finite_it_turns_back():
    """The logarithm has no value at the whole step, and none beside the start."""
    with np.errstate(invalid="ignore", divide="ignore"):
        objective = objective_of(np.log, [-5.0], jnp.float32)
        run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([2.0]), 1)
        assert run.result == "completed"
        np.testing.assert_allclose(run.x, np.exp(-5.0), rtol=1e-2)


def test_wrong_use():
    with pytest.raises(ValueError, match="rtol must be a positive"):
        pg.BroydenInverse(rtol=-1.0)
    with pytest.raises(ValueError, match="max_steps must be a whole number from 1 on"):
        pg.BroydenInverse(max_steps=0)
    objective = pg.Objective(
        pg.Simulator(lambda x: x, pg.BroydenInverse()), lambda z: jnp.sum(z**2)
    )
    with pytest.raises(ValueError, match="needs more than 1 GiB"):
        pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.ones(20_000), 1)
