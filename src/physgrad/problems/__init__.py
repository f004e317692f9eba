"""Named problems: objective, start, known solution and the methods they are run with.

>>> import physgrad as pg
>>> "toy" in pg.problems.names()
True
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from jax.flatten_util import ravel_pytree

from physgrad.cards import PROBLEMS, ProblemCard, parse_problem
from physgrad.inverses.trees import in_precision
from physgrad.loop.start import checked_start
from physgrad.problems.problem import Problem

_registered: dict[str, Problem] = {}


def names() -> tuple[str, ...]:
    """The names of all problems."""
    return tuple(PROBLEMS)


def get(
    name: str,
    dtype: Any = None,
    *,
    size: int | None = None,
    noise: float | None = None,
    seed: int | None = None,
) -> Problem:
    """A problem by its name, in float32 or float64 (default: JAX's default float).

    **Arguments:**

    - `name`: one of `names`, or with settings as on the command line, such as
        "heat-source:size=32,seed=1".
    - `size`, `noise`, `seed`: of problems that have them; noise is a standard
        deviation, as a part of the root mean square of the data.

    **Raises:** `ValueError` naming the nearest match for an unknown name, or a setting
    that the problem does not have or cannot take; `TypeError` for what is no name.

    >>> import physgrad as pg
    >>> pg.problems.get("heat-source", size=16, seed=1).name
    'heat-source:size=16,seed=1'
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a problem must be text, got {name!r}")
    named = parse_problem(name, size=size, noise=noise, seed=seed)
    if named.name in _registered:
        return _in_dtype(_registered[named.name], dtype)
    home = named.name.replace("-", "_")
    module = importlib.import_module(f"physgrad.problems.{home}")
    problem = module.problem(dtype, **named.settings)
    return dataclasses.replace(problem, name=named.text)


def register(problem: Problem, what: str = "a problem of yours") -> None:
    """Let a problem of your own be known by its name, as long as this process lives.

    `get`, the pictures of loaded results and the page then find it as they find the
    ones that come with physgrad. Registering the same name again replaces it.

    **Arguments:** `problem`: its start has real floating entries; `what`: one line for
    lists of problems.

    **Raises:** `TypeError` for what is no `Problem`; `ValueError` for a name that one
    of physgrad's problems has, or that is empty or not printable.

    >>> import jax.numpy as jnp
    >>> import physgrad as pg
    >>> cube = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8.0) ** 2))
    >>> pg.problems.register(pg.Problem("cube", cube, jnp.ones(1)))
    >>> pg.problems.get("cube").name
    'cube'
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem, got {type(problem).__name__}")
    name = problem.name
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError(f"the name of a problem must be printable text, got {name!r}")
    if name in PROBLEMS and name not in _registered:
        raise ValueError(f"physgrad has a problem {name!r}: choose another name")
    entries = ravel_pytree(checked_start(problem.start))[0].size
    _registered[name] = problem
    PROBLEMS[name] = ProblemCard(what, entries, tuple(problem.inverses))


def _in_dtype(problem: Problem, dtype: Any) -> Problem:
    """The problem with its floating arrays, but for those in closures, in a dtype."""
    if dtype is None:
        return problem
    objective, start, solution, direction = in_precision(
        (problem.objective, problem.start, problem.solution, problem.direction), dtype
    )
    return dataclasses.replace(
        problem,
        objective=objective,
        start=start,
        solution=solution,
        direction=direction,
    )
