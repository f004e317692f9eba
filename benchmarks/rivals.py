"""optimistix, jaxopt, SciPy and physgrad from the same start to the same loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxopt
import optimistix as optx
from report import show
from rival_solvers import (
    STEP_LIMIT,
    Jaxopt,
    Jitted,
    Optimistix,
    Rival,
    Task,
    Whole,
    loss,
    loss_reached,
    residual,
)
from scipy_solvers import Scipy, by_hand, from_jax, least_squares, minimize
from timing import Times, alternate

import physgrad as pg

Settings = Mapping[str, Rival]


def optimistix_rivals() -> dict[str, Settings]:
    """Its minimizers and least-squares solvers."""
    formulas = {
        "Fletcher-Reeves": optx.fletcher_reeves,
        "Hestenes-Stiefel": optx.hestenes_stiefel,
    }
    return {
        "optimistix BFGS": {
            "inverse Hessian": Optimistix(optx.BFGS),
            "Hessian": Optimistix(optx.BFGS, use_inverse=False),
        },
        "optimistix LBFGS": {
            f"history {n}": Optimistix(optx.LBFGS, history_length=n) for n in (2, 10)
        },
        "optimistix NonlinearCG": {
            name: Optimistix(optx.NonlinearCG, method=method)
            for name, method in formulas.items()
        },
        "optimistix LM": {
            "default": Optimistix(optx.LevenbergMarquardt),
            "region grows 100-fold": Optimistix(_eager_levenberg_marquardt),
        },
        "optimistix Dogleg": {"default": Optimistix(optx.Dogleg)},
        "optimistix GaussNewton": {"default": Optimistix(optx.GaussNewton)},
    }


def _eager_levenberg_marquardt(rtol: float, atol: float) -> Any:
    default = optx.LevenbergMarquardt(rtol, atol)
    growing = optx.ClassicalTrustRegion(high_constant=100.0)
    return eqx.tree_at(lambda solver: solver.search, default, growing)


def jaxopt_rivals() -> dict[str, Settings]:
    """Its L-BFGS and least-squares solvers."""

    def lbfgs(search: str, history: int) -> Rival:
        return Jaxopt(
            lambda steps: jaxopt.LBFGS(
                loss,
                maxiter=steps,
                tol=0.0,
                linesearch=search,
                history_size=history,
                implicit_diff=False,
            )
        )

    def levenberg_marquardt(**settings: Any) -> Rival:
        return Jaxopt(
            lambda steps: jaxopt.LevenbergMarquardt(
                residual,
                maxiter=steps,
                tol=0.0,
                xtol=0.0,
                gtol=0.0,
                implicit_diff=False,
                **settings,
            )
        )

    def gauss_newton(steps: int) -> Any:
        return jaxopt.GaussNewton(residual, maxiter=steps, tol=0.0, implicit_diff=False)

    return {
        "jaxopt LBFGS": {
            f"{search}, history {history}": lbfgs(search, history)
            for search, history in (
                ("zoom", 10),
                ("backtracking", 2),
                ("backtracking", 10),
                ("hager-zhang", 2),
            )
        },
        "jaxopt LM": {
            "damping 1e-6, cg": levenberg_marquardt(),
            "damping 1e-3, lu": levenberg_marquardt(
                damping_parameter=1e-3, solver="lu", materialize_jac=True
            ),
            "damping 1e-3, qr": levenberg_marquardt(
                damping_parameter=1e-3, solver="qr", materialize_jac=True
            ),
        },
        "jaxopt GaussNewton": {"default": Jaxopt(gauss_newton)},
    }


def scipy_rivals() -> dict[str, Settings]:
    """Minimizers and least-squares solvers, with two kinds of functions."""
    calls = {
        "L-BFGS-B": minimize("L-BFGS-B", ftol=0.0, gtol=0.0),
        "BFGS": minimize("BFGS", gtol=0.0),
        "Newton-CG": minimize("Newton-CG", xtol=0.0),
        "least_squares trf": least_squares("trf"),
        "least_squares lm": least_squares("lm"),
    }
    sources = {"jitted JAX": from_jax, "NumPy by hand": by_hand}
    return {
        f"SciPy {name}, {source}": {"": Scipy(call, functions)}
        for name, call in calls.items()
        for source, functions in sources.items()
    }


def own() -> dict[str, Settings]:
    """Ours, by both doors."""
    numerical = pg.NumericalInverse()
    optimizers = {
        "PG": {f"eta {eta:g}": pg.PhysicalGradient(eta) for eta in (1.0, 0.3)},
        "PG numerical": {
            f"eta {eta:g}": pg.PhysicalGradient(eta, inverse=numerical)
            for eta in (1.0, 0.9, 0.3)
        },
        "GN": {"step 1": pg.GaussNewton()},
        "LM": {"default": pg.LevenbergMarquardt()},
        "LBFGS": {f"history {n}": pg.LBFGS(history_length=n) for n in (2, 10)},
    }
    doors: dict[str, Callable[[pg.Optimizer], Rival]] = {
        "iterate": Jitted,
        "minimize": Whole,
    }
    return {
        f"physgrad {name} {settings}, {door}": {"": kind(optimizer)}
        for name, variants in optimizers.items()
        for settings, optimizer in variants.items()
        for door, kind in doors.items()
    }


@dataclasses.dataclass(frozen=True)
class Best:
    """The quickest settings of a solver."""

    settings: str
    steps: int
    call: Callable[[], tuple[Any, Any]]


def main(quick: bool) -> None:
    """One table for each dtype, quickest first."""
    for dtype, goal in (("float64", 1e-8), ("float32", 1e-6)):
        if quick and dtype == "float32":
            continue
        with jax.enable_x64(dtype == "float64"):
            _compete(Task(jnp.dtype(dtype), goal), samples=2 if quick else 7)


def _compete(task: Task, samples: int) -> None:
    print(
        f"From (3, 3) to L <= {task.goal:g} in {task.dtype}, of several settings the "
        "quickest; compiled before.\n"
    )
    failed: list[str] = []
    chosen: dict[str, Best] = {}
    everyone = {**own(), **optimistix_rivals(), **jaxopt_rivals(), **scipy_rivals()}
    for name, settings in everyone.items():
        best = _best(settings, task)
        if best is None:
            failed.append(name)
        else:
            chosen[name] = best
    times = alternate({name: best.call for name, best in chosen.items()}, samples)
    order = sorted(chosen, key=lambda name: times[name].median)
    quickest = times[order[0]].median
    show(
        ["solver", "settings", "steps", "evaluations", "L", "time", "ratio"],
        [_row(name, chosen[name], times[name], quickest) for name in order],
    )
    for name in failed:
        print(f"{name}: L <= {task.goal:g} NOT REACHED in {STEP_LIMIT} steps\n")


def _best(settings: Settings, task: Task) -> Best | None:
    ready = {name: best for name, best in _prepared(settings, task)}
    if len(ready) < 2:
        return next(iter(ready.values()), None)
    times = alternate({name: best.call for name, best in ready.items()}, samples=3)
    return ready[min(ready, key=lambda name: times[name].median)]


def _prepared(settings: Settings, task: Task) -> Iterator[tuple[str, Best]]:
    for name, rival in settings.items():
        steps = rival.steps(task)
        if steps is not None:
            call = rival.solver(task, steps)
            call()  # compiles
            yield name, Best(name, steps, call)


def _row(name: str, best: Best, times: Times, quickest: float) -> list[object]:
    x, evaluations = best.call()
    return [
        name,
        best.settings,
        best.steps,
        int(evaluations),
        f"{loss_reached(x):.1e}",
        times,
        f"{times.median / quickest:.1f}",
    ]
