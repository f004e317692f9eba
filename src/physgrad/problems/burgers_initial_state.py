"""Waves before they steepened, shortly before they break."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, noisy, on_device, random_field
from physgrad.problems.problem import Problem
from physgrad.simulators.burgers_equation import burgers

DURATION, VISCOSITY, STEPS = 0.25, 2e-3, 60
STEEPEST = 0.6
"""Part of the time until a shock: duration times the steepest fall."""


def problem(
    dtype: Any = None, *, size: int = 128, noise: float = 0.0, seed: int = 0
) -> Problem:
    """Long waves on a circle of length 1, at 0.6 of the time until they break."""
    dtype = default_dtype(dtype)
    waves = random_field((size,), 4.0, seed)
    fall = -np.min(np.diff(waves, append=waves[0])) * size
    solution = on_device(waves * STEEPEST / (DURATION * fall), dtype)
    gain = None if noise == 0 else 1 / noise
    simulator = burgers(
        size, DURATION, viscosity=VISCOSITY, steps=STEPS, largest_gain=gain
    )
    data, _ = noisy(simulator(solution), noise, seed)
    return Problem(
        "burgers-initial-state",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(0 * data, dtype),
        solution=solution,
        picture="flow",
        quantities={"x": "velocity", "z": "velocity"},
    )
