"""What the physical loss costs beyond the plain one, and a half-inverse step.

A batch of outputs x, the gradient of the mean loss with respect to all of them: plain,
physical, and the inverse alone. The half inverse of a Jacobian of 128 x 1,444, as for
the oscillators, against the decomposition in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from report import show, verdict
from timing import alternate

import physgrad as pg
from physgrad.spectral import Power, gram_solution

OVERHEAD, SPEED, ACCURACY, TRUNCATION = 1.2, 4.0, 1e-6, 1e-4
ROWS, PARAMS = 128, 1444


def simulators(quick: bool) -> dict[str, tuple[pg.Simulator, tuple[int, ...], int]]:
    """Name to a simulator, the shape of x and the samples of a batch."""
    n, count = (16, 4) if quick else (64, 32)
    rng = np.random.default_rng(0)
    start = rng.uniform(size=(2, 2))
    driven = pg.simulators.driven_oscillators(start, 12.0)
    exact = pg.Simulator(driven.forward, pg.LinearizedInverse())
    heat = pg.simulators.diffusion((n, n), 1e-3, noise=1e-3)
    return {
        "sine map, formula": (pg.simulators.sine_map(32.0, 0.8), (2,), 100),
        "oscillators, linearized": (exact, (24,), 256),
        f"heat {n} x {n}, by its noise": (heat, (n, n), count),
        "planar arm, formula": (pg.simulators.planar_arm([1.0, 1.0]), (2,), 1000),
    }


def gradients(simulator: pg.Simulator) -> dict[str, Any]:
    """Ways to a gradient of the mean loss, of (xs, targets), and the inverse alone."""
    loss = pg.physical_loss(simulator)

    def plain(xs: Array, targets: Array) -> Array:
        zs = jax.vmap(simulator)(xs)
        return jnp.sum((zs - targets) ** 2) / len(xs)

    def physical(xs: Array, targets: Array) -> Array:
        return jnp.mean(jax.vmap(loss)(xs, targets))

    def inverse(xs: Array, targets: Array) -> tuple[Array, Array]:
        """The rule by itself: what it answers, and its certificate."""

        def one(x: Array, target: Array) -> tuple[Array, Array]:
            objective, flat = pg.Objective(simulator, pg.SquaredLoss(target)).flatten(x)
            state = objective.start(flat)
            way = pg.NewtonMetric().step(objective.loss, state.z)
            answer = objective.rule.pull_back(
                objective.simulator, state.z + way.dz, state, way.metric
            )
            return answer.x, answer.result

        return jax.vmap(one)(xs, targets)

    return {
        "plain": jax.jit(jax.value_and_grad(plain)),
        "physical": jax.jit(jax.value_and_grad(physical)),
        "inverse": jax.jit(inverse),
    }


def ready(function: Callable, *arguments: Any) -> Callable[[], Any]:
    """A call that is compiled already, and waits for its answer."""
    jax.block_until_ready(function(*arguments))
    return lambda: jax.block_until_ready(function(*arguments))


def overhead(quick: bool) -> None:
    """One row for each simulator."""
    rows = []
    for name, (simulator, shape, count) in simulators(quick).items():
        keys = jax.random.split(jax.random.key(0))
        xs, others = (0.5 * jax.random.normal(k, (count, *shape)) for k in keys)
        targets = jax.vmap(simulator)(others)
        ways = gradients(simulator)
        calls = {way: ready(ways[way], xs, targets) for way in ways}
        times = alternate(calls, samples=3 if quick else 7)
        allowed = times["plain"].median + times["inverse"].median
        ratio = times["physical"].median / allowed
        reached = "reached" if ratio <= OVERHEAD else "NOT REACHED"
        told = [str(times[way]) for way in calls]
        rows.append([name, count, *told, f"{ratio:.2f}", reached])
    columns = ["simulator", "batch", "plain gradient", "physical gradient"]
    columns += ["the inverse, with its start and certificate"]
    show([*columns, "physical / (plain + inverse)", f"at most {OVERHEAD}"], rows)


def half_inverse(quick: bool) -> None:
    """A float64 J with singular values over six decades."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, ROWS)))[0] for n in (ROWS, PARAMS))
    matrix = left @ np.diag(np.logspace(0, -6, ROWS)) @ right.T
    vector = rng.normal(size=ROWS)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    kept = s > TRUNCATION
    expected = vt[kept].T @ (s[kept] ** -0.5 * (u[:, kept].T @ vector))

    @jax.jit
    def by_gram(a: Array, b: Array) -> Array:
        return gram_solution(a, b, Power(-0.5), TRUNCATION)

    @jax.jit
    def by_svd(a: Array, b: Array) -> Array:
        u, s, vt = jnp.linalg.svd(a, full_matrices=False)
        gains = jnp.where(s > TRUNCATION * s[0], s**-0.5, 0.0)
        return vt.T @ (gains * (u.T @ b))

    wide = jnp.asarray(matrix), jnp.asarray(vector)
    narrow = tuple(v.astype(jnp.float32) for v in wide)
    ways = {
        "Gram matrix, float64": (by_gram, wide),
        "Gram matrix in float64 of a float32 J": (by_gram, narrow),
        "SVD, float64": (by_svd, wide),
        "SVD, float32": (by_svd, narrow),
    }
    calls, errors = {}, {}
    for name, (function, arguments) in ways.items():
        got = np.asarray(function(*arguments), float)
        errors[name] = np.linalg.norm(got - expected) / np.linalg.norm(expected)
        calls[name] = ready(function, *arguments)
    times = alternate(calls, samples=3 if quick else 7)
    slow = times["SVD, float32"].median
    rows = [
        [name, str(times[name]), f"{slow / times[name].median:.1f}", f"{error:.0e}"]
        for name, error in errors.items()
    ]
    print(f"\nA half-inverse step, {ROWS} x {PARAMS}, truncated at {TRUNCATION:g}:\n")
    show(["way", "time", "SVD in float32, ratio", "error"], rows)
    best = "Gram matrix, float64"
    faster = slow / times[best].median
    print(verdict(f"{SPEED:g} times as quick", faster >= SPEED))
    print(verdict(f"an error of {ACCURACY:g}", errors[best] <= ACCURACY))


def main(quick: bool) -> None:
    """Both tables, in float64."""
    jax.config.update("jax_enable_x64", True)
    overhead(quick)
    half_inverse(quick)
