"""The notebook's own way to run: one eager JAX call after another in a Python loop.

Written anew from the notebook that physgrad grew out of, and deliberately not improved:
`jax.grad` and `jax.jacobian` twice are built anew in each step, nothing is compiled as
a whole, and the numerical inverse is SciPy's L-BFGS-B with difference quotients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import fmin_l_bfgs_b

Point = Any
"""A pair of numbers: a JAX array, or a NumPy array where SciPy has returned it."""


def square(x: Point) -> jax.Array:
    """z = [x0, x1^2]."""
    return jnp.array([x[0], x[1] * x[1]])


def loss_of_z(z: Point) -> jax.Array:
    """L = |z|^2."""
    return jnp.sum(jnp.square(z))


def loss_of_x(x: Point) -> jax.Array:
    """L(z(x))."""
    return loss_of_z(square(x))


def gradient_descent(x: Point, eta: float) -> Point:
    """One step x - eta dL/dx."""
    return x - eta * jax.grad(loss_of_x)(x)


def newton(x: Point, eta: float) -> Point:
    """One step x - eta H^-1 dL/dx."""
    gradient = jax.grad(loss_of_x)(x)
    hessian = jax.jacobian(jax.jacobian(loss_of_x))(x)
    return x - eta * jnp.matmul(jnp.linalg.inv(hessian), gradient)


def physical_gradient(x: Point, eta: float) -> Point:
    """One step of Newton's method in z, pulled back by the square root."""
    z = _newton_in_z(x, eta)
    return jnp.array([z[0], jnp.power(z[1], 0.5)])


def numerical_physical_gradient(x: Point, eta: float) -> Point:
    """One step of Newton's method in z, pulled back by minimizing |z(x) - z~|^2."""
    z_target = np.array(_newton_in_z(x, eta))

    def misfit(x: np.ndarray) -> float:
        return np.sum(np.square(np.array([x[0], x[1] * x[1]]) - z_target))

    return fmin_l_bfgs_b(misfit, np.array(x), approx_grad=True)[0]


def _newton_in_z(x: Point, eta: float) -> jax.Array:
    z = square(x)
    gradient = jax.grad(loss_of_z)(z)
    hessian = jax.jacobian(jax.jacobian(loss_of_z))(z)
    return z - eta * jnp.matmul(jnp.linalg.inv(hessian), gradient)


def trajectory(
    step: Callable[[Point, float], Point], eta: float, num_steps: int
) -> list[Point]:
    """All iterates from (3, 3), the start included."""
    history = [jnp.asarray([3.0, 3.0])]
    for _ in range(num_steps):
        history.append(step(history[-1], eta))
    return history
