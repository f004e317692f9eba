"""The notebook's Python loop against `minimize`, both with every iterate."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import notebook
import numpy as np
import optimistix as optx
from report import show, verdict
from timing import Times, alternate, duration, measure

import physgrad as pg

ETA = 1e-3
LOOP_BUDGET = 25.0  # seconds: the slow loops are run fewer than five times
EXACT, SOLVED = 1e-4, 1e-2
"""How far iterates may lie from the loop's, relative to their size: float32 rounding
adds up over the steps; the notebook's own L-BFGS stops early, see the second table."""

Update = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Case:
    """One method: the notebook's step, ours, and the exact step of the toy."""

    name: str
    step: Callable
    optimizer: pg.Optimizer
    exact: Update
    least_ratio: float
    tolerance: float = EXACT


def gradient_step(x: np.ndarray) -> np.ndarray:
    """x - eta [2 x0, 4 x1^3]."""
    return x - ETA * np.array([2 * x[0], 4 * x[1] ** 3])


def newton_step(x: np.ndarray) -> np.ndarray:
    """x - eta [x0, x1 / 3]."""
    return x * (1 - ETA * np.array([1, 1 / 3]))


def physical_step(x: np.ndarray) -> np.ndarray:
    """The preimage of (1 - eta) z."""
    return x * np.array([1 - ETA, np.sqrt(1 - ETA)])


def cases() -> list[Case]:
    """The four methods of the notebook, and its own way to invert numerically."""
    numerical = notebook.numerical_physical_gradient
    own = pg.PhysicalGradient(ETA, inverse=pg.NumericalInverse())
    lbfgs = pg.NumericalInverse(solver=optx.LBFGS(rtol=1e-8, atol=1e-8))
    same_way = pg.PhysicalGradient(ETA, inverse=lbfgs)
    plain = notebook.physical_gradient
    return [
        Case(
            "GD",
            notebook.gradient_descent,
            pg.GradientDescent(ETA),
            gradient_step,
            1000,
        ),
        Case("Newton", notebook.newton, pg.Newton(ETA), newton_step, 1000),
        Case("PG", plain, pg.PhysicalGradient(ETA), physical_step, 1000),
        Case("PG numerical", numerical, own, physical_step, 500, SOLVED),
        Case("PG numerical, L-BFGS", numerical, same_way, physical_step, 500, SOLVED),
    ]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One method, timed and checked."""

    case: Case
    loop: Times
    whole: Times
    loop_points: np.ndarray
    run: pg.Run
    compile_seconds: float
    run_seconds: float


def main(quick: bool) -> None:
    """Time every method, check its points, print two tables."""
    num_steps = 50 if quick else 1000
    loop = functools.cache(functools.partial(_time_loop, num_steps=num_steps))
    outcomes = [_outcome(case, *loop(case.step), num_steps) for case in cases()]
    print(
        f"{num_steps} steps of {ETA:g} from (3, 3), float32; all {num_steps + 1} "
        "points in both spaces, every step of PG with its certificate. `minimize`: the "
        "whole call, after compiling.\n"
    )
    show(
        [
            "method",
            "notebook loop",
            "minimize",
            "of it: run",
            "compile",
            "ratio",
            "goal",
        ],
        [_time_row(outcome) for outcome in outcomes],
    )
    print(
        "Largest distance of an iterate, relative to its size (the worse of x and z): "
        "to the loop's, and of both to the same steps in float64, by formula.\n"
    )
    show(
        [
            "method",
            "to the loop",
            "loop to exact",
            "minimize to exact",
            "certificates hold",
            "equal",
        ],
        [_agreement_row(outcome) for outcome in outcomes],
    )


def _time_loop(step: Callable, num_steps: int) -> tuple[Times, np.ndarray]:
    notebook.trajectory(step, ETA, 3)  # what JAX compiles once for all calls
    points: list[np.ndarray] = []

    def loop() -> None:
        points[:] = notebook.trajectory(step, ETA, num_steps)

    times = measure(loop, samples=5, budget=LOOP_BUDGET)
    return times, np.asarray(points)


def _outcome(
    case: Case, loop: Times, loop_points: np.ndarray, num_steps: int
) -> Outcome:
    toy = pg.problems.get("toy")

    def minimize() -> pg.Run:
        return pg.minimize(
            toy.objective, case.optimizer, toy.start, num_steps, progress=False
        )

    first = minimize()
    runs = [minimize() for _ in range(7)]
    return Outcome(
        case,
        loop,
        alternate({"minimize": minimize})["minimize"],
        loop_points,
        first,
        first.seconds.compile,
        float(np.median([run.seconds.run for run in runs])),
    )


def _time_row(outcome: Outcome) -> list[object]:
    ratio = outcome.loop.median / outcome.whole.median
    least = outcome.case.least_ratio
    return [
        outcome.case.name,
        outcome.loop,
        outcome.whole,
        duration(outcome.run_seconds),
        duration(outcome.compile_seconds),
        f"{ratio:,.0f}",
        verdict(f">= {least:,.0f}", ratio >= least),
    ]


def _agreement_row(outcome: Outcome) -> list[object]:
    case, run = outcome.case, outcome.run
    exact = [np.array([3.0, 3.0])]
    for _ in range(run.num_steps):
        exact.append(case.exact(exact[-1]))
    ours, loop = run.trajectory["x"], outcome.loop_points
    apart = max(_apart(ours, loop), _apart(run.trajectory["z"], _z(loop)))
    held, asked = _certificates(run)
    complete = run.result == pg.Result.completed and len(ours) == len(loop)
    equal = complete and held == asked and apart <= case.tolerance
    return [
        case.name,
        f"{apart:.1e}",
        f"{max(_apart(loop, exact), _apart(_z(loop), _z(exact))):.1e}",
        f"{max(_apart(ours, exact), _apart(run.trajectory['z'], _z(exact))):.1e}",
        f"{held:,} of {asked:,}" if asked else "(no inverse)",
        verdict(f"to {case.tolerance:g}", equal),
    ]


def _certificates(run: pg.Run) -> tuple[int, int]:
    """How many hold, and how many there are."""
    certificates = run.trajectory.certificates
    if certificates is None:
        return 0, 0
    held = certificates.results == pg.Result.completed.code
    return int(held.sum()), len(held)


def _z(points: np.ndarray | list[np.ndarray]) -> np.ndarray:
    return np.asarray(points, float) ** np.array([1, 2])


def _apart(one: object, other: object) -> float:
    a, b = np.asarray(one, float), np.asarray(other, float)
    return float(np.max(np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)))
