"""Laws of the noise-safe inverse: what it solves, its limits, how tau is chosen."""

from __future__ import annotations

import equinox as eqx
import families
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from families import COMPLETED, OF_SHAPE, eps, in_float64, relative
from jaxtyping import Array, Float

import physgrad as pg

UNREACHABLE = pg.Result.target_not_reachable.code
SIZE = 16
OPERATORS = ("identity", "gradient", "laplacian")


class Matrix(eqx.Module):
    """z = A x, a new A without a new program."""

    matrix: Float[Array, "z x"]

    def __call__(self, x: Array) -> Array:
        return self.matrix @ x


@eqx.filter_jit
def pulled(forward, rule, x, target, weight):
    """The answer of a rule for SquaredLoss(target, weight) and step size 1."""
    loss = pg.SquaredLoss(target, weight)
    flat, x = pg.Objective(forward, loss).flatten(x)
    state = flat.start(x)
    step = pg.NewtonMetric().step(flat.loss, state.z)
    answer = rule.pull_back(flat.simulator, state.z + step.dz, state, step.metric)
    metric = rule.handed_on(answer, flat.simulator, state, step.metric)
    unit = jnp.eye(x.size, dtype=x.dtype)
    factor = jax.vmap(metric.root().mv, out_axes=1)(unit)
    certificate = answer.residual, answer.tolerance, answer.result
    return answer.x, answer.z, *certificate, factor


def rows_of(operator, size):
    """L by NumPy."""
    return np.diff(np.eye(size), OPERATORS.index(operator), axis=0)


