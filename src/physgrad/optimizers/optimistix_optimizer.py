"""Any optimistix solver as an optimizer, with its iterates in every space."""

from __future__ import annotations

from typing import Any

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


class OptimistixOptimizer(Optimizer):
    """The steps of an optimistix minimizer of L(P(x)), or least-squares solver.

    One step here is one step of the solver; one that it rejects leaves x where it is.
    Its own tolerances are not used: `minimize` stops the run.

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

    def init(self, objective: FlatObjective, state: State) -> Any:
        fn, structs, options = self._problem(objective, state)
        memory = self.solver.init(fn, state.x, None, options, *structs, frozenset())
        # the first step of a solver only evaluates its start
        return self.solver.step(fn, state.x, None, options, memory, frozenset())[1]

    def update(
        self, objective: FlatObjective, state: State, memory: Any
    ) -> tuple[Step, Any]:
        fn, structs, options = self._problem(objective, state)
        x, memory, _ = self.solver.step(fn, state.x, None, options, memory, frozenset())
        rejected = jnp.all(x == state.x)
        # the solver's own auxiliary values are those of the point before: evaluate anew
        cost, mode = Evaluations(forward=2), objective.simulator.forward_mode
        if self._least_squares:
            cost += jacobian_cost(structs[0].size, state.x, mode)
        elif isinstance(self.solver, optx.NelderMead):
            cost += Evaluations(forward=1)  # reflected, then expanded or contracted
        else:
            cost += Evaluations(vjp=1)
        return Step(objective.evaluate(state, x), cost, rejected=rejected), memory

    def _problem(self, objective: FlatObjective, state: State) -> tuple[Any, Any, dict]:
        """What the solver works on: the function, what it returns, and options."""
        fn = self._function(objective)
        structs = jax.eval_shape(fn, state.x, None)
        mode = objective.simulator.forward_mode
        columns = by_columns(structs[0].size, state.x, mode)
        by_rows = self._least_squares and not columns
        return fn, structs, {"jac": "bwd"} if by_rows else {}

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
