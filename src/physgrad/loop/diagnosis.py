"""What a failed run says: where it failed, and what to do about it."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from physgrad.inverses.ladder import rungs_of
from physgrad.inverses.rule import Inverse
from physgrad.loop.iteration import Progress
from physgrad.loop.start import non_finite_leaf
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Certificate
from physgrad.results import Cause, Result, inverse_message
from physgrad.trajectory import Certificates


class Steps(NamedTuple):
    """What the recorded steps of a run have met, in numbers."""

    recorded: int = 0
    unreached: int = 0
    """Targets out of the range of the simulator."""
    shortened: int = 0
    """Steps that came after points tried in vain."""
    rejected: int = 0
    """Points tried in vain."""
    partial: int = 0
    """Points taken though the inverse ran out of its budget: the loss fell."""
    served: Mapping[str, int] = MappingProxyType({})
    """Lower rungs of a ladder, by their names: how many steps each has served."""

    @classmethod
    def of(
        cls, certificates: Certificates | None, rule: Inverse, losses: np.ndarray
    ) -> Steps:
        """The numbers of a run with a rule; `losses`: the recorded ones."""
        if certificates is None:
            return cls()
        names = [type(rung).__name__ for rung in rungs_of(rule)]
        served: collections.Counter[str] = collections.Counter()
        for rung in certificates.rungs[certificates.rungs > 0]:
            served[names[rung] if rung < len(names) else "a lower rung"] += 1
        missed = certificates.results == Result.target_not_reachable.code
        rejections = certificates.rejections
        shortened, rejected = np.sum(rejections > 0), np.sum(rejections)
        failed = certificates.results == Result.inverse_failed.code
        partial = np.sum(failed & (losses[1:] < losses[:-1]))
        counts = np.sum(missed), shortened, rejected, partial
        return cls(len(missed), *map(int, counts), served=served)

    @property
    def missed(self) -> str:
        """How many targets were out of range; empty where none was."""
        return f"{self.unreached} of {self.recorded}" if self.unreached else ""

    @property
    def notes(self) -> list[str]:
        """What a run has done other than asked, so that it could go on."""
        notes = []
        if self.shortened:
            times = f"{self.rejected} point{'s' * (self.rejected > 1)} rejected"
            notes.append(
                f"{self.shortened} of {self.recorded} recorded steps were shortened in "
                f"z, with {times}, where the loss would not fall or the inverse failed"
            )
        if self.partial:
            notes.append(
                f"{self.partial} of {self.recorded} recorded steps went part of the "
                "way, where the inverse ran out of its budget but the loss fell"
            )
        for name, count in self.served.items():
            share = f"{count} of {self.recorded} recorded steps"
            notes.append(f"{name} served {share}, where the rules above it failed")
        return notes


def explain(
    objective: Objective, x: PyTree, end: Progress, num_steps: int, steps: Steps
) -> tuple[Result, str]:
    """The result of a run that ended at `x` after `num_steps`, and its message."""
    result = Result.from_code(int(end.result))
    first, last = float(end.first_loss), float(end.loss)
    where = f"in step {num_steps + 1}"
    cause = Cause.none
    if end.certificate is not None:
        cause = Cause.from_code(int(end.certificate.cause))
    if result in _MAY_BE_BLIND and cause in _MAY_BE_DERIVATIVES:
        broken = _non_finite_gradient(objective, x)
        if broken is not None:
            return Result.non_finite, broken
    if result is Result.inverse_failed and end.certificate is not None:
        return result, inverse_message(
            cause,
            num_steps + 1,
            float(end.certificate.residual),
            float(end.certificate.tolerance),
        )
    messages = {
        Result.non_finite: lambda: _non_finite(objective, x, where),
        Result.diverged: lambda: (
            f"the loss went from {first:.3g} to {last:.3g} and left the range of its "
            f"dtype {where}; lower the step size"
        ),
        Result.singular: lambda: (
            f"there is no Newton step {where}: the Hessian is singular or indefinite; "
            "use metric=NewtonMetric(damping=1e-3), NewtonMetric(absolute=True) or "
            "'gradient'; for Newton on x, GaussNewton or LevenbergMarquardt"
        ),
        Result.stalled: lambda: _stalled(objective, x, cause, where, last),
        Result.target_not_reachable: lambda: (
            f"{steps.missed} recorded targets were not reached: they are out of the "
            "range of the simulator or beyond the bounds, or the step began where its "
            "Jacobian is singular; "
            "the nearest points were taken, as a fit to data does; "
            "stop=Stop(gradient=...) tells when it is the best one"
        ),
        Result.converged: lambda: "",
        Result.completed: lambda: _growth(first, last, steps.missed),
    }
    notes = steps.notes if not result.is_failure else []
    return result, "; ".join(filter(None, [messages[result](), *notes]))


# What rules and optimizers say that met a derivative of NaN or infinity, among others.
_MAY_BE_BLIND = {
    Result.inverse_failed,
    Result.target_not_reachable,
    Result.stalled,
}
_MAY_BE_DERIVATIVES = {
    Cause.none,
    Cause.not_finite,
    Cause.out_of_budget,
    Cause.stuck,
}


def _stalled(
    objective: Objective, x: PyTree, cause: Cause, where: str, loss: float
) -> str:
    if cause is Cause.alternates:
        return (
            f"x went to and fro between two points {where}, at loss {loss:.6g}; lower "
            "step_size, or return the preimage nearest to x, as in inverse(z, x)"
        )
    slopes = _gradient(objective, x)
    steepest = (
        ""
        if slopes is None
        else (f", where dL/dx has entries up to {_largest(slopes):.3g}")
    )
    return (
        f"no acceptable step was found {where}, at loss {loss:.6g}{steepest}; this may "
        "be a minimum to rounding, else start elsewhere or use another method"
    )


def _growth(first: float, last: float, missed: str) -> str:
    if last - first > 1e-5 * abs(first):  # more than rounding
        return f"the loss grew from {first:.6g} to {last:.6g}; lower the step size"
    if missed:
        return f"{missed} recorded targets were out of range on the way"
    return ""


def _non_finite(objective: Objective, x: PyTree, where: str) -> str:
    return _non_finite_gradient(objective, x) or (
        "the simulator, the loss or a second derivative is not finite at the point "
        f"tried {where}; lower the step size"
    )


def _non_finite_gradient(objective: Objective, x: PyTree) -> str | None:
    """What to say of dL/dx where it is not finite at x; None where it is, or is not."""
    slopes = _gradient(objective, x)
    leaf = None if slopes is None else non_finite_leaf(slopes, "dL/dx")
    if leaf is None:
        return None
    return (
        f"{leaf} though the loss is finite: a derivative such as that of sqrt or "
        "norm at 0; guard it with jnp.where on its argument as well as its result"
    )


def _gradient(objective: Objective, x: PyTree) -> PyTree:
    """dL/dx, like x; None where there is none, as of a callback to Python.

    With bounds, what of it they leave. A physical gradient with a formula runs without,
    and so must what explains it.
    """
    try:
        slopes = jax.grad(lambda x: objective(x))(x)
    except (TypeError, ValueError, NotImplementedError):
        return None
    if objective.bounds is None:
        return slopes
    lower, upper = objective.bounds.like(x)
    return jax.tree.map(
        lambda x, slope, low, high: x - jnp.clip(x - slope, low, high),
        *(x, slopes, lower, upper),
    )


def _largest(tree: PyTree) -> float:
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))


def explain_rest(objective: Objective, x: PyTree, end: Progress) -> tuple[Result, str]:
    """The result and message of a run that never moved from its start.

    Where a derivative is not finite it is `non_finite`; where J = 0 although the loss
    asks z to move, it is `stalled`. A random vector is pulled back: J^T v = 0 for it
    means J = 0, almost surely. Where the step in z is one that its inverse need not
    follow, there is nothing wrong.
    """
    slopes = _gradient(objective, x)
    if slopes is None:
        return Result.completed, ""
    broken = _non_finite_gradient(objective, x)
    if broken is not None:
        return Result.non_finite, broken
    flat, x_flat = objective.flatten(x)
    z, transposed = jax.vjp(flat.simulator, x_flat)
    probe = np.random.default_rng(0).standard_normal(z.shape)
    (image,) = transposed(jnp.asarray(probe, z.dtype))
    wanted = bool(jnp.any(flat.loss.gradient(z) != 0))
    if wanted and not bool(jnp.any(image != 0)):
        return Result.stalled, (
            "the Jacobian of the simulator is zero at x, so no step can lower the loss "
            f"{float(end.loss):.6g}; start elsewhere"
        )
    if _is_within(end.certificate):
        return Result.completed, (
            "x is within the tolerance of the target already: z is off by up to "
            f"{float(end.certificate.residual):.3g}, and the inverse promises "
            f"{float(end.certificate.tolerance):.3g}, its noise or rounding; for more "
            "ask for a larger step, or tell it a smaller noise"
        )
    steepest = _largest(slopes)
    if steepest > 0:
        return Result.completed, (
            f"x did not move, though dL/dx has entries up to {steepest:.3g}: the steps "
            "were rejected or lost to rounding; this may be a minimum, else take more "
            "steps, other ones, or rescale the loss"
        )
    return Result.completed, ""


def _is_within(certificate: Certificate | None) -> TypeGuard[Certificate]:
    """Whether x, which has not moved, keeps the promise of its inverse for z~.

    Where z~ is z to the bit the step was lost to rounding, of which this says nothing.
    """
    if certificate is None or certificate.rejections > 0:  # of another point than x
        return False
    return bool(0 < certificate.residual <= certificate.tolerance < np.inf)


def not_finite_at_start(objective: Objective, x0: PyTree) -> str:
    """The message for a simulator or loss that is not finite at x0."""
    point = x0
    names = objective.simulator.space_names[1:]
    for name, function in zip(names, objective.simulator.functions, strict=True):
        point = function(point)
        leaf = non_finite_leaf(point, name)
        if leaf is not None:
            return f"the objective is not finite at x0: {leaf}; start elsewhere"
    leaf = non_finite_leaf(objective.loss(point), "the loss")
    return (
        f"the objective is not finite at x0: {leaf}, though z is finite; start "
        "elsewhere, or rescale z where the loss overflows"
    )
