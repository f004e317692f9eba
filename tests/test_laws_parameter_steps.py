"""Laws of the steps of a network's parameters: formulas, limits, normalization."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from families import eps, relative
from jax.flatten_util import ravel_pytree

import physgrad as pg
from physgrad.krylov import krylov_solution
from physgrad.spectral import Damped, Power, gram_solution
from physgrad.train import batch as batches

POWERS = (1.0, 0.5, 0.0, -1.0)
GAINS = {
    "half": (Power(-0.5), lambda s: s**-0.5),
    "inverse": (Power(-1.0), lambda s: 1 / s),
    "transposed": (Power(1.0), lambda s: s),
    "damped": (Damped(0.1), lambda s: s / (s**2 + 0.1)),
}


def network(params, inputs):
    """Two layers, three outputs."""
    return params["out"] @ jnp.tanh(params["in"] * inputs + params["shift"])


def physics(params, inputs):
    return {"a": jnp.sin(network(params, inputs)[:2]), "b": network(params, inputs)[2:]}


def params_of(hidden, dtype):
    keys = jax.random.split(jax.random.key(3), 3)
    shapes = {"in": (hidden,), "shift": (hidden,), "out": (3, hidden)}
    return {
        name: jax.random.normal(key, shape, dtype)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def samples(count, dtype):
    inputs = jnp.linspace(-1.0, 1.0, count, dtype=dtype)
    targets = {"a": jnp.stack([inputs**2, inputs], 1), "b": jnp.cos(inputs)[:, None]}
    return {"output": physics, "inputs": inputs, "targets": targets}


def dense(params, batch):
    """J and the residuals of a batch by plain JAX, in float64."""
    wide = jax.tree.map(lambda v: np.asarray(v, float), (params, batch["inputs"]))
    targets = np.stack(
        [
            jnp.concatenate([a, b])
            for a, b in zip(batch["targets"]["a"], batch["targets"]["b"], strict=True)
        ]
    )
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, wide[0]))

        def outputs(flat):
            def one(inputs):
                z = physics(unravel(flat), inputs)
                return jnp.concatenate([z["a"], z["b"]])

            return jnp.ravel(jax.vmap(one)(jnp.asarray(wide[1])))

        jacobian = np.asarray(jax.jacfwd(outputs)(flat))
        return jacobian, np.asarray(targets, float).ravel() - np.asarray(outputs(flat))


def powered(jacobian, vector, power, truncation):
    u, s, vt = np.linalg.svd(jacobian, full_matrices=False)
    kept = s > truncation * s[0]
    gains = np.where(kept, np.where(kept, s, 1.0) ** -power, 0.0)
    return vt.T @ (gains * (u.T @ vector))


def flat_update(step, params, batch):
    updates, state = jax.jit(
        lambda state, params: step.update(None, state, params, **batch)
    )(step.init(params), params)
    return ravel_pytree(updates)[0], state


@pytest.mark.parametrize("hidden", [2, 9])  # 12 rows: more than 10 parameters, or less
@pytest.mark.parametrize("power", POWERS)
def test_the_step_is_the_power_of_the_decomposition(power, hidden, dtype):
    params, batch = params_of(hidden, dtype), samples(4, dtype)
    jacobian, misfit = dense(params, batch)
    step = pg.train.spectral_step(power, 0.5, 1e-3)
    got, _ = flat_update(step, params, batch)
    expected = 0.5 * powered(jacobian, 2 * misfit / 4, power, 1e-3)
    assert relative(got, expected) <= 2e4 * eps(dtype)


def test_power_minus_one_is_gradient_descent(dtype):
    params, batch = params_of(4, dtype), samples(5, dtype)

    def mean_loss(params):
        z = jax.vmap(physics, (None, 0))(params, batch["inputs"])
        squares = jax.tree.map(
            lambda z, t: jnp.sum((z - t) ** 2) / 5, z, batch["targets"]
        )
        return squares["a"] + squares["b"]

    sgd = optax.sgd(0.1)
    expected, _ = sgd.update(jax.grad(mean_loss)(params), sgd.init(params))
    got, _ = flat_update(pg.train.spectral_step(-1.0, 0.1), params, batch)
    assert relative(got, ravel_pytree(expected)[0]) <= 256 * eps(dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_power_one_in_the_metric_of_the_loss_is_gauss_newton(reduction, dtype):
    """It fits the linear model: whatever the reduction, dtheta = J^+ (target - z)."""
    params, batch = params_of(9, dtype), samples(4, dtype)
    jacobian, misfit = dense(params, batch)
    step = pg.train.gauss_newton(truncation=1e-3, reduction=reduction)
    got, _ = flat_update(step, params, batch)
    expected = powered(jacobian, misfit, 1.0, 1e-3)
    assert relative(got, expected) <= 2e4 * eps(dtype)


def test_the_reduction_is_a_factor_of_the_half_inverse(dtype):
    params, batch = params_of(9, dtype), samples(4, dtype)
    mean, total = (
        flat_update(pg.train.half_inverse(truncation=1e-3, reduction=r), params, batch)
        for r in ("mean", "sum")
    )
    assert relative(total[0], 4 * mean[0]) <= 256 * eps(dtype)


def test_a_damped_step_is_its_formula_and_goes_down(dtype):
    params, batch = params_of(9, dtype), samples(4, dtype)
    jacobian, misfit = dense(params, batch)
    step = pg.train.levenberg_marquardt(0.1)
    got, state = flat_update(step, params, batch)
    a, b = (np.sqrt(2 / 4) * part for part in (jacobian, misfit))  # B = 2 / 4
    g = a.T @ b
    damping = 0.1 * np.sum((a @ g) ** 2) / np.sum(g**2)
    expected = np.linalg.solve(a.T @ a + damping * np.eye(len(g)), g)
    assert relative(got, expected) <= 2e4 * eps(dtype)
    assert state.rejected == 0 and 0 < state.ratio < 2


def test_damping_follows_the_gain_ratio_to_the_end(dtype):
    """A full batch: the loss never rises, and ends where its gradient vanishes."""
    params, batch = params_of(1, dtype), samples(8, dtype)
    step = pg.train.levenberg_marquardt()

    def loss(params):
        z = jax.vmap(physics, (None, 0))(params, batch["inputs"])
        squares = jax.tree.map(
            lambda z, t: jnp.sum((z - t) ** 2) / 8, z, batch["targets"]
        )
        return squares["a"] + squares["b"]

    def one(carry, _):
        params, state = carry
        updates, state = step.update(None, state, params, **batch)
        params = optax.apply_updates(params, updates)
        return (params, state), loss(params)

    (params, _), losses = jax.lax.scan(one, (params, step.init(params)), length=100)
    assert np.diff(losses).max() <= 4 * eps(dtype) * losses[0]
    assert losses[-1] < losses[0]
    slope = np.abs(ravel_pytree(jax.grad(loss)(params))[0]).max()
    assert slope <= (1e-6 if dtype == jnp.float64 else 2e-3)


@pytest.mark.parametrize("hidden", [2, 9])
@pytest.mark.parametrize("kind", ["spectral", "damped"])
def test_without_a_matrix_it_is_the_same_step(kind, hidden, dtype, monkeypatch):
    params, batch = params_of(hidden, dtype), samples(4, dtype)
    if kind == "spectral":
        step = pg.train.spectral_step(0.5, truncation=1e-3, krylov_steps=40)
    else:
        step = pg.train.levenberg_marquardt(0.1, krylov_steps=40)
    with_matrix, _ = flat_update(step, params, batch)
    monkeypatch.setattr(batches, "DENSE_BYTES", 0)
    without, _ = flat_update(step, params, batch)
    assert relative(without, with_matrix) <= 2e5 * eps(dtype)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (12, 12)])
@pytest.mark.parametrize("rank", [3, 6])
@pytest.mark.parametrize("name", GAINS)
def test_both_solvers_are_the_decomposition_for_any_rank(name, rank, shape, dtype):
    gain, formula = GAINS[name]
    draw = np.random.default_rng(5)
    left, right = draw.normal(size=(shape[0], rank)), draw.normal(size=(rank, shape[1]))
    matrix, vector = left @ right, draw.normal(size=shape[0])
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    expected = vt[:rank].T @ (formula(s[:rank]) * (u[:, :rank].T @ vector))
    a, b = jnp.asarray(matrix, dtype), jnp.asarray(vector, dtype)
    gram = gram_solution(a, b, gain, 1e-4)
    krylov = krylov_solution(a.dot, a.T.dot, b, gain, 1e-4, steps=2 * rank)
    for found in (gram, krylov):
        assert found.dtype == dtype
        assert relative(found, expected) <= 2e4 * eps(dtype)


def test_a_gram_matrix_in_float64_keeps_the_digits_of_float32():
    """Of a float32 J with singular values over five decades: better than its SVD."""
    draw = np.random.default_rng(0)
    u, v = (np.linalg.qr(draw.normal(size=(n, 24)))[0] for n in (24, 200))
    matrix = jnp.asarray(u @ np.diag(np.logspace(0, -5, 24)) @ v.T, jnp.float32)
    vector = jnp.asarray(draw.normal(size=24), jnp.float32)
    exact = powered(np.asarray(matrix, float), np.asarray(vector, float), 0.5, 1e-9)
    with jax.enable_x64(True):
        by_gram = relative(gram_solution(matrix, vector, Power(-0.5), 1e-9), exact)
    with jax.enable_x64(False):
        by_svd = relative(gram_solution(matrix, vector, Power(-0.5), 1e-9), exact)
    assert by_gram <= 1e-6 and by_gram <= by_svd


def test_a_batch_with_nan_is_no_step_and_is_counted(dtype):
    params, batch = params_of(4, dtype), samples(4, dtype)
    batch["inputs"] = batch["inputs"].at[1].set(jnp.nan)
    step = pg.train.half_inverse()
    got, state = flat_update(step, params, batch)
    assert not np.any(got) and state.skipped == 1
    got, damped = flat_update(pg.train.levenberg_marquardt(0.1), params, batch)
    assert not np.any(got) and (damped.skipped, damped.rejected) == (1, 0)
    assert damped.damping == np.asarray(0.1, dtype)  # nothing is learned from it


def test_losses_and_masks_of_each_sample_count(dtype):
    params, batch = params_of(9, dtype), samples(4, dtype)
    targets = batch["targets"]
    zero_b = jax.tree.map(jnp.ones_like, targets) | {"b": jnp.zeros_like(targets["b"])}
    masked = batch | {"targets": pg.SquaredLoss(targets, zero_b)}

    def only_a(z, target):
        return jnp.sum((z["a"] - target["a"]) ** 2)

    by_mask, _ = flat_update(pg.train.half_inverse(truncation=1e-3), params, masked)
    by_loss, _ = flat_update(
        pg.train.half_inverse(truncation=1e-3, loss=only_a), params, batch
    )
    assert relative(by_mask, by_loss) <= 2e3 * eps(dtype)


def test_wrong_use_is_named():
    params, batch = params_of(4, jnp.float32), samples(4, jnp.float32)
    step = pg.train.half_inverse()
    state = step.init(params)
    short = {"a": batch["targets"]["a"][:3], "b": batch["targets"]["b"]}
    empty = samples(4, jnp.float32)
    empty |= {"inputs": jnp.zeros(0), "targets": jnp.zeros((0, 3))}
    refused = [
        (ValueError, "reduction", lambda: pg.train.half_inverse(reduction="max")),
        (ValueError, "truncation", lambda: pg.train.half_inverse(truncation=2.0)),
        (TypeError, "power", lambda: pg.train.spectral_step("half")),
        (ValueError, "damping", lambda: pg.train.levenberg_marquardt(0.0)),
        (TypeError, "loss", lambda: pg.train.gauss_newton(loss=3)),
        (ValueError, "krylov", lambda: pg.train.half_inverse(krylov_steps=0)),
        (ValueError, "no params, output, inputs", lambda: step.update(None, state)),
        (
            ValueError,
            "same number of samples",
            lambda: step.update(None, state, params, **batch | {"targets": short}),
        ),
        (
            ValueError,
            "at least one sample",
            lambda: step.update(None, state, params, **empty),
        ),
        (
            TypeError,
            "float32 or float64 array, got int32",
            lambda: step.init({"a": jnp.ones(1), "b": jnp.ones(1, int)}),
        ),
    ]
    for kind, words, call in refused:
        with pytest.raises(kind, match=words):
            call()


@pytest.mark.parametrize("step", [pg.train.gauss_newton, pg.train.levenberg_marquardt])
def test_without_a_newton_step_in_z_a_batch_is_skipped_and_counted(step):
    """The Hessian of a softmax is singular; damped there is a step."""

    def entropy(z, target):
        return jax.nn.logsumexp(z) - z @ target

    params = jnp.array([0.3, -0.2, 0.1])
    batch = {
        "output": lambda p, x: p * x,
        "inputs": jnp.array([1.0, 2.0]),
        "targets": jnp.eye(3)[:2],
    }
    made = step(loss=entropy)
    updates, state = made.update(None, made.init(params), params, **batch)
    assert (updates == 0).all() and state.skipped == 1
    made = step(loss=entropy, metric=pg.NewtonMetric(damping=0.1))
    updates, state = made.update(None, made.init(params), params, **batch)
    assert (updates != 0).any() and state.skipped == 0
