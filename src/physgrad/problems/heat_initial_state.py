"""Where heat was, from where it has spread to."""

from __future__ import annotations

from typing import Any

from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.data import boxes, default_dtype, noisy, on_device
from physgrad.problems.problem import Problem
from physgrad.simulators.diffusion_equation import diffusion

SIDE, DURATION = 64.0, 8.0


def problem(
    dtype: Any = None, *, size: int = 64, noise: float = 0.0, seed: int = 0
) -> Problem:
    """Boxes on a periodic square of 64 by 64, after nu t = 8; from zero.

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, section 4.3.
    """
    dtype = default_dtype(dtype)
    shape = (size, size)
    solution = on_device(boxes(size, seed), dtype)
    data, deviation = noisy(
        diffusion(shape, DURATION, lengths=SIDE)(solution), noise, seed
    )
    simulator = diffusion(shape, DURATION, lengths=SIDE, noise=deviation)
    return Problem(
        "heat-initial-state",
        Objective(simulator, SquaredLoss(on_device(data, dtype))),
        on_device(0 * data, dtype),
        solution=solution,
        picture="flow",
        quantities={"x": "temperature", "z": "temperature"},
    )
