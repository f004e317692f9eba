"""Each optimizer against an oracle: a formula, NumPy, SciPy, Optax or optimistix."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import families
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest
import scipy.optimize
from families import eps, relative
from jaxtyping import Array, Float

import physgrad as pg


class Rosenbrock(eqx.Module):
    """z = [10 (y1 - y0^2), 1 - y0] with y = x / units: the residuals of Rosenbrock."""

    units: Float[Array, "2"]

    def __call__(self, x: Array) -> Array:
        y = x / self.units
        return jnp.stack([10 * (y[1] - y[0] ** 2), 1 - y[0]])


START = np.array([-1.2, 1.0])
GOOD_START = np.array([0.6, 0.5])
"""Where no solver of optimistix gets stuck; from START its L-BFGS does."""


def rosenbrock(dtype: Any, units: Any = (1.0, 1.0)) -> pg.Objective:
    return pg.Objective(
        Rosenbrock(jnp.asarray(units, dtype)), pg.SquaredLoss(jnp.zeros(2, dtype))
    )


def reference(x):
    """Loss, gradient and Hessian in x, residuals and Jacobian, by hand."""
    r = np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])
    jacobian = np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])
    hessian = 2 * jacobian.T @ jacobian + 2 * r[0] * np.array(
        [[-20.0, 0.0], [0.0, 0.0]]
    )
    return r @ r, 2 * jacobian.T @ r, hessian, r, jacobian


def by_hand(rule, start, num_steps):
    points = [np.asarray(start, float)]
    for _ in range(num_steps):
        points.append(points[-1] + rule(points[-1]))
    return np.stack(points)


FORMULAS = {
    "gradient descent": (
        pg.GradientDescent(1e-3),
        lambda x: -1e-3 * reference(x)[1],
    ),
    "newton": (
        pg.Newton(0.5),
        lambda x: -0.5 * np.linalg.solve(reference(x)[2], reference(x)[1]),
    ),
    "gauss-newton": (
        pg.GaussNewton(0.5),
        lambda x: 0.5 * np.linalg.lstsq(reference(x)[4], -reference(x)[3])[0],
    ),
}


@pytest.mark.parametrize("method", FORMULAS)
def test_iterates_are_those_of_the_formula(method, dtype):
    optimizer, rule = FORMULAS[method]
    run = pg.minimize(rosenbrock(dtype), optimizer, jnp.asarray(START, dtype), 8)
    assert run.result == "completed"
    expected = by_hand(rule, START, 8)
    # hyperparameters made while x64 is off are float32
    assert relative(run.trajectory["x"], expected) <= 5e3 * max(eps(dtype), 1e-11)


def test_gradient_descent_is_the_transposed_physical_gradient(dtype):
    objective, x0 = rosenbrock(dtype), jnp.asarray(START, dtype)
    transposed = pg.PhysicalGradient(
        1e-3, inverse=pg.TransposedInverse(), metric="gradient"
    )
    runs = [
        pg.minimize(objective, optimizer, x0, 20)
        for optimizer in (pg.GradientDescent(1e-3), transposed)
    ]
    assert relative(*(run.trajectory["x"] for run in runs)) <= 100 * eps(dtype)


def test_gauss_newton_is_numpys_least_squares_on_tall_and_wide_maps():
    with jax.enable_x64(True):
        for name in ("tall", "wide"):
            family = families.OF_SHAPE[name]
            for member in family.maps:
                x = np.asarray(member.points[0])
                weight = np.linspace(0.5, 4.0, family.size)
                target = np.linspace(2.0, -1.0, family.size)
                loss = pg.SquaredLoss(jnp.asarray(target), jnp.asarray(weight))
                objective = pg.Objective(family.pick(member), loss)
                step = families.one_step(objective, pg.GaussNewton(), jnp.asarray(x))
                z, jacobian = families.in_float64(family, member, x)
                root = np.sqrt(weight)
                expected = np.linalg.lstsq(
                    root[:, None] * jacobian, root * (target - z), rcond=1e-12
                )[0]
                assert relative(step.state.x - x, expected) <= 1e-9, member.name


BAD_UNITS = (1e-6, 1e6)


def test_levenberg_marquardt_reaches_scipys_solution(dtype):
    def residuals(x):
        return reference(x)[3]

    expected = scipy.optimize.least_squares(residuals, START, method="lm").x
    for units in ((1.0, 1.0), BAD_UNITS):
        x0 = jnp.asarray(START * units, dtype)
        stop = pg.Stop(loss=100 * eps(dtype) ** 2)
        objective = rosenbrock(dtype, units)
        run = pg.minimize(objective, pg.LevenbergMarquardt(), x0, 60, stop=stop)
        assert run.result == "converged" and run.num_steps < 40
        assert relative(run.x / np.asarray(units), expected) <= 1e3 * eps(dtype)


def test_levenberg_marquardt_does_not_depend_on_the_units_of_x(dtype):
    """x -> D x with D a power of two: the same iterates, to rounding."""
    units = np.array([2.0**-20, 2.0**20])
    runs = [
        pg.minimize(
            rosenbrock(dtype, d),
            pg.LevenbergMarquardt(),
            jnp.asarray(START * np.asarray(d), dtype),
            60,
            stop=pg.Stop(loss=100 * eps(dtype) ** 2),
        )
        for d in ((1.0, 1.0), units)
    ]
    plain, scaled = (run.trajectory["x"] for run in runs)
    assert relative(scaled / units, plain) <= 1e4 * eps(dtype)


def powell(x):
    """Powell's singular function: the Jacobian is singular at the solution."""
    return jnp.stack(
        [
            x[0] + 10 * x[1],
            jnp.sqrt(5.0).astype(x.dtype) * (x[2] - x[3]),
            (x[1] - 2 * x[2]) ** 2,
            jnp.sqrt(10.0).astype(x.dtype) * (x[0] - x[3]) ** 2,
        ]
    )


