"""A space of a comparison as a plane: points, start, solution, and L on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from physgrad import problems
from physgrad.cards import is_problem
from physgrad.comparison.comparison import Comparison
from physgrad.inverses.flat import leaf_name
from physgrad.names import nearest
from physgrad.objective.objective import FlatObjective, Objective
from physgrad.plot.principal import PRINCIPAL, principal_plane

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclasses.dataclass(frozen=True)
class Plane:
    """Two coordinates of one space, and what lies in it. Points have shape (.., 2)."""

    space: str
    """The name of the space."""
    axis_names: tuple[str, str]
    """What the coordinates are called."""
    points: Mapping[str, np.ndarray]
    """Run to its iterates, shape (iterates, 2)."""
    solution: np.ndarray | None
    """The known solution in this space, shape (2,)."""
    loss: Callable[[Any], Any] | None
    """L from a flat point, if the plane is the whole space and L is known."""
    dtype: np.dtype
    """Of x."""

    @property
    def landmarks(self) -> list[np.ndarray]:
        """The start, and the solution if it is known."""
        return [self.start] if self.solution is None else [self.start, self.solution]

    @property
    def start(self) -> np.ndarray:
        """Where every run begins, shape (2,)."""
        return next(iter(self.points.values()))[0]


def checked_comparison(comparison: Comparison) -> Comparison:
    """What a picture is made of, or a `TypeError` that says what it is instead."""
    if not isinstance(comparison, Comparison):
        kind = type(comparison).__name__
        article = "an" if kind[0] in "AEIOUaeiou" else "a"
        raise TypeError(
            f"comparison must be a Comparison, got {article} {kind}; make one: "
            "compare(objective, x0, {...})"
        )
    return comparison


def plane_of(
    comparison: Comparison,
    space: str,
    objective: Objective | None = None,
    coordinates: Sequence[int] | str | None = None,
) -> Plane:
    """The plane of a space.

    **Arguments:** `space`: its name; `objective`: for L, where the comparison does not
    know it; `coordinates`: the two flat entries to show, or "principal", which a space
    of more than two needs.

    **Raises:** `ValueError` for an unknown space, one that has not two entries (without
    `coordinates`), or coordinates that do not exist.
    """
    trees = _trees(comparison, space)
    names = entry_names(space, jax.tree.map(lambda a: a[0], next(iter(trees.values()))))
    pair = _checked_coordinates(space, len(names), coordinates)
    solution, loss = _known(comparison, space, objective)
    loss = loss if len(names) == 2 else None
    points = {name: flat_points(tree) for name, tree in trees.items()}
    dtype = np.dtype(jax.tree.leaves(comparison.start)[0].dtype)
    if pair is None:
        whole = Plane(space, ("", ""), points, solution, loss, dtype)
        return _principal(comparison, whole)
    return Plane(
        space,
        (names[pair[0]], names[pair[1]]),
        {name: every[:, pair] for name, every in points.items()},
        None if solution is None else solution[pair],
        loss if pair == [0, 1] else None,
        dtype,
    )


def line_of(
    comparison: Comparison, space: str, objective: Objective | None = None
) -> Plane:
    """A space of one entry, and L above it: its points are (entry, L).

    **Arguments:** as of `plane_of`; `loss` is L of a point of shape (1,).
    """
    trees = _trees(comparison, space)
    names = entry_names(space, jax.tree.map(lambda a: a[0], next(iter(trees.values()))))
    solution, loss = _known(comparison, space, objective)
    points = {
        name: np.stack([flat_points(tree)[:, 0], run.trajectory.losses], axis=1)
        for (name, tree), run in zip(
            trees.items(), comparison.runs.values(), strict=True
        )
    }
    if solution is not None and loss is not None:
        height = np.asarray(jax.jit(loss)(jnp.asarray(solution)))
        solution = np.array([solution[0], height])
    dtype = np.dtype(jax.tree.leaves(comparison.start)[0].dtype)
    return Plane(space, (names[0], "L"), points, solution, loss, dtype)


def _known(
    comparison: Comparison, space: str, objective: Objective | None
) -> tuple[np.ndarray | None, Callable[[Any], Any] | None]:
    """The solution in a space, and L of a flat point of it, where they are known."""
    flat = flat_objective(comparison, objective)
    if flat is None:
        first = space == end_spaces(comparison)[0]
        return _flat(comparison.solution) if first else None, None
    spaces = _space_names(comparison, objective)
    if space not in spaces:
        return None, None
    index = spaces.index(space)
    return _solution(comparison, flat, index), _loss_from(flat, index)


def _principal(comparison: Comparison, whole: Plane) -> Plane:
    """A space with all its entries, seen in the plane in which the runs move most."""
    losses = {name: run.trajectory.losses for name, run in comparison.runs.items()}
    first_loss = float(next(iter(losses.values()))[0])
    runs = [(points, losses[name]) for name, points in whole.points.items()]
    plane = principal_plane(runs, first_loss)
    solution, inner = whole.solution, whole.loss
    if solution is not None:
        solution = plane.coordinates(solution[None])[0]
    loss: Callable[[Any], Any] | None = None
    if inner is not None:  # of two entries: the plane is the whole space, turned
        origin, directions = plane.origin, plane.directions

        def turned(point: Any) -> Any:
            away = point @ jnp.asarray(directions, point.dtype)
            return inner(jnp.asarray(origin, point.dtype) + away)

        loss = turned
    points = {name: plane.coordinates(every) for name, every in whole.points.items()}
    return dataclasses.replace(
        whole,
        axis_names=plane.axis_names(whole.space),
        points=points,
        solution=solution,
        loss=loss,
    )


def count_entries(comparison: Comparison, space: str) -> int:
    """How many flat entries a point of a space has (`ValueError`: unknown space)."""
    tree = next(iter(_trees(comparison, space).values()))
    return sum(int(np.prod(np.shape(leaf)[1:])) for leaf in jax.tree.leaves(tree))


def widest_pair(comparison: Comparison, space: str) -> tuple[int, int] | None:
    """The two flat entries that move the most; None in a space of fewer than two."""
    points = np.concatenate(
        [flat_points(tree) for tree in _trees(comparison, space).values()]
    )
    if points.shape[1] < 2:
        return None
    with np.errstate(over="ignore"):
        spread = np.ptp(points, axis=0)
    first, second = sorted(np.argsort(-spread, kind="stable")[:2].tolist())
    return first, second


def end_spaces(comparison: Comparison) -> tuple[str, str]:
    """The names of the first and the last space: x and z, unless they were renamed."""
    spaces = list(_first_run(comparison).trajectory.spaces)
    return spaces[0], spaces[-1]


def chosen_methods(comparison: Comparison, methods: Iterable[str] | None) -> list[str]:
    """The names of the runs to draw, in the order of the comparison.

    **Raises:** `ValueError` naming the nearest match for an unknown name; `TypeError`
    for one name instead of several.
    """
    if methods is None:
        return list(comparison.runs)
    if isinstance(methods, str):
        raise TypeError(f"methods must be several names, got the text {methods!r}")
    wanted = list(methods)
    for name in wanted:
        if name not in comparison.runs:
            raise ValueError(
                f"unknown method {name!r}{nearest(str(name), comparison.runs)}"
            )
    return [name for name in comparison.runs if name in wanted]


def known_objective(
    comparison: Comparison, objective: Objective | None = None
) -> Objective | None:
    """The objective that is given, the comparison's own, or that of its problem."""
    if objective is None:
        objective = comparison.objective
    name = comparison.problem
    if objective is None and name is not None and is_problem(name):
        dtype = jax.tree.leaves(comparison.start)[0].dtype
        # float64 results may be looked at while JAX is set to float32
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        objective = problems.get(name, dtype).objective
    return objective


