"""Solvers behind one face: how many steps to the loss, and a run of so many.

Each library runs by its own public entry point, with its own tolerances switched off
and the fewest steps that reach the loss, found beforehand and not timed: so none pays
for a tolerance that asks for more, or for looking at the loss from a callback.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

import physgrad as pg

STEP_LIMIT = 300


def residual(x: jax.Array) -> jax.Array:
    """z - 0: the loss of the toy is the sum of its squares."""
    return jnp.stack([x[0], x[1] ** 2])


def loss(x: jax.Array) -> jax.Array:
    """L(P(x)) = x0^2 + x1^4."""
    return jnp.sum(residual(x) ** 2)


@dataclasses.dataclass(frozen=True)
class Task:
    """Get from (3, 3) to a loss, in one dtype."""

    dtype: Any
    goal: float

    @property
    def start(self) -> jax.Array:
        """(3, 3)."""
        return jnp.array([3.0, 3.0], self.dtype)


def loss_reached(x: Any) -> float:
    """L in float64, whatever x was computed in."""
    a, b = np.asarray(x, np.float64)
    return float(a**2 + b**4)


def fewest(points: Iterator[Any], goal: float) -> int | None:
    """How many points come until the loss is reached; None if it never is."""
    for number, x in enumerate(itertools.islice(points, STEP_LIMIT), start=1):
        if loss_reached(x) <= goal:
            return number
    return None


class Rival(abc.ABC):
    """A solver with settings."""

    @abc.abstractmethod
    def steps(self, task: Task) -> int | None:
        """The fewest steps that reach the goal."""

    @abc.abstractmethod
    def solver(self, task: Task, steps: int) -> Callable[[], tuple[Any, Any]]:
        """What is timed: runs so many steps, returns (x, evaluations)."""


class Optimistix(Rival):
    """`optimistix.minimise` or `least_squares`, jitted as a whole."""

    def __init__(self, kind: Callable[..., Any], **settings: Any):
        self.method = kind(rtol=0.0, atol=0.0, **settings)
        self.least_squares = isinstance(self.method, optx.AbstractLeastSquaresSolver)
        self.function = residual if self.least_squares else loss

    def steps(self, task: Task) -> int | None:
        return fewest(self._points(task), task.goal)

    def _points(self, task: Task) -> Iterator[jax.Array]:
        solver, none = self.method, frozenset()

        def fn(x: jax.Array, _: Any) -> tuple[jax.Array, None]:
            return self.function(x), None

        x = task.start
        memory = solver.init(fn, x, None, {}, *jax.eval_shape(fn, x, None), none)
        step = eqx.filter_jit(
            lambda x, memory: solver.step(fn, x, None, {}, memory, none)[:2]
        )
        while True:
            x, memory = step(x, memory)
            yield x

    def solver(self, task: Task, steps: int) -> Callable[[], tuple[Any, Any]]:
        entry = optx.least_squares if self.least_squares else optx.minimise

        @jax.jit
        def run(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            solution = entry(
                lambda x, _: self.function(x),
                self.method,
                x,
                max_steps=steps,
                throw=False,
            )
            return solution.value, solution.stats["num_steps"]

        x0 = task.start
        return lambda: jax.block_until_ready(run(x0))


class Jaxopt(Rival):
    """`solver.run`, jitted as a whole; `make(maxiter)` builds the solver."""

    def __init__(self, make: Callable[[int], Any]):
        self.make = make

    def steps(self, task: Task) -> int | None:
        return fewest(self._points(task), task.goal)

    def _points(self, task: Task) -> Iterator[jax.Array]:
        solver, x = self.make(STEP_LIMIT), task.start
        state, update = solver.init_state(x), jax.jit(solver.update)
        while True:
            x, state = update(x, state)
            yield x

    def solver(self, task: Task, steps: int) -> Callable[[], tuple[Any, Any]]:
        run, x0 = jax.jit(self.make(steps).run), task.start

        def call() -> tuple[Any, Any]:
            x, state = jax.block_until_ready(run(x0))
            return x, getattr(state, "num_fun_eval", state.iter_num + 1)

        return call


class Jitted(Rival):
    """Ours, as the others: `iterate` with the fewest steps, jitted as a whole."""

    def __init__(self, optimizer: pg.Optimizer):
        self.optimizer = optimizer

    def steps(self, task: Task) -> int | None:
        objective = pg.problems.get("toy", task.dtype).objective
        stop = pg.Stop(loss=task.goal)
        run = pg.minimize(
            objective, self.optimizer, task.start, STEP_LIMIT, stop=stop, progress=False
        )
        return run.num_steps if run.loss <= task.goal else None

    def solver(self, task: Task, steps: int) -> Callable[[], tuple[Any, Any]]:
        objective, x0 = pg.problems.get("toy", task.dtype).objective, task.start
        run = jax.jit(lambda x: pg.iterate(objective, self.optimizer, x, steps))

        def call() -> tuple[Any, Any]:
            end = jax.block_until_ready(run(x0))
            return end.x, end.evaluations.forward

        return call


class Whole(Jitted):
    """Ours, as a user calls it: `minimize` with a loss to stop at and 100 steps."""

    def solver(self, task: Task, steps: int) -> Callable[[], tuple[Any, Any]]:
        objective, x0 = pg.problems.get("toy", task.dtype).objective, task.start
        stop, limit = pg.Stop(loss=task.goal), max(steps, 100)

        def call() -> tuple[Any, Any]:
            run = pg.minimize(
                objective, self.optimizer, x0, limit, stop=stop, progress=False
            )
            return run.x, run.evaluations["forward"]

        return call
