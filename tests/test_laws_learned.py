"""Laws of the learned inverse: the difference, its polish, its branch, its training."""

from __future__ import annotations

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import COMPLETED, eps, one_step

import physgrad as pg


def bent(x):
    return x + 0.3 * x**3


def step_to(rule, target, x, forward=bent):
    objective = pg.Objective(pg.Simulator(forward, rule), pg.SquaredLoss(target))
    return one_step(objective, pg.PhysicalGradient(1.0), x)


NETWORKS = {
    "good": lambda z: z - 0.3 * (z - 0.25 * z) ** 3,
    "bad": lambda z: -5.0 * z,
    "NaN": lambda z: jnp.full_like(z, jnp.nan),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_whatever_the_network_says_the_certificate_holds(network, dtype):
    x, target = jnp.array([0.5, -1.0], dtype), jnp.array([1.2, -0.4], dtype)
    step = step_to(pg.LearnedInverse(NETWORKS[network]), target, x)
    assert step.result == COMPLETED
    assert np.abs(bent(step.state.x) - target).max() <= np.sqrt(eps(dtype))
    certificate = step.certificate
    assert certificate is not None and certificate.residual <= certificate.tolerance


def test_alone_it_is_the_difference_correction(dtype):
    """x + n(z~) - n(z): what n is wrong by at z does not count."""
    x, target = jnp.array([0.5], dtype), jnp.array([1.2], dtype)
    for off in (0.0, 3.0):
        rule = pg.LearnedInverse(lambda z, off=off: 0.7 * z + off, polish=None)
        step = step_to(rule, target, x)
        expected = 0.5 + 0.7 * (1.2 - float(bent(x)[0]))
        assert np.abs(step.state.x - expected).max() <= 64 * eps(dtype)
        there = step_to(rule, bent(x), x)
        assert np.abs(there.state.x - x).max() <= 64 * eps(dtype)


def test_a_good_guess_saves_steps_of_the_solver(dtype):
    x, target = jnp.array([0.1], dtype), jnp.array([6.0], dtype)
    plain = step_to(pg.NumericalInverse(), target, x)
    root = jnp.asarray(np.roots([0.3, 0, 1, -6.0]).real[2], dtype)
    exact = pg.LearnedInverse(lambda z: jnp.where(z > 1.0, root - 0.1, 0.0) + 0 * z)
    guessed = step_to(exact, target, x)
    assert np.abs(guessed.state.x - plain.state.x).max() <= 1e2 * np.sqrt(eps(dtype))
    assert guessed.evaluations.jvp < plain.evaluations.jvp


def test_a_guess_on_another_branch_is_named(dtype):
    x, target = jnp.array([2.0], dtype), jnp.array([4.41], dtype)
    step = step_to(pg.LearnedInverse(lambda z: -10 * z), target, x, lambda x: x**2)
    assert step.result == pg.Result.inverse_failed.code


def uniform(key):
    return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)


def test_training_makes_round_trips_better_and_is_repeatable():
    network = eqx.nn.MLP(2, 2, 16, 1, key=jax.random.key(0))

    def error(network):
        xs = jax.vmap(uniform)(jax.random.split(jax.random.key(9), 200))
        return float(jnp.mean(jnp.abs(jax.vmap(lambda x: network(bent(x)))(xs) - xs)))

    rules = [
        pg.train.fit_inverse(network, bent, uniform, jax.random.key(1), 300)
        for _ in range(2)
    ]
    assert error(rules[0].network) < 0.2 * error(network)
    weights = [jax.tree.leaves(eqx.filter(r, eqx.is_array)) for r in rules]
    assert all((a == b).all() for a, b in zip(*weights, strict=True))


def test_wrong_use_is_named():
    network = eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(0))
    key, no_function = jax.random.key(1), cast("Any", 3.0)
    with pytest.raises(TypeError, match="network"):
        pg.LearnedInverse(no_function)
    with pytest.raises(TypeError, match="inverse must be a rule"):
        pg.LearnedInverse(network, polish=jnp.sqrt)
    with pytest.raises(ValueError, match="num_steps"):
        pg.train.fit_inverse(network, bent, uniform, key, 0)
    with pytest.raises(TypeError, match=r"Optax transformation, .* 'adam'"):
        pg.train.fit_inverse(network, bent, uniform, key, 3, optimizer="adam")
    with pytest.raises(RuntimeError, match="ends in NaN, from step 0 on"):
        pg.train.fit_inverse(network, lambda x: jnp.log(-(x**2)), uniform, key, 3)
    wrong = pg.LearnedInverse(lambda z: jnp.zeros(3))
    with pytest.raises(TypeError, match=r"must return x as float32 of shape \(2,\)"):
        step_to(wrong, jnp.ones(2), jnp.ones(2))
