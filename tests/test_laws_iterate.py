"""Laws of `iterate`: it is pure, so jit, vmap and grad do to it what they should."""

from __future__ import annotations

import equinox as eqx
import families
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import relative
from jaxtyping import Array, Float

import physgrad as pg

GOOD_STARTS = np.array([[3.0, 3.0], [1.0, -2.0], [0.5, 0.25], [-4.0, 1.5]])


class Bowl(eqx.Module):
    """z = [a x0 + x1 / 2, x1^2 + b x0^2]: a simulator with coefficients."""

    coefficients: Float[Array, "2"]

    def __call__(self, x: Array) -> Array:
        a, b = self.coefficients
        return jnp.stack([a * x[0] + 0.5 * x[1], x[1] ** 2 + b * x[0] ** 2])


COEFFICIENTS = np.array([1.5, 0.3])
TARGET = np.array([1.0, 2.0])


def bowl(coefficients, dtype) -> pg.Objective:
    simulator = Bowl(jnp.asarray(coefficients, dtype))
    return pg.Objective(simulator, pg.SquaredLoss(jnp.asarray(TARGET, dtype)))


TOY = pg.Simulator(families.square, pg.AnalyticInverse(families.square_root))
METHODS = {
    "gd": lambda eta=0.01: pg.GradientDescent(eta),
    "pg": lambda eta=0.3: pg.PhysicalGradient(eta),
    "pg-linearized": lambda eta=0.3: pg.PhysicalGradient(eta, pg.LinearizedInverse()),
    "pg-numerical": lambda eta=0.3: pg.PhysicalGradient(eta, pg.NumericalInverse()),
}


def toy(dtype) -> pg.Objective:
    return pg.Objective(TOY, pg.SquaredLoss(jnp.zeros(2, dtype)))


@eqx.filter_jit
def jitted(objective, optimizer, x0):
    return pg.iterate(objective, optimizer, x0, 6)


@eqx.filter_jit
def mapped(objective, optimizer, starts):
    return jax.vmap(lambda x0: pg.iterate(objective, optimizer, x0, 6))(starts)


@pytest.mark.parametrize("method", ["gd", "pg", "pg-numerical"])
def test_minimize_is_iterate_and_vmap_is_a_loop_over_members(method):
    objective, optimizer = toy(jnp.float32), METHODS[method]()
    starts = jnp.asarray(GOOD_STARTS, jnp.float32)
    together = mapped(objective, optimizer, starts)
    for i, x0 in enumerate(starts):
        run = pg.minimize(objective, optimizer, x0, 6)
        assert run.result.code == together.result[i]
        assert int(together.num_valid[i]) == 7 == len(run.trajectory)
        for space in ("x", "z"):
            expected = run.trajectory[space]
            assert relative(together.spaces[space][i], expected) <= 1e-5
        if method == "pg":
            alone = jitted(objective, optimizer, x0)
            assert relative(alone.spaces["z"], run.trajectory["z"]) <= 1e-6
            assert alone.result == run.result.code
        np.testing.assert_allclose(
            together.losses[i], run.trajectory.losses, rtol=1e-4, atol=1e-12
        )


@pytest.mark.parametrize("method", ["pg", "pg-numerical"])
def test_a_member_that_fails_does_not_change_the_others(method):
    """eta = 1.5 asks the toy for the root of a negative number; zero stays zero."""
    objective, optimizer = toy(jnp.float32), METHODS[method](1.5)
    starts = jnp.asarray([[3.0, 3.0], [1.0, 0.0], [2.0, 0.0]])
    if method == "pg-numerical":  # one start far out of reach of the solver
        optimizer = pg.PhysicalGradient(0.3, pg.NumericalInverse(max_steps=12))
        starts = jnp.asarray([[3.0, 1e-12], [3.0, 3.0], [1.0, 2.0]])
    together = mapped(objective, optimizer, starts)
    others = mapped(objective, optimizer, starts.at[0].set(starts[1]))
    failed = pg.Result.inverse_failed.code
    if method == "pg":
        assert together.result.tolist() == [failed, 0, 0]
        assert together.num_valid.tolist() == [1, 7, 7]
        assert np.array_equal(together.x[0], starts[0])
    for got, expected in zip(
        jax.tree.leaves((together.spaces, together.losses)),
        jax.tree.leaves((others.spaces, others.losses)),
        strict=True,
    ):
        assert np.all(np.isfinite(got))
        assert np.array_equal(got[1:], expected[1:])


def end(method, x0, step_size, coefficients):
    """Where 4 steps from x0 lead, as one number."""
    objective = bowl(coefficients, x0.dtype)
    x = pg.iterate(objective, METHODS[method](step_size), x0, 4).x
    return x @ jnp.array([1.0, -0.7])


@pytest.mark.parametrize("method", ["gd", "pg-linearized", "pg-numerical"])
def test_iterate_is_differentiable_in_start_step_size_and_coefficients(method):
    """Against central differences; numerical inverses by the implicit function."""
    with jax.enable_x64(True):
        step_size = 0.02 if method == "gd" else 0.4

        def function(values):
            return end(method, values[:2], values[2], values[3:])

        values = jnp.concatenate(
            [jnp.array([1.2, 0.9]), jnp.array([step_size]), jnp.asarray(COEFFICIENTS)]
        )
        evaluate = jax.jit(jax.value_and_grad(function))
        gradient = evaluate(values)[1]
        h = 1e-5
        differences = [
            (evaluate(values + h * e)[0] - evaluate(values - h * e)[0]) / (2 * h)
            for e in np.eye(5)
        ]
        np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-7)


