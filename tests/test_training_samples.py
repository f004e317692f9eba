"""Trainings that meet NaN, samples without a step, or what does not fit."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

import physgrad as pg
from physgrad.results import Result
from physgrad.train import course
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.methods import FirstOrder, Physical, Plain, ThroughPhysics, TowardsX
from physgrad.train.training import Budget, Training
from physgrad.training_names import parse_methods

(NAMED,) = parse_methods(["lm:batch=16"], "two-scale-toy").values()


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


class Bias(eqx.Module):
    """The same x for whatever input."""

    x: jax.Array

    def __call__(self, inputs):
        return self.x + 0 * inputs


def small_experiment(target, loss, kept: int | None = 96, **changes) -> Experiment:
    """z = x = b, from b = 0, with targets of each sample by its number."""

    def draw(key, count):
        targets = target(jnp.arange(count))
        return Sample(jnp.ones((count, 1)), targets)

    identity = pg.Simulator(lambda x: x, pg.AnalyticInverse(lambda z: z))
    return Experiment(
        name="bias",
        network=lambda key: Bias(jnp.zeros(1)),
        draw=draw,
        simulator=lambda sample: identity,
        loss=loss,
        kept=kept,
        held_out=64,
        **changes,
    )


def square(z, target):
    return jnp.sum((z - target) ** 2)


def descent(rate=0.5) -> FirstOrder:
    return FirstOrder(Plain(), optax.sgd(rate))


TOWARDS = TowardsX(pg.train.levenberg_marquardt)


def at(place: int, value: float, other: float = 1.0):
    """A target for one sample, and another for all others."""
    return lambda numbers: jnp.where(numbers == place, value, other)[:, None]


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_nan_in_the_data_is_named_before_the_training(value):
    with pytest.raises(ValueError, match=r"the kept data of bias .* in sample 70"):
        Training(small_experiment(at(70, value), square), descent(), 32, 0)
    new = small_experiment(at(50, value), square, kept=None)
    with pytest.raises(ValueError, match=r"the validation data of bias .* sample 50"):
        Training(new, descent(), 32, 0)


def steep(z, target):
    """The same, but no number where (z - target)^4 is none."""
    return square(z, target) + 0 * jnp.sum((z - target) ** 4)


def barrier(z, target):
    return square(z, 1.0) + 0 * jnp.sum(jnp.sqrt(target - z))


def distance(z, target):
    return jnp.sqrt(square(z, target))


BREAKS = {
    # what the loss makes of the sample; only after the first steps; its derivative
    "value": (at(70, 1e200), steep, "sample 6 of batch 3"),
    "later": (at(70, 0.5, 9.0), barrier, "sample 6 of batch 3"),
    "derivative": (at(5, 0.0), distance, "sample 5 of batch 1"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_sample_that_is_nan_is_named_and_the_network_kept(kind):
    target, loss, place = BREAKS[kind]
    training = Training(small_experiment(target, loss), descent(), 32, 0)
    for _ in training.run(Budget(epochs=3)):
        pass
    assert training.result is Result.non_finite
    assert f"NaN or infinity in epoch 1, {place}; " in training.message
    assert training.params.x == 0 and training.epochs == 0


def counted(experiment, step, epochs=2):
    """What a method says of batches that were no step."""
    method = ThroughPhysics(lambda known: step(loss=known.loss, metric="newton"))
    training = Training(experiment, method, 32, 0)
    for _ in training.run(Budget(epochs=epochs)):
        pass
    return training, course._outcome(NAMED, training, None)


@pytest.mark.parametrize("step", [pg.train.half_inverse, pg.train.levenberg_marquardt])
def test_batches_that_are_not_finite_are_skipped_and_counted(step):
    """One of three in each epoch; the others train on."""
    training, outcome = counted(small_experiment(at(70, 1e200), steep), step)
    assert (outcome.batches, outcome.without_step["skipped"]) == (6, 2)
    assert outcome.document()["skipped_batches"] == 2
    assert outcome.result == "completed" and training.params.x > 0.5


def test_steps_that_are_rejected_are_counted():
    """At the minimum no step makes the loss fall."""
    experiment = small_experiment(at(0, 0.0, 0.0), square)
    _, outcome = counted(experiment, pg.train.levenberg_marquardt)
    assert outcome.without_step == {"rejected": 6}
    assert outcome.document()["rejected_batches"] == 6
    fine = small_experiment(at(0, 1.0), square)
    _, outcome = counted(fine, pg.train.half_inverse)
    assert not outcome.without_step and "skipped_batches" not in outcome.document()


@pytest.mark.parametrize("method", [FirstOrder(Physical(), optax.sgd(0.5)), TOWARDS])
def test_samples_without_a_point_to_lead_to_are_counted(method):
    """z = x^2 has no x for a target below zero: such a sample has no weight."""

    def simulator(sample):
        return pg.Simulator(lambda x: x**2, pg.AnalyticInverse(jnp.sqrt))

    experiment = small_experiment(lambda n: jnp.where(n % 4, 4.0, -9.0)[:, None], None)
    experiment = dataclasses.replace(
        experiment, simulator=simulator, network=lambda key: Bias(jnp.ones(1))
    )
    training = Training(experiment, method, 32, 0)
    for _ in training.run(Budget(epochs=30)):
        pass
    outcome = course._outcome(NAMED, training, None)
    assert (outcome.without_point, outcome.held_out) == (16, 64)
    assert outcome.document()["without_point"] == 16
    assert training.params.x == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "at least one sample, got 0"), (300, "at most the 96 samples .*, got 300")],
)
def test_a_batch_that_the_data_cannot_fill_is_refused(size, words):
    with pytest.raises(ValueError, match=words):
        Training(small_experiment(at(0, 1.0), square), descent(), size, 0)


@pytest.mark.parametrize("size", [1, 95, 96])
def test_batches_of_any_size_reach_the_same_minimum(size):
    training = Training(small_experiment(at(0, 1.0), square), descent(), size, 0)
    for _ in training.run(Budget(epochs=2)):
        pass
    assert training.params.x == 1.0
