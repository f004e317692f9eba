"""Laws of the loss for networks: true value, physical gradient, or a refusal."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import OF_SHAPE, eps, relative

import physgrad as pg

RULES = ("exact", "numerical", "linearized", "half", "transposed", "regularized")
X, TARGET = np.array([0.5, -1.0]), np.array([2.0, 0.3])


def exponential(inverse=None):
    return pg.Simulator(jnp.exp, inverse or pg.AnalyticInverse(lambda z: jnp.log(z)))


def points(dtype):
    return jnp.asarray(X, dtype), jnp.asarray(TARGET, dtype)


@pytest.mark.parametrize("shape", OF_SHAPE)
@pytest.mark.parametrize("rule", RULES)
def test_the_gradient_leads_to_the_point_that_a_physical_step_reaches(
    rule, shape, dtype
):
    """x - x+ by `iterate`, another way through the library, for every rule."""
    family = OF_SHAPE[shape]
    for member in family.maps:
        inverse = family.rule(rule, member)
        x, goal = (jnp.asarray(p, dtype) for p in member.points[:2])
        simulator = pg.Simulator(family.pick(member), inverse)
        target = simulator(goal)
        objective = pg.Objective(simulator, pg.SquaredLoss(target))
        reached = pg.iterate(objective, pg.PhysicalGradient(0.5), x, 1).x
        loss = pg.physical_loss(simulator, step_size=0.5)
        value, gradient = jax.value_and_grad(loss)(x, target)
        assert value == pytest.approx(float(objective(x)), rel=64 * eps(dtype))
        assert np.abs(gradient - (x - reached)).max() <= 256 * eps(dtype)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_the_metric_is_a_dial_from_x_to_z(weight, dtype):
    """W = (1 - w) I + w J^T B J, with B = 2 of the sum of squares."""
    x, target = points(dtype)
    gradient = jax.grad(pg.physical_loss(exponential(), metric=weight))(x, target)
    jacobian = np.diag(np.exp(X))
    w = (1 - weight) * np.eye(2) + weight * 2 * jacobian.T @ jacobian
    expected = w @ (X - np.log(TARGET))
    assert relative(gradient, expected) <= 64 * eps(dtype)


def test_the_metric_z_is_the_plain_gradient_as_the_step_shrinks():
    with jax.enable_x64(True):
        x, target = points(jnp.float64)
        small = pg.physical_loss(exponential(), step_size=1e-7, metric="z")
        plain = jax.grad(lambda x: jnp.sum((jnp.exp(x) - target) ** 2))(x)
        assert relative(jax.grad(small)(x, target) / 1e-7, plain) <= 1e-6


def test_a_metric_of_ones_own_is_a_matrix_or_its_products(dtype):
    x, target = points(dtype)
    w = np.array([[2.0, 0.5], [0.5, 1.0]])
    expected = w @ (X - np.log(TARGET))
    matrix = jnp.asarray(w, dtype)
    for metric in (matrix, lambda dx, x: matrix @ dx):
        loss = pg.physical_loss(exponential(), metric=metric)
        assert relative(jax.grad(loss)(x, target), expected) <= 64 * eps(dtype)


def test_the_direction_does_not_change_with_the_scale_of_the_loss(dtype):
    x, target = points(dtype)

    def direction(scale):
        def loss(z, target):
            return scale * jnp.sum((z - target) ** 2)

        return jax.grad(pg.physical_loss(exponential(), loss))(x, target)

    assert relative(direction(1.0), direction(1024.0)) <= 64 * eps(dtype)


def test_the_direction_does_not_change_with_affine_units_of_z(dtype):
    x, target = points(dtype)
    mix = jnp.array([[3.0, 1.0], [0.0, 0.5]], dtype)

    def units(z):
        return mix @ z + 1.0

    inverse = pg.AnalyticInverse(lambda z: jnp.log(jnp.linalg.solve(mix, z - 1.0)))
    mixed = pg.Simulator(lambda x: units(jnp.exp(x)), inverse)

    def loss(z, target):  # the same loss in the other units
        return jnp.sum(jnp.linalg.solve(mix, z - target) ** 2)

    one = jax.grad(pg.physical_loss(exponential()))(x, target)
    other = jax.grad(pg.physical_loss(mixed, loss))(x, units(target))
    assert relative(other, one) <= 512 * eps(dtype)


def batch(dtype):
    xs = jnp.asarray(X, dtype) + jnp.linspace(-0.5, 0.5, 6, dtype=dtype)[:, None]
    return xs, jnp.broadcast_to(jnp.asarray(TARGET, dtype), xs.shape)


@pytest.mark.parametrize("make", ["loss", "drop-in"])
def test_all_ways_through_jax_give_the_same(make, dtype):
    """jit, vmap, scan, checkpoint and the sum of parts, against one by one."""
    if make == "loss":
        loss = pg.physical_loss(exponential())
    else:
        through = pg.with_physical_gradient(exponential(), cotangent_scale=0.5)

        def loss(x, target):
            return jnp.sum((through(x) - target) ** 2)

    xs, targets = batch(dtype)

    def by_vmap(xs):
        return jnp.sum(jax.vmap(loss)(xs, targets))

    def by_scan(xs):
        def add(total, sample):
            return total + loss(*sample), None

        return jax.lax.scan(add, jnp.zeros((), dtype), (xs, targets))[0]

    one_by_one = np.stack(
        [jax.grad(loss)(x, t) for x, t in zip(xs, targets, strict=True)]
    )
    ways = {
        "vmap": jax.grad(by_vmap),
        "jit": jax.jit(jax.grad(by_vmap)),
        "scan": jax.jit(jax.grad(by_scan)),
        "checkpoint": jax.grad(jax.checkpoint(by_vmap)),
        "vmapped gradients": lambda xs: jax.vmap(jax.grad(loss))(xs, targets),
    }
    for name, way in ways.items():
        assert relative(way(xs), one_by_one) <= 64 * eps(dtype), name


@pytest.mark.parametrize("make", ["loss", "drop-in"])
def test_derivatives_that_would_be_wrong_are_refused(make, dtype):
    x, target = points(dtype)
    if make == "loss":
        loss = pg.physical_loss(exponential())
    else:
        through = pg.with_physical_gradient(exponential())

        def loss(x, target):
            return jnp.sum((through(x) - target) ** 2)

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: loss(x, target), (x,), (x,))
    refused = {
        "Hessian": lambda: jax.hessian(loss)(x, target),
        "rows": lambda: jax.jacrev(jax.grad(loss))(x, target),
        "one number": lambda: jax.grad(lambda x: jax.grad(loss)(x, target)[0])(x),
    }
    for name, derivative in refused.items():
        with pytest.raises((NotImplementedError, TypeError)):
            derivative()
            pytest.fail(name)


class Scaled(eqx.Module):
    """exp(a x), and its inverse, with a parameter that both have."""

    a: jax.Array

    def __call__(self, x):
        return jnp.exp(self.a * x)

    def back(self, z):
        return jnp.log(z) / self.a

    def simulator(self):
        return pg.Simulator(self, pg.AnalyticInverse(self.back))


def test_targets_and_parameters_of_the_simulator_have_the_plain_derivatives(dtype):
    x, target = points(dtype)
    a = jnp.asarray(1.5, dtype)

    def plain(a, target):
        return jnp.sum((jnp.exp(a * x) - target) ** 2)

    def physical(a, target):
        return pg.physical_loss(Scaled(a).simulator())(x, target)

    def through(a, target):
        z = pg.with_physical_gradient(Scaled(a).simulator())(x)
        return jnp.sum((z - target) ** 2)

    def closed_over(a, target):
        return pg.physical_loss(lambda x: jnp.exp(a * x))(x, target)

    expected = jax.grad(plain, argnums=(0, 1))(a, target)
    for function in (physical, through, closed_over):
        found = jax.grad(function, argnums=(0, 1))(a, target)
        for got, wanted in zip(found, expected, strict=True):
            assert relative(got, wanted) <= 64 * eps(dtype)


def test_each_sample_may_have_its_own_simulator(dtype):
    xs, targets = batch(dtype)
    scales = jnp.linspace(0.5, 2.0, len(xs), dtype=dtype)

    def loss(a, x, target):
        return pg.physical_loss(Scaled(a).simulator())(x, target)

    found = jax.vmap(jax.grad(loss, argnums=1))(scales, xs, targets)
    expected = xs - np.log(targets) / scales[:, None]
    assert relative(found, expected) <= 64 * eps(dtype)


def test_masked_entries_do_not_pull(dtype):
    x, target = points(dtype)
    masked = pg.SquaredLoss(target, jnp.array([1.0, 0.0], dtype))
    value, gradient = jax.value_and_grad(pg.physical_loss(exponential()))(x, masked)
    assert value == pytest.approx(float((jnp.exp(x) - target)[0] ** 2), rel=1e-5)
    expected = [X[0] - np.log(TARGET[0]), 0.0]
    assert np.abs(gradient - np.array(expected)).max() <= 16 * eps(dtype)


def test_a_sample_whose_inverse_fails_has_no_weight_and_is_told(dtype):
    xs, targets = batch(dtype)
    targets = targets.at[2].set(-1.0)  # exp(x) is never negative
    loss = pg.physical_loss(exponential())
    gradients = jax.vmap(jax.grad(loss))(xs, targets)
    pulled = jax.vmap(loss.pull_back)(xs, targets)
    assert pulled.ok.tolist() == [True, True, False, True, True, True]
    assert pg.Result.inverse_failed.code == pulled.result[2]
    assert not gradients[2].any() and np.isfinite(gradients).all()
    assert (pulled.x[2] == xs[2]).all()
    alone = jax.grad(loss)(xs[3], targets[3])
    assert relative(gradients[3], alone) <= 16 * eps(dtype)


def test_the_drop_in_is_the_loss_but_for_a_factor(dtype):
    """Of the mean over n of |z - target|^2, s = n / 2: twice the gradient."""
    xs, targets = batch(dtype)
    n = len(xs)
    through = pg.with_physical_gradient(exponential(), cotangent_scale=n / 2)
    loss = pg.physical_loss(exponential())

    def by_drop_in(xs):
        return jnp.mean(jnp.sum((jax.vmap(through)(xs) - targets) ** 2, axis=-1))

    def by_loss(xs):
        return jnp.mean(jax.vmap(loss)(xs, targets))

    assert by_drop_in(xs) == pytest.approx(float(by_loss(xs)), rel=16 * eps(dtype))
    found = relative(jax.grad(by_drop_in)(xs), 2 * jax.grad(by_loss)(xs))
    assert found <= 256 * eps(dtype)


def test_a_controller_in_each_step_of_a_rollout_is_trained_to_the_end(dtype):
    """One step of a line, a' = a + u: each control goes its part of the way."""
    step = pg.Simulator(lambda x: x["a"] + x["u"], pg.LinearizedInverse())
    physical = pg.with_physical_gradient(step, cotangent_scale=0.5)

    def loss(controls):
        def advance(a, u):
            return physical({"a": a, "u": u}), None

        a, _ = jax.lax.scan(advance, jnp.zeros(1, dtype), controls)
        return jnp.sum((a - 8.0) ** 2)

    gradients = jax.jit(jax.grad(loss))(jnp.zeros((3, 1), dtype))
    # the shortest way moves a and u alike, at each step back by half of what is left
    assert np.abs(gradients[:, 0] / 2 - np.array([-1, -2, -4])).max() <= 1e-5


