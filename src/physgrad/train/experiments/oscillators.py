"""Two coupled oscillators, steered by pushing one of them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.linearized import LinearizedInverse
from physgrad.inverses.rule import Inverse
from physgrad.simulator import Simulator
from physgrad.simulators.oscillators import driven_oscillators
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import mlp

DURATION = 12.0
# Of the nonlinear inverse, a part of the size of J^T J: full steps end in NaN.
DAMPING = 0.1


def linear_oscillators(kept: int = 4096) -> Experiment:
    """Push one of two oscillators so that both end as they began.

    q_i'' = -q_i + 0.2 (q_j - q_i) + push_i, 24 pushes over 12 units of time; states
    (q, v) uniform in [0, 1)^4; L = |z - state|^2. A network 4-20-20-20-24 with tanh,
    1,444 numbers. x+ has the pushes nearest to the present ones that reach a state.

    **Source:** Thuerey et al., Physics-based Deep Learning, 2021, chapter on
    half-inverse gradients.
    """
    template = driven_oscillators(jnp.zeros((2, 2)), DURATION, steps=24, coupling=0.2)
    jacobian = jax.jacrev(template.forward)(jnp.zeros(24)).reshape(4, 24)
    backward = jnp.linalg.pinv(jacobian)

    def inverse(forward: Callable) -> AnalyticInverse:
        return AnalyticInverse(AffineBack(forward, backward), one_to_one=True)

    return _steered(
        "linear-oscillators", template, inverse, (4, 20, 20, 20, 24), jnp.tanh, kept
    )


def nonlinear_oscillators(kept: int = 4096) -> Experiment:
    """The same with a coupling that is cubic, 96 pushes, and a network with ReLU.

    q_i'' = -q_i + (q_j - q_i)^3 + 3 push_i; a network 4-20-20-20-96, 2,956 numbers. x+
    is a damped step by the Jacobian.

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022, section 3.1.
    """
    template = driven_oscillators(
        jnp.zeros((2, 2)), DURATION, steps=96, coupling=0.0, cubic=1.0, gain=3.0
    )
    return _steered(
        "nonlinear-oscillators",
        template,
        lambda forward: LinearizedInverse(DAMPING, relative=True),
        (4, 20, 20, 20, 96),
        jax.nn.relu,
        kept,
    )


class AffineBack(eqx.Module):
    """x+ = x + J^+ (z~ - P(x)) for an affine P, whose J is the same everywhere."""

    forward: Callable
    """P."""
    backward: Float[Array, "x z"]
    """J^+."""

    def __call__(self, z: Array, x: Array) -> Array:
        return x + self.backward @ jnp.ravel(z - self.forward(x))


def _steered(
    name: str,
    template: Simulator,
    inverse: Callable[[Callable], Inverse],
    sizes: tuple[int, ...],
    between: Callable,
    kept: int,
) -> Experiment:
    def simulator(sample: Sample) -> Simulator:
        own = eqx.tree_at(lambda f: f.initial, template.forward, sample.setting)
        return Simulator(own, inverse(own))

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
