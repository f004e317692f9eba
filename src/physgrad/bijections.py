"""Bounds by a change of variables: x = B(u) obeys them, and u is free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.flat import leaf_name
from physgrad.inverses.ladder import Ladder
from physgrad.inverses.settings import brief
from physgrad.inverses.trees import arrays, check_values
from physgrad.simulator import Simulator, default_rule


class Bijection(Simulator):
    """The first link of a chain u -> x -> z, whose x obeys bounds.

    Put it before a simulator, `Chain(bijection, simulator, names=("u", "x", "z"))`, and
    begin at `bijection.start(x0)`: every method then steps in u, where there are no
    bounds, and a run has x among its spaces. Points of x that lie outside are pulled
    back to the nearest u that a numerical inverse finds.
    """

    def start(self, x: PyTree) -> PyTree:
        """The u with B(u) = x.

        **Raises:** `ValueError` for an x that is outside or on a bound, naming it.
        """
        x = arrays("x", x)
        self._check(x)
        return self._back(x)

    def _check(self, x: PyTree) -> None:
        raise NotImplementedError

    def _back(self, x: PyTree) -> PyTree:
        raise NotImplementedError


def _with_default(inverse: Callable) -> Ladder:
    """The formula where it holds, else the rules of a simulator without one."""
    return Ladder([AnalyticInverse(inverse), default_rule()])


def _each(function: Callable[[Array], Array]) -> Callable[[PyTree], PyTree]:
    return lambda tree: jax.tree.map(function, tree)


_EXP, _LOG = _each(jnp.exp), _each(jnp.log)


class Positive(Bijection):
    """x = exp(u): every entry is positive, and a step in u is a factor of x.

    For rates, widths and concentrations, above all where their magnitude is unknown.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> chain = pg.Chain(pg.Positive(), lambda x: x**2, names=("u", "x", "z"))
    >>> objective = pg.Objective(chain, pg.SquaredLoss(jnp.array([9.0])))
    >>> u0 = pg.Positive().start(jnp.array([1.0]))
    >>> run = pg.minimize(objective, pg.LevenbergMarquardt(), u0, 12)
    >>> print(run.trajectory["x"][-1].round(4))
    [3.]
    """

    def __init__(self) -> None:
        self.forward, self.inverse = _EXP, _with_default(_LOG)

    def _check(self, x: PyTree) -> None:
        check_values("x", x, lambda v: np.isfinite(v) & (v > 0), "positive and finite")

    def _back(self, x: PyTree) -> PyTree:
        return _LOG(x)


class _Squash(eqx.Module):
    """Onto an interval, and back."""

    lower: PyTree
    upper: PyTree
    back: bool = eqx.field(static=True)

    def __call__(self, tree: PyTree) -> PyTree:
        def one(value: Array, low: Array, high: Array) -> Array:
            low, high = low.astype(value.dtype), high.astype(value.dtype)
            if self.back:
                return jnp.log((value - low) / (high - value))
            return low + (high - low) * jax.nn.sigmoid(value)

        bounds = (_like(bound, tree) for bound in (self.lower, self.upper))
        return jax.tree.map(one, tree, *bounds)


def _like(bound: PyTree, tree: PyTree) -> PyTree:
    """A bound for each leaf of a tree: one number is that of all."""
    if jax.tree.structure(bound) != jax.tree.structure(0.0):
        return bound
    return jax.tree.map(lambda leaf: bound, tree)


class Interval(Bijection):
    """x = lower + (upper - lower) / (1 + exp(-u)): lower < x < upper.

    **Arguments:** `lower`, `upper`: numbers, or PyTrees like x of finite numbers.

    **Raises:** `ValueError` for bounds that are crossed, equal or not finite.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> angle = pg.Interval(-1.0, 1.0)
    >>> print(angle(jnp.array([0.0, 100.0])), angle.start(jnp.array(0.5)).round(4))
    [0. 1.] 1.0986
    """

    lower: PyTree = None
    upper: PyTree = None

    def __init__(self, lower: PyTree, upper: PyTree):
        self.lower, self.upper = arrays("lower", lower), arrays("upper", upper)
        for name, tree in (("lower", self.lower), ("upper", self.upper)):
            check_values(name, tree, np.isfinite, "finite")
        if jax.tree.structure(self.lower) != jax.tree.structure(self.upper):
            raise ValueError(
                f"lower and upper must have the same structure, got {brief(lower)} and "
                f"{brief(upper)}"
            )
        check_values(
            "upper less lower",
            jax.tree.map(lambda low, high: high - low, self.lower, self.upper),
            lambda v: v > 0,
            "positive",
        )
        self.forward = _Squash(self.lower, self.upper, back=False)
        self.inverse = _with_default(_Squash(self.lower, self.upper, back=True))

    def _check(self, x: PyTree) -> None:
        bounds = (_like(bound, x) for bound in (self.lower, self.upper))
        pairs = zip(
            jax.tree_util.tree_leaves_with_path(x),
            *(jax.tree.leaves(bound) for bound in bounds),
            strict=True,
        )
        for (path, leaf), low, high in pairs:
            values = np.asarray(leaf)
            wrong = np.argwhere(~((values > low) & (values < high)))
            if len(wrong):
                place = tuple(wrong[0])
                name = leaf_name("x", path) + "".join(f"[{i}]" for i in wrong[0])
                low, high = (
                    np.broadcast_to(b, values.shape)[place] for b in (low, high)
                )
                raise ValueError(
                    f"{name} must lie between {low} and {high}, got {values[place]}"
                )

    def _back(self, x: PyTree) -> PyTree:
        return _Squash(self.lower, self.upper, back=True)(x)


class Simplex(Bijection):
    """x = softmax(u, 0): n positive parts with the sum 1, from n - 1 free numbers.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> shares = pg.Simplex()
    >>> print(shares(jnp.zeros(3)))
    [0.25 0.25 0.25 0.25]
    """

    def __init__(self) -> None:
        self.forward, self.inverse = _shares, default_rule()

    def _check(self, x: PyTree) -> None:
        if not isinstance(x, jax.Array) or x.ndim != 1 or x.size < 2:
            raise ValueError(f"x must be a vector of two parts or more, got {brief(x)}")
        check_values("x", x, lambda v: np.isfinite(v) & (v > 0), "positive and finite")
        off = abs(float(jnp.sum(x)) - 1)
        if off > x.size * 4 * float(jnp.finfo(x.dtype).eps):
            raise ValueError(f"x must have the sum 1, got {float(jnp.sum(x))}")

    def _back(self, x: PyTree) -> PyTree:
        return jnp.log(x[:-1] / x[-1])


def _shares(u: Any) -> Array:
    return jax.nn.softmax(jnp.append(u, jnp.zeros((), u.dtype)))
