"""The inverse of a simulator that a transform makes diagonal, as its noise allows."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from physgrad.basis import Basis, Coefficients
from physgrad.inverses.certificate import certificate_tolerance, excess
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, Scalar, largest_by_leaf
from physgrad.inverses.rule import Inverse, Metric, PullBack
from physgrad.inverses.settings import brief, not_negative, optional
from physgrad.inverses.state import State
from physgrad.inverses.trees import in_precision
from physgrad.inverses.weight import CAUTION, PredictiveRisk
from physgrad.names import PENALTIES, nearest
from physgrad.results import Cause, Result

# Rounding of a transform, in eps of the largest entry.
ROUNDING = 1.0
# Waves of one gain are weighed together, in so many classes; and so many weights tried.
CLASSES = 512
# The range of the weights, in log: from 100 times the largest gain, squared, down to
# 1e-8 of what rounding is to it.
ABOVE, BELOW = np.log(100.0), np.log(1e8)


class DiagonalInverse(Inverse):
    """x+ = x + U^-1 conj(m) / (|m|^2 + weight k^2p) U (z~ - z), for P = U^-1 m U.

    For diffusion, blur and other simulators that multiply each wave of a `Basis` by a
    gain m. Dividing by m is exact, and multiplies noise by 1 / m. So each wave is
    filtered, as in Tikhonov's method with the penalty k^2p; the weight is the one that

    - with `noise` known, is expected to predict the z without noise best (see
        `RegularizedInverse`); zero stands for the rounding of z. Where |z~ - z| is no
        larger than the noise already, x stays.
    - without it, has the best generalized cross-validation: if many waves are lost,
        what they show is the noise.

    With `noise` the certificate promises what `RegularizedInverse` does, that the
    squared misfits sum up to no more than the noise may; without, nothing. Noise is to
    be of one size: where the metric weights entries differently, or cannot be told to
    weight them alike (a later simulator of a chain gives it), a run ends as
    `inverse_failed`, but for a noise of zero.

    **Arguments:**

    - `basis`: U.
    - `gains`: m, real or complex, of `basis.spectral_shape`.
    - `noise`: standard deviation of the entries of z~, in the unit of z; None: unknown.
    - `operator`: what is penalized, "identity" (p = 0), "gradient" (1) or "laplacian"
        (2) of x.

    **Raises:** `ValueError` for gains of another shape, a noise below zero or an
    unknown operator.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> heat = pg.simulators.diffusion((32,), duration=0.01)     # has this inverse
    >>> warm = jnp.cos(2 * jnp.pi * jnp.arange(32) / 32)
    >>> objective = pg.Objective(heat, pg.SquaredLoss(heat(warm)))
    >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), 0 * warm, num_steps=1)
    >>> print(jnp.abs(run.x - warm).max() < 1e-4)
    True

    **Source:** Vogel, Computational Methods for Inverse Problems, 2002, sections 1.2
    and 7.1; Golub, Heath, Wahba, Technometrics 21, 1979.
    """

    basis: Basis
    """U."""
    gains: Coefficients
    """m."""
    noise: Scalar | None
    """Standard deviation of the entries of z~; None: unknown."""
    operator: str = eqx.field(static=True)
    """What is penalized."""
    classes: Int[Array, "..."]
    """Waves by the logarithm of |m|^2 / k^2p."""
    log_ratios: Float[Array, " classes"]
    """Of each class, the smallest first."""
    counts: Float[Array, " classes"]
    """Coefficients in each class."""

    def __init__(
        self,
        basis: Basis,
        gains: Any,
        noise: Any = 0.0,
        operator: str = "gradient",
    ):
        if operator not in PENALTIES:
            end = nearest(str(operator), PENALTIES)
            raise ValueError(f"unknown operator {brief(operator)}{end}")
        if jnp.shape(gains) != basis.spectral_shape:
            raise ValueError(
                f"gains must have the shape {basis.spectral_shape} of the waves, got "
                f"{jnp.shape(gains)}"
            )
        self.basis, self.operator = basis, operator
        self.gains = jnp.asarray(gains)
        self.noise = optional(not_negative("noise"))(noise)
        with np.errstate(divide="ignore"):
            steepness = PENALTIES.index(operator) * np.log(basis.squares)
        ratios = 2 * jnp.log(jnp.abs(self.gains)) - steepness
        top = jnp.max(jnp.where(ratios < jnp.inf, ratios, -jnp.inf))
        self.log_ratios = jnp.linspace(top - _depth(ratios.dtype), top, CLASSES)
        place = jnp.searchsorted(self.log_ratios, ratios)
        # what the penalty does not see is not filtered
        self.classes = jnp.where(ratios < jnp.inf, place.clip(0, CLASSES - 1), CLASSES)
        many = jnp.asarray(basis.multiplicity, ratios.dtype)
        self.counts = self._by_class(jnp.broadcast_to(many, ratios.shape))

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        z, unravel = state.z, forward.unravel_z
        parts = self.basis.to(jax.tree.leaves(unravel(z_target - z))[0])
        level = self._level(state, z_target)
        log_weight = self._log_weight(parts, level)
        stays = jnp.asarray(False)
        if level is not None:
            stays = self._choice(z, level).is_noise(z_target - z)
        filtered = jnp.where(stays, 0.0, self._filtered(parts, log_weight))
        x = state.x + jnp.ravel(self.basis.back(filtered))
        size, uniform = self._size(metric)
        answer = self._certified(forward, x, z_target, state, level)
        refused = ~uniform & (answer.result != Result.inverse_failed.code)
        return eqx.tree_at(
            lambda a: (a.result, a.cause, a.damping),
            answer,
            (
                jnp.where(refused, Result.inverse_failed.code, answer.result),
                jnp.where(refused, Cause.uneven.code, answer.cause),
                jnp.exp(log_weight) * size,
            ),
        )

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """B1 = J^T B J + weight K^2p: R J stacked on sqrt(weight) K^p."""
        through = super().handed_on(answer, forward, state, metric).root()
        power = self.basis.squares ** (PENALTIES.index(self.operator) / 2)

        def stacked(dx: Flat) -> Flat:
            field = jax.tree.leaves(forward.unravel_x(dx))[0]
            rough = self.basis.back(jnp.asarray(power, dx.dtype) * self.basis.to(field))
            penalty = jnp.sqrt(answer.damping) * jnp.ravel(rough)
            return jnp.concatenate([through.mv(dx), penalty])

        return Metric(lx.FunctionLinearOperator(stacked, through.in_structure()))

    def _level(self, state: State, z_target: Flat) -> Scalar | None:
        """The noise, at least that of rounding."""
        if self.noise is None:
            return None
        size = jnp.maximum(jnp.max(jnp.abs(z_target)), jnp.max(state.scale))
        eps = ROUNDING * jnp.finfo(z_target.dtype).eps
        return lax.stop_gradient(jnp.maximum(self.noise, eps * size))

    def _log_weight(self, parts: Coefficients, level: Scalar | None) -> Scalar:
        """log of the weight, by the power that each class of waves has in z~ - z."""
        parts = lax.stop_gradient(parts)
        # the largest is 1: squares neither overflow nor vanish
        unit = jnp.max(jnp.abs(parts))
        unit = jnp.where(unit > 0, unit, 1.0)
        many = jnp.asarray(self.basis.multiplicity, unit.dtype)
        powers = self._by_class(many * jnp.abs(parts / unit) ** 2)
        counts, log_ratios = (
            values.astype(unit.dtype) for values in (self.counts, self.log_ratios)
        )
        strong, weak = log_ratios[-1] + ABOVE, log_ratios[0]
        log_weights = jnp.linspace(strong, weak, CLASSES)
        # the part of a wave that is not fitted: weight / (ratio + weight)
        rest = jax.nn.sigmoid(log_weights[:, None] - log_ratios)
        misfit, free = rest**2 @ powers, rest @ counts
        if level is None:
            risk = misfit / jnp.where(free > 0, free, jnp.inf) ** 2
        else:
            fitted = jnp.sum(counts) - free
            risk = misfit + 2 * CAUTION * fitted * (level / unit) ** 2
        return log_weights[CLASSES - 1 - jnp.argmin(risk[::-1])]

    def _by_class(self, values: Float[Array, "..."]) -> Float[Array, " classes"]:
        """Their sums over each class."""
        empty = jnp.zeros(CLASSES + 1, values.dtype)
        return empty.at[self.classes].add(values)[:CLASSES]

    def _filtered(self, parts: Coefficients, log_weight: Scalar) -> Coefficients:
        """conj(m) / (|m|^2 + weight k^2p) times the parts of z~ - z."""
        gains = in_precision(self.gains, log_weight.dtype)
        penalty = self.basis.squares ** PENALTIES.index(self.operator)
        lifted = jnp.exp(log_weight) * jnp.asarray(penalty, log_weight.dtype)
        total = jnp.abs(gains) ** 2 + lifted
        seen = total > 0
        inverse = jnp.where(seen, jnp.conj(gains) / jnp.where(seen, total, 1.0), 0.0)
        return inverse * parts

    def _choice(self, z: Flat, level: Scalar) -> PredictiveRisk:
        return PredictiveRisk(jnp.ones(z.shape, bool), jnp.full_like(z, level))

    def _size(self, metric: Metric) -> tuple[Scalar | float, Bool[Array, ""]]:
        """The weight of all entries in the metric, and whether one will do for all."""
        exact = jnp.asarray(False) if self.noise is None else self.noise == 0
        if isinstance(metric.factor, lx.IdentityLinearOperator):
            return 1.0, jnp.asarray(True)
        if not isinstance(metric.factor, lx.DiagonalLinearOperator):
            return 1.0, exact
        weights = metric.factor.diagonal**2
        most = jnp.max(weights)
        apart = jnp.max(jnp.abs(weights - most))
        return most, exact | (apart <= 4 * jnp.finfo(weights.dtype).eps * most)

    def _certified(
        self,
        forward: FlatMap,
        x: Flat,
        z_target: Flat,
        state: State,
        level: Scalar | None,
    ) -> PullBack:
        """Whether the misfit is within the noise, where that is known."""
        z = forward(x)
        rtol = jnp.sqrt(jnp.finfo(x.dtype).eps)
        tolerance = certificate_tolerance(forward, z_target, state, rtol)
        misfit = z - z_target
        residual = largest_by_leaf(forward, misfit)
        reached = jnp.all(residual <= tolerance)
        promise = jnp.full_like(tolerance, jnp.inf)
        if level is not None:
            choice = self._choice(z, level)
            promise = largest_by_leaf(forward, choice.most()) + tolerance
            reached = reached | choice.is_plausible(misfit)
        finite = jnp.all(jnp.isfinite(residual)) & jnp.all(jnp.isfinite(x))
        at_rest = Result.completed if level is None else Result.target_not_reachable
        result = jnp.where(reached, Result.completed.code, at_rest.code)
        worst = jnp.argmax(excess(residual, promise))
        return PullBack(
            x,
            z,
            residual[worst],
            jnp.where(finite, result, Result.inverse_failed.code),
            promise[worst],
            jnp.where(finite, Cause.none.code, Cause.not_finite.code),
            damping=jnp.zeros((), x.dtype),
            evaluations=Evaluations(forward=1, inverse=1),
        )


def _depth(dtype: Any) -> float:
    """How far below the largest ratio the smallest class lies, in log."""
    return float(BELOW - 2 * np.log(float(jnp.finfo(dtype).eps)))
