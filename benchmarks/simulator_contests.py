"""The physics that the ready simulators and their peers are timed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import diffrax
import exponax
import jax.numpy as jnp
import numpy as np
import simulator_peers as peers
from simulator_peers import Call

import physgrad as pg
from physgrad.problems.data import random_field

S = pg.simulators


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another way to the same z, or back; the first setting that is exact enough."""

    make: Callable[[Any], Call]
    settings: Sequence[Any] = (None,)
    jax: bool = False
    """JAX code of one state; else NumPy code, which takes batches as they are."""
    batches: bool = True


@dataclasses.dataclass(frozen=True)
class Contest:
    """A simulator and its peers."""

    name: str
    make: Callable[[int], pg.Simulator]
    """Ours, with so many time steps."""
    x: np.ndarray
    peers: Mapping[str, Peer]
    back: Mapping[str, Peer] = dataclasses.field(default_factory=dict)
    steps: int = 0
    """Of ours; 0 where it takes none."""


def plain(call: Call, *, jax: bool = False, batches: bool = True) -> Peer:
    """A peer without settings."""
    return Peer(lambda _: call, jax=jax, batches=batches)


def smooth(*shape: int) -> np.ndarray:
    """A smooth field on a torus, of size one."""
    return random_field(shape, 5.0, 0)


def fields(n: int) -> list[Contest]:
    """Linear physics on n by n cells, by transforms."""
    return [_diffusion(n), _advection(n), _waves(n), _poisson(n)]


def _diffusion(n: int) -> Contest:
    shape = (n, n)
    squares = peers.squares(shape)
    heat = np.exp(-1e-3 * squares)
    stepper = exponax.stepper.Diffusion(2, 1.0, n, 1e-3, diffusivity=1.0)

    def filtered(weight: float) -> Call:
        return peers.scipy_filter(shape, heat / (heat**2 + weight * squares))

    return Contest(
        f"diffusion, {n} x {n}",
        lambda _: S.diffusion(shape, 1e-3),
        smooth(n, n),
        {
            "NumPy": plain(peers.numpy_filter(shape, heat)),
            "SciPy": plain(peers.scipy_filter(shape, heat)),
            "exponax": plain(peers.exponax_steps(stepper, 1), jax=True),
        },
        # ours looks for the weight; here that is not in the time
        {
            "SciPy, Tikhonov with a weight that is known": Peer(
                filtered, [10.0**power for power in range(-4, -37, -1)]
            )
        },
    )


def _advection(n: int) -> Contest:
    shape = (n, n)
    k = 2 * np.pi * np.fft.fftfreq(n, 1 / n)
    half = 2 * np.pi * np.fft.rfftfreq(n, 1 / n)
    shift = np.exp(-0.3j * (k[:, None] + half))
    stepper = exponax.stepper.Advection(2, 1.0, n, 0.3, velocity=1.0)
    return Contest(
        f"advection, {n} x {n}",
        lambda _: S.advection(shape, 0.3),
        smooth(n, n),
        {
            "NumPy": plain(peers.numpy_filter(shape, shift)),
            "SciPy": plain(peers.scipy_filter(shape, shift)),
            "exponax": plain(peers.exponax_steps(stepper, 1), jax=True),
        },
        {"SciPy": plain(peers.scipy_filter(shape, shift.conj()))},
    )


def _waves(n: int) -> Contest:
    shape = (n, n)
    stepper = exponax.stepper.Wave(2, 1.0, n, 0.3)
    return Contest(
        f"waves, {n} x {n}",
        lambda _: S.wave(shape, 0.3),
        np.stack([smooth(n, n), smooth(n, n)[::-1]]),
        {
            "SciPy": plain(peers.scipy_waves(shape, 0.3)),
            "exponax": plain(peers.exponax_steps(stepper, 1, channels=True), jax=True),
        },
        {"SciPy": plain(peers.scipy_waves(shape, -0.3))},
    )


