"""Optax transformations of a step in z: momentum and its kind in physical space."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from physgrad.inverses.flat import Flat
from physgrad.inverses.settings import brief
from physgrad.objective.losses import FlatLoss
from physgrad.objective.z_step import ZStep
from physgrad.optimizer.optimizer import Memory


def check_transformation(value: Any, example: str) -> None:
    """Refuse what is no Optax transformation (`TypeError`)."""
    if not all(callable(getattr(value, name, None)) for name in ("init", "update")):
        raise TypeError(
            "transformation must be an Optax transformation such as "
            f"{example}, got {brief(value)}"
        )


def as_transformation(value: Any) -> Any:
    """None, or an Optax transformation that leaves the direction of a gradient.

    **Raises:** `TypeError` for anything else; `ValueError` for one that turns it
    around, as a whole optimizer does: the step size is that of the physical gradient.

    >>> import optax
    >>> as_transformation(optax.adam(0.1))
    Traceback (most recent call last):
        ...
    ValueError: transformation must keep the sign of a gradient, got one that turns \
it around; use optax.trace(0.9), not optax.sgd, optax.scale_by_adam(), not optax.adam
    """
    if value is None:
        return None
    check_transformation(value, "optax.trace(0.9)")
    gradient = np.ones(1, np.float32)
    try:
        with jax.ensure_compile_time_eval():
            turned, _ = value.update(gradient, value.init(gradient), gradient)
    except TypeError as error:
        raise TypeError(
            "transformation must need a gradient alone, such as optax.trace(0.9), got "
            f"{brief(value)}, which says: {error}"
        ) from error
    if not isinstance(turned, Tracer) and float(turned[0]) < 0:
        raise ValueError(
            "transformation must keep the sign of a gradient, got one that turns it "
            "around; use optax.trace(0.9), not optax.sgd, optax.scale_by_adam(), not "
            "optax.adam"
        )
    return value


def begin(transformation: Any, z: Flat) -> Any:
    """The memory of a transformation at the start."""
    return None if transformation is None else transformation.init(z)


def turn(
    transformation: Any, way: ZStep, loss: FlatLoss, z: Flat, memory: Memory
) -> tuple[ZStep, Any]:
    """The step in z with B^-1 dL/dz transformed, and its new memory.

    Where the loss must fall and the transformed step does not lead downhill, as
    momentum past a minimum, the step is taken as it was, and its memory begins anew.
    """
    if transformation is None:
        return way, None
    turned, later = transformation.update(-way.dz, memory.turned, z)
    if memory.accepted is not None:  # an acceptance that has none takes every step
        downhill = jnp.sum(loss.gradient(z) * turned) > 0
        _, fresh = transformation.update(-way.dz, transformation.init(z), z)
        turned, later = jax.tree.map(
            lambda new, anew: jnp.where(downhill, new, anew),
            (turned, later),
            (-way.dz, fresh),
        )
    return way._replace(dz=-turned), later
