"""Any optimistix solver as an optimizer, with its iterates in every space."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optimistix as optx

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat
from physgrad.inverses.jacobian import by_columns, jacobian_cost
from physgrad.inverses.settings import brief
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.optimizers.restarted import (
    Advance,
    Start,
    advanced,
    begun,
    either,
)


class _Problem(NamedTuple):
    """What a solver works on."""

    fn: Any
    structs: Any
    """What it returns."""
    options: dict[str, Any]


class OptimistixOptimizer(Optimizer):
    """The steps of an optimistix minimizer of L(P(x)), or least-squares solver.

    One step here is one step of the solver; one that it rejects leaves x where it is.
    Its own tolerances are not used: `minimize` stops the run. Within bounds it works on
    the entries that none holds, and begins anew where these change or it meets another.

    **Arguments:**

    - `solver`: an optimistix minimizer, or a least-squares solver where the loss knows
        its residual (`SquaredLoss` does).

    **Raises:** `TypeError` for a solver of another kind; `ValueError` for a
    least-squares solver and a loss without a residual.

    >>> import jax.numpy as jnp, optimistix as optx, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**2, pg.SquaredLoss(jnp.array([4.0])))
    >>> dogleg = pg.OptimistixOptimizer(optx.Dogleg(rtol=1e-6, atol=1e-6))
    >>> print(pg.minimize(objective, dogleg, jnp.array([3.0]), num_steps=8).x)
    [2.]
    """

    solver: Any
    """An optimistix minimizer or least-squares solver."""

    def __check_init__(self) -> None:
        kinds = optx.AbstractMinimiser | optx.AbstractLeastSquaresSolver
        if not isinstance(self.solver, kinds):
            raise TypeError(
                "solver must be an optimistix minimizer or least-squares solver, got "
                f"{brief(self.solver)}"
            )
        if isinstance(self.solver, optx.GoldenSearch):
            raise TypeError(
                "solver must start at x0, got a GoldenSearch, which ignores it and "
                "searches an interval: optimistix.minimise"
            )

    def init(self, objective: FlatObjective, state: State) -> Any:
        if objective.box is None:
            return self._start(self._problem(objective, state.x), state.x)
        start, _ = self._within(objective)
        slope = objective.gradient(state.x)
        return begun(objective.box, state.x, slope, start)

    def update(
        self, objective: FlatObjective, state: State, memory: Any
    ) -> tuple[Step, Any]:
        problem = self._problem(objective, state.x)
        # the solver's own auxiliary values are those of the point before: evaluate anew
        cost = Evaluations(forward=2)
        if objective.box is None:
            x, memory = self._advance(problem, state.x, memory)
        else:
            slope, functions = objective.gradient(state.x), self._within(objective)
            solver = (objective, *functions)
            x, memory = advanced(objective.box, state.x, slope, memory, solver)
            cost += Evaluations(vjp=1)
        rejected = jnp.all(x == state.x)
        if self._least_squares:
            size = problem.structs[0].size
            cost += jacobian_cost(size, state.x, objective.simulator.forward_mode)
        elif isinstance(self.solver, optx.NelderMead):
            cost += Evaluations(forward=1)  # reflected, then expanded or contracted
        else:
            cost += Evaluations(vjp=1)
        return Step(objective.evaluate(state, x), cost, rejected=rejected), memory

    def _start(self, problem: _Problem, x: Flat) -> Any:
        fn, structs, options = problem
        memory = self.solver.init(fn, x, None, options, *structs, frozenset())
        # the first step of most solvers only evaluates their start
        moved, later, _ = self.solver.step(fn, x, None, options, memory, frozenset())
        return either(jnp.any(moved != x), memory, lambda: later)

    def _advance(self, problem: _Problem, x: Flat, memory: Any) -> tuple[Flat, Any]:
        fn, _, options = problem
        return self.solver.step(fn, x, None, options, memory, frozenset())[:2]

    def _within(self, objective: FlatObjective) -> tuple[Start, Advance]:
        """How the solver starts and steps on the entries that are not held."""

        def start(held: Any, x: Flat) -> Any:
            return self._start(self._problem(objective, x, held), x)

        def advance(held: Any, x: Flat, memory: Any) -> tuple[Flat, Any]:
            return self._advance(self._problem(objective, x, held), x, memory)

        return start, advance

    def _problem(self, objective: FlatObjective, x: Flat, held: Any = None) -> _Problem:
        """What the solver works on: the function, what it returns, and options."""
        fn = self._function(objective)
        if held is not None:
            fn = self._frozen(fn, held, x)
        structs = jax.eval_shape(fn, x, None)
        mode = objective.simulator.forward_mode
        columns = by_columns(structs[0].size, x, mode)
        by_rows = self._least_squares and not columns
        return _Problem(fn, structs, {"jac": "bwd"} if by_rows else {})

    def _frozen(self, fn: Any, held: Any, at: Flat) -> Any:
        """The function of the entries that are not held; the others stay by a pull."""

        def frozen(x: Flat, _: Any) -> tuple[Any, None]:
            value, pull = (
                fn(jnp.where(held, at, x), None)[0],
                jnp.where(held, x - at, 0),
            )
            if self._least_squares:
                return jnp.concatenate([value, pull]), None
            return value + 0.5 * jnp.sum(pull**2), None

        return frozen

    @property
    def _least_squares(self) -> bool:
        return isinstance(self.solver, optx.AbstractLeastSquaresSolver)

    def _function(self, objective: FlatObjective) -> Any:
        def minimized(x: Flat, _: Any) -> tuple[Any, None]:
            return objective(x), None

        def squared(x: Flat, _: Any) -> tuple[Any, None]:
            residual = objective.loss.residual(objective.simulator(x))
            if residual is None:
                raise ValueError(
                    "a least-squares solver needs a loss that knows its residual, got "
                    f"{brief(objective.loss.function)}; use SquaredLoss, or a class "
                    "with residual(z)"
                )
            return residual, None

        return squared if self._least_squares else minimized
