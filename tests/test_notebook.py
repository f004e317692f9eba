"""The numbers of the notebook that this library comes from, to the digit."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import physgrad as pg
from physgrad.problems import toy

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text())
NUMERICAL = pg.NumericalInverse()
METHODS = {
    "gd": pg.GradientDescent(0.01),
    "newton": pg.Newton(1 / 3),
    "pg": pg.PhysicalGradient(0.3),
    "pg_numeric": pg.PhysicalGradient(0.3, inverse=NUMERICAL),
    "l-bfgs": pg.PhysicalGradient(0.3, pg.NumericalInverse(optx.LBFGS(1e-8, 1e-8))),
}
TOLERANCES = {"gd": 2e-6, "newton": 2e-6, "pg": 2e-6, "pg_numeric": 2e-5}


def run_of(method, start=(3.0, 3.0), num_steps=10):
    problem = pg.problems.get("toy", jnp.float32)
    x0 = jnp.asarray(start, jnp.float32)
    return pg.minimize(problem.objective, METHODS[method], x0, num_steps)


@pytest.mark.parametrize("method", TOLERANCES)
def test_the_iterates_are_the_notebooks(method):
    run = run_of(method)
    assert run.result == "completed" and run.x.dtype == jnp.float32
    assert np.array_equal(run.trajectory["x"][0], [3.0, 3.0])
    x = run.trajectory["x"][1:]
    np.testing.assert_allclose(x, REFERENCE[method], rtol=TOLERANCES[method], atol=0)


def test_the_notebooks_route_by_l_bfgs_leads_to_its_iterates():
    """2e-5 is how far SciPy's own digits in the notebook are from exact ones."""
    run = run_of("l-bfgs")
    assert run.result == "completed"
    expected = REFERENCE["pg_numeric"]
    np.testing.assert_allclose(run.trajectory["x"][1:], expected, rtol=2e-5, atol=0)


def test_numerical_and_analytic_inverse_differ_by_rounding():
    pairs = run_of("pg_numeric").trajectory["x"], run_of("pg").trajectory["x"]
    assert np.mean(np.abs(pairs[0] - pairs[1])) <= 2e-6


@pytest.mark.parametrize("method", REFERENCE["diagonal"])
def test_the_first_steps_have_the_notebooks_diagonal_lengths(method):
    x = run_of(method).trajectory["x"].astype(float)
    step = x[0] - x[1]
    length = step @ np.ones(2) / np.linalg.norm(step)
    assert length == pytest.approx(REFERENCE["diagonal"][method], abs=1e-6)


def test_the_derivatives_are_the_notebooks():
    objective = pg.problems.get("toy", jnp.float32).objective
    x = jnp.array([3.0, 3.0])
    assert objective(x) == 90
    z = objective.simulator(x)
    assert jax.grad(lambda z: objective.loss(z))(z).tolist() == [6, 18]
    assert jax.jacobian(toy.square)(x).tolist() == [[1, 0], [0, 6]]
    assert jax.grad(lambda x: objective(x))(x).tolist() == [6, 108]


@pytest.mark.parametrize("method", ["pg", "pg_numeric", "l-bfgs"])
def test_the_inverse_of_2_2_from_3_3(method):
    """The notebook's test of its inverse: one full step to the target [2, 2]."""
    rule = METHODS[method].inverse
    simulator = pg.problems.get("toy", jnp.float32).objective.simulator
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.array([2.0, 2.0])))
    optimizer = pg.PhysicalGradient(1.0, inverse=rule)
    run = pg.minimize(objective, optimizer, jnp.array([3.0, 3.0]), 1)
    np.testing.assert_allclose(run.x, [2, 1.41421356], rtol=2e-6)


def test_a_full_physical_step_solves_the_toy():
    problem = pg.problems.get("toy", jnp.float32)
    run = pg.minimize(problem.objective, pg.PhysicalGradient(1.0), problem.start, 1)
    assert run.result == "completed" and run.loss <= 1e-12


def test_a_full_step_through_the_numerical_inverse_reaches_the_double_root(dtype):
    problem = pg.problems.get("toy", dtype)
    method = pg.PhysicalGradient(1.0, inverse=NUMERICAL)
    run = pg.minimize(problem.objective, method, problem.start, 1)
    assert run.result == "completed" and run.loss <= 1e-8
    assert run.evaluations["inverse"] <= 64


def test_gauss_newton_at_a_third_is_as_good_as_the_physical_gradient():
    problem = pg.problems.get("toy", jnp.float32)
    run = pg.minimize(problem.objective, pg.GaussNewton(1 / 3), problem.start, 10)
    assert run.loss <= 1.5 * run_of("pg").loss


def test_the_physical_gradient_stays_on_its_branch():
    run = run_of("pg", (3.0, -3.0))
    assert run.result == "completed"
    assert run.x[1] == pytest.approx(-0.50421, rel=2e-6)


def test_the_notebooks_own_inverse_jumps_to_the_other_branch():
    problem = pg.problems.get("toy", jnp.float32)
    optimizer = pg.PhysicalGradient(0.3, inverse=problem.inverses["notebook"])
    left = pg.minimize(problem.objective, optimizer, jnp.array([3.0, -3.0]), 10)
    assert left.result == "inverse_failed" and "preimage" in left.message
    assert np.array_equal(left.x, [3.0, -3.0])
    right = pg.minimize(problem.objective, optimizer, problem.start, 10)
    assert right.result == "completed"


def test_a_step_out_of_range_is_a_named_failure():
    """eta = 1.5 asks for the root of a negative number."""
    problem = pg.problems.get("toy", jnp.float32)
    run = pg.minimize(problem.objective, pg.PhysicalGradient(1.5), problem.start, 10)
    assert run.result == "inverse_failed" and "range" in run.message
    assert np.array_equal(run.x, problem.start)
    assert np.all(np.isfinite(run.trajectory["z"]))
