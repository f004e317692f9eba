"""Result codes, what each one asks the user to do, and the exceptions.

Failures are values: a run ends with one of the codes below and a message, never
with a traceback or a NaN. Inside compiled code a code is its position (an int32);
outside it is its name.

This module imports nothing but the standard library, so that the command line can
name a failure without loading JAX.
"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

C = TypeVar("C", bound="_Code")


class _Code(enum.StrEnum):
    """A name with a position: the name for people, the position for arrays."""

    @property
    def code(self) -> int:
        """The position of this member: what arrays and compiled code hold."""
        return list(type(self)).index(self)

    @classmethod
    def from_code(cls: type[C], code: int) -> C:
        """The member at position `code` (`ValueError` if there is none).

        >>> Result.from_code(0)
        <Result.completed: 'completed'>
        """
        members = list(cls)
        if not 0 <= int(code) < len(members):
            raise ValueError(
                f"{cls.__name__} code must be 0 to {len(members) - 1}, got {code}"
            )
        return members[int(code)]


class Result(_Code):
    """How a run, or one step of it, ended.

    >>> Result.inverse_failed == "inverse_failed"
    True
    """

    completed = "completed"
    """The steps asked for were done."""
    target_not_reachable = "target_not_reachable"
    """No x maps to the target; the nearest point was taken and the run went on."""
    converged = "converged"
    """The stopping rule that was asked for holds."""
    stalled = "stalled"
    """No acceptable step was found."""
    diverged = "diverged"
    """The iterates grew until they left the range of the dtype."""
    non_finite = "non_finite"
    """NaN or infinity came out of the simulator, the loss or a derivative."""
    inverse_failed = "inverse_failed"
    """The certificate of the inverse does not hold."""
    singular = "singular"
    """There is no Newton step: the Hessian is singular or indefinite."""

    @property
    def goes_on(self) -> bool:
        """Whether the next step may be taken after a step with this result."""
        return self.code <= LAST_CODE_THAT_GOES_ON

    @property
    def is_failure(self) -> bool:
        """Whether a run that ended so did not do what was asked."""
        return self.code > Result.converged.code


LAST_CODE_THAT_GOES_ON = Result.target_not_reachable.code


class Cause(_Code):
    """Why the certificate of an inverse does not hold (see `Result.inverse_failed`)."""

    none = "none"
    missed = "missed"
    """P(x+) is not the target."""
    jumped = "jumped"
    """x+ lies on another branch than x."""
    not_finite = "not_finite"
    """The inverse, or P at its answer, is NaN or infinite."""
    not_identity = "not_identity"
    """P^-1(P(x0)) is not x0: seen before the first step."""
    start_jumped = "start_jumped"
    """P^-1(P(x0)) maps to P(x0), but lies on another branch than x0."""
    start_not_finite = "start_not_finite"
    """P^-1(P(x0)) is NaN or infinite."""
    out_of_budget = "out_of_budget"
    """A numerical inverse used up its steps."""
    stuck = "stuck"
    """A numerical inverse made no part of the step."""
    alternates = "alternates"
    """x went to and fro between two points."""
    no_nearer = "no_nearer"
    """A rule that promises nothing went no nearer to the target."""
    uneven = "uneven"
    """The loss weights entries differently, and the rule knows one noise for all."""


_INVERSE_ADVICE = {
    Cause.missed: "the point it returned maps to another z than the target; check "
    "that inverse(forward(x)) is x, or use inverse=NumericalInverse()",
    Cause.jumped: "it jumped to another branch: x moved much farther than the step "
    "in z explains; return the preimage nearest to x, as in inverse(z, x), or lower "
    "step_size",
    Cause.not_finite: "it returned NaN or infinity: the target lies outside the "
    "range of the simulator, or the step was far too long; lower step_size, or give "
    "PhysicalGradient another inverse, such as NumericalInverse()",
    Cause.not_identity: "before the first step, inverse(forward(x0)) is not x0; "
    "check the formula and its argument order, inverse(z, x)",
    Cause.start_jumped: "before the first step, inverse(forward(x0)) is another "
    "preimage than x0; return the one nearest to x, as in inverse(z, x)",
    Cause.start_not_finite: "before the first step, inverse(forward(x0)) is NaN or "
    "infinite; check the formula and its argument order, inverse(z, x)",
    Cause.out_of_budget: "it did not converge; lower step_size, raise max_steps, or "
    "start closer to the solution",
    Cause.stuck: "it did not converge, even for a small part of the step: the "
    "simulator is not finite on the way, or has no branch that leads there; lower "
    "step_size, or start elsewhere",
    Cause.no_nearer: "the point it returned is farther from the target than the "
    "present one; lower step_size, or use acceptance='monotone'",
    Cause.uneven: "it takes the noise of all entries for one, and the loss weights "
    "them differently; give the loss one weight, or use RegularizedInverse(noise=...)",
    Cause.none: "no reason was recorded",
}


def inverse_message(cause: Cause, step: int, residual: float, tolerance: float) -> str:
    """One line for `Result.inverse_failed`: where, how far off, and what to do."""
    where = "at the start" if cause in _AT_START else f"in step {step}"
    numbers = ""
    if cause not in (Cause.not_finite, Cause.start_not_finite):
        numbers = f" (residual {residual:.3g}, tolerance {tolerance:.3g})"
    return f"the inverse failed {where}{numbers}: {_INVERSE_ADVICE[cause]}"


_AT_START = (Cause.not_identity, Cause.start_jumped, Cause.start_not_finite)


class RunError(RuntimeError):
    """A run that ended in a failure, raised by `minimize(..., throw=True)`.

    The run itself, with its last good iterate and history, is in `.run`.
    """

    def __init__(self, run: Any):
        super().__init__(f"{run.result}: {run.message}")
        self.run = run


class SimulatorError(RuntimeError):
    """A simulator outside of JAX raised; its own exception is the cause of this one."""

    def __init__(self, message: str, x: Any):
        super().__init__(f"{message}, at x = {x!r}")
        self.x = x
        """Where."""


class CheckpointError(ValueError):
    """A saved file is missing, broken, of another kind, or from a newer version."""


class MissingExtra(ImportError):
    """An optional package is not installed; the message names the extra that is."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package!r}: pip install 'physgrad[{extra}]'"
        )
