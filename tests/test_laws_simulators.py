"""Laws of the ready simulators: derivatives both ways, batches, and their inverses."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ready_simulators import READY

import physgrad as pg

CASES = [
    pytest.param((ready, dtype), id=f"{ready.name}-{dtype}")
    for ready in READY
    for dtype in ("float64", "float32")
]


@dataclasses.dataclass(frozen=True)
class Look:
    """What one compiled program has found out, as NumPy."""

    ready: Any
    dtype: Any
    found: dict[str, Any]
    round_trip: dict[str, Any]

    @property
    def eps(self) -> float:
        return float(np.finfo(self.dtype).eps)


@pytest.fixture(scope="module", params=CASES)
def look(request):
    ready, dtype = request.param
    with jax.enable_x64(dtype == "float64"):
        simulator = ready.make()
        start, goal = (jnp.asarray(x, dtype) for x in (ready.start, ready.goal))
        found = jax.tree.map(np.asarray, _look(simulator, start, goal))
        trip = jax.tree.map(np.asarray, _round_trip(simulator, start, goal))
    return Look(ready, np.dtype(dtype), found, trip)


@eqx.filter_jit
def _look(simulator: pg.Simulator, start: Any, goal: Any) -> dict[str, Any]:
    z, transposed = jax.vjp(simulator, goal)
    v = jnp.cos(jnp.arange(goal.size, dtype=goal.dtype)).reshape(goal.shape)
    w = jnp.sin(1 + jnp.arange(z.size, dtype=z.dtype)).reshape(z.shape)
    _, jv = jax.jvp(simulator, (goal,), (v,))
    (jtw,) = transposed(w)
    batch = jax.vmap(simulator)(jnp.stack([start, goal]))
    return {"z": z, "v": v, "w": w, "jv": jv, "jtw": jtw, "batch": batch}


@eqx.filter_jit
def _round_trip(simulator: pg.Simulator, start: Any, goal: Any) -> dict[str, Any]:
    z = simulator(goal)
    objective = pg.Objective(simulator, pg.SquaredLoss(z))
    ends = pg.iterate(objective, pg.PhysicalGradient(1.0), start, 2)
    return {"x": ends.x, "z": simulator(ends.x), "result": ends.result, "goal": z}


def test_z_is_of_the_kind_of_x(look):
    assert look.found["z"].dtype == look.dtype
    assert np.all(np.isfinite(look.found["z"]))


def test_products_with_j_and_its_transpose_agree(look):
    found = look.found
    one, other = np.vdot(found["jv"], found["w"]), np.vdot(found["v"], found["jtw"])
    size = np.linalg.norm(found["jv"]) * np.linalg.norm(found["w"])
    assert np.linalg.norm(found["jv"]) > 0
    assert abs(one - other) <= 300 * look.eps * size


def test_members_of_a_batch_are_those_alone(look):
    z, batch = look.found["z"], look.found["batch"]
    assert batch.shape == (2, *z.shape)
    assert np.max(np.abs(batch[1] - z)) <= 200 * look.eps * np.max(np.abs(z))


def test_a_step_reaches_what_can_be_reached(look):
    """From a start to the z of a goal, by the simulator's own inverse."""
    trip, eps = look.round_trip, look.eps
    assert pg.Result.from_code(int(trip["result"])) is pg.Result.completed
    assert _apart(trip["z"], trip["goal"]) <= max(200 * eps, eps**0.75)
    if look.ready.exact:
        x = np.asarray(look.ready.goal)
        assert _apart(trip["x"], x) <= look.ready.gain * max(100 * eps, eps**0.75)


def _apart(one: Any, other: Any) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_every_simulator_is_tried():
    made = {ready.name for ready in READY}
    known = list(pg.simulators.__all__)
    assert [name for name in known if not any(m.startswith(name) for m in made)] == []


def test_a_state_of_another_shape_is_refused():
    for ready in READY:
        x = jnp.asarray(ready.start, float)
        if ready.name == "exponential_map":
            continue  # any shape will do
        with pytest.raises(ValueError, match="must have the shape"):
            jax.eval_shape(ready.make(), jnp.zeros((*x.shape, 2)))


def test_what_is_no_floating_array_is_named():
    pendulum = pg.simulators.pendulum(1.0)
    with pytest.raises(TypeError, match=r"floating array, got int32: write 1\.0"):
        pendulum(jnp.array([0, 1]))
    with pytest.raises(TypeError, match=r"jnp\.array\(\.\.\.\), got a list"):
        pendulum([0.0, 1.0])