def ill_posed(seed, rows=24, decades=4.0):
    """A, a smooth x, A x: singular values fall by so many decades, for rough x."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((rows, SIZE)))
    waves = np.cos(np.pi * np.outer(np.arange(SIZE), np.arange(SIZE) + 0.5) / SIZE)
    right = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    matrix = (left * 10 ** -np.linspace(0, decades, SIZE)) @ right
    x = right.T @ (rng.standard_normal(SIZE) / (1 + np.arange(SIZE)) ** 1.5)
    return matrix, x, matrix @ x


def tikhonov(matrix, rows, vector, weight):
    """argmin |A x - b|^2 + weight |L x|^2, in float64."""
    stacked = np.concatenate([matrix, np.sqrt(weight) * rows])
    target = np.concatenate([vector, np.zeros((len(rows), *vector.shape[1:]))])
    return np.linalg.lstsq(stacked, target, rcond=None)[0]


def best_error(matrix, rows, vector, x):
    """The smallest error of all tau, by looking at x."""
    weights = 10.0 ** np.arange(-12, 6, 0.1)
    errors = [np.linalg.norm(tikhonov(matrix, rows, vector, w) - x) for w in weights]
    return min(errors)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("noise", [0.03, None])
def test_on_affine_simulators_it_is_the_damped_step_for_its_tau(operator, noise, dtype):
    """x+ - x = (J^T B J + Q/tau)^-1 J^T B (z~ - z), and that metric is handed on."""
    matrix, x, z = ill_posed(0, decades=2.0)
    rng = np.random.default_rng(5)
    weight = rng.uniform(0.5, 2.0, z.size)
    start = 0.5 * x + rng.standard_normal(SIZE)
    target = z + 0.03 * rng.standard_normal(z.size)
    rule = pg.RegularizedInverse(noise, operator=operator)
    arrays = (jnp.asarray(a, dtype) for a in (start, target, weight))
    got, _, _, _, result, factor = pulled(
        Matrix(jnp.asarray(matrix, dtype)), rule, *arrays
    )
    assert result == COMPLETED
    gram = matrix.T @ (2 * weight[:, None] * matrix)
    rows = rows_of(operator, SIZE)
    factor = np.asarray(factor, float)
    handed_on, q = factor.T @ factor, rows.T @ rows
    inverse_tau = np.sum((handed_on - gram) * q) / np.sum(q * q)
    assert inverse_tau > 0
    assert relative(handed_on, gram + inverse_tau * q) <= 100 * eps(dtype)
    dx = np.linalg.solve(
        gram + inverse_tau * q, matrix.T @ (2 * weight * (target - matrix @ start))
    )
    assert relative(np.asarray(got, float) - start, dx) <= 1e4 * eps(dtype)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_error_is_not_much_worse_than_that_of_the_best_tau(seed, operator, dtype):
    """The best by a dense scan in float64; without regularization it is far off."""
    matrix, x, z = ill_posed(seed)
    noise = 1e-2 * np.sqrt(np.mean(z**2))
    target = z + noise * np.random.default_rng(seed + 50).standard_normal(z.size)
    best = best_error(matrix, rows_of(operator, SIZE), target, x)
    naive = np.linalg.norm(np.linalg.pinv(matrix) @ target - x)
    assert naive > 5 * best
    arrays = (jnp.asarray(a, dtype) for a in (np.zeros(SIZE), target, np.ones(z.size)))
    forward, arrays = Matrix(jnp.asarray(matrix, dtype)), tuple(arrays)
    for level, factor in ((noise, 2.5), (None, 4.0)):
        rule = pg.RegularizedInverse(level, operator=operator)
        got, _, residual, tolerance, result, _ = pulled(forward, rule, *arrays)
        assert result == COMPLETED
        assert np.linalg.norm(np.asarray(got) - x) <= factor * best, level
        assert residual <= tolerance


def risks(matrix, rows, vector, weight, noise, inverse_taus):
    """sum (misfit / noise)^2 + 2.8 trace for each tau, of entries with a weight."""
    root, found = np.sqrt(2 * weight)[:, None], []
    for inverse_tau in inverse_taus:
        influence = matrix @ tikhonov(
            root * matrix, rows, np.diag(root[:, 0]), inverse_tau
        )
        ratio = ((vector - influence @ vector) / noise)[weight > 0]
        found.append(np.sum(ratio**2) + 2.8 * np.trace(influence))
    return np.array(found)


@pytest.mark.parametrize("operator", OPERATORS)
def test_with_noise_known_tau_has_the_least_predictive_risk(operator, dtype):
    """By a dense scan; noise and weight differ from entry to entry, some are masked."""
    matrix, x, z = ill_posed(3, decades=2.0)
    rng = np.random.default_rng(3)
    noise = rng.uniform(0.01, 0.05, z.size)
    weight = np.where(np.arange(z.size) < 20, rng.uniform(0.5, 2.0, z.size), 0.0)
    target = z + noise * rng.standard_normal(z.size)
    arrays = (jnp.asarray(a, dtype) for a in (0 * x, target, weight))
    rule = pg.RegularizedInverse(jnp.asarray(noise, dtype), operator=operator)
    _, _, residual, tolerance, result, factor = pulled(
        Matrix(jnp.asarray(matrix, dtype)), rule, *arrays
    )
    assert result == COMPLETED and residual <= tolerance
    rows, factor = rows_of(operator, SIZE), np.asarray(factor, float)
    q, gram = rows.T @ rows, matrix.T @ (2 * weight[:, None] * matrix)
    inverse_tau = np.sum((factor.T @ factor - gram) * q) / np.sum(q * q)
    scanned = 10.0 ** np.arange(-8, 8, 0.05)
    problem = matrix, rows, target, weight, noise
    least = np.min(risks(*problem, scanned))
    assert risks(*problem, [inverse_tau])[0] <= least + 0.01


def test_over_many_draws_of_the_noise_the_error_is_near_the_best_and_x_rests():
    """Known noise: in the middle within 15 % of the best tau, in nine of ten by 2.

    And then x stays, whether its misfit is below or above the mean of the noise.
    """
    matrix, x, z = ill_posed(0)
    noise = 1e-2 * np.sqrt(np.mean(z**2))
    draws = np.random.default_rng(1).standard_normal((60, z.size))
    forward, start = Matrix(jnp.asarray(matrix)), jnp.asarray(0 * x)
    method = pg.PhysicalGradient(1.0, pg.RegularizedInverse(noise))

    def ran(target: Array) -> Array:
        objective = pg.Objective(forward, pg.SquaredLoss(target))
        return pg.iterate(objective, method, start, 3).spaces["x"]

    targets = z + noise * draws
    points = jax.jit(jax.vmap(ran))(jnp.asarray(targets))
    rows = rows_of("identity", SIZE)
    best = [best_error(matrix, rows, target, x) for target in targets]
    ratios = np.linalg.norm(points[:, 1] - x, axis=1) / best
    assert np.median(ratios) <= 1.15 and np.quantile(ratios, 0.9) <= 2.0
    sizes = np.mean(((points[:, 1] @ matrix.T - targets) / noise) ** 2, axis=1)
    assert np.min(sizes) < 1 < 1.05 < np.max(sizes)
    for later in (2, 3):
        assert np.array_equal(points[:, later], points[:, 1])


def test_without_noise_it_is_the_pseudo_inverse(dtype):
    """Square: Newton's step; wide: the shortest; tall: the weighted least squares."""
    for shape, family in OF_SHAPE.items():
        for member in family.maps:
            if not member.affine:
                continue
            x, target = (
                np.asarray(member.points[0]),
                np.linspace(-1.0, 2.0, family.size),
            )
            z, jacobian = in_float64(family, member, x)
            expected = np.linalg.lstsq(jacobian, target - z, rcond=1e-6)[0]
            for noise in (0.0, 1e-30):
                rule = pg.RegularizedInverse(noise)
                step = families.squared_step(family, member, rule, x, target, dtype)
                got = np.asarray(step.state.x, float) - x
                assert relative(got, expected) <= 1e3 * eps(dtype), (shape, member.name)
                assert step.result == (UNREACHABLE if shape == "tall" else COMPLETED)


