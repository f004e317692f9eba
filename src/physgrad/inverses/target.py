"""The target of a numerical inverse: its misfit, and how to tell the nearest point."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jax import lax
from jaxtyping import Array, Bool, Float

from physgrad.inverses.certificate import certificate_tolerance, rounding
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import (
    Flat,
    FlatMap,
    Scalar,
    largest,
    largest_by_leaf,
    power_of_two,
    spread_by_leaf,
)
from physgrad.inverses.jacobian import (
    by_products,
    dense_jacobian,
    fits,
    jacobian_cost,
)
from physgrad.inverses.root_solver import Steps
from physgrad.inverses.state import State
from physgrad.spectral import spectrum

# Slopes within this factor are no reason for units of their own.
ALIKE = 1e3
# A misfit at right angles to the columns of R J, to this many sqrt(eps), is smallest.
ANGLE = 30.0
# A slope that has fallen below this part of what it was is no sign of the nearest
# point: the solver may just have been thrown on a plateau.
COLLAPSED = 0.01
# Slope of the misfit in the units that trust regions work in.
STEEP = 4.0
# The solver goes on to this part of rtol times the step; it rests before, within the
# tolerance, where rounding lets the misfit fall no more.
EARLY = 0.05


class Target(eqx.Module):
    """Find x with P(x) = z~, from the state."""

    forward: FlatMap
    z_target: Flat
    state: State
    root: lx.AbstractLinearOperator
    """R, with B = R^T R."""
    tolerance: Float[Array, " leaves"]
    rtol: Scalar

    def part(self, x: Flat, z: Flat, z_target: Flat) -> Target:
        """The same from another point to another target."""
        state = self.state.move((x, z))
        tolerance = certificate_tolerance(self.forward, z_target, state, self.rtol)
        root = self.root
        return Target(self.forward, z_target, state, root, tolerance, self.rtol)

    @property
    def is_tall(self) -> bool:
        """Whether z has more entries than x, so that most targets are out of range."""
        return self.state.z.size > self.state.x.size

    @property
    def unit(self) -> Scalar:
        """The largest entry of R (z~ - z): misfits are 1 at the start."""
        start = largest(self.root.mv(self.state.z - self.z_target))
        return lax.stop_gradient(jnp.where(start > 0, start, 1.0))

    @property
    def counts(self) -> Bool[Array, " z"] | bool:
        """Which entries of z have a weight, where R is diagonal."""
        if isinstance(self.root, lx.DiagonalLinearOperator):
            return self.root.diagonal != 0
        return True

    def rounding(self) -> Scalar:
        """What rounding of z may be of |R (P(x) - z~)|, in its unit."""
        size = largest_by_leaf(self.forward, self.z_target)
        by_leaf = rounding(size, self.state)
        vector = spread_by_leaf(self.forward, by_leaf, self.z_target)
        return jnp.linalg.norm(self.root.mv(vector)) / self.unit

    def misfit(self, x: Flat) -> tuple[Flat, Float[Array, " leaves"]]:
        """R (P(x) - z~) in its unit; |P(x) - z~| in each leaf, where it counts."""
        difference = self.forward(x) - self.z_target
        by_leaf = largest_by_leaf(self.forward, jnp.where(self.counts, difference, 0.0))
        return self.root.mv(difference) / self.unit, lax.stop_gradient(by_leaf)

    def weighted_misfit(self, x: Flat) -> Flat:
        """R (P(x) - z~) in its unit."""
        return self.misfit(x)[0]

    def misfit_at_start(self) -> Flat:
        """R (z - z~) in its unit, without calling the simulator."""
        return self.root.mv(self.state.z - self.z_target) / self.unit

    def slopes(self, x: Flat) -> Float[Array, "z x"]:
        """The dense derivative of the misfit."""
        return dense_jacobian(self.weighted_misfit, x, self.forward.forward_mode)

    def usual_slope(self) -> Scalar:
        """The largest slope of the run so far, for the misfit in its unit."""
        step = largest(self.z_target - self.state.z)
        return self.state.gain[0] / jnp.where(step > 0, step, 1.0)

    def goal(self) -> Float[Array, " leaves"]:
        """Where to stop: far below the step asked for, or at the rounding of z~.

        Not the tolerance, which knows the rounding at the start of the run: near the
        optimum that would be to stop before having moved at all.
        """
        forward, eps = self.forward, jnp.finfo(self.z_target.dtype).eps
        step = largest_by_leaf(forward, self.z_target - self.state.z)
        rounding = eps * largest_by_leaf(forward, self.z_target)
        return EARLY * self.rtol * step + rounding


def optimality(
    x: Flat,
    misfit: Callable[[Flat], Flat],
    start: Flat,
    *,
    dense: bool,
    forward_mode: bool,
) -> Flat:
    """What has the derivatives of the solution, by the implicit function theorem.

    The gradient of 1/2 |misfit|^2 and, where the Jacobian is made, the way from the
    start in the directions that z does not show: those that the solver leaves alone.
    """
    gradient = jax.grad(lambda x: 0.5 * jnp.sum(misfit(x) ** 2))(x)
    if not dense:
        return gradient
    parts = lax.stop_gradient(spectrum(dense_jacobian(misfit, x, forward_mode)))
    shown = (parts.right * (parts.values > 0)[:, None]).astype(x.dtype)
    way = x - start
    unseen = way - shown.T @ (shown @ way)
    steep = parts.values[0] > 0  # where nothing is shown all of x is left alone
    scale = jnp.where(steep, parts.values[0], 1.0) ** 2
    return gradient + scale.astype(x.dtype) * unseen


def implicitly(
    forward: FlatMap, z_target: Flat, x: Flat, start: Flat, *, dense: bool = True
) -> Flat:
    """x with the derivatives of the preimage of z~ nearest to the start."""
    solver = lx.AutoLinearSolver(well_posed=False) if dense else by_products(x)
    return optx.ImplicitAdjoint(solver).apply(
        # lambdas, since a type checker turns named functions into closures, which
        # cannot be differentiated implicitly
        lambda inputs: (inputs[2], None),
        lambda x, _, inputs: optimality(
            x,
            lambda x: inputs[0](x) - inputs[1],
            inputs[3],
            dense=inputs[4],
            forward_mode=inputs[0].forward_mode,
        ),
        (forward, z_target, x, start, dense),
        frozenset(),
    )[0]


def is_stationary(
    part: Target, steps: Steps, x: Flat
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether the misfit cannot be lowered nearby: it is at right angles to R J.

    Column by column, as in MINPACK, held against their size here or the largest slope
    of the run so far, since a column may vanish on the way; against that slope alone
    where the Jacobian is not made; a misfit of rounding has no angle. And whether no
    column has vanished.
    """
    misfit, back = jax.vjp(part.weighted_misfit, x)
    angle = ANGLE * jnp.sqrt(jnp.finfo(x.dtype).eps)
    small = angle * jnp.linalg.norm(misfit) + part.rounding()
    usual, sure = part.usual_slope(), jnp.asarray(True)
    sizes = jnp.full_like(x, usual)
    if _has_columns(part, steps, x):
        here, before = (
            jnp.linalg.norm(part.slopes(point), axis=0) for point in (x, part.state.x)
        )
        sizes = jnp.maximum(here, usual)
        there = before > jnp.sqrt(jnp.finfo(x.dtype).eps) * usual
        sure = ~jnp.any(there & (here < COLLAPSED * before))
    steep = jnp.abs(back(misfit)[0])
    at_rest = jnp.all((steep <= small * sizes) & jnp.isfinite(steep))
    return at_rest, at_rest & sure


