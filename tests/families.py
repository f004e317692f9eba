"""Small families that the laws are run over: simulators, rules and losses.

Members of one shape are branches of one function, picked by a traced index, so that a
law compiles one program for each rule and dtype, not one for each simulator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest
from jax import lax
from jaxtyping import Array, Int

import physgrad as pg

COMPLETED = pg.Result.completed.code


@dataclasses.dataclass(frozen=True)
class Map:
    """z = P(x) between vectors, its local inverse, and points of one branch."""

    name: str
    forward: Callable[[Array], Array]
    inverse: Callable[[Array, Array], Array]
    """f(z, x): a preimage of z in the range of P, the nearest one where P is affine."""
    points: tuple[tuple[float, ...], ...]
    """Any of them can be reached from any other."""
    affine: bool = False
    injective: bool = True


class Pick(eqx.Module):
    """One of several functions, by a traced index."""

    functions: tuple[Callable, ...] = eqx.field(static=True)
    index: Int[Array, ""]

    def __call__(self, *args: Array) -> Array:
        return lax.switch(self.index, self.functions, *args)


@dataclasses.dataclass(frozen=True)
class Family:
    """Maps of one shape."""

    name: str
    maps: tuple[Map, ...]
    size: int
    """Entries of z."""

    def pick(self, member: Map) -> Pick:
        """The forward map of a member."""
        index = self.maps.index(member)
        return Pick(tuple(m.forward for m in self.maps), jnp.int32(index))

    def exact(self, member: Map) -> pg.AnalyticInverse:
        """The exact inverse of a member."""
        index = self.maps.index(member)
        return pg.AnalyticInverse(
            Pick(tuple(m.inverse for m in self.maps), jnp.int32(index))
        )

    def rule(self, name: str, member: Map) -> pg.Inverse:
        """The exact inverse by the name "exact", or one of `RULES`."""
        return self.exact(member) if name == "exact" else RULES[name]()


def affine(name: str, matrix: Any, shift: Any, points: Any) -> Map:
    """z = A x + b, and the shortest way back: x + A^+ (z - A x - b)."""
    a, b = np.asarray(matrix, float), np.asarray(shift, float)
    back, full = np.linalg.pinv(a), np.linalg.matrix_rank(a) == a.shape[1]

    def forward(x: Array) -> Array:
        return jnp.asarray(a, x.dtype) @ x + jnp.asarray(b, x.dtype)

    def inverse(z: Array, x: Array) -> Array:
        return x + jnp.asarray(back, x.dtype) @ (z - forward(x))

    return Map(name, forward, inverse, points, affine=True, injective=bool(full))


def square(x: Array) -> Array:
    return jnp.stack([x[0], x[1] ** 2])


def square_root(z: Array, x: Array) -> Array:
    return jnp.stack([z[0], jnp.copysign(jnp.sqrt(z[1]), x[1])])


def positive_root(z: Array) -> Array:
    """On the branch with x1 >= 0, wherever x is: the notebook's."""
    return jnp.stack([z[0], jnp.sqrt(z[1])])


def polar(x: Array) -> Array:
    return x[0] * jnp.stack([jnp.cos(x[1]), jnp.sin(x[1])])


def polar_inverse(z: Array, x: Array) -> Array:
    turn = jnp.asarray(2 * np.pi, x.dtype)
    angle = jnp.arctan2(z[1], z[0])
    angle = angle + turn * jnp.round((x[1] - angle) / turn)
    return jnp.stack([jnp.sqrt(z[0] ** 2 + z[1] ** 2), angle])


def bent_wide(x: Array) -> Array:
    return jnp.stack([x[0] + 0.3 * x[1] ** 2, x[1] + jnp.exp(0.2 * x[2])])


def bent_wide_inverse(z: Array, x: Array) -> Array:
    x1 = z[1] - jnp.exp(0.2 * x[2])
    return jnp.stack([z[0] - 0.3 * x1**2, x1, x[2]])


def bent_tall(x: Array) -> Array:
    return jnp.stack([x[0], x[1] + 0.1 * x[1] ** 3, x[0] * x[1]])


def bent_tall_inverse(z: Array, x: Array) -> Array:
    x1 = x[1]
    for _ in range(20):  # Newton's method; monotonic, so there is one root
        x1 = x1 - (x1 + 0.1 * x1**3 - z[1]) / (1 + 0.3 * x1**2)
    return jnp.stack([z[0], x1])


PAIRS = ((3.0, 3.0), (0.5, 1.25), (2.0, 0.75))
SQUARE = Family(
    "square",
    (
        affine("affine", [[2.0, 1.0], [-1.0, 3.0]], [0.5, -1.0], PAIRS),
        Map("toy", square, square_root, PAIRS, injective=False),
        Map("toy-left", square, square_root, ((3.0, -3.0), (1.0, -0.5))),
        Map("exp", jnp.exp, lambda z, x: jnp.log(z), ((1.0, -1.0), (0.3, 0.5))),
        Map("polar", polar, polar_inverse, ((2.0, 7.0), (1.0, 6.5), (3.0, 6.1))),
        Map("cubic", lambda x: x**3, lambda z, x: jnp.cbrt(z), PAIRS),
    ),
    2,
)
WIDE = Family(
    "wide",
    (
        affine(
            "wide-affine",
            [[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]],
            [1.0, 2.0],
            ((1.0, 2.0, 3.0), (0.0, -1.0, 0.5)),
        ),
        Map(
            "wide-bent",
            bent_wide,
            bent_wide_inverse,
            ((1.0, 2.0, 1.0), (0.5, -1.0, 0.5)),
            injective=False,
        ),
    ),
    2,
)
TALL = Family(
    "tall",
    (
        affine(
            "tall-affine", [[1.0, 2.0], [0.5, -1.0], [3.0, 1.0]], [1.0, 0.0, 2.0], PAIRS
        ),
        affine(
            "deficient", [[1.0, 2.0], [2.0, 4.0], [0.5, 1.0]], [1.0, 0.0, -1.0], PAIRS
        ),
        Map("tall-bent", bent_tall, bent_tall_inverse, PAIRS),
    ),
    3,
)
FAMILIES = (SQUARE, WIDE, TALL)
MEMBERS = [(family, member) for family in FAMILIES for member in family.maps]
OF_SHAPE = {family.name: family for family in FAMILIES}

