"""How strongly to regularize: by the size of the noise, or from the data alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from physgrad.inverses.flat import Flat, Scalar
from physgrad.inverses.tikhonov import Tikhonov

# Each zoom looks at so many weights between the last two: 1e-3 of a decade at the end.
POINTS, ZOOMS = 32, 4
# The discrepancy holds up to this factor: the weight is chosen on the linearized
# problem, and rounded.
SLACK = 1.05
# An error of the linearization this small, as a part of the noise, is no reason for a
# further step.
SMALL = 0.01

Weights = Float[Array, " weights"]


class Linear(NamedTuple):
    """The problem linearized: b, and A d for all weights, in units of z and B."""

    family: Tikhonov
    misfit: Flat
    """z~ - P(x) + J (x - x_ref), to be fitted by J d."""
    weighted: Flat
    """The same in the metric: R times it."""
    image: Float[Array, "z values"]
    """J X: J d = `image` y."""


class Discrepancy(eqx.Module):
    """The largest weight at which the misfit is no more than the noise."""

    seen: Bool[Array, " z"]
    """Entries that the metric does not leave out."""
    noise: Flat
    """Standard deviation of each entry of z."""

    def size(self, misfit: Flat) -> Scalar:
        """sum (misfit / noise)^2 / number of entries: 1 where it is just noise."""
        ratio = misfit / jnp.maximum(self.noise, jnp.finfo(misfit.dtype).tiny)
        return jnp.sum(jnp.where(self.seen, ratio, 0.0) ** 2) / jnp.sum(self.seen)

    def is_noise(self, misfit: Flat) -> Bool[Array, ""]:
        """Whether a misfit is close enough for the target to be noise."""
        return self.size(misfit) <= SLACK

    def is_small(self, error: Flat, misfit: Flat) -> Bool[Array, ""]:
        """Whether an error in z is far below the noise."""
        del misfit  # the noise is known
        return self.size(error) <= SMALL**2

    def most(self) -> Flat:
        """The largest misfit of each entry that can be noise."""
        return jnp.where(self.seen, self.noise, 0.0) * jnp.sqrt(
            SLACK * jnp.sum(self.seen)
        )

    def __call__(self, linear: Linear) -> Scalar:
        """log of the weight; the weakest where even that misses the noise."""

        def holds(log_weight: Scalar) -> Array:
            fitted = linear.family.coordinates(linear.weighted, log_weight)
            return self.size(linear.misfit - linear.image @ fitted) <= 1.0

        def cell(log_weights: Weights) -> tuple[Array, Array]:
            good = jax.vmap(holds)(log_weights)
            last = jnp.where(jnp.any(good), jnp.argmax(good), POINTS - 1)
            return jnp.where(good[last], jnp.maximum(last - 1, 0), last), last

        return _zoomed(linear.family, cell)


class CrossValidation(eqx.Module):
    """The weight that predicts left-out data best: generalized cross-validation.

    **Source:** Golub, Heath, Wahba, "Generalized cross-validation as a method for
    choosing a good ridge parameter", Technometrics 21, 1979; Hansen, section 7.4.
    """

    seen: Bool[Array, " z"]
    """Entries that the metric does not leave out."""

    def is_noise(self, misfit: Flat) -> Bool[Array, ""]:
        """How much is noise is not known: only what is no misfit at all is none."""
        return jnp.all(jnp.where(self.seen, misfit, 0.0) == 0)

    def is_small(self, error: Flat, misfit: Flat) -> Bool[Array, ""]:
        """Whether an error in z is far below the misfit, which is to be noise."""
        error, misfit = (jnp.where(self.seen, v, 0.0) for v in (error, misfit))
        return jnp.linalg.norm(error) <= SMALL * jnp.linalg.norm(misfit)

    def most(self) -> Flat:
        """Nothing is promised."""
        return jnp.full(self.seen.shape, jnp.inf)

    def __call__(self, linear: Linear) -> Scalar:
        """log of the weight; the end of the grid where that is best."""
        left, vector = linear.family.left, linear.weighted
        parts = left.T @ vector
        outside = jnp.sum((vector - left @ parts) ** 2)

        def score(log_weight: Scalar) -> Scalar:
            rest = linear.family.rest(log_weight)
            trace = jnp.sum(rest) + jnp.sum(self.seen) - rest.size
            return (jnp.sum((rest * parts) ** 2) + outside) / trace**2

        def cell(log_weights: Weights) -> tuple[Array, Array]:
            scores = jax.vmap(score)(log_weights)
            best = jnp.argmin(jnp.where(jnp.isnan(scores), jnp.inf, scores))
            return jnp.maximum(best - 1, 0), jnp.minimum(best + 1, POINTS - 1)

        return _zoomed(linear.family, cell)


def _zoomed(family: Tikhonov, cell: Callable[[Weights], tuple[Array, Array]]) -> Scalar:
    """Look at weights from strong to weak, then again within the cell that is named."""
    strong, weak = family.log_strongest, family.log_weakest
    for _ in range(ZOOMS):
        log_weights = jnp.linspace(strong, weak, POINTS)
        strong, weak = (log_weights[i] for i in cell(log_weights))
    return weak
