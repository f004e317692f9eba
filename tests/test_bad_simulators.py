"""Wrong use of the ready simulators: refused before anything runs, in one line."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ready_simulators import S

import physgrad as pg

NAN = float("nan")


def wrong(value: Any) -> Any:
    """What a type checker would refuse."""
    return value


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: S.diffusion((0,), 1.0), "shape.*2 on, got 0"),
        (lambda: S.diffusion((1, 8), 1.0), "shape.*2 on, got 1"),
        (lambda: S.diffusion((2, 2, 2, 2), 1.0), "1 or 2 or 3 axes"),
        (lambda: S.diffusion((8,), -1.0), "duration must be zero or a positive"),
        (lambda: S.diffusion((8,), NAN), "duration"),
        (lambda: S.diffusion((8,), 1.0, diffusivity=-1.0), "diffusivity"),
        (lambda: S.diffusion((8,), 1.0, noise=-1.0), "noise"),
        (lambda: S.diffusion((8,), 1.0, boundary="periodc"), "did you mean 'periodic'"),
        (lambda: S.diffusion((8,), 1.0, operator="lapl"), "did you mean 'laplacian'"),
        (lambda: S.diffusion((8, 8), 1.0, lengths=(1.0,)), "lengths must be one"),
        (lambda: S.diffusion((8,), 1.0, lengths=0.0), "lengths must be a positive"),
        (lambda: S.poisson((8,), screening=-1.0), "screening"),
        (lambda: S.advection((8,), 1.0, velocity=(1.0, 2.0)), "velocity must have"),
        (lambda: S.advection((8,), 1.0, velocity=NAN), "velocity"),
        (lambda: S.wave((8,), 1.0, speed=0.0), "speed"),
        (lambda: S.schroedinger((8,), 1.0, potential=np.ones(7)), "potential"),
        (lambda: S.schroedinger((8,), 1.0, potential=[NAN] * 8), "finite"),
        (lambda: S.schroedinger((8,), 1.0, steps=0), "steps"),
        (lambda: S.burgers(8, 1.0, viscosity=-1.0), "viscosity"),
        (lambda: S.burgers((8, 8), 1.0), "shape must have 1 axes"),
        (lambda: S.burgers(8, 1.0, largest_gain=0.0), "largest_gain"),
        (lambda: S.korteweg_de_vries(8, 1.0, steps=0), "steps"),
        (lambda: S.kuramoto_sivashinsky(1, 1.0), "shape"),
        (lambda: S.navier_stokes((8,), 1.0), "shape must have 2 axes"),
        (lambda: S.oscillator_chain(0, 1.0), "masses"),
        (lambda: S.oscillator_chain(2, 100.0, steps=10), "steps must be .* or more"),
        (lambda: S.oscillator_chain(2, 1.0, stiffness=-1.0), "stiffness"),
        (lambda: S.driven_oscillators([1.0, 0.0], 1.0), "initial must have"),
        (lambda: S.pendulum(100.0, steps=10), "steps must be 64 or more"),
        (lambda: S.pendulum(1.0, frequency=0.0), "frequency"),
        (lambda: S.driven_pendulum((1.0,)), "initial must have"),
        (lambda: S.n_body([1.0, -1.0], 1.0), "masses must be zero or positive"),
        (lambda: S.n_body([1.0], 1.0, dimensions=4), "dimensions must be 2 or 3"),
        (lambda: S.n_body([], 1.0), "masses"),
        (lambda: S.seen_orbit(1.0, times=0), "times"),
        (lambda: S.seen_orbit(1.0, mu=0.0), "mu"),
        (lambda: S.cart_pole((0.0, 0.0)), "initial must have"),
        (lambda: S.cart_pole(pole=0.0), "pole must be a positive"),
        (lambda: S.quantum_control(points=1), "points"),
        (lambda: S.quantum_control(np.ones((2, 3)), points=4), "initial must have"),
        (lambda: S.quantum_motion([NAN], 1.0), "finite"),
        (lambda: S.conductivity(1), "cells"),
        (lambda: S.conductivity(8, noise=-1.0), "noise"),
        (lambda: S.conductivity(8, source=np.ones(8)), "source must have"),
        (lambda: S.conductivity(8, noise=1.0, operator="x"), "unknown|operator"),
        (lambda: S.darcy((8,)), "shape must have 2 axes"),
        (lambda: S.darcy((8, 8), source=np.ones(8)), "source must have"),
        (lambda: S.planar_arm([1.0]), "2 to 7 joints"),
        (lambda: S.planar_arm([1.0] * 8), "2 to 7 joints"),
        (lambda: S.planar_arm([1.0, 0.0]), "lengths must be positive"),
        (lambda: S.spatial_arm([1.0, -1.0, 1.0]), "zero or positive"),
        (lambda: S.spatial_arm([0.0, 0.0, 0.0]), "not all be zero"),
        (lambda: S.spatial_arm([1.0, 1.0, 1.0], "zy"), "3 letters y or z"),
        (lambda: S.spatial_arm([1.0, 1.0, 1.0], "xyz"), "3 letters y or z"),
        (lambda: S.affine_map([[1.0, 2.0]]), "square"),
        (lambda: S.affine_map([[1.0, 2.0], [2.0, 4.0]]), "full rank"),
        (lambda: S.affine_map(np.eye(2), [1.0]), "offset must have"),
        (lambda: S.sine_map(0.0), "scale"),
        (lambda: S.spiral_map(float("inf")), "twist"),
    ],
    ids=map(str, range(59)),
)
def test_wrong_values_are_refused(make, said):
    with pytest.raises(ValueError, match=said) as raised:
        make()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: S.diffusion("64", 1.0), "shape must be"),
        (lambda: S.diffusion((8.0,), 1.0), "shape.*whole number"),
        (lambda: S.diffusion((8,), wrong("1")), "duration"),
        (lambda: S.diffusion((8,), True), "duration"),
        (lambda: S.diffusion((8,), 1.0, boundary=wrong(3)), "boundary must be one of"),
        (lambda: S.burgers(8, 1.0, steps=wrong(2.5)), "steps"),
        (lambda: S.advection((8,), 1.0, velocity="fast"), "velocity"),
        (lambda: S.planar_arm(["a", "b"]), "lengths must be real numbers"),
        (lambda: S.spatial_arm([1.0, 1.0, 1.0], wrong(3)), "axes must be text"),
        (lambda: S.sine_map(1.0, outside=wrong(1)), "outside must be True or False"),
    ],
    ids=map(str, range(10)),
)
def test_wrong_types_are_refused(make, said, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(TypeError, match=said) as raised:
        make()
    assert "\n" not in str(raised.value)


def test_a_parameter_that_is_traced_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(TypeError, match="duration must be a number that is known"):
        jax.jit(lambda t: S.diffusion((8,), t)(jnp.ones(8)))(1.0)


def test_out_of_reach_is_named():
    """An arm of length 1.8, and a hand at 3."""
    arm = S.planar_arm([1.0, 0.8])
    objective = pg.Objective(arm, pg.SquaredLoss(jnp.array([3.0, 0.0])))
    method = pg.PhysicalGradient(1.0)
    run = pg.minimize(objective, method, jnp.array([0.3, 0.5]), 5, progress=False)
    assert run.result is pg.Result.inverse_failed
    assert "range" in run.message
    near = pg.PhysicalGradient(1.0, inverse=pg.NumericalInverse())
    run = pg.minimize(objective, near, jnp.array([0.3, 0.5]), 5, progress=False)
    assert run.result is pg.Result.target_not_reachable
    assert np.linalg.norm(arm(run.x)) == pytest.approx(1.8, abs=1e-3)


def test_steps_that_are_too_long_for_the_data_are_named():
    water = S.korteweg_de_vries(64, 20.0, steps=20)
    objective = pg.Objective(water.forward, pg.SquaredLoss(jnp.zeros(64)))
    with pytest.raises(ValueError, match="not finite at x0"):
        pg.minimize(objective, pg.GradientDescent(1.0), 30 * jnp.sin(jnp.arange(64.0)))


def test_ground_that_is_not_positive_has_no_pressure():
    ground = S.darcy((4, 4))
    assert np.all(np.isnan(ground(-jnp.ones((4, 4)))))


def test_what_needs_an_extra_says_so(monkeypatch):
    """diffrax is not installed: the name of the extra is in the message."""
    import sys

    for module in list(sys.modules):
        if module.startswith("diffrax") or module.endswith("cart_pole_motion"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "diffrax", None)
    monkeypatch.delitem(vars(S), "cart_pole", raising=False)
    with pytest.raises(pg.MissingExtra, match=r"physgrad\[sim\]"):
        S.cart_pole  # noqa: B018
