"""The charges that make a potential."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import boxes, default_dtype, noisy, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.poisson_equation import poisson

SIDE = 64.0


def problem(
    dtype: Any = None, *, size: int = 64, noise: float = 0.0, seed: int = 0
) -> Problem:
    """Charged boxes of both signs between walls at zero, 64 by 64; from no charge."""
    dtype = default_dtype(dtype)
    shape = (size, size)
    charges = boxes(size, seed) - np.flip(boxes(size, seed + 1))
    solution = on_device(charges, dtype)
    data, deviation = noisy(poisson(shape, lengths=SIDE)(solution), noise, seed)
    simulator = poisson(shape, lengths=SIDE, noise=deviation)
    return Problem(
        "poisson-source",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(0 * data, dtype),
        solution=solution,
        picture="fields",
        quantities={
            "x": "charge, potential / length\N{SUPERSCRIPT TWO}",
            "z": "potential",
        },
    )
