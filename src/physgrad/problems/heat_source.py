"""What heats a plate, from its temperature after a while."""

from __future__ import annotations

from typing import Any

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import boxes, default_dtype, noisy, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.diffusion_equation import heating

SIDE, DURATION = 64.0, 100.0


def problem(
    dtype: Any = None, *, size: int = 64, noise: float = 0.0, seed: int = 0
) -> Problem:
    """Boxes that heat a plate of 64 by 64 with cold edges until nu t = 100."""
    dtype = default_dtype(dtype)
    shape = (size, size)
    solution = on_device(boxes(size, seed), dtype)
    data, deviation = noisy(
        heating(shape, DURATION, lengths=SIDE)(solution), noise, seed
    )
    simulator = heating(shape, DURATION, lengths=SIDE, noise=deviation)
    return Problem(
        "heat-source",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(0 * data, dtype),
        solution=solution,
        picture="fields",
        quantities={"x": "source, temperature / time", "z": "temperature"},
    )
