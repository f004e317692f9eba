"""The physics of the training experiments: what their z and x+ are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import physgrad as pg
from physgrad.train.experiments import named_experiment
from physgrad.train.experiments.oscillators import linear_oscillators
from physgrad.train.experiments.quantum_dipole_control import (
    quantum_dipole,
    quantum_dipole_of_psi,
)

COUNT = 4


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def of_each(experiment, function):
    """A function of a sample, of a few."""
    samples = experiment.draw(jax.random.key(0), COUNT)
    return jax.jit(jax.vmap(function))(samples)


def test_what_is_not_wanted_of_psi_is_the_probability_that_is_missing():
    """|psi - <wanted, psi> wanted|^2 = 1 - |<wanted, psi>|^2, and so its gradient."""
    field = jax.random.normal(jax.random.key(1), (8,))
    found = []
    for experiment in (quantum_dipole(8), quantum_dipole_of_psi(8)):

        def lost(sample, e=experiment):
            judged = jax.value_and_grad(
                lambda x: e.loss_of(sample)(e.simulator(sample)(x))
            )
            return *judged(field), sample.inputs

        found.append(of_each(experiment, lost))
    (loss, slope, seen), (other_loss, other_slope, other_seen) = found
    np.testing.assert_allclose(loss, other_loss, rtol=1e-12)
    np.testing.assert_allclose(slope, other_slope, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(seen, other_seen)


def test_the_nearest_pushes_are_those_of_the_pseudo_inverse():
    experiment = linear_oscillators(COUNT)
    pushes = jax.random.normal(jax.random.key(1), (24,))

    def pulled(sample):
        own: Any = experiment.simulator(sample)
        by_jacobian = pg.Simulator(own.forward, pg.LinearizedInverse())
        known, expected = (
            pg.physical_loss(s).pull_back(pushes, experiment.asked(sample)).x
            for s in (own, by_jacobian)
        )
        return known, expected, own(known) - sample.target

    known, expected, missed = of_each(experiment, pulled)
    np.testing.assert_allclose(known, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(missed, 0.0, atol=1e-10)


@pytest.mark.parametrize("name", ["nonlinear-oscillators", "quantum-dipole"])
def test_damped_pulls_go_where_the_loss_is_lower(name):
    experiment = named_experiment(name)
    network = experiment.network(jax.random.key(0))

    def fall(sample):
        loss = pg.physical_loss(experiment.simulator(sample), experiment.loss)
        x, asked = network(sample.inputs), experiment.asked(sample)
        pulled = loss.pull_back(x, asked)
        nearby = x + 0.01 * (pulled.x - x)
        return pulled.ok, loss(x, asked) - loss(nearby, asked)

    ok, falls = of_each(experiment, fall)
    assert jnp.all(ok) and jnp.all(falls > 0)
