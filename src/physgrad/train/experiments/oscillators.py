"""Two coupled oscillators, steered by pushing one of them."""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from physgrad.inverses.linearized import LinearizedInverse
from physgrad.simulator import Simulator
from physgrad.simulators.oscillators import driven_oscillators
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import mlp

DURATION = 12.0


def linear_oscillators(kept: int = 4096) -> Experiment:
    """Push one of two oscillators so that both end as they began.

    q_i'' = -q_i + 0.2 (q_j - q_i) + push_i, 24 pushes over 12 units of time; states
    (q, v) uniform in [0, 1)^4; L = |z - state|^2. A network 4-20-20-20-24 with tanh,
    1,444 numbers.

    **Source:** Thuerey et al., Physics-based Deep Learning, 2021, chapter on
    half-inverse gradients.
    """
    template = driven_oscillators(jnp.zeros((2, 2)), DURATION, steps=24, coupling=0.2)
    return _steered("linear-oscillators", template, (4, 20, 20, 20, 24), jnp.tanh, kept)


def nonlinear_oscillators(kept: int = 4096) -> Experiment:
    """The same with a coupling that is cubic, 96 pushes, and a network with ReLU.

    q_i'' = -q_i + (q_j - q_i)^3 + 3 push_i; a network 4-20-20-20-96, 2,956 numbers.

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022, section 3.1.
    """
    template = driven_oscillators(
        jnp.zeros((2, 2)), DURATION, steps=96, coupling=0.0, cubic=1.0, gain=3.0
    )
    return _steered(
        "nonlinear-oscillators", template, (4, 20, 20, 20, 96), jax.nn.relu, kept
    )


def _steered(
    name: str, template: Simulator, sizes: tuple[int, ...], between, kept: int
) -> Experiment:
    def simulator(sample: Sample) -> Simulator:
        return eqx.tree_at(
            lambda s: (s.forward.initial, s.inverse),
            template,
            (sample.setting, LinearizedInverse()),
        )

    return Experiment(
        name=name,
        network=functools.partial(mlp, sizes, between),
        draw=_draw,
        simulator=simulator,
        kept=kept,
        held_out=kept,
    )


def _draw(key: Array, count: int) -> Sample:
    states = jax.random.uniform(key, (count, 2, 2))
    return Sample(states.reshape(count, 4), states, setting=states)
