"""Objectives L(P(x)): for users between PyTrees, for optimizers between vectors."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from physgrad.inverses.box import Box, Boxed
from physgrad.inverses.flat import Flat, FlatMap, Scalar, flat_map
from physgrad.inverses.rule import Inverse, PullBack
from physgrad.inverses.settings import brief
from physgrad.inverses.state import State, start_state
from physgrad.objective.bounds import Bounds, as_bounds
from physgrad.objective.losses import FlatLoss
from physgrad.simulator import Chain, Simulator, as_simulator


class Objective(eqx.Module):
    """L(P(x)): a simulator, and the loss that judges its z.

    **Arguments:**

    - `simulator`: a `Simulator`, a `Chain`, or a function (numerical inverse).
    - `loss`: takes z, returns a scalar. A class may know more of itself, each on the
        PyTree z: `newton_step(z)`, -H^-1 dL/dz; `residual(z)`, whose squares sum up to
        the loss; `metric_root(z)`, the diagonal of R with R^T R = H. `SquaredLoss`
        has all three. Otherwise they come from the Hessian of the loss.
    - `bounds`: None, or a pair (lower, upper), each a number, a PyTree like x, or None:
        no method leaves them.

    **Raises:** `TypeError` for a loss or simulator that cannot be called, or bounds
    that are no pair; `ValueError` for bounds that are NaN, and, when they are used,
    that are not like x.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**2, loss=lambda z: jnp.sum(z**2))
    >>> float(objective(jnp.array([3.0])))
    81.0
    """

    simulator: Simulator | Chain = eqx.field(converter=as_simulator)
    """z = P(x), and how points are pulled back."""
    loss: Callable
    """L(z), a scalar."""
    bounds: Bounds | None = eqx.field(converter=as_bounds, default=None)
    """lower <= x <= upper."""

    def __check_init__(self) -> None:
        if isinstance(self.loss, type):
            name = self.loss.__name__
            raise TypeError(f"loss must be a function of z, got {name}; make one first")
        if not callable(self.loss):
            raise TypeError(f"loss must be a function of z, got {brief(self.loss)}")

    def __call__(self, x: PyTree) -> Scalar:
        return self.loss(self.simulator(x))

    def flatten(self, x: PyTree) -> tuple[FlatObjective, Flat]:
        """The objective between flat vectors, and x as one of them.

        **Raises:** `TypeError`, `ValueError` for what does not fit together: dtypes,
        shapes, a loss that is not scalar.
        """
        forward, x_flat = flat_map(self.simulator.functions, x)
        loss = FlatLoss(self.loss, forward.unravels[-1])
        value = jax.eval_shape(lambda x: loss(forward(x)), x_flat)
        if value.dtype != x_flat.dtype:
            raise TypeError(
                f"the loss must have the dtype of z, {x_flat.dtype}, got "
                f"{value.dtype}; cast its target or constants"
            )
        box = None if self.bounds is None else self.bounds.box(x)
        return FlatObjective(forward, self.simulator.rule, loss, box), x_flat


class FlatObjective(eqx.Module):
    """An objective between flat vectors: what optimizers see."""

    simulator: FlatMap
    """z = P(x)."""
    rule: Inverse
    """The rule that the simulator brings."""
    loss: FlatLoss
    """L(z)."""
    box: Box | None = None
    """The bounds of x."""

    def start(self, x: Flat) -> State:
        """The state at the start of a run."""
        return start_state(self.simulator, self.within(x))

    def within(self, x: Flat) -> Flat:
        """x, or the nearest point within its bounds, entry by entry."""
        return x if self.box is None else self.box.clip(x)

    def within_rule(self, rule: Inverse) -> Inverse:
        """The rule, whose points lie within the bounds."""
        return rule if self.box is None else Boxed(rule, self.box)

    def within_held(self, x: Flat, gradient: Flat) -> Bool[Array, " x"]:
        """Entries that a bound holds where they are."""
        if self.box is None:
            return jnp.zeros(x.shape, bool)
        return self.box.held(x, gradient)

    def downhill(self, x: Flat, gradient: Flat) -> Flat:
        """The gradient; with bounds what of it they leave, x - clip(x - gradient)."""
        return gradient if self.box is None else self.box.projected(x, gradient)

    def evaluate(self, state: State, x: Flat) -> State:
        """The state at another x, within the bounds: one call of the simulator."""
        return state.move(self.simulator.spaces(self.within(x)))

    def arrive(self, state: State, answer: PullBack) -> State:
        """The state at a pulled-back point, whose z the certificate already has."""
        if len(self.simulator.functions) > 1:  # once more, but the compiler sees that
            return state.pulled_to(self.simulator.spaces(answer.x))
        return state.pulled_to((answer.x, answer.z), answer.secant)

    def evaluate_with_gradient(self, state: State, x: Flat) -> tuple[State, Flat]:
        """The state at another x, and dL/dx there: one call and one reverse sweep."""
        x = self.within(x)

        def value(x: Flat) -> tuple[Scalar, tuple[Flat, ...]]:
            spaces = self.simulator.spaces(x)
            return self.loss(spaces[-1]), spaces

        gradient, spaces = jax.grad(value, has_aux=True)(x)
        return state.move(spaces), gradient

    def __call__(self, x: Flat) -> Scalar:
        return self.loss(self.simulator(x))

    def gradient(self, x: Flat) -> Flat:
        """dL/dx = J^T dL/dz, shape (x entries,)."""
        return jax.grad(self)(x)
