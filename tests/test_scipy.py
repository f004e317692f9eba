"""SciPy's solvers as methods: their own ends, followed through every space."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from families import relative

import physgrad as pg
from physgrad.names import OPTIMIZERS, SCIPY_METHODS
from physgrad.optimizers.scipy_optimizer import METHODS

START = np.array([-1.2, 1.0])
BOUNDED = [name for name, method in METHODS.items() if method.bounds]
LEAST_SQUARES = ("trf", "dogbox", "lm")
ANY: Any = pg
CLOSE = pg.Stop(loss=1e-9)


def valley(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def bent(x):
    """Less of a valley: Powell's method gets stuck in that at a bound."""
    return jnp.stack([x[1] - x[0] ** 2, 1 - x[0]])


def rosenbrock(dtype=jnp.float64, bounds=None):
    return pg.Objective(valley, pg.SquaredLoss(jnp.zeros(2, dtype)), bounds)


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


def residual(x):
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def slope(x):
    return np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])


def gradient(x):
    return 2 * slope(x).T @ residual(x)


def own_end(name: str):
    """What SciPy itself makes of the problem, in plain NumPy, and its iterations."""
    settings, visited = METHODS[name].settings, []
    if name in LEAST_SQUARES:
        solve: Any = scipy.optimize.least_squares
        found = solve(residual, START, slope, method=name, max_nfev=10_000, **settings)
        return found.x, None
    found = scipy.optimize.minimize(
        lambda x: residual(x) @ residual(x),
        START,
        method=name,
        jac=(lambda x: 2 * slope(x).T @ residual(x))
        if METHODS[name].gradient
        else None,
        callback=lambda x: visited.append(np.array(x)),
        options=settings,
    )
    return found.x, np.array(visited)


@pytest.mark.parametrize("name", METHODS)
def test_iterates_are_those_of_scipy(name, wide):
    """To rounding while they have not spread; and the end, where SciPy ends itself."""
    run = pg.minimize(rosenbrock(), pg.ScipyOptimizer(name), START, 400)
    end, visited = own_end(name)
    assert relative(run.x, end) <= 1e-7 and relative(run.x, [1.0, 1.0]) <= 1e-6
    if visited is not None:
        found = run.trajectory["x"][1:]
        np.testing.assert_allclose(found[:5], visited[:5], rtol=1e-6)
    z = np.asarray(jax.vmap(rosenbrock().simulator)(run.trajectory["x"]))
    np.testing.assert_allclose(run.trajectory["z"], z, rtol=0, atol=1e-12)
    assert run.num_steps < 400 and "ended after" in run.message


@pytest.mark.parametrize("name", METHODS)
def test_a_stop_ends_it(name, dtype):
    run = pg.minimize(
        rosenbrock(dtype), pg.ScipyOptimizer(name), START.astype(dtype), 400, stop=CLOSE
    )
    assert run.result == "converged" and run.loss <= 1e-9 and run.x.dtype == dtype
    assert np.all(run.trajectory.losses[:-1] > 1e-9)
    assert run.trajectory["z"].shape == (run.num_steps + 1, 2)


@pytest.mark.parametrize("name", METHODS)
def test_num_steps_are_done_and_recorded_as_asked(name):
    x0, method = START.astype(np.float32), pg.ScipyOptimizer(name)
    objective = rosenbrock(jnp.float32)
    full = pg.minimize(objective, method, x0, 5)
    few = pg.minimize(objective, method, x0, 5, record_every=2)
    ends = pg.minimize(objective, method, x0, 5, record_every=None)
    assert full.num_steps == 5 and full.trajectory.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert few.trajectory.steps.tolist() == [0, 2, 4, 5]
    assert ends.trajectory.steps.tolist() == [0, 5]
    x = full.trajectory["x"]
    np.testing.assert_array_equal(few.trajectory["x"], x[[0, 2, 4, 5]])
    assert full.evaluations == few.evaluations and full.evaluations["forward"] >= 6
    assert (full.evaluations["vjp"] + full.evaluations["jvp"] > 0) == (
        METHODS[name].gradient
    )
    none = pg.minimize(objective, method, x0, 0)
    assert none.num_steps == 0 and none.result == "completed"


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_kept_and_the_end_is_the_bounded_minimum(name, wide):
    bounds = (np.array([-2.0, -1.0]), np.array([0.5, 2.0]))
    objective = pg.Objective(bent, pg.SquaredLoss(jnp.zeros(2)), bounds)
    run = pg.minimize(objective, pg.ScipyOptimizer(name), START, 400)
    x = run.trajectory["x"]
    assert np.all((bounds[0] <= x) & (x <= bounds[1]))
    np.testing.assert_allclose(run.x, [0.5, 0.25], rtol=1e-3)


@pytest.mark.parametrize("name", BOUNDED)
def test_entries_whose_bounds_are_equal_are_not_shown(name, wide):
    bounds = (np.array([0.0, 0.75]), np.array([2.0, 0.75]))
    x0 = np.array([1.5, 0.75])
    run = pg.minimize(rosenbrock(bounds=bounds), pg.ScipyOptimizer(name), x0, 200)
    assert np.all(run.trajectory["x"][:, 1] == 0.75)
    one = scipy.optimize.minimize_scalar(
        lambda x: np.sum(residual([x, 0.75]) ** 2), bounds=(0.5, 1.2), method="bounded"
    )
    assert run.x[0] == pytest.approx(one.x, rel=1e-3)


def test_where_no_entry_may_move_nothing_is_asked():
    x0 = np.array([0.5, 0.75], np.float32)
    objective = rosenbrock(jnp.float32, (x0, x0))
    run = pg.minimize(objective, pg.ScipyOptimizer("trf"), x0, 10)
    assert run.ok and run.num_steps == 0 and np.all(run.x == x0)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in BOUNDED])
