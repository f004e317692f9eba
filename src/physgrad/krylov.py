"""Solutions by singular values of a map that is known by its products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from physgrad.spectral import Gain, Number, spectrum

Rows = Float[Array, " z"]
Columns = Float[Array, " x"]
Either = Float[Array, " entries"]


class _Basis(NamedTuple):
    """A V = U B, after some steps; what is not reached yet is zero."""

    left: Float[Array, "steps_and_one z"]
    """U^T."""
    right: Float[Array, "steps x"]
    """V^T."""
    bidiagonal: Float[Array, "steps_and_one steps"]
    """B."""


def krylov_solution(
    product: Callable[[Columns], Rows],
    transposed: Callable[[Rows], Columns],
    vector: Rows,
    gain: Gain,
    truncation: Number | None = None,
    steps: int = 64,
) -> Columns:
    """dx = V f(S) U^T b of A = U S V^T, on the Krylov space of so many steps.

    Golub and Kahan's bidiagonalization, every vector orthogonalized against all
    before. It is exact where the space is exhausted, and near where f is smooth over
    the singular values that b has a part in; S is that of the space.

    **Arguments:**

    - `product`, `transposed`: A t and A^T u.
    - `vector`: b.
    - `truncation`: as in `spectrum`.
    - `steps`: products with A and with A^T; so many vectors like dx are kept.

    >>> import jax.numpy as jnp
    >>> from physgrad.spectral import Power
    >>> a = jnp.array([[2.0, 0.0], [0.0, 4.0]])
    >>> print(krylov_solution(a.dot, a.T.dot, jnp.ones(2), Power(-1.0), steps=2))
    [0.5  0.25]

    **Source:** Golub and Kahan, "Calculating the singular values and pseudo-inverse of
    a matrix", SIAM J. Numer. Anal. 2, 1965.
    """
    first, size = _unit(vector, 0.0)
    like = transposed(first)
    steps = min(steps, vector.size, like.size)
    floor = max(vector.size, like.size) * jnp.finfo(vector.dtype).eps
    begin = _Basis(
        jnp.zeros((steps + 1, vector.size), vector.dtype).at[0].set(first),
        jnp.zeros((steps, like.size), like.dtype),
        jnp.zeros((steps + 1, steps), vector.dtype),
    )

    def extended(k: Array, basis: _Basis) -> _Basis:
        left, right, bidiagonal = basis
        least = floor * jnp.max(bidiagonal)
        v, alpha = _unit(_orthogonal(transposed(left[k]), right), least)
        u, beta = _unit(_orthogonal(product(v), left), least)
        bidiagonal = bidiagonal.at[k, k].set(alpha).at[k + 1, k].set(beta)
        return _Basis(left.at[k + 1].set(u), right.at[k].set(v), bidiagonal)

    basis = lax.fori_loop(0, steps, extended, begin)
    start = jnp.zeros(steps + 1, vector.dtype).at[0].set(size)
    small = spectrum(basis.bidiagonal, truncation).solve(gain, start)
    return small @ basis.right


def _orthogonal(vector: Either, basis: Float[Array, "steps entries"]) -> Either:
    """What of a vector is orthogonal to others; twice is enough."""
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector


def _unit(vector: Either, least: Number) -> tuple[Either, Number]:
    """A vector of length 1, and how long it was; zero where that is rounding."""
    size = jnp.linalg.norm(vector)
    seen = size > least
    unit = jnp.where(seen, vector / jnp.where(seen, size, 1.0), 0.0)
    return unit, jnp.where(seen, size, 0.0)
