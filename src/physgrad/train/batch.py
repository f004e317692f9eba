"""A batch of samples as a function of a network's parameters, and its linear model."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from physgrad.inverses.flat import Flat, Scalar, call_user
from physgrad.inverses.jacobian import DENSE_BYTES
from physgrad.krylov import krylov_solution
from physgrad.objective.losses import FlatLoss
from physgrad.objective.z_step import ZMetric, ZStep
from physgrad.spectral import Gain, Number, gram_solution
from physgrad.train.judged import judged


class LinearModel(eqx.Module):
    """A dtheta = b, with A = B^1/2 J and b = B^1/2 dz, stacked over all samples.

    J is the Jacobian of the physical output z with respect to the parameters, dz the
    step -B^-1 dL/dz that each sample would like to take.
    """

    @abc.abstractmethod
    def solve(self, gain: Gain, truncation: Number | None) -> Flat:
        """dtheta = V f(S) U^T b, A = U S V^T."""

    @abc.abstractmethod
    def product(self, step: Flat) -> Float[Array, " rows"]:
        """A dtheta."""

    @abc.abstractmethod
    def gradient(self) -> Flat:
        """A^T b = -dL/dtheta."""

    @abc.abstractmethod
    def right_side(self) -> Float[Array, " rows"]:
        """b."""

    def decrease(self, step: Flat) -> Scalar:
        """How much a step lowers |b - A dtheta|^2 / 2, the model of the loss."""
        b, image = self.right_side(), self.product(step)
        return (b - image / 2) @ image

    def curvature(self) -> Scalar:
        """|A g|^2 / |g|^2 along the gradient g: the size of A^T A."""
        g = self.gradient()
        size = jnp.linalg.norm(g)
        unit = g / jnp.where(size > 0, size, 1.0)
        return jnp.sum(self.product(unit) ** 2)


class DenseModel(LinearModel):
    """A as a matrix."""

    matrix: Float[Array, "rows params"]
    vector: Float[Array, " rows"]

    def solve(self, gain: Gain, truncation: Number | None) -> Flat:
        return gram_solution(self.matrix, self.vector, gain, truncation)

    def product(self, step: Flat) -> Float[Array, " rows"]:
        return self.matrix @ step

    def gradient(self) -> Flat:
        return self.matrix.T @ self.vector

    def right_side(self) -> Float[Array, " rows"]:
        return self.vector


class MatrixFreeModel(LinearModel):
    """A by its products."""

    pushed: Callable
    """A t."""
    pulled: Callable
    """A^T u."""
    vector: Float[Array, " rows"]
    steps: int = eqx.field(static=True)
    """Of the Krylov space."""

    def solve(self, gain: Gain, truncation: Number | None) -> Flat:
        return krylov_solution(
            self.pushed, self.pulled, self.vector, gain, truncation, self.steps
        )

    def product(self, step: Flat) -> Float[Array, " rows"]:
        return self.pushed(step)

    def gradient(self) -> Flat:
        return self.pulled(self.vector)

    def right_side(self) -> Float[Array, " rows"]:
        return self.vector


class Batch(eqx.Module):
    """Samples, and how parameters make z of them."""

    output: Callable
    """z of one sample, `output(params, inputs)`."""
    inputs: PyTree
    """Of all samples, along the first axis."""
    targets: PyTree
    """The z that are asked for, along the first axis."""
    loss: Callable | None
    """L(z, target) of a sample; None for the sum of squares."""
    weight: float
    """Of each sample: 1 over their number for the mean, 1 for the sum."""
    unravel: Callable = eqx.field(static=True)
    """Flat parameters to the user's PyTree."""

    def value(self, params: Flat) -> Scalar:
        """The loss of the batch."""

        def one(inputs: PyTree, target: PyTree) -> Scalar:
            return judged(self.loss, target, self.weight)(self._z(params, inputs))

        return jnp.sum(jax.vmap(one)(self.inputs, self.targets))

    def model(self, params: Flat, metric: ZMetric, krylov_steps: int) -> LinearModel:
        """The batch, linearized at the parameters; dense up to 1 GiB."""
        rows = jax.eval_shape(lambda: self._over_samples(self._desired, params, metric))
        if rows.size * params.size * params.dtype.itemsize > DENSE_BYTES:
            return self._matrix_free(params, metric, krylov_steps)
        matrix, vector = self._over_samples(self._dense, params, metric)
        return DenseModel(matrix.reshape(-1, params.size), jnp.ravel(vector))

    def _matrix_free(self, params: Flat, metric: ZMetric, steps: int) -> LinearModel:
        vector = jnp.ravel(self._over_samples(self._desired, params, metric))

        def weighted(moved: Flat) -> Float[Array, " rows"]:
            def one(params: Flat, metric: ZMetric, *sample: PyTree) -> Flat:
                root = self._way(params, metric, *sample).metric.root()
                return root.mv(self._flat_z(moved, sample[0]))

            return jnp.ravel(self._over_samples(one, params, metric))

        _, pushed = jax.linearize(weighted, params)
        transposed = jax.linear_transpose(pushed, params)
        return MatrixFreeModel(pushed, lambda u: transposed(u)[0], vector, steps)

    def _over_samples(self, function: Callable, *args: Any) -> Any:
        return jax.vmap(lambda *sample: function(*args, *sample))(
            self.inputs, self.targets
        )

    def _desired(
        self, params: Flat, metric: ZMetric, inputs: PyTree, target: PyTree
    ) -> Flat:
        """B^1/2 dz of a sample."""
        way = self._way(params, metric, inputs, target)
        return way.metric.root().mv(way.dz)

    def _dense(
        self, params: Flat, metric: ZMetric, inputs: PyTree, target: PyTree
    ) -> tuple[Float[Array, "rows params"], Flat]:
        """B^1/2 J and B^1/2 dz of a sample."""
        root = self._way(params, metric, inputs, target).metric.root()
        jacobian = jax.jacrev(self._flat_z)(params, inputs)
        desired = self._desired(params, metric, inputs, target)
        return jax.vmap(root.mv, 1, 1)(jacobian), desired

    def _way(
        self, params: Flat, metric: ZMetric, inputs: PyTree, target: PyTree
    ) -> ZStep:
        z, unravel = ravel_pytree(self._z(params, inputs))
        loss = FlatLoss(judged(self.loss, target, self.weight), unravel)
        return metric.step(loss, z)

    def _flat_z(self, params: Flat, inputs: PyTree) -> Flat:
        return ravel_pytree(self._z(params, inputs))[0]

    def _z(self, params: Flat, inputs: PyTree) -> PyTree:
        return call_user(self.output, "the output", self.unravel(params), inputs)
