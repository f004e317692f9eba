"""`solutions`: what the runs of a problem have found, drawn as what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from physgrad.comparison.comparison import Comparison
from physgrad.plot.canvas import AXIS_SIZE, TITLE_SIZE
from physgrad.plot.field_panels import fields
from physgrad.plot.field_values import MOST_FIELDS
from physgrad.plot.files import content
from physgrad.plot.flow_film import film
from physgrad.plot.motion_panels import draw_arm, draw_orbit
from physgrad.plot.settings import own_settings
from physgrad.plot.space import checked_comparison
from physgrad.problems.problem import Problem

TRUE, TARGET = "true", "target"
FRAMES = 96
"""Times of a rollout."""


def solutions(comparison: Comparison, problem: Problem) -> dict[str, bytes]:
    """What each run has found, drawn as what it is: file name to content.

    Fields as images or lines, with their differences to the true one and to the target;
    the rollout of a flow as an image of space and time, or as a film; a control, and
    the motion it makes; an orbit among the positions that were seen; the postures of an
    arm. PNG and SVG of each, GIF of a film; nothing for problems that are points.

    **Arguments:** `comparison`: of that problem.

    **Raises:** `TypeError` for what is no comparison or problem; `MissingExtra` without
    matplotlib.

    >>> import physgrad as pg
    >>> problem = pg.problems.get("arm-reach")
    >>> method = {"pg": pg.PhysicalGradient(1.0)}
    >>> found = pg.compare(problem.objective, problem.start, method, 2)
    >>> sorted(pg.plot.solutions(found, problem))
    ['arm.png', 'arm.svg']
    """
    checked_comparison(comparison)
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem, got {type(problem).__name__}")
    drawn: dict[str, bytes] = {}
    with own_settings():
        for name, picture in _DRAWERS[problem.picture](comparison, problem):
            if isinstance(picture, bytes):
                drawn[f"{name}.gif"] = picture
            else:
                for form in ("png", "svg"):
                    drawn[f"{name}.{form}"] = content(picture, form)
    return drawn


Pictures = Iterator[tuple[str, Figure | bytes]]


def _nothing(comparison: Comparison, problem: Problem) -> Pictures:
    """Trajectories say it all."""
    yield from ()


def _fields(comparison: Comparison, problem: Problem) -> Pictures:
    """x and z of each run beside what they should be."""
    yield from _both(comparison, problem, lambda state: state)


def _flow(comparison: Comparison, problem: Problem) -> Pictures:
    yield from _both(comparison, problem, lambda state: state)
    yield from _rollouts(comparison, problem, lambda states: states)


def _waves(comparison: Comparison, problem: Problem) -> Pictures:
    """Of displacement and velocity the former is drawn."""
    yield from _both(comparison, problem, lambda state: state[0])
    yield from _rollouts(comparison, problem, lambda states: states[:, 0])


def _both(
    comparison: Comparison, problem: Problem, shown: Callable[[Any], Any]
) -> Pictures:
    ends = {name: run.x for name, run in comparison.runs.items()}
    simulator = problem.objective.simulator
    target = getattr(problem.objective.loss, "target", None)
    for space, reference, name, points in (
        ("x", problem.solution, TRUE, ends),
        ("z", target, TARGET, {k: simulator(x) for k, x in ends.items()}),
    ):
        panels = {} if reference is None else {name: reference}
        panels = _some({**panels, **points})
        arrays = {key: np.asarray(shown(point)) for key, point in panels.items()}
        axes = fields(
            arrays,
            reference=name if reference is not None and len(arrays) > 1 else None,
            quantity=problem.quantities.get(space, ""),
        )
        yield f"{space}_fields", _figure_of(axes)


def _rollouts(
    comparison: Comparison, problem: Problem, shown: Callable[[Any], Any]
) -> Pictures:
    """From x to z: an image of time and place, or a film of the true and the best."""
    forward: Any = problem.objective.simulator
    rollout = getattr(getattr(forward, "forward", None), "rollout", None)
    if rollout is None:
        return
    points = {name: run.x for name, run in comparison.runs.items()}
    if problem.solution is not None:
        points = {TRUE: problem.solution, **points}
    points = _some(points)
    flows = {name: np.asarray(shown(_rolled(rollout, x))) for name, x in points.items()}
    quantity = problem.quantities.get("x", "")
    if next(iter(flows.values())).ndim == 2:
        reference = TRUE if TRUE in flows and len(flows) > 1 else None
        axes = fields(flows, reference=reference, quantity=quantity)
        for ax in axes:
            ax.set_xlabel("place, in cells")
            ax.set_ylabel("time, downwards")
        yield "rollout", _figure_of(axes)
    else:
        best = min(comparison.runs, key=lambda name: comparison.runs[name].loss)
        pair = {name: flows[name] for name in (TRUE, best) if name in flows}
        yield "rollout", film(pair, quantity)


def _control(comparison: Comparison, problem: Problem) -> Pictures:
    """The control, and the first coordinate of the motion that it makes."""
    ends = {name: run.x for name, run in comparison.runs.items()}
    axes = fields(_some(ends), quantity=problem.quantities.get("x", "control"))
    _name(axes, "control")
    yield "control", _figure_of(axes)
    forward: Any = problem.objective.simulator
    motions = {}
    for name, x in _some(ends).items():
        states = np.asarray(_rolled(forward.forward.rollout, x))
        motions[name] = states.reshape(len(states), 2, -1)[:, 0, -1]
    axes = fields(motions, quantity=problem.quantities.get("z", "state").split(",")[0])
    _name(axes, "the motion that it makes")
    yield "motion", _figure_of(axes)


def _orbit(comparison: Comparison, problem: Problem) -> Pictures:
    forward: Any = problem.objective.simulator
    points = {"start": problem.start}
    points |= {name: run.x for name, run in comparison.runs.items()}
    if problem.solution is not None:
        points = {TRUE: problem.solution, **points}
    states = {
        name: np.asarray(_rolled(forward.forward.rollout, x))[:, 0]
        for name, x in points.items()
    }
    seen = np.asarray(getattr(problem.objective.loss, "target", None))
    yield "orbit", draw_orbit(states, seen, comparison.optimizers)


def _arm(comparison: Comparison, problem: Problem) -> Pictures:
    forward: Any = problem.objective.simulator
    postures = {"start": problem.start}
    postures |= {name: run.x for name, run in comparison.runs.items()}
    joints = {
        name: np.asarray(forward.forward.joints(jnp.asarray(x)))
        for name, x in postures.items()
    }
    goal = np.asarray(getattr(problem.objective.loss, "target", None))
    yield "arm", draw_arm(joints, goal, comparison.optimizers)


_DRAWERS: Mapping[str, Callable[[Comparison, Problem], Pictures]] = {
    "points": _nothing,
    "fields": _fields,
    "flow": _flow,
    "waves": _waves,
    "control": _control,
    "orbit": _orbit,
    "arm": _arm,
}


def _some(points: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are finite, as many as fit in a picture."""
    finite = {
        name: point
        for name, point in points.items()
        if all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(point))
        and _moderate(point)
    }
    return dict(list(finite.items())[:MOST_FIELDS])


def _moderate(point: Any) -> bool:
    return all(np.max(np.abs(leaf)) < 1e30 for leaf in jax.tree.leaves(point))


def _rolled(rollout: Callable[..., Any], x: Any) -> Any:
    return eqx.filter_jit(rollout)(jnp.asarray(x), FRAMES)


def _name(axes: tuple[Any, ...], title: str) -> None:
    """Lines over time steps."""
    for ax in axes:
        ax.set_title(title, loc="left", fontsize=TITLE_SIZE)
        ax.set_xlabel("time step", fontsize=AXIS_SIZE)


def _figure_of(axes: tuple[Any, ...]) -> Figure:
    figure = axes[0].get_figure(root=True)
    if not isinstance(figure, Figure):
        raise ValueError("these axes were removed from their figure")
    return figure
