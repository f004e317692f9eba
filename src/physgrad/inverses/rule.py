"""What a rule is: where it starts, the metric it measures in, what it answers.

A rule answers one question: which x+ belongs to the point z~ that the step in z has
reached? `pull_back(forward, z_target, state, metric) -> PullBack`. The certificate of
the answer is |P(x+) - z~|, measured, never assumed.
"""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Int

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, Scalar
from physgrad.inverses.jacobian import jacobian_operator
from physgrad.inverses.settings import describe
from physgrad.inverses.state import State
from physgrad.results import Cause, Result

Code = Int[Array, ""]


class Metric(eqx.Module):
    """The metric B of a step in z, by its factor: |dz|_B^2 = dz^T B dz = |R dz|^2.

    The factor R, not B = R^T R, is what is stored and handed on: in float32 a
    product R^T R loses half of the digits.
    """

    factor: lx.AbstractLinearOperator | None
    """R; None where only products with B are known (many entries, general loss)."""

    def root(self) -> lx.AbstractLinearOperator:
        """R (`ValueError` where it is not known)."""
        if self.factor is None:
            raise ValueError(
                "this rule measures the misfit in the metric of the loss, which has no "
                "dense Hessian at this size; use SquaredLoss, metric='gradient', or a "
                "square simulator with an exact inverse"
            )
        return self.factor

    def through(self, jacobian: lx.AbstractLinearOperator) -> Metric:
        """The metric J^T B J that B induces on the space before: its factor is R J."""
        return Metric(None if self.factor is None else self.factor @ jacobian)


def identity_metric(point: Flat) -> Metric:
    """B = I: the Euclidean metric of the space that `point` lies in."""
    return Metric(lx.IdentityLinearOperator(jax.eval_shape(lambda: point)))


class PullBack(eqx.Module):
    """The answer of a rule: the point x+, and the certificate |P(x+) - z~|."""

    x: Flat
    """x+, the point pulled back."""
    z: Flat
    """P(x+): the z of the next step."""
    residual: Scalar
    """Largest entry of |P(x+) - z~|."""
    result: Code
    """A `Result` by its code."""
    tolerance: Scalar | float = jnp.inf
    """What the rule promises of the residual; infinite where it promises nothing."""
    cause: Code | int = Cause.none.code
    """A `Cause` by its code."""
    rung: Code | int = 0
    """Which rule of a `Ladder` served, counted from 0."""
    damping: Scalar | float = 0.0
    """1/tau: the weight of |x+ - x_ref|^2 that the rule has chosen or was given."""
    evaluations: Evaluations = Evaluations()
    """What the answer cost."""
    secant: Scalar | None = None
    """|z+ - z| / |x+ - x|, where the rule has measured it."""
    memory: Any = None
    """What the rule remembers for the next step, where it does."""


class Inverse(eqx.Module):
    """A rule that pulls points back: from z~ to an x+ with P(x+) = z~, or near it."""

    def __repr__(self) -> str:
        return describe(self)

    @abc.abstractmethod
    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        """Pull z~ back to x.

        **Arguments:**

        - `forward`: the simulator P between flat vectors; `forward.unravel_x` and
            `forward.unravel_z` give the user's PyTrees.
        - `z_target`: z~, shape (z entries,).
        - `state`: where the run is: `state.x` and `state.z` = P(`state.x`).
        - `metric`: B, in which a misfit that cannot be avoided is measured.
        """

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """The metric B1 in which the link before this one is to measure: J^T B J.

        B1 (x+ - x) = J^T B (z~ - z) must hold, so that every fixed point of a chain
        has J^T dL/dz = 0; a rule that damps or filters says so by its own.
        """
        return metric.through(self.jacobian(forward, state, answer))

    def jacobian(
        self, forward: FlatMap, state: State, answer: PullBack
    ) -> lx.AbstractLinearOperator:
        """J at the state, as the rule knows it."""
        del answer
        return jacobian_operator(forward, state.x)

    def begin(self, state: State) -> Any:
        """What it remembers from step to step: a PyTree of arrays, None for nothing."""
        del state

    def recalling(self, memory: Any) -> Inverse:
        """The rule with what it remembers."""
        del memory
        return self

    def verify(self, forward: FlatMap, state: State) -> PullBack:
        """Before the first step: is P^-1(P(x0)) = x0?

        Rules that are right by construction have nothing to check.
        """
        del forward
        completed = jnp.asarray(Result.completed.code)
        return PullBack(state.x, state.z, jnp.zeros((), state.z.dtype), completed)


def as_rule(value: Any) -> Inverse | None:
    """A rule or None as it is (`TypeError` for anything else, with what to do)."""
    if value is None or isinstance(value, Inverse):
        return value
    hint = ""
    if isinstance(value, type) and issubclass(value, Inverse):
        hint = f"; make one: {value.__name__}(...)"
    elif callable(value):
        hint = f"; wrap it: AnalyticInverse({getattr(value, '__name__', 'f')})"
    raise TypeError(
        "inverse must be a rule such as AnalyticInverse(f) or NumericalInverse(), got "
        f"{value!r}{hint}"
    )
