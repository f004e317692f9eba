"""The sine map: one entry bent, the other badly scaled, behind a rotation."""

from __future__ import annotations

from typing import Any

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.small_maps import sine_map


def problem(dtype: Any = None, *, size: int = 8) -> Problem:
    """z = (sin(10 v0 / xi), 10 xi v1), v = x turned by 45 degrees; xi is the size.

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, section 4.1.
    """
    dtype = default_dtype(dtype)
    simulator = sine_map(scale=float(size), angle=0.7853981633974483)
    solution = on_device([0.08 * size, 0.02 * size], dtype)
    start = on_device([0.01 * size, -0.04 * size], dtype)
    return Problem(
        "sin",
        Objective(simulator, SquaredLoss(simulator(solution))),
        start,
        solution=solution,
    )
