"""The dense Jacobian of a flat map, where it fits."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap

DENSE_BYTES = 2**30
TOO_LARGE = "needs more than 1 GiB"


def fits(rows: int, x: Flat) -> bool:
    """Whether a dense matrix of `rows` x (x entries) takes at most 1 GiB."""
    return rows * x.size * x.dtype.itemsize <= DENSE_BYTES


def check_dense(rows: int, x: Flat, way_out: str) -> None:
    """Refuse a dense matrix of `rows` x (x entries) above 1 GiB (`ValueError`)."""
    if not fits(rows, x):
        raise ValueError(
            f"a dense matrix of {rows} x {x.size} entries {TOO_LARGE}; use "
            f"{way_out}, which needs only products with it"
        )


def by_products(x: Flat) -> lx.AbstractLinearSolver:
    """What solves with a Jacobian that does not fit, by products with it and J^T."""
    return lx.LSMR(rtol=float(jnp.finfo(x.dtype).eps) ** 0.5, atol=0.0)


def dense_jacobian(
    function: Callable[[Flat], Flat], x: Flat, forward_mode: bool
) -> Float[Array, "z x"]:
    """J = df/dx at x, shape (f entries, x entries), from the smaller number of sweeps.

    **Raises:** `ValueError` above 1 GiB, naming the way out.
    """
    rows = jax.eval_shape(function, x).size
    check_dense(rows, x, "LinearizedInverse(solver=lineax.LSMR(rtol=1e-6, atol=0.0))")
    columns = by_columns(rows, x, forward_mode)
    return (jax.jacfwd if columns else jax.jacrev)(function)(x)


def jacobian_operator(forward: FlatMap, x: Flat) -> lx.AbstractLinearOperator:
    """J by its products; dense, by its rows, where the simulator has no J t."""
    if not forward.forward_mode:
        return lx.MatrixLinearOperator(dense_jacobian(forward, x, False))
    return lx.JacobianLinearOperator(lambda x, _: forward(x), x)


def by_columns(rows: int, x: Flat, forward_mode: bool) -> bool:
    """Whether a Jacobian of `rows` rows takes forward sweeps, one for each column."""
    return forward_mode and x.size <= rows


def jacobian_cost(rows: int, x: Flat, forward_mode: bool) -> Evaluations:
    """What a dense Jacobian of `rows` rows costs: a sweep for each column or row."""
    columns = by_columns(rows, x, forward_mode)
    return Evaluations(jvp=x.size) if columns else Evaluations(vjp=rows)
