"""The permeability of ground, from the pressure of water in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, noisy, on_device, random_field
from physgrad.problems.problem import Problem
from physgrad.simulators.darcy_flow import darcy

SPREAD = 0.7


def problem(
    dtype: Any = None, *, size: int = 32, noise: float = 0.0, seed: int = 0
) -> Problem:
    """A permeability of e^(0.7 g), g a smooth Gaussian field of size 1; from 1."""
    dtype = default_dtype(dtype)
    shape = (size, size)
    truth = np.exp(SPREAD * random_field(shape, 4.0, seed))
    solution = on_device(truth, dtype)
    data, deviation = noisy(darcy(shape)(solution), noise, seed)
    simulator = darcy(shape, noise=deviation)
    return Problem(
        "darcy-2d",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(np.ones(shape), dtype),
        solution=solution,
        picture="fields",
        quantities={"x": "permeability", "z": "pressure"},
    )