def test_physics_between_two_networks(dtype):
    """The one behind it has the plain gradient, the one before it the physical one."""
    through = pg.with_physical_gradient(
        exponential(), step_size=0.1, cotangent_scale=0.5
    )
    x, target = points(dtype)

    def loss(before, behind):
        return jnp.sum((behind * through(before * x) - target) ** 2)

    before, behind = jnp.asarray([1.2, 0.7], dtype), jnp.asarray([2.0, 3.0], dtype)
    found = jax.grad(loss, argnums=(0, 1))(before, behind)
    z = np.exp(np.array([1.2, 0.7]) * X)
    misfit = np.array([2.0, 3.0]) * z - TARGET
    assert relative(found[1], 2 * misfit * z) <= 64 * eps(dtype)
    reached = np.log(z - 0.1 * misfit * np.array([2.0, 3.0]))
    expected = 2 * (np.array([1.2, 0.7]) * X - reached) * X
    assert relative(found[0], expected) <= 256 * eps(dtype)


def test_wrong_use_is_named():
    x, target = points(jnp.float32)
    loss = pg.physical_loss(exponential())
    refused = [
        (ValueError, r"\(2,\) vs target \(3,\)", lambda: loss(x, jnp.ones(3))),
        (TypeError, "float32 or float64", lambda: loss(jnp.array([1, 2]), target)),
        (TypeError, "function L", lambda: pg.physical_loss(jnp.exp, loss=3)),
        (TypeError, "inverse must", lambda: pg.physical_loss(jnp.exp, inverse=jnp.log)),
        (ValueError, "step_size", lambda: pg.physical_loss(jnp.exp, step_size=0.0)),
        (ValueError, "metric", lambda: pg.physical_loss(jnp.exp, metric="y")),
        (ValueError, "from 0 to 1", lambda: pg.physical_loss(jnp.exp, metric=1.5)),
        (ValueError, "square", lambda: pg.physical_loss(jnp.exp, metric=jnp.ones(2))),
        (
            ValueError,
            "symmetric",
            lambda: pg.physical_loss(jnp.exp, metric=jnp.array([[1.0, 2.0], [0, 1]])),
        ),
        (
            ValueError,
            "must have 2 rows like x, got 3",
            lambda: jax.grad(pg.physical_loss(jnp.exp, metric=jnp.eye(3)))(x, target),
        ),
        (
            ValueError,
            "2 entries like x",
            lambda: jax.grad(pg.physical_loss(jnp.exp, metric=lambda d, x: d[:1]))(
                x, target
            ),
        ),
        (
            ValueError,
            "cotangent_scale",
            lambda: pg.with_physical_gradient(jnp.exp, cotangent_scale=-1.0),
        ),
    ]
    for kind, words, call in refused:
        with pytest.raises(kind, match=words):
            call()


def test_a_loss_without_a_newton_step_has_one_in_another_metric():
    """A softmax: none with its Hessian, as `pull_back` tells; damped there is one."""

    def entropy(z, target):
        return jax.nn.logsumexp(z) - z @ target

    simulator = pg.Simulator(lambda x: 2 * x, pg.AnalyticInverse(lambda z: z / 2))
    x, target = jnp.array([0.3, -0.2, 0.1]), jnp.array([1.0, 0.0, 0.0])
    without = pg.physical_loss(simulator, entropy)
    assert (jax.grad(without)(x, target) == 0).all()
    assert not without.pull_back(x, target).ok
    damped = pg.NewtonMetric(damping=0.1)
    loss = pg.physical_loss(simulator, entropy, z_metric=damped)
    assert loss.pull_back(x, target).ok
    slope = jax.grad(loss)(x, target)
    assert slope @ jax.grad(lambda x: entropy(2 * x, target))(x) > 0
