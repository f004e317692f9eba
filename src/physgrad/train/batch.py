"""A batch of samples as a function of a network's parameters, and its linear model."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from physgrad.inverses.flat import Flat, Scalar, call_user, check_leaf, flatten
from physgrad.inverses.jacobian import DENSE_BYTES
from physgrad.krylov import krylov_solution
from physgrad.objective.losses import FlatLoss
from physgrad.objective.z_step import ZMetric
from physgrad.results import Result
from physgrad.spectral import Gain, Number, gram_solution
from physgrad.train.judged import judged

Rows = Float[Array, " rows"]


class LinearModel(eqx.Module):
    """A dtheta = b, with A = B^1/2 J and b = B^1/2 dz, stacked over all samples.

    J is the Jacobian of the physical output z with respect to the parameters, dz the
    step -B^-1 dL/dz that each sample would like to take.
    """

    value: eqx.AbstractVar[Scalar]
    """L of the batch."""
    vector: eqx.AbstractVar[Rows]
    """b."""

    @abc.abstractmethod
    def product(self, step: Flat) -> Rows:
        """A dtheta."""

    @abc.abstractmethod
    def transposed(self, vector: Rows) -> Flat:
        """A^T u."""

    @abc.abstractmethod
    def solve(self, gain: Gain, truncation: Number | None) -> Flat:
        """dtheta = V f(S) U^T b, A = U S V^T."""

    def decrease(self, step: Flat) -> Scalar:
        """How much a step lowers |b - A dtheta|^2 / 2, the model of the loss."""
        image = self.product(step)
        return (self.vector - image / 2) @ image

    def curvature(self) -> Scalar:
        """|A g|^2 / |g|^2 along the gradient g = A^T b: the size of A^T A."""
        g = self.transposed(self.vector)
        size = jnp.linalg.norm(g)
        return jnp.sum(self.product(g / jnp.where(size > 0, size, 1.0)) ** 2)


class DenseModel(LinearModel):
    """A as a matrix."""

    value: Scalar
    vector: Rows
    matrix: Float[Array, "rows params"]

    def product(self, step: Flat) -> Rows:
        return self.matrix @ step

    def transposed(self, vector: Rows) -> Flat:
        return self.matrix.T @ vector

    def solve(self, gain: Gain, truncation: Number | None) -> Flat:
        return gram_solution(self.matrix, self.vector, gain, truncation)


class MatrixFreeModel(LinearModel):
    """A by its products."""

    value: Scalar
    vector: Rows
    pushed: Callable
    """A t."""
    pulled: Callable
    """A^T u."""
    steps: int = eqx.field(static=True)
    """Of the Krylov space."""

    def product(self, step: Flat) -> Rows:
        return self.pushed(step)

    def transposed(self, vector: Rows) -> Flat:
        (step,) = self.pulled(vector)
        return step

    def solve(self, gain: Gain, truncation: Number | None) -> Flat:
        return krylov_solution(
            self.product, self.transposed, self.vector, gain, truncation, self.steps
        )


class Wish(NamedTuple):
    """What a sample would like of its z."""

    value: Scalar
    """L."""
    root: lx.AbstractLinearOperator
    """B^1/2."""
    vector: Flat
    """B^1/2 dz."""


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
    weight: np.floating
    """Of each sample, in the dtype of params: 1 over their number, or 1."""
    unravel: Callable = eqx.field(static=True)
    """Flat parameters to the user's PyTree."""

    def value(self, params: Flat) -> Scalar:
        """The loss of the batch."""

        def one(inputs: PyTree, target: PyTree) -> Scalar:
            loss = judged(self.loss, target, self.weight)
            return loss(self._z(params, inputs))

        return jnp.sum(jax.vmap(one)(self.inputs, self.targets))

    def model(self, params: Flat, metric: ZMetric, krylov_steps: int) -> LinearModel:
        """The batch, linearized at the parameters; dense up to 1 GiB."""
        size, unravel = self._shape(params)
        wish = partial(self._wish, unravel, metric)
        rows = jax.tree.leaves(self.inputs)[0].shape[0] * size
        if rows * params.size * params.dtype.itemsize > DENSE_BYTES:
            return self._matrix_free(params, wish, krylov_steps)
        return self._dense(params, wish)

    def _shape(self, params: Flat) -> tuple[int, Callable]:
        """Entries of one z, and the way from a vector to the user's PyTree."""
        first = jax.tree.map(lambda leaf: leaf[0], self.inputs)
        try:
            shapes = jax.eval_shape(self._z, params, first)
        except (TypeError, ValueError) as error:
            seen = [jnp.shape(leaf) for leaf in jax.tree.leaves(first)]
            error.add_note(
                "output(params, inputs) is called with one sample, whose inputs have "
                f"the shape {', '.join(map(str, seen))}: the first axis of inputs and "
                "targets counts the samples"
            )
            raise
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        flat, unravel = flatten(zeros, "the output")
        if flat.dtype != params.dtype:
            raise TypeError(
                f"the output must have the dtype of params, {params.dtype}, got "
                f"{flat.dtype}; cast the inputs, or constants of the simulator"
            )
        return flat.size, unravel

    def _dense(self, params: Flat, wish: Callable[..., Wish]) -> DenseModel:
        def one(inputs: PyTree, target: PyTree) -> tuple[Scalar, Flat, Array]:
            z, back = jax.vjp(lambda params: self._flat_z(params, inputs), params)
            (jacobian,) = jax.vmap(back)(jnp.eye(z.size, dtype=z.dtype))
            found = wish(z, target)
            return found.value, found.vector, jax.vmap(found.root.mv, 1, 1)(jacobian)

        values, vectors, matrices = jax.vmap(one)(self.inputs, self.targets)
        matrix = matrices.reshape(-1, params.size)
        return DenseModel(jnp.sum(values), jnp.ravel(vectors), matrix)

    def _matrix_free(
        self, params: Flat, wish: Callable[..., Wish], steps: int
    ) -> MatrixFreeModel:
        def weighted(params: Flat) -> tuple[Rows, tuple[Array, Array]]:
            """B^1/2 z of all samples, B held constant; and their L and b."""

            def one(inputs: PyTree, target: PyTree) -> tuple[Flat, Scalar, Flat]:
                z = self._flat_z(params, inputs)
                found = wish(lax.stop_gradient(z), target)
                return found.root.mv(z), found.value, found.vector

            image, values, vectors = jax.vmap(one)(self.inputs, self.targets)
            return jnp.ravel(image), (values, vectors)

        _, pushed, (values, vectors) = jax.linearize(weighted, params, has_aux=True)
        pulled = jax.linear_transpose(pushed, params)
        return MatrixFreeModel(
            jnp.sum(values), jnp.ravel(vectors), pushed, pulled, steps
        )

    def _wish(
        self, unravel: Callable, metric: ZMetric, z: Flat, target: PyTree
    ) -> Wish:
        """At a z that is known: the simulator is not called again."""
        loss = FlatLoss(judged(self.loss, target, self.weight), unravel)
        value = loss(z)
        if value.dtype != z.dtype:
            raise TypeError(
                f"the loss must have the dtype of the output, {z.dtype}, got "
                f"{value.dtype}; cast its targets or constants"
            )
        way = metric.step(loss, z)
        root = way.metric.root()
        # NaN: a sample without a step in z leaves its batch without one, and counted
        known = way.result == Result.completed.code
        return Wish(value, root, jnp.where(known, root.mv(way.dz), jnp.nan))

    def _flat_z(self, params: Flat, inputs: PyTree) -> Flat:
        return ravel_pytree(self._z(params, inputs))[0]

    def _z(self, params: Flat, inputs: PyTree) -> PyTree:
        z = call_user(self.output, "the output", self.unravel(params), inputs)
        for leaf in jax.tree.leaves(z):
            if not isinstance(leaf, jax.Array | complex | float | int):
                check_leaf(leaf, "the output")
        return z
