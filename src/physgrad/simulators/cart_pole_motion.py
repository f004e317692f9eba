"""A pole on a cart that is pushed to and fro (diffrax, extra "sim")."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from physgrad.simulator import Simulator
from physgrad.simulators.checks import array, at_least_zero, number
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.precision import like_x
from physgrad.simulators.rollout import Driven

# by a loop that has derivatives forwards and backwards
SOLVER = diffrax.Tsit5(scan_kind="bounded")


class CartAndPole(eqx.Module):
    """(s, s', a, a')' by the force F on the cart; the angle a is zero upright.

    (M + m) s'' + m l (a'' cos a - a'^2 sin a) = F, l a'' + s'' cos a = g sin a: a mass
    m at the end of a rod of length l, on a cart of mass M.
    """

    cart: Float[Array, ""]
    pole: Float[Array, ""]
    length: Float[Array, ""]
    gravity: Float[Array, ""]

    def __call__(self, t: Any, state: Array, force: Array) -> Array:
        del t
        pole, length, gravity = self.pole, self.length, self.gravity
        _, speed, angle, rate = state
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        push = force + pole * sine * (length * rate**2 - gravity * cosine)
        acceleration = push / (self.cart + pole * sine**2)
        turn = (gravity * sine - acceleration * cosine) / length
        return jnp.stack([speed, acceleration, rate, turn])

    @like_x
    def energy(self, state: Array) -> Array:
        """Kinetic and potential, which stays where no force is."""
        _, speed, angle, rate = state
        across = speed + self.length * rate * jnp.cos(angle)
        up = self.length * rate * jnp.sin(angle)
        height = self.length * jnp.cos(angle)
        moving = self.cart * speed**2 + self.pole * (across**2 + up**2)
        return moving / 2 + self.pole * self.gravity * height


class DrivenCart(Driven):
    """From a force in each time step to the state at the end, from one state."""

    initial: Float[Array, "4"]
    steps: int = eqx.field(static=True)
    law: CartAndPole
    dt: Float[Array, ""]

    def driven(self, state: Array, given: Array) -> Array:
        term = diffrax.ODETerm(self.law)
        ends = jnp.zeros((), state.dtype), self.dt
        begun = SOLVER.init(term, *ends, state, given)
        return SOLVER.step(term, *ends, state, given, begun, made_jump=True)[0]


def cart_pole(
    initial: Any = (0.0, 0.0, jnp.pi, 0.0),
    duration: float = 2.0,
    *,
    steps: int = 50,
    cart: float = 1.0,
    pole: float = 0.1,
    length: float = 0.5,
    gravity: float = 9.8,
) -> Simulator:
    """A pole on a cart, from a force in each step to the state at the end.

    (M + m) s'' + m l (a'' cos a - a'^2 sin a) = F and l a'' + s'' cos a = g sin a, by
    diffrax: Tsitouras' method, of fifth order, the force constant in each step.

    **The inverse** is numerical: many forces lead to one state, and the nearest to the
    present ones are taken. It is local: from hanging still, where a force moves the
    pole little, a swing up needs a start that swings.

    **Arguments:**

    - `initial`: (s, s', a, a') at the start: the place of the cart, the angle of the
        pole in radians, zero upright and pi hanging, and their rates. z has this shape;
        x, the force F, has the shape (steps,), in units of mass length / time^2.
    - `duration`: in units of time; `steps`: time steps.
    - `cart`, `pole`: masses M and m; `length`: l of the rod; `gravity`: g.

    **Raises:** `ValueError` for an initial state of another shape, less than 1 step, a
    duration below zero, or masses, lengths and gravity that are not positive;
    `MissingExtra` without diffrax.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> cart = pg.simulators.cart_pole(duration=0.1, steps=2)
    >>> hanging = cart.forward.initial
    >>> print(abs(cart(jnp.zeros(2)) - hanging).max() < 1e-5)
    True

    **Source:** Florian, "Correct equations for the dynamics of the cart-pole system",
    2007 (a mass at the end in place of a rod).
    """
    start = array("initial", initial, (4,))
    count, time = checked_steps(steps), at_least_zero("duration", duration)
    given = {"cart": cart, "pole": pole, "length": length, "gravity": gravity}
    law = CartAndPole(*(jnp.asarray(number(name, v)) for name, v in given.items()))
    dt = jnp.asarray(time / count)
    return Simulator(DrivenCart(jnp.asarray(start), count, law, dt))
