"""Where it does not help: what Gauss-Newton or L-BFGS do as well, at a lower price.

Each problem with ten seeds; those without a seed begin at their start with Gaussian
noise of 10 % of it (of 0.1 where it is zero). The goal is a loss that all have to
reach: 1e-8 of that at the start, or, with noise in the data, 1.001 times the best that
is known.

- PG: the inverse that the problem has; step size 1. Where it has a formula, the
  numerical inverse, too: that is what a simulator of one's own has.
- Gauss-Newton, with a dense Jacobian, and Levenberg-Marquardt; L-BFGS; Adam with the
  rate of a sweep that is there first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from figures import dot, legend, panels
from jax.tree_util import Partial
from matplotlib.figure import Figure
from methods import COLUMNS, adam_to_goal, median, row, table, to_goal

import physgrad as pg
from physgrad.cards import parse_problem

CLOSE, STEPS = 1e-8, 1000
RATES = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1)


NOISY = ("fit of three numbers", "kepler-orbit")


def affine(rng: np.random.Generator) -> tuple[pg.Objective, Any]:
    """z = A x, singular values of A from 1 to 100."""
    left, right = (np.linalg.qr(rng.standard_normal((20, 20)))[0] for _ in range(2))
    matrix = jnp.asarray(left @ np.diag(np.logspace(0, 2, 20)) @ right)
    simulator = pg.Simulator(Partial(jnp.matmul, matrix))
    data = simulator(jnp.asarray(rng.standard_normal(20)))
    return pg.Objective(simulator, pg.SquaredLoss(data)), jnp.zeros(20)


def decay(x: Any) -> Any:
    """a e^(-b t) + c at 40 times until t = 3."""
    return x[0] * jnp.exp(-x[1] * jnp.linspace(0.0, 3.0, 40)) + x[2]


def fit(rng: np.random.Generator) -> tuple[pg.Objective, Any]:
    """`decay` with noise of 1 % of its mean."""
    simulator = pg.Simulator(decay)
    clean = np.asarray(simulator(jnp.asarray(rng.uniform(0.5, 2.0, 3))))
    data = clean + 0.01 * clean.mean() * rng.standard_normal(40)
    return pg.Objective(simulator, pg.SquaredLoss(jnp.asarray(data))), jnp.ones(3)


def cubes(x: Any) -> Any:
    """z = x^3."""
    return x**3


def valley(z: Any) -> Any:
    """The Rosenbrock function of z."""
    return jnp.sum(100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2)


def bent_loss(rng: np.random.Generator) -> tuple[pg.Objective, Any]:
    """Four cubes, and a loss that is not easy in z, either."""
    objective = pg.Objective(pg.Simulator(cubes), valley)
    return objective, jnp.asarray(rng.uniform(0.5, 1.5, 4))


MADE = {"linear": affine, "fit of three numbers": fit, "loss bent in z": bent_loss}
NAMED = (
    "kepler-orbit",
    "oscillators-control",
    "pendulum-swing",
    "arm-reach:size=5",
    "heat-source:size=16",
)


def cases(quick: bool) -> dict[str, dict[str, Any]]:
    """Each problem with each seed."""
    return {
        f"{name}, seed {seed}": {
            "name": name,
            "seed": seed,
            "steps": 50 if quick else STEPS,
        }
        for name in (*MADE, *NAMED)
        for seed in range(2 if quick else 10)
    }


def _problem(name: str, seed: int) -> tuple[pg.Objective, Any]:
    rng = np.random.default_rng([seed, 7])
    if name in MADE:
        return MADE[name](rng)
    typed = parse_problem(name)
    seeded = {"seed": seed} if typed.card.seeded else {}
    problem = pg.problems.get(name, **seeded)
    if seeded:
        return problem.objective, problem.start
    start = np.asarray(problem.start)
    size = np.where(start != 0, 0.1 * np.abs(start), 0.1)
    return problem.objective, jnp.asarray(
        start + size * rng.standard_normal(size.shape)
    )


def run(name: str, seed: int, steps: int) -> dict[str, Any]:
    """Method to its steps, price and seconds."""
    objective, start = _problem(name, seed)
    goal = CLOSE * float(objective(start))
    if name in NOISY:
        best = pg.minimize(objective, pg.LevenbergMarquardt(), start, 200)
        goal = 1.001 * best.loss
    rule = objective.simulator.rule
    methods: dict[str, Any] = {"PG": pg.PhysicalGradient(1.0)}
    if not isinstance(rule, pg.Ladder):
        numerical = pg.PhysicalGradient(1.0, inverse=pg.NumericalInverse())
        methods["PG, numerical inverse"] = numerical
    methods |= {
        "Gauss-Newton": pg.GaussNewton(1.0),
        "LM": pg.LevenbergMarquardt(),
        "L-BFGS": pg.LBFGS(),
    }
    found = {
        method: to_goal(objective, optimizer, start, steps, goal)
        for method, optimizer in methods.items()
    }
    found["Adam"] = adam_to_goal(objective, start, steps, goal, RATES)
    return found


def _of(results: Mapping[str, Mapping[str, Any]], name: str) -> list[Any]:
    return [found for key, found in results.items() if key.startswith(f"{name}, ")]


def _prices(runs: list[Any]) -> dict[str, float]:
    """Method to the median of its prices, the lowest first."""
    found = {
        method: median([one[method]["price"] for one in runs]) for method in runs[0]
    }
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def report(results: Mapping[str, Mapping[str, Any]], quick: bool) -> str:
    """A table for each problem, the lowest price first, and whose it is."""
    parts, better = [], []
    for name in (*MADE, *NAMED):
        runs = _of(results, name)
        prices = _prices(runs)
        rows = [row(method, [one[method] for one in runs]) for method in prices]
        parts += [f"## {name[0].upper() + name[1:]}\n", table(COLUMNS, rows)]
        ours = min(price for method, price in prices.items() if "PG" in method)
        rival = next(method for method in prices if "PG" not in method)
        if prices[rival] <= ours and prices[rival] < np.inf:
            better.append(name)
            parts.append(f"{rival} is as good or better.\n")
    names = ", ".join(better)
    parts.append(f"A rival is as good or better on {len(better)} problems: {names}.\n")
    return "\n".join(parts)


def draw(results: Mapping[str, Mapping[str, Any]], quick: bool) -> Figure:
    """The price of each method on each problem."""
    figure, axes = panels(1)
    names = (*MADE, *NAMED)
    for place, name in enumerate(reversed(names)):
        for method, price in _prices(_of(results, name)).items():
            if price < np.inf:
                dot(axes[0], method, price, place)
    axes[0].set_yticks(range(len(names)), [name for name in reversed(names)])
    axes[0].set(xscale="log", xlabel="price, median, in calls of the simulator")
    figure.set_size_inches(6.0, 4.0)
    legend(figure, axes)
    return figure
