"""Laws of fixed points and chains: every fixed point has J^T dL/dz = 0, and a chain of
simulators steps as the composed simulator does.
"""

from __future__ import annotations

import functools

import equinox as eqx
import families
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from families import COMPLETED, eps, one_step, relative
from jaxtyping import Array, Float

import physgrad as pg

TARGET = np.array([1.0, 0.5, 3.0])
WEIGHT = np.array([1.0, 25.0, 0.2])
FIXED = {
    "linearized": pg.LinearizedInverse(),
    "damped": pg.LinearizedInverse(damping=0.7),
    "matrix-free": families.RULES["matrix-free"](),
    "numerical": pg.NumericalInverse(),
    "bfgs": families.RULES["bfgs"](),
    "dogleg": families.RULES["dogleg"](),
    "half": pg.SpectralInverse(0.5),
    "orthogonal": pg.SpectralInverse(0.0),
    "regularized": pg.RegularizedInverse(noise=0.02),
    "from-data": pg.RegularizedInverse(),
    "transposed": pg.TransposedInverse(),
    "cubic": pg.AnalyticInverse(lambda z: jnp.cbrt(z)),
}
"""Modules made once: their damping is traced, so two of them share a program."""


def cube(x: Array) -> Array:
    return x**3


TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.5], [0.0, 0.1, 1.0]])


def turn(z: Array) -> Array:
    return jnp.asarray(TURN, z.dtype) @ z


def turn_back(z: Array) -> Array:
    return jnp.linalg.solve(jnp.asarray(TURN, z.dtype), z)


class Cosh(eqx.Module):
    """sum of weight * cosh(z - target): convex, not quadratic, knows nothing."""

    target: Float[Array, " z"]
    weight: Float[Array, " z"]

    def __call__(self, z: Array) -> Array:
        return jnp.sum(self.weight * jnp.cosh(z - self.target))


LOSSES = {"squared": pg.SquaredLoss, "cosh": Cosh}


def loss_of(kind: str, weight: np.ndarray, dtype) -> pg.SquaredLoss | Cosh:
    return LOSSES[kind](jnp.asarray(TARGET, dtype), jnp.asarray(weight, dtype))


@functools.cache
def minimum(forward, kind: str = "squared", weighted: bool = True) -> np.ndarray:
    """The minimum of L(P(x)), by SciPy in float64."""
    with jax.enable_x64(True):
        weight = WEIGHT if weighted else np.ones(3)
        objective = pg.Objective(forward, loss_of(kind, weight, jnp.float64))
        gradient = jax.jit(jax.grad(lambda x: objective(x)))
        hessian = jax.jit(jax.hessian(lambda x: objective(x)))
        x = scipy.optimize.minimize(
            jax.jit(lambda x: objective(x)), np.array([0.8, 0.9]), jac=gradient
        ).x
        for _ in range(3):
            x = x - np.linalg.solve(hessian(x), gradient(x))
        assert np.max(np.abs(gradient(x))) < 1e-12
        return np.asarray(x)


TALL = families.bent_tall


def step_at(simulator, kind, x, dtype, *, step_size=1.0, metric="newton"):
    loss = loss_of(kind, WEIGHT, dtype)
    method = pg.PhysicalGradient(step_size, metric=metric)
    step = one_step(pg.Objective(simulator, loss), method, jnp.asarray(x, dtype))
    assert step.result <= pg.Result.target_not_reachable.code
    return np.asarray(step.state.x, float) - np.asarray(x)


def stays(simulator, forward, kind, dtype, **options):
    """At the minimum no step is taken; away from it, a good one."""
    x = minimum(forward, kind)
    away = x + 0.1
    dx = step_at(simulator, kind, x, dtype, **options)
    size = np.max(np.abs(step_at(simulator, kind, away, dtype, **options)))
    assert size > 1e-4
    assert np.max(np.abs(dx)) <= 30 * np.sqrt(eps(dtype)) * size, dx


SINGLE = [
    *[(r, "float64") for r in FIXED if r != "cubic"],
    ("linearized", "float32"),
    ("numerical", "float32"),
]


