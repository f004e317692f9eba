"""The noise-safe inverse: as close to the target as its noise allows, not closer."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jax import lax
from jaxtyping import PyTree

from physgrad.inverses.certificate import certificate_tolerance, excess
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, largest_by_leaf
from physgrad.inverses.homotopy import End, Problem, search, stationarity
from physgrad.inverses.jacobian import check_dense, jacobian_cost
from physgrad.inverses.penalty import Penalty, as_penalty
from physgrad.inverses.rule import Inverse, Metric, PullBack
from physgrad.inverses.settings import optional, whole_number
from physgrad.inverses.state import State
from physgrad.inverses.trees import arrays, check_values, ravel_like
from physgrad.inverses.weight import CrossValidation, PredictiveRisk
from physgrad.results import Cause, Result

# Derivatives by the implicit function theorem.
_ADJOINT = optx.ImplicitAdjoint(lx.AutoLinearSolver(well_posed=False))
MATRIX_FREE = "LinearizedInverse(solver=lineax.LSMR(rtol=1e-6, atol=0.0))"


def _noise(value: PyTree) -> PyTree:
    tree = arrays("noise", value)
    check_values(
        "noise", tree, lambda v: np.isfinite(v) & (v >= 0), "zero or positive, finite"
    )
    return tree


def _prior(value: PyTree) -> PyTree:
    tree = arrays("prior", value)
    check_values("prior", tree, lambda v: np.isfinite(v), "finite")
    return tree


class RegularizedInverse(Inverse):
    """x+ = argmin 1/2 |P(x+) - z~|_B^2 + 1/(2 tau) |L (x+ - x_ref)|^2, by the noise.

    An exact inverse amplifies the noise of a target; this one fits it as closely as the
    noise allows. tau grows from where x+ stays at x_ref, each tau starting Gauss-Newton
    steps at the point of the last one (iteratively regularized Gauss-Newton), until

    - with `noise` known, sum ((P(x+) - z~) / noise)^2 + 2.8 trace of the problem
        linearized at the last point is least, with the trace of the influence matrix
        J (J^T B J + L^T L / tau)^-1 J^T B, the number of parameters fitted: with 2 in
        place of 2.8 that is the unbiased predictive risk estimate, Mallows' C_p; 2.8
        fits noise in fewer runs. Where the sum at x is within 5 % of the number of
        entries already, or it keeps the certificate and no tau is expected to predict
        better than x does, x stays.
    - without it, generalized cross-validation of the problem linearized at the last
        point is best. It takes an end of its range where that is best: x_ref, or the
        pseudo-inverse of J. It needs clearly more entries in z than parameters that
        they determine, and noise that is independent and, in the metric B, of one size.

    The certificate promises the noise: sum ((P(x+) - z~) / noise)^2 <= m, what noise
    stays below in all but one of 740 runs: m = n (1 - s + 3 sqrt(s))^3, s = 2 / (9 n),
    n the number of entries. So |P(x+) - z~| <= max(noise) sqrt(m). A point that misses
    it is taken and labelled `target_not_reachable`: there the noise is given too small.
    Only more entries in z than in x can show that. A square simulator fits any noise:
    from 0.6 times the true one downwards x+ blows up, unlabelled; when in doubt give
    more than there is, or none.
    Without `noise` nothing is promised. The metric handed on is J^T B J + L^T L / tau.
    Derivatives of x+ are those of the implicit function theorem, at the tau chosen and
    for x+ as the minimum, which it is to 1 % of the noise.

    **Arguments:**

    - `noise`: standard deviation of the noise of each entry of z~, in the units of z: a
        number, zero for none (tau as weak as rounding allows), or a PyTree like z; None
        for tau from the data. It is that of the target of the loss for step size 1.
    - `prior`: x_ref: None for the present x, which leaves fixed points alone; or a
        PyTree like x, towards which the answer is biased, by design.
    - `operator`: L: "identity", "gradient" or "laplacian", differences between
        neighbors along each axis of each leaf of x (smooth x); or a matrix of shape
        (rows, x entries) or a lineax operator. What it does not see is not regularized.
    - `max_steps`: Gauss-Newton steps in one pull-back; more end the run as
        `inverse_failed`.

    **Raises:** `TypeError`, `ValueError` for a noise that is negative or not finite, an
    unknown operator, a number of steps that is not positive; when used, for a noise
    that is not like z, a prior that is not like x, an operator with another number of
    columns, or dense matrices above 1 GiB.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> gains = jnp.array([1.0, 1e-3])                  # the second is all but unseen
    >>> noisy = pg.SquaredLoss(jnp.array([2.0, 0.1]))         # of [2, 0], noise 0.1
    >>> objective = pg.Objective(lambda x: gains * x, noisy)
    >>> safe = pg.PhysicalGradient(1.0, inverse=pg.RegularizedInverse(noise=0.1))
    >>> print(pg.minimize(objective, safe, jnp.zeros(2), num_steps=1).x.round(2))
    [1.99 0.03]

    **Source:** Kaltenbacher, Neubauer, Scherzer, Iterative Regularization Methods for
    Nonlinear Ill-Posed Problems, 2008, section 4.3; Vogel, Computational Methods for
    Inverse Problems, 2002, section 7.1; Hansen, Rank-Deficient and Discrete Ill-Posed
    Problems, 1998, section 7.4.
    """

    noise: PyTree = eqx.field(converter=optional(_noise), default=None)
    """Standard deviation of the entries of z~; None: unknown."""
    prior: PyTree = eqx.field(converter=optional(_prior), default=None)
    """x_ref; None: the present x."""
    operator: Penalty = eqx.field(converter=as_penalty, default="identity")
    """L."""
    max_steps: int = eqx.field(
        converter=whole_number("max_steps", 1), default=64, static=True
    )
    """Gauss-Newton steps in one pull-back, at most."""

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        problem = self._problem(forward, z_target, state, metric)
        x, end = _ADJOINT.apply(
            # lambdas, since a type checker turns named functions into closures, which
            # cannot be differentiated implicitly
            lambda inputs: search(*inputs[:2]),
            lambda x, end, inputs: stationarity(x, end, inputs[0]),
            (problem, self.max_steps),
            frozenset(),
        )
        return _answer(problem, x, lax.stop_gradient(end), self.max_steps)

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """B1 = J^T B J + L^T L / tau: R J stacked on L / sqrt(tau)."""
        through = super().handed_on(answer, forward, state, metric).root()
        rows = self.operator.rows(forward, state.x)

        def stacked(dx: Flat) -> Flat:
            penalty = jnp.sqrt(answer.damping) * (rows @ dx)
            return jnp.concatenate([through.mv(dx), penalty])

        return Metric(lx.FunctionLinearOperator(stacked, through.in_structure()))

    def _problem(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> Problem:
        x, z = state.x, state.z
        rows = jax.eval_shape(lambda: self.operator.rows(forward, x)).shape[0]
        check_dense(z.size + rows, x, MATRIX_FREE)
        root = metric.root().as_matrix()
        seen = jnp.any(root != 0, axis=0)
        shown = jnp.minimum(jnp.sum(seen), jnp.sum(jnp.any(root != 0, axis=1)))
        prior, choice = x, CrossValidation(seen, shown.astype(x.dtype))
        if self.prior is not None:
            prior = ravel_like("prior", self.prior, "x", forward.unravel_x(x))
        if self.noise is not None:
            choice = PredictiveRisk(seen, self._noise_like(forward, z))
        return Problem(
            forward,
            z_target,
            (x, z),
            prior,
            root,
            self.operator.rows(forward, x),
            choice,
            certificate_tolerance(forward, z_target, state, _rtol(x)),
        )

    def _noise_like(self, forward: FlatMap, z: Flat) -> Flat:
        if isinstance(self.noise, jax.Array) and self.noise.ndim == 0:
            return jnp.full_like(z, self.noise)
        return ravel_like("noise", self.noise, "z", forward.unravel_z(z))


def _rtol(x: Flat) -> float:
    """A part of the step in z that counts as rounding."""
    return float(jnp.finfo(x.dtype).eps) ** 0.75


def _answer(problem: Problem, x: Flat, end: End, max_steps: int) -> PullBack:
    """Whether the misfit is within the noise, and the promise where that is known."""
    choice, rounding = problem.choice, problem.tolerance
    z = jnp.where(end.moved, problem.forward(x), problem.start[1])
    misfit = jnp.where(choice.seen, z - problem.z_target, 0.0)
    residual = largest_by_leaf(problem.forward, misfit)
    noise = largest_by_leaf(problem.forward, choice.most())
    worst = jnp.argmax(excess(residual, noise + rounding))
    finite = jnp.all(jnp.isfinite(residual)) & jnp.all(jnp.isfinite(x))
    reached = choice.is_plausible(misfit) | problem.is_rounding(misfit)
    promises = isinstance(choice, PredictiveRisk)
    at_rest = Result.target_not_reachable if promises else Result.completed
    result = jnp.where(end.done, at_rest.code, Result.inverse_failed.code)
    result = jnp.where(reached, Result.completed.code, result)
    spent = end.steps >= max_steps
    cause = jnp.where(spent, Cause.out_of_budget.code, Cause.stuck.code)
    cause = jnp.where(result == Result.inverse_failed.code, cause, Cause.none.code)
    sweeps = jacobian_cost(len(z), x, problem.forward.forward_mode)
    cost = jax.tree.map(lambda count: end.steps * count, sweeps)
    return PullBack(
        x,
        z,
        residual[worst],
        jnp.where(finite, result, Result.inverse_failed.code),
        (noise + rounding)[worst] if promises else jnp.inf,
        jnp.where(finite, cause, Cause.not_finite.code),
        damping=jnp.minimum(jnp.exp(end.log_weight), jnp.finfo(x.dtype).max),
        evaluations=cost + Evaluations(forward=end.forwards + 1, inverse=end.steps),
    )
