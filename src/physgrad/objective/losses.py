"""Losses L(z), and what they know of themselves: Newton step, residual, metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from physgrad.inverses.flat import Flat, Scalar, call_user, check_leaf, leaf_name
from physgrad.inverses.rule import Metric


class SquaredLoss(eqx.Module):
    """L(z) = sum of weight * (z - target)^2, without a factor 1/2.

    Its Newton step is target - z, its residual sqrt(weight) (z - target), its Hessian
    2 weight. A new target or weight of the same shape needs no new compilation.

    **Arguments:**

    - `target`: PyTree of floating arrays, like z.
    - `weight`: None for 1; a number; or a PyTree like z, zero where data are masked.

    **Raises:** `ValueError` for a NaN or infinite target or a negative weight, and,
    when it is used, for shapes that differ from those of z.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> loss = pg.SquaredLoss(jnp.array([1.0, 2.0]), weight=jnp.array([1.0, 0.5]))
    >>> float(loss(jnp.array([3.0, 4.0])))
    6.0
    """

    target: PyTree
    """The z that is asked for."""
    weight: PyTree = None
    """Of each squared misfit; None for 1."""

    def __init__(self, target: PyTree, weight: PyTree = None):
        self.target = jax.tree.map(_float_array, target)
        self.weight = jax.tree.map(_float_array, weight)
        _check_values("target", self.target, lambda v: np.isfinite(v), "finite")
        _check_values(
            "weight",
            self.weight,
            lambda v: np.isfinite(v) & (v >= 0),
            "zero or positive",
        )

    def __call__(self, z: PyTree) -> Scalar:
        squares = jax.tree.map(lambda r: jnp.sum(r**2), self.residual(z))
        return jax.tree.reduce(jnp.add, squares)

    def residual(self, z: PyTree) -> PyTree:
        """sqrt(weight) (z - target): the loss is the sum of its squares."""
        self._check_shapes(z)
        return jax.tree.map(
            lambda z, t, w: jnp.sqrt(w) * (z - t), z, self.target, self._weights(z)
        )

    def newton_step(self, z: PyTree) -> PyTree:
        """target - z; zero where the weight is zero."""
        self._check_shapes(z)
        return jax.tree.map(
            lambda z, t, w: jnp.where(w > 0, t - z, 0.0),
            z,
            self.target,
            self._weights(z),
        )

    def metric_root(self, z: PyTree) -> PyTree:
        """The diagonal of R with R^T R = d2L/dz2: sqrt(2 weight), like z."""
        return jax.tree.map(lambda w: jnp.sqrt(2 * w), self._weights(z))

    def _weights(self, z: PyTree) -> PyTree:
        if self.weight is None:
            return jax.tree.map(jnp.ones_like, z)
        if jax.tree.structure(self.weight) == jax.tree.structure(0.0):
            return jax.tree.map(lambda z: jnp.broadcast_to(self.weight, z.shape), z)
        return self.weight

    def _check_shapes(self, z: PyTree) -> None:
        for name, tree in (("target", self.target), ("weight", self.weight)):
            leaves = jax.tree.leaves(tree)
            one_number = name == "weight" and all(w.ndim == 0 for w in leaves)
            if one_number and len(leaves) <= 1:
                continue
            if jax.tree.structure(tree) != jax.tree.structure(z):
                raise ValueError(
                    f"simulator output has the structure {jax.tree.structure(z)}, "
                    f"but the {name} has {jax.tree.structure(tree)}"
                )
            for leaf, like in zip(leaves, jax.tree.leaves(z), strict=True):
                if leaf.shape != like.shape:
                    raise ValueError(
                        f"simulator output {like.shape} vs {name} {leaf.shape}: give "
                        f"the {name} the shape of z"
                    )


def _float_array(value: Any) -> Array:
    return jnp.asarray(value, dtype=None if hasattr(value, "dtype") else float)


def _check_values(
    name: str, tree: PyTree, accept: Callable[[np.ndarray], np.ndarray], expected: str
) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        check_leaf(leaf, leaf_name(name, path))
        if isinstance(leaf, Tracer):
            continue
        wrong = np.argwhere(~accept(np.asarray(leaf)))
        if len(wrong):
            value = np.asarray(leaf)[tuple(wrong[0])]
            place = leaf_name(name, path) + "".join(f"[{i}]" for i in wrong[0])
            raise ValueError(
                f"{name} must be {expected}, got {value} at {place}; leave data out "
                "with weight=0"
            )


class FlatLoss(eqx.Module):
    """A loss of the flat vector z."""

    function: Callable
    """The user's loss, of the PyTree z."""
    unravel: Callable = eqx.field(static=True)
    """Flat z to the user's PyTree."""

    def __call__(self, z: Flat) -> Scalar:
        value = call_user(self.function, "the loss", self.unravel(z))
        shape = jnp.shape(value)
        if shape != ():
            raise ValueError(f"the loss must be a scalar, got shape {shape}")
        return jnp.asarray(value)

    def gradient(self, z: Flat) -> Flat:
        """dL/dz, shape (z entries,)."""
        return jax.grad(self)(z)

    def residual(self, z: Flat) -> Flat | None:
        """r with L = |r|^2, where the loss knows it."""
        residual = getattr(self.function, "residual", None)
        return None if residual is None else ravel_pytree(residual(self.unravel(z)))[0]

    def known_newton_step(self, z: Flat) -> Flat | None:
        """-H^-1 dL/dz, where the loss knows it."""
        step = getattr(self.function, "newton_step", None)
        return None if step is None else ravel_pytree(step(self.unravel(z)))[0]

    def known_metric(self, z: Flat) -> Metric | None:
        """B = H by its diagonal factor, where the loss knows it."""
        root = getattr(self.function, "metric_root", None)
        if root is None:
            return None
        return Metric(lx.DiagonalLinearOperator(ravel_pytree(root(self.unravel(z)))[0]))
