"""The exponential: z = e^x, from far below zero, where it is flat."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import default_dtype, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.small_maps import exponential_map


def problem(dtype: Any = None) -> Problem:
    """z = e^x from (-6, -3), for z = (2, 1/2); x = (log 2, -log 2).

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, figure 2 (one entry, from -12 up).
    """
    dtype = default_dtype(dtype)
    target = np.array([2.0, 0.5])
    return Problem(
        "exp",
        Objective(exponential_map(), SquaredLoss(on_device(target, dtype))),
        on_device([-6.0, -3.0], dtype),
        solution=on_device(np.log(target), dtype),
    )