def _has_columns(part: Target, steps: Steps, x: Flat) -> bool:
    return steps.is_dense or (steps.minimizes and fits(part.state.z.size, x))


def cost_of_resting(part: Target, steps: Steps, x: Flat) -> Evaluations:
    """Of `is_stationary`: a reverse sweep, and a Jacobian at both ends."""
    cost = Evaluations(forward=1, vjp=1)
    if _has_columns(part, steps, x):
        columns = jacobian_cost(part.state.z.size, x, part.forward.forward_mode)
        cost = cost + columns + columns
    return cost


def units_of(part: Target, steps: Steps, slopes: Float[Array, "z x"] | None) -> Flat:
    """Units of x in which the misfit has slopes of one size, as powers of two.

    The first trust region of a solver is 1, and so is its damping, in whatever units x
    has: with steep slopes both let the first full step through. A line search starts
    along the gradient, which is of the right length where slopes are 1. Entries with
    slopes alike, and all those of a wide simulator, have one unit, so that where many
    points are nearest the step stays the shortest one.
    """
    x, z = part.state.x, part.state.z
    if slopes is not None and x.size <= z.size:
        slope = jnp.linalg.norm(slopes, axis=0)
        alike = jnp.max(slope) <= ALIKE * jnp.min(slope)
        slope = jnp.where(alike, jnp.max(slope), slope)
    else:
        slope = jnp.full_like(x, part.usual_slope())
    usable = jnp.isfinite(slope) & (slope > 0)
    wanted = 1.0 if steps.minimizes else STEEP
    return power_of_two(wanted / jnp.where(usable, slope, wanted))
