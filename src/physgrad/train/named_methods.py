"""Methods of training from their names and settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from physgrad.names import Named
from physgrad.results import MissingExtra
from physgrad.train.experiment import Experiment
from physgrad.train.methods import (
    Criterion,
    FirstOrder,
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


def _adam(criterion: Criterion, learning_rate: float) -> TrainingMethod:
    return FirstOrder(criterion, _optax().adam(learning_rate))


def _sgd(learning_rate: float, momentum: float) -> TrainingMethod:
    return FirstOrder(Plain(), _optax().sgd(learning_rate, momentum))


def _physical(learning_rate: float, **physical: float) -> TrainingMethod:
    return _adam(Physical(**physical), learning_rate)


def _physical_lm(damping: float, **physical: float) -> TrainingMethod:
    return TowardsX(partial(levenberg_marquardt, damping), Physical(**physical))


def _half_inverse(step_size: float, truncation: float) -> TrainingMethod:
    # as published: B = I, and the mean of the batch
    return ThroughPhysics(
        lambda known: half_inverse(step_size, truncation, loss=known.loss)
    )


def _gauss_newton(step_size: float, truncation: float) -> TrainingMethod:
    return ThroughPhysics(
        lambda known: gauss_newton(step_size, truncation, **_of(known))
    )


def _lm(damping: float) -> TrainingMethod:
    return ThroughPhysics(lambda known: levenberg_marquardt(damping, **_of(known)))


def _of(known: Experiment) -> dict[str, Any]:
    # with B = I a step on the mean would be shorter by the size of the batch
    return {"loss": known.loss, "metric": known.z_metric, "reduction": "sum"}


_MAKERS: dict[str, Callable[..., TrainingMethod]] = {
    "adam": partial(_adam, Plain()),
    "sgd": _sgd,
    "physical": _physical,
    "supervised": partial(_adam, Supervised()),
    "gauss-newton": _gauss_newton,
    "half-inverse": _half_inverse,
    "lm": _lm,
    "physical-lm": _physical_lm,
}


def _optax() -> Any:
    try:
        import optax  # the extra "train"
    except ImportError as error:
        raise MissingExtra("optax", "train", "training") from error
    return optax
