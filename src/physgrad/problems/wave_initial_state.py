"""How a string was plucked, from how it swings now."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, noisy, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.wave_equation import wave

DURATION = 3.3


def problem(
    dtype: Any = None, *, size: int = 128, noise: float = 0.0, seed: int = 0
) -> Problem:
    """A plucked string of length 1, after 3.3 times its length over the speed."""
    dtype = default_dtype(dtype)
    rng = np.random.default_rng([seed, 0])
    s = (np.arange(size) + 0.5) / size
    place, width = rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.1)
    plucked = np.exp(-(((s - place) / width) ** 2) / 2) * np.sin(np.pi * s)
    solution = on_device(np.stack([plucked, 0 * s]), dtype)
    simulator = wave((size,), DURATION, boundary="dirichlet")
    data, _ = noisy(simulator(solution), noise, seed)
    return Problem(
        "wave-initial-state",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(0 * data, dtype),
        solution=solution,
        picture="waves",
        quantities={"x": "displacement", "z": "displacement"},
    )
