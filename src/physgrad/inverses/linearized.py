"""The pseudo-inverse of the Jacobian in place of the inverse: Gauss-Newton."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import lineax as lx

from physgrad.inverses.certificate import report
from physgrad.inverses.flat import Flat, FlatMap, Scalar
from physgrad.inverses.jacobian import dense_jacobian, jacobian_cost
from physgrad.inverses.rule import Evaluations, Inverse, Metric, PullBack
from physgrad.inverses.settings import brief, not_negative
from physgrad.inverses.state import State
from physgrad.spectral import damped_solution


class LinearizedInverse(Inverse):
    """x+ = x + (J^T B J + damping I)^+ J^T B (z~ - z).

    Without damping the pseudo-inverse of J in the metric B: the step of Gauss-Newton;
    with damping, that of Levenberg-Marquardt. Singular directions of J are left alone
    (least norm). It promises nothing about P(x+): the residual is reported, its
    tolerance is infinite. The metric it hands on is J^T B J + damping I.

    **Arguments:**

    - `damping`: zero or a positive number, in the units of J^T B J.
    - `solver`: None for a dense singular value decomposition of B^1/2 J, or a lineax
        least-squares solver that needs only products with J, such as
        `lineax.LSMR(rtol=1e-6, atol=0.0)`, for Jacobians that do not fit in memory.

    **Raises:** `ValueError` for a negative damping, or a dense Jacobian above 1 GiB.

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

    def __check_init__(self) -> None:
        if not isinstance(self.solver, lx.AbstractLinearSolver | None):
            raise TypeError(
                f"solver must be None or a lineax solver, got {brief(self.solver)}"
            )

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        root, dz = metric.root(), z_target - state.z
        if self.solver is None:
            jacobian = dense_jacobian(forward, state.x)
            factor = lx.MatrixLinearOperator(root.as_matrix() @ jacobian)
            dx = damped_solution(factor.as_matrix(), root.mv(dz), self.damping)
            handed_on = _damped(factor, self.damping)
            cost = jacobian_cost(state.z.size, state.x)
        else:
            factor = root @ lx.JacobianLinearOperator(lambda x, _: forward(x), state.x)
            handed_on = _damped(factor, self.damping)
            target = jnp.concatenate([root.mv(dz), jnp.zeros_like(state.x)])
            solution = lx.linear_solve(handed_on, target, self.solver, throw=False)
            dx, sweeps = solution.value, solution.stats.get("num_steps", 0)
            cost = Evaluations(jvp=sweeps, vjp=sweeps)
        return report(forward, state.x + dx, z_target, Metric(handed_on), cost)


def _damped(
    factor: lx.AbstractLinearOperator, damping: Scalar
) -> lx.AbstractLinearOperator:
    """The factor of R^T R + damping I: R stacked on sqrt(damping) I."""

    def stacked(dx: Flat) -> Flat:
        return jnp.concatenate([factor.mv(dx), jnp.sqrt(damping) * dx])

    return lx.FunctionLinearOperator(stacked, factor.in_structure())
