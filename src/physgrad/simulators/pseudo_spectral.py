"""What nonlinear waves share: stepped by their coefficients, multiplied as fields."""

from __future__ import annotations

import math
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Bool

from physgrad.basis import Basis, Coefficients
from physgrad.inverses.ladder import Ladder
from physgrad.inverses.linearized import LinearizedInverse
from physgrad.inverses.refined import RefinedInverse
from physgrad.simulator import Simulator
from physgrad.simulators.checks import check_field, number
from physgrad.simulators.exponential import (
    ExponentialIntegrator,
    exponential_integrator,
)
from physgrad.simulators.rollout import Evolution

# Products of two waves beyond this part of the shortest ones would come back as others.
KEPT = 2 / 3
# Where waves damped by 1 / sqrt(eps) do not come back, those damped by less may.
LOWER_GAIN = 300.0
# Of the numerical inverse, where the flow cannot be run backwards.
DAMPING = 1e-3
PRODUCTS = 64


class NonlinearWaves(Evolution):
    """u_t = L u + N(u) in a periodic box, by its coefficients."""

    steps: int = eqx.field(static=True)
    basis: Basis
    one: ExponentialIntegrator
    """A time step."""
    nonlinear: Callable[[Coefficients], Coefficients]
    """N, of coefficients."""

    def begin(self, x: Array) -> Coefficients:
        check_field("x", x.shape, self.basis.shape)
        return self.basis.to(x)

    def later(self, state: Coefficients) -> Coefficients:
        return self.one(state, self.nonlinear)

    def end(self, state: Coefficients) -> Array:
        return self.basis.back(state)


class RunBackwards(eqx.Module):
    """x, nearly: z run backwards in time, in the waves that are not lost."""

    flow: NonlinearWaves
    """With a negative time step, but for lost waves: they follow the others as ever."""
    known: Bool[Array, "..."]
    """Waves that are not lost."""

    def __call__(self, z: Array, x: Array) -> Array:
        basis = self.flow.basis
        return basis.back(jnp.where(self.known, basis.to(self.flow(z)), basis.to(x)))


class TurnedBack(eqx.Module):
    """N, of the opposite sign in lost waves, for a time step that is negative.

    Those decay to what the others make of them, forwards in time; so do they here.
    """

    nonlinear: Callable[[Coefficients], Coefficients]
    known: Bool[Array, "..."]

    def __call__(self, waves: Coefficients) -> Coefficients:
        change = self.nonlinear(waves)
        return jnp.where(self.known, change, -change)


def nonlinear_waves(
    basis: Basis,
    linear: np.ndarray,
    nonlinear: Callable[[Coefficients], Coefficients],
    duration: float,
    steps: int,
    largest_gain: float | None,
) -> Simulator:
    """The flow of u_t = L u + N(u), and its inverse: the flow backwards, refined.

    Waves that L damps by more than `largest_gain` are left as they are in x. If waves
    are damped at all, a damped Gauss-Newton step takes over where the flow cannot be
    run backwards.

    **Arguments:** `linear`: L, of `basis.spectral_shape`; `largest_gain`: None for 1 /
    sqrt(eps) of JAX's default float, and where that fails 300.
    """
    one = exponential_integrator(linear, duration / steps)
    forward = NonlinearWaves(steps, basis, one, nonlinear)
    damping = -np.real(linear) * duration
    if not np.any(damping > 0):
        return Simulator(forward, _backwards(forward, linear, duration, np.inf))
    rounding = float(jnp.finfo(jnp.result_type(float)).eps) ** -0.5
    gains = [rounding, LOWER_GAIN]
    if largest_gain is not None:
        gains = [number("largest_gain", largest_gain)]
    rungs = [_backwards(forward, linear, duration, gain) for gain in gains]
    products = lx.LSMR(rtol=1e-4, atol=0.0, max_steps=PRODUCTS)
    numerical = LinearizedInverse(damping=DAMPING, solver=products)
    return Simulator(forward, Ladder([*rungs, numerical]))


def _backwards(
    forward: NonlinearWaves, linear: np.ndarray, duration: float, gain: float
) -> RefinedInverse:
    """The flow backwards, refined, in waves that are damped by less than a gain."""
    known = -np.real(linear) * duration <= math.log(gain)
    back = np.where(known, linear, -linear)
    turned = TurnedBack(forward.nonlinear, jnp.asarray(known))
    one = exponential_integrator(back, -duration / forward.steps)
    flow = NonlinearWaves(forward.steps, forward.basis, one, turned)
    # what waves that are lost still make of z is not to be had
    accuracy = 1 / gain if gain < np.inf else None
    return RefinedInverse(RunBackwards(flow, turned.known), accuracy=accuracy)


def kept_waves(basis: Basis) -> np.ndarray:
    """Waves whose products come back as no others: below 2/3 of the shortest ones."""
    kept = np.ones(basis.spectral_shape, bool)
    pairs = zip(basis.wavenumbers, basis.shape, basis.lengths, strict=True)
    for k, count, length in pairs:
        kept = kept & (np.abs(k) * length < KEPT * np.pi * count)
    return kept


class Convection(eqx.Module):
    """N(u) = -scale u u_x = -scale/2 (u^2)_x, its products free of aliases."""

    basis: Basis
    kept: Bool[Array, "..."]
    slope: Coefficients
    """-scale/2 i k, zero beyond the waves that are kept."""

    def __call__(self, waves: Coefficients) -> Coefficients:
        u = self.basis.back(jnp.where(self.kept, waves, 0.0))
        return self.slope * self.basis.to(u**2)


def convection(basis: Basis, scale: float) -> Convection:
    """-scale u u_x along the last axis of a box."""
    kept = kept_waves(basis)
    slope = np.where(kept, -scale / 2 * basis.slopes[-1], 0.0)
    return Convection(basis, jnp.asarray(kept), jnp.asarray(slope))
