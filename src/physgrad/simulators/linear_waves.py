"""What simulators share that multiply each wave of a box by a number of its own."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from physgrad.basis import Basis, Coefficients
from physgrad.inverses.settings import whole_number
from physgrad.simulators.checks import check_field
from physgrad.simulators.precision import like_x


class WaveFilter(eqx.Module):
    """z = U^-1 m U x: each wave is multiplied by its gain m."""

    basis: Basis
    """U."""
    gains: Coefficients
    """m, of `basis.spectral_shape`."""

    @like_x
    def __call__(self, x: Array) -> Array:
        check_field("x", x.shape, self.basis.shape)
        waves = self.basis.to(x)
        return self.basis.back(self.gains * waves)


class WaveDecay(eqx.Module):
    """z = U^-1 exp(-rates time) U x: each wave decays, or turns, at its own rate."""

    basis: Basis
    """U."""
    rates: Coefficients
    """Per time; imaginary for waves that travel."""
    time: Array
    """From x to z; negative for a run backwards."""

    @property
    def gains(self) -> Coefficients:
        """What each wave is multiplied by."""
        return jnp.exp(-self.rates * self.time)

    @like_x
    def __call__(self, x: Array) -> Array:
        return WaveFilter(self.basis, self.gains)(x)

    @like_x
    def rollout(self, x: Array, frames: int) -> Array:
        """The states at so many times after that of x, which stands in front."""
        frames = whole_number("frames", 1)(frames)
        times = self.time * jnp.arange(frames + 1) / frames
        return jax.vmap(lambda time: WaveDecay(self.basis, self.rates, time)(x))(times)
