"""Laws of `minimize`: chunks, records, stops, counts and compilations."""

from __future__ import annotations

import collections
import time

import equinox as eqx
import families
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest
from families import relative
from jaxtyping import Array

import physgrad as pg
from physgrad.loop import chunks, compiled

X0 = np.array([3.0, 3.0], np.float32)
TOY = pg.Simulator(families.square, pg.AnalyticInverse(families.square_root))
METHODS = {
    "gd": pg.GradientDescent(1e-3),
    "pg": pg.PhysicalGradient(1e-2),
    "numerical": pg.PhysicalGradient(1e-2, pg.NumericalInverse()),
    "lm": pg.LevenbergMarquardt(),
    "lbfgs": pg.LBFGS(),
}


def toy(target=(0.0, 0.0)) -> pg.Objective:
    return pg.Objective(TOY, pg.SquaredLoss(jnp.asarray(target, jnp.float32)))


@pytest.mark.parametrize("method", ["pg", "numerical", "lbfgs"])
def test_chunks_give_the_same_bits_as_one_chunk(method):
    steps, seen = 120, []
    plain = pg.minimize(toy(), METHODS[method], X0, steps)
    watched = pg.minimize(toy(), METHODS[method], X0, steps, callback=seen.append)
    for part in ("spaces", "losses", "steps", "targets"):
        one, other = getattr(plain.trajectory, part), getattr(watched.trajectory, part)
        assert jax.tree.all(jax.tree.map(np.array_equal, one, other)), part
    assert plain.result == watched.result and plain.evaluations == watched.evaluations
    assert 20 <= len(seen) <= 100
    assert [s.step for s in seen] == sorted({s.step for s in seen})
    assert seen[-1].step == steps == seen[-1].num_steps
    assert np.array_equal(seen[-1].x, plain.x) and seen[-1].loss == plain.loss


@pytest.mark.parametrize("record_every", [1, 3])
def test_large_records_cut_a_run_into_chunks_with_the_same_bits(
    monkeypatch, record_every
):
    """40 bytes a record: one chunk, or chunks of two records, the last one shorter."""
    arguments = toy(), pg.PhysicalGradient(0.05), X0, 17
    whole = pg.minimize(*arguments, record_every=record_every)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 100)
    monkeypatch.setattr(compiled, "_kept", collections.OrderedDict())
    parts = pg.minimize(*arguments, record_every=record_every)
    assert (whole.compilations, parts.compilations) == (1, 2)
    assert whole.evaluations == parts.evaluations
    np.testing.assert_array_equal(whole.trajectory.steps, parts.trajectory.steps)
    for space in ("x", "z"):
        np.testing.assert_array_equal(whole.trajectory[space], parts.trajectory[space])


def test_every_so_manieth_iterate_is_recorded_and_the_last():
    full = pg.minimize(toy(), METHODS["pg"], X0, 20)
    for every in (3, 100):
        run = pg.minimize(toy(), METHODS["pg"], X0, 20, record_every=every)
        steps = [*range(0, 20, every), 20]
        assert run.trajectory.steps.tolist() == steps
        assert np.array_equal(run.trajectory["x"], full.trajectory["x"][steps])
        assert np.array_equal(run.trajectory.losses, full.trajectory.losses[steps])
        assert np.array_equal(run.x, full.x) and run.num_steps == 20
        targets = full.trajectory.targets[np.array(steps[1:]) - 1]
        assert np.array_equal(run.trajectory.targets, targets)


def test_no_steps_are_the_start_alone():
    run = pg.minimize(toy(), METHODS["pg"], X0, 0)
    assert run.result == "completed" and run.num_steps == 0 and run.message == ""
    assert np.array_equal(run.x, X0) and np.array_equal(run.trajectory["x"], [X0])
    assert run.trajectory.losses.tolist() == [90.0]
    assert run.trajectory.targets.shape == (0, 2)


def small_loss(reached: pg.Reached) -> Array:
    return reached.z[0] ** 2 + reached.x[1] ** 4 < 1e-3


STOPS = {
    "loss": (pg.Stop(loss=1e-3), lambda run: run.trajectory.losses <= 1e-3),
    "gradient": (
        pg.Stop(gradient=1e-2),
        lambda run: np.max(np.abs(gradients(run)), axis=1) <= 1e-2,
    ),
    "step": (
        pg.Stop(step=0.05),
        lambda run: np.r_[
            False,
            np.max(np.abs(np.diff(run.trajectory["x"], axis=0)), axis=1) <= 0.05,
        ],
    ),
    "function": (
        small_loss,
        lambda run: np.sum(run.trajectory["z"] ** 2, axis=1) < 1e-3,
    ),
}


