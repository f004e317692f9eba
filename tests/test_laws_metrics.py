"""Laws of the metric of the step in z, and the limits of the damped linearized rule."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import families
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from families import COMPLETED, OF_SHAPE, eps, in_float64, relative, squared_step
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

import physgrad as pg
from physgrad.objective.losses import FlatLoss

SINGULAR = pg.Result.singular.code


class Quadratic(eqx.Module):
    """1/2 z^T H z - b^T z."""

    hessian: Float[Array, "z z"]
    linear: Float[Array, " z"]

    def __call__(self, z: Array) -> Array:
        return 0.5 * z @ self.hessian @ z - self.linear @ z


@eqx.filter_jit
def z_step(metric: pg.NewtonMetric, loss: Callable, z: Array):
    """dz, the result, and the dense factor R of B where it is known."""
    step = metric.step(FlatLoss(loss, ravel_pytree(z)[1]), z)
    factor = step.metric.factor
    return step.dz, step.result, None if factor is None else factor.as_matrix()


def quadratic(hessian, linear, dtype):
    return Quadratic(jnp.asarray(hessian, dtype), jnp.asarray(linear, dtype))


DEFINITE = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -0.2], [0.5, -0.2, 1.0]])
INDEFINITE = np.array([[4.0, 1.0, 0.5], [1.0, -3.0, -0.2], [0.5, -0.2, 1.0]])
SEMIDEFINITE = np.outer([1.0, 2.0, -1.0], [1.0, 2.0, -1.0])
Z, LINEAR = np.array([0.3, -0.6, 1.0]), np.array([1.0, 2.0, -0.5])
PLAIN, DAMPED = pg.NewtonMetric(), pg.NewtonMetric(damping=1.0)
ABSOLUTE = pg.NewtonMetric(absolute=True)


def absolute(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.abs(values)) @ vectors.T


def checks(metric, hessian, expected_metric, dtype):
    """dz = -B^-1 dL/dz, and R^T R = B."""
    dz, result, root = z_step(metric, quadratic(hessian, LINEAR, dtype), as_(Z, dtype))
    assert result == COMPLETED
    expected = -np.linalg.solve(expected_metric, hessian @ Z - LINEAR)
    assert relative(dz, expected) <= 100 * eps(dtype)
    root = np.asarray(root, float)
    assert relative(root.T @ root, expected_metric) <= 50 * eps(dtype)


def as_(value, dtype):
    return jnp.asarray(value, dtype)


def test_newton_metric_is_the_hessian(dtype):
    checks(PLAIN, DEFINITE, DEFINITE, dtype)
    # entries of z in different units do not make H singular
    units = np.diag([1e-4, 1.0, 1e4])
    scaled = units @ DEFINITE @ units
    dz, result, _ = z_step(PLAIN, quadratic(scaled, LINEAR, dtype), as_(Z, dtype))
    assert result == COMPLETED
    expected = -np.linalg.solve(scaled, scaled @ Z - LINEAR)
    np.testing.assert_allclose(dz / expected, 1.0, atol=1e4 * eps(dtype))


def test_damping_lifts_the_hessian_relative_to_its_diagonal(dtype):
    for hessian in (DEFINITE, INDEFINITE, SEMIDEFINITE):
        lift = np.max(np.abs(np.diag(hessian)))
        checks(DAMPED, hessian, hessian + lift * np.eye(3), dtype)


def test_absolute_takes_the_magnitudes_of_the_eigenvalues(dtype):
    for hessian in (DEFINITE, INDEFINITE):
        checks(ABSOLUTE, hessian, absolute(hessian), dtype)


@pytest.mark.parametrize("hessian", [INDEFINITE, SEMIDEFINITE, np.zeros((3, 3))])
def test_there_is_no_newton_step_of_a_hessian_that_is_not_definite(hessian, dtype):
    dz, result, _ = z_step(PLAIN, quadratic(hessian, LINEAR, dtype), as_(Z, dtype))
    assert result == SINGULAR
    assert np.all(np.isfinite(dz))


SIZES = (256, 257)  # the last dense Hessian, the first conjugate gradients
RANDOM = np.random.default_rng(0).standard_normal((3, 257, 257))


def large(size, kind):
    """A Hessian whose eigenvalues lie between 1 and 20, but for `kind`."""
    basis = np.linalg.qr(RANDOM[0][:size, :size])[0]
    values = np.linspace(1.0, 20.0, size)
    values[: size // 8] *= {"definite": 1, "indefinite": -1, "semidefinite": 0}[kind]
    return (basis * values) @ basis.T, RANDOM[1, 0, :size], RANDOM[2, 0, :size]


@pytest.mark.parametrize("size", SIZES)
def test_dense_and_conjugate_gradient_steps_agree(size):
    dtype = jnp.float32
    hessian, linear, z = large(size, "definite")
    for metric in (PLAIN, DAMPED):
        lift = float(metric.damping) * np.max(np.abs(np.diag(hessian)))
        loss = quadratic(hessian, linear, dtype)
        dz, result, root = z_step(metric, loss, as_(z, dtype))
        assert result == COMPLETED
        assert (root is None) == (size > 256)
        # conjugate gradients take the largest row sum for the largest diagonal entry
        if size > 256 and metric is DAMPED:
            lift = np.max(np.abs(hessian @ np.ones(size)))
        expected = -np.linalg.solve(hessian + lift * np.eye(size), hessian @ z - linear)
        assert relative(dz, expected) <= 100 * eps(dtype) ** 0.75


@pytest.mark.parametrize("kind", ["indefinite", "semidefinite"])
@pytest.mark.parametrize("size", SIZES)
def test_large_hessians_that_are_not_definite_are_named(size, kind):
    hessian, linear, z = large(size, kind)
    loss = quadratic(hessian, linear, jnp.float32)
    dz, result, _ = z_step(PLAIN, loss, as_(z, jnp.float32))
    assert result == SINGULAR
    assert np.all(np.isfinite(dz))


class Knows(eqx.Module):
    """A user's loss that knows its Newton step, and nothing else."""

    target: Float[Array, " z"]

    def __call__(self, z: Array) -> Array:
        return jnp.sum((z - self.target) ** 4)

    def newton_step(self, z: Array) -> Array:
        return (self.target - z) / 3


