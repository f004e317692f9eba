"""What is examined: a simulator at x0, each of its maps compiled once.

All vectors are flat and on the host; the user's functions are seen by JAX only.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from physgrad.doctor.entries import Vector, leaves_of, size_of_entries
from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.flat import Flat, flat_map
from physgrad.inverses.jacobian import dense_jacobian
from physgrad.inverses.rule import Inverse, PullBack, identity_metric
from physgrad.inverses.state import State, start_state
from physgrad.loop import compiled
from physgrad.objective.losses import FlatLoss
from physgrad.objective.z_step import DENSE_HESSIAN
from physgrad.results import Cause, Result
from physgrad.simulator import Chain, ChainInverse, Simulator

Matrix = Float[np.ndarray, "z x"]
REPETITIONS = 5
SLOW = 1.0
"""Seconds; a call that takes longer is timed once."""
# After so many seconds no more samples are taken.
PATIENCE = 60.0
# So many entries compile quicker by a code generator that is slower on large arrays.
FEW_ENTRIES = 1000
LONGEST_MESSAGE = 240
# How often x is shaken in its last digit, to see the rounding of z.
SHAKES = 4


class Fault(NamedTuple):
    """What the user's code raised."""

    message: str

    @classmethod
    def of(cls, error: Exception) -> Fault:
        """Its type and first line, shortened."""
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        text = f"{type(error).__name__}: {' '.join(lines[0].split())}"
        long = len(text) > LONGEST_MESSAGE
        return cls(f"{text[:LONGEST_MESSAGE]}..." if long else text)


class Answer(NamedTuple):
    """A point pulled back, on the host."""

    x: Vector
    z: Vector
    residual: float
    tolerance: float
    result: Result
    cause: Cause
    entry: int | None = None
    """The one entry of z that is off, where its leaf as a whole is not."""

    @property
    def held(self) -> bool:
        """Whether the certificate holds."""
        return self.result is Result.completed

    @property
    def excess(self) -> float:
        """residual / tolerance; infinite where the point is not finite."""
        if not np.all(np.isfinite(self.x)) or not np.isfinite(self.residual):
            return np.inf
        return self.residual / max(self.tolerance, np.finfo(float).tiny)


def entry_rtol(eps: float) -> float:
    """What one entry of z may be off, relative to its size: a quarter of its digits.

    Certificates are those of a leaf. In a leaf of one size an entry may be inexact;
    what is farther off than this is wrong.
    """
    return eps**0.25


def attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or its `Fault`: the user's code may raise anything."""
    try:
        return call()
    except Exception as error:
        return Fault.of(error)


class Subject:
    """A simulator, perhaps a loss, and a start. Raises what the simulator raises."""

    def __init__(
        self, simulator: Simulator | Chain, loss: Callable | None, x0: PyTree
    ) -> None:
        self.simulator, self.loss, self.start = simulator, loss, x0
        self.compile_seconds, self._started = 0.0, time.monotonic()
        flat, x = flat_map(simulator.functions, x0)
        self.dtype, self.x = x.dtype, _wide(x)
        self.eps = float(jnp.finfo(x.dtype).eps)
        self._flat = flat
        self.z = self.forward(self.x)
        self.x_leaves = leaves_of(x0, simulator.space_names[0])
        self.z_leaves = leaves_of(self.z_tree(self.z), simulator.space_names[-1])
        self.state: State = self._run(_start)

    @property
    def patience_is_out(self) -> bool:
        """Whether it has taken long already."""
        return time.monotonic() - self._started > PATIENCE

    @functools.cached_property
    def rounding(self) -> Vector:
        """How far each entry of z moves where x is shaken in its last digit.

        eps |J| |x| row by row, with whatever the simulator itself rounds; at least
        eps |z|.
        """
        random, found = np.random.default_rng(0), self.eps * np.abs(self.z)
        unit = self.eps * size_of_entries(self.x_leaves, self.x)
        for _ in range(SHAKES):
            shaken = self.forward(self.x + unit * random.choice([-1, 1], unit.size))
            moved = np.abs(shaken - self.z)
            found = np.fmax(found, np.where(np.isfinite(moved), moved, 0.0))
        return found

    @functools.cached_property
    def leaf_scale(self) -> Vector:
        """The rounding scale of the leaf that each entry of z lies in."""
        sizes = [leaf.size for leaf in self.z_leaves if leaf.size]
        return np.repeat(_wide(self.state.scale), sizes)

    @property
    def entry_scale(self) -> Vector:
        """The rounding scale of each entry of z."""
        return self.rounding / self.eps

    @property
    def rules(self) -> tuple[Inverse, ...]:
        """The rule of each link that has one of its own; or that of it all."""
        return _rules(self.simulator)

    def x_tree(self, x: Vector) -> PyTree:
        """A vector as the user's PyTree x."""
        return self._flat.unravel_x(jnp.asarray(self._vector(x)))

    def z_tree(self, z: Vector) -> PyTree:
        """A vector as the user's PyTree z."""
        return self._flat.unravel_z(jnp.asarray(self._vector(z)))

    def forward(self, x: Vector) -> Vector:
        """P(x)."""
        return _wide(self._run(_forward, self._vector(x)))

    def pull_back(self, z_target: Vector) -> Answer:
        """P^-1(z~) from x0, with its certificate: of a formula entry by entry."""
        answer = _answer(self._run(_pull_back, self.state, self._vector(z_target)))
        formula = all(isinstance(rule, AnalyticInverse) for rule in self.rules)
        if not answer.held or not formula:
            return answer
        tolerance = np.maximum(self.entry_scale, np.abs(z_target))
        tolerance *= entry_rtol(self.eps)
        miss = np.abs(answer.z - z_target)
        if np.all(miss <= tolerance):
            return answer
        place = int(np.argmax(miss / np.maximum(tolerance, np.finfo(float).tiny)))
        return answer._replace(
            residual=float(miss[place]),
            tolerance=float(tolerance[place]),
            result=Result.inverse_failed,
            cause=Cause.missed,
            entry=place,
        )

    def verify(self) -> tuple[Answer, ...]:
        """Is P^-1(P(x0)) = x0, for each link?"""
        return tuple(_answer(check) for check in self._run(_verify, self.state))

    def jvp(self, tangent: Vector) -> Vector:
        """J t."""
        return _wide(self._run(_jvp, self._vector(tangent)))

    def vjp(self, cotangent: Vector) -> Vector:
        """J^T u."""
        return _wide(self._run(_vjp, self._vector(cotangent)))

    def jacobian(self, x: Vector) -> Matrix:
        """J at x, dense, by whichever of the two modes there is."""
        try:
            return _wide(self._run(_jacobian, self._vector(x)))
        except Exception:  # there may be J t only
            return _wide(self._run(_columns, self._vector(x)))

    def loss_hessian(self) -> np.ndarray | None:
        """H_L at z0: its diagonal or itself; None where it is not dense.

        Without a loss 1/2 |z - z0|^2 stands in: the identity.
        """
        if self.loss is None:
            return np.ones(self.z.size)
        diagonal, dense = self._run(_loss_hessian, self.loss, self._vector(self.z))
        found = dense if diagonal is None else diagonal
        return None if found is None else _wide(found)

    def eager(self) -> PyTree:
        """P(x0) by the user's functions as they are, not compiled."""
        point = self.start
        for function in self.simulator.functions:
            point = function(point)
        return jax.tree.map(np.asarray, point)

    def seconds(self, kind: str) -> float:
        """Median seconds of a call of "forward", "vjp" or "inverse", compiled before.

        The inverse goes to 0.9 z0: at z0 itself a solver would have nothing to do.
        """
        z = self._vector(self.z)
        calls = {
            "forward": (_forward, self._vector(self.x)),
            "vjp": (_vjp, z),
            "inverse": (_pull_back, self.state, self._vector(0.9 * self.z)),
        }
        call = self._prepare(*calls[kind])
        first = _timed(call)
        if first > SLOW:
            return first
        return statistics.median(_timed(call) for _ in range(REPETITIONS))

    def _vector(self, vector: Vector) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.asarray(vector, self.dtype)

    def _prepare(self, function: Callable, *arguments: Any) -> Callable[[], Any]:
        whole = self.simulator, self.start, *arguments
        few = self.x.size <= FEW_ENTRIES
        with compiled.quick_to_compile() if few else contextlib.nullcontext():
            call, seconds = compiled.prepare(function, *whole)
        self.compile_seconds += seconds
        return call

    def _run(self, function: Callable, *arguments: Any) -> Any:
        return self._prepare(function, *arguments)()