class Tree(eqx.Module):
    """A PyTree of mixed shapes as x, and another as z."""

    def __call__(self, x):
        return {"a": jnp.exp(x["deep"][0]), "b": 2 * x["flat"] + x["deep"][1]}


def tree_inverse(z, x):
    deep = jnp.log(z["a"])
    return {"deep": (deep, x["deep"][1]), "flat": (z["b"] - x["deep"][1]) / 2}


TREE = pg.Simulator(Tree(), pg.AnalyticInverse(tree_inverse))


def tree_loss(z):
    return jnp.sum((z["a"] - 2) ** 2) + jnp.sum((z["b"] + 1) ** 2)


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [
        (None, "float32"),
        (None, "float64"),
        (pg.NumericalInverse(), "float32"),
        (pg.LinearizedInverse(), "float64"),
    ],
    indirect=["dtype"],
)
def test_trees_go_in_and_come_out(rule, dtype):
    x0 = {
        "deep": (jnp.asarray([0.3, -0.2], dtype), jnp.asarray(0.5, dtype)),
        "flat": jnp.asarray([[1.0, 2.0]], dtype),
    }
    method = pg.PhysicalGradient(0.5, inverse=rule)
    run = pg.minimize(pg.Objective(TREE, tree_loss), method, x0, 30)
    assert run.result == "completed" and run.loss < 1e-8
    assert jax.tree.structure(run.x) == jax.tree.structure(x0)
    x, z = run.trajectory["x"], run.trajectory["z"]
    assert x["flat"].shape == (31, 1, 2) and x["deep"][1].shape == (31,)
    assert z["a"].shape == (31, 2) and run.trajectory.targets["b"].shape == (30, 1, 2)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((run.x, x, z)))


SCALAR = pg.Simulator(lambda x: x**3, pg.AnalyticInverse(lambda z: jnp.cbrt(z)))


@pytest.mark.parametrize(
    "method",
    [
        pg.PhysicalGradient(1.0),
        pg.PhysicalGradient(1.0, pg.NumericalInverse()),
        pg.GaussNewton(),
        pg.Newton(1.0),
        pg.LevenbergMarquardt(),
        pg.LBFGS(),
    ],
    ids=["pg", "pg-numerical", "gauss-newton", "newton", "lm", "lbfgs"],
)
def test_scalars_work_with_every_optimizer(method):
    check_cube(method, ())


@pytest.mark.parametrize("rule", [None, pg.NumericalInverse()])
def test_single_entries_work_like_scalars(rule):
    check_cube(pg.PhysicalGradient(1.0, rule), (1,))


def check_cube(method, shape):
    target = jnp.full(shape, 8.0)
    objective = pg.Objective(SCALAR, pg.SquaredLoss(target))
    run = pg.minimize(objective, method, jnp.full(shape, 2.5), 30)
    assert run.result == "completed", run.message
    assert run.x.shape == shape and run.trajectory["z"].shape == (31, *shape)
    np.testing.assert_allclose(run.x, 2.0, rtol=2e-3)


def test_a_formula_without_derivatives_has_those_of_the_implicit_function():
    """Also with respect to a coefficient of the simulator; one called back to NumPy."""

    def formula(z):
        like = jax.ShapeDtypeStruct(z.shape, z.dtype)
        return jax.pure_callback(np.cbrt, like, z, vmap_method="expand_dims")

    with jax.enable_x64(True):

        def end(implicit, target, x0):
            rule = pg.AnalyticInverse(formula, implicit=implicit)
            simulator = pg.Simulator(lambda x: x**3, rule)
            objective = pg.Objective(simulator, pg.SquaredLoss(target))
            return jnp.sum(pg.iterate(objective, pg.PhysicalGradient(0.4), x0, 3).x)

        at, h = (jnp.array([8.0]), jnp.array([1.0])), 1e-5
        got = jax.grad(lambda *at: end(True, *at), argnums=(0, 1))(*at)
        for place in range(2):
            ends = []
            for sign in (1, -1):
                moved = [a + sign * h * (i == place) for i, a in enumerate(at)]
                ends.append(end(True, *moved))
            assert np.allclose(got[place], (ends[0] - ends[1]) / (2 * h), rtol=1e-6)
        with pytest.raises(TypeError, match="implicit=True"):
            jax.grad(lambda x0: end(False, at[0], x0))(at[1])


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
@pytest.mark.parametrize(
    "rule",
    [pg.NumericalInverse(), pg.LinearizedInverse(0.0, relative=True)],
    ids=["numerical", "damped by zero"],
)
def test_a_function_may_close_over_what_is_differentiated(rule, dtype):
    def end(scale: Array) -> Array:
        back = pg.AnalyticInverse(lambda y: y / scale)
        linear = pg.Simulator(lambda x: scale * x, back)
        simulator = pg.Chain(linear, pg.Simulator(lambda y: jnp.sinh(scale * y), rule))
        objective = pg.Objective(simulator, pg.SquaredLoss(jnp.asarray([3.0], dtype)))
        method = pg.PhysicalGradient(0.5)
        return pg.iterate(objective, method, jnp.asarray([0.5], dtype), 1).x[0]

    two, h = jnp.asarray(2.0, dtype), 1e-5
    value_and_slope = jax.jit(jax.value_and_grad(end))
    ends = [value_and_slope(two + move)[0] for move in (h, -h)]
    assert relative(value_and_slope(two)[1], (ends[0] - ends[1]) / (2 * h)) < 1e-7
