"""Nonlinear least squares from the literature: residuals, standard starts, minima.

More, Garbow, Hillstrom, "Testing unconstrained optimization software", 1981, with their
numbers in brackets. Minima are those published for |r|^2, which a transcription is
checked against: several well-known copies of these problems have typos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """A problem of a collection."""

    name: str
    residuals: Callable[[Array], Array]
    start: tuple[float, ...]
    """The standard one."""
    minimum: float
    """|r|^2 there, to the digits published."""
    others: tuple[float, ...] = ()
    """|r|^2 at further minima, or where an infimum lies at infinity."""
    farther: tuple[float, ...] | None = None
    """Another start; None for ten times the standard one."""

    @property
    def starts(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The standard start, and one farther away."""
        far = self.farther or tuple(10 * entry for entry in self.start)
        return self.start, far


def counted(count: int) -> np.ndarray:
    """1, 2, ..., count."""
    return np.arange(1, count + 1) * 1.0


def numbers(text: str) -> np.ndarray:
    """Numbers between blanks."""
    return np.array([float(word) for word in text.split()])


def _rosenbrock(x: Array) -> Array:
    return jnp.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def _freudenstein_roth(x: Array) -> Array:
    a, b = x
    return jnp.array(
        [-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b]
    )


def _powell_badly_scaled(x: Array) -> Array:
    return jnp.array([1e4 * x[0] * x[1] - 1, jnp.exp(-x[0]) + jnp.exp(-x[1]) - 1.0001])


def _brown_badly_scaled(x: Array) -> Array:
    return jnp.array([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def _beale(x: Array) -> Array:
    return jnp.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** counted(3))


def _jennrich_sampson(x: Array) -> Array:
    i = counted(10)
    return jnp.asarray(2 + 2 * i - (jnp.exp(i * x[0]) + jnp.exp(i * x[1])))


def _helical_valley(x: Array) -> Array:
    turn = jnp.arctan(x[1] / x[0]) / (2 * jnp.pi) + jnp.where(x[0] < 0, 0.5, 0.0)
    return jnp.array([10 * (x[2] - 10 * turn), 10 * (jnp.hypot(x[0], x[1]) - 1), x[2]])


_BARD = numbers(".14 .18 .22 .25 .29 .32 .35 .39 .37 .58 .73 .96 1.34 2.10 4.39")


def _bard(x: Array) -> Array:
    u = counted(15)
    v, w = 16 - u, jnp.minimum(u, 16 - u)
    return jnp.asarray(_BARD - (x[0] + u / (v * x[1] + w * x[2])))


_GAUSSIAN = numbers(
    ".0009 .0044 .0175 .0540 .1295 .2420 .3521 .3989 "
    ".3521 .2420 .1295 .0540 .0175 .0044 .0009"
)


def _gaussian(x: Array) -> Array:
    t = (8 - counted(15)) / 2
    return x[0] * jnp.exp(-x[1] * (t - x[2]) ** 2 / 2) - _GAUSSIAN


_MEYER = numbers(
    "34780 28610 23650 19630 16370 13720 11540 9744 "
    "8261 7030 6005 5147 4427 3820 3307 2872"
)


def _meyer(x: Array) -> Array:
    return x[0] * jnp.exp(x[1] / (45 + 5 * counted(16) + x[2])) - _MEYER


def _gulf(x: Array) -> Array:
    t = counted(99) / 100
    y = 25 + (-50 * jnp.log(t)) ** (2 / 3)
    return jnp.exp(-(jnp.abs(y - x[1]) ** x[2]) / x[0]) - t


def _box(x: Array) -> Array:
    t = counted(10) / 10
    known = jnp.exp(-t) - jnp.exp(-10 * t)
    return jnp.exp(-t * x[0]) - jnp.exp(-t * x[1]) - x[2] * known


def _powell_singular(x: Array) -> Array:
    a, b, c, d = (x[place::4] for place in range(4))
    parts = a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2
    return jnp.concatenate(parts)


def _wood(x: Array) -> Array:
    a, b, c, d = x
    pair = 10**0.5 * (b + d - 2), (b - d) / 10**0.5
    return jnp.array(
        [10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c, pair[0], pair[1]]
    )


_KOWALIK = numbers(".1957 .1947 .1735 .1600 .0844 .0627 .0456 .0342 .0323 .0235 .0246")
_KOWALIK_AT = numbers("4 2 1 .5 .25 .167 .125 .1 .0833 .0714 .0625")


def _kowalik_osborne(x: Array) -> Array:
    u = _KOWALIK_AT
    return jnp.asarray(_KOWALIK - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3]))


def _brown_dennis(x: Array) -> Array:
    t = counted(20) / 5
    first = x[0] + t * x[1] - jnp.exp(t)
    return first**2 + (x[2] + x[3] * jnp.sin(t) - jnp.cos(t)) ** 2


_OSBORNE_1 = numbers(
    ".844 .908 .932 .936 .925 .908 .881 .850 .818 .784 .751 .718 .685 .658 .628 .603 "
    ".580 .558 .538 .522 .506 .490 .478 .467 .457 .448 .438 .431 .424 .420 .414 .411 "
    ".406"
)


