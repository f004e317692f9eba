"""Laws of derivatives of solutions by singular values: those of central differences."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import physgrad as pg
from physgrad.spectral import (
    Damped,
    Power,
    damped_solution,
    filtered_solution,
    largest_value,
    metric_factor,
)

SHAPES = {"square": (4, 4), "wide": (3, 5), "tall": (6, 4)}
VALUES = {
    "distinct": [3.0, 2.0, 0.5],
    "repeated": [2.0, 2.0, 2.0],
    "pair": [3.0, 0.7, 0.7],
    "nearly": [2.0 + 1e-9, 2.0, 1.9],
    "deficient": [2.0, 2.0],
    "one": [1.5],
}
GAINS = {
    **{f"power {p}": Power(p) for p in (-1.0, -0.5, 0.0, 1.0)},
    **{f"damping {d}": Damped(d) for d in (0.0, 0.3)},
}
STEP = 1e-5


@jax.jit
def solution(left, right, b, gain, truncation=None):
    return filtered_solution(left @ right, b, gain, truncation)


@jax.jit
def slope_of_solution(matrix, b, along, gain):
    _, slope = jax.jvp(lambda m: filtered_solution(m, b, gain), (matrix,), (along,))
    return slope


@jax.jit
def metric(left, right, gain):
    """R^T R, not R: that is known up to a rotation."""
    factor = metric_factor(left @ right, gain, None)
    return factor.T @ factor


@jax.jit
def step_in_the_metric(left, right, gain):
    factor = metric_factor(left @ right, gain, None)
    onto = jnp.cos(jnp.arange(2.0 * right.shape[1]).reshape(-1, 2) ** 2)
    dz = factor @ jnp.arange(1.0, 1.0 + right.shape[1])
    return filtered_solution(factor @ onto, dz, Damped(0.5))


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def factors(shape, values, seed=0):
    """B, C with A = B C of these singular values and no others, and tangents of both.

    Also where A is deficient, a change of B and of C keeps its rank.
    """
    rng = np.random.default_rng(seed)
    rank = len(values)
    left, _ = np.linalg.qr(rng.standard_normal((shape[0], rank)))
    right, _ = np.linalg.qr(rng.standard_normal((shape[1], rank)))
    point = (
        jnp.asarray(left * np.sqrt(values)),
        jnp.asarray((right * np.sqrt(values)).T),
    )
    return point, tuple(jnp.asarray(rng.standard_normal(p.shape)) for p in point)


def central(function, point, tangent):
    """(f(x + h t) - f(x - h t)) / 2 h."""
    ends = [
        function(*(p + h * t for p, t in zip(point, tangent, strict=True)))
        for h in (STEP, -STEP)
    ]
    return jax.tree.map(lambda a, b: (a - b) / (2 * STEP), *ends)


def check(function, point, tangent, tolerance=1e-7):
    """Forward and reverse derivatives along `tangent` are the central difference."""
    expected = central(function, point, tangent)
    _, forward = jax.jvp(function, point, tangent)
    scale = max(float(jnp.linalg.norm(expected)), 1e-2)
    assert float(jnp.linalg.norm(forward - expected)) <= tolerance * scale
    weight = jnp.cos(jnp.arange(expected.size)).reshape(expected.shape)
    reverse = jax.grad(lambda *p: jnp.sum(weight * function(*p)), range(len(point)))
    pairs = zip(reverse(*point), tangent, strict=True)
    got = sum(float(jnp.sum(g * t)) for g, t in pairs)
    assert abs(got - float(jnp.sum(weight * forward))) <= 1e-10 * scale


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_solution_has_the_derivative_of_central_differences(shape, values):
    point, tangent = factors(SHAPES[shape], VALUES[values])
    rng = np.random.default_rng(1)
    b, db = jnp.asarray(rng.standard_normal((2, SHAPES[shape][0])))
    for gain in GAINS.values():
        check(partial(solution, gain=gain), (*point, b), (*tangent, db))


@pytest.mark.parametrize("values", ["distinct", "repeated", "deficient"])
def test_the_number_in_the_gain_can_be_differentiated(values):
    point, _ = factors((6, 4), VALUES[values])
    for gain, number in ((Power, -1.0), (Power, 0.0), (Damped, 0.3)):
        check(
            lambda n, gain=gain: solution(*point, jnp.arange(6.0), gain(n)),
            (jnp.asarray(number),),
            (jnp.asarray(1.0),),
        )


def test_values_that_are_dropped_but_not_zero_count_as_they_are():
    point, tangent = factors((5, 4), [3.0, 3.0, 0.4, 0.4])
    for gain in GAINS.values():
        dropping = partial(solution, b=jnp.arange(5.0), gain=gain, truncation=0.5)
        check(dropping, point, tangent)


@pytest.mark.parametrize("values", ["distinct", "pair", "deficient"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_metric_has_the_derivative_of_central_differences(shape, values):
    point, tangent = factors(SHAPES[shape], VALUES[values])
    for power in (1.0, 0.75, 0.5, 0.0):
        for function in (metric, step_in_the_metric):
            check(partial(function, gain=Power(power)), point, tangent)


def test_a_second_derivative_of_the_metric_is_refused():
    def entries(a):
        return jnp.sum(metric_factor(a * jnp.eye(2), Power(0.5), None))

    with pytest.raises(NotImplementedError, match="no second derivative"):
        jax.hessian(entries)(1.0)


def test_second_derivatives_hold_where_the_values_are_distinct():
    point, tangent = factors((5, 3), VALUES["distinct"])
    matrix, b = point[0] @ point[1], jnp.arange(5.0)
    along = tangent[0] @ tangent[1]

    slope = partial(slope_of_solution, b=b, along=along, gain=Power(-0.5))
    check(slope, (matrix,), (along,), tolerance=1e-6)


def test_the_largest_value_has_the_mean_derivative_of_those_that_tie():
    point, tangent = factors((5, 4), VALUES["distinct"])
    check(lambda left, right: largest_value(left @ right)[None], point, tangent)
    turn, _ = jnp.linalg.qr(jnp.arange(9.0).reshape(3, 3) ** 2 + jnp.eye(3))
    _, got = jax.jvp(largest_value, (2 * turn,), (turn @ jnp.diag(jnp.arange(3.0)),))
    assert got == pytest.approx(1.0)
    assert jax.grad(largest_value)(jnp.zeros((2, 3))).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_has_the_derivatives_of_float64(shape, wide):
    """By the Gram matrix in float64, and with x64 off by the decomposition itself."""
    b = np.ones(SHAPES[shape][0])
    for values in VALUES.values():
        point, tangent = factors(SHAPES[shape], values)
        matrix, along = jax.jvp(jnp.matmul, point, tangent)
        for gain in GAINS.values():
            expected = np.asarray(slope_of_solution(matrix, b, along, gain))
            narrow = [np.asarray(p, np.float32) for p in (matrix, b, along)]
            with jax.enable_x64(wide):
                got = slope_of_solution(*narrow, gain)
            assert got.dtype == jnp.float32
            scale = max(float(np.linalg.norm(expected)), 1.0)
            assert np.linalg.norm(np.asarray(got, float) - expected) <= 1e-4 * scale


def test_vmap_gives_what_one_by_one_gives():
    matrices = jnp.stack(
        [jnp.diag(jnp.asarray(v)) for v in ([2.0, 2.0], [3.0, 1.0], [1.0, 0.0])]
    )
    damping = jnp.array([0.0, 0.1, 0.2])

    def total(matrix, damping):
        return jnp.sum(damped_solution(matrix, jnp.array([1.0, 2.0]), damping))

    slope = jax.jit(jax.grad(total, (0, 1)))
    together = jax.vmap(slope)(matrices, damping)
    for i in range(3):
        for got, one in zip(together, slope(matrices[i], damping[i]), strict=True):
            np.testing.assert_allclose(got[i], one, rtol=1e-12, atol=1e-12)


RULES = {
    "pseudo-inverse": pg.LinearizedInverse(),
    "damped": pg.LinearizedInverse(damping=0.3),
    "relative": pg.LinearizedInverse(damping=0.3, relative=True),
    "half": pg.SpectralInverse(0.5),
    "transposed": pg.SpectralInverse(-1.0),
    "ladder": pg.Ladder([pg.LinearizedInverse(), pg.TransposedInverse()]),
}


def elementwise(x):
    return x + 0.1 * x**3


def run_of(method, simulator=elementwise):
    objective = pg.Objective(
        simulator, lambda z: jnp.sum((z - jnp.array([0.3, 0.7])) ** 2)
    )
    return jax.jit(lambda x: pg.iterate(objective, method, x, num_steps=3).x)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_from_equal_entries_can_be_differentiated(rule):
    end = run_of(pg.PhysicalGradient(0.3, RULES[rule]))
    # the largest of equal values has one-sided derivatives only
    tolerance = 1e-5 if rule == "relative" else 1e-7
    check(end, (jnp.ones(2),), (jnp.array([1.0, -0.5]),), tolerance)


def test_vmap_of_the_derivative_of_a_run_gives_what_one_by_one_gives():
    end = run_of(pg.PhysicalGradient(0.3, RULES["half"]))
    slope = jax.jit(jax.grad(lambda x: end(x) @ jnp.array([1.0, -0.5])))
    starts = jnp.array([[1.0, 1.0], [0.5, 2.0]])
    together = jax.vmap(slope)(starts)
    for got, start in zip(together, starts, strict=True):
        np.testing.assert_allclose(got, slope(start), rtol=1e-12)


@pytest.mark.parametrize("method", [pg.LevenbergMarquardt(), pg.HalfInverse(0.2)])
def test_optimizers_from_equal_entries_can_be_differentiated(method):
    check(run_of(method), (jnp.ones(2),), (jnp.array([1.0, -0.5]),), 1e-5)


@pytest.mark.parametrize("rule", ["half", "damped"])
def test_a_run_of_a_chain_can_be_differentiated(rule):
    links = [
        pg.Simulator(elementwise, inverse=RULES[rule]),
        pg.Simulator(lambda y: jnp.sinh(y), inverse=RULES[rule]),
    ]
    end = run_of(pg.PhysicalGradient(0.3), pg.Chain(*links))
    check(end, (jnp.ones(2),), (jnp.array([1.0, -0.5]),))
