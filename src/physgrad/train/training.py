"""The training of one network by one method: epochs, what they reach, and how long."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from physgrad.results import Result
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.methods import Trainee, TrainingMethod

# The history gets a point when the training has gone on for this part of its time.
PART = 0.05


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long a method trains, without compiling and looking at what is reached."""

    seconds: float | None = None
    epochs: int | None = None

    def is_spent(self, epochs: int, seconds: float) -> bool:
        """Whether it ends here."""
        over = self.seconds is not None and seconds >= self.seconds
        return over or (self.epochs is not None and epochs >= self.epochs)


@dataclasses.dataclass
class Point:
    """What the network is worth at one time."""

    epochs: int
    samples: int
    """Seen so far."""
    seconds: float
    train_loss: float
    validation_loss: float
    x_error: float | None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Point:
        """As it was written: JSON has null for what is not finite."""
        losses = ("train_loss", "validation_loss")
        told = {k: math.nan if document[k] is None else document[k] for k in losses}
        return cls(**{**document, **told})


@dataclasses.dataclass
class Training:
    """One network in training."""

    experiment: Experiment
    method: TrainingMethod
    batch_size: int
    seed: int

    params: PyTree = None
    state: Any = None
    epochs: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    history: list[Point] = dataclasses.field(default_factory=list)
    result: Result = Result.completed
    message: str = ""

    def __post_init__(self) -> None:
        network_key, train_key, held_key, self._key = jax.random.split(
            jax.random.key(self.seed), 4
        )
        network = self.experiment.network(network_key)
        self.params, rest = eqx.partition(network, eqx.is_inexact_array)
        self._trainee = Trainee(self.experiment, rest)
        self.state = self.method.init(self._trainee, self.params)
        kept = self.experiment.kept
        self._kept = None if kept is None else self.experiment.draw(train_key, kept)
        self._held_out = self.experiment.draw(held_key, self.experiment.held_out)
        if kept is not None and self.batch_size > kept:
            raise ValueError(
                f"batch must be at most the {kept} samples that are kept, got "
                f"{self.batch_size}"
            )
        self._compile()

    @property
    def network(self) -> Callable:
        """The network as it is now."""
        return eqx.combine(self.params, self._trainee.rest)

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        kept = self.experiment.kept
        return self.method.pace if kept is None else kept // self.batch_size

    def run(self, budget: Budget) -> Iterator[Point | None]:
        """Train on: after each epoch a point of the history, or None."""
        if not self.history:
            yield self._look()
        while self.result is Result.completed and not budget.is_spent(
            self.epochs, self.seconds
        ):
            self._epoch()
            last = self.history[-1].seconds
            yield self._look() if self.seconds - last >= PART * self.seconds else None
        if self.history[-1].epochs < self.epochs:
            yield self._look()

    def _compile(self) -> None:
        began = time.perf_counter()
        arguments = self.params, self.state, self._kept, jnp.asarray(0)
        self._step = jax.jit(self._trained).lower(*arguments).compile()
        worth = jax.jit(self._worth).lower(self.params, self._held_out)
        self._evaluate = worth.compile()
        self.compile_seconds = time.perf_counter() - began

    def _trained(
        self, params: PyTree, state: Any, kept: Sample | None, epoch: Array
    ) -> tuple[PyTree, Any, Array]:
        """One epoch, and how many of its batches came before the first NaN."""

        def one(carry: Any, number: Array) -> tuple[Any, Array]:
            params, state = carry
            samples = self._batch(kept, epoch, number)
            params, state = self.method.update(self._trainee, params, state, samples)
            leaves = jax.tree.leaves(params)
            finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in leaves]))
            return (params, state), finite

        numbers = jnp.arange(self.batches)
        (params, state), finite = lax.scan(one, (params, state), numbers)
        return params, state, finite

    def _batch(self, kept: Sample | None, epoch: Array, number: Array) -> Sample:
        if kept is None:
            key = jax.random.fold_in(jax.random.fold_in(self._key, epoch), number)
            return self.experiment.draw(key, self.batch_size)
        first = number * self.batch_size
        return jax.tree.map(
            lambda v: lax.dynamic_slice_in_dim(v, first, self.batch_size), kept
        )

    def _epoch(self) -> None:
        epoch = jnp.asarray(self.epochs)
        began = time.perf_counter()
        params, state, finite = jax.block_until_ready(
            self._step(self.params, self.state, self._kept, epoch)
        )
        self.seconds += time.perf_counter() - began
        if not np.all(finite):
            self._name_failure(int(np.argmin(finite)))
            return
        self.params, self.state, self.epochs = params, state, self.epochs + 1

    def _name_failure(self, number: int) -> None:
        """Which batch, and which sample in it: the parameters stay as they were."""
        samples = self._batch(self._kept, jnp.asarray(self.epochs), jnp.asarray(number))
        losses = jax.vmap(self._trainee.loss, (None, 0))(self.params, samples)
        leaves = [leaf for leaf in jax.tree.leaves((samples, losses))]
        broken = [
            ~np.isfinite(np.asarray(v)).reshape(self.batch_size, -1).all(axis=1)
            for v in leaves
        ]
        places = np.flatnonzero(np.any(broken, axis=0))
        where = f"sample {places[0]} of " if places.size else ""
        self.result = Result.non_finite
        self.message = (
            f"NaN or infinity in epoch {self.epochs + 1}, {where}batch {number + 1}; "
            "the parameters before that epoch are kept: look at that sample, or lower "
            "the learning rate or the step size"
        )

    def _look(self) -> Point:
        train = self._kept
        if train is None:
            key = jax.random.fold_in(self._key, self.epochs)
            train = self.experiment.draw(key, self.experiment.held_out)
        else:
            train = jax.tree.map(lambda v: v[: self.experiment.held_out], train)
        train_loss, _ = self._evaluate(self.params, train)
        loss, x_error = self._evaluate(self.params, self._held_out)
        known = self.experiment.x_error is not None
        point = Point(
            self.epochs,
            self.epochs * self.batches * self.batch_size,
            self.seconds,
            float(train_loss),
            float(loss),
            float(x_error) if known else None,
        )
        self.history.append(point)
        return point

    def _worth(
        self, params: PyTree, samples: Sample
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Means of L and of the error in x."""
        losses = jax.vmap(self._trainee.loss, (None, 0))(params, samples)
        measure = self.experiment.x_error
        if measure is None:
            return jnp.mean(losses), jnp.zeros(())

        def error(sample: Sample) -> Float[Array, ""]:
            return measure(self._trainee.x(params, sample.inputs), sample)

        return jnp.mean(losses), jnp.mean(jax.vmap(error)(samples))
