"""The transposed Jacobian in place of the inverse: what gradient descent does."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from physgrad.inverses.certificate import report
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, Scalar, largest
from physgrad.inverses.rule import Inverse, Metric, PullBack, identity_metric
from physgrad.inverses.settings import flag
from physgrad.inverses.state import State


class TransposedInverse(Inverse):
    """x+ = x + J^T B (z~ - z): the step of gradient descent, as a pull-back.

    With B = I and z~ - z = -eta dL/dz this is x - eta J^T dL/dz, gradient descent with
    learning rate eta. It promises nothing about P(x+): the residual is reported, its
    tolerance is infinite. The metric it hands on is I.

    **Arguments:**

    - `fitted`: whether to multiply the step by the length alpha that brings J dx
        nearest to z~ - z, in the metric B: the Cauchy point, which suits any units.
        The metric handed on is then I / alpha.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 2 * x, lambda z: jnp.sum(z**2))
    >>> rule = pg.TransposedInverse()
    >>> descent = pg.PhysicalGradient(0.1, inverse=rule, metric="gradient")
    >>> run = pg.minimize(objective, descent, jnp.array([1.0]), num_steps=1)
    >>> print(f"{run.x[0]:.4f}")                              # 1 - 0.1 * 8
    0.2000

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 4.1.
    """

    fitted: bool = eqx.field(converter=flag("fitted"), static=True, default=False)
    """Whether to scale the step to the Cauchy point."""

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        root = metric.root()
        pulled = root.transpose().mv(root.mv(z_target - state.z))  # B (z~ - z)
        _, transposed = jax.vjp(forward, state.x)
        (dx,) = transposed(pulled)
        if not self.fitted:
            return report(forward, state.x + dx, z_target, Evaluations(vjp=1))
        # alpha = |d|^2 / |J d|_B^2; d and J d in units of their own, so that no square
        # can overflow or vanish
        d = dx / _or_one(largest(dx))
        image, pushing = _pushed(forward, state, d)
        image = root.mv(image)
        unit = _or_one(largest(image))
        squares = jnp.sum((image / unit) ** 2) / _or_one(d @ d)
        x = state.x + dx / unit / unit / _or_one(squares)
        cost = Evaluations(vjp=1) + pushing
        return report(forward, x, z_target, cost, squares * unit * unit)

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """B1 = I, or I / alpha."""
        del forward, metric
        identity = identity_metric(state.x)
        if not self.fitted:
            return identity
        return Metric(identity.root() * jnp.sqrt(answer.damping))


def _pushed(forward: FlatMap, state: State, d: Flat) -> tuple[Flat, Evaluations]:
    """J d, by a finite difference where the simulator has no J t: a length needs no
    more."""
    if forward.forward_mode:
        return jax.jvp(forward, (state.x,), (d,))[1], Evaluations(jvp=1)
    h = jnp.sqrt(jnp.finfo(d.dtype).eps) * _or_one(largest(state.x))
    return (forward(state.x + h * d) - state.z) / h, Evaluations(forward=1)


def _or_one(size: Scalar) -> Scalar:
    return jnp.where(size > 0, size, 1.0)
