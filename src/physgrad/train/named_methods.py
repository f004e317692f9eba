"""Methods of training from their names and settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from physgrad.names import Named
from physgrad.results import MissingExtra
from physgrad.train.methods import (
    FirstOrder,
    Judge,
    Physical,
    Plain,
    Supervised,
    ThroughPhysics,
    TowardsX,
    TrainingMethod,
)
from physgrad.train.parameter_steps import (
    gauss_newton,
    half_inverse,
    levenberg_marquardt,
)


def named_method(named: Named) -> TrainingMethod:
    """The method that a name with its settings stands for (`MissingExtra`)."""
    settings = {k: v for k, v in named.settings.items() if k != "batch"}
    return _MAKERS[named.name](**settings)


def _adam(judge: Judge, learning_rate: float) -> TrainingMethod:
    return FirstOrder(judge, _optax().adam(learning_rate))


def _sgd(learning_rate: float, momentum: float) -> TrainingMethod:
    return FirstOrder(Plain(), _optax().sgd(learning_rate, momentum))


def _physical(learning_rate: float, **physical: float) -> TrainingMethod:
    return _adam(Physical(**physical), learning_rate)


def _physical_lm(damping: float, **physical: float) -> TrainingMethod:
    return TowardsX(partial(levenberg_marquardt, damping), Physical(**physical))


def _through_physics(step: Callable[..., Any], **settings: float) -> TrainingMethod:
    # as published, half-inverse gradients have B = I
    return ThroughPhysics(partial(step, **settings), step is not half_inverse)


_MAKERS: dict[str, Callable[..., TrainingMethod]] = {
    "adam": partial(_adam, Plain()),
    "sgd": _sgd,
    "physical": _physical,
    "supervised": partial(_adam, Supervised()),
    "gauss-newton": partial(_through_physics, gauss_newton),
    "half-inverse": partial(_through_physics, half_inverse),
    "lm": partial(_through_physics, levenberg_marquardt),
    "physical-lm": _physical_lm,
}


def _optax() -> Any:
    try:
        import optax  # the extra "train"
    except ImportError as error:
        raise MissingExtra("optax", "train", "training") from error
    return optax
