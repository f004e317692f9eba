"""A simulator whose backward pass is a physical step: z = P(x), dL/dx = W (x - x+)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import PyTree

from physgrad.inverses.flat import Flat, FlatMap, Scalar, flat_map
from physgrad.inverses.rule import Inverse, as_rule, identity_metric
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State, start_state
from physgrad.inverses.trees import in_precision
from physgrad.simulator import Chain, Simulator, as_simulator
from physgrad.train.backward import (
    plain_derivative,
    proxy_gradient,
    where_it_holds,
    without_derivative,
)
from physgrad.train.proxy_metric import Place, ProxyMetric, as_proxy_metric


class PhysicalSimulator(eqx.Module):
    """z = P(x), pulled back physically; made by `with_physical_gradient`."""

    simulator: Simulator | Chain
    """z = P(x)."""
    inverse: Inverse | None
    """Another rule than that of the simulator."""
    step_size: Scalar
    """eta, in z-space."""
    metric: ProxyMetric
    """W."""
    cotangent_scale: Scalar
    """s: what undoes the scale of the loss."""

    def __call__(self, x: PyTree) -> PyTree:
        forward, flat = flat_map(self.simulator.functions, x)
        rule = self.inverse or self.simulator.rule
        way = _Way(rule, self.step_size, self.metric, self.cotangent_scale)
        way = without_derivative(in_precision(way, flat.dtype))
        return forward.unravel_z(_through((flat, forward), way))


def with_physical_gradient(
    simulator: Callable,
    inverse: Any = None,
    step_size: Any = 1.0,
    metric: Any = None,
    cotangent_scale: Any = 1.0,
) -> PhysicalSimulator:
    """The simulator, for any program in JAX, with a physical backward pass.

    forward: z = P(x);  backward of dL/dz: W (x - x+) / s, x+ = P^-1(z - eta s dL/dz)

    with eta = `step_size` and s = `cotangent_scale`. It knows the loss by dL/dz alone,
    not its Hessian, so **the scale of the loss matters**: s is to make s dL/dz the step
    to the optimum. For the sum of (z - target)^2 that is s = 1/2, for its mean over n
    samples s = n/2. Where you have the loss at hand, `physical_loss` needs no s.

    Derivatives with respect to arrays of the simulator are the plain ones. Forward-mode
    and second derivatives are refused. A sample whose inverse fails has the
    gradient zero.

    **Arguments:**

    - `simulator`: a `Simulator`, a `Chain`, or a function (numerical inverse).
    - `inverse`: a rule in place of the simulator's own.
    - `step_size`: eta, in z-space.
    - `metric`: W, as in `physical_loss`, with B = I.
    - `cotangent_scale`: s, positive.

    **Raises:** `TypeError`, `ValueError` for wrong values or kinds of these.

    >>> import jax, jax.numpy as jnp, physgrad as pg
    >>> exp = pg.Simulator(jnp.exp, pg.AnalyticInverse(lambda z: jnp.log(z)))
    >>> physical = pg.with_physical_gradient(exp, cotangent_scale=1 / 2)
    >>> loss = lambda x: jnp.sum((physical(x) - 1.0) ** 2)
    >>> print(jax.grad(loss)(jnp.array([-5.0])))                    # 2 (x - log 1)
    [-10.]

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, section 3.
    """
    return PhysicalSimulator(
        as_simulator(simulator),
        as_rule(inverse),
        positive("step_size")(step_size),
        as_proxy_metric(metric),
        positive("cotangent_scale")(cotangent_scale),
    )


class _Way(eqx.Module):
    """What is held constant."""

    rule: Inverse
    step_size: Scalar
    metric: ProxyMetric
    scale: Scalar


@eqx.filter_custom_vjp
def _through(point: tuple[Flat, FlatMap], way: _Way) -> Flat:
    x, forward = point
    return forward(x)


@_through.def_fwd
def _forward(perturbed: Any, point: Any, way: _Way) -> tuple[Flat, State]:
    x, forward = point
    state = start_state(forward, x)
    return state.z, state


@_through.def_bwd
def _backward(
    state: State, cotangent: Flat, perturbed: Any, point: Any, way: _Way
) -> tuple[Flat, Any]:
    x, forward = point
    euclidean = identity_metric(state.z)
    z_target = state.z - way.step_size * way.scale * cotangent
    rule = way.rule.recalling(way.rule.begin(state))
    answer = rule.pull_back(forward, z_target, state, euclidean)
    x_pulled, _ = where_it_holds(answer.x, answer.result, x)
    gradient = proxy_gradient(way.metric, x_pulled, Place(forward, x, euclidean))
    through = plain_derivative(forward, perturbed[1], x, cotangent)
    return gradient / way.scale, through