def gradients(run):
    x = run.trajectory["x"]
    return np.stack([2 * x[:, 0], 4 * x[:, 1] ** 3], 1)


@pytest.mark.parametrize("kind", STOPS)
def test_runs_stop_at_the_first_iterate_where_the_rule_holds(kind):
    stop, holds = STOPS[kind]
    method = pg.PhysicalGradient(0.3)
    run = pg.minimize(toy(), method, X0, 60, stop=stop)
    assert run.result == "converged" and run.message == "" and run.num_steps < 60
    held = np.asarray(holds(run))
    assert held[-1] and not np.any(held[:-1])
    free = pg.minimize(toy(), method, X0, 60).trajectory["x"][: run.num_steps + 1]
    assert relative(run.trajectory["x"], free) <= 1e-6


def test_a_solved_start_takes_no_step():
    for stop in (pg.Stop(loss=1e-3), pg.Stop(gradient=1e-2), small_loss):
        run = pg.minimize(
            toy(), pg.PhysicalGradient(0.3), np.zeros(2, "f"), 9, stop=stop
        )
        assert run.result == "converged" and run.num_steps == 0
        assert len(run.trajectory) == 1
    # without a stop the steps asked for are done, and x stays
    for method in ("pg", "numerical", "lbfgs", "lm"):
        run = pg.minimize(toy(), METHODS[method], np.zeros(2, np.float32), 120)
        assert run.result == "completed" and run.num_steps == 120
        assert not np.any(run.trajectory["x"])


PER_STEP = {
    "gd": {"forward": 1, "vjp": 1},
    "pg": {"forward": 1, "inverse": 1},
    "newton": {"forward": 1, "vjp": 1, "hessian": 1},
    "gauss-newton": {"forward": 1, "jvp": 2},
    "transposed": {"forward": 1, "vjp": 1},
    "lm": {"forward": 1, "jvp": 2},
}
COUNTED = {
    "gd": pg.GradientDescent(1e-3),
    "pg": pg.PhysicalGradient(1e-2),
    "newton": pg.Newton(0.3),
    "gauss-newton": pg.GaussNewton(0.3),
    "transposed": pg.PhysicalGradient(1e-3, pg.TransposedInverse(), metric="gradient"),
    "lm": pg.LevenbergMarquardt(),
}


@pytest.mark.parametrize("method", PER_STEP)
def test_evaluations_are_counted_by_kind(method):
    """One forward call at the start, then so many of each kind a step."""
    run = pg.minimize(toy(), COUNTED[method], X0, 5)
    expected = {kind: 5 * PER_STEP[method].get(kind, 0) for kind in run.evaluations}
    expected["forward"] += 1
    assert run.evaluations == expected


def test_iterations_of_a_numerical_inverse_are_counted():
    """A linear simulator takes the solver a few iterations, a bent one more."""
    run = pg.minimize(toy(), METHODS["numerical"], X0, 5)
    steps = run.evaluations["inverse"]
    assert 5 <= steps <= 50
    assert run.evaluations["forward"] == 1 + steps + 5  # and a certificate each
    assert run.evaluations["jvp"] == 2 * (steps + 5)  # one Jacobian for its units


def test_jacobians_are_taken_and_counted_by_their_smaller_side():
    """Two rows of 20,000 columns: reverse sweeps, whatever takes the Jacobian."""
    rows = np.stack([np.linspace(0.5, 1.5, 20_000), np.linspace(1.0, -1.0, 20_000)])
    objective = pg.Objective(Wide(jnp.asarray(rows)), pg.SquaredLoss(jnp.ones(2)))
    x0 = jnp.zeros(20_000)
    for method in WIDE.values():
        run = pg.minimize(objective, method, x0, 2)
        counts = run.evaluations
        assert run.ok and run.loss < 1e-6 and counts["jvp"] == 0
        assert counts["vjp"] % 2 == 0 and counts["vjp"] >= 4
    # a linear solver that needs only products takes one of each kind an iteration
    rule = pg.LinearizedInverse(solver=lx.LSMR(1e-6, 0.0))
    counts = pg.minimize(objective, pg.PhysicalGradient(1.0, rule), x0, 2).evaluations
    assert counts["jvp"] == counts["vjp"] > 0


def test_what_the_search_for_a_jump_costs_is_counted():
    """Near its optimum x moves far for little z: suspicious, so two calls more."""
    run = pg.minimize(toy(), pg.PhysicalGradient(0.3), X0, 10)
    assert 11 < run.evaluations["forward"] <= 11 + 2 * 10
    assert run.evaluations["inverse"] == 10


