"""What does not fit a training loop: named with got and expected, or right results."""

from __future__ import annotations

import dataclasses
import functools
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from families import eps, relative

import physgrad as pg
from physgrad.train.experiments import MAKERS
from physgrad.train.methods import FirstOrder, Plain
from physgrad.train.networks import mlp
from physgrad.train.training import Training

MATRIX = np.array([[1.0, 2.0], [0.0, 1.0]])


def exponential():
    return pg.Simulator(jnp.exp, pg.AnalyticInverse(lambda z: jnp.log(z)))


def in_numpy():
    """Constants in float64, whatever x is."""
    return pg.Simulator(lambda x: MATRIX @ x, pg.LinearizedInverse())


def widened():
    """One entry of x is spread over two of z, and so is its inverse."""
    scale = jnp.ones(2)
    return pg.Simulator(lambda x: scale * x, pg.AnalyticInverse(lambda z: z / scale))


def mean_loss(simulator, reduction=jnp.mean):
    loss = pg.physical_loss(simulator)

    def value(weights, inputs, targets):
        return reduction(jax.vmap(loss)(inputs @ weights, targets))

    return jax.jit(jax.value_and_grad(value))


@pytest.mark.parametrize("reduction", [jnp.sum, jnp.mean])
def test_a_batch_of_one_sample_is_that_sample(reduction, dtype):
    weights, inputs = jnp.ones((3, 2), dtype), jnp.ones((1, 3), dtype)
    target = jnp.full((1, 2), 2.0, dtype)
    value, gradient = mean_loss(exponential(), reduction)(weights, inputs, target)
    assert relative(value, 2 * (np.exp(3.0) - 2) ** 2) <= 64 * eps(dtype)
    assert relative(gradient, np.full((3, 2), 3 - np.log(2))) <= 64 * eps(dtype)


def test_a_batch_of_no_sample_pulls_nowhere(dtype):
    """Its sum is zero; its mean is no number, as that of no numbers is in JAX."""
    weights, nothing = jnp.ones((3, 2), dtype), jnp.zeros((0, 3), dtype)
    for reduction, expected in ((jnp.sum, 0.0), (jnp.mean, np.nan)):
        way = mean_loss(exponential(), reduction)
        value, gradient = way(weights, nothing, nothing[:, :2])
        np.testing.assert_equal(float(value), expected)
        assert not gradient.any()


RULES = {
    "analytic": pg.AnalyticInverse(jnp.arctanh),
    "numerical": pg.NumericalInverse(),
    "linearized": pg.LinearizedInverse(),
    "half": pg.SpectralInverse(power=0.5),
    "default": None,
}


BAD = [3.0, np.nan, np.inf, -1e30]


@pytest.mark.parametrize("make", ["loss", "drop-in"])
@pytest.mark.parametrize("rule", RULES)
def test_a_sample_out_of_range_does_not_spoil_its_batch(rule, make, dtype):
    """tanh is never above 1; the other samples are as without it."""
    simulator = pg.Simulator(jnp.tanh, RULES[rule])
    loss = pg.physical_loss(simulator)
    through = pg.with_physical_gradient(simulator, cotangent_scale=0.5)

    def by_drop_in(x, target):
        return jnp.sum((through(x) - target) ** 2)

    weights = jnp.asarray([[0.1, -0.2], [0.3, 0.2]], dtype)
    inputs = jnp.asarray(np.linspace(-1, 1, 12).reshape(6, 2), dtype)
    good = jnp.asarray(np.linspace(-0.5, 0.4, 12).reshape(6, 2), dtype)
    bad = good.at[1:5, 0].set(jnp.asarray(BAD, dtype))

    @jax.jit
    def gradients(targets):
        of_x = jax.vmap(jax.grad(loss if make == "loss" else by_drop_in))
        each = of_x(inputs @ weights, targets)
        ok = None
        if make == "loss":
            ok = jax.vmap(loss.pull_back)(inputs @ weights, targets).ok
        return each, inputs.T @ each, ok

    each, total, ok = gradients(bad)
    assert np.isfinite(each).all() and np.isfinite(total).all()
    expected, _, _ = gradients(good)
    assert relative(each[::5], expected[::5]) <= 64 * eps(dtype)
    if ok is not None:  # weight zero, and counted
        assert ok[0] and ok[5] and not ok[2] and not each[~ok].any()


