"""Laws of the inverse of diagonal simulators: exact, as its noise allows, and named."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ready_simulators import smooth

import physgrad as pg
from physgrad.basis import BOUNDARIES, Basis
from physgrad.simulators.poisson_equation import ScreenedLaplacian

FULL = pg.PhysicalGradient(1.0)


@eqx.filter_jit
def pulled(simulator, target, x0, steps):
    objective = pg.Objective(simulator, pg.SquaredLoss(target))
    return pg.iterate(objective, FULL, x0, steps)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", [(5,), (6,), (4, 5), (3, 4, 5)])
def test_a_basis_is_orthonormal_and_the_laplacian_diagonal_in_it(
    shape, boundary, dtype
):
    basis = Basis(shape, tuple(1.0 + i for i in range(len(shape))), boundary)
    rng = np.random.default_rng(0)
    field = jnp.asarray(rng.standard_normal(shape), dtype)
    waves = basis.to(field)
    assert waves.shape == basis.spectral_shape == basis.squares.shape
    tiny = 64 * np.finfo(dtype).eps
    back = basis.back(waves)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, field, atol=tiny)
    power = np.sum(basis.multiplicity * np.abs(np.asarray(waves)) ** 2)
    np.testing.assert_allclose(power, np.sum(np.square(field)), rtol=tiny)
    assert np.sum(basis.multiplicity * np.ones(basis.spectral_shape)) == field.size
    laplacian = ScreenedLaplacian(basis, 0.0)
    times = laplacian.eigenvalues() * np.asarray(waves)
    size = np.max(np.abs(times))
    np.testing.assert_allclose(basis.to(laplacian(field)), times, atol=tiny * size)


@pytest.mark.parametrize("seed", range(3))
def test_known_noise_is_filtered_as_the_dense_rule_does(seed):
    """The same risk, the same penalty: nearly the same weight, the same x."""
    with jax.enable_x64(True):
        heat = pg.simulators.diffusion((24,), 2e-3, noise=1e-2)
        x = jnp.asarray(smooth(seed, 24, waves=3))
        noise = 1e-2 * np.random.default_rng(seed).standard_normal(24)
        target = heat(x) + noise
        ends = pulled(heat, target, jnp.zeros(24), 1)
        wrapped = np.zeros((24, 24))  # differences around the circle
        for i in range(24):
            wrapped[i, i], wrapped[i, i - 1] = 24, -24
        dense = pg.Simulator(
            heat.forward, pg.RegularizedInverse(1e-2, operator=wrapped)
        )
        theirs = pulled(dense, target, jnp.zeros(24), 1)
        size = np.linalg.norm(x)
        errors = [np.linalg.norm(e.x - x) / size for e in (ends, theirs)]
        assert errors[0] < 1.3 * errors[1] + 0.01
        assert errors[0] < 0.2
        assert pg.Result.from_code(int(ends.result)) is pg.Result.completed
        again = pulled(heat, target, jnp.zeros(24), 4)
        np.testing.assert_allclose(again.x, ends.x)  # noise is not fitted, step by step


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-2])
def test_no_weight_that_looks_at_the_truth_is_much_better(noise):
    """Lost waves and all: 32 x 32 cells, within a tenth of the best Tikhonov."""
    with jax.enable_x64(True):
        n, ratios = 32, []
        for seed in range(5):
            heat = pg.simulators.diffusion((n, n), 4.0, lengths=float(n), noise=noise)
            rng = np.random.default_rng(seed)
            x = np.cumsum(rng.standard_normal((n, n)), axis=0) / n  # rough
            target = np.asarray(heat(jnp.asarray(x)))
            target = target + noise * rng.standard_normal((n, n))
            ends = pulled(heat, jnp.asarray(target), jnp.zeros((n, n)), 1)
            assert np.all(np.isfinite(ends.x))
            rule = heat.inverse
            assert isinstance(rule, pg.DiagonalInverse)
            gains, waves = np.asarray(rule.gains), np.fft.rfftn(target, norm="ortho")
            best = np.inf
            for weight in np.logspace(-36, 2, 200):
                filtered = gains / (gains**2 + weight * rule.basis.squares) * waves
                guess = np.fft.irfft2(filtered, s=(n, n), norm="ortho")
                best = min(best, np.linalg.norm(guess - x))
            ratios.append(np.linalg.norm(ends.x - x) / best)
        assert np.median(ratios) < 1.1


def test_unknown_noise_is_seen_in_the_waves_that_are_lost():
    with jax.enable_x64(True):
        heat = pg.simulators.diffusion((64,), 2e-3, noise=None)
        told = pg.simulators.diffusion((64,), 2e-3, noise=1e-2)
        x = jnp.asarray(smooth(0, 64, waves=3))
        target = heat(x) + 1e-2 * np.random.default_rng(0).standard_normal(64)
        errors = [
            np.linalg.norm(pulled(s, target, jnp.zeros(64), 1).x - x)
            for s in (heat, told)
        ]
        assert errors[0] < 2 * errors[1] < 0.2 * np.linalg.norm(x)


def test_complex_gains_are_blur_that_also_moves():
    """A kernel that is not symmetric: its transform is complex."""
    with jax.enable_x64(True):
        kernel = np.zeros(16)
        kernel[:3] = [0.3, 0.5, 0.3]
        basis = Basis((16,), (1.0,))
        gains = np.fft.rfft(kernel)

        def blurred(x):
            return jnp.fft.irfft(jnp.asarray(gains) * jnp.fft.rfft(x), n=16)

        blur = pg.Simulator(blurred, pg.DiagonalInverse(basis, gains))
        x = jnp.asarray(np.random.default_rng(0).standard_normal(16))
        ends = pulled(blur, blur(x), jnp.zeros(16), 1)
        np.testing.assert_allclose(ends.x, x, atol=1e-10)


def test_a_minimum_is_a_fixed_point_and_chains_go_to_theirs():
    """Behind a tall link too: the metric that is handed on is that of the filter."""
    with jax.enable_x64(True):
        heat = pg.simulators.diffusion((8,), 5e-3, noise=1e-2)
        shape = jnp.linspace(0.5, 1.5, 8)
        chain = pg.Chain(lambda a: a[0] + a[1] * shape + a[2] * shape**2, heat)
        target = jnp.cos(3 * shape)
        objective = pg.Objective(chain, pg.SquaredLoss(target))
        run = pg.minimize(objective, FULL, jnp.zeros(3), 60, progress=False)
        slope = jax.grad(objective)(run.x)
        assert np.max(np.abs(slope)) < 1e-6 * np.max(
            np.abs(jax.grad(objective)(0 * run.x))
        )


def test_derivatives_of_a_step_are_those_of_the_filter():
    with jax.enable_x64(True):
        heat = pg.simulators.diffusion((6,), 1e-3)

        def end(target):
            return jnp.sum(pulled(heat, target, jnp.zeros(6), 1).x ** 2)

        target = heat(jnp.asarray(smooth(0, 6)))
        slope, push = jax.grad(end)(target), jnp.cos(jnp.arange(6.0))
        near = [float(end(target + h * push)) for h in (1e-6, -1e-6)]
        np.testing.assert_allclose(slope @ push, (near[0] - near[1]) / 2e-6, rtol=1e-5)


def test_noise_far_below_the_true_one_is_labelled():
    """x stays bounded by the filter's caution, and the result says what is wrong."""
    with jax.enable_x64(True):
        heat = pg.simulators.diffusion((64,), 1e-2, noise=1e-4)
        x = jnp.asarray(smooth(0, 64))
        target = heat(x) + 1e-2 * np.random.default_rng(0).standard_normal(64)
        ends = pulled(heat, target, jnp.zeros(64), 1)
        result = pg.Result.from_code(int(ends.result))
        assert result is pg.Result.target_not_reachable