def flat_objective(
    comparison: Comparison, objective: Objective | None = None
) -> FlatObjective | None:
    """The objective between flat vectors, None where it is not known."""
    known = known_objective(comparison, objective)
    if known is None:
        return None
    flat, _ = known.flatten(jax.tree.map(jnp.asarray, comparison.start))
    return flat


def entry_names(space: str, tree: Any) -> list[str]:
    """What the flat entries of a point are called: `x₀`, or `x['a'][1, 0]` in a tree.

    >>> entry_names("x", np.zeros(2)), entry_names("z", {"a": np.zeros(2)})
    (['x₀', 'x₁'], ["z['a'][0]", "z['a'][1]"])
    """
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        base = leaf_name(space, path)
        for place in np.ndindex(np.shape(leaf)):
            if not path and len(place) == 1 and not space[-1].isdigit():
                names.append(space + str(place[0]).translate(_SUBSCRIPTS))
            else:
                names.append(base + (f"[{', '.join(map(str, place))}]" * bool(place)))
    return names


def _trees(comparison: Comparison, space: str) -> dict[str, Any]:
    known = list(_first_run(comparison).trajectory.spaces)
    if space not in known:
        raise ValueError(f"unknown space {space!r}{nearest(str(space), known)}")
    return {name: run.trajectory[space] for name, run in comparison.runs.items()}


