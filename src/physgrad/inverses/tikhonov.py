"""All solutions of one linear problem, regularized more or less: Tikhonov's family.

d(weight) = argmin |A d - b|^2 + weight |L d|^2, for each weight from one decomposition.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from physgrad.inverses.flat import Flat, Scalar
from physgrad.spectral import Values, spectrum

# The strongest weight is this multiple of the largest (C / S)^2: d moves by 1 %.
STRONG = 100.0


class Tikhonov(NamedTuple):
    """A = a U C X^-1 and L = b Z S X^-1, with C^2 + S^2 = 1: A and L in one basis X.

    Weights are known by their logarithms: their range is that of the dtype, squared.
    """

    left: Float[Array, "z values"]
    """U."""
    cosines: Values
    """C: what A sees of a direction, largest first; zero where that is rounding."""
    sines: Values
    """S: what L sees of it; zero where that is rounding."""
    back: Float[Array, "x values"]
    """X / a: d = X / a (filtered U^T b)."""
    log_unit: Scalar
    """log (a / b)^2."""

    @property
    def log_strongest(self) -> Scalar:
        """log of a weight that leaves alone whatever L sees."""
        seen = self.sines > 0
        gain = jnp.where(seen, self.cosines / jnp.where(seen, self.sines, 1.0), 0.0)
        steepest = jnp.max(gain)
        top = 2 * jnp.log(jnp.where(steepest > 0, steepest, 1.0))
        return self.log_unit + top + jnp.log(STRONG)

    @property
    def log_weakest(self) -> Scalar:
        """log of a weight below which nothing changes: d is that of weight 0."""
        return self.log_unit + 2 * jnp.log(jnp.finfo(self.left.dtype).eps)

    def root_of_inverse(self, log_weight: Scalar) -> Float[Array, "x values"]:
        """G with G G^T = weight (A^T A + weight L^T L)^+."""
        total = self._total(log_weight)
        inverse = jnp.where(total > 0, 1.0 / jnp.where(total > 0, total, 1.0), 0.0)
        return self.back * (jnp.exp(log_weight / 2) * jnp.sqrt(inverse))

    def multiplier(self, vector: Flat, misfit: Flat, log_weight: Scalar) -> Flat:
        """(b - A d) / weight: in the range of A by b, since A d may be b to rounding.

        `misfit` is b - A d, of which the part outside of the range is taken.
        """
        kept = self.cosines > 0
        total = jnp.where(kept, self._total(log_weight), 1.0)
        parts = jnp.exp(-self.log_unit) * self.sines**2 / total * (self.left.T @ vector)
        outside = misfit - self.left @ jnp.where(kept, self.left.T @ misfit, 0.0)
        return self.left @ jnp.where(kept, parts, 0.0) + jnp.exp(-log_weight) * outside

    def _total(self, log_weight: Scalar) -> Values:
        """C^2 + mu S^2, with mu = weight (b / a)^2."""
        return self.cosines**2 + jnp.exp(log_weight - self.log_unit) * self.sines**2

    def rest(self, log_weight: Scalar) -> Values:
        """The part of U^T b that A d does not fit: 1 - C^2 / (C^2 + mu S^2)."""
        lifted = jnp.exp(log_weight - self.log_unit) * self.sines**2
        kept = self.cosines > 0
        total = jnp.where(kept, self.cosines**2 + lifted, 1.0)
        return jnp.where(kept, lifted / total, 1.0)

    def coordinates(self, vector: Flat, log_weight: Scalar) -> Values:
        """y with d = `back` y."""
        kept = self.cosines > 0
        inverse = jnp.where(kept, 1.0 / jnp.where(kept, self.cosines, 1.0), 0.0)
        return (1 - self.rest(log_weight)) * inverse * (self.left.T @ vector)


def tikhonov(matrix: Float[Array, "z x"], rows: Float[Array, "rows x"]) -> Tikhonov:
    """Decompose A and L together: the stacked [A; L], then the part of A in it.

    No product A^T A or L^T L in the dtype of A: in float32 that would lose half of the
    digits. Directions that neither A nor L sees are left alone.

    >>> import jax.numpy as jnp
    >>> family = tikhonov(jnp.array([[3.0]]), jnp.array([[4.0]]))
    >>> d = family.back @ family.coordinates(jnp.array([2.0]), jnp.log(1.0))
    >>> print(d.round(4))                                                 # 6 / (9 + 16)
    [0.24]

    **Source:** Hansen, Rank-Deficient and Discrete Ill-Posed Problems, section 2.1;
    Golub and Van Loan, Matrix Computations, 4th ed., section 6.1.6.
    """
    sizes = [jnp.max(jnp.abs(m)) for m in (matrix, rows)]
    a, b = (jnp.where(size > 0, size, 1.0) for size in sizes)
    rounding = (len(matrix) + len(rows)) * float(jnp.finfo(matrix.dtype).eps)
    stacked = spectrum(jnp.concatenate([matrix / a, rows / b]))
    unit = stacked.left * (stacked.values > 0)
    upper = spectrum(unit[: len(matrix)], rounding)
    sines = jnp.linalg.norm(unit[len(matrix) :] @ upper.right.T, axis=0)
    inverse = stacked.scaled(lambda s: 1.0 / s)
    back = stacked.right.T @ (inverse[:, None] * upper.right.T) / a
    family = (
        upper.left,
        upper.values,
        jnp.where(sines > rounding, sines, 0.0),
        back,
        2 * (jnp.log(a) - jnp.log(b)),
    )
    return Tikhonov(*(part.astype(matrix.dtype) for part in family))
