"""A controller that sees a cart and its pole in each step, and swings the pole up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from physgrad import simulators
from physgrad.inverses.linearized import LinearizedInverse
from physgrad.simulator import Chain, Simulator
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import Layers, mlp

SIZES = (4, 100, 100, 1)
# Of the inverse: half of J J^T = 2e-3, the turn by a force, squared and summed, at the
# start. Without it a sample whose forces turn the pole little drowns its whole batch.
DAMPING = 1e-3


def cart_pole_swing(
    steps: int = 50, kept: int = 256, damping: float = DAMPING
) -> Experiment:
    """The force in each step of a second that ends with the pole upright.

    x is the forces that a closed loop of controller and cart makes, z = (cos a, sin a)
    the tip's direction at the end, L = |z - (1, 0)|^2 / 2 = 1 - cos a, which is convex
    in z. A controller 4-100-100-1 with tanh, 10,701 numbers, sees (s, s', a, a'); they
    begin uniform in [-1, 1], the angle a within 30 degrees of hanging. As published
    there are 100 semi-implicit steps of Euler; here 50 of fifth order.

    Derivatives go through what the controller sees, too. Held constant there, as that
    article proposes, Adam's steps cost less, but the Jacobian is not that of z: the
    half inverse ends three orders higher, and Levenberg-Marquardt is stuck.

    x+ has the forces nearest to the present ones that turn the pole upright, from the
    Jacobian: of P in open loop, from the sample's own state.

    **Arguments:** `steps`: of the second; `kept`: samples, and as many of validation;
    `damping`: of that inverse.

    **Source:** Schnell and Thuerey, "Stabilizing Backpropagation Through Time to Learn
    Complex Physics", ICLR 2024.
    """
    cart = simulators.cart_pole(duration=1.0, steps=steps)
    direction = simulators.polar_map()

    def simulator(sample: Sample) -> Chain:
        own = eqx.tree_at(lambda c: c.initial, cart.forward, sample.setting)
        return Chain(
            Simulator(Pole(own), LinearizedInverse(damping)),
            direction,
            names=("forces", "pole", "tip"),
        )

    def network(key: Array) -> ClosedLoop:
        return ClosedLoop(mlp(SIZES, jnp.tanh, key), _step_of(cart.forward), steps)

    return Experiment(
        name="cart-pole",
        network=network,
        draw=_draw,
        simulator=simulator,
        weight=0.5,
        kept=kept,
        held_out=kept,
    )


class Pole(eqx.Module):
    """From forces to the pole at the end: (1, a), its length taken for 1, its angle."""

    cart: Callable
    """From forces to (s, s', a, a')."""

    def __call__(self, forces: Array) -> Float[Array, "2"]:
        angle = self.cart(forces)[2]
        return jnp.stack([jnp.ones_like(angle), angle])


class ClosedLoop(eqx.Module):
    """The forces of a controller that sees in each step what the last one has done."""

    controller: Layers
    after: Callable = eqx.field(static=True)
    """The state one step later, of a state and a force: no parameters."""
    steps: int = eqx.field(static=True)

    def __call__(self, state: Float[Array, "4"]) -> Float[Array, " steps"]:
        def one(state: Array, _: None) -> tuple[Array, Array]:
            (force,) = self.controller(state)
            return self.after(state, force), force

        _, forces = lax.scan(one, state, None, self.steps)
        return forces


def _step_of(cart: Any) -> Callable:
    """A step of the cart as a plain function, which has no arrays to be trained."""
    return lambda state, force: cart.driven(state, force)


def _draw(key: Array, count: int) -> Sample:
    middle, width = np.array([0, 0, np.pi, 0]), np.array([1, 1, np.pi / 6, 1])
    states = jax.random.uniform(key, (count, 4), minval=-1.0, maxval=1.0)
    states = middle + width * states
    upright = jnp.broadcast_to(jnp.array([1.0, 0.0]), (count, 2))
    return Sample(states, upright, setting=states)
