"""The walk of the numerical inverse: at once or in parts, dense or by products."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

import physgrad as pg


def squares(z):
    return jnp.sum(z**2)


def toy(x):
    return jnp.stack([x[0], x[1] ** 2])


def valley(x):
    """Rosenbrock's function as a simulator: squares(valley(x))."""
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def test_a_step_on_the_toy_takes_ten_evaluations_at_the_median():
    """A forward counts one, a linearization (two products here) one."""
    with jax.enable_x64(True):
        objective = pg.Objective(pg.Simulator(toy, pg.NumericalInverse()), squares)
        method, x, counts = pg.PhysicalGradient(0.3), jnp.array([3.0, 3.0]), []
        for _ in range(20):
            run = pg.minimize(objective, method, x, 1)
            x, spent = run.x, run.evaluations
            counts.append(spent["forward"] - 1 + spent["jvp"] / 2)
    assert np.median(counts) <= 10
    assert np.allclose(x, [3 * 0.7**20, 3 * 0.7**10], rtol=1e-12)


def test_a_long_way_round_is_walked_in_parts(dtype):
    objective = pg.Objective(pg.Simulator(valley, pg.NumericalInverse()), squares)
    run = pg.minimize(
        objective, pg.PhysicalGradient(0.5), jnp.array([-1.2, 1.0], dtype), 10
    )
    assert run.result == "completed"
    losses = run.trajectory.losses  # a quarter is left by each exact half step
    assert np.allclose(losses[1:], losses[:-1] / 4, rtol=1e-2)


BENT = {
    # forward, start, target: Newton's method from the start is of no use
    "arctan": (jnp.arctan, [3.0], [0.1]),
    "steep": (jnp.exp, [-8.0], [2.0]),
    "flat": (lambda x: x**3, [0.01], [1.0]),
}


@pytest.mark.parametrize("name", BENT)
def test_a_useless_prediction_is_not_followed(name, dtype):
    forward, start, target = BENT[name]
    loss = pg.SquaredLoss(jnp.array(target, dtype))
    simulator = pg.Simulator(forward, pg.NumericalInverse())
    run = pg.minimize(
        pg.Objective(simulator, loss),
        pg.PhysicalGradient(1.0),
        jnp.array(start, dtype),
        1,
    )
    assert run.result == "completed"
    assert np.allclose(forward(run.x), target, rtol=1e-4)


@pytest.mark.parametrize("start", [1.57, 1.5, 4.0])
def test_a_solver_that_is_thrown_far_away_is_called_back(start, dtype):
    """Beside a fold the prediction leads to any of the other preimages."""
    simulator = pg.Simulator(jnp.sin, pg.NumericalInverse())
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.array([0.5], dtype)))
    x0 = jnp.array([start], dtype)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), x0, 1)
    assert run.ok, run.message
    assert abs(run.x[0] - (np.pi / 6 if start < 2 else 5 * np.pi / 6)) < 1e-3


def test_a_walk_that_has_no_end_is_named():
    """The root of z = sqrt(x) ends at 0: nothing but NaN lies on the way to -1."""
    simulator = pg.Simulator(jnp.sqrt, pg.NumericalInverse())
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.array([-1.0])))
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([1.0]), 1)
    assert (run.result, run.num_steps, float(run.x[0])) == ("inverse_failed", 0, 1)
    assert "did not converge" in run.message


def test_the_walk_keeps_to_its_budget():
    simulator = pg.Simulator(jnp.sqrt, pg.NumericalInverse(max_steps=20))
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.array([-1.0])))
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([1.0]), 1)
    assert run.result == "inverse_failed"
    assert run.evaluations["inverse"] == 20


def coupled(x):
    a, b = x["a"], x["b"]
    return {"u": 2 * a + 0.3 * jnp.roll(a, 1) ** 2 + jnp.sin(b), "v": 3 * b - a[::-1]}


def tall(x):
    return {**coupled(x), "w": x["a"] * x["b"]}


def wide(x):
    return coupled(x)["u"]