@pytest.mark.parametrize(("rule", "dtype"), SINGLE, indirect=["dtype"])
def test_the_weighted_minimum_is_a_fixed_point_of_every_rule(rule, dtype):
    """The misfit that cannot be avoided is measured in the metric of the step."""
    stays(pg.Simulator(TALL, FIXED[rule]), TALL, "squared", dtype)


def test_the_unweighted_minimum_is_not():
    simulator = pg.Simulator(TALL, FIXED["linearized"])
    x = minimum(TALL, "squared", weighted=False)
    assert np.max(np.abs(step_at(simulator, "squared", x, jnp.float32))) > 0.05


@pytest.mark.parametrize("metric", ["newton", "gradient"])
@pytest.mark.parametrize("rule", ["linearized", "numerical", "transposed"])
def test_fixed_points_of_losses_that_know_nothing_of_themselves(rule, metric):
    with jax.enable_x64(True):
        simulator = pg.Simulator(TALL, FIXED[rule])
        step_size = 0.3 if metric == "newton" and rule != "transposed" else 0.003
        stays(simulator, TALL, "cosh", jnp.float64, metric=metric, step_size=step_size)


# inner rule (of cube, 2 -> 2), outer rule (of the tall simulator, 2 -> 3)
INTO_TALL = [
    ("cubic", "linearized"),
    ("cubic", "damped"),
    ("cubic", "numerical"),
    ("cubic", "transposed"),
    ("linearized", "linearized"),
    ("damped", "damped"),
    ("transposed", "linearized"),
    ("half", "linearized"),
    ("cubic", "regularized"),
    ("regularized", "linearized"),
    ("linearized", "from-data"),
    ("linearized", "half"),
    ("orthogonal", "half"),
    ("numerical", "transposed"),
]


def cubed_tall(x: Array) -> Array:
    return TALL(cube(x))


@pytest.mark.parametrize(("inner", "outer"), INTO_TALL)
def test_each_link_hands_on_the_metric(inner, outer):
    """B1 (z1~ - z1) = J^T B (z~ - z): then fixed points of chains are right, too."""
    with jax.enable_x64(True):
        chain = pg.Chain(
            pg.Simulator(cube, FIXED[inner]), pg.Simulator(TALL, FIXED[outer])
        )
        step_size = 0.003 if outer == "transposed" else 0.3
        stays(chain, cubed_tall, "squared", jnp.float64, step_size=step_size)


def turned_tall(x: Array) -> Array:
    return turn(TALL(x))


@pytest.mark.parametrize("inner", ["linearized", "numerical"])
def test_affine_exact_links_may_follow_a_tall_one(inner):
    with jax.enable_x64(True):
        chain = pg.Chain(
            pg.Simulator(TALL, FIXED[inner]),
            pg.Simulator(turn, pg.AnalyticInverse(turn_back)),
        )
        stays(chain, turned_tall, "squared", jnp.float64)


def tall_cubed(x: Array) -> Array:
    return cube(TALL(x))


def test_nonlinear_exact_links_after_a_tall_one_are_right_for_short_steps_only():
    """There one inverse of the whole is meant: `Simulator(chain, inverse=...)`."""
    with jax.enable_x64(True):
        chain = pg.Chain(
            pg.Simulator(TALL, FIXED["linearized"]), pg.Simulator(cube, FIXED["cubic"])
        )
        x = minimum(tall_cubed)
        misses = [
            np.max(np.abs(step_at(chain, "squared", x, jnp.float64, step_size=eta)))
            / eta
            for eta in (2e-3, 1e-3, 5e-4)
        ]
        order = np.log2(np.asarray(misses[:-1]) / misses[1:])
        np.testing.assert_allclose(order, 1.0, atol=0.1)
        whole = pg.Simulator(chain, inverse=FIXED["linearized"])
        stays(whole, tall_cubed, "squared", jnp.float64, step_size=0.3)


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [("linearized", "float64"), ("numerical", "float32")],
    indirect=["dtype"],
)
def test_runs_on_tall_weighted_problems_end_at_a_zero_gradient(rule, dtype):
    objective = pg.Objective(
        pg.Simulator(TALL, FIXED[rule]), loss_of("squared", WEIGHT, dtype)
    )
    start = jnp.asarray([0.5, 1.5], dtype)
    run = pg.minimize(objective, pg.PhysicalGradient(0.7), start, 40)
    assert relative(run.x, minimum(TALL)) <= 30 * np.sqrt(eps(dtype))
    expected = "completed" if rule == "linearized" else "target_not_reachable"
    assert run.result == expected


