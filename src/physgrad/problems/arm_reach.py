"""The angles of a robot arm, so that its hand is where it should be."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.robot_arm import planar_arm

REACH = 2.0


def problem(dtype: Any = None, *, size: int = 2, seed: int = 0) -> Problem:
    """A planar arm of total length 2, the hand to a random point within 1.8 of it.

    The solution is known for two joints alone: of the two, the one with the elbow on
    the side of the start.
    """
    dtype = default_dtype(dtype)
    rng = np.random.default_rng([seed, 0])
    lengths = np.linspace(1.2, 0.8, size)
    lengths *= REACH / lengths.sum()
    simulator = planar_arm(lengths)
    angles = rng.uniform(0.4, 2.4, size) * np.where(np.arange(size) < 2, 1, 0.3)
    solution = on_device(angles, dtype)
    start = on_device(np.where(np.arange(size) == 1, 1.0, 0.2), dtype)
    return Problem(
        "arm-reach",
        Objective(simulator, SquaredLoss(simulator(solution))),
        start,
        solution=solution if size == 2 else None,
        picture="arm",
        quantities={"x": "angle, radians", "z": "place of the hand"},
    )