def test_who_knows_no_bounds_says_so(name):
    with pytest.raises(ValueError, match=f"^{name} knows no bounds; use trf, dogbox"):
        x0 = START.astype(np.float32)
        pg.minimize(
            rosenbrock(jnp.float32), pg.ScipyOptimizer(name), x0, bounds=(-5, 5)
        )


@pytest.mark.parametrize("name", LEAST_SQUARES)
def test_least_squares_need_a_residual(name):
    objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    with pytest.raises(
        ValueError, match=f"{name} needs a loss that knows its residual"
    ):
        pg.minimize(objective, pg.ScipyOptimizer(name), jnp.ones(2))


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if not m.gradient])
def test_without_derivatives_it_takes_a_simulator_outside_of_jax(name):
    simulator = pg.Simulator.from_callback(lambda x: np.sinh(x), np.zeros(2))
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.array([1.0, 2.0])))
    stop = pg.Stop(loss=1e-8)
    run = pg.minimize(objective, pg.ScipyOptimizer(name), jnp.zeros(2), 300, stop=stop)
    assert run.result == "converged"
    np.testing.assert_allclose(run.x, np.arcsinh([1.0, 2.0]), atol=1e-3)


def test_what_a_simulator_raises_comes_through():
    def picky(x):
        if x[0] > -1.0:
            raise ValueError("the mesh is inverted")
        return x

    simulator = pg.Simulator.from_callback(picky, np.zeros(2))
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.zeros(2)))
    with pytest.raises(pg.SimulatorError, match="the mesh is inverted"):
        x0 = START.astype(np.float32)
        pg.minimize(objective, pg.ScipyOptimizer("Nelder-Mead"), x0, 100)


@pytest.mark.parametrize("name", ["trf", "lm", "L-BFGS-B"])
def test_a_derivative_that_is_not_finite_is_named(name):
    objective = pg.Objective(
        lambda x: jnp.sqrt(jnp.abs(x)), pg.SquaredLoss(jnp.ones(2, jnp.float32))
    )
    run = pg.minimize(objective, pg.ScipyOptimizer(name), jnp.array([0.0, 2.0]), 20)
    assert run.result == "non_finite" and "dL/dx" in run.message
    assert np.all(np.isfinite(run.x))


def test_a_dict_is_a_start_and_a_snapshot_shows_it():
    objective = pg.Objective(
        lambda x: x["a"] * jnp.exp(x["b"] * jnp.arange(3.0)),
        pg.SquaredLoss(jnp.array([2.0, 1.0, 0.5])),
    )
    seen = []
    run = pg.minimize(
        objective,
        pg.ScipyOptimizer("trf"),
        {"a": jnp.array(1.0), "b": jnp.array(0.0)},
        100,
        callback=seen.append,
        stop=pg.Stop(loss=1e-8),
    )
    assert run.result == "converged" and run.x["a"] == pytest.approx(2.0, abs=1e-3)
    assert seen[-1].x["b"] == run.x["b"] and seen[-1].loss == pytest.approx(run.loss)


def test_options_are_those_of_scipy(wide):
    scaled = pg.ScipyOptimizer("trf", {"x_scale": [100.0, 1e-3]})
    one, other = (
        pg.minimize(rosenbrock(), method, START, 3).x
        for method in (pg.ScipyOptimizer("trf"), scaled)
    )
    assert relative(one, other) > 1e-3
    loose = pg.ScipyOptimizer("L-BFGS-B", {"ftol": 1e-2})
    run = pg.minimize(rosenbrock(), loose, START, 100)
    assert "REDUCTION" in run.message and run.result == "completed"


def test_what_drives_itself_is_for_minimize_and_compare(monkeypatch):
    # beartype would refuse it first, in words of its own
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    objective, x0 = rosenbrock(jnp.float32), jnp.asarray(START, jnp.float32)
    method = pg.ScipyOptimizer("trf")
    for call in (
        lambda: ANY.iterate(objective, method, x0, 3),
        lambda: ANY.minimize_many(objective, method, x0[None], 3),
    ):
        with pytest.raises(TypeError, match="drives itself: use minimize or compare"):
            call()
    methods = {"trf": method, "lm": pg.LevenbergMarquardt()}
    compared = pg.compare(objective, x0, methods, 30)
    assert (
        compared["trf"].loss <= 1e-9 and "ScipyOptimizer" in compared.optimizers["trf"]
    )


def test_checkpoints_are_for_methods_of_physgrad(tmp_path):
    method, x0 = pg.ScipyOptimizer("trf"), jnp.asarray(START, jnp.float32)
    with pytest.raises(ValueError, match="what ScipyOptimizer knows cannot be saved"):
        pg.minimize(rosenbrock(jnp.float32), method, x0, checkpoint=tmp_path / "saves")
    assert not (tmp_path / "saves").exists()


def test_wrong_use(monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(
        ValueError, match="unknown method 'L-BFGS'; did you mean 'L-BFGS"
    ):
        pg.ScipyOptimizer("L-BFGS")
    with pytest.raises(TypeError, match="options must be a dict"):
        ANY.ScipyOptimizer("trf", [1])
    with pytest.raises(TypeError, match="method must be a name"):
        ANY.ScipyOptimizer(7)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(pg.MissingExtra, match=r"pip install 'physgrad\[scipy\]'"):
        pg.ScipyOptimizer("trf")


def test_the_command_knows_the_same_methods():
    assert set(SCIPY_METHODS) == set(METHODS)
    assert OPTIMIZERS["scipy"].keys["method"].kind.choices == SCIPY_METHODS