def _osborne_1(x: Array) -> Array:
    t = 10 * (counted(33) - 1)
    return jnp.asarray(
        _OSBORNE_1 - (x[0] + x[1] * jnp.exp(-t * x[3]) + x[2] * jnp.exp(-t * x[4]))
    )


def _biggs(x: Array) -> Array:
    t = counted(13) / 10
    y = jnp.exp(-t) - 5 * jnp.exp(-10 * t) + 3 * jnp.exp(-4 * t)
    parts = x[2] * jnp.exp(-t * x[0]) - x[3] * jnp.exp(-t * x[1])
    return parts + x[5] * jnp.exp(-t * x[4]) - y


_OSBORNE_2 = numbers(
    "1.366 1.191 1.112 1.013 .991 .885 .831 .847 .786 .725 .746 .679 .608 .655 .616 "
    ".606 .602 .626 .651 .724 .649 .649 .694 .644 .624 .661 .612 .558 .533 .495 .500 "
    ".423 .395 .375 .372 .391 .396 .405 .428 .429 .523 .562 .607 .653 .672 .708 .633 "
    ".668 .645 .632 .591 .559 .597 .625 .739 .710 .729 .720 .636 .581 .428 .292 .162 "
    ".098 .054"
)


def _osborne_2(x: Array) -> Array:
    t = (counted(65) - 1) / 10
    peaks = x[0] * jnp.exp(-t * x[4])
    for height, width, place in ((1, 5, 8), (2, 6, 9), (3, 7, 10)):
        peaks += x[height] * jnp.exp(-x[width] * (t - x[place]) ** 2)
    return jnp.asarray(_OSBORNE_2 - peaks)


def _watson(x: Array) -> Array:
    t = counted(29)[:, None] / 29
    j = jnp.arange(len(x))
    slope = jnp.sum(j[1:] * x[1:] * t ** (j[1:] - 1), axis=1)
    value = jnp.sum(x * t**j, axis=1)
    ends = jnp.array([x[0], x[1] - x[0] ** 2 - 1])
    return jnp.concatenate([slope - value**2 - 1, ends])


def _extended_rosenbrock(x: Array) -> Array:
    odd, even = x[::2], x[1::2]
    return jnp.concatenate([10 * (even - odd**2), 1 - odd])


def _penalty_1(x: Array) -> Array:
    return jnp.append(1e-5**0.5 * (x - 1), jnp.sum(x**2) - 0.25)


def _penalty_2(x: Array) -> Array:
    n, root = len(x), 1e-5**0.5
    i = jnp.arange(2, n + 1)
    known = jnp.exp(i / 10) + jnp.exp((i - 1) / 10)
    pairs = root * (jnp.exp(x[1:] / 10) + jnp.exp(x[:-1] / 10) - known)
    singles = root * (jnp.exp(x[1:] / 10) - jnp.exp(-0.1))
    last = jnp.sum((n - jnp.arange(n)) * x**2) - 1
    return jnp.concatenate([x[:1] - 0.2, pairs, singles, last[None]])


def _variably_dimensioned(x: Array) -> Array:
    total = jnp.sum(counted(len(x)) * (x - 1))
    return jnp.concatenate([x - 1, jnp.array([total, total**2])])


def _trigonometric(x: Array) -> Array:
    i = counted(len(x))
    return len(x) - jnp.sum(jnp.cos(x)) + i * (1 - jnp.cos(x)) - jnp.sin(x)


def _brown_almost_linear(x: Array) -> Array:
    return jnp.append((x + jnp.sum(x) - (len(x) + 1))[:-1], jnp.prod(x) - 1)


def _boundary_value(x: Array) -> Array:
    h = 1 / (len(x) + 1)
    t, wide = h * counted(len(x)), jnp.pad(x, 1)
    return 2 * x - wide[:-2] - wide[2:] + h**2 * (x + t + 1) ** 3 / 2


def _integral_equation(x: Array) -> Array:
    h = 1 / (len(x) + 1)
    t = h * counted(len(x))
    cube = (x + t + 1) ** 3
    kernel = jnp.where(t <= t[:, None], (1 - t[:, None]) * t, t[:, None] * (1 - t))
    return x + h * (kernel @ cube) / 2


def _broyden_tridiagonal(x: Array) -> Array:
    wide = jnp.pad(x, 1)
    return (3 - 2 * x) * x - wide[:-2] - 2 * wide[2:] + 1


def _broyden_banded(x: Array) -> Array:
    i = jnp.arange(len(x))
    away = i - i[:, None]
    near = (away >= -5) & (away <= 1) & (away != 0)
    return x * (2 + 5 * x**2) + 1 - near @ (x * (1 + x))


def _chebyquad(x: Array) -> Array:
    before, now = jnp.ones_like(x), 2 * x - 1
    means = []
    for order in range(1, len(x) + 1):
        exact = -1 / (order**2 - 1) if order % 2 == 0 else 0.0
        means.append(jnp.mean(now) - exact)
        before, now = now, 2 * (2 * x - 1) * now - before
    return jnp.array(means)


