"""Torques that swing a pendulum up."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.pendulum_motion import driven_pendulum

DURATION = 8.0


def problem(dtype: Any = None, *, size: int = 60) -> Problem:
    """From hanging still to standing still on its head, within t = 8."""
    dtype = default_dtype(dtype)
    simulator = driven_pendulum((0.0, 0.0), DURATION, steps=size)
    return Problem(
        "pendulum-swing",
        Objective(simulator, SquaredLoss(on_device([np.pi, 0.0], dtype))),
        on_device(np.zeros(size), dtype),
        picture="control",
        quantities={"x": "torque", "z": "angle, rate"},
    )