def _poisson(n: int) -> Contest:
    one = (2 * n * np.sin(np.pi * np.arange(1, n + 1) / (2 * n))) ** 2
    walls = one[:, None] + one
    return Contest(
        f"Poisson between walls, {n} x {n}",
        lambda _: S.poisson((n, n)),
        smooth(n, n),
        {"SciPy": plain(peers.scipy_sines(1 / walls))},
        {"SciPy": plain(peers.scipy_sines(walls))},
    )


def flows() -> list[Contest]:
    """Pseudo-spectral flows, beside exponax with its two best orders."""
    step = exponax.stepper
    wave = smooth(256)
    conservative = step.KuramotoSivashinskyConservative
    return [
        _flow(
            "Burgers, 256",
            lambda n: S.burgers(256, 0.03, steps=n),
            wave,
            partial(step.Burgers, 1, 1.0, 256, diffusivity=0.01),
            *(0.03, 20),
        ),
        _flow(
            "Korteweg-de Vries, 128",
            lambda n: S.korteweg_de_vries(128, 1.0, steps=n),
            1 / np.cosh(np.linspace(-8, 8, 128)) ** 2,
            partial(
                *(step.KortewegDeVries, 1, 20.0, 128),
                convection_scale=6.0,
                hyper_diffusivity=0.0,
            ),
            *(1.0, 400),
        ),
        _flow(
            "Kuramoto-Sivashinsky, 128",
            lambda n: S.kuramoto_sivashinsky(128, 1.0, steps=n),
            wave[::2],
            partial(conservative, 1, 22.0, 128),
            *(1.0, 20),
        ),
        _flow(
            "Navier-Stokes, 64 x 64",
            lambda n: S.navier_stokes((64, 64), 1.0, steps=n),
            smooth(64, 64),
            partial(step.NavierStokesVorticity, 2, 1.0, 64, diffusivity=1e-3),
            *(1.0, 100),
        ),
    ]


def _flow(
    name: str,
    make: Callable[[int], pg.Simulator],
    x: np.ndarray,
    stepper: Callable[..., Any],
    time: float,
    steps: int,
) -> Contest:
    """A flow beside a stepper of exponax, which takes its time step and its order."""

    def by_exponax(order: int, count: int) -> Call:
        return peers.exponax_waves(stepper(dt=time / count, order=order), count)

    counts = [n for power in range(3, 14) for n in (2**power, 3 * 2 ** (power - 1))]
    others = {
        f"exponax, order {order}": Peer(partial(by_exponax, order), counts, jax=True)
        for order in (2, 4)
    }
    return Contest(name, make, x, others, steps=steps)


def motions() -> list[Contest]:
    """Oscillators, pendulum and bodies, beside ODE solvers with steps of their own."""
    bodies = [
        [[0.0, 0.0], [1.0, 0.0], [-2.5, 0.0]],
        [[0.0, -0.3], [0.0, 0.9], [0.0, -0.7]],
    ]
    return [
        _motion(
            "oscillators, 100",
            lambda n: S.oscillator_chain(100, 10.0, steps=n, cubic=0.5),
            np.stack([smooth(100), smooth(100)[::-1]]),
            _chain,
            *(10.0, 100),
        ),
        _motion(
            "pendulum",
            lambda n: S.pendulum(10.0, steps=n),
            np.array([2.0, 0.5]),
            _swing,
            *(10.0, 100),
        ),
        _motion(
            "3 bodies",
            lambda n: S.n_body(MASSES, 6.0, steps=n),
            np.array(bodies),
            _attraction,
            *(6.0, 400),
        ),
    ]


MASSES = np.array([1.0, 0.5, 0.1])


def _chain(xp: Any, y: Any) -> Any:
    """(q, v)' of oscillators with cubic springs, by NumPy or JAX."""
    q, v = y[0], y[1]
    d = xp.diff(q)
    pull, zero = 0.2 * d + 0.5 * d**3, xp.zeros(1)
    a = -q + xp.concatenate([pull, zero]) - xp.concatenate([zero, pull])
    return xp.stack([v, a])


def _swing(xp: Any, y: Any) -> Any:
    return xp.stack([y[1], -xp.sin(y[0])])


