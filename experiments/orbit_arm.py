"""Orbits and arms from 1,000 random starts, and from as many as a price allows.

- Orbit, from positions: x = (position, velocity) of a body around a star, mu = 1; z its
  positions at 10 times until t = 6, with noise of 0.01. Success: a misfit of at most
  1.001 times that of the best orbit. The inverse is numerical; z is out of its range.
- Orbit, from its end: x and z the states of star and planet at times 0 and 6. Success:
  |z - data|^2 <= 1e-10. The inverse runs backwards.
- Arm of 2 and of 5 joints, its hand to a point. Success: |z - goal|^2 <= 1e-10. With 2
  joints the inverse is a formula, with 5 it is numerical.

Starts: for the orbits the true state with Gaussian noise of 0.5 on each entry of the
planet, for the arms angles uniform in [-pi, pi]. A run of PG has up to 5 steps, others
have 100, and end where they succeed. Beside the share of starts that succeed stands how
often the best of several does, for a price: starts are drawn, each for the price of its
run, until one succeeds or the price is spent; 20,000 draws. That is multi-start, for
all methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from figures import legend, line, panels
from matplotlib.figure import Figure
from methods import adam, price_each, table, verdict

import physgrad as pg

COUNT, STEPS, OWN_STEPS, DRAWS = 1000, 100, 5, 20_000
BUDGETS = (10, 30, 100, 300, 1000)
TASKS = (
    "orbit, from positions",
    "orbit, from its end",
    "arm of 2 joints",
    "arm of 5 joints",
)
OWN, RIVAL = "PG", "LM"
METHODS: Mapping[str, Any] = {
    OWN: pg.PhysicalGradient(1.0),
    "Gauss-Newton": pg.GaussNewton(1.0),
    RIVAL: pg.LevenbergMarquardt(),
    "L-BFGS": pg.LBFGS(),
    **{f"Adam, {rate:g}": adam(rate) for rate in (0.01, 0.03, 0.1, 0.3)},
}


def cases(quick: bool) -> dict[str, dict[str, Any]]:
    """Each task with each method."""
    return {
        f"{task}: {name}": {"task": task, "name": name, "count": 50 if quick else COUNT}
        for task in TASKS
        for name in METHODS
    }


def _task(task: str, count: int) -> tuple[pg.Objective, Any, float]:
    """Objective, starts, and the loss of a success."""
    rng = np.random.default_rng(0)
    orbit = np.asarray(pg.problems.get("kepler-orbit").solution)
    if task == "orbit, from positions":
        simulator = pg.simulators.seen_orbit(6.0, times=10, steps=10)
        clean = np.asarray(simulator(jnp.asarray(orbit)))
        data = jnp.asarray(clean + 0.01 * rng.standard_normal(clean.shape))
        objective = pg.Objective(simulator, pg.SquaredLoss(data))
        best = pg.minimize(objective, METHODS[RIVAL], jnp.asarray(orbit), STEPS)
        starts = orbit + 0.5 * rng.standard_normal((count, *orbit.shape))
        return objective, starts, 1.001 * best.loss
    if task == "orbit, from its end":
        simulator = pg.simulators.n_body([1.0, 0.0], duration=6.0)
        truth = np.zeros((2, 2, 2))
        truth[:, 1] = orbit
        starts = np.repeat(truth[None], count, axis=0)
        starts[:, :, 1] += 0.5 * rng.standard_normal((count, 2, 2))
        goal = simulator(jnp.asarray(truth))
        return pg.Objective(simulator, pg.SquaredLoss(goal)), starts, 1e-10
    joints = int(task.split()[2])
    problem = pg.problems.get("arm-reach", size=joints)
    return problem.objective, rng.uniform(-np.pi, np.pi, (count, joints)), 1e-10


def run(task: str, name: str, count: int) -> dict[str, Any]:
    """Success, price and steps of each start."""
    objective, starts, goal = _task(task, count)
    method, numerical = METHODS[name], isinstance(objective.simulator.rule, pg.Ladder)
    if name == OWN and numerical:
        method = pg.PhysicalGradient(1.0, inverse=pg.NumericalInverse())
    runs = pg.minimize_many(
        objective,
        method,
        jnp.asarray(starts),
        OWN_STEPS if name == OWN else STEPS,
        stop=pg.Stop(loss=goal),
        progress=False,
    )
    return {
        "success": (runs.losses <= goal).tolist(),
        "prices": price_each(runs).tolist(),
        "steps": runs.num_steps.tolist(),
        "ends": {str(result): number for result, number in runs.counts.items()},
        "seconds": runs.seconds.run,
    }


def within(success: Any, prices: Any, budget: float) -> float:
    """How often one of several starts succeeds before the price is spent.

    >>> within([True, False], [5, 5], budget=5)  # one start is what it allows
    0.5
    """
    rng = np.random.default_rng(0)
    success, prices = np.asarray(success), np.maximum(np.asarray(prices), 1)
    spent, won = np.zeros(DRAWS), np.zeros(DRAWS, bool)
    going = np.ones(DRAWS, bool)
    while going.any():
        drawn = rng.integers(len(prices), size=DRAWS)
        spent = np.where(going, spent + prices[drawn], spent)
        won |= going & success[drawn] & (spent <= budget)
        going &= ~won & (spent < budget)
    return float(np.mean(won))


def _of(
    results: Mapping[str, Mapping[str, Any]], task: str
) -> dict[str, Mapping[str, Any]]:
    """Method to what it found, with the rate of Adam that succeeds most often."""
    found = {name: results[f"{task}: {name}"] for name in METHODS}
    sweep = [name for name in found if name.startswith("Adam")]
    best = max(sweep, key=lambda name: sum(found[name]["success"]))
    return {k: v for k, v in found.items() if k == best or k not in sweep}


def report(results: Mapping[str, Mapping[str, Any]], quick: bool) -> str:
    """A table for each task."""
    parts = []
    for task in TASKS:
        found = _of(results, task)
        rows, shares = [], {}
        for name, one in found.items():
            there = np.asarray(one["success"])
            prices, steps = np.asarray(one["prices"]), np.asarray(one["steps"])
            shares[name] = [within(there, prices, budget) for budget in BUDGETS]
            rows.append(
                [
                    name,
                    f"{np.mean(there):.1%}",
                    f"{np.median(steps[there]):.0f}" if there.any() else "-",
                    f"{np.median(prices[there]):.0f}" if there.any() else "-",
                    f"{one['seconds']:.2g}",
                    *(f"{share:.1%}" for share in shares[name]),
                ]
            )
        count = len(found[OWN]["success"])
        columns = ["method", f"of {count} starts", "steps", "price", "seconds"]
        columns += [f"for {budget}" for budget in BUDGETS]
        parts += [f"## {task[0].upper() + task[1:]}\n", table(columns, rows)]
        pairs = zip(BUDGETS, shares[OWN], shares[RIVAL], strict=True)
        for budget, ours, theirs in pairs:
            if max(ours, theirs) > 0:
                goal = f"PG at least as often as LM for a price of {budget}"
                parts.append(verdict(goal, ours >= theirs - 0.005))
        parts.append("")
    return "\n".join(parts)


def draw(results: Mapping[str, Mapping[str, Any]], quick: bool) -> Figure:
    """How often several starts succeed for a price."""
    figure, axes = panels(len(TASKS), across=2)
    prices = np.unique(np.logspace(0, 3, 40).round())
    for one, task in zip(axes, TASKS, strict=True):
        for name, found in _of(results, task).items():
            shares = [
                within(found["success"], found["prices"], price) for price in prices
            ]
            line(one, name.split(",")[0], list(prices), shares, marks=False)
        one.set(xscale="log", xlabel="price", ylabel="success", ylim=(-0.03, 1.03))
        one.set_title(task[0].upper() + task[1:])
        one.yaxis.set_major_formatter("{x:.0%}")
    legend(figure, axes)
    return figure