def test_losses_that_know_their_newton_step_are_asked_for_it(dtype):
    loss = Knows(as_([1.0, 2.0, 3.0], dtype))
    dz, result, root = z_step(PLAIN, loss, as_(Z, dtype))
    assert result == COMPLETED
    expected = (np.array([1.0, 2.0, 3.0]) - Z) / 3
    assert relative(dz, expected) <= 10 * eps(dtype)
    assert root is not None
    hessian = np.diag(12 * (3 * expected) ** 2)
    assert relative(np.asarray(root).T @ root, hessian) <= 50 * eps(dtype)


def test_the_two_ways_out_hold_for_losses_that_know_themselves():
    """A weight of zero is a singular Hessian; damping is not silently ignored."""
    loss = pg.SquaredLoss(as_([1.0, 2.0, 3.0], float), as_([1.0, 0.0, 4.0], float))
    hessian = np.diag([2.0, 0.0, 8.0])
    lifted = hessian + 8.0 * np.eye(3)
    dz, result, root = z_step(DAMPED, loss, as_(Z, float))
    assert result == COMPLETED
    expected = -np.linalg.solve(lifted, hessian @ (Z - np.array([1.0, 2.0, 3.0])))
    assert relative(dz, expected) <= 1e-5
    assert root is not None
    assert relative(np.asarray(root).T @ root, lifted) <= 1e-5


@pytest.mark.parametrize("matrix", [np.eye(2), [[4.0, 1.0], [1.0, 2.0]]])
def test_a_matrix_is_the_metric_of_the_step(matrix, dtype):
    """dz = -B^-1 dL/dz; with B = I the gradient in z."""
    family = OF_SHAPE["square"]
    affine, matrix = family.maps[0], np.asarray(matrix)
    target, x = np.array([1.0, 2.0]), np.array([0.5, 1.25])
    loss = pg.SquaredLoss(as_(target, dtype))
    simulator = pg.Simulator(family.pick(affine), family.exact(affine))
    method = pg.PhysicalGradient(0.1, metric=as_(matrix, dtype))
    step = families.one_step(pg.Objective(simulator, loss), method, as_(x, dtype))
    z, jacobian = in_float64(family, affine, x)
    dz = -np.linalg.solve(matrix, 2 * (z - target))
    assert step.target is not None
    assert relative(step.target, z + 0.1 * dz) <= 20 * eps(dtype)
    expected = x + 0.1 * np.linalg.solve(jacobian, dz)
    assert relative(step.state.x, expected) <= 100 * eps(dtype)