def test_levenberg_marquardt_reaches_a_singular_solution():
    with jax.enable_x64(True):
        objective = pg.Objective(powell, pg.SquaredLoss(jnp.zeros(4)))
        x0 = jnp.array([3.0, -1.0, 0.0, 1.0])
        stop = pg.Stop(loss=1e-20)
        run = pg.minimize(objective, pg.LevenbergMarquardt(), x0, 80, stop=stop)
        assert run.result == "converged"


def test_losses_of_levenberg_marquardt_never_grow(dtype):
    x0 = jnp.asarray(START, dtype)
    stop = pg.Stop(loss=100 * eps(dtype) ** 2)
    objective = rosenbrock(dtype)
    run = pg.minimize(objective, pg.LevenbergMarquardt(1e3), x0, 60, stop=stop)
    assert np.all(np.diff(run.trajectory.losses) <= 0)


def test_lbfgs_reaches_scipys_minimum(dtype):
    expected = scipy.optimize.fmin_l_bfgs_b(
        lambda x: reference(x)[:2], GOOD_START, pgtol=1e-12, factr=1.0
    )[0]
    x0, stop = jnp.asarray(GOOD_START, dtype), pg.Stop(gradient=100 * eps(dtype))
    run = pg.minimize(rosenbrock(dtype), pg.LBFGS(), x0, 300, stop=stop)
    assert relative(run.x, expected) <= 100 * eps(dtype) ** 0.75


def test_physical_gradient_solves_rosenbrock_in_one_step(dtype):
    """z(x) has an exact inverse: the valley is no obstacle in z."""

    def inverse(z: Array) -> Array:
        return jnp.stack([1 - z[1], z[0] / 10 + (1 - z[1]) ** 2])

    objective = pg.Objective(
        pg.Simulator(rosenbrock(dtype).simulator, pg.AnalyticInverse(inverse)),
        pg.SquaredLoss(jnp.zeros(2, dtype)),
    )
    x0 = jnp.asarray(START, dtype)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), x0, 1)
    assert run.loss <= 100 * eps(dtype) ** 2


