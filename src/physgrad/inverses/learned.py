"""An inverse that a network has learned, corrected by its difference and polished."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from physgrad.inverses.analytic import called, check_like
from physgrad.inverses.certificate import certificate_tolerance, jumps, report
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, largest
from physgrad.inverses.numerical import NumericalInverse
from physgrad.inverses.rule import Inverse, Metric, PullBack, as_rule
from physgrad.inverses.settings import brief
from physgrad.inverses.state import State
from physgrad.results import Cause, Result


class LearnedInverse(Inverse):
    """x+ = x + n(z~) - n(z), n a network that maps z to x; then polished by a solver.

    The difference of two answers of the network leaves out what both are wrong by: x+
    is x where z~ is z, however badly n was trained. A solver starts there, so that a
    good network saves its steps, and a bad one costs them: where the guess is farther
    from z~ than z is, the solver starts at x. The certificate is that of the solver;
    without one nothing is promised, and the residual is reported.

    **Arguments:**

    - `network`: x = n(z), of the user's PyTrees; `train.fit_inverse` makes one.
    - `polish`: a rule; None for the network alone.

    **Raises:** `TypeError` for what is no function, or no rule; when it is used, for an
    answer that is not like x.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> nearly = pg.LearnedInverse(lambda z: 0.9 * jnp.sqrt(z))     # as if it were one
    >>> objective = pg.Objective(
    ...     pg.Simulator(lambda x: x**2, nearly), pg.SquaredLoss(jnp.array([4.0])))
    >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([1.0]), 1)
    >>> print(run.x.round(4))
    [2.]

    **Source:** Lee, Zhang, Fischer, Bengio, "Difference Target Propagation", 2015.
    """

    network: Callable
    """x = n(z)."""
    polish: Inverse | None = eqx.field(converter=as_rule, default=NumericalInverse())
    """What starts at the guess."""

    def __check_init__(self) -> None:
        if not callable(self.network) or isinstance(self.network, type):
            raise TypeError(
                f"network must be a function x = n(z), got {brief(self.network)}"
            )

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        guess = state.x + self._learned(forward, z_target, state)
        guess = guess - self._learned(forward, state.z, state)
        used = Evaluations(inverse=2)
        if self.polish is None:
            return report(forward, guess, z_target, used)
        spaces = forward.spaces(guess)
        nearer = largest(spaces[-1] - z_target) < largest(state.z - z_target)
        begin = [
            jnp.where(nearer, new, old)
            for new, old in zip(spaces, state.spaces, strict=True)
        ]
        there = state.move(tuple(begin))
        answer = self.polish.pull_back(forward, z_target, there, metric)
        return _on_the_branch(answer, forward, z_target, state, used)

    def verify(self, forward: FlatMap, state: State) -> PullBack:
        if self.polish is None:
            return super().verify(forward, state)
        return self.polish.verify(forward, state)

    def _learned(self, forward: FlatMap, z: Flat, state: State) -> Flat:
        like = forward.unravel_x(state.x)
        x = called(self.network, (forward.unravel_z(z),))
        check_like(x, like, branches=False)
        return ravel_pytree(x)[0]


def _on_the_branch(
    answer: PullBack,
    forward: FlatMap,
    z_target: Flat,
    state: State,
    used: Evaluations,
) -> PullBack:
    """The answer, unless the guess has thrown the solver to another branch."""
    rtol = jnp.sqrt(jnp.finfo(z_target.dtype).eps)
    tolerance = certificate_tolerance(forward, z_target, state, rtol)
    jumped, looked = jumps(forward, answer.x, answer.z, state, tolerance)
    jumped &= answer.result == Result.completed.code
    return dataclasses.replace(
        answer,
        result=jnp.where(jumped, Result.inverse_failed.code, answer.result),
        cause=jnp.where(jumped, Cause.jumped.code, answer.cause),
        evaluations=answer.evaluations + used + looked + Evaluations(forward=1),
    )