# Chains against the composed simulator


def exp_of_cube(x: Array) -> Array:
    return jnp.exp(cube(x))


def log_root(z: Array) -> Array:
    return jnp.cbrt(jnp.log(z))


POINTS = ((0.9, 0.5), (0.7, -0.8))
EXACT_LINKS = (
    pg.Simulator(cube, pg.AnalyticInverse(lambda z: jnp.cbrt(z))),
    pg.Simulator(families.polar, pg.AnalyticInverse(families.polar_inverse)),
    pg.Simulator(jnp.exp, pg.AnalyticInverse(lambda z: jnp.log(z))),
)


def polar_cubed(z: Array, x: Array) -> Array:
    return jnp.cbrt(families.polar_inverse(z, cube(x)))


def both(chain, rule, target, weight, x, dtype):
    """The step of a chain, and that of the same map with one rule."""
    loss = pg.SquaredLoss(jnp.asarray(target, dtype), jnp.asarray(weight, dtype))
    steps = [
        one_step(pg.Objective(s, loss), pg.PhysicalGradient(0.3), jnp.asarray(x, dtype))
        for s in (chain, pg.Simulator(chain, rule))
    ]
    assert [int(s.result) for s in steps] == [COMPLETED, COMPLETED]
    return [np.asarray(s.state.x, float) - np.asarray(x) for s in steps]


def test_a_chain_of_exact_rules_is_the_composed_simulator(dtype):
    chain = pg.Chain(*EXACT_LINKS[:2])
    for x in POINTS:
        dx, expected = both(
            chain, pg.AnalyticInverse(polar_cubed), [0.5, 0.2], [1.0, 1.0], x, dtype
        )
        assert relative(dx, expected) <= 100 * eps(dtype)


def test_a_chain_of_three_exact_rules_is_the_composed_simulator():
    def inverse(z: Array, x: Array) -> Array:
        return polar_cubed(jnp.log(z), x)

    with jax.enable_x64(True):
        rule, chain = pg.AnalyticInverse(inverse), pg.Chain(*EXACT_LINKS)
        dx, expected = both(chain, rule, [1.2, 1.4], [1.0, 3.0], POINTS[0], jnp.float64)
        assert relative(dx, expected) <= 1e-12


@pytest.mark.parametrize("rule", ["transposed", "linearized"])
def test_a_chain_of_linear_rules_is_the_composed_simulator(rule):
    """Linearized: where the outer J has full column rank, and B is handed on."""
    links = [pg.Simulator(f, FIXED[rule]) for f in (families.bent_wide, TALL)]
    with jax.enable_x64(True):
        for x in ((0.5, 0.3, 0.2), (1.0, -0.5, 2.0)):
            dx, expected = both(
                pg.Chain(*links), FIXED[rule], TARGET, WEIGHT, x, jnp.float64
            )
            assert relative(dx, expected) <= 1e-11


def test_spaces_of_a_chain_are_recorded_and_agree():
    chain = pg.Chain(*EXACT_LINKS, names=("x", "cube", "polar", "z"))
    objective = pg.Objective(chain, lambda z: jnp.sum((z - 1.5) ** 2))
    run = pg.minimize(objective, pg.PhysicalGradient(0.5), jnp.asarray(POINTS[0]), 4)
    assert run.result == "completed"
    spaces = list(run.trajectory.spaces.values())
    assert list(run.trajectory.spaces) == ["x", "cube", "polar", "z"]
    for link, before, after in zip(EXACT_LINKS, spaces[:-1], spaces[1:], strict=True):
        np.testing.assert_allclose(after, jax.vmap(link)(before), rtol=1e-6)
