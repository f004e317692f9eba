"""Nonlinear least squares from the literature, each from two starts, by all solvers.

All get the same residuals, the same analytic Jacobian, float64, and tolerances that are
fixed once for all. A problem is solved where |r|^2 has six digits of its published
minimum; a success is false where a polish from its end lowers |r|^2 by more than one
part in ten thousand, unless another minimum is published there. Evaluations are
residuals and Jacobians together.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
import optimistix as optx
import scipy.optimize
from jax import Array
from least_squares_nist import NIST
from least_squares_problems import MORE_GARBOW_HILLSTROM, LeastSquares
from report import show, verdict

import physgrad as pg

TOLERANCE = 1e-10
"""Of theirs: on |r|^2, x and the gradient, as each library means it."""
OPTIMALITY = 1e-5
"""Of ours: its square is the part of |r|^2 that a step could still take away."""
MOST_STEPS = 1000
SOLVED, TRUE = 6.0, 1e-4
OURS, PEER = "physgrad LevenbergMarquardt", "SciPy trf"


@dataclasses.dataclass(frozen=True)
class End:
    """Where a solver ended."""

    x: np.ndarray
    success: bool
    evaluations: int
    """Residuals and Jacobians."""


class Task:
    """A problem as all solvers get it."""

    def __init__(self, problem: LeastSquares):
        self.problem = problem
        self.residuals = problem.residuals
        self.compiled = jax.jit(problem.residuals)
        self.jacobian = jax.jit(jax.jacfwd(problem.residuals))

    def squares(self, x: np.ndarray) -> float:
        """|r|^2, infinite where it is not finite."""
        value = float(jnp.sum(self.compiled(jnp.asarray(x)) ** 2))
        return value if np.isfinite(value) else np.inf


def by_scipy(method: str, scale: str | float, task: Task, x0: Array) -> End:
    """`scipy.optimize.least_squares`; its `lm` needs as many residuals as unknowns."""
    calls = [0, 0]

    def residuals(x: np.ndarray) -> np.ndarray:
        calls[0] += 1
        return np.asarray(task.compiled(x))

    def jacobian(x: np.ndarray) -> np.ndarray:
        calls[1] += 1
        return np.asarray(task.jacobian(x))

    tolerances = dict.fromkeys(("ftol", "xtol", "gtol"), TOLERANCE)
    try:
        found = scipy.optimize.least_squares(
            residuals,
            np.asarray(x0),
            jac=jacobian,  # type: ignore[arg-type] # a function, too
            method=method,
            x_scale=scale,
            max_nfev=MOST_STEPS,
            **tolerances,
        )
    except ValueError:  # what is not finite
        return End(np.asarray(x0), False, sum(calls))
    return End(found.x, bool(found.success), sum(calls))


def by_optimistix(solver: type, task: Task, x0: Array) -> End:
    """Each of its steps has a residual and a Jacobian."""
    x, steps, success = _optimistix(solver, task)(x0)
    return End(np.asarray(x), bool(success), 2 * int(steps))


@functools.lru_cache(None)
def _optimistix(solver: type, task: Task) -> Callable:
    method = solver(rtol=TOLERANCE, atol=TOLERANCE)

    def solve(x0: Array) -> tuple[Array, Array, Array]:
        found = optx.least_squares(
            lambda x, _: task.residuals(x),
            method,
            x0,
            max_steps=MOST_STEPS,
            throw=False,
        )
        success = found.result == optx.RESULTS.successful
        return found.value, found.stats["num_steps"], success

    return jax.jit(solve)


def by_jaxopt(task: Task, x0: Array) -> End:
    """Each of its steps has a residual and a Jacobian."""
    found, state = _jaxopt(task)(x0)
    steps, done = int(state.iter_num), float(state.error) <= TOLERANCE
    return End(np.asarray(found), done, 2 * steps)


@functools.lru_cache(None)
def _jaxopt(task: Task) -> Callable:
    solver = jaxopt.LevenbergMarquardt(
        task.residuals,
        maxiter=MOST_STEPS,
        tol=TOLERANCE,
        xtol=TOLERANCE,
        gtol=TOLERANCE,
    )
    return jax.jit(solver.run)


def by_physgrad(task: Task, x0: Array) -> End:
    """The default method, by `minimize`."""
    target = jnp.zeros_like(task.compiled(x0))
    run = pg.minimize(
        pg.Objective(task.residuals, pg.SquaredLoss(target)),
        pg.LevenbergMarquardt(),
        x0,
        MOST_STEPS,
        stop=pg.Stop(optimality=OPTIMALITY),
        progress=False,
    )
    sweeps = run.evaluations["jvp"] / len(x0) + run.evaluations["vjp"] / len(target)
    # the Jacobian before the first step, which a run does not count
    evaluations = run.evaluations["forward"] + round(sweeps) + 1
    return End(np.asarray(run.x), run.result == "converged", evaluations)


SOLVERS: dict[str, Callable[[Task, Array], End]] = {
    OURS: by_physgrad,
    PEER: functools.partial(by_scipy, "trf", 1.0),
    "SciPy trf, x_scale='jac'": functools.partial(by_scipy, "trf", "jac"),
    "SciPy lm, x_scale='jac'": functools.partial(by_scipy, "lm", "jac"),
    "optimistix LevenbergMarquardt": functools.partial(
        by_optimistix, optx.LevenbergMarquardt
    ),
    "optimistix Dogleg": functools.partial(by_optimistix, optx.Dogleg),
    "jaxopt LevenbergMarquardt": by_jaxopt,
}


def digits(squares: float, least: float, at_start: float) -> float:
    """Of |r|^2; where its minimum is 0, of |r| beside that at the standard start."""
    if not np.isfinite(squares):
        return -np.inf
    if least == 0:
        return -np.log10(max(squares / at_start, 1e-40)) / 2
    return -np.log10(max((squares - least) / least, 1e-16))


def is_false(task: Task, end: End) -> bool:
    """Whether a success is none: another solver goes on from there."""
    squares = task.squares(end.x)
    if not end.success or squares == 0:
        return False
    polished = [
        task.squares(by_scipy("trf", scale, task, jnp.asarray(end.x)).x)
        for scale in (1.0, "jac")
    ]
    return squares - min(polished) > TRUE * squares and squares > 1e-20


def main(quick: bool) -> None:
    """Print who solves how many, with how many evaluations."""
    jax.config.update("jax_enable_x64", True)
    problems = [*MORE_GARBOW_HILLSTROM, *NIST]
    solved: dict[str, list[bool]] = {name: [] for name in SOLVERS}
    costs: dict[str, list[int]] = {name: [] for name in SOLVERS}
    wrong: dict[str, list[str]] = {name: [] for name in SOLVERS}
    for problem in problems[:4] if quick else problems:
        task = Task(problem)
        at_start = task.squares(np.asarray(problem.start))
        for place, start in enumerate(problem.starts):
            x0 = jnp.array(start)
            ends = {name: solve(task, x0) for name, solve in SOLVERS.items()}
            found = {name: task.squares(end.x) for name, end in ends.items()}
            least = refined(problem, list(found.values()))
            for name, end in ends.items():
                enough = digits(found[name], least, at_start) >= SOLVED
                solved[name].append(enough)
                costs[name].append(end.evaluations)
                known = any(abs(found[name] - f) <= TRUE * f for f in problem.others)
                if not enough and not known and is_false(task, end):
                    wrong[name].append(f"{problem.name}, start {place + 1}")
    count = len(solved[OURS])
    rows = [
        (
            name,
            sum(solved[name]),
            len(wrong[name]),
            f"{np.median(costs[name]):g}",
            f"{np.median(np.array(costs[name])[solved[name]]):g}",
        )
        for name in SOLVERS
    ]
    show(
        (
            f"{count} starts",
            "solved to 6 digits",
            "false successes",
            "median evaluations",
            "of those solved",
        ),
        rows,
    )
    for name, cases in wrong.items():
        if cases:
            print(f"- false successes of {name}: {'; '.join(cases)}")
    best = max(sum(flags) for name, flags in solved.items() if name != OURS)
    print(verdict("solves as many as the best other", sum(solved[OURS]) >= best))
    print(verdict("no false success", not wrong[OURS]))
    cheap = np.median(costs[OURS]) <= np.median(costs[PEER])
    print(verdict(f"median evaluations at most those of {PEER}", bool(cheap)))


def refined(problem: LeastSquares, found: list[float]) -> float:
    """The published minimum, with all the digits that were found."""
    if problem.minimum == 0:
        return 0.0
    near = [f for f in found if abs(f - problem.minimum) <= 1e-5 * problem.minimum]
    return min(near, default=problem.minimum)
