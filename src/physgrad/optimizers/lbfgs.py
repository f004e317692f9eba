"""L-BFGS, from optimistix."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import optimistix as optx

from physgrad.inverses.settings import whole_number
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.optimizers.optimistix_optimizer import OptimistixOptimizer


class LBFGS(Optimizer):
    """Limited-memory BFGS on L(P(x)), with a backtracking line search.

    One step is one evaluation: a trial that the line search rejects leaves x where it
    is. The implementation is `optimistix.LBFGS`.

    **Arguments:**

    - `history_length`: pairs of steps and gradient differences that are kept.

    **Raises:** `ValueError`, `TypeError` for a length that is no whole number above 0.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    >>> print(f"{pg.minimize(objective, pg.LBFGS(), jnp.array([2.0]), 8).x[0]:.3f}")
    0.000

    **Source:** Liu and Nocedal, Mathematical Programming 45, 1989.
    """

    history_length: int = eqx.field(
        converter=whole_number("history_length", 1), static=True, default=10
    )

    def init(self, objective: FlatObjective, state: State) -> Any:
        return self._optimizer().init(objective, state)

    def update(
        self, objective: FlatObjective, state: State, memory: Any
    ) -> tuple[Step, Any]:
        return self._optimizer().update(objective, state, memory)

    def _optimizer(self) -> OptimistixOptimizer:
        solver = optx.LBFGS(rtol=0.0, atol=0.0, history_length=self.history_length)
        return OptimistixOptimizer(solver)