def inverse_diagonal(dz, x):
    return {"a": dz["u"] / (2 + 0 * x["a"]), "b": dz["v"] / 3}


GMRES, BICGSTAB = lx.GMRES(1e-6, 1e-12), lx.BiCGStab(1e-6, 1e-12)
LSMR = lx.LSMR(1e-8, 0.0)
NORMAL = lx.Normal(lx.CG(1e-6, 1e-12, max_steps=100))
MATRIX_FREE = {
    "gmres": (coupled, GMRES, None),
    "gmres, preconditioned": (coupled, GMRES, inverse_diagonal),
    "bicgstab, preconditioned": (coupled, BICGSTAB, inverse_diagonal),
    "cg, preconditioned": (coupled, NORMAL, inverse_diagonal),
    "lsmr": (coupled, LSMR, None),
    "lsmr, tall": (tall, LSMR, None),
    "lsmr, wide": (wide, LSMR, None),
}


def pulled(forward, rule, x0, target):
    objective = pg.Objective(pg.Simulator(forward, rule), pg.SquaredLoss(target))
    return pg.iterate(objective, pg.PhysicalGradient(1.0), x0, 2)


@pytest.mark.parametrize("name", MATRIX_FREE)
def test_products_with_the_jacobian_do_as_well_as_the_jacobian(name):
    forward, linear_solver, preconditioner = MATRIX_FREE[name]
    with jax.enable_x64(True):
        grid = jnp.linspace(0, 3, 12)
        x0 = {"a": jnp.ones(12), "b": jnp.zeros(12)}
        target = forward({"a": 1 + 0.2 * jnp.cos(grid), "b": 0.3 * jnp.sin(grid)})
        if forward is tall:
            target["w"] = target["w"] + 0.1
        rule = pg.NumericalInverse(
            linear_solver=linear_solver, preconditioner=preconditioner
        )
        got = pulled(forward, rule, x0, target)
        want = pulled(forward, pg.NumericalInverse(), x0, target)
    assert got.result == want.result <= pg.Result.target_not_reachable.code
    tolerance = 1e-6 if forward is tall else 1e-9
    assert np.allclose(got.losses[-1], want.losses[-1], rtol=1e-8, atol=1e-16)
    for leaf, other in zip(*map(jax.tree.leaves, (got.x, want.x)), strict=True):
        assert np.allclose(leaf, other, atol=tolerance)


def test_derivatives_without_a_jacobian_are_those_of_the_implicit_function():
    with jax.enable_x64(True):
        x0 = {"a": jnp.ones(4), "b": jnp.zeros(4)}
        goal = coupled({"a": jnp.full(4, 0.8), "b": jnp.full(4, 0.1)})
        direction = {"u": jnp.arange(4.0), "v": jnp.ones(4)}

        @jax.jit
        def reached(t):
            target = jax.tree.map(lambda g, d: g + t * d, goal, direction)
            rule = pg.NumericalInverse(linear_solver=GMRES)
            return jnp.sum(pulled(coupled, rule, x0, target).x["a"] ** 2)

        h = 1e-4
        want = (reached(h) - reached(-h)) / (2 * h)
        assert np.allclose(jax.grad(reached)(0.0), want, rtol=1e-5)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="got a solver, too"):
        pg.NumericalInverse(optx.LBFGS(1e-3, 1e-3), linear_solver=GMRES)
    with pytest.raises(ValueError, match="preconditioner needs a linear_solver"):
        pg.NumericalInverse(preconditioner=inverse_diagonal)
    with pytest.raises(ValueError, match=r"wrap it: lineax.Normal\("):
        pg.NumericalInverse(linear_solver=lx.CG(1e-6, 0.0))


def half(dz, x):
    return {"a": dz["u"][:2], "b": dz["v"]}


