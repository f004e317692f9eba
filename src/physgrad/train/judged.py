"""The loss of one sample, L(., target)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from physgrad.inverses.flat import Scalar
from physgrad.inverses.settings import brief
from physgrad.objective.losses import SquaredLoss


class Judged(eqx.Module):
    """weight L(z, target), of a loss that is a function of both."""

    loss: Callable
    target: PyTree
    weight: float | np.floating

    def __call__(self, z: PyTree) -> Scalar:
        return self.weight * self.loss(z, self.target)


def judged(
    loss: Callable | None, target: PyTree, weight: float | np.floating = 1.0
) -> Judged | SquaredLoss:
    """weight L(., target), with what the sum of squares knows of itself.

    **Arguments:**

    - `loss`: L(z, target); None for the sum of squares, where the target may be a
        `SquaredLoss` itself.
    """
    if loss is not None:
        return Judged(loss, target, weight)
    known = target if isinstance(target, SquaredLoss) else SquaredLoss(target)
    if weight == 1.0:
        return known
    own = 1.0 if known.weight is None else known.weight
    return SquaredLoss(known.target, jax.tree.map(lambda w: weight * w, own))


def as_loss(value: Any) -> Callable | None:
    """A function L(z, target), or None (`TypeError` for anything else)."""
    if value is None or (callable(value) and not isinstance(value, type)):
        return value
    raise TypeError(f"loss must be a function L(z, target), got {brief(value)}")