def _first_run(comparison: Comparison) -> Any:
    return next(iter(comparison.runs.values()))


def _checked_coordinates(
    space: str, entries: int, coordinates: Sequence[int] | str | None
) -> list[int] | None:
    """The two flat entries to show; None for the principal plane."""
    if coordinates is None:
        if entries == 2:
            return [0, 1]
        hint = 'choose two with coordinates=(0, 1), or coordinates="principal"'
        raise ValueError(_too_few(space, entries, hint))
    if isinstance(coordinates, str):
        if coordinates != PRINCIPAL:
            raise ValueError(
                f"coordinates must be two whole numbers or {PRINCIPAL!r}, got "
                f"{coordinates!r}"
            )
        if entries < 2:
            raise ValueError(_too_few(space, entries, ""))
        return None
    pair = list(coordinates)
    whole = all(isinstance(i, int | np.integer) for i in pair)
    if len(pair) != 2 or not whole or pair[0] == pair[1]:
        raise ValueError(
            f"coordinates must be two different whole numbers, got {coordinates!r}"
        )
    if not all(0 <= i < entries for i in pair):
        raise ValueError(
            f"coordinates must be 0 to {entries - 1} in {space!r}, got {coordinates!r}"
        )
    return pair


def _too_few(space: str, entries: int, hint: str) -> str:
    if entries < 2:
        hint = "plot.losses shows its runs"
    return f"a picture needs a space of 2 entries, and {space!r} has {entries}; {hint}"


def _space_names(comparison: Comparison, objective: Objective | None) -> list[str]:
    known = known_objective(comparison, objective)
    return [] if known is None else list(known.simulator.space_names)


def _solution(
    comparison: Comparison, flat: FlatObjective, index: int
) -> np.ndarray | None:
    x = _flat(comparison.solution)
    if x is None:
        return None
    # one compiled call: operations one by one would be compiled one by one
    return np.asarray(eqx.filter_jit(flat.simulator.spaces)(jnp.asarray(x))[index])


def _loss_from(flat: FlatObjective, index: int) -> Callable[[Any], Any]:
    """L as a function of the flat point in space number `index`."""
    forward = flat.simulator
    rest = forward.part(index, len(forward.functions))
    return lambda point: flat.loss(rest(point))


def _flat(tree: Any) -> np.ndarray | None:
    if tree is None:
        return None
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def flat_points(tree: Any) -> np.ndarray:
    """Every recorded point of a space, flat: shape (iterates, entries)."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
