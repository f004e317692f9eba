"""Fits of the NIST Statistical Reference Datasets, with their certified |r|^2."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from least_squares_problems import LeastSquares, counted, numbers

_BOX_BOD = numbers("109 149 149 191 213 224"), numbers("1 2 3 5 7 10")
_MISRA = (
    numbers(
        "10.07 14.73 17.94 23.93 29.61 35.18 40.02 44.82 50.76 55.05 61.01 66.40 "
        "75.47 81.78"
    ),
    numbers(
        "77.6 114.9 141.1 190.8 239.9 289.0 332.8 378.4 434.8 477.3 536.8 593.1 "
        "689.1 760.0"
    ),
)
_DAN_WOOD = (
    numbers("2.138 3.421 3.597 4.340 4.882 5.660"),
    numbers("1.309 1.471 1.490 1.565 1.611 1.680"),
)
_RAT_42 = (
    numbers("8.930 10.800 18.590 22.330 39.350 56.110 61.730 64.620 67.080"),
    numbers("9 14 21 28 42 57 63 70 79"),
)
_RAT_43 = numbers(
    "16.08 33.83 65.80 97.20 191.55 326.20 386.87 520.53 590.03 651.92 724.93 699.56 "
    "689.96 637.56 717.41"
)


def _misra(b: Array) -> Array:
    y, t = _MISRA
    return b[0] * (1 - jnp.exp(-b[1] * t)) - y


def _box_bod(b: Array) -> Array:
    y, t = _BOX_BOD
    return b[0] * (1 - jnp.exp(-b[1] * t)) - y


def _dan_wood(b: Array) -> Array:
    y, t = _DAN_WOOD
    return b[0] * t ** b[1] - y


def _rat_42(b: Array) -> Array:
    y, t = _RAT_42
    return b[0] / (1 + jnp.exp(b[1] - b[2] * t)) - y


def _rat_43(b: Array) -> Array:
    return b[0] / (1 + jnp.exp(b[1] - b[2] * counted(15))) ** (1 / b[3]) - _RAT_43


# Both starts are those of NIST.
NIST: Sequence[LeastSquares] = [
    LeastSquares("Misra1a", _misra, (250.0, 5e-4), 0.12455138894, (), (500.0, 1e-4)),
    LeastSquares("BoxBOD", _box_bod, (100.0, 0.75), 1168.0088766, (), (1.0, 1.0)),
    LeastSquares("DanWood", _dan_wood, (0.7, 4.0), 4.3173084083e-3, (), (1.0, 5.0)),
    LeastSquares(
        "Rat42", _rat_42, (75.0, 2.5, 0.07), 8.0565229338, (), (100.0, 1.0, 0.1)
    ),
    LeastSquares(
        "Rat43",
        _rat_43,
        (700.0, 5.0, 0.75, 1.3),
        8786.4049080,
        (),
        (100.0, 10.0, 1.0, 1.0),
    ),
]
