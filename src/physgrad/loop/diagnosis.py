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
    unreached: int,
) -> tuple[Result, str]:
    """The result of a run that ended at `x` after `num_steps`, and its message.

    `unreached` counts the steps whose target was not reachable.
    """
    result = Result.from_code(int(end.result))
    first, last = float(end.first_loss), float(end.loss)
    where = f"in step {num_steps + 1}"
    if result is Result.inverse_failed and end.certificate is not None:
        return result, inverse_message(
            Cause.from_code(int(end.certificate.cause)),
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
            f"{unreached} of {num_steps} targets were out of the range of the "
            "simulator; the nearest points were taken"
        ),
        Result.converged: lambda: "",
        Result.completed: lambda: _growth(first, last, unreached, num_steps),
    }
    return result, messages[result]()


def _growth(first: float, last: float, unreached: int, num_steps: int) -> str:
    if last > first:
        return f"the loss grew from {first:.6g} to {last:.6g}; lower the step size"
    if unreached:
        return f"{unreached} of {num_steps} targets were out of range on the way"
    return ""


def _non_finite(objective: Objective, x: PyTree, where: str) -> str:
    gradient = jax.grad(lambda x: objective(x))(x)
    leaf = non_finite_leaf(gradient, "dL/dx")
    if leaf is not None:
        return (
            f"{leaf} though the loss is finite: a derivative such as that of sqrt or "
            "norm at 0; guard it with jnp.where on its argument as well as its result"
        )
    return (
        f"the simulator or the loss is not finite at the point tried {where}; lower "
        "the step size"
    )


def explain_rest(objective: Objective, x: PyTree, loss: float) -> tuple[Result, str]:
    """The result and message of a run that never moved from its start.

    Where J = 0 although the loss asks z to move, it is `stalled`. A random vector is
    pulled back: J^T v = 0 for it means J = 0, almost surely.
    """
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
    return Result.completed, ""


def not_finite_at_start(objective: Objective, x0: PyTree) -> str:
    """The message for a simulator or loss that is not finite at x0."""
    z = objective.simulator(x0)
    leaf = non_finite_leaf(z, "z")
    if leaf is None:
        leaf = non_finite_leaf(objective.loss(z), "the loss")
    return f"the objective is not finite at x0: {leaf}; start elsewhere"