AT_OPTIMUM = {
    "gradient descent": pg.GradientDescent(1e-3),
    "newton": pg.Newton(0.5),
    "gauss-newton": pg.GaussNewton(0.5),
    "levenberg-marquardt": pg.LevenbergMarquardt(),
    "l-bfgs": pg.LBFGS(),
    "numerical": pg.PhysicalGradient(0.5, pg.NumericalInverse()),
    "transposed": pg.PhysicalGradient(1e-3, pg.TransposedInverse()),
    "adam": pg.OptaxOptimizer(optax.adam(0.1)),
    "dogleg": pg.OptimistixOptimizer(optx.Dogleg(1e-9, 1e-9)),
}


@pytest.mark.parametrize("method", AT_OPTIMUM)
def test_no_optimizer_leaves_the_optimum(method):
    x0 = jnp.ones(2, jnp.float32)
    run = pg.minimize(rosenbrock(jnp.float32), AT_OPTIMUM[method], x0, 5)
    assert run.result == "completed" and run.num_steps == 5, run.message
    assert np.all(run.trajectory["x"] == 1)


def test_float32_stays_float32_while_x64_is_on():
    with jax.enable_x64(True):
        x0 = jnp.asarray(START, jnp.float32)
        run = pg.minimize(rosenbrock(jnp.float32), pg.GaussNewton(0.5), x0, 3)
        assert run.x.dtype == jnp.float32 and run.result == "completed"


# Wrapped optimizers


