"""The training of one network by one method: epochs, what they reach, and how long."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from physgrad.results import Result
from physgrad.train.experiment import Experiment, Sample, of_each
from physgrad.train.methods import Trainee, TrainingMethod

# The history gets a point when the training has gone on for this part of its time.
PART = 0.05
# Samples of the validation that pictures show.
SHOWN = 3


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
    def read(cls, document: Mapping[str, Any], x_known: bool) -> Point:
        """As it was written: JSON has null for what is not finite."""
        measures = ("train_loss", "validation_loss", *(["x_error"] * x_known))
        told = {k: math.nan if document[k] is None else document[k] for k in measures}
        return cls(**{**document, **told})


class Worth(NamedTuple):
    """Of one sample, or the means of a batch and what becomes of its first samples."""

    loss: Float[Array, ""]
    x_error: Float[Array, ""] | None
    x: PyTree
    z: PyTree


@dataclasses.dataclass(frozen=True)
class Shown:
    """A few samples, as pictures show them: the first axis counts samples."""

    x: np.ndarray
    z: np.ndarray
    target: np.ndarray
    solution: np.ndarray | None


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
        self.experiment.check_batch(self.batch_size)
        network_key, train_key, held_key, self._key = jax.random.split(
            jax.random.key(self.seed), 4
        )
        network = self.experiment.network(network_key)
        self.params, rest = eqx.partition(network, eqx.is_inexact_array)
        self._trainee = Trainee(self.experiment, rest)
        self.state = self.method.init(self._trainee, self.params)
        kept, held_out = self.experiment.kept, self.experiment.held_out
        # traced once: a training without end draws again at each look
        self._drawn = jax.jit(self.experiment.draw, static_argnums=1)
        self._kept = None if kept is None else self._drawn(train_key, kept)
        self._held_out = self._drawn(held_key, held_out)
        for what, samples in (("kept", self._kept), ("validation", self._held_out)):
            if (place := _first_broken(samples)) is not None:
                raise ValueError(
                    f"the {what} data of {self.experiment.name} must be finite, got "
                    f"NaN or infinity in sample {place}: leave it out"
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
        if kept is None:
            return self.experiment.batches or self.method.pace
        return kept // self.batch_size

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
        self,
        params: PyTree,
        state: Any,
        kept: Sample | None,
        epoch: Array,
        batches: int | None = None,
    ) -> tuple[PyTree, Any, Array]:
        """One epoch, or its first batches, and after which of them all is finite."""

        def one(carry: Any, number: Array) -> tuple[Any, Array]:
            params, state = carry
            samples = self._batch(kept, epoch, number)
            params, state = self.method.update(self._trainee, params, state, samples)
            leaves = jax.tree.leaves(params)
            finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in leaves]))
            return (params, state), finite

        numbers = jnp.arange(self.batches if batches is None else batches)
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
        epoch = jnp.asarray(self.epochs)
        before = jax.jit(partial(self._trained, batches=number))
        params, _, _ = before(self.params, self.state, self._kept, epoch)
        samples = self._batch(self._kept, epoch, jnp.asarray(number))
        seen = of_each(partial(self._seen, params))(samples)
        place = _first_broken((samples, seen))
        where = "" if place is None else f"sample {place} of "
        self.result = Result.non_finite
        self.message = (
            f"NaN or infinity in epoch {self.epochs + 1}, {where}batch {number + 1}; "
            "the parameters before that epoch are kept: look at that sample, or lower "
            "the learning rate or the step size"
        )

    def _seen(self, params: PyTree, sample: Sample) -> tuple[Array, PyTree]:
        """L of a sample, and its derivative with respect to x."""
        loss = self.experiment.loss_of(sample)
        physics = self.experiment.simulator(sample)
        x = self._trainee.x(params, sample.inputs)
        return jax.value_and_grad(lambda x: loss(physics(x)))(x)

    def _look(self) -> Point:
        train = self._kept
        if train is None:
            key = jax.random.fold_in(self._key, self.epochs)
            train = self._drawn(key, self.experiment.held_out)
        else:
            train = jax.tree.map(lambda v: v[: self.experiment.held_out], train)
        trained = self._evaluate(self.params, train)
        held_out = self._evaluate(self.params, self._held_out)
        x_error = held_out.x_error
        point = Point(
            self.epochs,
            self.epochs * self.batches * self.batch_size,
            self.seconds,
            float(trained.loss),
            float(held_out.loss),
            None if x_error is None else float(x_error),
        )
        self.history.append(point)
        finite = math.isfinite(point.train_loss) and math.isfinite(
            point.validation_loss
        )
        if self.result is Result.completed and not finite:
            self.result = Result.non_finite
            self.message = (
                f"the loss is NaN or infinite after epoch {self.epochs}, of parameters "
                "that are finite, and are kept: lower the learning rate or the step "
                "size, or look at the simulator at their x"
            )
        return point

    def shown(self) -> Shown:
        """What the network makes of the first samples of the validation."""
        worth = self._evaluate(self.params, self._held_out)
        first = jax.tree.map(lambda v: v[:SHOWN], self._held_out)
        solution = first.solution
        return Shown(
            _in_rows(worth.x),
            _in_rows(worth.z),
            _in_rows(first.target),
            None if solution is None else _in_rows(solution),
        )

    def without_point(self) -> int:
        """For how many samples of the validation the method has no x+ to lead to."""
        led = of_each(partial(self.method.leads, self._trainee, self.params))
        found = jax.jit(led)(self._held_out)
        return 0 if found is None else int(jnp.sum(~found))

    def _worth(self, params: PyTree, samples: Sample) -> Worth:
        experiment = self.experiment

        def one(sample: Sample) -> Worth:
            x = self._trainee.x(params, sample.inputs)
            z = experiment.simulator(sample)(x)
            error = None
            if experiment.x_error is not None:
                error = experiment.x_error(x, sample)
            return Worth(experiment.loss_of(sample)(z), error, x, z)

        each = of_each(one)(samples)
        few = jax.tree.map(lambda v: v[:SHOWN], (each.x, each.z))
        return Worth(*jax.tree.map(jnp.mean, (each.loss, each.x_error)), *few)


def _first_broken(samples: PyTree) -> int | None:
    """The first sample with NaN or infinity in it."""
    leaves = [
        np.asarray(v) for v in jax.tree.leaves(samples) if eqx.is_inexact_array(v)
    ]
    broken = [~np.isfinite(v).reshape(len(v), -1).all(axis=1) for v in leaves]
    places = np.flatnonzero(np.any(broken, axis=0)) if broken else np.array([])
    return int(places[0]) if places.size else None


def _in_rows(tree: PyTree) -> np.ndarray:
    """Of each sample one array: its only one, or all entries in a row."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    if len(leaves) == 1:
        return leaves[0]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
