"""The step in z, -B^-1 dL/dz, and the metric B that it is taken in."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, Scalar, real_array
from physgrad.inverses.rule import Code, Metric, identity_metric
from physgrad.inverses.settings import brief, describe, flag, not_negative
from physgrad.objective.losses import FlatLoss
from physgrad.results import Result

# Up to so many entries in z the Hessian of the loss is dense.
DENSE_HESSIAN = 256


class ZStep(NamedTuple):
    """A step in z, and what the pull-back needs to know of it."""

    dz: Flat
    """-B^-1 dL/dz, to be added."""
    metric: Metric
    """B, by its factor."""
    result: Code
    """`singular` where B^-1 does not exist, else `completed`."""
    evaluations: Evaluations
    """What the step cost."""


class ZMetric(eqx.Module):
    """The metric B of the step in z: which multiple of dL/dz is the way to go."""

    def __repr__(self) -> str:
        return describe(self)

    @abc.abstractmethod
    def step(self, loss: FlatLoss, z: Flat) -> ZStep:
        """-B^-1 dL/dz at z, with B."""


def _completed() -> Code:
    return jnp.asarray(Result.completed.code)


class GradientMetric(ZMetric):
    """B = I: the step in z is the negative gradient, -dL/dz. Short: "gradient"."""

    def step(self, loss: FlatLoss, z: Flat) -> ZStep:
        return ZStep(-loss.gradient(z), identity_metric(z), _completed(), Evaluations())


def _positive_definite(value: Any) -> Array:
    array = real_array(value, "metric")
    if isinstance(array, Tracer):
        return array
    matrix = np.asarray(array)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"metric must be a square matrix, got shape {matrix.shape}")
    if not np.all(np.isfinite(matrix)):
        raise ValueError("metric must be finite, got NaN or infinity in it")
    if not np.allclose(matrix, matrix.T):
        raise ValueError("metric must be symmetric, got a matrix that is not")
    least = np.linalg.eigvalsh(matrix)[0]
    if not least > 0:
        raise ValueError(
            f"metric must be positive definite, got the eigenvalue {least:.3g}"
        )
    return array


class MatrixMetric(ZMetric):
    """B = a positive definite matrix of the user's, shape (z entries, z entries).

    **Raises:** `ValueError` for a matrix that is not square, symmetric and positive
    definite; when it is used, for one that does not fit z.
    """

    matrix: Float[Array, "z z"] = eqx.field(converter=_positive_definite)
    """B."""

    def step(self, loss: FlatLoss, z: Flat) -> ZStep:
        if self.matrix.shape[0] != z.size:
            raise ValueError(
                f"metric must have {z.size} rows like z, got {self.matrix.shape[0]}"
            )
        upper = jnp.linalg.cholesky(self.matrix, upper=True)
        dz = -jax.scipy.linalg.cho_solve((upper, False), loss.gradient(z))
        return ZStep(
            dz, Metric(lx.MatrixLinearOperator(upper)), _completed(), Evaluations()
        )


class NewtonMetric(ZMetric):
    """B = H_L, the Hessian of the loss: the step in z is Newton's. Short: "newton".

    Where H_L is singular or indefinite there is no Newton step, and the run ends as
    `singular`. Two ways out: `damping` lifts B to H + damping max|diag H| I, and
    `absolute` takes |H|, the Hessian with the magnitudes of its eigenvalues, which
    leads away from saddles. Both leave the step alone when L is scaled.

    Dense up to 256 entries in z; above, conjugate gradients with Hessian-vector
    products. A loss that knows its own Newton step is asked for it instead.

    **Arguments:**

    - `damping`: zero or positive, relative to the size of H: its largest diagonal
        entry; the largest entry of |H 1| where H is not dense.
    - `absolute`: whether to take |H| (dense only).

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 3.4;
    Dauphin et al., "Identifying and attacking the saddle point problem", 2014.
    """

    damping: Scalar = eqx.field(converter=not_negative("damping"), default=0.0)
    """Relative to the largest diagonal entry of H."""
    absolute: bool = eqx.field(converter=flag("absolute"), static=True, default=False)
    """Take |H|."""

    def step(self, loss: FlatLoss, z: Flat) -> ZStep:
        known = loss.known_newton_step(z)
        if known is not None and not self.absolute:
            return self._known(loss, z, known)
        if z.size <= DENSE_HESSIAN:
            return self._dense(loss, z)
        if self.absolute:
            raise ValueError(
                f"absolute=True needs a dense Hessian, of at most {DENSE_HESSIAN} "
                f"entries in z, got {z.size}; use damping"
            )
        return self._conjugate_gradients(loss, z)

    def _known(self, loss: FlatLoss, z: Flat, dz: Flat) -> ZStep:
        """The loss's own step; with damping, -B^-1 dL/dz from its own B, lifted."""
        root = loss.known_metric_root(z)
        if root is None:
            if z.size > DENSE_HESSIAN:
                return ZStep(dz, Metric(None), _completed(), Evaluations())
            values, vectors = jnp.linalg.eigh(jax.hessian(loss)(z))
            root = jnp.sqrt(jnp.maximum(values, 0.0))
            lifted = jnp.sqrt(root**2 + self.damping * jnp.max(root) ** 2)
            factor = lx.MatrixLinearOperator(lifted[:, None] * vectors.T)
            gradient = vectors.T @ loss.gradient(z)
            damped = -vectors @ (gradient / jnp.where(lifted > 0, lifted, 1.0) ** 2)
        else:
            lifted = jnp.sqrt(root**2 + self.damping * jnp.max(root) ** 2)
            factor = lx.DiagonalLinearOperator(lifted)
            damped = -loss.gradient(z) / jnp.where(lifted > 0, lifted, 1.0) ** 2
        dz = jnp.where(self.damping > 0, damped, dz)
        return ZStep(dz, Metric(factor), _completed(), Evaluations())

    def _dense(self, loss: FlatLoss, z: Flat) -> ZStep:
        gradient, hessian = loss.gradient(z), jax.hessian(loss)(z)
        lift = self.damping * jnp.max(jnp.abs(jnp.diag(hessian)))
        hessian = hessian + lift * jnp.eye(z.size, dtype=z.dtype)
        if self.absolute:
            values, vectors = jnp.linalg.eigh(hessian)
            hessian = (vectors * jnp.abs(values)) @ vectors.T
        # Cholesky of H scaled to a unit diagonal, so that entries of z in different
        # units do not make H look singular
        diagonal = jnp.diag(hessian)
        scale = jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1.0))
        upper = jnp.linalg.cholesky(hessian / jnp.outer(scale, scale), upper=True)
        pivots = jnp.diag(upper) ** 2
        floor = 16 * z.size * jnp.finfo(z.dtype).eps
        definite = jnp.all(diagonal > 0) & jnp.all(pivots > floor)
        upper = jnp.where(definite, upper, jnp.eye(z.size, dtype=z.dtype))

        def solve(vector: Flat) -> Flat:
            return jax.scipy.linalg.cho_solve((upper, False), vector / scale) / scale

        # refined once: a full step on a quadratic loss must end at its minimum, not a
        # rounding beyond, where an inverse such as a square root may not reach
        dz = -solve(gradient)
        dz = dz - solve(gradient + hessian @ dz)
        finite = jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(hessian))
        metric = Metric(lx.MatrixLinearOperator(upper * scale))
        result = _singular_unless(definite, finite)
        return ZStep(dz, metric, result, Evaluations(hessian=1))

    def _conjugate_gradients(self, loss: FlatLoss, z: Flat) -> ZStep:
        gradient = loss.gradient(z)

        def product(v: Flat) -> Flat:
            return jax.jvp(loss.gradient, (z,), (v,))[1]

        size = jnp.max(jnp.abs(product(jnp.ones_like(z))))

        def damped(v: Flat) -> Flat:
            return product(v) + self.damping * size * v

        operator = lx.FunctionLinearOperator(
            damped, jax.eval_shape(lambda: z), lx.positive_semidefinite_tag
        )
        rtol = float(jnp.finfo(z.dtype).eps) ** 0.75
        solution = lx.linear_solve(operator, gradient, lx.CG(rtol, 0.0), throw=False)
        dz = -solution.value
        solved = solution.result == lx.RESULTS.successful
        downhill = (gradient @ dz < 0) | jnp.all(gradient == 0)
        convex = (dz @ damped(dz) > 0) | jnp.all(dz == 0)
        finite = jnp.all(jnp.isfinite(gradient))
        result = _singular_unless(solved & downhill & convex, finite)
        cost = Evaluations(hessian=solution.stats["num_steps"])
        return ZStep(jnp.where(solved, dz, 0.0), Metric(None), result, cost)


def _singular_unless(definite: Array, finite: Array) -> Code:
    return jnp.where(
        finite,
        jnp.where(definite, Result.completed.code, Result.singular.code),
        Result.non_finite.code,
    )


def as_z_metric(value: Any) -> ZMetric:
    """The metric for "newton", "gradient", a matrix, or a `ZMetric` itself."""
    named = {"newton": NewtonMetric, "gradient": GradientMetric}
    if isinstance(value, ZMetric):
        return value
    if isinstance(value, str) and value in named:
        return named[value]()
    if isinstance(value, jax.Array | np.ndarray):
        return MatrixMetric(value)
    hint = ""
    if isinstance(value, type) and issubclass(value, ZMetric):
        hint = f"; make one: {value.__name__}(...)"
    raise (ValueError if isinstance(value, str) else TypeError)(
        "metric must be 'newton', 'gradient', a positive definite matrix or a "
        f"NewtonMetric, got {brief(value)}{hint}"
    )