def test_x_stays_where_it_is_within_the_noise(dtype):
    matrix, x, z = ill_posed(1)
    forward = Matrix(jnp.asarray(matrix, dtype))
    arrays = tuple(jnp.asarray(a, dtype) for a in (x, z + 0.1, np.ones(z.size)))
    for noise in (0.1, 1e3, 1e30):
        for prior in (None, jnp.zeros(SIZE, dtype)):
            rule = pg.RegularizedInverse(noise, prior)
            got, _, residual, tolerance, result, _ = pulled(forward, rule, *arrays)
            assert np.array_equal(got, arrays[0]) and result == COMPLETED
            assert residual <= tolerance
    at_target = (arrays[0], forward(arrays[0]), arrays[2])
    for noise in (0.0, None):
        got = pulled(forward, pg.RegularizedInverse(noise), *at_target)[0]
        assert np.array_equal(got, arrays[0])


def test_a_start_within_the_noise_is_said():
    """Not that its steps were rejected, or lost to rounding."""
    objective = pg.Objective(lambda x: x, pg.SquaredLoss(jnp.array([1.1, 0.9])))
    rule = pg.RegularizedInverse(0.1)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0, rule), jnp.ones(2), 2)
    assert run.result == "completed" and np.array_equal(run.x, [1, 1])
    assert run.message.startswith(
        "x is within the tolerance of the target already: z is off by up to 0.1, and "
    )


def test_a_fixed_prior_is_where_the_answer_is_pulled_to(dtype):
    """x+ = x_ref + (J^T B J + Q/tau)^-1 J^T B (z~ - P(x_ref)), wherever x is."""
    matrix, x, z = ill_posed(2, decades=2.0)
    prior = x + 0.1 * np.cos(np.arange(SIZE))
    target = z + 1e-2 * np.random.default_rng(2).standard_normal(z.size)
    rule = pg.RegularizedInverse(1e-2, jnp.asarray(prior, dtype))
    forward, ends = Matrix(jnp.asarray(matrix, dtype)), []
    for start in (np.zeros(SIZE), np.full(SIZE, 3.0)):
        arrays = (jnp.asarray(a, dtype) for a in (start, target, np.ones(z.size)))
        got, *_, factor = pulled(forward, rule, *arrays)
        gram = np.asarray(factor, float).T @ np.asarray(factor, float)
        dx = np.linalg.solve(gram, 2 * matrix.T @ (target - matrix @ prior))
        assert relative(got, prior + dx) <= 1e4 * eps(dtype)
        ends.append(got)
    # to the grid of the weights: rounding may pick its neighbor
    assert relative(*ends) <= 1e-2


def test_a_noise_too_small_is_named_and_the_nearest_point_taken(dtype):
    matrix, x, z = ill_posed(4, decades=1.0)
    target = z + np.random.default_rng(4).standard_normal(z.size)
    arrays = (jnp.asarray(a, dtype) for a in (0 * x, target, np.ones(z.size)))
    got, _, residual, tolerance, result, _ = pulled(
        Matrix(jnp.asarray(matrix, dtype)), pg.RegularizedInverse(1e-2), *arrays
    )
    assert result == UNREACHABLE and residual > tolerance
    # tau is as weak as that noise asks for: (noise / misfit)^2 from the nearest point
    assert relative(got, np.linalg.pinv(matrix) @ target) <= 1e-3


def test_bent_simulators_are_fitted_up_to_the_noise_too(dtype):
    """z = A (x + x^3 / 3): nothing is linear, the certificate still holds."""
    matrix, x, _ = ill_posed(6)
    z = matrix @ (x + x**3 / 3)
    noise = 1e-2 * np.sqrt(np.mean(z**2))
    target = z + noise * np.random.default_rng(6).standard_normal(z.size)
    linear = Matrix(jnp.asarray(matrix, dtype))

    def bent(x: Array) -> Array:
        return linear(x + x**3 / 3)

    loss = pg.SquaredLoss(jnp.asarray(target, dtype))
    x0 = jnp.zeros(SIZE, dtype)
    for operator in OPERATORS:
        method = pg.PhysicalGradient(1.0, pg.RegularizedInverse(noise, None, operator))
        run = pg.minimize(pg.Objective(bent, loss), method, x0, num_steps=2)
        assert run.result == "completed"
        certificates = run.trajectory.certificates
        assert certificates is not None
        assert np.all(certificates.residuals <= certificates.tolerances)
        assert np.linalg.norm(run.x - x) <= 0.7 * np.linalg.norm(x)
        assert np.array_equal(*run.trajectory["x"][1:])  # within the noise it stays


