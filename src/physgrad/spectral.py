"""Solutions by singular values: A = U S V^T, dx = V f(S) U^T b."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Values = Float[Array, " values"]


class Spectrum(NamedTuple):
    """A = U S V^T on its smaller side; singular values that were dropped are zero."""

    left: Float[Array, "z values"]
    """U."""
    values: Values
    """S, largest first."""
    right: Float[Array, "values x"]
    """V^T."""

    def solve(self, gain: Callable[[Values], Values], vector: Float[Array, " z"]):
        """dx = V f(S) U^T b, with f = `gain` where S is not dropped, else 0."""
        filtered = self.scaled(gain) * (self.left.T @ vector)
        return (self.right.T @ filtered).astype(vector.dtype)

    def damped(
        self, vector: Float[Array, " z"], damping: Float[Array, ""] | float
    ) -> Float[Array, " x"]:
        """dx = (A^T A + damping I)^+ A^T b = V S / (S^2 + damping) U^T b."""
        # written so that s^2 can neither overflow nor underflow
        return self.solve(lambda s: 1.0 / (s + damping / s), vector)

    def scaled(self, gain: Callable[[Values], Values]) -> Values:
        """f(S), zero where a singular value was dropped."""
        kept = self.values > 0
        return jnp.where(kept, gain(jnp.where(kept, self.values, 1.0)), 0.0)


def spectrum(
    matrix: Float[Array, "z x"], truncation: Float[Array, ""] | float | None = None
) -> Spectrum:
    """The singular value decomposition A = U S V^T, small singular values dropped.

    A float64 matrix is decomposed itself: its Gram matrix would lose half of the
    digits. A float32 one has its Gram matrix of the smaller side taken in float64,
    where JAX has it, which is quicker and leaves float32 more digits than its own
    decomposition would; with x64 off it is decomposed as it is.

    **Arguments:**

    - `matrix`: A, shape (z entries, x entries).
    - `truncation`: values up to this part of the largest are dropped; None, or less
        than that, for max(z, x) eps, below which they are rounding.

    >>> import jax.numpy as jnp
    >>> spectrum(jnp.array([[2.0, 0.0], [0.0, 1e-9]])).values
    Array([2., 0.], dtype=float32)

    **Source:** Golub and Van Loan, Matrix Computations, 4th ed., sections 2.4 and 8.6.
    """
    floor = max(matrix.shape) * jnp.finfo(matrix.dtype).eps
    least = floor if truncation is None else jnp.maximum(truncation, floor)
    if matrix.dtype == jnp.float32 and jnp.result_type(float) == jnp.float64:
        left, values, right = _by_gram_matrix(matrix.astype(jnp.float64))
    else:
        left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    return Spectrum(left, jnp.where(values > least * values[0], values, 0.0), right)


def _by_gram_matrix(
    matrix: Float[Array, "z x"],
) -> tuple[Float[Array, "z values"], Values, Float[Array, "values x"]]:
    """U, S, V^T from the eigenvectors of A A^T or A^T A, the smaller of them."""
    if matrix.shape[0] > matrix.shape[1]:
        right, values, left = _by_gram_matrix(matrix.T)
        return left.T, values, right.T
    squares, vectors = jnp.linalg.eigh(matrix @ matrix.T)  # smallest first
    values = jnp.sqrt(jnp.maximum(squares, 0.0))[::-1]
    left = vectors[:, ::-1]
    right = left.T @ matrix / jnp.where(values > 0, values, 1.0)[:, None]
    return left, values, right


def damped_solution(
    matrix: Float[Array, "z x"],
    vector: Float[Array, " z"],
    damping: Float[Array, ""] | float = 0.0,
) -> Float[Array, " x"]:
    """dx = (A^T A + damping I)^+ A^T b = V S / (S^2 + damping) U^T b.

    A rank-deficient A gives the least-norm solution, never infinity.

    **Source:** Hansen, Rank-Deficient and Discrete Ill-Posed Problems, section 4.2.

    >>> import jax.numpy as jnp
    >>> damped_solution(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([4.0, 1.0]))
    Array([2., 0.], dtype=float32)
    """
    return spectrum(matrix).damped(vector, damping)