@pytest.mark.parametrize("noise", [1e-2, None])
def test_weights_that_differ_are_refused_by_name(noise):
    heat = pg.simulators.diffusion((8,), 1e-3, noise=noise)
    weight = jnp.ones(8).at[3].set(0.0)
    objective = pg.Objective(heat, pg.SquaredLoss(jnp.ones(8), weight))
    run = pg.minimize(objective, FULL, jnp.zeros(8), 3, progress=False)
    assert run.result is pg.Result.inverse_failed
    assert "RegularizedInverse" in run.message
    one = pg.Objective(heat, pg.SquaredLoss(jnp.ones(8), 2.0))
    assert pg.minimize(one, FULL, jnp.zeros(8), 3, progress=False).ok


@pytest.mark.parametrize(("noise", "fine"), [(0.0, True), (1e-2, False), (None, False)])
def test_a_metric_from_a_later_link_is_good_for_no_noise_alone(noise, fine):
    """Sensors that differ by a factor of 100 behind the heat: no one noise for all."""
    heat = pg.simulators.diffusion((8,), 1e-3, noise=noise)
    gains = jnp.logspace(-1, 1, 8)
    sensors = pg.Simulator(lambda u: gains * u, pg.AnalyticInverse(lambda z: z / gains))
    objective = pg.Objective(pg.Chain(heat, sensors), pg.SquaredLoss(gains))
    run = pg.minimize(objective, FULL, jnp.zeros(8), 2, progress=False)
    assert run.ok == fine
    assert fine or "RegularizedInverse" in run.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gains": np.ones(3)}, "shape"),
        ({"noise": -1.0}, "noise"),
        ({"operator": "gradent"}, "did you mean 'gradient'"),
    ],
)
def test_wrong_settings_are_refused(change, said):
    given = {"basis": Basis((8,), (1.0,)), "gains": np.ones(5)} | change
    with pytest.raises(ValueError, match=said):
        pg.DiagonalInverse(**given)