# The damped linearized rule


WEIGHT = {"square": [4.0, 0.25], "wide": [4.0, 0.25], "tall": [1.0, 9.0, 0.5]}


def damped_step(shape, member, x, damping, dtype, solver=None):
    """dx of one full step, with J, B and dz."""
    family = OF_SHAPE[shape]
    z, jacobian = in_float64(family, member, x)
    dz = np.linspace(-0.5, 0.7, family.size)
    rule = pg.LinearizedInverse(damping=damping, solver=solver)
    weight = np.asarray(WEIGHT[shape])
    step = squared_step(family, member, rule, x, z + dz, dtype, weight=weight)
    return np.asarray(step.state.x, float) - np.asarray(x), jacobian, 2 * weight, dz


@pytest.mark.parametrize("shape", OF_SHAPE)
def test_damping_runs_from_gauss_newton_to_the_transposed_step(shape):
    """damping -> 0: (B^1/2 J)^+ B^1/2 dz; -> infinity: J^T B dz / damping."""
    with jax.enable_x64(True):
        for member in OF_SHAPE[shape].maps:
            for damping in (0.0, 1e-12, 0.3, 1e12):
                x = member.points[0]
                dx, jacobian, weight, dz = damped_step(
                    shape, member, x, damping, jnp.float64
                )
                transposed = jacobian.T @ (weight * dz)
                if damping == 0.3:
                    gram = jacobian.T @ (weight[:, None] * jacobian)
                    expected = np.linalg.solve(gram + 0.3 * np.eye(len(dx)), transposed)
                elif damping > 1:
                    # x + dx - x keeps only a few digits of so small a step
                    dx, expected = dx * damping, transposed
                    np.testing.assert_allclose(dx, expected, rtol=0, atol=5e-3)
                    continue
                else:
                    root = np.sqrt(weight)
                    expected = np.linalg.pinv(root[:, None] * jacobian, 1e-12) @ (
                        root * dz
                    )
                # flat directions keep sqrt(eps) of a damping that is nearly zero
                assert relative(dx, expected) <= 1e-8, (member.name, damping)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_matrix_free_steps_are_the_dense_ones(shape):
    dtype = jnp.float32
    tolerance = eps(dtype) ** 0.75
    solver = lx.LSMR(rtol=float(tolerance), atol=0.0)
    for member in OF_SHAPE[shape].maps:
        for damping in (0.0, 0.3):
            x = member.points[0]
            dense = damped_step(shape, member, x, damping, dtype)[0]
            free = damped_step(shape, member, x, damping, dtype, solver)[0]
            assert relative(free, dense) <= 200 * tolerance, (member.name, damping)


def test_a_fitted_transposed_step_is_the_nearest_along_its_direction(dtype):
    """alpha minimizes |R (alpha J J^T B dz - dz)|; scaling B or z changes nothing."""
    matrix = np.array([[2.0, 1.0], [-1.0, 3.0], [0.5, 0.5]])
    weight, dz = np.array([1.0, 4.0, 0.5]), np.array([1.0, -2.0, 0.5])
    descent = matrix.T @ (weight * dz)
    image = matrix @ descent
    alpha = (image @ (weight * dz)) / (image @ (weight * image))
    for scale in (1.0, 1e6):
        loss = pg.SquaredLoss(
            jnp.asarray(dz, dtype), jnp.asarray(scale * weight, dtype)
        )
        simulator = pg.Simulator(
            lambda x: jnp.asarray(matrix, x.dtype) @ x,
            pg.TransposedInverse(fitted=True),
        )
        run = pg.minimize(
            pg.Objective(simulator, loss),
            pg.PhysicalGradient(1.0),
            jnp.zeros(2, dtype),
            1,
        )
        assert np.allclose(run.x, alpha * descent, rtol=1e-5)
