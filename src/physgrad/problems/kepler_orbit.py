"""An orbit, from noisy positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, noisy, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.celestial import seen_orbit

DURATION, STEPS = 6.0, 400


def problem(
    dtype: Any = None, *, size: int = 20, noise: float = 0.01, seed: int = 0
) -> Problem:
    """Position and velocity at the first time, from positions until t = 6 (mu = 1).

    The start is the circle through about the first position.
    """
    dtype = default_dtype(dtype)
    rng = np.random.default_rng([seed, 0])
    turn = rng.uniform(0, 2 * np.pi)
    radial, across = np.array(
        [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    )
    speed, outwards = rng.uniform(0.95, 1.15), rng.uniform(-0.1, 0.1)
    solution = on_device([radial, speed * across + outwards * radial], dtype)
    simulator = seen_orbit(DURATION, times=size, steps=max(STEPS // size, 1))
    data, _ = noisy(simulator(solution), noise, seed)
    return Problem(
        "kepler-orbit",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device([1.02 * radial, across], dtype),
        solution=solution,
        picture="orbit",
        quantities={"x": "position, velocity", "z": "position"},
    )
