"""The simulators that come with physgrad, small, with a start and a goal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import physgrad as pg

S = pg.simulators


def smooth(seed: int, *shape: int, size: float = 1.0, waves: int = 2) -> np.ndarray:
    """A few long waves, in a periodic box."""
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij")
    field = np.zeros(shape)
    for _ in range(4):
        turns = rng.integers(0, waves + 1, len(shape))
        phase = 2 * np.pi * sum(k * s for k, s in zip(turns, places, strict=True))
        field += rng.standard_normal() * np.cos(phase + rng.uniform(0, 6))
    return size * field


def pair(seed: int, *shape: int) -> np.ndarray:
    return np.stack([smooth(seed, *shape), smooth(seed + 1, *shape)])


@dataclasses.dataclass(frozen=True)
class Ready:
    """A simulator, a start, and a point that a step from there is to reach."""

    name: str
    make: Callable[[], pg.Simulator]
    start: Any
    goal: Any
    exact: bool = True
    """Whether z determines x: the goal itself is reached."""
    gain: float = 1.0
    """How much of a rounding of z may show in x."""


RAMP = np.linspace(-0.3, 0.3, 12)
WAVE = 0.4 * np.sin(np.arange(12))
AT_REST = [[1.0, 0.0], [0.0, 0.0]]
NUMERICAL = [
    Ready(
        "driven_oscillators",
        lambda: S.driven_oscillators(AT_REST, 6.0, steps=12, cubic=0.3),
        *(0 * RAMP, WAVE),
    ),
    Ready(
        "driven_pendulum",
        lambda: S.driven_pendulum(duration=3.0, steps=12),
        *(0 * RAMP, WAVE),
    ),
    Ready("cart_pole", lambda: S.cart_pole(duration=1.0, steps=12), RAMP, WAVE),
    Ready(
        "quantum_control",
        lambda: S.quantum_control(duration=0.6, steps=12, points=5),
        *(1 + RAMP, 1 + WAVE),
    ),
    Ready(
        "planar_arm_5",
        lambda: S.planar_arm([1.0, 0.8, 0.6, 0.4, 0.3]),
        *([0.3, 0.5, 0.1, 0.1, 0.2], [0.5, 0.8, 0.3, 0.2, 0.1]),
    ),
    Ready(
        "spatial_arm_7",
        lambda: S.spatial_arm([0.1, 1.0, 0.8, 0.3, 0.3, 0.2, 0.1]),
        *([0.3, 0.5, 1, 0.2, 0.1, 0.4, 0.3], [0.5, 0.3, 0.7, 0.1, 0.1, 0.1, 0.1]),
    ),
    Ready(
        "conductivity",
        lambda: S.conductivity(12),
        *(np.ones(12), 1 + 0.1 * smooth(2, 12) ** 2),
    ),
]
"""Those of which many x map to one z."""


TRIANGLE = np.array([[[0, 0], [1, 0], [-2, 0]], [[0, 0], [0, 1], [0, -0.7]]], float)
MOVED = TRIANGLE + 0.05 * np.arange(12).reshape(2, 3, 2) / 12
EXACT = [
    Ready("exponential_map", S.exponential_map, [-3.0, 1.0], [0.5, -1.0], gain=30),
    Ready("sine_map", lambda: S.sine_map(8.0, 0.7), [0.3, 0.5], [0.5, 0.1], gain=80),
    Ready("polar_map", S.polar_map, [2.0, 7.0], [1.0, 6.5]),
    Ready("spiral_map", S.spiral_map, [1.0, 2.0], [-1.0, 0.5], gain=10),
    Ready(
        "affine_map",
        lambda: S.affine_map([[2.0, 1.0], [0.0, 3.0]], [1.0, 0.0]),
        *([1.0, 2.0], [-1.0, 0.5]),
    ),
    Ready(
        "diffusion_2d",
        lambda: S.diffusion((8, 7), 1e-3),
        *(np.zeros((8, 7)), smooth(0, 8, 7)),
        gain=1e3,
    ),
    Ready(
        "diffusion_neumann",
        lambda: S.diffusion((9,), 1e-3, boundary="neumann"),
        *(np.zeros(9), smooth(0, 9)),
        gain=1e3,
    ),
    Ready(
        "diffusion_dirichlet",
        lambda: S.diffusion((8,), 1e-3, boundary="dirichlet"),
        *(np.zeros(8), smooth(0, 8)),
        gain=1e3,
    ),
    Ready(
        "heating",
        lambda: S.heating((6, 7), 0.1),
        *(np.zeros((6, 7)), smooth(0, 6, 7)),
        gain=1e3,
    ),
    Ready(
        "poisson",
        lambda: S.poisson((6, 7)),
        *(np.zeros((6, 7)), smooth(0, 6, 7)),
        gain=200,
    ),
    Ready(
        "poisson_periodic",
        lambda: S.poisson((6, 7), boundary="periodic"),
        *(np.zeros((6, 7)), smooth(0, 6, 7) - np.mean(smooth(0, 6, 7))),
        gain=200,
    ),
    Ready(
        "poisson_screened",
        lambda: S.poisson((9,), boundary="neumann", screening=2.0),
        *(np.zeros(9), smooth(0, 9)),
        gain=200,
    ),
    Ready(
        "advection",
        lambda: S.advection((8, 5), 0.37, velocity=(1.0, -0.5)),
        *(np.zeros((8, 5)), smooth(0, 8, 5)),
    ),
    Ready("wave", lambda: S.wave((8,), 1.3), 0 * pair(0, 8), pair(0, 8), gain=20),
    Ready(
        "wave_dirichlet",
        lambda: S.wave((5, 4), 1.3, boundary="dirichlet"),
        *(0 * pair(0, 5, 4), pair(0, 5, 4)),
        gain=20,
    ),
    Ready(
        "schroedinger",
        lambda: S.schroedinger((9,), 0.1),
        *(np.ones((2, 9)), pair(0, 9)),
    ),
    Ready(
        "schroedinger_potential",
        lambda: S.schroedinger((8,), 0.1, potential=5 * smooth(4, 8), steps=7),
        *(np.ones((2, 8)), pair(0, 8)),
    ),
    Ready(
        "burgers",
        lambda: S.burgers(32, 0.1, steps=20),
        *(smooth(1, 32, size=0.1), smooth(0, 32, size=0.2)),
        gain=1e4,
    ),
    Ready(
        "korteweg_de_vries",
        lambda: S.korteweg_de_vries(33, 0.3, steps=50),
        *(smooth(1, 33, size=0.1), smooth(0, 33, size=0.3)),
        gain=10,
    ),
    Ready(
        "kuramoto_sivashinsky",
        lambda: S.kuramoto_sivashinsky(24, 0.5, steps=10),
        *(smooth(1, 24, size=0.1), smooth(0, 24, size=0.3)),
        gain=1e4,
    ),
    Ready(
        "navier_stokes",
        lambda: S.navier_stokes((8, 9), 0.5, steps=10),
        *(smooth(1, 8, 9, size=0.1), smooth(0, 8, 9, size=0.5)),
        gain=10,
    ),
    Ready(
        "oscillator_chain",
        lambda: S.oscillator_chain(3, 5.0, cubic=0.5),
        *(np.zeros((2, 3)), [[0.1, 0.8, 0.3], [0.5, 0.2, 0.9]]),
        gain=20,
    ),
    Ready("pendulum", lambda: S.pendulum(5.0), [0.1, 0.0], [1.0, 0.5], gain=20),
    Ready(
        "n_body",
        lambda: S.n_body([1.0, 0.1, 0.2], 1.0, steps=50),
        *(TRIANGLE, MOVED),
        gain=20,
    ),
    Ready(
        "seen_orbit",
        lambda: S.seen_orbit(5.0, times=6, steps=8),
        *([[1.0, 0.0], [0.0, 1.1]], [[1.0, 0.05], [0.0, 0.95]]),
        gain=20,
    ),
    Ready(
        "quantum_motion",
        lambda: S.quantum_motion([0.0, 1.0, 2.0], 0.3, points=5),
        *(pair(0, 5), pair(2, 5)),
    ),
    Ready(
        "darcy",
        lambda: S.darcy((5, 6)),
        *(np.ones((5, 6)), 1 + 0.1 * smooth(2, 5, 6) ** 2),
        gain=1e4,
    ),
    Ready(
        "planar_arm",
        lambda: S.planar_arm([1.0, 0.8]),
        *([0.3, 0.5], [0.5, 1.1]),
        gain=10,
    ),
    Ready(
        "spatial_arm",
        lambda: S.spatial_arm([0.2, 1.0, 0.8]),
        *([0.3, 0.5, 1.0], [0.5, 0.1, 0.7]),
        gain=10,
    ),
]


READY = [
    *EXACT,
    *(dataclasses.replace(ready, exact=False) for ready in NUMERICAL),
]
