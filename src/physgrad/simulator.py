"""Simulators: a forward map and the rule that pulls points back; chains of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from physgrad.callback import callback_of
from physgrad.inverses.broyden import BroydenInverse
from physgrad.inverses.certificate import certificate_tolerance, certify
from physgrad.inverses.flat import Flat, FlatMap
from physgrad.inverses.ladder import Ladder
from physgrad.inverses.linearized import LinearizedInverse
from physgrad.inverses.numerical import NumericalInverse
from physgrad.inverses.rule import Inverse, Metric, PullBack, as_rule
from physgrad.inverses.settings import brief
from physgrad.inverses.state import State
from physgrad.inverses.transposed import TransposedInverse
from physgrad.results import Result


def default_rule() -> Ladder:
    """The rule of a simulator that brings none: numerical, damped, transposed."""
    damped = LinearizedInverse(damping=1e-3, relative=True)
    return Ladder([NumericalInverse(), damped, TransposedInverse(fitted=True)])


class Simulator(eqx.Module):
    """z = P(x): a forward map, and the rule that pulls a point z~ back to x.

    A simulator is a callable itself. x and z are PyTrees of floating arrays of one
    dtype; the forward map must be traceable by JAX.

    **Arguments:**

    - `forward`: z = P(x), a function, or another simulator or chain.
    - `inverse`: a rule; None for a `Ladder` of `NumericalInverse()`, a damped
        `LinearizedInverse` and `TransposedInverse()`.

    **Raises:** `TypeError` for a forward that cannot be called or an inverse that is
    not a rule.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> celsius = pg.Simulator(
    ...     lambda x: (x - 32) / 1.8, inverse=pg.AnalyticInverse(lambda z: 1.8 * z + 32)
    ... )
    >>> print(celsius(jnp.array([212.0])))
    [100.]
    """

    forward: Callable
    """z = P(x)."""
    inverse: Inverse = eqx.field(
        converter=lambda rule: as_rule(rule) or default_rule(), default=None
    )
    """How a point in z is pulled back to x."""

    def __check_init__(self) -> None:
        if not callable(self.forward) or isinstance(self.forward, type):
            raise TypeError(
                f"forward must be a function z = P(x), got {brief(self.forward)}"
            )

    @classmethod
    def from_callback(
        cls,
        function: Any,
        output: PyTree = None,
        inverse: Any = None,
        *,
        differences: bool = False,
        time_limit: float | None = None,
    ) -> Simulator:
        """A simulator that JAX cannot trace: NumPy, Fortran, a program that is run.

        A physical gradient needs no derivative of it: one call a step with an
        `AnalyticInverse`, a few with a `BroydenInverse`. Other rules and methods do:
        `differences` gives them central ones, two calls for each entry of x. Members of
        a batch are called one after another.

        **Arguments:**

        - `function`: z = f(x), of NumPy arrays, of which it gets copies; its name,
            "module:function", which is called in a process of its own; or the words of
            a command, a list, which reads the entries of x from stdin, a number a line,
            and prints those of z.
        - `output`: an example of z; its structure and shapes count.
        - `inverse`: a rule; None for a `BroydenInverse`, or with `differences` the
            default of any simulator.
        - `time_limit`: seconds that a call may take before its process is ended; for a
            command, or a function that another process can import.

        **Raises:** `TypeError` without `output`, for a command that is no list of
        words, or a `time_limit` of a function that cannot be imported; `ValueError` for
        a limit that is not positive, or a name that is no "module:function"; in a run,
        `SimulatorError` with what f raised, or with a z that is not like `output`, and
        the x where that was.

        >>> import numpy as np, jax.numpy as jnp, physgrad as pg
        >>> def cube(x):
        ...     return np.power(x, 3)
        >>> root = pg.AnalyticInverse(jnp.cbrt)
        >>> simulator = pg.Simulator.from_callback(cube, np.zeros(1), root)
        >>> objective = pg.Objective(simulator, pg.SquaredLoss(jnp.array([8.0])))
        >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([5.0]), 1)
        >>> print(run.x.round(4), run.evaluations["jvp"] + run.evaluations["vjp"])
        [2.] 0
        """
        callback = callback_of(function, output, differences, time_limit)
        if inverse is None and not differences:
            inverse = BroydenInverse()
        return cls(callback, inverse)

    def __call__(self, x: PyTree) -> PyTree:
        return self.forward(x)

    @property
    def functions(self) -> tuple[Callable, ...]:
        """The maps between neighboring spaces, left to right."""
        if isinstance(self.forward, Simulator | Chain):
            return self.forward.functions
        return (self.forward,)

    @property
    def space_names(self) -> tuple[str, ...]:
        """The names of the spaces, first to last."""
        if isinstance(self.forward, Simulator | Chain):
            return self.forward.space_names
        return ("x", "z")

    @property
    def rule(self) -> Inverse:
        """The rule of the whole map."""
        return self.inverse


class Chain(eqx.Module):
    """Simulators applied left to right, x -> z1 -> ... -> z, each with its own inverse.

    A point z~ is pulled back from the last link to the first; each link starts at its
    own state and hands on the metric in which its misfit counts. A chain within a
    chain is one chain. For one rule over all links: `Simulator(chain, inverse=rule)`.

    **Arguments:**

    - `simulators`: `Simulator`s, chains, or functions (which get a numerical inverse).
    - `names`: the names of all spaces, first to last; by default x, z1, z2, ..., z.

    **Raises:** `TypeError` for links that cannot be called; `ValueError` for an empty
    chain or names that are too few, too many or repeated.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> double = pg.Simulator(lambda x: 2 * x, pg.AnalyticInverse(lambda z: z / 2))
    >>> shift = pg.Simulator(lambda x: x + 1, pg.AnalyticInverse(lambda z: z - 1))
    >>> chain = pg.Chain(double, shift)
    >>> print(chain(jnp.array([3.0])), chain.space_names)
    [7.] ('x', 'z1', 'z')
    """

    simulators: tuple[Simulator, ...]
    """The links, left to right."""
    space_names: tuple[str, ...] = eqx.field(static=True)
    """The names of the spaces, first to last."""

    def __init__(self, *simulators: Callable, names: tuple[str, ...] | None = None):
        if simulators and isinstance(simulators[0], list | tuple):
            raise TypeError(
                "a chain takes its simulators one by one, got a "
                f"{type(simulators[0]).__name__}: Chain(*simulators)"
            )
        links: list[Simulator] = []
        for link in simulators:
            if isinstance(link, Chain):
                links.extend(link.simulators)
            else:
                links.append(link if isinstance(link, Simulator) else Simulator(link))
        if not links:
            raise ValueError("a chain must have at least one simulator, got none")
        between = tuple(f"z{i}" for i in range(1, len(links)))
        names = _space_names(("x", *between, "z") if names is None else names)
        if len(names) != len(links) + 1 or len(set(names)) != len(names):
            raise ValueError(
                f"a chain of {len(links)} needs {len(links) + 1} different names of "
                f"spaces, got {names}"
            )
        self.simulators = tuple(links)
        self.space_names = names

    def __call__(self, x: PyTree) -> PyTree:
        for simulator in self.simulators:
            x = simulator(x)
        return x

    @property
    def functions(self) -> tuple[Callable, ...]:
        """The maps between neighboring spaces, left to right."""
        return tuple(simulator.forward for simulator in self.simulators)

    @property
    def rule(self) -> Inverse:
        """The rule of the whole map: the rules of the links, last to first."""
        if len(self.simulators) == 1:
            return self.simulators[0].rule
        return ChainInverse(tuple(simulator.rule for simulator in self.simulators))


def as_simulator(value: Callable) -> Simulator | Chain:
    """A simulator or chain as it is; a function with the default inverse."""
    return value if isinstance(value, Simulator | Chain) else Simulator(value)


def _space_names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(
        isinstance(name, str) for name in names
    ):
        raise TypeError(f"names must be the names of all spaces, got {brief(names)}")
    if "" in names:
        raise ValueError(f"names must not be empty, got {names}")
    return tuple(names)


class ChainInverse(Inverse):
    """x+ = P1^-1(... Pk^-1(z~)): one rule for each link, from the last to the first.

    The first link that fails names the failure; the residual is that of the whole map.
    """

    rules: tuple[Inverse, ...]
    """One rule for each link, left to right."""

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        answers, target = [], z_target
        for i in reversed(range(len(self.rules))):
            link, here = forward.link(i), state.link(i)
            answer = self.rules[i].pull_back(link, target, here, metric)
            answers.append(answer)
            target = answer.x
            metric = self.rules[i].handed_on(answer, link, here, metric)
        whole = _whole(forward, answers, z_target, state)
        memory = tuple(answer.memory for answer in reversed(answers))
        return dataclasses.replace(whole, memory=memory)

    def begin(self, state: State) -> Any:
        return tuple(rule.begin(state.link(i)) for i, rule in enumerate(self.rules))

    def recalling(self, memory: Any) -> Inverse:
        pairs = zip(self.rules, memory, strict=True)
        return ChainInverse(tuple(rule.recalling(known) for rule, known in pairs))

    def verify(self, forward: FlatMap, state: State) -> PullBack:
        checks = [
            rule.verify(forward.link(i), state.link(i))
            for i, rule in enumerate(self.rules)
        ]
        residual, tolerance, result, cause = _worst(checks)
        return PullBack(state.x, state.z, residual, result, tolerance, cause)


def _whole(
    forward: FlatMap, answers: list[PullBack], z_target: Flat, state: State
) -> PullBack:
    """The certificate of a chain: that of its worst link, and of the whole map.

    Where every link promises its preimage, so does the chain: links that hold can
    still miss together, if a later one amplifies what an earlier one leaves.
    """
    residual, promise, result, cause = _worst(answers)
    x = answers[-1].x
    rtol = len(answers) * jnp.sqrt(jnp.finfo(x.dtype).eps)
    promised = jnp.stack([jnp.asarray(a.tolerance) for a in answers])
    exact = jnp.all(jnp.isfinite(promised)) & (result == Result.completed.code)
    whole = certificate_tolerance(forward, z_target, state, rtol)
    tolerance = jnp.where(exact, whole, jnp.inf)
    # each link has looked at its own branches, and knows its own inverse
    answer = certify(forward, x, z_target, state, tolerance, same_branch=True)

    def pick(of_link: Array | float, of_whole: Array | float) -> Array:
        return jnp.where(result > answer.result, of_link, of_whole)

    return PullBack(
        x,
        answer.z,
        pick(residual, answer.residual),
        pick(result, answer.result),
        pick(promise, answer.tolerance),
        pick(cause, answer.cause),
        functools.reduce(jnp.maximum, [jnp.asarray(a.rung) for a in answers]),
        evaluations=sum((a.evaluations for a in answers), answer.evaluations),
    )


def _worst(answers: list[PullBack]) -> tuple[Array, ...]:
    """Residual, tolerance, result and cause of the worst answer, first of equals.

    Result codes are ordered by how bad they are.
    """
    columns = [
        jnp.stack([jnp.asarray(getattr(answer, name)) for answer in answers])
        for name in ("residual", "tolerance", "result", "cause")
    ]
    place = jnp.argmax(columns[2])
    return tuple(column[place] for column in columns)
