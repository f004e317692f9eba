"""Solutions by singular values: A = U S V^T, dx = V f(S) U^T b."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def damped_solution(
    matrix: Float[Array, "z x"],
    vector: Float[Array, " z"],
    damping: Float[Array, ""] | float = 0.0,
) -> Float[Array, " x"]:
    """dx = (A^T A + damping I)^+ A^T b = V S / (S^2 + damping) U^T b.

    From the singular values of A itself: a Gram matrix A^T A would lose half of the
    digits. Singular values below max(z, x) eps times the largest are dropped, so a
    rank-deficient A gives the least-norm solution, never infinity.

    **Source:** Hansen, Rank-Deficient and Discrete Ill-Posed Problems, section 4.2.

    >>> import jax.numpy as jnp
    >>> damped_solution(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([4.0, 1.0]))
    Array([2., 0.], dtype=float32)
    """
    u, s, v_transposed = jnp.linalg.svd(matrix, full_matrices=False)
    kept = s > max(matrix.shape) * jnp.finfo(s.dtype).eps * s[0]
    safe = jnp.where(kept, s, 1.0)
    # s / (s^2 + damping), written so that s^2 can neither overflow nor underflow
    filtered = jnp.where(kept, 1.0 / (safe + damping / safe), 0.0)
    return v_transposed.T @ (filtered * (u.T @ vector))
