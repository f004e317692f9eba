"""What a failed run says: where it failed, and what to do about it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from physgrad.loop.iteration import Progress
from physgrad.loop.start import non_finite_leaf
from physgrad.objective.objective import Objective
from physgrad.results import Cause, Result, inverse_message


def explain(
    objective: Objective,
    x: PyTree,
    end: Progress,
    num_steps: int,
    unreached: tuple[int, int],
) -> tuple[Result, str]:
    """The result of a run that ended at `x` after `num_steps`, and its message.

    `unreached` says how many targets were not reachable, and how many were recorded.
    """
    result = Result.from_code(int(end.result))
    first, last = float(end.first_loss), float(end.loss)
    where = f"in step {num_steps + 1}"
    missed = f"{unreached[0]} of {unreached[1]}"
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
        Result.stalled: lambda: (
            f"no acceptable step was found {where}, at loss {last:.6g}; this may be a "
            "minimum to rounding, else start elsewhere or use another method"
        ),
        Result.target_not_reachable: lambda: (
            f"{missed} recorded targets were out of the range of the simulator; the "
            "nearest points were taken, as a fit to data does; "
            "stop=Stop(gradient=...) tells when it is the best one"
        ),
        Result.converged: lambda: "",
        Result.completed: lambda: _growth(first, last, missed if unreached[0] else ""),
    }
    return result, messages[result]()


# What rules and optimizers say that met a derivative of NaN or infinity, among others.
_MAY_BE_BLIND = {
    Result.inverse_failed,
    Result.target_not_reachable,
    Result.stalled,
}
_MAY_BE_DERIVATIVES = {Cause.none, Cause.not_finite, Cause.out_of_budget}


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
    """What to say of dL/dx where it is not finite at x; None where it is."""
    leaf = non_finite_leaf(jax.grad(lambda x: objective(x))(x), "dL/dx")
    if leaf is None:
        return None
    return (
        f"{leaf} though the loss is finite: a derivative such as that of sqrt or "
        "norm at 0; guard it with jnp.where on its argument as well as its result"
    )


def explain_rest(objective: Objective, x: PyTree, loss: float) -> tuple[Result, str]:
    """The result and message of a run that never moved from its start.

    Where a derivative is not finite it is `non_finite`; where J = 0 although the loss
    asks z to move, it is `stalled`. A random vector is pulled back: J^T v = 0 for it
    means J = 0, almost surely.
    """
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
            f"{loss:.6g}; start elsewhere"
        )
    steepest = float(jnp.max(jnp.abs(flat.gradient(x_flat))))
    if steepest > 0:
        return Result.completed, (
            f"x did not move, though dL/dx has entries up to {steepest:.3g}: the steps "
            "were rejected or lost to rounding; this may be a minimum, else take more "
            "steps, other ones, or rescale the loss"
        )
    return Result.completed, ""


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
