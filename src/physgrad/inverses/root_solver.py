"""What takes the steps of a numerical inverse: an optimistix solver, set up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import lineax as lx
import optimistix as optx

from physgrad.inverses.flat import Flat, FlatMap, call_user
from physgrad.inverses.trees import ravel_like

Solver = (
    optx.AbstractLeastSquaresSolver | optx.AbstractMinimiser | optx.AbstractRootFinder
)


def dogleg(rtol: float, atol: float) -> optx.Dogleg:
    """Powell's dogleg with a pseudo-inverse, for Jacobians that may be singular."""
    return optx.Dogleg(rtol, atol, linear_solver=lx.AutoLinearSolver(well_posed=False))


class Steps(eqx.Module):
    """The solver of a numerical inverse, and how it deals with the Jacobian."""

    given: Solver | None
    """The user's; None for Powell's dogleg."""
    linear_solver: lx.AbstractLinearSolver | None
    """Of the dogleg, by products with J; None: dense."""
    preconditioner: Callable | None
    """M(dz, x), about J^-1 dz, of the user's PyTrees."""

    @property
    def minimizes(self) -> bool:
        """Whether it sees |misfit|^2 only."""
        return isinstance(self.given, optx.AbstractMinimiser)

    @property
    def descends(self) -> bool:
        """Whether it can come to rest at a misfit that is smallest, but not zero."""
        return not isinstance(self.given, optx.AbstractRootFinder)

    @property
    def is_dense(self) -> bool:
        """Whether the Jacobian is made."""
        return not self.minimizes and self.linear_solver is None

    def solver(self, preconditioner: lx.AbstractLinearOperator | None) -> Solver:
        """The solver, with the preconditioner in the units that it works in."""
        if self.given is not None:
            return self.given
        if self.linear_solver is None:
            return dogleg(rtol=1e-8, atol=1e-8)
        linear_solver = self.linear_solver
        if preconditioner is not None:
            linear_solver = _Preconditioned(linear_solver, preconditioner)
        return optx.Dogleg(rtol=1e-8, atol=1e-8, linear_solver=linear_solver)


def precondition(preconditioner: Callable, forward: FlatMap, x: Flat, dz: Flat) -> Flat:
    """M(dz, x) between flat vectors (`ValueError` for an answer unlike x)."""
    like = forward.unravel_x(x)
    arguments = forward.unravel_z(dz), like
    dx = call_user(preconditioner, "the preconditioner", *arguments)
    return ravel_like("the preconditioner's answer", dx, "x", like)


class _Preconditioned(lx.AbstractLinearSolver):
    """A linear solver with its preconditioner, for a solver that passes on none."""

    inner: lx.AbstractLinearSolver
    preconditioner: lx.AbstractLinearOperator

    def _with(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"preconditioner": self.preconditioner, **options}

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        return self.inner.init(operator, self._with(options))

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        return self.inner.compute(state, vector, self._with(options))

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        return self.inner.transpose(state, self._with(options))

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        return self.inner.conj(state, self._with(options))

    def assume_full_rank(self) -> bool:
        return self.inner.assume_full_rank()
