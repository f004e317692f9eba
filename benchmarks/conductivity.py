"""A whole field from its noisy solution: conductivity in one dimension.

-(rho u')' = 1 on [0, 1], u = 0 at both ends: linear elements on 128 cells, so that u at
the 127 inner nodes of 129 determines rho in the cells all but for one number.
True rho = 1 + 0.5 sin(2 pi s) + 0.3 exp(-((s - 0.7) / 0.1)^2) at the middle of a cell;
all start at rho = 1. The source has one sign, so u rises and falls: u' has a zero
inside, and what u says of rho vanishes there. That is what makes it hard.

Given u, the equation is linear in rho: that is the exact inverse. Noise is Gaussian,
its standard deviation a part of the root mean square of u, known to
`RegularizedInverse` in some rows and left to cross-validation in others. It never sees
the true rho. Its rival does: L-BFGS
minimizes 1/2 |(u - data) / noise|^2 + weight / 2 |L (rho - 1)|^2 for each of five
weights, and the one nearest to the true rho counts.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax import lax
from report import show, verdict
from timing import duration, measure

import physgrad as pg

CELLS = 128
WIDTH = 1 / CELLS
LEVELS = (1e-4, 1e-3, 1e-2)
ITERATIONS = 200
ORDERS = {"identity": 0, "gradient": 1, "laplacian": 2}
# Penalty of the true rho over the misfit of pure noise: the rival's weights.
PARTS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def true_conductivity() -> np.ndarray:
    """rho in the middle of each cell."""
    s = (np.arange(CELLS) + 0.5) * WIDTH
    return 1 + 0.5 * np.sin(2 * np.pi * s) + 0.3 * np.exp(-(((s - 0.7) / 0.1) ** 2))


def solve(rho: jax.Array) -> jax.Array:
    """u at the inner nodes."""
    k, zero = rho / WIDTH**2, jnp.zeros(1, rho.dtype)
    lower = jnp.concatenate([zero, -k[1:-1]])
    upper = jnp.concatenate([-k[1:-1], zero])
    source = jnp.ones((CELLS - 1, 1), rho.dtype)
    return lax.linalg.tridiagonal_solve(lower, k[:-1] + k[1:], upper, source)[:, 0]


def exact_inverse(u: jax.Array) -> jax.Array:
    """The smoothest rho with that u: rho u' falls by the source, from a flux c.

    rho = (c - s) / u', with c so that rho differs least between neighbors: any other c
    makes a pole at the zero of u'.
    """
    slope = jnp.diff(jnp.pad(u, 1)) / WIDTH
    part, free = -WIDTH * jnp.arange(CELLS) / slope, 1 / slope
    rough, of_free = jnp.diff(part), jnp.diff(free)
    return part - (rough @ of_free) / (of_free @ of_free) * free


def relative_error(rho: Any) -> float:
    """|rho - true| / |true|, in L2."""
    truth = true_conductivity()
    return float(np.linalg.norm(np.asarray(rho) - truth) / np.linalg.norm(truth))


class Physical:
    """One step of PG with a rule, compiled once for all noise levels and seeds."""

    def __init__(self, rule: Callable[[float], pg.Inverse]):
        self.rule = rule
        self.step = eqx.filter_jit(self._step)

    @staticmethod
    def _step(rule: pg.Inverse, data: jax.Array) -> pg.Iterates:
        objective = pg.Objective(pg.Simulator(solve), pg.SquaredLoss(data))
        method = pg.PhysicalGradient(1.0, inverse=rule)
        return pg.iterate(objective, method, jnp.ones(CELLS), num_steps=1)

    def __call__(self, data: np.ndarray, noise: float) -> float:
        """The error of the rho reached; infinite for a run that failed."""
        ends = jax.block_until_ready(self.step(self.rule(noise), jnp.asarray(data)))
        if pg.Result.from_code(int(ends.result)).is_failure:
            return float("inf")
        return relative_error(ends.x)


@functools.cache
def _penalized(order: int) -> Callable:
    def value(rho: jax.Array, data: jax.Array, noise: float, weight: float):
        misfit = (solve(rho) - data) / noise
        rough = jnp.diff(rho - 1, order) if order else rho - 1
        return (misfit @ misfit + weight * rough @ rough) / 2

    return jax.jit(jax.value_and_grad(value))


class Descent:
    """SciPy's L-BFGS-B in float64 on misfit and penalty; the best of five weights."""

    def __init__(self, order: int):
        self.order = order

    def weights(self) -> list[float]:
        """Penalties of the true rho from 1e-3 to 10 times the misfit of pure noise."""
        rough = true_conductivity() - 1
        rough = np.diff(rough, self.order) if self.order else rough
        return [part * CELLS / float(rough @ rough) for part in PARTS]

    def run(self, data: np.ndarray, noise: float, weight: float) -> float:
        """The error after `ITERATIONS`."""
        both = _penalized(self.order)

        def function(rho: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = both(jnp.asarray(rho), data, noise, weight)
            return float(value), np.asarray(gradient)

        answer = scipy.optimize.minimize(
            function,
            np.ones(CELLS),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.05, None)] * CELLS,  # without them it leaves for rho < 0
            options={"maxiter": ITERATIONS, "maxfun": 4000, "ftol": 0.0, "gtol": 0.0},
        )
        return relative_error(answer.x)

    def __call__(self, data: np.ndarray, noise: float) -> float:
        """The smallest error of all weights."""
        return min(self.run(data, noise, weight) for weight in self.weights())