def test_operators_are_differences_of_each_leaf_along_each_axis():
    """A scalar leaf, and one too short, are penalized themselves."""
    x = {"grid": jnp.ones((3, 4)), "line": jnp.ones(5), "one": jnp.ones(())}
    flat, point = pg.Objective(lambda x: x, lambda z: jnp.sum(z["line"])).flatten(x)
    for order, count in ((0, 18), (1, 9 + 8 + 4 + 1), (2, 6 + 4 + 3 + 1)):
        rule = pg.RegularizedInverse(operator=OPERATORS[order])
        rows = rule.operator.rows(flat.simulator, point)
        assert rows.shape == (count, 18)
        np.testing.assert_allclose(rows.sum(axis=1)[-1], 1.0)
    ramp = jnp.concatenate([jnp.arange(12.0), jnp.arange(5.0), jnp.zeros(1)])
    np.testing.assert_allclose(rows @ ramp, 0.0)


def test_own_operators_are_matrices_or_of_lineax():
    matrix, x, z = ill_posed(7)
    rows = rows_of("gradient", SIZE)
    arrays = [jnp.asarray(a) for a in (0 * x, z + 0.02, np.ones(z.size))]
    own = jnp.asarray(rows, jnp.float32)
    forward = Matrix(jnp.asarray(matrix))
    ends = [
        pulled(forward, pg.RegularizedInverse(0.02, None, o), *arrays)
        for o in ("gradient", own, np.asarray(rows), lx.MatrixLinearOperator(own))
    ]
    for end in ends[1:]:
        assert relative(end[0], ends[0][0]) <= 1e-5


def test_batches_are_the_single_answers(dtype):
    matrix, x, z = ill_posed(8)
    noise = 0.02
    targets = z + noise * np.random.default_rng(8).standard_normal((3, z.size))
    forward = Matrix(jnp.asarray(matrix, dtype))
    rule = pg.RegularizedInverse(noise, operator="gradient")
    start, ones = jnp.asarray(0 * x, dtype), jnp.ones(z.size, dtype)

    def end(target: Array) -> Array:
        return pulled(forward, rule, start, target, ones)[0]

    ends = jax.vmap(end)(jnp.asarray(targets, dtype))
    assert ends.dtype == dtype
    for batched, target in zip(ends, targets, strict=True):
        assert relative(batched, end(jnp.asarray(target, dtype))) <= 1e4 * eps(dtype)


def test_a_jacobian_of_zeros_leaves_x_alone(dtype):
    for noise in (0.1, 0.0, None):
        arrays = (jnp.ones(3, dtype), jnp.ones(3, dtype), jnp.ones(3, dtype))
        got = pulled(
            lambda x: 0 * x, pg.RegularizedInverse(noise, None, "gradient"), *arrays
        )
        assert got[0].tolist() == [1.0, 1.0, 1.0]


def test_a_simulator_that_leaves_its_domain_is_named():
    """sqrt(x) of x far below zero: shortened steps, then a name; never NaN."""
    objective = pg.Objective(jnp.sqrt, pg.SquaredLoss(jnp.array([-5.0])))
    rule = pg.RegularizedInverse(0.1)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0, rule), jnp.array([1.0]), 3)
    assert np.all(np.isfinite(run.x)) and not run.ok


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_cross_validation_counts_the_data_that_a_later_link_shows(dtype):
    """Behind a wide link the rule has the metric of fewer data than entries."""
    random = np.random.default_rng(2)
    left, _ = np.linalg.qr(random.standard_normal((30, 6)))
    right, _ = np.linalg.qr(random.standard_normal((6, 6)))
    first = (left * 10 ** -np.linspace(0, 2, 6)) @ right.T
    second = np.linalg.qr(random.standard_normal((30, 10)))[0].T
    x = right @ (random.standard_normal(6) / (1 + np.arange(6)))
    target = second @ first @ x + 0.03 * random.standard_normal(10)

    def simulator(matrix, rule):
        return pg.Simulator(Matrix(jnp.asarray(matrix, dtype)), rule)

    def end(simulator):
        objective = pg.Objective(simulator, pg.SquaredLoss(jnp.asarray(target)))
        run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.zeros(6), 1)
        return np.asarray(run.x)

    rule, rest = pg.RegularizedInverse(), pg.LinearizedInverse()
    chain = pg.Chain(simulator(first, rule), simulator(second, rest))
    assert relative(end(chain), end(simulator(second @ first, rule))) < 1e-3
