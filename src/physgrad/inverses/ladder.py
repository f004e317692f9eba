"""A ladder of rules: the first one whose certificate holds serves the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool

from physgrad.inverses.flat import Flat, FlatMap, largest
from physgrad.inverses.rule import Inverse, Metric, PullBack, as_rule
from physgrad.inverses.settings import brief
from physgrad.inverses.state import State
from physgrad.results import LAST_CODE_THAT_GOES_ON, Cause, Result

# Distances that differ by so many eps are the same.
SLACK = 16.0


def _rungs(value: Any) -> tuple[Inverse, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"rungs must be a list of rules, got {brief(value)}")
    if not value:
        raise ValueError("a ladder needs at least one rung, got none")
    rungs: list[Inverse] = []
    for rule in value:
        if rule is None:
            raise TypeError("a rung must be a rule, got None")
        rungs.extend(rungs_of(as_rule(rule)))
    return tuple(rungs)


class Ladder(Inverse):
    """x+ = the answer of the first rule whose certificate holds.

    A rule that promises P(x+) = z~ serves where it keeps that promise, or has found
    the nearest point; one that promises nothing, where its x+ comes nearer to z~, in
    the metric of the step, than the present x (the last one, where it goes no farther
    away). Rules further down are not evaluated.
    Which rung served each step stands in `run.trajectory.certificates.rungs`, and in
    the message of a run. Where none serves, the run ends with what the first one said.

    **Arguments:**

    - `rungs`: a list of rules, the best one first. A ladder among them is unrolled.

    **Raises:** `TypeError` for what is no rule; `ValueError` for a ladder without
    rungs.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> wrong = pg.AnalyticInverse(lambda z: z / 2 + (z < 2))       # lies below 2
    >>> ladder = pg.Ladder([wrong, pg.NumericalInverse()])
    >>> objective = pg.Objective(lambda x: 2 * x, lambda z: jnp.sum(z**2))
    >>> method = pg.PhysicalGradient(0.5, ladder)
    >>> run = pg.minimize(objective, method, jnp.array([4.0]), num_steps=4)
    >>> run.trajectory.certificates.rungs.tolist(), run.trajectory["x"][:, 0].tolist()
    ([0, 0, 1, 1], [4.0, 2.0, 1.0, 0.5, 0.25])
    """

    rungs: tuple[Inverse, ...] = eqx.field(converter=_rungs)
    """The best one first."""

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        def climb(number: int) -> PullBack:
            answer = self.rungs[number].pull_back(forward, z_target, state, metric)
            slack = SLACK if number == len(self.rungs) - 1 else -SLACK
            return _on_rung(number, answer, z_target, state, metric, slack)

        first = answer = climb(0)
        for number in range(1, len(self.rungs)):
            answer = lax.cond(serves(answer), _same, _next(climb, number), answer)
        cost = answer.evaluations
        answer = _choose(serves(answer), answer, first)
        return eqx.tree_at(lambda a: a.evaluations, answer, cost)

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """The metric of the rung that served, its factor filled up with rows of zeros.

        Only the products that are asked for are computed.
        """
        if metric.factor is None:
            return metric
        like = jax.eval_shape(lambda: state.x)

        def product(rung: Inverse) -> Callable[[Flat], Flat]:
            return lambda dx: (
                rung.handed_on(answer, forward, state, metric).root().mv(dx)
            )

        products = [product(rung) for rung in self.rungs]
        rows = max(jax.eval_shape(mv, like).size for mv in products)

        def filled_up(mv: Callable[[Flat], Flat]) -> Callable[[Flat], Flat]:
            def product(dx: Flat) -> Flat:
                short = mv(dx)
                return jnp.pad(short, (0, rows - short.size))

            return product

        def chosen(dx: Flat) -> Flat:
            return lax.switch(answer.rung, [filled_up(mv) for mv in products], dx)

        return Metric(lx.FunctionLinearOperator(chosen, like))

    def verify(self, forward: FlatMap, state: State) -> PullBack:
        """The first rung that holds at the start; the first one's failure else."""
        checks = [_uniform(rung.verify(forward, state)) for rung in self.rungs]
        answer = checks[0]
        for check in checks[1:]:
            answer = lax.cond(
                serves(answer), lambda a, _: a, lambda _, b: b, answer, check
            )
        return lax.cond(serves(answer), lambda: answer, lambda: checks[0])


def rungs_of(rule: Inverse | None) -> tuple[Inverse, ...]:
    """The rules of a ladder; any other rule is its only rung.

    >>> import physgrad as pg
    >>> rungs_of(pg.TransposedInverse())
    (TransposedInverse(),)
    """
    if isinstance(rule, Ladder):
        return rule.rungs
    return () if rule is None else (rule,)


def serves(answer: PullBack) -> Bool[Array, ""]:
    """Whether the run may go on with an answer."""
    return answer.result <= LAST_CODE_THAT_GOES_ON


def _choose(first: Bool[Array, ""], one: PullBack, other: PullBack) -> PullBack:
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), one, other)


def _same(answer: PullBack) -> PullBack:
    return answer


def _next(
    climb: Callable[[int], PullBack], number: int
) -> Callable[[PullBack], PullBack]:
    """The answer of the next rung, with what the ones above have cost."""

    def answered(before: PullBack) -> PullBack:
        answer = climb(number)
        spent = jax.tree.map(jnp.add, before.evaluations, answer.evaluations)
        return eqx.tree_at(lambda a: a.evaluations, answer, spent)

    return answered


def _on_rung(
    number: int,
    answer: PullBack,
    z_target: Flat,
    state: State,
    metric: Metric,
    slack: float,
) -> PullBack:
    """The answer of a rung, refused where it promises nothing and comes no nearer."""
    answer = _uniform(answer)
    root = metric.factor or lx.IdentityLinearOperator(jax.eval_shape(lambda: state.z))
    before, after = root.mv(state.z - z_target), root.mv(answer.z - z_target)
    unit = largest(before)
    unit = jnp.where(unit > 0, unit, 1.0)
    before, after = (jnp.linalg.norm(way / unit) for way in (before, after))
    nearer = after <= (1 + slack * jnp.finfo(before.dtype).eps) * before
    astray = serves(answer) & jnp.isinf(answer.tolerance) & ~nearer
    result = jnp.where(astray, Result.inverse_failed.code, answer.result)
    cause = jnp.where(astray, Cause.no_nearer.code, answer.cause)
    return eqx.tree_at(
        lambda a: (a.result, a.cause, a.rung),
        answer,
        (result.astype(jnp.int32), cause.astype(jnp.int32), jnp.int32(number)),
    )


def _uniform(answer: PullBack) -> PullBack:
    """An answer whose parts are arrays of the kinds that all rules have in common."""

    def code(value: Any) -> Array:
        return jnp.asarray(value, jnp.int32)

    def number(value: Any) -> Array:
        return jnp.asarray(value, answer.z.dtype)

    return PullBack(
        answer.x,
        answer.z,
        number(answer.residual),
        code(answer.result),
        number(answer.tolerance),
        code(answer.cause),
        code(answer.rung),
        number(answer.damping),
        jax.tree.map(code, answer.evaluations),
    )
