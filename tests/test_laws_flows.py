"""Laws of motion: orders of convergence, exact solutions, and what is conserved."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ready_simulators import S, pair, smooth

import physgrad as pg
from physgrad.simulators.exponential import exponential_integrator
from physgrad.simulators.rollout import advance


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def order(errors: list[float]) -> float:
    """Of the last of errors, each with half of the step of the one before."""
    return float(np.log2(errors[-2] / errors[-1]))


def run(simulator: pg.Simulator, x: np.ndarray) -> np.ndarray:
    return np.asarray(eqx.filter_jit(simulator)(jnp.asarray(x)))


def inside(simulator: pg.Simulator) -> Any:
    """The forward map, with what it has beside a call."""
    return simulator.forward


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.max(np.abs(one - other)))


@pytest.mark.parametrize("linear", [-1.5, 2.0j, 0.0, -40.0, 30.0j, -1 + 5.0j])
def test_exponential_integrators_are_of_fourth_order(linear):
    """u' = L u + u^2 has a solution: u = L e^Lt / (L / u0 + 1 - e^Lt)."""
    value, time = complex(linear), 0.8
    start = 0.3 + 0.1j if value.imag else 0.3
    grown = np.exp(value * time)
    over = (1 - grown) / value if value else -time
    exact = grown / (1 / start + over)
    values = np.array([value if value.imag else value.real])

    def error(steps: int) -> float:
        one = exponential_integrator(values, time / steps)
        u = jnp.asarray([start])
        end = jax.jit(lambda u: advance(lambda u: one(u, jnp.square), u, steps))(u)
        return float(jnp.abs(end[0] - exact))

    errors = [error(steps) for steps in (16, 32)]
    assert errors[1] < 1e-12 or order(errors) > 3.7


def test_waves_without_a_linear_part_take_no_contour():
    """L = 0 is plain Runge-Kutta: the weights are 1/6, 1/3, 1/3, 1/6."""
    one = exponential_integrator(np.zeros(1), 0.6)
    weights = [one.first, one.middle / 2, one.middle / 2, one.last]
    np.testing.assert_allclose(np.ravel(weights), 0.6 / 6 * np.array([1, 1, 1, 1]))


def test_solitons_pass_through_the_circle():
    """c/2 sech^2(sqrt(c)/2 (s - c t)) is a solution: the spectrum of L is imaginary."""
    points, length, speed, time = 128, 30.0, 2.0, 1.0
    s = (np.arange(points) + 0.5) * length / points

    def soliton(center: float) -> np.ndarray:
        return speed / 2 / np.cosh(np.sqrt(speed) / 2 * (s - center)) ** 2

    errors = [
        apart(
            run(S.korteweg_de_vries(points, time, steps=n, length=length), soliton(12)),
            soliton(12 + speed * time),
        )
        for n in (20, 40, 80)
    ]
    assert order(errors[:2]) > 3.6
    assert errors[-1] < 2e-5


def test_viscous_waves_agree_with_cole_and_hopf():
    """u = -2 nu (log h)', with h a solution of the heat equation."""
    points, viscosity, time = 64, 0.05, 0.3
    k = 2 * np.pi
    s = (np.arange(points) + 0.5) / points
    decay = np.exp(-viscosity * k**2 * time)

    def u(swing: float) -> np.ndarray:
        h, slope = 2 + swing * np.cos(k * s), -swing * k * np.sin(k * s)
        return -2 * viscosity * slope / h

    errors = [
        apart(
            run(S.burgers(points, time, viscosity=viscosity, steps=n), u(1.0)), u(decay)
        )
        for n in (4, 8)
    ]
    assert order(errors) > 3.5
    assert errors[-1] < 1e-6


@pytest.mark.parametrize(
    ("make", "x", "few"),
    [
        pytest.param(
            lambda n: S.kuramoto_sivashinsky(32, 4.0, steps=n),
            smooth(0, 32, size=0.5),
            *(160,),
            id="kuramoto_sivashinsky",
        ),
        pytest.param(
            lambda n: S.navier_stokes((16, 15), 0.5, viscosity=1e-2, steps=n),
            smooth(0, 16, 15, size=2.0),
            *(10,),
            id="navier_stokes",
        ),
    ],
)
def test_flows_are_of_fourth_order(make, x, few):
    """Against a run of far smaller steps."""
    reference = run(make(16 * few), x)
    assert order([apart(run(make(n), x), reference) for n in (few, 2 * few)]) > 3.7


