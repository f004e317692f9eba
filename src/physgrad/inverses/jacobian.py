"""The dense Jacobian of a flat map, where it fits."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from physgrad.inverses.flat import Flat
from physgrad.inverses.rule import Evaluations

DENSE_BYTES = 2**30


def fits(rows: int, x: Flat) -> bool:
    """Whether a dense matrix of `rows` x (x entries) takes at most 1 GiB."""
    return rows * x.size * x.dtype.itemsize <= DENSE_BYTES


def check_dense(rows: int, x: Flat, way_out: str) -> None:
    """Refuse a dense matrix of `rows` x (x entries) above 1 GiB (`ValueError`)."""
    if not fits(rows, x):
        raise ValueError(
            f"a dense matrix of {rows} x {x.size} entries needs more than 1 GiB; use "
            f"{way_out}, which needs only products with it"
        )


def dense_jacobian(forward: Callable[[Flat], Flat], x: Flat) -> Float[Array, "z x"]:
    """J = dP/dx at x, shape (z entries, x entries), from the smaller number of sweeps.

    **Raises:** `ValueError` above 1 GiB, naming the way out.
    """
    size = jax.eval_shape(forward, x).size
    check_dense(size, x, "LinearizedInverse(solver=lineax.LSMR(rtol=1e-6, atol=0.0))")
    return (jax.jacfwd if is_tall(size, x) else jax.jacrev)(forward)(x)


def is_tall(rows: int, x: Flat) -> bool:
    """Whether a Jacobian of `rows` rows takes forward sweeps, one for each column."""
    return x.size <= rows


def jacobian_cost(rows: int, x: Flat) -> Evaluations:
    """What a dense Jacobian of `rows` rows costs: a sweep for each column or row."""
    return Evaluations(jvp=x.size) if is_tall(rows, x) else Evaluations(vjp=rows)
