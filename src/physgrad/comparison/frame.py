"""A comparison as a pandas table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from physgrad.results import MissingExtra

if TYPE_CHECKING:
    from physgrad.comparison.comparison import Comparison


def frame(comparison: Comparison) -> Any:
    """A `pandas.DataFrame`: one row for each method and iterate.

    **Raises:** `MissingExtra` where pandas is not installed.
    """
    try:
        import pandas  # the extra "pandas"
    except ImportError as error:
        raise MissingExtra("pandas", "pandas", "Comparison.to_pandas") from error
    parts = []
    for name, run in comparison.runs.items():
        trajectory = run.trajectory
        columns = {"method": [name] * len(trajectory), "step": trajectory.steps}
        for space in trajectory.spaces:
            leaves = jax.tree_util.tree_leaves_with_path(trajectory[space])
            for path, leaf in leaves:
                label = space + jax.tree_util.keystr(path)
                flat = np.reshape(leaf, (len(trajectory), -1))
                for place, index in enumerate(np.ndindex(leaf.shape[1:])):
                    suffix = "".join(f"[{i}]" for i in index)
                    columns[label + suffix] = flat[:, place]
        parts.append(pandas.DataFrame(columns | {"loss": trajectory.losses}))
    return pandas.concat(parts, ignore_index=True)
