"""Heat initial state: the noise-aware inverse against rivals that look at the truth.

Boxes on a periodic square of 64 by 64 cells, after nu t = 8, with Gaussian noise of a
part of the root mean square of the data. Relative L2 error of x; all start at zero.

- PG: one step with the simulator's own inverse, which is told the noise.
- Tikhonov with three penalties and the truncated spectrum, each with the parameter that
  comes nearest to the truth: no method that does not know the truth can do that. Their
  seconds are those of the whole search, for all four.
- L-BFGS and Adam (the best of a sweep): after all of their steps; at the step at which
  the misfit is that of the noise; and at the step nearest to the truth.
- Gauss-Newton by LSMR, to its tolerance. Levenberg-Marquardt is dense, and too large.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import lineax as lx
import numpy as np
from figures import dot, panels
from matplotlib.figure import Figure
from methods import RATES, price, spread, table, tuned_adam, verdict

import physgrad as pg

NOISES = (0.0, 1e-4, 1e-2)
STEPS = 300
WEIGHTS = np.logspace(-40, 4, 441)
PENALTIES = ("identity", "gradient", "laplacian")


def cases(quick: bool) -> dict[str, dict[str, Any]]:
    """Each noise with each seed."""
    seeds = range(2 if quick else 10)
    size, steps = (16, 40) if quick else (64, STEPS)
    return {
        f"noise {noise:g}, seed {seed}": {
            "size": size,
            "noise": noise,
            "seed": seed,
            "steps": steps,
        }
        for noise in NOISES
        for seed in seeds
    }


def run(size: int, noise: float, seed: int, steps: int) -> dict[str, Any]:
    """Method to its error, price and seconds."""
    problem = pg.problems.get("heat-initial-state", size=size, noise=noise, seed=seed)
    objective, start = problem.objective, problem.start
    truth = np.asarray(problem.solution)
    found: dict[str, Any] = {}

    def error(x: Any) -> float:
        return float(np.linalg.norm(np.asarray(x) - truth) / np.linalg.norm(truth))

    def note(name: str, x: Any, cost: float, seconds: float | None) -> None:
        found[name] = {"error": error(x), "price": cost, "seconds": seconds}

    pg.minimize(objective, pg.PhysicalGradient(1.0), start, 1, progress=False)  # warm
    one = pg.minimize(objective, pg.PhysicalGradient(1.0), start, 1, progress=False)
    note("PG", one.x, price(one), one.seconds.run)
    products = pg.LinearizedInverse(solver=lx.LSMR(rtol=1e-6, atol=0.0))
    newton = pg.PhysicalGradient(1.0, inverse=products)
    gauss = pg.minimize(objective, newton, start, 1, progress=False)
    note("Gauss-Newton, LSMR", gauss.x, price(gauss), gauss.seconds.run)
    found |= _oracles(problem, error)
    rivals = {
        "L-BFGS": pg.minimize(objective, pg.LBFGS(), start, steps, progress=False),
        "Adam": tuned_adam(objective, start, steps, RATES[2:]),
    }
    data = np.asarray(getattr(objective.loss, "target", None))
    level = data.size * (noise * np.sqrt(np.mean(data**2))) ** 2
    for name, rival in rivals.items():
        note(f"{name}, last", rival.x, price(rival), rival.seconds.run)
        way = np.asarray(rival.trajectory["x"])
        losses = np.asarray(rival.trajectory.losses)
        at_noise = int(np.argmax(losses <= level)) if np.any(losses <= level) else -1
        errors = [error(x) for x in way]
        part = price(rival) / max(len(way) - 1, 1)
        for words, place in (
            ("at the noise", at_noise),
            ("nearest to the truth", int(np.argmin(errors))),
        ):
            taken = place % len(way)
            note(f"{name}, {words}", way[taken], part * taken, None)
    return found


def _oracles(problem: pg.Problem, error: Any) -> dict[str, Any]:
    """Tikhonov and truncation, with the parameter that comes nearest to the truth."""
    rule: Any = problem.objective.simulator.rule
    began = time.perf_counter()
    basis, gains = rule.basis, np.asarray(rule.gains)
    waves = np.asarray(basis.to(getattr(problem.objective.loss, "target", None)))

    def back(filtered: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(filtered, s=basis.shape, norm="ortho")

    found = {}
    for power, name in enumerate(PENALTIES):
        penalty = basis.squares**power
        errors = []
        for weight in WEIGHTS:
            total = gains**2 + weight * penalty
            safe = np.where(total > 0, total, 1.0)
            errors.append(error(back(np.where(total > 0, gains / safe, 0.0) * waves)))
        found[f"Tikhonov, {name}, best weight"] = min(errors)
    cuts = np.unique(gains)[::-1]
    cuts = cuts[:: max(len(cuts) // 400, 1)]
    divided = waves / np.maximum(gains, 1e-300)
    errors = [error(back(np.where(gains >= cut, divided, 0.0))) for cut in cuts]
    found["truncated spectrum, best cut"] = min(errors)
    seconds = time.perf_counter() - began
    return {
        name: {"error": value, "price": 2, "seconds": seconds}
        for name, value in found.items()
    }


def _seconds(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.median(known):.3g}" if known else ""


def report(results: Mapping[str, Mapping[str, Any]], quick: bool) -> str:
    """A table for each noise, and whether the goals were reached."""
    parts = []
    for noise in NOISES:
        chosen = {k: v for k, v in results.items() if k.startswith(f"noise {noise:g},")}
        names = list(next(iter(chosen.values())))
        errors = {n: [found[n]["error"] for found in chosen.values()] for n in names}
        rows = [
            [
                name,
                spread(errors[name]),
                f"{np.median([found[name]['price'] for found in chosen.values()]):.0f}",
                _seconds([found[name]["seconds"] for found in chosen.values()]),
            ]
            for name in sorted(names, key=lambda name: np.median(errors[name]))
        ]
        columns = [
            "method",
            f"relative error of x, {len(chosen)} seeds",
            "price",
            "seconds",
        ]
        parts += [f"## Noise {noise:g}\n", table(columns, rows)]
        ours = np.median(errors["PG"])
        oracle = min(
            np.median(v)
            for n, v in errors.items()
            if "best" in n or "nearest to the truth" in n
        )
        parts.append(
            verdict(
                f"within 10 % of the best rival that looks at the truth "
                f"({ours / oracle:.2f} times)",
                ours <= 1.1 * oracle,
            )
        )
        for rival in ("L-BFGS", "Adam"):
            last = np.median(errors[f"{rival}, last"])
            parts.append(
                verdict(
                    f"at most half of {rival}'s, at the end ({ours / last:.2f} times)",
                    ours <= 0.5 * last,
                )
            )
        parts.append("")
    return "\n".join(parts)


DRAWN = {
    "Adam, last": "Adam",
    "L-BFGS, last": "L-BFGS",
    "Gauss-Newton, LSMR": "Gauss-Newton",
    "PG": "PG",
    "Tikhonov, gradient, best weight": "told the best weight",
}


def draw(results: Mapping[str, Mapping[str, Any]], quick: bool) -> Figure:
    """The error of each method at each noise, all seeds."""
    figure, axes = panels(len(NOISES))
    for one, noise in zip(axes, NOISES, strict=True):
        chosen = [v for k, v in results.items() if k.startswith(f"noise {noise:g},")]
        for place, (method, words) in enumerate(DRAWN.items()):
            for found in chosen:
                dot(one, words, found[method]["error"], place)
        one.set(title=f"noise {noise:g}", xlabel="relative error of x", xscale="log")
        one.set_yticks(
            range(len(DRAWN)), list(DRAWN.values()) if one is axes[0] else []
        )
        one.set(xlim=(0.08, 8))
        one.xaxis.set_major_formatter("{x:g}")
    return figure
