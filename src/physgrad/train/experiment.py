"""What a training experiment is: a network, data, and the physics behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from physgrad.simulator import Chain, Simulator
from physgrad.train.judged import judged

SAMPLES = "samples"
"""The axis of a batch, for networks that look at all of it."""


class Sample(eqx.Module):
    """What a network is asked, and what its answer is judged by.

    A batch of samples is one of these whose arrays have a leading axis.
    """

    inputs: PyTree
    """What the network sees."""
    target: PyTree
    """The z that is asked for."""
    solution: PyTree | None = None
    """The x that made it, where that is known."""
    setting: PyTree | None = None
    """What the simulator of this sample has of its own."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A network x = f(inputs; theta) to be trained through z = P(x)."""

    name: str
    """As on the command line."""
    network: Callable[[Array], Callable]
    """A network from a key: a module of arrays, x = network(inputs) of one sample."""
    draw: Callable[[Array, int], Sample]
    """So many samples from a key."""
    simulator: Callable[[Sample], Simulator | Chain]
    """Of one sample."""
    loss: Callable | None = None
    """L(z, target) of one sample; None for the weighted sum of squares."""
    weight: float = 1.0
    """Of the sum of squares."""
    x_error: Callable[[PyTree, Sample], Float[Array, ""]] | None = None
    """How far x of one sample is from a right one."""
    kept: int | None = None
    """Samples that are drawn once, and trained on again and again; None: always new.

    What is left of them after whole batches is not trained on."""
    held_out: int = 1024
    """Samples of the validation."""
    batches: int | None = None
    """Of an epoch where samples are always new; None: as many as suit the method."""
    z_metric: str = "newton"
    """B of damped and Gauss-Newton steps; "gradient" where the loss is not convex."""

    def loss_of(self, sample: Sample) -> Callable[[PyTree], Float[Array, ""]]:
        """L(., target) of one sample."""
        return judged(self.loss, sample.target, self.weight)

    def asked(self, sample: Sample) -> PyTree:
        """Its target, as `physical_loss` and steps of parameters take it."""
        return sample.target if self.loss is not None else self.loss_of(sample)

    def check_batch(self, size: int) -> None:
        """Refuse a batch without samples, or of more than are kept (`ValueError`)."""
        if size < 1:
            raise ValueError(f"batch must have at least one sample, got {size}")
        if self.kept is not None and size > self.kept:
            raise ValueError(
                f"batch must be at most the {self.kept} samples that are kept, got "
                f"{size}"
            )


def of_each(function: Callable) -> Callable:
    """The function of one sample, for a batch; networks in it may look at all of it."""
    return jax.vmap(function, axis_name=SAMPLES)
