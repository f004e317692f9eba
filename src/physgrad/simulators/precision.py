"""Simulators in the precision of what they are given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from physgrad.inverses.settings import brief
from physgrad.inverses.trees import in_precision


def like_x(method: Callable) -> Callable:
    """A method whose own arrays take the precision of its first argument.

    Simulators keep theirs in JAX's default one: with x64 on, a float32 x would be
    promoted by them, and a run has one dtype.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> pg.simulators.polar_map()(jnp.array([1.0, 0.0], jnp.float32)).dtype
    dtype('float32')
    """

    @functools.wraps(method)
    def in_its_precision(self: Any, x: Any, *rest: Any) -> Any:
        if not isinstance(x, jax.Array | np.ndarray):
            got = f"a {type(x).__name__}" if isinstance(x, list | tuple) else brief(x)
            raise TypeError(f"x must be an array, as of jnp.array(...), got {got}")
        if not np.issubdtype(x.dtype, np.inexact):
            raise TypeError(f"x must be a floating array, got {x.dtype}: write 1.0")
        return method(in_precision(self, x.dtype), x, *rest)

    return in_its_precision
