"""The doctor is neither fooled nor does it cry wolf: cases that are easily mistaken."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import physgrad as pg

IDENTITY = lambda z: z  # noqa: E731


def with_slope(forward, slope):
    """A map that says of its derivative what `slope(x, t)` says."""
    lying = jax.custom_jvp(forward)
    lying.defjvp(lambda x, t: (lying(*x), slope(*x, *t)))
    return lying


def two_units(x):
    return {"big": 1e9 * x["p"], "small": LYING_PART(x["q"])}


LYING_PART = with_slope(lambda q: 2 * q, lambda q, t: 10 * t)
PAIR = {"p": np.ones(2), "q": np.ones(2)}
WRONG_SLOPES = {
    # the map, x0, how far off the derivative is
    "exchanged columns": (
        with_slope(lambda x: 1.0 * x, lambda x, t: t[::-1]),
        np.ones(2),
        None,
    ),
    "small leaf": (two_units, PAIR, 0.8),
    "small entry": (
        with_slope(lambda x: 1.0 * x, lambda x, t: t * jnp.array([1.0, 3.0])),
        np.array([1e6, 0.1]),
        2 / 3,
    ),
}


@pytest.mark.parametrize("name", WRONG_SLOPES)
def test_a_wrong_derivative_is_seen_whatever_stands_beside_it(name):
    forward, x0, relative = WRONG_SLOPES[name]
    x0 = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), x0)
    report = pg.check(forward, x0, samples=1)
    assert not report.ok and report.diagnosis[0] == "wrong_derivative", str(report)
    worst = report.derivative.worst
    assert relative is None or np.isclose(worst.relative, relative, rtol=1e-2)


RIGHT_SLOPES = {
    "no slope": (lambda x: (x - 1) ** 3, (1.0, 2.0)),
    "kink": (jnp.abs, (0.0, 1.0)),
    "coarse entry": (
        lambda x: jnp.fft.ifft(jnp.fft.fft(x)).real.astype(x.dtype),
        (1e6, 0.1, 0.3, 0.4, 1.0, 2.0),
    ),
    "cancelled": (lambda x: (x + 1e4) - 1e4, (1.0, 0.1)),
    "steep": (lambda x: jnp.exp(20 * x), (1.0, -1.0)),
}


@pytest.mark.parametrize("name", RIGHT_SLOPES)
def test_a_derivative_of_jax_is_never_doubted(name, dtype):
    forward, x0 = RIGHT_SLOPES[name]
    report = pg.check(forward, jnp.array(x0, dtype), samples=1)
    assert report.derivative is not None and report.derivative.worst is None
