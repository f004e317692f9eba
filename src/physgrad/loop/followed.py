"""A run of a method that drives itself: followed from iterate to iterate."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat
from physgrad.inverses.jacobian import dense_jacobian, jacobian_cost
from physgrad.inverses.state import State
from physgrad.loop import compiled
from physgrad.loop.chunks import Chunks
from physgrad.loop.reporting import steps_between_looks
from physgrad.objective.objective import FlatObjective, Objective
from physgrad.optimizer.host_functions import Vector
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.optimizers.scipy_optimizer import ScipyOptimizer
from physgrad.results import Result
from physgrad.trajectory import Run


class Follower(Optimizer):
    """Goes where its memory says."""

    def init(self, objective: FlatObjective, state: State) -> Flat:
        return state.x

    def update(
        self, objective: FlatObjective, state: State, memory: Flat
    ) -> tuple[Step, Flat]:
        return Step(objective.evaluate(state, memory), Evaluations()), memory


class _Ended(Exception):
    """The run is over: thrown through the method that drives it."""

    def __init__(self, result: Result | None = None):
        super().__init__()
        self.result = result
        """What ended it, where the steps do not say so."""


def follow(
    optimizer: ScipyOptimizer, chunks: Chunks, look: Callable[[Chunks], None]
) -> Run:
    """Let a method drive itself, and keep the run of where it has been.

    **Arguments:** `chunks`: of a `Follower`, one step each; `look`: called about fifty
    times.
    """
    objective, _, x0, _ = chunks.problem
    optimizer.check(objective)
    started = time.perf_counter()
    chunks.advance(0)
    functions = _Functions(objective, x0)
    every = max(1, steps_between_looks(chunks.num_steps))

    def visit(x: Vector) -> None:
        point = jnp.asarray(functions.whole(x))
        chunks.end = eqx.tree_at(lambda now: now.memory, chunks.end, point)
        chunks.advance(1)
        if chunks.done % every == 0 or not chunks.goes_on:
            look(chunks)
        if not chunks.goes_on:
            raise _Ended

    end, result = None, None
    if chunks.goes_on and functions.start.size:
        chunks.evaluations.clear()  # the method asks for its start itself
        try:
            end = optimizer.drive(functions, functions.start, visit)
        except _Ended as ended:
            result = ended.result
    if end is not None and not end.succeeded:
        result = Result.stalled
    if result is not None:
        code = jnp.asarray(result.code, jnp.int32)
        chunks.end = eqx.tree_at(lambda now: now.result, chunks.end, code)
    chunks.evaluations.update(functions.evaluations)
    chunks.compile_seconds += functions.compile_seconds
    chunks.compilations += functions.compilations
    chunks.run_seconds = time.perf_counter() - started - chunks.compile_seconds
    run = chunks.finish()
    if end is None:
        return run
    words = f"{type(optimizer).__name__} ended after {run.num_steps} steps: "
    told = "; ".join(filter(None, [words + end.message, run.message]))
    return dataclasses.replace(run, message=told)


class _Functions:
    """L(P(x)) and its derivatives, compiled, of the entries that may move."""

    def __init__(self, objective: Objective, x0: PyTree):
        self._problem = objective, x0
        flat, x = objective.flatten(x0)
        self._forward_mode = flat.simulator.forward_mode
        self._start, self._moves = np.asarray(x), np.ones(x.size, bool)
        self.bounds = None
        if flat.box is not None:
            lower, upper = np.asarray(flat.box.lower), np.asarray(flat.box.upper)
            self._moves = lower < upper
            self.bounds = lower[self._moves], upper[self._moves]
        self.start = self._start[self._moves].astype(np.float64)
        self.evaluations: collections.Counter[str] = collections.Counter()
        self.compile_seconds, self.compilations = 0.0, 0

    def whole(self, x: Vector) -> np.ndarray:
        """x with the entries that do not move, in its own dtype."""
        point = self._start.copy()
        point[self._moves] = x
        return point

    def loss(self, x: Vector) -> float:
        return float(self._call(_loss, x, Evaluations(forward=1)))

    def loss_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        cost = Evaluations(forward=1, vjp=1)
        value, gradient = self._call(_loss_and_gradient, x, cost)
        return float(value), _finite(gradient)[self._moves]

    def residual(self, x: Vector) -> np.ndarray:
        return self._call(_residual, x, Evaluations(forward=1))

    def jacobian(self, x: Vector) -> np.ndarray:
        matrix = self._call(_jacobian, x, Evaluations())
        self._count(
            jacobian_cost(len(matrix), jnp.asarray(self._start), self._forward_mode)
        )
        return _finite(matrix)[:, self._moves]

    def _call(self, function: Callable, x: Vector, cost: Evaluations) -> Any:
        point = self.whole(x)
        out, seconds = compiled.run(function, self._problem, point)
        self.compile_seconds += seconds
        self.compilations += seconds > 0
        self._count(cost)
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), out)

    def _count(self, cost: Evaluations) -> None:
        self.evaluations.update({kind: int(n) for kind, n in vars(cost).items()})


def _finite(derivative: np.ndarray) -> np.ndarray:
    if not np.all(np.isfinite(derivative)):
        raise _Ended(Result.non_finite)
    return derivative


def _loss(problem: tuple[Objective, PyTree], x: Flat) -> Any:
    objective, _ = problem[0].flatten(problem[1])
    return objective(x)


def _loss_and_gradient(problem: tuple[Objective, PyTree], x: Flat) -> Any:
    objective, _ = problem[0].flatten(problem[1])
    return jax.value_and_grad(objective)(x)


def _residual(problem: tuple[Objective, PyTree], x: Flat) -> Any:
    objective, _ = problem[0].flatten(problem[1])
    return objective.loss.residual(objective.simulator(x))


def _jacobian(problem: tuple[Objective, PyTree], x: Flat) -> Any:
    objective, _ = problem[0].flatten(problem[1])

    def residual(x: Flat) -> Any:
        return objective.loss.residual(objective.simulator(x))

    return dense_jacobian(residual, x, objective.simulator.forward_mode)
