"""Patients of the doctor: for each diagnosis a simulator that has it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from families import positive_root, square, square_root

import physgrad as pg


def analytic(forward, inverse, **options):
    return pg.Simulator(forward, pg.AnalyticInverse(inverse, **options))


def scaled(x):
    return x * jnp.array([1.0, 5.0])


def unscaled(z):
    return z / jnp.array([1.0, 5.0])


def flips_above(z, x):
    """Right at x0 = (3, 3), on the other branch as soon as z1 has grown."""
    return square_root(z, x) * jnp.where(z[1] > 9.0, jnp.array([1.0, -1.0]), 1.0)


def right_near(z):
    """Right up to a tenth around z = (3, 15)."""
    return unscaled(z) * jnp.where(jnp.abs(z[0] - 3) < 0.31, 1.0, 1.1)


def length(x):
    return jnp.sqrt(x**2)


def twice(x):
    return jnp.stack([x[0] + x[1]] * 2)


def half(z, x):
    return x + (z - twice(x)) / 2


@jax.custom_jvp
def wrong_slope(x):
    return scaled(x)


@wrong_slope.defjvp
def _(primals, tangents):
    return wrong_slope(*primals), 1.1 * scaled(*tangents)


@jax.custom_vjp
def only_reverse(x):
    return scaled(x)


only_reverse.defvjp(lambda x: (scaled(x), None), lambda _, g: (scaled(g),))


def by_callback(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    double = lambda v: 2 * np.asarray(v)  # noqa: E731
    return jax.pure_callback(double, shape, x, vmap_method="sequential")


def random_forward(x):
    return scaled(x) + np.random.default_rng().standard_normal()


def raises(x):
    raise RuntimeError("the mesh file is missing\nsecond line")


def tall(x):
    return jnp.concatenate([scaled(x), x[:1] + x[1:]])


def of_tall(z):
    return unscaled(z[:2])


def wide(x):
    return jnp.stack([x[0] + x[1], 5 * x[2]])


def shortest(z):
    return jnp.stack([z[0] / 2, z[0] / 2, z[1] / 5])


def nearest(z, x):
    half = (z[0] - x[0] - x[1]) / 2
    return jnp.stack([x[0] + half, x[1] + half, z[1] / 5])


def in_units(x):
    return x * jnp.array([1e6, 1e-6])


def without_units(z):
    return z * jnp.array([1e-6, 1e6])


def ill(x):
    return x * jnp.array([1.0, 1e-5])


def only_at_threes(x):
    return jnp.where(jnp.all(x == 3.0), x, jnp.nan)


def beside_nothing(x):
    return jnp.where(x[0] < 2.9999, jnp.nan, scaled(x))


EXACT = analytic(scaled, unscaled)
ONE_STEP = pg.NumericalInverse(max_steps=1)
THREES = (3.0, 3.0)
PATIENTS: dict[str, tuple[Any, tuple[float, ...], dict[str, Any]]] = {
    # the first diagnosis: the simulator, x0, options
    "fine": (analytic(square, square_root), THREES, {}),
    "simulator_raises": (raises, THREES, {}),
    "loss_raises": (pg.Objective(EXACT, raises), THREES, {}),
    "not_finite_at_start": (jnp.log, (1.0, -1.0), {}),
    "not_deterministic": (analytic(random_forward, unscaled), THREES, {}),
    "nan_derivative": (analytic(length, lambda z: z), (0.0, 1.0), {}),
    "wrong_derivative": (analytic(wrong_slope, unscaled), THREES, {}),
    "inverse_raises": (analytic(scaled, raises), THREES, {}),
    "inverse_not_finite": (analytic(scaled, lambda z: z * jnp.nan), THREES, {}),
    "wrong_branch": (analytic(square, positive_root), (3.0, -3.0), {}),
    "inverse_misses": (analytic(scaled, lambda z: 1.001 * unscaled(z)), THREES, {}),
    "branch_jump": (analytic(square, flips_above), THREES, {}),
    "singular_at_start": (analytic(square, square_root), (0.0, 0.0), {}),
    "rank_deficient": (analytic(twice, half), THREES, {}),
    "badly_scaled": (analytic(in_units, without_units), THREES, {}),
    "noise_too_high": (analytic(ill, lambda z: z * jnp.array([1, 1e5])), THREES, {}),
    "isolated_start": (analytic(only_at_threes, lambda z: z), THREES, {}),
    "near_edge": (analytic(beside_nothing, unscaled), THREES, {}),
    "inverse_local": (analytic(scaled, right_near), THREES, {}),
    "not_nearest": (analytic(wide, shortest), (1.0, 2.0, 3.0), {}),
    "loss_not_convex": (pg.Objective(EXACT, lambda z: -jnp.sum(z**2)), THREES, {}),
    "more_x_than_z": (analytic(wide, nearest), (1.0, 2.0, 3.0), {}),
    "more_z_than_x": (analytic(tall, of_tall), THREES, {}),
    "nearly_orthogonal": (analytic(jnp.sinh, jnp.arcsinh), (0.1, -0.1), {}),
    "no_derivative": (analytic(by_callback, lambda z: z / 2), THREES, {}),
    "reverse_only": (analytic(only_reverse, unscaled), THREES, {}),
    "promises_nothing": (pg.Simulator(scaled, pg.LinearizedInverse()), THREES, {}),
    "numerical_inverse": (scaled, THREES, {}),
    "inverse_stuck": (pg.Simulator(square, ONE_STEP), (0.5, 2.0), {}),
}
PATIENTS["noise_too_high"][2]["noise"] = 1e-4
CODES = {
    "fine": "PhysicalGradient(step_size=1.0)",
    "noise_too_high": "RegularizedInverse(noise=0.0001)",
    "inverse_misses": "NumericalInverse()",
    "promises_nothing": "NumericalInverse()",
    "rank_deficient": "PhysicalGradient(step_size=1.0)",
    "nearly_orthogonal": "GradientDescent(learning_rate=",
    "singular_at_start": "LevenbergMarquardt()",
}


def patient(name: str) -> tuple[Any, Any]:
    """A simulator and its x0."""
    simulator, x0, _ = PATIENTS[name]
    return simulator, jnp.array(x0, jnp.float32)
