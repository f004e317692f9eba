"""SciPy's solvers on the toy, behind the same face as the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from rival_solvers import Rival, Task, fewest, loss, residual


class Functions(NamedTuple):
    """Loss and residual with their derivatives, NumPy in and out."""

    value_and_gradient: Callable
    hessian: Callable
    residual: Callable
    jacobian: Any  # SciPy's own annotation forgets that it may be a function


def from_jax(dtype: Any) -> Functions:
    """Jitted JAX functions in `dtype`; SciPy itself always computes in float64."""

    def on_host(function: Callable) -> Callable:
        jitted = jax.jit(function)
        return lambda x: np.asarray(jitted(jnp.asarray(x, dtype)), float)

    both = jax.jit(jax.value_and_grad(loss))

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(jnp.asarray(x, dtype))
        return float(value), np.asarray(gradient, float)

    return Functions(
        value_and_gradient,
        on_host(jax.hessian(loss)),
        on_host(residual),
        on_host(jax.jacfwd(residual)),
    )


def by_hand(_: Any) -> Functions:
    """The same written out in NumPy, in float64 whatever is asked for."""

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = x.tolist()
        return a * a + b**4, np.array([2 * a, 4 * b**3])

    return Functions(
        value_and_gradient,
        lambda x: np.array([[2.0, 0.0], [0.0, 12 * x[1] ** 2]]),
        lambda x: np.array([x[0], x[1] ** 2]),
        lambda x: np.array([[1.0, 0.0], [0.0, 2 * x[1]]]),
    )


class Scipy(Rival):
    """One of the functions below, with functions from JAX or written by hand."""

    def __init__(self, run: Callable[[Functions, np.ndarray, int], Any], source: Any):
        self.run, self.source = run, source

    def steps(self, task: Task) -> int | None:
        functions, x0 = self.source(task.dtype), np.asarray(task.start)
        points = (self.run(functions, x0, n).x for n in itertools.count(1))
        return fewest(points, task.goal)

    def solver(self, task: Task, steps: int) -> Callable[[], tuple[Any, Any]]:
        functions, x0 = self.source(task.dtype), np.asarray(task.start)

        def call() -> tuple[Any, Any]:
            answer = self.run(functions, x0, steps)
            return answer.x, answer.nfev

        return call


def minimize(method: str, **tolerances: float) -> Callable:
    """`scipy.optimize.minimize` with a gradient, and a Hessian where one is taken."""

    def run(functions: Functions, x0: np.ndarray, steps: int) -> Any:
        return scipy.optimize.minimize(
            functions.value_and_gradient,
            x0,
            jac=True,
            hess=functions.hessian if method == "Newton-CG" else None,
            method=method,
            options={"maxiter": steps, **tolerances},
        )

    return run


def least_squares(method: Any) -> Callable:
    """`scipy.optimize.least_squares` with a Jacobian."""

    def run(functions: Functions, x0: np.ndarray, steps: int) -> Any:
        return scipy.optimize.least_squares(
            functions.residual,
            x0,
            functions.jacobian,
            method=method,
            max_nfev=steps,
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
        )

    return run
