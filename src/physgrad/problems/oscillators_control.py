"""Pushes that bring two coupled oscillators to rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.oscillators import driven_oscillators

DURATION = 12.0


def problem(dtype: Any = None, *, size: int = 24, seed: int = 0) -> Problem:
    """Two masses from a random state to rest, within t = 12; from no pushes.

    **Source:** Holl et al., "Half-Inverse Gradients for Physical Deep Learning", ICLR
    2022, section 3.1 (the chain and its control).
    """
    dtype = default_dtype(dtype)
    initial = np.random.default_rng([seed, 0]).uniform(0, 1, (2, 2))
    simulator = driven_oscillators(initial, DURATION, steps=size)
    return Problem(
        "oscillators-control",
        Objective(simulator, SquaredLoss(on_device(np.zeros((2, 2)), dtype))),
        on_device(np.zeros(size), dtype),
        picture="control",
        quantities={"x": "push", "z": "position, velocity"},
    )
