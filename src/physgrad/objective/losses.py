"""Losses L(z), and what they know of themselves: Newton step, residual, metric."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from physgrad.inverses.flat import Flat, Scalar, call_user, leaf_name
from physgrad.inverses.settings import brief
from physgrad.inverses.trees import arrays, check_values

# A change of a loss of so many eps is rounding.
ROUNDING = 4.0


class SquaredLoss(eqx.Module):
    """L(z) = sum of weight * (z - target)^2, without a factor 1/2.

    Its Newton step is target - z, its residual sqrt(weight) (z - target), its Hessian
    2 weight. A new target or weight of the same shape needs no new compilation.

    **Arguments:**

    - `target`: PyTree of floating arrays, like z.
    - `weight`: None for 1; a number; or a PyTree like z, zero where data are masked.

    **Raises:** `TypeError` for a target or weight that is not of real numbers;
    `ValueError` for a NaN or infinite target or a negative weight, and, when it is
    used, for shapes that differ from those of z.

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
        self.target = arrays("target", target)
        self.weight = arrays("weight", weight)
        if not jax.tree.leaves(self.target):
            raise ValueError(f"target must have entries, got {brief(target)}")
        hint = "; to leave data out put any number there, and weight=0"
        check_values("target", self.target, lambda v: np.isfinite(v), "finite", hint)
        check_values(
            "weight",
            self.weight,
            lambda v: np.isfinite(v) & (v >= 0),
            "zero or positive",
            hint,
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
            one_number = isinstance(tree, jax.Array) and tree.ndim == 0
            if name == "weight" and (tree is None or one_number):
                continue
            if jax.tree.structure(tree) != jax.tree.structure(z):
                raise ValueError(
                    f"simulator output has the structure {jax.tree.structure(z)}, "
                    f"but the {name} has {jax.tree.structure(tree)}; a list of numbers "
                    "is a tree of its own, jnp.array(...) makes it one array"
                )
            leaves = jax.tree_util.tree_leaves_with_path(z)
            for (path, like), leaf in zip(leaves, jax.tree.leaves(tree), strict=True):
                if leaf.shape != like.shape:
                    place = f" at {leaf_name('z', path)}" if path else ""
                    raise ValueError(
                        f"simulator output {like.shape} vs {name} {leaf.shape}{place}: "
                        f"give the {name} the shape of z"
                    )


class FlatLoss(eqx.Module):
    """A loss of the flat vector z."""

    function: Callable
    """The user's loss, of the PyTree z."""
    unravel: Callable = eqx.field(static=True)
    """Flat z to the user's PyTree."""

    def __call__(self, z: Flat) -> Scalar:
        value = call_user(self.function, "the loss", self.unravel(z))
        if not isinstance(value, jax.Array | np.ndarray | np.generic | float | int):
            raise TypeError(f"the loss must return one number, got {brief(value)}")
        shape = jnp.shape(value)
        if shape != ():
            raise ValueError(f"the loss must be a scalar, got shape {shape}")
        return jnp.asarray(value)

    def gradient(self, z: Flat) -> Flat:
        """dL/dz, shape (z entries,)."""
        return jax.grad(self)(z)

    def rounding(
        self, z: Flat, scale: Float[Array, " leaves"], value: Scalar
    ) -> Scalar:
        """What rounding can do to L(z) = `value`: its own, and |dL/dz| times that of z.

        **Arguments:** `scale`: the size that z is rounded at, for each leaf.
        """
        leaves = jax.tree.leaves(self.unravel(self.gradient(z)))
        slopes = [jnp.sum(jnp.abs(leaf)) for leaf in leaves if leaf.size]
        size = jnp.abs(value) + jnp.stack(slopes) @ scale
        return ROUNDING * jnp.finfo(z.dtype).eps * size

    def residual(self, z: Flat) -> Flat | None:
        """r with L = |r|^2, where the loss knows it."""
        residual = getattr(self.function, "residual", None)
        return None if residual is None else ravel_pytree(residual(self.unravel(z)))[0]

    def known_newton_step(self, z: Flat) -> Flat | None:
        """-H^-1 dL/dz, where the loss knows it."""
        step = getattr(self.function, "newton_step", None)
        return None if step is None else ravel_pytree(step(self.unravel(z)))[0]

    def known_metric_root(self, z: Flat) -> Flat | None:
        """The diagonal of R with R^T R = H, where the loss knows it."""
        root = getattr(self.function, "metric_root", None)
        return None if root is None else ravel_pytree(root(self.unravel(z)))[0]
