"""The checks of a start that need its values, before anything is compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from physgrad.inverses.flat import flatten, leaf_name, real_array
from physgrad.inverses.notes import note
from physgrad.inverses.settings import brief
from physgrad.loop.stopping import Stop
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.optimizers.scipy_optimizer import ScipyOptimizer


def check_kinds(objective: Any, optimizer: Any, stop: Any) -> None:
    """Refuse what is no objective, optimizer or stopping rule (`TypeError`)."""
    if not isinstance(objective, Objective):
        hint = ""
        if callable(objective):
            hint = "; make one: Objective(simulator, loss)"
        raise TypeError(f"objective must be an Objective, got {brief(objective)}{hint}")
    if not isinstance(optimizer, Optimizer):
        hint = ""
        if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
            hint = f"; make one: {optimizer.__name__}(...)"
        elif isinstance(optimizer, ScipyOptimizer):
            hint = ", which drives itself: use minimize or compare"
        elif hasattr(optimizer, "init") and hasattr(optimizer, "step"):
            hint = "; wrap an optimistix solver: OptimistixOptimizer(solver)"
        elif hasattr(optimizer, "init") and hasattr(optimizer, "update"):
            hint = "; wrap an Optax transformation: OptaxOptimizer(transformation)"
        raise TypeError(f"optimizer must be an Optimizer, got {brief(optimizer)}{hint}")
    if stop is None or isinstance(stop, Stop):
        return
    if not callable(stop) or isinstance(stop, type):
        hint = "; make one: Stop(loss=...)" if stop is Stop else ""
        raise TypeError(
            f"stop must be None, a Stop or a function, got {brief(stop)}{hint}"
        )


def check_concrete(*trees: PyTree) -> None:
    """Refuse traced values: the host side needs numbers (`TypeError`)."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees)):
        raise TypeError(
            "minimize runs on the host: it cannot be used inside jit, vmap or grad; "
            "use iterate there"
        )


def checked_start(x0: PyTree) -> PyTree:
    """x0 as JAX arrays of one floating dtype, all finite: see `floating_start`.

    **Raises:** `TypeError` for leaves that are not real numbers, or dtypes that differ;
    `ValueError` for NaN, infinity, or an empty tree.
    """
    tree = floating_start(x0, "x0")
    flatten(tree, "x0")
    for path, array in jax.tree_util.tree_leaves_with_path(tree):
        wrong = np.argwhere(~np.isfinite(np.asarray(array)))
        if len(wrong):
            place = "".join(f"[{i}]" for i in wrong[0])
            values = "value" if len(wrong) == 1 else "values"
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            where = f"leaf {name!r}{place}" if path else place or "x0 itself"
            raise ValueError(f"x0 has {len(wrong)} non-finite {values} at {where}")
    return tree


def floating_start(x0: PyTree, name: str) -> PyTree:
    """A start, or many, as JAX arrays of one floating dtype.

    Whole numbers become floats, with a note (a warning); so do float64 NumPy arrays
    become float32 while JAX's x64 switch is off.

    **Raises:** `TypeError` for leaves that are not real numbers.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(
        x0, is_leaf=lambda leaf: leaf is None
    )
    arrays = [_float_array(leaf, leaf_name(name, path)) for path, leaf in leaves]
    return jax.tree.unflatten(structure, arrays)


def _float_array(leaf: Any, name: str) -> jax.Array:
    array, before = real_array(leaf, name), getattr(leaf, "dtype", type(leaf))
    if jnp.issubdtype(before, jnp.integer):
        note(f"{name} holds whole numbers; they became {array.dtype}")
    elif before == np.float64 and array.dtype == jnp.float32:
        note(
            f"{name} is float64, but JAX works in float32: it was rounded; to keep it, "
            "set jax.config.update('jax_enable_x64', True) or JAX_ENABLE_X64=1"
        )
    return array


def non_finite_leaf(tree: PyTree, name: str) -> str | None:
    """The first entry of a tree that is not finite, as in `z[1] is nan`; or None."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        wrong = np.argwhere(~np.isfinite(np.asarray(leaf)))
        if len(wrong):
            place = "".join(f"[{i}]" for i in wrong[0])
            value = np.asarray(leaf)[tuple(wrong[0])]
            return f"{leaf_name(name, path)}{place} is {value}"
    return None
