"""How well a fit knows its parameters: the covariance of x from the residuals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from physgrad.inverses.jacobian import dense_jacobian
from physgrad.inverses.settings import brief
from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.trajectory import Covariance

# An entry of x that moves by more than this part along what the data do not show.
UNSEEN = 1e-6


def covariance(
    objective: Objective, x: PyTree, *, absolute: bool = False
) -> Covariance:
    """s^2 (J^T W J)^-1 at x, with s^2 = L / (data - rank), the variance of the data.

    W are the weights of the loss. Data of weight zero do not count. Where the data do
    not determine all of x, the pseudo-inverse is taken of what they do, and entries
    that move along what they do not show have an infinite deviation. Entries that a
    bound holds where they are have none: the others are those of a fit without them.

    **Arguments:**

    - `x`: where the fit ended, a PyTree like x0.
    - `absolute`: whether the weights are one over the variances of the data, known
      beforehand; then s^2 is 1, and is not taken from the residuals.

    **Raises:** `TypeError` for a loss without residuals; `ValueError` where there are
    no more data than parameters, unless `absolute`, or for a Jacobian above 1 GiB.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> data = jnp.array([1.0, 2.0, 3.0])
    >>> mean = pg.Objective(lambda x: x * jnp.ones(3), pg.SquaredLoss(data))
    >>> found = pg.covariance(mean, jnp.array(2.0))
    >>> print(f"{found.deviations:.3f}", found.rank, found.variance)   # 1 / sqrt(3)
    0.577 1 1.0

    **Source:** Seber, Wild, Nonlinear Regression, 1989, section 2.1.
    """
    if not isinstance(objective.loss, SquaredLoss):
        raise TypeError(
            "a covariance needs the residuals of a SquaredLoss, got the loss "
            f"{brief(objective.loss)}"
        )
    simulator, loss = objective.simulator, objective.loss
    x = jax.tree.map(jnp.asarray, x)
    flat, unravel = ravel_pytree(x)

    def residuals(flat: jax.Array) -> jax.Array:
        return ravel_pytree(loss.residual(simulator(unravel(flat))))[0]

    misfit = np.asarray(residuals(flat), float)
    flat_objective, _ = objective.flatten(x)
    forward_mode = flat_objective.simulator.forward_mode
    jacobian = np.asarray(dense_jacobian(residuals, flat, forward_mode), float)
    count = int(jnp.sum(ravel_pytree(loss.metric_root(simulator(x)))[0] > 0))

    held = np.asarray(flat_objective.within_held(flat, flat_objective.gradient(flat)))
    jacobian = jacobian[:, ~held]
    units = np.linalg.norm(jacobian, axis=0)
    units = np.where(units > 0, units, 1.0)
    _, values, right = np.linalg.svd(jacobian / units, full_matrices=True)
    floor = max(jacobian.shape) * float(jnp.finfo(flat.dtype).eps)
    rank = int(np.sum(values > floor * values.max(initial=0.0)))
    if not absolute and count <= rank:
        raise ValueError(
            f"{count} data and {rank} parameters that they determine leave nothing "
            "to estimate the variance of the data from: give more data, or the "
            "variances as weights, one over each, and absolute=True"
        )
    variance = 1.0 if absolute else float(misfit @ misfit) / (count - rank)
    back = right[:rank].T / values[:rank] / units[:, None]
    matrix = np.zeros((flat.size, flat.size))
    matrix[np.ix_(~held, ~held)] = variance * back @ back.T
    deviations = np.sqrt(np.diag(matrix))
    hidden = np.linalg.norm(right[rank:], axis=0) > UNSEEN
    deviations[~held] = np.where(hidden, np.inf, deviations[~held])
    return Covariance(
        matrix,
        jax.tree.map(np.asarray, unravel(jnp.asarray(deviations, flat.dtype))),
        rank,
        variance,
        count - rank,
    )
