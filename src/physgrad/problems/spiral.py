"""The spiral: the plane, turned the more the farther from its center."""

from __future__ import annotations

from typing import Any

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.small_maps import spiral_map


def problem(dtype: Any = None, *, size: int = 30) -> Problem:
    """z = R(twist |x|) x from (1.6, 1.2) to (-0.5, 0.6); the twist is size / 10."""
    dtype = default_dtype(dtype)
    simulator = spiral_map(twist=size / 10)
    solution = on_device([-0.5, 0.6], dtype)
    return Problem(
        "spiral",
        Objective(simulator, SquaredLoss(simulator(solution))),
        on_device([1.6, 1.2], dtype),
        solution=solution,
    )
