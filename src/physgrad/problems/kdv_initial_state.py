"""Two solitons before they met."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, noisy, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.kdv_equation import korteweg_de_vries

LENGTH, DURATION, STEPS = 30.0, 3.0, 600


def problem(
    dtype: Any = None, *, size: int = 128, noise: float = 0.0, seed: int = 0
) -> Problem:
    """A fast soliton behind a slow one on a circle of length 30; after t = 3."""
    dtype = default_dtype(dtype)
    rng = np.random.default_rng([seed, 0])
    s = (np.arange(size) + 0.5) * LENGTH / size
    waves = np.zeros(size)
    for speed, place in ((rng.uniform(3, 4), 6.0), (rng.uniform(0.8, 1.2), 12.0)):
        waves += speed / 2 / np.cosh(np.sqrt(speed) / 2 * (s - place)) ** 2
    solution = on_device(waves, dtype)
    simulator = korteweg_de_vries(size, DURATION, steps=STEPS, length=LENGTH)
    data, _ = noisy(simulator(solution), noise, seed)
    return Problem(
        "kdv-initial-state",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(0 * data, dtype),
        solution=solution,
        picture="flow",
        quantities={"x": "height", "z": "height"},
    )