UNLIKE = {
    "shape": (half, r"the shape \(4,\) of x\['a'\], got \(2,\)"),
    "structure": (lambda dz, x: dz["u"], "the structure of x"),
    "arguments": (lambda dz: dz, "takes 1|does not take that"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_preconditioner_unlike_x_is_refused(name):
    preconditioner, words = UNLIKE[name]
    rule = pg.NumericalInverse(linear_solver=GMRES, preconditioner=preconditioner)
    x0 = {"a": jnp.ones(4), "b": jnp.zeros(4)}
    with pytest.raises((ValueError, TypeError), match=words):
        pulled(coupled, rule, x0, coupled(x0))


PLATEAUS = {
    "tanh": (jnp.tanh, [-3.0], [0.1]),
    "sigmoid": (jax.nn.sigmoid, [-4.0], [0.9]),
    "saturated": (lambda x: x**4 / (1 + x**4), [0.1], [0.5]),
    "pair": (lambda x: jnp.tanh(x) + 0.01 * x[::-1], [-3.0, -2.0], [0.1, 0.4]),
}


@pytest.mark.parametrize("name", PLATEAUS)
def test_a_plateau_is_not_taken_for_the_nearest_point(name, dtype):
    """The prediction lands where J vanishes: no x near there is a fit."""
    forward, start, target = PLATEAUS[name]
    loss = pg.SquaredLoss(jnp.array(target, dtype))
    objective = pg.Objective(pg.Simulator(forward, pg.NumericalInverse()), loss)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array(start, dtype), 1)
    assert run.result == "completed"
    assert np.allclose(forward(run.x), target, rtol=1e-3)


def test_a_large_misfit_that_no_x_can_lower_is_still_a_nearest_point(dtype):
    """On the circle Gauss-Newton creeps: the angle of (0.3, 0.2) is reached."""

    def circle(x):
        return jnp.stack([jnp.cos(x[0]), jnp.sin(x[0])])

    loss = pg.SquaredLoss(jnp.array([0.3, 0.2], dtype))
    objective = pg.Objective(pg.Simulator(circle, pg.NumericalInverse()), loss)
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([1.2], dtype), 1)
    assert run.result == "target_not_reachable"
    assert np.allclose(run.x, np.arctan2(0.2, 0.3), atol=1e-3)


def test_the_nearest_point_is_found_beyond_a_fold(dtype):
    """x^2 + 1 has its least value 1 at 0, where its slope vanishes."""
    objective = pg.Objective(lambda x: x**2 + 1, pg.SquaredLoss(jnp.zeros(1, dtype)))
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.ones(1, dtype), 3)
    assert run.result == "target_not_reachable"
    assert abs(float(run.x[0])) < 1e-3


UNSEEN = {
    "wide": lambda x: jnp.stack([x[0] + x[1]]),
    "rank-deficient": lambda x: jnp.stack([x[0] + x[1], 2 * x[0] + 2 * x[1]]),
}


@pytest.mark.parametrize("name", UNSEEN)
@pytest.mark.parametrize("rule", ["numerical", "implicit"])
def test_derivatives_keep_what_z_does_not_show_of_the_start(name, rule):
    forward = UNSEEN[name]

    def nearest(z, x):
        return x + (z[0] - x[0] - x[1]) / 2

    inverse = pg.NumericalInverse()
    if rule == "implicit":
        inverse = pg.AnalyticInverse(nearest, implicit=True)
    with jax.enable_x64(True):
        x0, target = jnp.array([1.0, 2.0]), forward(jnp.array([2.0, 3.0]))

        @jax.jit
        def end(x0):
            simulator = pg.Simulator(forward, inverse)
            objective = pg.Objective(simulator, pg.SquaredLoss(target))
            x = pg.iterate(objective, pg.PhysicalGradient(1.0), x0, 1).x
            return x[0] ** 2 + 2 * x[1] ** 2

        assert np.allclose(jax.grad(end)(x0), [-4, 4], rtol=1e-6)


def test_where_z_shows_nothing_of_x_its_derivative_is_that_of_the_start():
    simulator = pg.Simulator(lambda x: 0 * x + 1, pg.NumericalInverse())
    objective = pg.Objective(simulator, squares)

    def end(x0):
        return pg.iterate(objective, pg.PhysicalGradient(0.5), x0, 1).x

    np.testing.assert_allclose(jax.jacrev(end)(jnp.array([2.0, 3.0])), np.eye(2))