def _attraction(xp: Any, y: Any) -> Any:
    d = y[0] - y[0][:, None]
    cubes = ((d**2).sum(-1) + xp.eye(3)) ** 1.5
    return xp.stack([y[1], ((MASSES / cubes)[..., None] * d).sum(1)])


def _motion(
    name: str,
    make: Callable[[int], pg.Simulator],
    x: np.ndarray,
    field: Callable[[Any, Any], Any],
    time: float,
    steps: int,
) -> Contest:
    """A motion without friction, there and back, beside those of diffrax and SciPy."""
    tolerances = [10.0**-power for power in range(2, 15)]
    there: dict[str, Peer] = {}
    for solver in (diffrax.Tsit5(), diffrax.Dopri8()):
        make_call = partial(peers.diffrax_solver, partial(field, jnp), time, solver)
        there[f"diffrax {type(solver).__name__}"] = Peer(make_call, tolerances, True)
    for method in ("DOP853", "LSODA"):
        make_call = partial(peers.scipy_solver, partial(field, np), time, method)
        there[f"SciPy {method}"] = Peer(make_call, tolerances, batches=False)
    back = {
        solver: dataclasses.replace(peer, make=partial(_backwards, peer.make))
        for solver, peer in there.items()
    }
    return Contest(name, make, x, there, back, steps)


def _backwards(make: Callable[[Any], Call], setting: Any) -> Call:
    """Backwards in time: what moves without friction, with the velocities turned."""
    call, signs = make(setting), np.array([1.0, -1.0])

    def back(z: Any) -> Any:
        turn = signs.reshape(2, *(1,) * (np.ndim(z) - 1))
        return turn * call(turn * z)

    return back


def quantum() -> list[Contest]:
    """A wave in a potential, and a particle in a box."""
    n = 256
    s = np.arange(n) / n
    potential = 50 * np.cos(2 * np.pi * s)
    hill, turn = np.exp(-50 * (s - 0.5) ** 2), 6 * np.pi * s
    box = np.stack([np.sin(np.pi * np.arange(1, 15) / 15), np.zeros(14)])
    field, dt = np.sin(np.arange(384.0)), 0.05
    return [
        Contest(
            "Schroedinger, 256",
            lambda _: S.schroedinger((n,), 0.05, potential=potential, steps=200),
            hill * np.stack([np.cos(turn), np.sin(turn)]),
            {"SciPy": plain(peers.scipy_split_steps(potential, 0.05, 200))},
            {"SciPy": plain(peers.scipy_split_steps(potential, -0.05, 200))},
        ),
        Contest(
            "particle in a box, 14",
            lambda _: S.quantum_motion(field, 384 * dt),
            box / np.sqrt((box**2).sum() * 2 / 15),
            {"SciPy": plain(peers.scipy_crank_nicolson(field, dt, 14), batches=False)},
            {
                "SciPy": plain(
                    peers.scipy_crank_nicolson(field[::-1], -dt, 14), batches=False
                )
            },
        ),
    ]


def materials() -> list[Contest]:
    """Rod, ground and arm."""
    lengths = np.array([1.2, 0.8])
    return [
        Contest(
            "conductivity, 1024",
            lambda _: S.conductivity(1024),
            np.exp(0.5 * smooth(1024)),
            {"SciPy": plain(peers.scipy_rod(1024), batches=False)},
        ),
        Contest(
            "Darcy, 64 x 64",
            lambda _: S.darcy((64, 64)),
            np.exp(0.5 * smooth(64, 64)),
            {
                "SciPy SuperLU": plain(peers.scipy_ground_direct, batches=False),
                "SciPy CG": plain(peers.scipy_ground_descent, batches=False),
            },
        ),
        Contest(
            "arm of 2 joints",
            lambda _: S.planar_arm(lengths),
            np.array([0.4, 1.0]),
            {"NumPy": plain(peers.numpy_arm(lengths))},
            {"NumPy": plain(peers.numpy_elbow(lengths))},
        ),
    ]
