"""How strongly to regularize: by the size of the noise, or from the data alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from physgrad.inverses.flat import Flat, Scalar, largest
from physgrad.inverses.tikhonov import Tikhonov

# Each zoom looks at so many weights between the last two: 1e-3 of a decade at the end.
POINTS, ZOOMS = 32, 4
# Where the misfit is that of the noise up to this factor, x stays.
SLACK = 1.05
# Each degree of freedom counts so much more than an unbiased estimate of the risk says:
# that alone fits some of the noise in one run of ten.
CAUTION = 1.4
# Noise sums up to more than the certificate allows for in one run of 740.
DEVIATIONS = 3.0
# A misfit is rounded to so many eps.
ROUNDING = 16.0
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


class PredictiveRisk(eqx.Module):
    """The weight that is expected to predict the z without noise best.

    The expectation of sum (fitted - without noise)^2 / noise^2 is, but for a constant,
    that of sum (misfit / noise)^2 + 2 trace, with the trace of the influence matrix
    A (A^T A + weight L^T L)^-1 A^T: what is fitted for a change of the data, in the
    metric B; in units of z its trace is the same, whatever the noise is to B. The least
    estimate is noisy itself: the trace counts `CAUTION` times.

    **Source:** Mallows, "Some comments on C_P", Technometrics 15, 1973; Vogel,
    Computational Methods for Inverse Problems, 2002, section 7.1 (the unbiased
    predictive risk estimator); Kim and Gu, "Smoothing spline Gaussian regression", J.
    R. Stat. Soc. B 66, 2004 (the factor 1.4).
    """

    seen: Bool[Array, " z"]
    """Entries that the metric does not leave out."""
    noise: Flat
    """Standard deviation of each entry of z."""

    def size(self, misfit: Flat) -> Scalar:
        """sum (misfit / noise)^2 / number of entries: about 1 where it is noise."""
        ratio = misfit / jnp.maximum(self.noise, jnp.finfo(misfit.dtype).tiny)
        return jnp.sum(jnp.where(self.seen, ratio, 0.0) ** 2) / self._entries

    def is_noise(self, misfit: Flat) -> Bool[Array, ""]:
        """Whether a misfit is close enough for the target to be noise."""
        return self.size(misfit) <= SLACK

    def is_plausible(self, misfit: Flat) -> Bool[Array, ""]:
        """Whether noise may be as large as a misfit."""
        return self.size(misfit) <= self._largest_size

    def is_small(self, error: Flat, misfit: Flat) -> Bool[Array, ""]:
        """Whether an error in z is far below the noise."""
        del misfit  # the noise is known
        return self.size(error) <= SMALL**2

    def most(self) -> Flat:
        """The largest misfit of each entry that is plausible."""
        noise = jnp.where(self.seen, self.noise, 0.0)
        return noise * jnp.sqrt(self._largest_size * self._entries)

    def is_best(self, misfit: Flat, linear: Linear, log_weight: Scalar) -> Array:
        """Whether no fit is expected to predict better than a point with a misfit.

        Only where that may be noise: else the noise, or the metric, is not that of the
        data, and the minimum in the metric is what a run goes to.
        """
        unit, risk = self._risk(linear)
        best = jnp.sum(self._ratios(misfit / unit) ** 2) <= risk(log_weight)
        return best & self.is_plausible(misfit)

    def __call__(self, linear: Linear) -> Scalar:
        """log of the weight; the weakest of those that rounding cannot tell apart.

        And the weakest of all where even its misfit is no noise: then the target is out
        of range, and the nearest point in the metric B is asked for.
        """
        _, risk = self._risk(linear)
        eps = ROUNDING * jnp.finfo(linear.misfit.dtype).eps
        rounding = jnp.sum(self._ratios(jnp.full_like(self.noise, eps)) ** 2)

        def cell(log_weights: Weights) -> tuple[Array, Array]:
            risks = jax.vmap(risk)(log_weights)
            good = risks <= (1 + eps) * jnp.nanmin(risks) + rounding
            return _around(POINTS - 1 - jnp.argmax(good[::-1]))

        weakest = linear.family.log_weakest
        fitted = linear.family.coordinates(linear.weighted, weakest)
        explained = self.is_plausible(linear.misfit - linear.image @ fitted)
        return jnp.where(explained, _zoomed(linear.family, cell), weakest)

    def _risk(self, linear: Linear) -> tuple[Scalar, Callable[[Scalar], Scalar]]:
        """A unit of z, and the estimate in it: times (largest noise / unit)^2."""
        misfit = jnp.where(self.seen, linear.misfit, 0.0)
        unit = jnp.maximum(largest(misfit), self._level)
        unit = jnp.where(unit > 0, unit, 1.0)

        def risk(log_weight: Scalar) -> Scalar:
            fitted = linear.family.coordinates(linear.weighted, log_weight)
            ratios = self._ratios((misfit - linear.image @ fitted) / unit)
            trace = jnp.sum(1 - linear.family.rest(log_weight))
            return jnp.sum(ratios**2) + 2 * CAUTION * trace * (self._level / unit) ** 2

        return unit, risk

    def _ratios(self, misfit: Flat) -> Flat:
        """Each entry over its noise, in units of the largest noise."""
        level = jnp.where(self._level > 0, self._level, 1.0)
        noise = jnp.where(self._level > 0, self.noise / level, 1.0)
        noise = jnp.maximum(noise, jnp.finfo(misfit.dtype).eps)
        return jnp.where(self.seen, misfit / noise, 0.0)

    @property
    def _level(self) -> Scalar:
        return largest(jnp.where(self.seen, self.noise, 0.0))

    @property
    def _entries(self) -> Scalar:
        return jnp.maximum(jnp.sum(self.seen), 1).astype(self.noise.dtype)

    @property
    def _largest_size(self) -> Scalar:
        """Chi-squared over its degrees of freedom, `DEVIATIONS` above its mean.

        **Source:** Wilson and Hilferty, "The distribution of chi-square", PNAS 17,
        1931: its cube root is normal.
        """
        spread = 2 / (9 * self._entries)
        return (1 - spread + DEVIATIONS * jnp.sqrt(spread)) ** 3


class CrossValidation(eqx.Module):
    """The weight that predicts left-out data best: generalized cross-validation.

    **Source:** Golub, Heath, Wahba, "Generalized cross-validation as a method for
    choosing a good ridge parameter", Technometrics 21, 1979; Hansen, section 7.4.
    """

    seen: Bool[Array, " z"]
    """Entries that the metric does not leave out."""
    data: Scalar
    """How many data there are: fewer than entries where the metric comes from a later
    link that does not show all of them."""

    def is_noise(self, misfit: Flat) -> Bool[Array, ""]:
        """How much is noise is not known: only what is no misfit at all is none."""
        return jnp.all(jnp.where(self.seen, misfit, 0.0) == 0)

    def is_plausible(self, misfit: Flat) -> Bool[Array, ""]:
        """The same."""
        return self.is_noise(misfit)

    def is_small(self, error: Flat, misfit: Flat) -> Bool[Array, ""]:
        """Whether an error in z is far below the misfit, which is to be noise."""
        error, misfit = (jnp.where(self.seen, v, 0.0) for v in (error, misfit))
        return jnp.linalg.norm(error) <= SMALL * jnp.linalg.norm(misfit)

    def most(self) -> Flat:
        """Nothing is promised."""
        return jnp.full(self.seen.shape, jnp.inf)

    def is_best(self, misfit: Flat, linear: Linear, log_weight: Scalar) -> Array:
        """It always fits."""
        del misfit, linear, log_weight
        return jnp.asarray(False)

    def __call__(self, linear: Linear) -> Scalar:
        """log of the weight; the end of the grid where that is best."""
        left, vector = linear.family.left, linear.weighted
        parts = left.T @ vector
        outside = jnp.sum((vector - left @ parts) ** 2)

        def score(log_weight: Scalar) -> Scalar:
            rest = linear.family.rest(log_weight)
            trace = jnp.sum(rest) + self.data - rest.size
            return (jnp.sum((rest * parts) ** 2) + outside) / trace**2

        def cell(log_weights: Weights) -> tuple[Array, Array]:
            scores = jax.vmap(score)(log_weights)
            return _around(jnp.argmin(jnp.where(jnp.isnan(scores), jnp.inf, scores)))

        return _zoomed(linear.family, cell)


def _around(best: Array) -> tuple[Array, Array]:
    return jnp.maximum(best - 1, 0), jnp.minimum(best + 1, POINTS - 1)


def _zoomed(family: Tikhonov, cell: Callable[[Weights], tuple[Array, Array]]) -> Scalar:
    """Look at weights from strong to weak, then again within the cell that is named."""
    strong, weak = family.log_strongest, family.log_weakest
    for _ in range(ZOOMS):
        log_weights = jnp.linspace(strong, weak, POINTS)
        strong, weak = (log_weights[i] for i in cell(log_weights))
    return weak
