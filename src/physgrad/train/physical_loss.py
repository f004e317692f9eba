"""A loss for networks: its value is the true one, its gradient leads to P^-1(z~).

d physical_loss / dx = W (x - x+), x+ = P^-1(z - eta H_L^-1 dL/dz)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool, PyTree

from physgrad.inverses.flat import Flat, Scalar
from physgrad.inverses.rule import Code, Inverse, as_rule
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.inverses.trees import in_precision
from physgrad.objective.objective import FlatObjective, Objective
from physgrad.objective.z_step import ZMetric, ZStep, as_z_metric
from physgrad.physical_gradient import physical_step
from physgrad.results import LAST_CODE_THAT_GOES_ON
from physgrad.simulator import Chain, Simulator, as_simulator
from physgrad.train.backward import (
    plain_derivative,
    proxy_gradient,
    where_it_holds,
    without_derivative,
)
from physgrad.train.judged import as_loss, judged
from physgrad.train.proxy_metric import Place, ProxyMetric, as_proxy_metric


class Pulled(eqx.Module):
    """The point that a physical step reaches, and whether it can be trusted."""

    x: PyTree
    """x+, like x; x itself where `ok` is false."""
    result: Code
    """A `Result` by its code: `Result.from_code(code)`, of one sample."""

    @property
    def ok(self) -> Bool[Array, "..."]:
        """Whether x+ counts: its certificate holds, or the nearest point was taken."""
        return self.result <= LAST_CODE_THAT_GOES_ON


class PhysicalLoss(eqx.Module):
    """L(P(x), target), with W (x - x+) as its gradient; made by `physical_loss`."""

    simulator: Simulator | Chain
    """z = P(x)."""
    loss: Callable | None
    """L(z, target); None for the sum of squares."""
    inverse: Inverse | None
    """Another rule than that of the simulator."""
    step_size: Scalar
    """eta, in z-space."""
    metric: ProxyMetric
    """W."""
    z_metric: ZMetric
    """B, of the step in z."""

    def __call__(self, x: PyTree, target: PyTree) -> Scalar:
        """L(P(x), target), a scalar, of one sample."""
        objective, flat = self._objective(target).flatten(x)
        return _true_loss((flat, objective), self._fixed(objective, flat))

    def pull_back(self, x: PyTree, target: PyTree) -> Pulled:
        """x+ of one sample, by which the gradient goes, with its result code."""
        objective, flat = self._objective(target).flatten(x)
        fixed, state = self._fixed(objective, flat), objective.start(flat)
        way = fixed.z_metric.step(objective.loss, state.z)
        x_pulled, result = _pull_back(objective, state, way, fixed)
        return Pulled(objective.simulator.unravel_x(x_pulled), result)

    def _objective(self, target: PyTree) -> Objective:
        return Objective(self.simulator, judged(self.loss, target))

    def _fixed(self, objective: FlatObjective, x: Flat) -> _Fixed:
        rule = self.inverse or objective.rule
        fixed = _Fixed(rule, self.step_size, self.metric, self.z_metric)
        return without_derivative(in_precision(fixed, x.dtype))


class _Fixed(NamedTuple):
    """What no derivative goes through."""

    rule: Inverse
    step_size: Scalar
    metric: ProxyMetric
    z_metric: ZMetric


def physical_loss(
    simulator: Callable,
    loss: Any = None,
    inverse: Any = None,
    step_size: Any = 1.0,
    metric: Any = None,
    *,
    z_metric: Any = "newton",
) -> PhysicalLoss:
    """The true loss of a network's output x, with the physical gradient.

    value = L(P(x), target),  gradient = W (x - x+),
    x+ = P^-1(z - step_size H_L^-1 dL/dz), held constant.

    It is a function of one sample, `loss(x, target)`, for `jax.vmap` over a batch,
    `jax.jit`, `jax.grad` and `jax.lax.scan`, its batch on one device or sharded over a
    mesh whose axes are `jax.sharding.AxisType.Auto`. A descent step on it is one
    towards x+ on the proxy 1/2 |x - x+|_W^2. Derivatives with respect to the target or
    the arrays of the simulator are those of the plain loss. Forward-mode and second
    derivatives are refused, since x+ is constant: they would be wrong numbers.

    A sample without x+ has the gradient zero, so that it does not spoil its batch: its
    inverse fails, or its loss has no Newton step, as where it is not strictly convex in
    z (a softmax, Huber's loss far out). `loss.pull_back(x, target).result` tells which
    these are. Where the simulator itself is not finite the value says so.

    Under `jax.vmap` all samples of a batch pay for the dearest one. What spares most is
    `AnalyticInverse(..., one_to_one=True)` where that is true: no other branches are
    looked for.

    **Arguments:**

    - `simulator`: a `Simulator`, a `Chain`, or a function (numerical inverse); what
        differs from sample to sample, or is trained, is best an array of a module.
    - `loss`: L(z, target), a scalar; None for the sum of (z - target)^2. Then the
        target may be a `SquaredLoss(target, weight)`, whose weight masks entries.
    - `inverse`: a rule in place of the simulator's own.
    - `step_size`: eta, in z-space; 1 asks for the optimum of a quadratic loss.
    - `metric`: W. None or "x" for I, which makes x best; "z" for J^T B J, which makes z
        best, as the plain gradient does; a number between 0 and 1 for that part of
        "z"; a symmetric matrix; or a function (dx, x) -> W dx.
    - `z_metric`: B, as `metric` of `PhysicalGradient`: "newton" for H_L; where that is
        not positive definite, as of absolute values or Huber's loss far out, "gradient"
        for I, which has a step everywhere.

    **Raises:** `TypeError`, `ValueError` for wrong values or kinds of these; when it is
    used, for a target that does not fit z.

    >>> import jax, jax.numpy as jnp, physgrad as pg
    >>> root = pg.AnalyticInverse(lambda z: jnp.log(z))
    >>> loss = pg.physical_loss(pg.Simulator(jnp.exp, root))
    >>> x, target = jnp.array([-5.0]), jnp.array([1.0])
    >>> print(jax.grad(loss)(x, target))                            # x - log(target)
    [-5.]

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, section 3.
    """
    if isinstance(simulator, Objective):
        raise TypeError(
            "simulator must be a simulator or a function z = P(x), got an Objective: "
            "give its simulator, and its loss as `loss`"
        )
    return PhysicalLoss(
        as_simulator(simulator),
        as_loss(loss),
        as_rule(inverse),
        positive("step_size")(step_size),
        as_proxy_metric(metric),
        as_z_metric(z_metric),
    )


@eqx.filter_custom_vjp
def _true_loss(point: tuple[Flat, FlatObjective], fixed: _Fixed) -> Scalar:
    x, objective = point
    return objective(x)


@_true_loss.def_fwd
def _value_and_gradient(
    perturbed: Any, point: Any, fixed: _Fixed
) -> tuple[Scalar, Flat]:
    del perturbed
    x, objective = point
    state = objective.start(x)
    way = fixed.z_metric.step(objective.loss, state.z)
    x_pulled, _ = _pull_back(objective, state, way, fixed)
    place = Place(objective.simulator, x, way.metric)
    return objective.loss(state.z), proxy_gradient(fixed.metric, x_pulled, place)


@_true_loss.def_bwd
def _backward(
    gradient: Flat, cotangent: Scalar, perturbed: Any, point: Any, fixed: _Fixed
) -> tuple[Flat, Any]:
    x, objective = point  # of which the target or the simulator may be perturbed
    return cotangent * gradient, plain_derivative(objective, perturbed[1], x, cotangent)


def _pull_back(
    objective: FlatObjective, state: State, way: ZStep, fixed: _Fixed
) -> tuple[Flat, Code]:
    """x+, or x where the step failed, and the code of its result."""
    rule = fixed.rule.recalling(fixed.rule.begin(state))
    step = physical_step(objective, state, way, fixed.step_size, rule)
    return where_it_holds(step.state.x, step.result, state.x)
