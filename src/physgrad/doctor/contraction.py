"""What one step of each method leaves of the distance, to first order near x0."""

from __future__ import annotations

import dataclasses

import numpy as np

from physgrad.doctor.directions import Spectrum
from physgrad.doctor.subject import Matrix

# Eigenvalues of the Hessian below this part of the largest are rounding.
ROUNDING = 1e-14
ASSUMPTION = (
    "near x0, where P is linear and L is its quadratic model, and along what z shows "
    "of x"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Contraction:
    """Predicted |x_after - x*| / |x_before - x*| of one step, near x0.

    H = J^T H_L J at x0, with the condition number k on what z shows of x.
    """

    condition: float
    """k."""
    learning_rate: float
    """The best fixed one of gradient descent, 2 / (largest + smallest)."""
    gradient_descent: float
    """(k - 1) / (k + 1)."""
    newton: float
    gauss_newton: float
    physical: float | None
    """None where the inverse is none, or promises nothing."""
    assumption: str
    """In words."""
    gradient_step: Matrix
    """eta J^T H_L, (x, z): from z to a step of gradient descent in x."""


def predict(
    spectrum: Spectrum, jacobian: Matrix, hessian: np.ndarray, *, dtype_eps: float
) -> Contraction | None:
    """The contraction of each method; None where L is not convex there, or flat.

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 3.3.
    """
    if not spectrum.rank or not np.all(np.isfinite(hessian)):
        return None
    if hessian.ndim == 1:
        if not np.all(hessian >= 0):
            return None
        root = np.sqrt(hessian)[:, None] * jacobian
    else:
        values, vectors = np.linalg.eigh(hessian)
        if values[0] < -dtype_eps * len(values) * np.abs(values).max():
            return None
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * (vectors.T @ jacobian)
    singular = np.linalg.svd(root, compute_uv=False)
    floor = max(root.shape) * dtype_eps * singular[0]
    seen = singular[singular > max(floor, ROUNDING * singular[0])] ** 2
    if not len(seen):
        return None
    rate = 2 / (seen[0] + seen[-1])
    weighted = jacobian.T * hessian if hessian.ndim == 1 else jacobian.T @ hessian
    k = float(seen[0] / seen[-1])
    return Contraction(
        k, float(rate), (k - 1) / (k + 1), 0.0, 0.0, 0.0, ASSUMPTION, rate * weighted
    )
