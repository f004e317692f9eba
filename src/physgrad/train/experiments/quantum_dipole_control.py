"""A quantum particle in a box, steered from its ground state to a mixture of others."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from physgrad.simulators.quantum_dipole import eigenstate, quantum_control
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import mlp

POINTS, STEP = 14, 0.05


def quantum_dipole(steps: int = 96, kept: int = 1024) -> Experiment:
    """A field in each step that leads from state 1 to (c2 psi_2 + c3 psi_3) / |c|.

    L = 1 - |<target, psi>|^2, c2 and c3 Gaussian; a network 28-20-20-20-steps with
    tanh. As published there are 384 steps of 0.05; here a quarter of them.

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022, section 3.3.
    """
    simulator = quantum_control(duration=steps * STEP, steps=steps, points=POINTS)
    return Experiment(
        name="quantum-dipole",
        network=functools.partial(mlp, (2 * POINTS, 20, 20, 20, steps), jnp.tanh),
        draw=_draw,
        simulator=lambda sample: simulator,
        loss=_unlike,
        kept=kept,
        held_out=kept,
        z_metric="gradient",
    )


def _unlike(z: Array, target: Array) -> Float[Array, ""]:
    """1 - |<target, psi>|^2, of (2, points) each."""
    psi, wanted = (v[0] + 1j * v[1] for v in (z, target))
    return 1 - jnp.abs(jnp.vdot(wanted, psi)) ** 2


def _draw(key: Array, count: int) -> Sample:
    levels = jnp.stack([jnp.asarray(eigenstate(n, POINTS)) for n in (2, 3)])
    parts = jax.random.normal(key, (count, 2))
    parts = parts / jnp.linalg.norm(parts, axis=1, keepdims=True)
    real = parts @ levels
    targets = jnp.stack([real, jnp.zeros_like(real)], axis=1)
    return Sample(targets.reshape(count, -1), targets)
