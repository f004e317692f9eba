"""The dense Jacobian of a flat map, where it fits."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float

from physgrad.inverses.flat import Flat, FlatMap

DENSE_BYTES = 2**30


def check_dense(rows: int, x: Flat, way_out: str) -> None:
    """Refuse a dense matrix of `rows` x (x entries) above 1 GiB (`ValueError`)."""
    if rows * x.size * x.dtype.itemsize > DENSE_BYTES:
        raise ValueError(
            f"a dense matrix of {rows} x {x.size} entries needs more than 1 GiB; use "
            f"{way_out}, which needs only products with it"
        )


def dense_jacobian(forward: FlatMap, x: Flat) -> Float[Array, "z x"]:
    """J = dP/dx at x, shape (z entries, x entries), from the smaller number of sweeps.

    **Raises:** `ValueError` above 1 GiB, naming the way out.
    """
    size = jax.eval_shape(forward, x).size
    check_dense(size, x, "LinearizedInverse(solver=lineax.LSMR(rtol=1e-6, atol=0.0))")
    return (jax.jacfwd if x.size <= size else jax.jacrev)(forward)(x)
