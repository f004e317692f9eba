"""Half-inverse gradients: the physical step with half of the inverse."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float

from physgrad.inverses.flat import Scalar
from physgrad.inverses.settings import fraction, optional, positive
from physgrad.inverses.spectral import SpectralInverse
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import ZMetric, as_z_metric
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.physical_gradient import physical_step


class HalfInverse(Optimizer):
    """x+ = x - step_size V S^-1/2 U^T dL/dz, with J = U S V^T.

    Halfway between Gauss-Newton, S^-1, and gradient descent, S^1: the physical step
    with `SpectralInverse(power=1/2)` and, as published, B = I. The same as
    -step_size J^T (J J^T)^-3/4 dL/dz.

    **Arguments:**

    - `step_size`: eta, in z-space. The gradient is that of the loss as it stands: a
        mean over a batch needs a larger one than a sum.
    - `truncation`: singular values up to this part of the largest are dropped; None
        for those that are rounding.
    - `metric`: B, as in `PhysicalGradient`; "newton" for steps that do not change when
        the loss is scaled.

    **Raises:** `ValueError`, `TypeError` for a step size that is not positive, a
    truncation not between 0 and 1, another metric, or a Jacobian above 1 GiB.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 4 * x, lambda z: jnp.sum(z**2) / 2)
    >>> run = pg.minimize(objective, pg.HalfInverse(0.25), jnp.array([3.0]), 1)
    >>> print(f"{run.x[0]:.4f}")                        # 3 - 0.25 * 12 / 4^(1/2)
    1.5000

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022.
    """

    step_size: Scalar = eqx.field(converter=positive("step_size"))
    truncation: Float[Array, ""] | None = eqx.field(
        converter=optional(fraction("truncation")), default=None
    )
    metric: ZMetric = eqx.field(converter=as_z_metric, default="gradient")

    def init(self, objective: FlatObjective, state: State) -> None:
        return None

    def update(
        self, objective: FlatObjective, state: State, memory: None
    ) -> tuple[Step, None]:
        rule = SpectralInverse(0.5, self.truncation)
        way = self.metric.step(objective.loss, state.z)
        return physical_step(objective, state, way, self.step_size, rule), None
