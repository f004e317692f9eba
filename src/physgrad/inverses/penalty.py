"""What a regularization penalizes: the rows L of 1/2 |L (x - x_ref)|^2."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from physgrad.inverses.flat import Flat, FlatMap, real_array
from physgrad.inverses.settings import brief, describe
from physgrad.names import PENALTIES

Rows = Float[Array, "rows x"]


class Penalty(eqx.Module):
    """The operator L of Q = L^T L."""

    def __repr__(self) -> str:
        return describe(self)

    @abc.abstractmethod
    def rows(self, forward: FlatMap, x: Flat) -> Rows:
        """L as a dense matrix, in the dtype of x."""


class Differences(Penalty):
    """Differences of one order between neighbors, along each axis of each leaf of x.

    A leaf too small for a difference of this order is penalized itself.
    """

    order: int = eqx.field(static=True)
    """0: the entries themselves; 1: gradient; 2: Laplacian, axis by axis."""

    def rows(self, forward: FlatMap, x: Flat) -> Rows:
        def along_axes(leaf: Array) -> list[Array]:
            every = [jnp.diff(leaf, self.order, axis) for axis in range(leaf.ndim)]
            found = [differences for differences in every if differences.size]
            return found if self.order and found else [leaf]

        def flat(unit: Flat) -> Flat:
            leaves = jax.tree.leaves(forward.unravel_x(unit))
            return ravel_pytree([along_axes(leaf) for leaf in leaves])[0]

        return jax.vmap(flat, out_axes=1)(jnp.eye(x.size, dtype=x.dtype))


class Given(Penalty):
    """The user's own L, shape (rows, x entries)."""

    operator: lx.AbstractLinearOperator

    def rows(self, forward: FlatMap, x: Flat) -> Rows:
        columns = self.operator.in_size()
        if columns != x.size:
            raise ValueError(
                f"operator must have {x.size} columns like x, got {columns}"
            )
        return self.operator.as_matrix().astype(x.dtype)


def as_penalty(value: Any) -> Penalty:
    """The penalty for a name, a matrix, a lineax operator, or a `Penalty` itself.

    >>> as_penalty("laplacian")
    Differences(order=2)
    """
    if isinstance(value, Penalty):
        return value
    if isinstance(value, str) and value in PENALTIES:
        return Differences(order=PENALTIES.index(value))
    if isinstance(value, lx.AbstractLinearOperator):
        return Given(value)
    if isinstance(value, jax.Array | np.ndarray):
        return Given(lx.MatrixLinearOperator(_matrix(value)))
    raise (ValueError if isinstance(value, str) else TypeError)(
        f"operator must be {', '.join(map(repr, PENALTIES))}, a matrix of shape "
        f"(rows, x entries) or a lineax operator, got {brief(value)}"
    )


def _matrix(value: Any) -> Rows:
    matrix = real_array(value, "operator")
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(
            f"operator must be a matrix of shape (rows, x entries), got shape "
            f"{matrix.shape}"
        )
    if not isinstance(matrix, Tracer) and not np.all(np.isfinite(matrix)):
        raise ValueError("operator must be finite, got NaN or infinity in it")
    return matrix
