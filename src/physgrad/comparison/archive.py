"""A comparison in files: arrays to the bit, everything else as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from physgrad.comparison.document import SCHEMA, document, named_fields
from physgrad.results import CheckpointError, Result
from physgrad.storage import from_json, load_folder, pack_arrays, to_json, unpack_arrays
from physgrad.trajectory import Certificates, Run, Seconds, Trajectory

if TYPE_CHECKING:
    from physgrad.comparison.comparison import Comparison

RESULTS, ARRAYS = "results.json", "results.npz"


def saved_files(comparison: Comparison) -> dict[str, bytes]:
    """The files of a comparison: name to content."""
    store = _Store()
    runs = {name: _packed(run, store) for name, run in comparison.runs.items()}
    archive = {
        "runs": runs,
        "solution": store.put(comparison.solution),
        "direction": store.put(comparison.direction),
    }
    text = to_json(document(comparison) | {"archive": archive})
    return {RESULTS: text.encode(), ARRAYS: pack_arrays(store.arrays)}


def load_runs(folder: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """The fields of a saved comparison (`CheckpointError` if it is broken or newer)."""
    files = load_folder(folder, kind=kind)
    for name in (RESULTS, ARRAYS):
        if name not in files:
            raise CheckpointError(f"{folder}: the manifest does not list {name}")
    saved = from_json(files[RESULTS].decode(), name=RESULTS)
    if saved.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{RESULTS}: schema must be {SCHEMA}, got {saved.get('schema')!r}; it was "
            f"written by physgrad {saved.get('physgrad')}"
        )
    arrays = unpack_arrays(files[ARRAYS], name=ARRAYS)
    try:
        archive = saved["archive"]
        return {
            "runs": {
                name: _unpacked(saved["runs"][name], packed, arrays)
                for name, packed in archive["runs"].items()
            },
            "optimizers": {n: run["optimizer"] for n, run in saved["runs"].items()},
            "num_steps": saved["steps"],
            "problem": saved["problem"],
            "solution": _get(archive["solution"], arrays),
            "direction": _get(archive["direction"], arrays),
        }
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{RESULTS}: does not describe a comparison: {error}"
        ) from error


class _Store:
    """Arrays by number, and trees that refer to them."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def put(self, tree: PyTree) -> Any:
        """A JSON description of a tree whose arrays go into the store."""
        if tree is None:
            return None
        if isinstance(tree, list | tuple) and not hasattr(tree, "_asdict"):
            kind = "list" if isinstance(tree, list) else "tuple"
            return {kind: [self.put(value) for value in tree]}
        if isinstance(tree, dict) and not all(isinstance(key, str) for key in tree):
            pairs = [[_key(key), self.put(value)] for key, value in tree.items()]
            return {"pairs": pairs}
        fields = named_fields(tree)  # named tuples and modules come back as dicts
        if fields is not None:
            return {"dict": {name: self.put(part) for name, part in fields.items()}}
        number = str(len(self.arrays))
        self.arrays[number] = np.asarray(tree)
        return {"array": number}


def _key(key: Any) -> Any:
    """A key of a dict that JSON gives back as it is; others as text."""
    return key if isinstance(key, str | int | float | bool) else str(key)


def _get(description: Any, arrays: Mapping[str, np.ndarray]) -> PyTree:
    if description is None:
        return None
    ((kind, value),) = description.items()
    if kind == "array":
        return arrays[value]
    if kind in ("dict", "pairs"):
        items = value.items() if kind == "dict" else value
        return {key: _get(part, arrays) for key, part in items}
    return {"list": list, "tuple": tuple}[kind](_get(part, arrays) for part in value)


def _array(value: np.ndarray) -> Any:
    """As a JAX array where that has the same bits: float64 needs the x64 switch."""
    same = jnp.result_type(float) == jnp.float64 or value.dtype != np.float64
    return jnp.asarray(value) if same else value


def _packed(run: Run, store: _Store) -> dict[str, Any]:
    trajectory, certificates = run.trajectory, run.trajectory.certificates
    return {
        "x": store.put(run.x),
        "spaces": {name: store.put(tree) for name, tree in trajectory.spaces.items()},
        "losses": store.put(trajectory.losses),
        "steps": store.put(trajectory.steps),
        "targets": store.put(trajectory.targets),
        "certificates": None if certificates is None else store.put(vars(certificates)),
        "num_steps": run.num_steps,
        "compilations": run.compilations,
    }


def _unpacked(
    saved: dict[str, Any], packed: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> Run:
    def get(key: str) -> PyTree:
        return _get(packed[key], arrays)

    certificates = get("certificates")
    trajectory = Trajectory(
        {name: _get(tree, arrays) for name, tree in packed["spaces"].items()},
        get("losses"),
        get("steps"),
        get("targets"),
        None if certificates is None else Certificates(**certificates),
    )
    return Run(
        jax.tree.map(_array, get("x")),
        Result(saved["result"]),
        saved["message"],
        trajectory,
        saved["evaluations"],
        Seconds(**saved["seconds"]),
        packed["num_steps"],
        packed["compilations"],
    )
