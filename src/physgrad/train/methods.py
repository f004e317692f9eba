"""How a network is trained: the ways that experiments put side by side."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from physgrad.inverses.flat import Scalar
from physgrad.inverses.settings import describe
from physgrad.objective.losses import SquaredLoss
from physgrad.train.experiment import Experiment, Sample, of_each
from physgrad.train.physical_loss import Pulled, physical_loss


@dataclasses.dataclass(frozen=True)
class Trainee:
    """The network of an experiment as a function of its parameters."""

    experiment: Experiment
    rest: PyTree
    """What of the network is no parameter."""

    def x(self, params: PyTree, inputs: PyTree) -> PyTree:
        """The network's answer to one sample."""
        return eqx.combine(params, self.rest)(inputs)

    def z(self, params: PyTree, sample: Sample) -> PyTree:
        """What physics makes of it."""
        return self.experiment.simulator(sample)(self.x(params, sample.inputs))

    def loss(self, params: PyTree, sample: Sample) -> Scalar:
        """L of one sample."""
        return self.experiment.loss_of(sample)(self.z(params, sample))


class TrainingMethod(eqx.Module):
    """A way to change the parameters, batch by batch."""

    pace: ClassVar[int] = 10
    """Batches of an epoch where samples are always new: a second or less."""

    def __repr__(self) -> str:
        return describe(self)

    @abc.abstractmethod
    def init(self, trainee: Trainee, params: PyTree) -> Any:
        """What it remembers from batch to batch: a PyTree of arrays."""

    @abc.abstractmethod
    def update(
        self, trainee: Trainee, params: PyTree, state: Any, samples: Sample
    ) -> tuple[PyTree, Any]:
        """The parameters after one batch, and what it remembers."""

    def leads(
        self, trainee: Trainee, params: PyTree, sample: Sample
    ) -> Bool[Array, ""] | None:
        """Whether there is an x+ for a sample; None where the method needs none."""
        return None


class Criterion(eqx.Module):
    """What a first-order method descends on, of one sample."""

    def leads(
        self, trainee: Trainee, params: PyTree, sample: Sample
    ) -> Bool[Array, ""] | None:
        """Whether there is an x+ for a sample; None where none is needed."""
        return None

    @abc.abstractmethod
    def __call__(self, trainee: Trainee, params: PyTree, sample: Sample) -> Scalar:
        """A scalar whose gradient is wanted."""


class Plain(Criterion):
    """The loss itself."""

    def __call__(self, trainee: Trainee, params: PyTree, sample: Sample) -> Scalar:
        return trainee.loss(params, sample)


class Physical(Criterion):
    """The loss with the physical gradient."""

    step_size: float = 1.0
    """eta, in z-space."""
    metric: float = 0.0
    """W, from x to z."""

    def __call__(self, trainee: Trainee, params: PyTree, sample: Sample) -> Scalar:
        x = trainee.x(params, sample.inputs)
        return self.of(trainee, sample)(x, trainee.experiment.asked(sample))

    def of(self, trainee: Trainee, sample: Sample) -> Any:
        """The physical loss of one sample."""
        simulator, loss = trainee.experiment.simulator(sample), trainee.experiment.loss
        metric = self.metric or None
        return physical_loss(simulator, loss, None, self.step_size, metric)

    def pulled(self, trainee: Trainee, params: PyTree, sample: Sample) -> Pulled:
        """The x+ of one sample."""
        x, asked = trainee.x(params, sample.inputs), trainee.experiment.asked(sample)
        return self.of(trainee, sample).pull_back(x, asked)

    def leads(
        self, trainee: Trainee, params: PyTree, sample: Sample
    ) -> Bool[Array, ""] | None:
        return self.pulled(trainee, params, sample).ok


class Supervised(Criterion):
    """|x - x*|^2 / 2, where the x that made the target is known."""

    def __call__(self, trainee: Trainee, params: PyTree, sample: Sample) -> Scalar:
        misses = jax.tree.map(
            lambda x, known: jnp.sum((x - known) ** 2) / 2,
            trainee.x(params, sample.inputs),
            sample.solution,
        )
        return jax.tree.reduce(jnp.add, misses)


class FirstOrder(TrainingMethod):
    """An Optax transformation of the gradient of a mean over the batch."""

    pace: ClassVar[int] = 100
    criterion: Criterion
    optimizer: Any = eqx.field(static=True)

    def init(self, trainee: Trainee, params: PyTree) -> Any:
        return self.optimizer.init(params)

    def update(
        self, trainee: Trainee, params: PyTree, state: Any, samples: Sample
    ) -> tuple[PyTree, Any]:
        def mean(params: PyTree) -> Scalar:
            each = of_each(lambda sample: self.criterion(trainee, params, sample))
            return jnp.mean(each(samples))

        updates, state = self.optimizer.update(jax.grad(mean)(params), state, params)
        return jax.tree.map(jnp.add, params, updates), state

    def leads(
        self, trainee: Trainee, params: PyTree, sample: Sample
    ) -> Bool[Array, ""] | None:
        return self.criterion.leads(trainee, params, sample)


class ThroughPhysics(TrainingMethod):
    """A step by the Jacobian of z with respect to the parameters."""

    step: Callable = eqx.field(static=True)
    """Makes it for an experiment: one of `parameter_steps`."""

    def init(self, trainee: Trainee, params: PyTree) -> Any:
        return self.step(trainee.experiment).init(params)

    def update(
        self, trainee: Trainee, params: PyTree, state: Any, samples: Sample
    ) -> tuple[PyTree, Any]:
        targets = jax.vmap(trainee.experiment.asked)(samples)
        batch = {"output": trainee.z, "inputs": samples, "targets": targets}
        step = self.step(trainee.experiment)
        updates, state = step.update(None, state, params, **batch)
        return jax.tree.map(jnp.add, params, updates), state


class TowardsX(TrainingMethod):
    """A step by the Jacobian of the network alone, to the x+ of a physical step."""

    step: Callable = eqx.field(static=True)
    """Makes it: one of `parameter_steps`."""
    physical: Physical = Physical()

    def init(self, trainee: Trainee, params: PyTree) -> Any:
        return self.step().init(params)

    def update(
        self, trainee: Trainee, params: PyTree, state: Any, samples: Sample
    ) -> tuple[PyTree, Any]:
        def pulled(sample: Sample) -> SquaredLoss:
            found = self.physical.pulled(trainee, params, sample)
            ok = jax.tree.map(lambda v: found.ok.astype(v.dtype), found.x)
            return SquaredLoss(found.x, ok)  # a sample without x+ has no weight

        batch = {
            "output": trainee.x,
            "inputs": samples.inputs,
            "targets": of_each(pulled)(samples),
        }
        updates, state = self.step().update(None, state, params, **batch)
        return jax.tree.map(jnp.add, params, updates), state

    def leads(
        self, trainee: Trainee, params: PyTree, sample: Sample
    ) -> Bool[Array, ""] | None:
        return self.physical.leads(trainee, params, sample)
