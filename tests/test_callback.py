"""Simulators that JAX cannot trace."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import physgrad as pg

ROOT = pg.AnalyticInverse(
    lambda z, x: jnp.stack([z[0], jnp.copysign(jnp.sqrt(z[1]), x[1])])
)


def traced(x):
    return jnp.stack([x[0], x[1] ** 2])


class Calls:
    """The toy in NumPy, which counts its calls and may go wrong in one of them."""

    def __init__(self, wrong=None, at=3):
        self.count, self.wrong, self.at = 0, wrong, at

    def __call__(self, x):
        assert isinstance(x, np.ndarray)
        self.count += 1
        if self.wrong is not None and self.count == self.at:
            return self.wrong(x)
        z = np.array([x[0], x[1] ** 2])
        x[:] = np.nan  # a simulator may work in place: it has a copy
        return z


def toy(function, inverse=None, **more):
    simulator = pg.Simulator.from_callback(function, np.zeros(2), inverse, **more)
    return pg.Objective(simulator, pg.SquaredLoss(jnp.zeros(2)))


def test_a_physical_gradient_needs_no_derivative(dtype):
    calls, x0 = Calls(), jnp.array([3.0, 3.0], dtype)
    run = pg.minimize(toy(calls, ROOT), pg.PhysicalGradient(0.3), x0, 10)
    plain = pg.Objective(pg.Simulator(traced, ROOT), pg.SquaredLoss(jnp.zeros(2)))
    same = pg.minimize(plain, pg.PhysicalGradient(0.3), x0, 10)
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        run.trajectory["x"], same.trajectory["x"], rtol=100 * eps
    )
    assert run.ok and run.evaluations["jvp"] == run.evaluations["vjp"] == 0
    assert calls.count <= 2 * run.evaluations["forward"]


METHODS = {
    "lm": pg.LevenbergMarquardt(),
    "gauss-newton": pg.GaussNewton(0.5),
    "gd": pg.GradientDescent(0.01),
    "numerical": pg.PhysicalGradient(0.3, pg.NumericalInverse()),
}


@pytest.mark.parametrize("name", METHODS)
def test_differences_serve_where_derivatives_do(name):
    with jax.enable_x64(True):
        x0 = jnp.array([3.0, 3.0])
        objective = toy(Calls(), differences=True)
        run = pg.minimize(objective, METHODS[name], x0, 5)
        plain = pg.Objective(traced, pg.SquaredLoss(jnp.zeros(2)))
        same = pg.minimize(plain, METHODS[name], x0, 5)
        assert run.ok
        np.testing.assert_allclose(
            run.trajectory["z"], same.trajectory["z"], rtol=1e-5, atol=1e-5
        )


def test_without_them_what_is_missing_is_said():
    with pytest.raises(TypeError, match="differences=True"):
        pg.minimize(toy(Calls()), pg.GradientDescent(0.1), jnp.ones(2), 2)


def test_a_batch_is_called_one_by_one():
    calls = Calls()
    objective, starts = toy(calls, ROOT), jnp.array([[1.0, 2.0], [3.0, -1.0]])
    ends = jax.vmap(lambda x: pg.iterate(objective, pg.PhysicalGradient(1.0), x, 1).x)
    np.testing.assert_allclose(ends(starts), 0, atol=1e-3)


def fail(x):
    raise ZeroDivisionError("no mesh here")


WRONG = {
    "raises": (fail, "ZeroDivisionError: no mesh here, at x = array"),
    "another shape": (lambda x: np.zeros(3), r"shapes of output, \[\(2,\)\], got"),
    "another structure": (lambda x: (x, x), "must return a z like output"),
    "text": (lambda x: "nothing", "must return real numbers"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_it_raises_comes_back_with_its_x(name):
    wrong, words = WRONG[name]
    objective = toy(Calls(wrong, at=7), ROOT)
    with pytest.raises(pg.SimulatorError, match=words) as error:
        pg.minimize(objective, pg.PhysicalGradient(0.3), jnp.array([3.0, 3.0]), 10)
    assert error.value.x.shape == (2,) and error.value.__cause__ is not None
    again = toy(Calls(), ROOT)
    assert pg.minimize(again, pg.PhysicalGradient(0.3), jnp.array([3.0, 3.0]), 3).ok


def test_trees_go_in_and_out():
    def orbit(x):
        return {"far": x["a"] * 2, "all": np.array([x["b"], x["a"][0]])}

    output = {"far": np.zeros(1), "all": np.zeros(2)}
    simulator = pg.Simulator.from_callback(orbit, output, differences=True)
    x = {"a": jnp.ones(1), "b": jnp.array(3.0)}
    z = simulator(x)
    assert set(z) == {"far", "all"}
    np.testing.assert_allclose(z["all"], [3.0, 1.0])
    objective = pg.Objective(simulator, pg.SquaredLoss(z))
    away = {"a": jnp.zeros(1), "b": jnp.array(1.0)}
    run = pg.minimize(objective, pg.LevenbergMarquardt(), away, 10)
    np.testing.assert_allclose(run.x["b"], 3.0, rtol=1e-2)


def test_wrong_use():
    with pytest.raises(TypeError, match="needs output, an example of z"):
        pg.Simulator.from_callback(Calls())
    with pytest.raises(TypeError, match="or the words of a command, got 3"):
        pg.Simulator.from_callback(3, np.zeros(2))  # type: ignore[arg-type]
