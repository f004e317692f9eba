"""Ready simulators and their inverses against what people use, to equal error."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from report import show, verdict
from simulator_contests import (
    Contest,
    Peer,
    S,
    fields,
    flows,
    materials,
    motions,
    quantum,
    smooth,
)
from simulator_peers import Call, jitted
from timing import alternate, duration

import physgrad as pg
from physgrad.inverses.analytic import takes_state
from physgrad.inverses.flat import flat_map
from physgrad.inverses.rule import identity_metric
from physgrad.inverses.state import start_state

# Of the largest entry of z: what counts as rounding of another order of sums.
ROUNDING = 1e-10
NOT_SLOWER = 1.05
MEMBERS = 1000


def main(quick: bool) -> None:
    """Single states, batches, and how time and memory grow."""
    jax.config.update("jax_enable_x64", True)
    small = 16 if quick else 256
    contests = [*fields(small), *flows(), *motions(), *quantum(), *materials()]
    _contest("One state", contests[:3] if quick else contests, 0)
    batches = [*fields(16 if quick else 64), *flows()[:1], *motions(), *materials()]
    batches = [contest for contest in batches if "1024" not in contest.name]
    batches = [contest for contest in batches if "Darcy" not in contest.name]
    members = 10 if quick else MEMBERS
    _contest(f"{members} states at once", batches[:2] if quick else batches, members)
    _growth((16, 32) if quick else (64, 128, 256, 512, 1024))


def _contest(title: str, contests: list[Contest], members: int) -> None:
    print(
        f"{title}, float64, compiled before. Error: the largest entry of z or x that "
        "is wrong, of the largest one. Ratios: peer over physgrad, above 1 where "
        "physgrad is quicker; each peer to the same error.\n"
    )
    columns = ["", "physgrad", "error", "peers, ratio", "no slower than any"]
    rows = []
    for contest in contests:
        rows += _rows(contest, members)
    show(columns, rows)


def _rows(contest: Contest, members: int) -> list[list[object]]:
    simulator = contest.make(contest.steps)
    x = contest.x
    fine = contest.make(8 * contest.steps) if contest.steps else simulator
    z = np.asarray(jax.jit(fine.__call__)(jnp.asarray(x)))
    forward, back = simulator.__call__, inverse(simulator, x)
    return [
        _row(contest.name, forward, (x, z), contest.peers, members),
        _row(f"{contest.name}, inverse", back, (z, x), contest.back, members),
    ]


def _row(
    name: str,
    call: Call,
    pair: tuple[np.ndarray, np.ndarray],
    peers: Mapping[str, Peer],
    members: int,
) -> list[object]:
    start, truth = pair
    largest = np.max(np.abs(truth))

    def error(found: Any) -> float:
        return float(np.max(np.abs(np.asarray(found) - truth)) / largest)

    ours = error(jax.jit(call)(jnp.asarray(start)))
    allowed = max(1.05 * ours, ROUNDING)
    calls: dict[str, Any] = {"physgrad": _ready(call, True, start, members)}
    missed = []
    for peer_name, peer in peers.items():
        if members and not peer.batches:
            continue
        exact = _exact_enough(peer, start, error, allowed)
        if exact is None:
            missed.append(f"{peer_name} not as exact")
        else:
            calls[peer_name] = _ready(exact, peer.jax, start, members)
    times = alternate(calls)
    own = times.pop("physgrad")
    ratios = {other: time.median / own.median for other, time in times.items()}
    order = sorted(ratios, key=lambda other: ratios[other])
    words = [f"{other} {ratios[other]:.2f}" for other in order] + missed
    quickest = min(ratios.values(), default=None)
    return [
        name,
        own,
        f"{ours:.0e}",
        ", ".join(words),
        "" if quickest is None else verdict("", quickest * NOT_SLOWER >= 1.0)[2:],
    ]


def _exact_enough(peer: Peer, start: Any, error: Any, allowed: float) -> Call | None:
    for setting in peer.settings:
        call = peer.make(setting)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # settings that are too coarse overflow
            if error(call(start)) <= allowed:
                return call
    return None


def _ready(call: Call, is_jax: bool, start: np.ndarray, members: int) -> Any:
    """A call without arguments, compiled; on a batch if there are members."""
    states = np.repeat(start[None], members, axis=0) if members else start
    if is_jax:
        program, given = jitted(call, bool(members)), jnp.asarray(states)
    else:
        program, given = call, states
    program(given)
    return lambda: program(given)


def inverse(simulator: pg.Simulator, start: Any) -> Call:
    """What a physical step calls: the rule, without its certificate where it can be."""
    x = jnp.asarray(start)
    rule = simulator.rule
    if isinstance(rule, pg.AnalyticInverse) and not rule.branches:
        function = rule.function
        takes_x = takes_state(function)
        return lambda z: function(z, x) if takes_x else function(z)
    flat, vector = flat_map(simulator.functions, x)
    state = start_state(flat, vector)

    def back(z: Any) -> Any:
        target, _ = ravel_pytree(z)
        metric = identity_metric(target)
        return rule.pull_back(flat, target, state, metric).x.reshape(x.shape)

    return back


def _growth(sizes: tuple[int, ...]) -> None:
    print("Growth with the grid, n by n cells; memory beside x and z, by XLA.\n")
    rows = []
    makes = {
        "diffusion": lambda n: S.diffusion((n, n), 1e-3),
        "Poisson": lambda n: S.poisson((n, n)),
        "Navier-Stokes, 10 steps": lambda n: S.navier_stokes((n, n), 0.01, steps=10),
    }
    for name, make in makes.items():
        for n in sizes:
            simulator, x = make(n), jnp.asarray(smooth(n, n))
            z = simulator(x)
            cells = [name, n]
            for call, point in ((simulator.__call__, x), (inverse(simulator, x), z)):
                program = jax.jit(call).lower(point).compile()
                time = alternate(
                    {"": lambda p=program, v=point: jax.block_until_ready(p(v))}
                )
                used = getattr(program.memory_analysis(), "temp_size_in_bytes", np.nan)
                cells += [duration(time[""].median), f"{used / 2**20:.1f}"]
            rows.append(cells)
    columns = ["", "n", "forward", "MiB", "inverse", "MiB"]
    show(columns, rows)