@pytest.mark.parametrize(
    ("make", "x", "expected"),
    [
        (
            lambda n: S.oscillator_chain(3, 5.0, steps=n, cubic=0.5),
            pair(0, 3),
            4,
        ),
        (lambda n: S.pendulum(5.0, steps=n), np.array([1.0, 0.5]), 4),
        (
            lambda n: S.schroedinger((9,), 0.2, potential=3 * smooth(4, 9), steps=n),
            pair(0, 9),
            2,
        ),
        (
            lambda n: S.quantum_motion(np.ones(n), 0.2, points=5),
            np.array([[0.5, 0.5, 0.5, 0.5, 0.0], [0.0] * 5]),
            2,
        ),
        (
            lambda n: pg.Simulator(
                lambda x: S.cart_pole((0, 0, 2.0, 0), 2.0, steps=n)(x[0] * jnp.ones(n))
            ),
            np.array([0.7]),
            5,
        ),
    ],
    ids=["chain", "pendulum", "potential", "quantum", "cart"],
)
def test_steps_are_of_their_order(make, x, expected):
    few = 20 if expected > 2 else 40
    reference = run(make(8 * few), x)
    errors = [apart(run(make(n), x), reference) for n in (few, 2 * few)]
    assert order(errors) > expected - 0.4


def test_differences_are_of_second_order():
    """-u'' = pi^2 sin(pi s) in one and two dimensions, and rho = e^s."""

    def sine(shape):
        places = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij")
        return functools.reduce(np.multiply, [np.sin(np.pi * s) for s in places])

    def poisson(n: int, axes: int) -> float:
        u = sine((n,) * axes)
        return apart(run(S.poisson((n,) * axes), axes * np.pi**2 * u), u)

    def ground(n: int) -> float:
        """a = 1 + s/2: the source that u = sin sin needs."""
        s = (np.arange(n) + 0.5) / n
        a, u = 1 + s[:, None] / 2 + 0 * s, sine((n, n))
        slope = np.pi * np.cos(np.pi * s)[:, None] * np.sin(np.pi * s)
        source = 2 * np.pi**2 * a * u - slope / 2
        return apart(run(S.darcy((n, n), source=source), a), u)

    def rod(n: int) -> float:
        """rho = e^s in the middles: u = (1 + s) e^-s - 1 + c (1 - e^-s)."""
        nodes, s = np.arange(1, n) / n, (np.arange(n) + 0.5) / n
        c = (1 - 2 / np.e) / (1 - 1 / np.e)
        exact = (1 + nodes) * np.exp(-nodes) - 1 + c * (1 - np.exp(-nodes))
        return apart(run(S.conductivity(n), np.exp(s)), exact)

    for error in (
        lambda n: poisson(n, 1),
        lambda n: poisson(n, 2),
        ground,
        rod,
    ):
        errors = [error(n) for n in (8, 16, 32)]
        assert order(errors) > 1.8, errors


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet"])
def test_waves_between_walls_are_exact(boundary):
    """A cosine or a sine decays, and swings, as its k says."""
    n, time = 7, 0.3
    s = (np.arange(n) + 0.5) / n
    shape = np.cos if boundary == "neumann" else np.sin
    for k in (np.pi, 3 * np.pi):
        wave = shape(k * s)
        cooled = run(S.diffusion((n,), time, diffusivity=0.1, boundary=boundary), wave)
        np.testing.assert_allclose(
            cooled, np.exp(-0.1 * k**2 * time) * wave, atol=1e-13
        )
        swing = run(S.wave((n,), time, boundary=boundary), np.stack([wave, 0 * wave]))
        np.testing.assert_allclose(
            swing,
            np.stack([np.cos(k * time) * wave, -k * np.sin(k * time) * wave]),
            atol=1e-12,
        )


def test_a_field_is_carried_along_exactly():
    shape, time = (8, 9), 0.37
    places = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij")

    def field(y, x):
        return np.sin(2 * np.pi * (y + 2 * x)) + np.cos(4 * np.pi * x)

    y, x = places
    carried = run(S.advection(shape, time, velocity=(1.0, -0.5)), field(y, x))
    np.testing.assert_allclose(carried, field(y - time, x + 0.5 * time), atol=1e-13)


def test_a_packet_spreads_as_quantum_mechanics_says():
    """exp(-s^2 / 2 (1 + i t)) / sqrt(1 + i t), far from the ends of the box."""
    n, length, time = 64, 24.0, 0.7
    s = (np.arange(n) + 0.5) * length / n - length / 2

    def packet(t: float) -> np.ndarray:
        psi = np.exp(-(s**2) / 2 / (1 + 1j * t)) / np.sqrt(1 + 1j * t)
        return np.stack([psi.real, psi.imag])

    spread = run(S.schroedinger((n,), time, lengths=length), packet(0.0))
    np.testing.assert_allclose(spread, packet(time), atol=1e-10)