def test_simplex_searches_take_no_gradient():
    solver = pg.OptimistixOptimizer(optx.NelderMead(1e-6, 1e-6))
    run = pg.minimize(toy(), solver, X0, 5)
    assert run.evaluations["vjp"] == run.evaluations["jvp"] == 0


class Wide(eqx.Module):
    """z = A x."""

    matrix: jax.Array

    def __call__(self, x):
        return self.matrix @ x


WIDE = {
    "numerical": pg.PhysicalGradient(1.0),
    "gauss-newton": pg.GaussNewton(),
    "lm": pg.LevenbergMarquardt(),
    "optimistix": pg.OptimistixOptimizer(optx.Dogleg(1e-6, 1e-6)),
}


class Counting(eqx.Module):
    """The toy, which counts how often Python runs through it."""

    scale: Array
    calls: list = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        self.calls.append(1)
        return self.scale * families.square(x)


class Calls(list):
    """A list that is one object, however full: a static field of a module."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def test_new_values_are_not_traced_again():
    calls = Calls()

    def run(x0=(3.0, 3.0), eta=1e-2, target=(0.0, 0.0), scale=1.0):
        simulator = pg.Simulator(Counting(jnp.float32(scale), calls))
        loss = pg.SquaredLoss(jnp.asarray(target, jnp.float32))
        method = pg.PhysicalGradient(eta, pg.LinearizedInverse())
        x0 = jnp.asarray(x0, jnp.float32)
        return pg.minimize(pg.Objective(simulator, loss), method, x0, 5)

    first = run()
    assert first.compilations == 1 and first.seconds.compile > 0
    traced = len(calls)
    assert traced > 0
    for changed in (
        run(x0=(1.0, -2.0)),
        run(eta=0.3),
        run(target=(1.0, 2.0)),
        run(scale=2.0),
    ):
        assert changed.compilations == 0 and changed.seconds.compile == 0
        assert len(calls) == traced
    assert not np.array_equal(run(eta=0.3).x, first.x)


def test_fresh_functions_are_traced_again_and_a_warning_says_so():
    def run():
        objective = pg.Objective(lambda x: 2 * x, lambda z: jnp.sum(z**2))
        return pg.minimize(objective, METHODS["gd"], X0, 1).compilations

    assert [run() for _ in range(5)] == [1] * 5
    with pytest.warns(UserWarning, match="made afresh"):
        run()


def test_the_start_of_the_caller_is_left_alone():
    x0 = jnp.asarray(X0)
    pg.minimize(toy(), METHODS["pg"], x0, 20)
    assert np.array_equal(x0, X0)


class Tired(pg.Optimizer):
    """Stalls after forty steps."""

    def init(self, objective, state):
        return jnp.asarray(0)

    def update(self, objective, state, memory):
        tired = jnp.where(memory >= 40, pg.Result.stalled.code, 0)
        moved = objective.evaluate(state, 0.9 * state.x)
        return pg.Step(moved, pg.Evaluations(forward=1), tired), memory + 1


def test_the_last_iterate_is_kept_where_a_run_fails_between_two_records():
    ends = []
    for callback in (None, lambda snapshot: None):
        run = pg.minimize(toy(), Tired(), X0, 1000, record_every=100, callback=callback)
        assert run.result == "stalled" and run.trajectory.steps.tolist() == [0, 40]
        np.testing.assert_array_equal(run.trajectory["x"][-1], run.x)
        ends.append(run.loss)
    assert ends[0] == ends[1]


@pytest.mark.parametrize("method", [pg.PhysicalGradient(0.01), pg.ScipyOptimizer("CG")])
def test_a_time_limit_ends_a_run_and_keeps_what_was_done(method):
    def slow(x):
        time.sleep(0.02)
        return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    def formula(z):
        return jnp.stack([1 - z[1], z[0] / 10 + (1 - z[1]) ** 2])

    rule = pg.AnalyticInverse(formula)
    simulator = pg.Simulator.from_callback(slow, np.zeros(2), rule, differences=True)
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.zeros(2)))
    x0 = jnp.array([-1.2, 1.0])
    quick = pg.minimize(objective, method, x0, 1, time_limit=1e3)
    assert quick.num_steps == 1 and "time_limit" not in quick.message
    run = pg.minimize(objective, method, x0, 10_000, time_limit=1.0)
    assert run.ok and 0 < run.num_steps < 10_000
    assert run.message.startswith(f"time_limit ended it after {run.num_steps} of 10000")
    assert len(run.trajectory) == run.num_steps + 1