METHODS: dict[str, Callable[[np.ndarray, float], float]] = {
    "PG, exact inverse": Physical(lambda _: pg.AnalyticInverse(exact_inverse)),
    **{
        f"PG, regularized, {name}, noise known": Physical(
            lambda noise, name=name: pg.RegularizedInverse(noise, operator=name)
        )
        for name in ORDERS
    },
    **{
        f"PG, regularized, {name}, from the data": Physical(
            lambda noise, name=name: pg.RegularizedInverse(operator=name)
        )
        for name in ORDERS
    },
    **{
        f"L-BFGS, Tikhonov, {name}, best of 5": Descent(order)
        for name, order in ORDERS.items()
    },
}


def main(quick: bool) -> None:
    """Print what one reconstruction takes, then the errors for each noise level."""
    jax.config.update("jax_enable_x64", True)
    seeds = 2 if quick else 10
    u = np.asarray(solve(jnp.asarray(true_conductivity())))
    size = float(np.sqrt(np.mean(u**2)))
    print(
        f"{CELLS} cells, float64, start rho = 1 (error {relative_error(1.0):.2f}). "
        f"Noise relative to the root mean square of u, {size:.3g}; medians over "
        f"{seeds} seeds of the relative L2 error of rho.\n"
    )
    medians = {name: [] for name in METHODS}
    failures = dict.fromkeys(METHODS, 0)
    draws = np.random.default_rng(0).standard_normal((seeds, u.size)) * size
    _times(u + LEVELS[1] * draws[0], LEVELS[1] * size)
    clean = METHODS["PG, exact inverse"](u, 0.0)
    goal = f"Without noise, one step of PG with the exact inverse: {clean:.1e}"
    print(f"{verdict(f'{goal}, at most 1e-2', clean <= 1e-2)}\n")
    for level in LEVELS:
        for name, method in METHODS.items():
            errors = [method(u + level * draw, level * size) for draw in draws]
            failures[name] += sum(np.isinf(errors))
            medians[name].append(statistics.median(errors))
    show(
        ["method", *(f"noise {level:.0e}" for level in LEVELS), "failed"],
        [
            [name, *(f"{error:.4f}" for error in errors), failures[name]]
            for name, errors in medians.items()
        ],
    )
    _judge(medians)


def _judge(medians: dict[str, list[float]]) -> None:
    """Ours against the rival: with the same operator, and with the usual one."""
    for ours in ("noise known", "from the data"):
        for name in ORDERS:
            theirs = medians[f"L-BFGS, Tikhonov, {name}, best of 5"]
            best = medians[f"PG, regularized, laplacian, {ours}"]
            for level, a, b in zip(LEVELS, best, theirs, strict=True):
                goal = (
                    f"noise {level:.0e}, laplacian, {ours}, over L-BFGS with {name}: "
                    f"{a / b:.2f}, at most 0.5"
                )
                print(f"- {verdict(goal, a <= 0.5 * b)}")
    print()


def _times(data: np.ndarray, noise: float) -> None:
    """What one reconstruction takes, and the first one, which compiles."""
    rows = []
    for name, method in METHODS.items():
        began = time.perf_counter()
        method(data, noise)
        first = time.perf_counter() - began
        times = measure(functools.partial(method, data, noise), samples=5, budget=10.0)
        rows.append([name, times, duration(max(first - times.median, 0.0))])
    show(["method", f"time, noise {LEVELS[1]:.0e}", "compile"], rows)