def test_what_is_conserved_stays():
    def drift(of, simulator, x):
        z = run(simulator, x)
        return abs(of(z) - of(np.asarray(x))) / abs(of(np.asarray(x)))

    water, x = S.korteweg_de_vries(48, 0.5, steps=200), 0.5 + smooth(0, 48, size=0.3)
    assert drift(np.mean, water, x) < 1e-13
    assert drift(lambda u: np.mean(u**2), water, x) < 1e-9
    string, x = S.wave((9, 8), 3.0, speed=2.0), pair(0, 9, 8)
    assert (
        drift(lambda u: float(inside(string).energy(jnp.asarray(u))), string, x) < 1e-12
    )
    packet = S.schroedinger((9,), 1.0, potential=smooth(3, 9), steps=20)
    assert drift(lambda p: np.sum(p**2), packet, pair(0, 9)) < 1e-13
    box = S.quantum_motion(np.sin(np.arange(20)), 1.0, points=6)
    assert drift(lambda p: np.sum(p**2), box, pair(0, 6)) < 1e-12
    heat = S.diffusion((8, 9), 0.1, boundary="neumann")
    assert drift(np.mean, heat, 1 + smooth(0, 8, 9)) < 1e-13
    flow = S.navier_stokes((8, 9), 1.0, viscosity=0.0, steps=100)
    x = smooth(0, 8, 9)
    assert abs(np.mean(run(flow, x)) - np.mean(x)) < 1e-14
    weights = np.array([1.0, 0.1, 0.2])
    bodies = S.n_body(weights, 3.0, steps=300)
    q = np.array([[0.0, 0.0], [1.0, 0.0], [-2.0, 0.1]])
    v = np.array([[0.0, 0.1], [0.0, 1.0], [0.1, -0.7]])
    x = np.stack([q, v])
    np.testing.assert_allclose(
        weights @ run(bodies, x)[1], weights @ v, atol=1e-13
    )  # momentum

    def spin(state):
        q, v = state
        return weights @ (q[:, 0] * v[:, 1] - q[:, 1] * v[:, 0])

    assert drift(spin, bodies, x) < 1e-12


def test_energy_swings_without_drift():
    """A thousand periods of a pendulum, and a cart that no force moves."""

    def energy(state):
        return state[1] ** 2 / 2 - np.cos(state[0])

    x = np.array([1.0, 0.0])
    long = run(S.pendulum(6000.0, steps=60_000), x)
    assert abs(energy(long) - energy(x)) < 1e-5
    cart = S.cart_pole((0.0, 0.3, 2.0, 0.0), 3.0, steps=300)
    law, start = inside(cart).law, inside(cart).initial
    end = jnp.asarray(run(cart, np.zeros(300)))
    np.testing.assert_allclose(law.energy(end), law.energy(start), rtol=1e-9)


def test_memory_of_long_gradients_grows_as_the_square_root_of_the_steps():
    """Temporary memory of compiled gradients, for a hundred times the steps."""

    def bytes_of(steps: int) -> int:
        simulator = S.oscillator_chain(50, steps / 100, steps=steps, cubic=0.1)
        gradient = jax.jit(jax.grad(lambda x: jnp.sum(simulator(x) ** 2)))
        compiled = gradient.lower(jnp.ones((2, 50))).compile()
        used = compiled.memory_analysis()
        assert used is not None
        return used.temp_size_in_bytes

    few, many = bytes_of(100), bytes_of(10_000)
    assert many < 15 * few
    assert many > 2 * few  # the states are what takes memory


def test_rollouts_start_at_x_and_end_at_z():
    makers = [
        (S.diffusion((6,), 0.1), smooth(0, 6)),
        (S.wave((6,), 0.4), pair(0, 6)),
        (S.burgers(16, 0.1, steps=10), smooth(0, 16, size=0.1)),
        (S.pendulum(1.0, steps=10), np.array([1.0, 0.0])),
        (S.driven_pendulum(duration=1.0, steps=10), np.ones(10)),
        (S.cart_pole(duration=1.0, steps=10), np.ones(10)),
        (S.schroedinger((6,), 0.4, potential=np.ones(6), steps=10), pair(0, 6)),
    ]
    for simulator, x in makers:
        frames = np.asarray(inside(simulator).rollout(jnp.asarray(x), 4))
        assert len(frames) in (5, 11)
        z = run(simulator, x)
        np.testing.assert_allclose(frames[-1], z, atol=1e-12)
        if len(frames) == 5:
            np.testing.assert_allclose(frames[0], x, atol=1e-12)
        else:
            np.testing.assert_allclose(frames[0], inside(simulator).initial)
    orbit = S.seen_orbit(3.0, times=4, steps=5)
    x = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(inside(orbit).rollout(x, 4)[1:, 0], orbit(x))
