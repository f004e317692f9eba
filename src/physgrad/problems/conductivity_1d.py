"""How well a rod conducts at each place, from its temperature."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, noisy, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.conductivity_field import conductivity


def problem(dtype: Any = None, *, size: int = 128, noise: float = 0.0) -> Problem:
    """rho = 1 + sin(2 pi s) / 2 + a bump at 0.7, heated evenly; from rho = 1."""
    dtype = default_dtype(dtype)
    s = (np.arange(size) + 0.5) / size
    truth = 1 + 0.5 * np.sin(2 * np.pi * s) + 0.3 * np.exp(-(((s - 0.7) / 0.1) ** 2))
    solution = on_device(truth, dtype)
    data, deviation = noisy(conductivity(size)(solution), noise, seed=0)
    simulator = conductivity(size, noise=deviation)
    return Problem(
        "conductivity-1d",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(np.ones(size), dtype),
        solution=solution,
        picture="fields",
        quantities={"x": "conductivity", "z": "temperature"},
    )
