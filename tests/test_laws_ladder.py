"""A ladder takes the first rule whose certificate holds, and says which it was."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import SQUARE, squared_step

import physgrad as pg
from physgrad.simulator import default_rule


def cubed(x):
    return x**3


def lies_below_two(z):
    return jnp.cbrt(z) * jnp.where(z < 2, 1.01, 1.0)


def never(z):
    return z * jnp.nan


LIAR, NEVER = pg.AnalyticInverse(lies_below_two), pg.AnalyticInverse(never)
NUMERICAL = pg.NumericalInverse()
X0 = jnp.array([2.0])


def run(*rungs: pg.Inverse, forward=cubed, x0=X0, step_size=0.5, steps=6) -> pg.Run:
    simulator = pg.Simulator(forward, pg.Ladder(list(rungs)))
    objective = pg.Objective(simulator, lambda z: jnp.sum(z**2))
    return pg.minimize(objective, pg.PhysicalGradient(step_size), x0, steps)


def rungs(run: pg.Run) -> list[int]:
    assert run.trajectory.certificates is not None
    return run.trajectory.certificates.rungs.tolist()


@pytest.mark.parametrize("member", SQUARE.maps, ids=lambda member: member.name)
def test_the_default_is_the_numerical_rule_where_that_holds(member, dtype):
    x, other = member.points[:2]
    target = np.asarray(member.forward(jnp.asarray(other, dtype)))
    steps = [
        squared_step(SQUARE, member, rule, x, target, dtype)
        for rule in (default_rule(), NUMERICAL)
    ]
    assert np.array_equal(steps[0].state.x, steps[1].state.x)
    assert steps[0].certificate is not None and steps[0].certificate.rung == 0
    counts = [jax.tree.leaves(step.evaluations) for step in steps]
    assert counts[0] == counts[1]  # the rungs below were not evaluated


def test_the_first_rule_that_holds_serves_and_is_named():
    ended = run(LIAR, NUMERICAL)
    assert rungs(ended) == [0, 0, 1, 1, 1, 1]
    assert ended.result == "completed"
    assert "NumericalInverse served 4 of 6 recorded steps" in ended.message
    assert np.allclose(ended.trajectory["z"][:, 0], 8 * 0.5 ** np.arange(7), rtol=1e-5)


def test_a_ladder_without_rungs_is_refused():
    with pytest.raises(ValueError, match="at least one rung, got none"):
        pg.Ladder([])


def test_a_ladder_in_a_ladder_is_one():
    ladder = pg.Ladder([NEVER, pg.Ladder([LIAR, NUMERICAL])])
    assert [type(rung).__name__ for rung in ladder.rungs] == [
        "AnalyticInverse",
        "AnalyticInverse",
        "NumericalInverse",
    ]


def test_where_no_rule_holds_the_failure_is_that_of_the_first():
    ended = run(LIAR, NEVER, x0=jnp.array([1.3]))
    assert (ended.result, ended.num_steps) == ("inverse_failed", 0)
    assert "maps to another z than the target" in ended.message
    assert "residual" in ended.message


def test_a_rule_that_promises_nothing_must_come_nearer():
    far = run(NEVER, pg.TransposedInverse(), step_size=1.0, steps=1)
    assert (far.result, far.num_steps) == ("inverse_failed", 0)
    near = run(NEVER, pg.TransposedInverse(fitted=True), steps=3)
    assert (near.result, rungs(near)) == ("completed", [1, 1, 1])
    farther = run(pg.TransposedInverse(), step_size=1.0, steps=1)
    assert "farther from the target than the present one" in farther.message


def test_a_start_on_another_branch_is_left_to_the_next_rule():
    def squared(x):
        return x**2

    positive = pg.AnalyticInverse(jnp.sqrt)
    ended = run(positive, NUMERICAL, forward=squared, x0=-X0)
    assert (ended.result, set(rungs(ended))) == ("completed", {1})
    assert float(ended.x[0]) < 0


STEEP = pg.Simulator(lambda x: jnp.stack([x[0], 3 * x[1], x[0] + x[1]]))
SERVED = {
    "linearized": pg.LinearizedInverse(damping=0.3),
    "relative": pg.LinearizedInverse(damping=0.3, relative=True),
    "half": pg.SpectralInverse(power=0.5),
    "transposed": pg.TransposedInverse(fitted=True),
    "numerical": NUMERICAL,
}


@pytest.mark.parametrize("name", SERVED)
def test_a_chain_is_handed_the_metric_of_the_rule_that_served(name):
    """The rule before it is one that misses, so that the metric tells."""
    with jax.enable_x64(True):
        inner = pg.Simulator(
            lambda x: jnp.stack([x[0], x[0] ** 2]), pg.LinearizedInverse()
        )
        target = pg.SquaredLoss(jnp.array([1.0, 2.0, -1.0]))
        ends = []
        for rule in (SERVED[name], pg.Ladder([NEVER_WIDE, SERVED[name]])):
            chain = pg.Chain(inner, pg.Simulator(STEEP.forward, rule))
            objective = pg.Objective(chain, target)
            method = pg.PhysicalGradient(0.05, metric="gradient")
            ends.append(pg.iterate(objective, method, jnp.array([0.7]), 2))
        alone, laddered = ends
    assert laddered.certificates is not None
    assert np.all(np.asarray(laddered.certificates.rung) == 1)
    assert np.allclose(alone.x, laddered.x, rtol=1e-12)


NEVER_WIDE = pg.AnalyticInverse(lambda z, x: x * jnp.nan)


def test_one_member_on_a_lower_rung_changes_no_bit_of_the_others():
    simulator = pg.Simulator(cubed, pg.Ladder([LIAR, NUMERICAL]))
    objective = pg.Objective(simulator, lambda z: jnp.sum(z**2))
    method = pg.PhysicalGradient(0.1)

    def end(x0):
        return pg.iterate(objective, method, x0, 2)

    starts = jnp.array([[3.0], [1.1], [2.5], [4.0]])
    together = jax.jit(jax.vmap(end))(starts)
    assert together.certificates is not None
    assert np.asarray(together.certificates.rung)[:, 0].tolist() == [0, 1, 0, 0]
    high = jnp.array([[3.0], [3.5], [2.5], [4.0]])
    without = jax.jit(jax.vmap(end))(high)
    keep = np.array([0, 2, 3])
    assert np.array_equal(together.x[keep], without.x[keep])


def test_rungs_are_kept_in_files(tmp_path):
    simulator = pg.Simulator(cubed, pg.Ladder([LIAR, NUMERICAL]))
    objective = pg.Objective(simulator, lambda z: jnp.sum(z**2))
    comparison = pg.compare(objective, X0, {"PG": pg.PhysicalGradient(0.5)}, 4)
    comparison.save(tmp_path / "out")
    loaded = pg.Comparison.load(tmp_path / "out")
    assert rungs(loaded["PG"]) == rungs(comparison["PG"]) == [0, 0, 1, 1]
    assert loaded["PG"].message == comparison["PG"].message
