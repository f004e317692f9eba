"""The metric W in which a network is to come near to a point x+: W (x - x+)."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from physgrad.inverses.flat import Flat, FlatMap, Scalar, call_user, real_array
from physgrad.inverses.jacobian import jacobian_operator
from physgrad.inverses.rule import Metric
from physgrad.inverses.settings import brief, describe, share


class Place(NamedTuple):
    """Where W is asked for."""

    forward: FlatMap
    """z = P(x)."""
    x: Flat
    """The point that the network proposes."""
    metric: Metric
    """B, the metric of the step in z."""


class ProxyMetric(eqx.Module):
    """W of the proxy 1/2 |x - x+|_W^2, whose gradient is W (x - x+)."""

    def __repr__(self) -> str:
        return describe(self)

    @abc.abstractmethod
    def gradient(self, difference: Flat, place: Place) -> Flat:
        """W (x - x+)."""


class Blend(ProxyMetric):
    """W = (1 - weight) I + weight J^T B J: from the best x to the best z.

    J^T B (J (x - x+)) is close to J^T B (z - z~) = eta J^T dL/dz, the plain gradient.
    """

    weight: Scalar = eqx.field(converter=share("metric"))
    """Zero: distances in x count alike; one: so do those in z."""

    def gradient(self, difference: Flat, place: Place) -> Flat:
        jacobian = jacobian_operator(place.forward, place.x)
        through = place.metric.root() @ jacobian
        by_z = through.T.mv(through.mv(difference))
        return (1 - self.weight) * difference + self.weight * by_z


class Nearest(ProxyMetric):
    """W = I: the proxy is the distance in x."""

    def gradient(self, difference: Flat, place: Place) -> Flat:
        return difference


class MatrixProxy(ProxyMetric):
    """W = a symmetric matrix of the user's, shape (x entries, x entries)."""

    matrix: Float[Array, "x x"]

    def gradient(self, difference: Flat, place: Place) -> Flat:
        if self.matrix.shape[0] != difference.size:
            raise ValueError(
                f"metric must have {difference.size} rows like x, got "
                f"{self.matrix.shape[0]}"
            )
        return self.matrix @ difference


class FunctionProxy(ProxyMetric):
    """W by its products, a function (dx, x) -> W dx of the user's PyTrees."""

    function: Callable

    def gradient(self, difference: Flat, place: Place) -> Flat:
        unravel = place.forward.unravel_x
        answer = call_user(
            self.function, "the metric", unravel(difference), unravel(place.x)
        )
        flat, _ = ravel_pytree(answer)
        if flat.shape != difference.shape:
            raise ValueError(
                f"the metric must return W dx, {difference.size} entries like x, got "
                f"{flat.size}"
            )
        return flat.astype(difference.dtype)


def as_proxy_metric(value: Any) -> ProxyMetric:
    """The metric for None or "x", "z", a number, a matrix or a function."""
    if isinstance(value, ProxyMetric):
        return value
    if value is None or (isinstance(value, str) and value == "x"):
        return Nearest()
    if isinstance(value, str) and value == "z":
        return Blend(1.0)
    if isinstance(value, str):
        raise ValueError(
            f"metric must be 'x', 'z', a number between, a symmetric matrix or a "
            f"function (dx, x) -> W dx, got {brief(value)}"
        )
    if isinstance(value, jax.Array | np.ndarray) and value.ndim:
        return MatrixProxy(_symmetric(value))
    return FunctionProxy(value) if callable(value) else Blend(value)


def _symmetric(value: Any) -> Array:
    matrix = real_array(value, "metric")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"metric must be a square matrix, got shape {matrix.shape}")
    if isinstance(matrix, Tracer):
        return matrix
    if not jnp.all(jnp.isfinite(matrix)):
        raise ValueError("metric must be finite, got NaN or infinity in it")
    if not np.allclose(matrix, matrix.T):
        raise ValueError("metric must be symmetric, got a matrix that is not")
    return matrix
