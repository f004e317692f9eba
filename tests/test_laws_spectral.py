"""Laws of powers of the singular values: formulas, limits, truncation, precision."""

from __future__ import annotations

import families
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import OF_SHAPE, eps, in_float64, relative, squared_step

import physgrad as pg
from physgrad.spectral import damped_solution, spectrum

WEIGHT = np.array([1.0, 4.0, 0.5])
POWERS = (1.0, 0.5, 0.0, -1.0, 0.25)


def expected_step(jacobian, weight, dz, power):
    """V S^-p U^T R dz by NumPy in float64, rounding dropped."""
    root = np.sqrt(2 * weight)
    u, s, vt = np.linalg.svd(root[:, None] * jacobian, full_matrices=False)
    kept = s > 1e-6 * s[0]
    gains = np.where(kept, np.where(kept, s, 1.0) ** -power, 0.0)
    return vt.T @ (gains * (u.T @ (root * dz)))


@pytest.mark.parametrize("shape", OF_SHAPE)
def test_the_step_is_that_of_the_decomposition(shape, dtype):
    family = OF_SHAPE[shape]
    weight = WEIGHT[: family.size]
    for member in family.maps:
        x, goal = (np.asarray(p) for p in member.points[:2])
        target, _ = in_float64(family, member, goal)
        z, jacobian = in_float64(family, member, x)
        for power in POWERS:
            rule = pg.SpectralInverse(power)
            step = squared_step(family, member, rule, x, target, dtype, weight=weight)
            expected = expected_step(jacobian, weight, target - z, power)
            got = np.asarray(step.state.x, float) - x
            assert relative(got, expected) <= 2e3 * eps(dtype), (member.name, power)


@pytest.mark.parametrize("shape", OF_SHAPE)
def test_power_one_is_gauss_newton_and_minus_one_the_transposed_rule(shape, dtype):
    family = OF_SHAPE[shape]
    pairs = {1.0: pg.LinearizedInverse(), -1.0: pg.TransposedInverse()}
    for member in family.maps:
        x, goal = member.points[:2]
        target, _ = in_float64(family, member, np.asarray(goal))
        for power, other in pairs.items():
            steps = [
                squared_step(family, member, rule, x, target, dtype)
                for rule in (pg.SpectralInverse(power), other)
            ]
            dx = [np.asarray(step.state.x, float) - x for step in steps]
            assert relative(*dx) <= 1e3 * eps(dtype), (member.name, power)


def test_a_step_of_power_zero_does_not_change_with_the_units_of_z(dtype):
    """V U^T: scaling the simulator and the step in z alike changes nothing."""
    x = jnp.array([1.0, 2.0, -1.0], dtype)
    matrix = jnp.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype)
    steps = []
    for units in (1.0, 1024.0):
        simulator = pg.Simulator(lambda x, a=units * matrix: a @ x)
        objective = pg.Objective(simulator, lambda z, u=units: u * jnp.sum(z) / 2)
        rule = pg.SpectralInverse(0.0)
        method = pg.PhysicalGradient(1.0 / units, rule, "gradient")
        steps.append(families.one_step(objective, method, x).state.x - x)
    assert relative(*steps) <= 16 * eps(dtype)


def test_the_half_inverse_is_its_published_formula(dtype):
    """-eta J^T (J J^T)^(-3/4) dL/dz, in the flat metric whatever the loss."""
    family = OF_SHAPE["wide"]
    for member in family.maps:
        x = np.asarray(member.points[0])
        loss = pg.SquaredLoss(jnp.zeros(2, dtype), jnp.array([3.0, 0.5], dtype))
        objective = pg.Objective(family.pick(member), loss)
        step = families.one_step(objective, pg.HalfInverse(0.2), jnp.asarray(x, dtype))
        z, jacobian = in_float64(family, member, x)
        squares, vectors = np.linalg.eigh(jacobian @ jacobian.T)
        gradient = 2 * np.array([3.0, 0.5]) * z
        power = (vectors * squares**-0.75) @ vectors.T
        expected = -0.2 * jacobian.T @ power @ gradient
        got = np.asarray(step.state.x, float) - x
        assert relative(got, expected) <= 100 * eps(dtype)


def test_truncation_drops_directions_and_leaves_the_others_alone(dtype):
    stretch = jnp.array([1.0, 1e-2, 1e-4], dtype)
    objective = pg.Objective(lambda x: stretch * x, pg.SquaredLoss(jnp.zeros(3, dtype)))
    x = jnp.ones(3, dtype)
    for truncation, kept in ((None, 3), (1e-5, 3), (1e-3, 2), (0.1, 1)):
        rule = pg.SpectralInverse(1.0, truncation)
        end = families.one_step(objective, pg.PhysicalGradient(1.0, rule), x).state.x
        np.testing.assert_allclose(end, [0.0] * kept + [1.0] * (3 - kept), atol=1e-3)


def test_a_float32_matrix_is_decomposed_in_float64_where_jax_has_it():
    """The Gram matrix in float64 is more exact than the decomposition in float32."""
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((40, 40)))
    right, _ = np.linalg.qr(rng.standard_normal((90, 40)))
    values = np.logspace(0, -4, 40)
    vector = rng.standard_normal(40).astype(np.float32)
    for matrix in ((left * values) @ right.T, (right * values) @ left.T):
        matrix = matrix.astype(np.float32)
        small = vector if matrix.shape[0] == 40 else np.resize(vector, 90)
        errors = {}
        for wide in (False, True):
            with jax.enable_x64(wide):
                parts = spectrum(jnp.asarray(matrix))
                assert np.all(np.diff(parts.values) <= 0)
                got = parts.solve(lambda s: s**-0.5, jnp.asarray(small))
                assert got.dtype == jnp.float32
            u, s, vt = np.linalg.svd(matrix.astype(float), full_matrices=False)
            expected = vt.T @ (s**-0.5 * (u.T @ small))
            errors[wide] = relative(got, expected)
        assert errors[True] <= 1e-6 and errors[True] < errors[False] / 3


@pytest.mark.parametrize("rows", [2, 5])
def test_damped_solutions_are_those_of_the_normal_equations(rows, dtype):
    rng = np.random.default_rng(rows)
    matrix, vector = rng.standard_normal((rows, 3)), rng.standard_normal(rows)
    for damping in (1e-2, 1.0, 1e6):
        normal = matrix.T @ matrix + damping * np.eye(3)
        expected = np.linalg.solve(normal, matrix.T @ vector)
        got = damped_solution(
            jnp.asarray(matrix, dtype), jnp.asarray(vector, dtype), damping
        )
        # the oracle is no better than its own condition
        rounding = 100 * eps(dtype) + eps(jnp.float64) * np.linalg.cond(normal)
        assert relative(got, expected) <= rounding


def test_nothing_is_done_where_the_jacobian_is_zero(dtype):
    objective = pg.Objective(lambda x: 0 * x, pg.SquaredLoss(jnp.ones(2, dtype)))
    for power in POWERS:
        method = pg.PhysicalGradient(1.0, pg.SpectralInverse(power))
        step = families.one_step(objective, method, jnp.ones(2, dtype))
        assert step.state.x.tolist() == [1.0, 1.0]