def _even(count: int) -> tuple[float, ...]:
    return tuple(i / (count + 1) for i in range(1, count + 1))


def _grid(count: int) -> tuple[float, ...]:
    return tuple(t * (t - 1) for t in _even(count))


_WAVE = (1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5)

MORE_GARBOW_HILLSTROM: Sequence[LeastSquares] = [
    LeastSquares("Rosenbrock (1)", _rosenbrock, (-1.2, 1.0), 0.0),
    LeastSquares(
        "Freudenstein-Roth (2)", _freudenstein_roth, (0.5, -2.0), 0.0, (48.9842,)
    ),
    LeastSquares("Powell badly scaled (3)", _powell_badly_scaled, (0.0, 1.0), 0.0),
    LeastSquares("Brown badly scaled (4)", _brown_badly_scaled, (1.0, 1.0), 0.0),
    LeastSquares("Beale (5)", _beale, (1.0, 1.0), 0.0),
    LeastSquares("Jennrich-Sampson (6)", _jennrich_sampson, (0.3, 0.4), 124.362),
    LeastSquares("helical valley (7)", _helical_valley, (-1.0, 0.0, 0.0), 0.0),
    LeastSquares("Bard (8)", _bard, (1.0, 1.0, 1.0), 8.21487e-3, (17.4286,)),
    LeastSquares("Gaussian (9)", _gaussian, (0.4, 1.0, 0.0), 1.12793e-8),
    LeastSquares(
        "Meyer (10), MGH10",
        _meyer,
        (0.02, 4000.0, 250.0),
        87.945855171,
        (),
        (2.0, 4e5, 25000.0),
    ),
    LeastSquares("Gulf (11)", _gulf, (5.0, 2.5, 0.15), 0.0),
    LeastSquares("Box 3-D (12)", _box, (0.0, 10.0, 20.0), 0.0),
    LeastSquares("Powell singular (13)", _powell_singular, (3.0, -1.0, 0.0, 1.0), 0.0),
    LeastSquares("Wood (14)", _wood, (-3.0, -1.0, -3.0, -1.0), 0.0),
    LeastSquares(
        "Kowalik-Osborne (15)",
        _kowalik_osborne,
        (0.25, 0.39, 0.415, 0.39),
        3.07505e-4,
        (1.02734e-3,),
    ),
    LeastSquares("Brown-Dennis (16)", _brown_dennis, (25.0, 5.0, -5.0, -1.0), 85822.2),
    LeastSquares(
        "Osborne 1 (17), MGH17",
        _osborne_1,
        (0.5, 1.5, -1.0, 0.01, 0.02),
        5.4648946975e-5,
        (),
        (50.0, 150.0, -100.0, 1.0, 2.0),
    ),
    LeastSquares(
        "Biggs EXP6 (18)", _biggs, (1.0, 2.0, 1.0, 1.0, 1.0, 1.0), 0.0, (5.65565e-3,)
    ),
    LeastSquares("Osborne 2 (19)", _osborne_2, _WAVE, 4.01377e-2),
    LeastSquares("Watson, 6 (20)", _watson, (0.0,) * 6, 2.28767e-3, (), (10.0,) * 6),
    LeastSquares("Watson, 9 (20)", _watson, (0.0,) * 9, 1.39976e-6, (), (10.0,) * 9),
    LeastSquares(
        "extended Rosenbrock, 10 (21)", _extended_rosenbrock, (-1.2, 1.0) * 5, 0.0
    ),
    LeastSquares(
        "extended Powell singular, 12 (22)",
        _powell_singular,
        (3.0, -1.0, 0.0, 1.0) * 3,
        0.0,
    ),
    LeastSquares("penalty I, 4 (23)", _penalty_1, (1.0, 2.0, 3.0, 4.0), 2.24997e-5),
    LeastSquares("penalty II, 4 (24)", _penalty_2, (0.5,) * 4, 9.37629e-6),
    LeastSquares(
        "variably dimensioned, 10 (25)",
        _variably_dimensioned,
        tuple(1 - i / 10 for i in range(1, 11)),
        0.0,
    ),
    LeastSquares(
        "trigonometric, 10 (26)", _trigonometric, (0.1,) * 10, 0.0, (2.79506e-5,)
    ),
    LeastSquares(
        "Brown almost linear, 10 (27)", _brown_almost_linear, (0.5,) * 10, 0.0, (1.0,)
    ),
    LeastSquares("boundary value, 10 (28)", _boundary_value, _grid(10), 0.0),
    LeastSquares("integral equation, 10 (29)", _integral_equation, _grid(10), 0.0),
    LeastSquares(
        "Broyden tridiagonal, 10 (30)", _broyden_tridiagonal, (-1.0,) * 10, 0.0
    ),
    LeastSquares("Broyden banded, 10 (31)", _broyden_banded, (-1.0,) * 10, 0.0),
    LeastSquares("Chebyquad, 8 (35)", _chebyquad, _even(8), 3.51687e-3),
    LeastSquares("Chebyquad, 9 (35)", _chebyquad, _even(9), 0.0),
]