def test_a_sample_of_nan_has_a_value_that_says_so():
    """As the simulator's own answer, while its batch trains on."""
    weights = jnp.ones((2, 2))
    targets = jnp.array([[1.0, jnp.nan], [1.0, 1.0]])
    value, gradient = mean_loss(exponential())(weights, jnp.ones((2, 2)), targets)
    assert np.isnan(value) and np.isfinite(gradient).all()
    with pytest.raises(ValueError, match=r"finite, got nan at target\[1\]"):
        pg.physical_loss(exponential())(jnp.ones(2), targets[0])


def grad(simulator, x, target):
    return jax.grad(pg.physical_loss(simulator))(x, target)


def one(dtype, size=2):
    return jnp.ones(size, dtype)


MISFITS = {
    "x too short": (
        lambda: grad(pg.simulators.affine_map(MATRIX), one("float32", 1), one(None)),
        (ValueError, r"x must have the shape \(2,\), got \(1,\)"),
    ),
    "a batch for a sample": (
        lambda: grad(pg.simulators.affine_map(MATRIX), jnp.ones((4, 2)), one(None)),
        (ValueError, r"x must have the shape \(2,\), got \(4, 2\)"),
    ),
    "an x that is spread": (
        lambda: grad(widened(), one(None, 1), one(None)),
        (TypeError, r"return x as .* of shape \(1,\), got .* of shape \(2,\)"),
    ),
    "a target too long": (
        lambda: grad(exponential(), one(None), one(None, 3)),
        (ValueError, r"output \(2,\) vs target \(3,\)"),
    ),
    "a target of another structure": (
        lambda: grad(exponential(), one(None), {"a": one(None)}),
        (ValueError, "but the target has"),
    ),
    "targets of another number": (
        lambda: mean_loss(exponential())(
            jnp.ones((2, 2)), jnp.ones((4, 2)), jnp.ones((3, 2))
        ),
        (ValueError, "size 4.*size 3|inconsistent sizes"),
    ),
    "half precision": (
        lambda: grad(exponential(), one(jnp.bfloat16), one(None)),
        (TypeError, "float32 or float64 array, got bfloat16"),
    ),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_network_that_does_not_fit_its_physics_is_named(what):
    call, (kind, words) = MISFITS[what]
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize("make", ["loss", "drop-in"])
def test_a_float32_network_before_float64_physics(make):
    """With x64 off all is float32; with x64 on it is refused, with the way out."""
    simulator = in_numpy()

    def gradient():
        x, target = one(jnp.float32), jnp.asarray(MATRIX @ [3.0, 4.0], jnp.float32)
        if make == "loss":
            return grad(simulator, x, target)
        through = pg.with_physical_gradient(simulator, cotangent_scale=0.5)
        return jax.grad(lambda x: jnp.sum((through(x) - target) ** 2))(x) / 2

    with jax.enable_x64(False):
        assert gradient() == pytest.approx([-2.0, -3.0], rel=1e-5)
    with (
        jax.enable_x64(True),
        pytest.raises(TypeError, match="keep the dtype of x, float32, got float64"),
    ):
        gradient()


def test_targets_of_another_precision():
    wide = np.array([2.0, 2.0])
    with jax.enable_x64(True):
        with pytest.raises(TypeError, match="dtype of z, float32, got float64; cast"):
            grad(exponential(), one(jnp.float32), wide)
        found = grad(exponential(), one(jnp.float64), wide.astype(np.float32))
        assert found.dtype == jnp.float64
    with jax.enable_x64(False):
        found = grad(exponential(), one(jnp.float32), wide)
    assert found == pytest.approx(1 - np.log(2), rel=1e-6)


STEPS = {
    "half": pg.train.half_inverse,
    "gauss-newton": pg.train.gauss_newton,
    "damped": pg.train.levenberg_marquardt,
}


def linear(weights, inputs):
    return weights @ inputs


def updated(name, output=linear, weights="float32", inputs="float32", targets=None):
    """A step from dtypes, or from arrays."""
    given = [
        jnp.ones(shape, value) if isinstance(value, str) else value
        for value, shape in ((weights, (2, 2)), (inputs, (1, 2)))
    ]
    goal = 3 * jnp.ones((1, 2), targets or "float32")
    step, (weights, inputs) = STEPS[name](), given
    batch = {"output": output, "inputs": inputs, "targets": goal}
    return step.update(None, step.init(weights), weights, **batch)


NARROW = {
    # what is float64 while the parameters are float32, and what is said of it
    "inputs": ({"inputs": "float64"}, "output must have the dtype of params, float32"),
    "physics": (
        {"output": lambda w, x: jnp.asarray(MATRIX) @ (w @ x)},
        "output must have the dtype of params, float32, got float64; cast the inputs",
    ),
    "targets": ({"targets": "float64"}, "loss must have the dtype of the output"),
}


@pytest.mark.parametrize("what", NARROW)
@pytest.mark.parametrize("name", STEPS)
def test_steps_of_parameters_keep_their_precision(name, what):
    """With x64 on the mixture is refused, with x64 off all is float32."""
    change, words = NARROW[what]
    with jax.enable_x64(True), pytest.raises(TypeError, match=words):
        updated(name, **change)
    with jax.enable_x64(False), warnings.catch_warnings(action="ignore"):
        updates, _ = updated(name, **change)
        assert updates.dtype == jnp.float32 and np.isfinite(updates).all()


@pytest.mark.parametrize("name", STEPS)
def test_wide_parameters_may_see_narrow_and_whole_numbers(name):
    with jax.enable_x64(True):
        expected, _ = updated(name, weights="float64", inputs="float64")
        for kind in ("float32", "int64"):
            got, _ = updated(name, weights="float64", inputs=kind, targets=kind)
            assert got.dtype == jnp.float64
            assert relative(got, expected) <= 1e-12


@pytest.mark.parametrize("name", STEPS)
def test_float32_networks_go_the_same_way_with_x64_on(name):
    """Of three samples, whose weights 1/3 no precision has."""
    found = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            inputs = jnp.asarray([[1.0, 0.5], [0.2, 2.0], [-1.0, 1.0]], jnp.float32)
            weights = jnp.ones((2, 2), jnp.float32)
            step, batch = STEPS[name](), {"inputs": inputs, "targets": -inputs}
            begin = step.init(weights)
            updates, state = step.update(None, begin, weights, output=linear, **batch)
            assert updates.dtype == jnp.float32
            assert [v.dtype for v in state] == [v.dtype for v in begin]  # for a scan
            found.append(updates)
    assert relative(*found) <= 1e-5


OUTPUTS = {
    "text": (lambda w, x: "z", TypeError, "output must be .* array, got str"),
    "whole numbers": (
        lambda w, x: jnp.ones(2, jnp.int32),
        TypeError,
        "the output must be a float32 or float64 array, got int32",
    ),
    "nothing": (lambda w, x: None, ValueError, "output has no entries"),
    "no function": (3, TypeError, "output must be a function .* got 3"),
    "too long": (
        lambda w, x: jnp.concatenate([w @ x, w @ x]),
        ValueError,
        r"output \(4,\) vs target \(2,\)",
    ),
    "another structure": (
        lambda w, x: {"a": w @ x},
        ValueError,
        "output has the structure",
    ),
}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("name", STEPS)
def test_outputs_of_another_kind_are_named(name, kind):
    output, error, words = OUTPUTS[kind]
    with pytest.raises(error, match=words):
        updated(name, output)


def test_a_network_that_does_not_fit_its_simulator_is_named_before_it_trains():
    oscillators = MAKERS["linear-oscillators"](16)
    short = dataclasses.replace(
        oscillators, network=functools.partial(mlp, (4, 5, 23), jnp.tanh)
    )
    with pytest.raises(ValueError, match=r"must have the shape \(24,\), got \(23,\)"):
        Training(short, FirstOrder(Plain(), optax.sgd(0.5)), 8, 0)


@pytest.mark.parametrize("name", STEPS)
def test_a_function_of_the_whole_batch_is_told_that_it_sees_one_sample(name):
    weights, inputs = jnp.ones((2, 2)), jnp.ones((3, 2))

    def of_the_batch(weights, inputs):
        return jnp.einsum("bi,oi->bo", inputs, weights)

    step = STEPS[name]()
    with pytest.raises(ValueError) as failure:
        step.update(
            None,
            step.init(weights),
            weights,
            output=of_the_batch,
            inputs=inputs,
            targets=inputs,
        )
    assert "is called with one sample, whose inputs have the shape (2,)" in str(
        failure.value.__notes__
    )


def test_what_is_no_parameter_is_told_how_to_be_left_out():
    network = eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"got .*; equinox\.partition"):
        pg.train.levenberg_marquardt().init(network)


def test_an_objective_is_no_simulator():
    objective = pg.Objective(jnp.exp, lambda z: jnp.sum(z**2))
    with pytest.raises(TypeError, match="got an Objective: give its simulator"):
        pg.physical_loss(objective)
