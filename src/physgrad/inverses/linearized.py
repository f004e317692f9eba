"""The pseudo-inverse of the Jacobian in place of the inverse: Gauss-Newton."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from physgrad.inverses.certificate import report
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, Scalar
from physgrad.inverses.jacobian import (
    by_products,
    dense_jacobian,
    fits,
    jacobian_cost,
    jacobian_operator,
)
from physgrad.inverses.rule import Inverse, Metric, PullBack
from physgrad.inverses.settings import brief, flag, not_negative
from physgrad.inverses.state import State
from physgrad.spectral import damped_solution, largest_value

# Steps of the power method for a size that damping is a part of.
SEARCHES = 8


class LinearizedInverse(Inverse):
    """x+ = x + (J^T B J + damping I)^+ J^T B (z~ - z).

    Without damping the pseudo-inverse of J in the metric B: the step of Gauss-Newton;
    with damping, that of Levenberg-Marquardt. Singular directions of J are left alone
    (least norm). It promises nothing about P(x+): the residual is reported, its
    tolerance is infinite. The metric it hands on is J^T B J + damping I.

    **Arguments:**

    - `damping`: zero or a positive number, in the units of J^T B J.
    - `relative`: whether `damping` is a part of the largest eigenvalue of J^T B J
        instead, which suits any units.
    - `solver`: a lineax least-squares solver that needs only products with J, such as
        `lineax.LSMR(rtol=1e-6, atol=0.0)`; None for a dense singular value
        decomposition of B^1/2 J where it takes at most 1 GiB, and LSMR above.

    **Raises:** `ValueError` for a negative damping, or a relative one with a `solver`.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 2 * x + 1, lambda z: jnp.sum(z**2))
    >>> newton = pg.PhysicalGradient(1.0, inverse=pg.LinearizedInverse())
    >>> run = pg.minimize(objective, newton, jnp.array([1.0]), num_steps=1)
    >>> print(f"{run.x[0]:.4f}")
    -0.5000

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 10.3.
    """

    damping: Scalar = eqx.field(converter=not_negative("damping"), default=0.0)
    """Added to the diagonal of J^T B J."""
    solver: lx.AbstractLinearSolver | None = None
    """None: dense; otherwise a lineax least-squares solver."""
    relative: bool = eqx.field(converter=flag("relative"), static=True, default=False)
    """Whether the damping is a part of the largest eigenvalue of J^T B J."""

    def __check_init__(self) -> None:
        if not isinstance(self.solver, lx.AbstractLinearSolver | None):
            raise TypeError(
                f"solver must be None or a lineax solver, got {brief(self.solver)}"
            )
        if self.relative and self.solver is not None:
            raise ValueError(
                "relative damping needs the eigenvalues of a dense J^T B J, got a "
                "solver, too; give the damping in the units of J^T B J"
            )

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        root, dz, damping = metric.root(), z_target - state.z, self.damping
        dense = self.solver is None and fits(state.z.size, state.x)
        # without J t the rows are all there is
        if dense or (self.solver is None and not forward.forward_mode):
            mode = forward.forward_mode
            jacobian = dense_jacobian(forward, state.x, mode)
            matrix = root.as_matrix() @ jacobian
            if self.relative:
                damping = (damping * largest_value(matrix) ** 2).astype(dz.dtype)
            dx = damped_solution(matrix, root.mv(dz), damping)
            cost = jacobian_cost(state.z.size, state.x, mode)
        else:
            factor = root @ jacobian_operator(forward, state.x)
            searched = 0
            if self.relative:
                size, searched = _largest_value(factor, state.x), SEARCHES
                damping = (damping * size**2).astype(dz.dtype)
            target = jnp.concatenate([root.mv(dz), jnp.zeros_like(state.x)])
            operator = _damped(factor, damping)
            solver = self.solver or by_products(state.x)
            solution = lx.linear_solve(operator, target, solver, throw=False)
            dx, sweeps = solution.value, solution.stats.get("num_steps", 0) + searched
            cost = Evaluations(jvp=sweeps, vjp=sweeps)
            if not forward.forward_mode:
                cost = jacobian_cost(state.z.size, state.x, False)
        return report(forward, state.x + dx, z_target, cost, damping)

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """B1 = J^T B J + damping I."""
        through = super().handed_on(answer, forward, state, metric)
        return Metric(_damped(through.root(), answer.damping))


def _largest_value(factor: lx.AbstractLinearOperator, x: Flat) -> Scalar:
    """The largest singular value, nearly: a few steps of the power method."""
    transposed = factor.transpose()

    def closer(_: Any, vector: Flat) -> Flat:
        image = transposed.mv(factor.mv(vector))
        length = jnp.linalg.norm(image)
        return image / jnp.where(length > 0, length, 1.0)

    start = jax.random.normal(jax.random.key(0), x.shape, x.dtype)
    vector = lax.fori_loop(0, SEARCHES, closer, start / jnp.linalg.norm(start))
    return jnp.linalg.norm(factor.mv(vector))


def _damped(
    factor: lx.AbstractLinearOperator, damping: Scalar | float
) -> lx.AbstractLinearOperator:
    """The factor of R^T R + damping I: R stacked on sqrt(damping) I."""

    # the square root has no derivative at zero
    damped = damping > 0
    root = jnp.where(damped, jnp.sqrt(jnp.where(damped, damping, 1.0)), 0.0)

    def stacked(dx: Flat) -> Flat:
        return jnp.concatenate([factor.mv(dx), root.astype(dx.dtype) * dx])

    return lx.FunctionLinearOperator(stacked, factor.in_structure())
