"""Vortices before they have stirred."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, noisy, on_device, random_field
from physgrad.problems.problem import Problem
from physgrad.simulators.navier_stokes_equation import navier_stokes

SIDE, DURATION, VISCOSITY, STEPS = 2 * np.pi, 1.5, 2e-3, 100


def problem(
    dtype: Any = None, *, size: int = 32, noise: float = 0.0, seed: int = 0
) -> Problem:
    """Vortices of root mean square 1 in a box of side 2 pi, after t = 1.5."""
    dtype = default_dtype(dtype)
    shape = (size, size)
    solution = on_device(random_field(shape, 5.0, seed), dtype)
    gain = None if noise == 0 else 1 / noise
    simulator = navier_stokes(
        shape,
        DURATION,
        viscosity=VISCOSITY,
        steps=STEPS,
        lengths=SIDE,
        largest_gain=gain,
    )
    data, _ = noisy(simulator(solution), noise, seed)
    return Problem(
        "navier-stokes-initial-state",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(0 * data, dtype),
        solution=solution,
        picture="flow",
        quantities={"x": "vorticity, 1 / time", "z": "vorticity, 1 / time"},
    )
