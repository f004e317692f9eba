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
    if isinstance(tree, dict):
        return {str(key): nested(value) for key, value in tree.items()}
    as_dict = getattr(tree, "_asdict", None)  # named tuples
    if as_dict is not None:
        return nested(as_dict())
    if isinstance(tree, list | tuple):
        return [nested(value) for value in tree]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {f.name: nested(getattr(tree, f.name)) for f in dataclasses.fields(tree)}
    return None if tree is None else np.asarray(tree)


def describe(value: Any) -> str:
    """An optimizer, rule or setting in words: `PhysicalGradient(step_size=0.3)`."""
    if isinstance(value, jax.Array | np.ndarray):
        return str(value) if value.ndim == 0 else f"array{value.shape}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value).__name__  # an Optax transformation: functions without names
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not type(value).__module__.startswith("physgrad"):
            return type(value).__name__  # a library's solver: its insides say little
        fields = ", ".join(
            f"{f.name}={describe(getattr(value, f.name))}"
            for f in dataclasses.fields(value)
            if getattr(value, f.name) is not None
        )
        return f"{type(value).__name__}({fields})"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)
