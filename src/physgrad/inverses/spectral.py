"""Powers of the singular values of the Jacobian in place of the inverse."""

from __future__ import annotations

import equinox as eqx
import lineax as lx
from jaxtyping import Array, Float

from physgrad.inverses.certificate import report
from physgrad.inverses.flat import Flat, FlatMap, Scalar
from physgrad.inverses.jacobian import dense_jacobian, jacobian_cost
from physgrad.inverses.rule import Inverse, Metric, PullBack
from physgrad.inverses.settings import finite, fraction, optional
from physgrad.inverses.state import State
from physgrad.spectral import Power, filtered_solution, metric_factor


class SpectralInverse(Inverse):
    """x+ = x + V S^-power U^T B^1/2 (z~ - z), with B^1/2 J = U S V^T.

    The dial between the rules that need only J: power 1 is the pseudo-inverse
    (Gauss-Newton), 1/2 the half inverse, 0 the orthogonalized step, -1 the transposed
    Jacobian (gradient descent). It promises nothing about P(x+): the residual is
    reported, its tolerance is infinite. The metric it hands on is V S^(1+power) V^T,
    which can be differentiated once: a second derivative of a run of a chain with this
    rule is refused (`NotImplementedError`).

    **Arguments:**

    - `power`: p, a finite number.
    - `truncation`: singular values up to this part of the largest are dropped; None
        for those that are rounding, max(z, x) eps. Dropped directions stay where they
        are, so that a run may end where J^T dL/dz is not zero in them.

    **Raises:** `TypeError`, `ValueError` for numbers that are not finite, or a
    truncation that is not between 0 and 1; `ValueError` for a Jacobian above 1 GiB.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 4 * x, lambda z: jnp.sum(z**2))
    >>> half = pg.PhysicalGradient(0.5, pg.SpectralInverse(power=1 / 2), "gradient")
    >>> run = pg.minimize(objective, half, jnp.array([3.0]), 1)
    >>> print(f"{run.x[0]:.4f}")                        # 3 - 0.5 * 24 / 4^(1/2)
    -3.0000

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022, section 2.
    """

    power: Scalar = eqx.field(converter=finite("power"))
    """p of S^-p."""
    truncation: Float[Array, ""] | None = eqx.field(
        converter=optional(fraction("truncation")), default=None
    )
    """Relative to the largest singular value; None: rounding."""

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        misfit = metric.root().mv(z_target - state.z)
        matrix = _weighted_jacobian(forward, state, metric)
        dx = filtered_solution(matrix, misfit, Power(-self.power), self.truncation)
        cost = jacobian_cost(state.z.size, state.x, forward.forward_mode)
        return report(forward, state.x + dx, z_target, cost)

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """B1 = V S^(1+p) V^T by its factor S^((1+p)/2) V^T."""
        del answer
        matrix = _weighted_jacobian(forward, state, metric)
        gain = Power((1 + self.power) / 2)
        factor = metric_factor(matrix, gain, self.truncation)
        return Metric(lx.MatrixLinearOperator(factor.astype(state.x.dtype)))


def _weighted_jacobian(
    forward: FlatMap, state: State, metric: Metric
) -> Float[Array, "weighted x"]:
    """B^1/2 J."""
    jacobian = dense_jacobian(forward, state.x, forward.forward_mode)
    return metric.root().as_matrix() @ jacobian
