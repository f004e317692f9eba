"""The transposed Jacobian in place of the inverse: what gradient descent does."""

from __future__ import annotations

import jax

from physgrad.inverses.certificate import report
from physgrad.inverses.flat import Flat, FlatMap
from physgrad.inverses.rule import (
    Evaluations,
    Inverse,
    Metric,
    PullBack,
    identity_metric,
)
from physgrad.inverses.state import State


class TransposedInverse(Inverse):
    """x+ = x + J^T B (z~ - z): the step of gradient descent, as a pull-back.

    With B = I and z~ - z = -eta dL/dz this is x - eta J^T dL/dz, gradient descent with
    learning rate eta. It promises nothing about P(x+): the residual is reported, its
    tolerance is infinite. The metric it hands on is I.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 2 * x, lambda z: jnp.sum(z**2))
    >>> rule = pg.TransposedInverse()
    >>> descent = pg.PhysicalGradient(0.1, inverse=rule, metric="gradient")
    >>> run = pg.minimize(objective, descent, jnp.array([1.0]), num_steps=1)
    >>> print(f"{run.x[0]:.4f}")                              # 1 - 0.1 * 8
    0.2000
    """

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        root = metric.root()
        pulled = root.transpose().mv(root.mv(z_target - state.z))  # B (z~ - z)
        _, transposed = jax.vjp(forward, state.x)
        x = state.x + transposed(pulled)[0]
        return report(forward, x, z_target, Evaluations(vjp=1))

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """B1 = I."""
        del answer, forward, metric
        return identity_metric(state.x)