# Solvers' own tolerances are not used by `NumericalInverse`.
RULES: dict[str, Callable[[], pg.Inverse]] = {
    "numerical": pg.NumericalInverse,
    "newton": lambda: pg.NumericalInverse(optx.Newton(1e-8, 1e-8)),
    "bfgs": lambda: pg.NumericalInverse(optx.BFGS(1e-8, 1e-8)),
    "lbfgs": lambda: pg.NumericalInverse(optx.LBFGS(1e-8, 1e-8)),
    "dogleg": lambda: pg.NumericalInverse(optx.Dogleg(1e-8, 1e-8)),
    "broyden": lambda: pg.BroydenInverse(rtol=1e-9),
    "linearized": pg.LinearizedInverse,
    "matrix-free": lambda: pg.LinearizedInverse(solver=lx.LSMR(1e-12, 0.0)),
    "spectral": lambda: pg.SpectralInverse(1.0),
    "half": lambda: pg.SpectralInverse(0.5),
    "orthogonal": lambda: pg.SpectralInverse(0.0),
    "flat": lambda: pg.SpectralInverse(-1.0),
    "regularized": lambda: pg.RegularizedInverse(noise=0.0),
    "from-data": pg.RegularizedInverse,
    "transposed": pg.TransposedInverse,
}
PREIMAGES = ("exact", "numerical", "newton", "bfgs", "lbfgs", "dogleg", "broyden")
"""Rules that promise P(x+) = z~."""
SPECTRAL = ("spectral", "half", "orthogonal", "flat")
"""Powers 1, 1/2, 0 and -1 of the singular values."""
LINEAR = ("linearized", "matrix-free", *SPECTRAL, "from-data", "transposed")
"""Rules that promise nothing."""


BOTH = ("exact", "numerical", "linearized", "half", "transposed")
"""Rules that run in every shape, in float32 and float64; the others where it tells."""
WHERE = {
    "newton": ("square",),
    "bfgs": ("square", "tall"),
    "lbfgs": ("square",),
    "dogleg": ("square", "tall"),
    "broyden": ("square", "wide", "tall"),
    "matrix-free": ("wide", "tall"),
    "spectral": ("wide", "tall"),
    "orthogonal": ("square", "tall"),
    "flat": ("wide", "tall"),
    "regularized": ("square", "wide", "tall"),
    "from-data": ("wide", "tall"),
}


def cases(rules: Iterable[str]) -> list[Any]:
    """Rule, family and dtype (indirect): pytest parameters, a program each."""
    return [
        pytest.param(rule, family, dtype, id=f"{rule}-{name}-{dtype}")
        for rule in rules
        for name, family in OF_SHAPE.items()
        for dtype in ("float32", "float64")
        if rule in BOTH or (name in WHERE[rule] and dtype == "float64")
    ]


@eqx.filter_jit
def one_step(objective: pg.Objective, optimizer: pg.Optimizer, x0: Any) -> pg.Step:
    """The first step of an optimizer; new arrays need no new program."""
    flat, x = objective.flatten(x0)
    state = flat.start(x)
    return optimizer.update(flat, state, optimizer.init(flat, state))[0]


def squared_step(
    family: Family,
    member: Map,
    rule: str | pg.Inverse,
    x: Any,
    target: Any,
    dtype: Any,
    *,
    weight: Any = None,
    step_size: float = 1.0,
) -> pg.Step:
    """One physical gradient step of a member for SquaredLoss(target, weight)."""
    weight = np.ones(family.size) if weight is None else weight
    loss = pg.SquaredLoss(jnp.asarray(target, dtype), jnp.asarray(weight, dtype))
    rule = family.rule(rule, member) if isinstance(rule, str) else rule
    simulator = pg.Simulator(family.pick(member), family.exact(member))
    objective = pg.Objective(simulator, loss)
    method = pg.PhysicalGradient(step_size, inverse=rule)
    return one_step(objective, method, jnp.asarray(x, dtype))


@eqx.filter_jit
def _value_and_jacobian(forward: Callable, x: Array) -> tuple[Array, Array]:
    return forward(x), jax.jacfwd(forward)(x)


def in_float64(family: Family, member: Map, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """P(x) and J at x, in float64 whatever the dtype of the test: the reference."""
    with jax.enable_x64(True):
        z, jacobian = _value_and_jacobian(
            family.pick(member), jnp.asarray(np.asarray(x, float))
        )
        return np.asarray(z), np.asarray(jacobian)


def eps(dtype: Any) -> float:
    """The rounding unit that tolerances are tied to."""
    return float(jnp.finfo(dtype).eps)


def relative(got: Any, expected: Any) -> float:
    """|got - expected| / |expected|, by their largest entries."""
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    return float(np.max(np.abs(got - expected)) / np.max(np.abs(expected)))