TRANSFORMATIONS = {
    "adam": optax.adam(0.1),
    "rmsprop with momentum": optax.rmsprop(0.01, momentum=0.9),
    "adagrad": optax.adagrad(0.3),
    "schedule": optax.sgd(optax.exponential_decay(1e-3, 5, 0.5)),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_optax_iterates_are_those_of_a_loop_by_hand(name):
    """To the last bits, which XLA rounds in another order where it fuses otherwise."""
    objective, transformation = rosenbrock(jnp.float32), TRANSFORMATIONS[name]

    @jax.jit
    def step(x, memory):
        gradient = jax.grad(lambda x: objective(x))(x)
        updates, memory = transformation.update(gradient, memory, x)
        return optax.apply_updates(x, updates), memory

    x = jnp.asarray(START, jnp.float32)
    memory, points = transformation.init(x), [x]
    for _ in range(30):
        x, memory = step(x, memory)
        points.append(x)
    optimizer = pg.OptaxOptimizer(transformation)
    run = pg.minimize(objective, optimizer, points[0], 30)
    assert relative(run.trajectory["x"], np.stack(points)) <= 1e-6


def test_optax_line_searches_get_what_they_ask_for():
    with jax.enable_x64(True):
        optimizer = pg.OptaxOptimizer(optax.lbfgs())
        run = pg.minimize(rosenbrock(jnp.float64), optimizer, jnp.asarray(START), 40)
        assert relative(run.x, [1.0, 1.0]) <= 1e-8


MINIMIZERS = {
    "BFGS": optx.BFGS(1e-9, 1e-9),
    "LBFGS": optx.LBFGS(1e-9, 1e-9),
    "NonlinearCG": optx.NonlinearCG(1e-9, 1e-9),
    "GradientDescent": optx.GradientDescent(1e-3, 1e-12, 1e-12),
    "NelderMead": optx.NelderMead(1e-9, 1e-9),
    "DFP": optx.DFP(1e-9, 1e-9),
    "OptaxMinimiser": optx.OptaxMinimiser(optax.adam(0.1), 1e-12, 1e-12),
    "BestSoFarMinimiser": optx.BestSoFarMinimiser(optx.BFGS(1e-9, 1e-9)),
}
LEAST_SQUARES = {
    "LevenbergMarquardt": optx.LevenbergMarquardt(1e-9, 1e-9),
    "Dogleg": optx.Dogleg(1e-9, 1e-9),
    "GaussNewton": optx.GaussNewton(1e-9, 1e-9),
    "IndirectLevenbergMarquardt": optx.IndirectLevenbergMarquardt(1e-9, 1e-9),
    "BestSoFarLeastSquares": optx.BestSoFarLeastSquares(optx.Dogleg(1e-9, 1e-9)),
}


MOVES_AT_ONCE = {"NelderMead", "OptaxMinimiser"}
SLOW = {"GradientDescent", "NelderMead", "NonlinearCG", "OptaxMinimiser"}


def own_solution(name: str, objective: pg.Objective, max_steps: int) -> optx.Solution:
    """What optimistix itself makes of the problem."""
    options = {"max_steps": max_steps, "throw": False}
    if name in MINIMIZERS:
        return optx.minimise(
            lambda x, _: objective(x),
            MINIMIZERS[name],
            jnp.asarray(GOOD_START),
            **options,
        )
    return optx.least_squares(
        lambda x, _: objective.simulator(x),
        LEAST_SQUARES[name],
        jnp.asarray(GOOD_START),
        **options,
    )


@pytest.mark.parametrize("name", [*MINIMIZERS, *LEAST_SQUARES])
def test_optimistix_solvers_step_as_they_do_in_optimistix(name):
    """The same end after as many evaluations; every z recorded is P(x)."""
    solver = {**MINIMIZERS, **LEAST_SQUARES}[name]
    with jax.enable_x64(True):
        objective = rosenbrock(jnp.float64)
        own = own_solution(name, objective, 60)
        # the first step of most only evaluates the start
        steps = int(own.stats["num_steps"]) - (name not in MOVES_AT_ONCE)
        x0 = jnp.asarray(GOOD_START)
        run = pg.minimize(objective, pg.OptimistixOptimizer(solver), x0, steps)
        assert run.result == "completed"
        z = np.asarray(jax.vmap(objective.simulator)(run.trajectory["x"]))
        np.testing.assert_allclose(run.trajectory["z"], z, rtol=0, atol=1e-13)
        np.testing.assert_allclose(run.x, own.value, rtol=1e-8)
        if name not in SLOW:
            assert relative(run.x, [1.0, 1.0]) <= 1e-6


def test_a_solver_that_ignores_its_start_is_refused():
    with pytest.raises(TypeError, match="must start at x0, got a GoldenSearch"):
        pg.OptimistixOptimizer(optx.GoldenSearch(1e-6, 1e-6))


class Momentum(pg.Optimizer):
    """A third party's method: heavy ball, by the protocol of `Optimizer`."""

    learning_rate: float
    decay: float

    def init(self, objective, state):
        return objective.gradient(state.x), jnp.zeros_like(state.x)

    def update(self, objective, state, memory):
        gradient, velocity = memory
        velocity = self.decay * velocity - self.learning_rate * gradient
        state, gradient = objective.evaluate_with_gradient(state, state.x + velocity)
        return pg.Step(state, pg.Evaluations(forward=1, vjp=1)), (gradient, velocity)


def test_a_third_party_adds_an_optimizer_by_init_and_update(dtype):
    objective, x0 = rosenbrock(dtype), jnp.asarray(START, dtype)
    run = pg.minimize(objective, Momentum(1e-3, 0.5), x0, 20)
    sgd = pg.OptaxOptimizer(optax.sgd(1e-3, momentum=0.5))
    expected = pg.minimize(objective, sgd, x0, 20)
    assert relative(run.trajectory["x"], expected.trajectory["x"]) <= 1e3 * eps(dtype)
    assert run.evaluations["forward"] == 21 and run.evaluations["vjp"] == 20
