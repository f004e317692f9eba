"""A comparison as one JSON document."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import PyTree

from physgrad.names import package_version
from physgrad.trajectory import Run

if TYPE_CHECKING:
    from physgrad.comparison.comparison import Comparison

SCHEMA = 1


def document(comparison: Comparison) -> dict[str, Any]:
    """The document of `Comparison.to_json`, with arrays still arrays."""
    start = comparison.start
    return {
        "schema": SCHEMA,
        "physgrad": package_version(),
        "problem": comparison.problem,
        "start": nested(start),
        "steps": comparison.num_steps,
        "dtype": str(jax.tree.leaves(start)[0].dtype),
        "runs": {
            name: _run(run)
            | {
                "optimizer": comparison.optimizers[name],
                "distance": comparison.distance(name),
                "diagonal": comparison.alignment(name),
            }
            for name, run in comparison.runs.items()
        },
    }


def _run(run: Run) -> dict[str, Any]:
    trajectory = run.trajectory
    return {
        "optimizer": None,
        "result": str(run.result),
        "message": run.message,
        "spaces": {name: nested(tree) for name, tree in trajectory.spaces.items()},
        "targets": None if trajectory.targets is None else nested(trajectory.targets),
        "losses": trajectory.losses,
        "distance": None,
        "diagonal": None,
        "evaluations": dict(run.evaluations),
        "seconds": run.seconds._asdict(),
    }


def nested(tree: PyTree) -> Any:
    """A PyTree as arrays in dicts with text keys, and lists."""
    fields = named_fields(tree)
    if fields is not None:
        return {str(name): nested(part) for name, part in fields.items()}
    if isinstance(tree, list | tuple):
        return [nested(value) for value in tree]
    return None if tree is None else np.asarray(tree)


def named_fields(tree: PyTree) -> dict[Any, Any] | None:
    """The parts of a dict, named tuple or dataclass by their names; None for others."""
    if isinstance(tree, dict):
        return tree
    if hasattr(tree, "_asdict"):
        return tree._asdict()
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree)}
    return None