def _rules(simulator: Simulator | Chain) -> tuple[Inverse, ...]:
    rule = simulator.rule
    return rule.rules if isinstance(rule, ChainInverse) else (rule,)


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _wide(array: Any) -> np.ndarray:
    return np.asarray(array).astype(np.float64)


def _answer(answer: PullBack) -> Answer:
    return Answer(
        _wide(answer.x),
        _wide(answer.z),
        float(answer.residual),
        float(answer.tolerance),
        Result.from_code(int(answer.result)),
        Cause.from_code(int(answer.cause)),
    )


# What is compiled: maps of a simulator and a start, which give the flat map anew, since
# its unraveling functions are never equal.


def _start(simulator: Any, start: PyTree) -> State:
    return start_state(*flat_map(simulator.functions, start))


def _forward(simulator: Any, start: PyTree, x: Flat) -> Flat:
    return flat_map(simulator.functions, start)[0](x)


def _pull_back(simulator: Any, start: PyTree, state: State, z_target: Flat) -> PullBack:
    flat, _ = flat_map(simulator.functions, start)
    metric = identity_metric(z_target)
    return simulator.rule.pull_back(flat, z_target, state, metric)


def _verify(simulator: Any, start: PyTree, state: State) -> tuple[PullBack, ...]:
    flat, _ = flat_map(simulator.functions, start)
    rules = _rules(simulator)
    if len(rules) == 1:
        return (simulator.rule.verify(flat, state),)
    return tuple(r.verify(flat.link(i), state.link(i)) for i, r in enumerate(rules))


def _jvp(simulator: Any, start: PyTree, tangent: Flat) -> Flat:
    flat, x = flat_map(simulator.functions, start)
    return jax.jvp(flat, (x,), (tangent,))[1]


def _vjp(simulator: Any, start: PyTree, cotangent: Flat) -> Flat:
    flat, x = flat_map(simulator.functions, start)
    return jax.vjp(flat, x)[1](cotangent)[0]


def _jacobian(simulator: Any, start: PyTree, x: Flat) -> Any:
    flat, _ = flat_map(simulator.functions, start)
    return dense_jacobian(flat, x, flat.forward_mode)


def _columns(simulator: Any, start: PyTree, x: Flat) -> Any:
    flat, _ = flat_map(simulator.functions, start)
    return jax.jacfwd(flat)(x)


def _loss_hessian(simulator: Any, start: PyTree, loss: Callable, z: Flat) -> Any:
    flat, _ = flat_map(simulator.functions, start)
    flat_loss = FlatLoss(loss, flat.unravels[-1])
    root = flat_loss.known_metric_root(z)
    if root is not None:
        return root**2, None
    return None, jax.hessian(flat_loss)(z) if z.size <= DENSE_HESSIAN else None
