"""A quantum particle in a box, steered from its ground state to a mixture of others."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from physgrad.inverses.linearized import LinearizedInverse
from physgrad.simulator import Simulator
from physgrad.simulators.quantum_dipole import eigenstate, quantum_control
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import mlp

POINTS, STEP = 14, 0.05
# Of the inverse, a part of the size of J^T J.
DAMPING = 1e-2


def quantum_dipole(steps: int = 96, kept: int = 1024) -> Experiment:
    """A field in each step that leads from state 1 to (c2 psi_2 + c3 psi_3) / |c|.

    z = psi - <wanted, psi> wanted, the part of psi that is not wanted, and L = |z|^2:
    it is 1 - |<wanted, psi>|^2, since both have length 1. c2 and c3 are Gaussian; a
    network 28-20-20-20-steps with tanh. x+ is a damped step by the Jacobian. As
    published there are 384 steps of 0.05; here a quarter of them.

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022, section 3.3, where z is psi (`quantum_dipole_of_psi`).
    """
    quantum = quantum_control(duration=steps * STEP, steps=steps, points=POINTS)

    def simulator(sample: Sample) -> Simulator:
        wanted: Any = sample.setting
        unwanted = Unwanted(quantum.forward, wanted)
        return Simulator(unwanted, LinearizedInverse(DAMPING, relative=True))

    return Experiment(
        name="quantum-dipole",
        network=functools.partial(mlp, (2 * POINTS, 20, 20, 20, steps), jnp.tanh),
        draw=_draw,
        simulator=simulator,
        kept=kept,
        held_out=kept,
    )


def quantum_dipole_of_psi(steps: int = 96, kept: int = 1024) -> Experiment:
    """The same with z = psi and L = 1 - |<wanted, psi>|^2, as published.

    L is not convex in z: there is no Newton step in z, and no physical gradient.
    """
    quantum = quantum_control(duration=steps * STEP, steps=steps, points=POINTS)
    return dataclasses.replace(
        quantum_dipole(steps, kept),
        draw=lambda key, count: _of_psi(_draw(key, count)),
        simulator=lambda sample: quantum,
        loss=_unlike,
        z_metric="gradient",
    )


class Unwanted(eqx.Module):
    """psi - <wanted, psi> wanted, of the psi to which a field leads."""

    quantum: Callable
    """psi, the real part and the imaginary one, from a field."""
    wanted: Float[Array, "2 points"]

    def __call__(self, field: Array) -> Float[Array, "2 points"]:
        psi, wanted = (_complex(v) for v in (self.quantum(field), self.wanted))
        rest = psi - wanted * jnp.vdot(wanted, psi)
        return jnp.stack([rest.real, rest.imag])


def _complex(parts: Float[Array, "2 points"]) -> Complex[Array, " points"]:
    return parts[0] + 1j * parts[1]


def _of_psi(samples: Sample) -> Sample:
    return dataclasses.replace(samples, target=samples.setting, setting=None)


def _unlike(z: Array, target: Array) -> Float[Array, ""]:
    """1 - |<target, psi>|^2, of (2, points) each."""
    psi, wanted = (_complex(v) for v in (z, target))
    return 1 - jnp.abs(jnp.vdot(wanted, psi)) ** 2


def _draw(key: Array, count: int) -> Sample:
    levels = jnp.stack([jnp.asarray(eigenstate(n, POINTS)) for n in (2, 3)])
    parts = jax.random.normal(key, (count, 2))
    parts = parts / jnp.linalg.norm(parts, axis=1, keepdims=True)
    real = parts @ levels
    wanted = jnp.stack([real, jnp.zeros_like(real)], axis=1)
    return Sample(wanted.reshape(count, -1), jnp.zeros_like(wanted), setting=wanted)
