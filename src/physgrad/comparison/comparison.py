"""`compare`: several methods on one objective, from one start, side by side."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from physgrad.comparison.archive import load_runs, saved_files
from physgrad.comparison.document import document
from physgrad.comparison.frame import frame
from physgrad.comparison.table import table, text
from physgrad.inverses.settings import describe
from physgrad.loop.host import minimize
from physgrad.loop.start import checked_start
from physgrad.loop.stopping import StopRule
from physgrad.names import package_version
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.optimizers.scipy_optimizer import ScipyOptimizer
from physgrad.storage import save_folder, to_json
from physgrad.trajectory import Run

KIND = "comparison"


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no truth of their own
class Comparison:
    """The runs of several methods from one start.

    `comparison["PG"]` is a `Run`, as in a dict: names are iterated over, `len` counts
    them, `comparison.runs.items()` has both. `print(comparison)` shows the table.
    """

    runs: Mapping[str, Run]
    """One run for each method, in the order given."""
    optimizers: Mapping[str, str]
    """What each method was, in words."""
    num_steps: int
    """Steps that were asked for."""
    problem: str | None = None
    """The name of the problem, if it has one."""
    solution: PyTree | None = None
    """The known solution in x-space, if there is one."""
    direction: PyTree | None = None
    """The direction in x-space that first steps are held against, if there is one."""
    objective: Objective | None = None
    """What was minimized, for level lines; not saved."""

    def __getitem__(self, name: str) -> Run:
        try:
            return self.runs[name]
        except KeyError:
            known = ", ".join(self.runs)
            raise KeyError(f"no run {name!r}; this comparison has {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def start(self) -> PyTree:
        """x0, a PyTree of arrays."""
        run = next(iter(self.runs.values()))
        return jax.tree.map(lambda a: a[0], _way(run))

    def distance(self, name: str) -> float | None:
        """|x - solution| at the end of a run; None without a known solution."""
        if self.solution is None:
            return None
        return float(np.linalg.norm(_flat(self[name].x) - _flat(self.solution)))

    def alignment(self, name: str) -> float | None:
        """The first step of a run along `direction`: (x0 - x1) . d / |x0 - x1|.

        In two dimensions with d = (1, 1) the largest value is sqrt(2): straight along
        the diagonal. None without a direction, or if x did not move.
        """
        if self.direction is None or len(self[name].trajectory) < 2:
            return None
        x = _way(self[name])
        step = _flat(jax.tree.map(lambda a: a[0], x)) - _flat(
            jax.tree.map(lambda a: a[1], x)
        )
        length = np.linalg.norm(step)
        return float(step @ _flat(self.direction) / length) if length > 0 else None

    def difference(self, name: str, other: str) -> float | None:
        """Mean absolute difference of the iterates of two runs in x-space.

        None where one of them has more iterates.
        """
        ways = (jax.tree.leaves(_way(self[key])) for key in (name, other))
        one, two = (np.concatenate(list(map(np.ravel, way))) for way in ways)
        return float(np.mean(np.abs(one - two))) if one.shape == two.shape else None

    def table(self) -> Any:
        """A `rich.table.Table`, one row a method; `print(comparison)` shows it too."""
        return table(self)

    def __str__(self) -> str:
        return text(self.table())

    def to_json(self) -> str:
        """One strict JSON document with every iterate; numbers not finite are null."""
        return to_json(document(self))

    def to_pandas(self) -> Any:
        """One row for each method and iterate, flat columns such as `x[0]`, `loss`.

        **Raises:** `MissingExtra` where pandas is not installed.
        """
        return frame(self)

    def save(self, folder: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write `results.json`, `results.npz` and `manifest.json`, as a whole.

        **Raises:** `FileExistsError` where older results are, unless `force`;
        `OSError` where the folder cannot be written.
        """
        return save_comparison(self, folder, {}, force=force)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Comparison:
        """Read what `save` has written, to the same bits.

        **Raises:** `CheckpointError` naming what is missing, broken or newer.
        """
        return cls(**load_runs(folder, KIND))


def save_comparison(
    comparison: Comparison,
    folder: str | os.PathLike[str],
    more: Mapping[str, bytes],
    *,
    force: bool,
) -> Path:
    """Save a comparison, and `more` files with it (figures), in one piece."""
    files = {**saved_files(comparison), **more}
    save_folder(folder, files, kind=KIND, version=package_version(), force=force)
    return Path(folder)


def compare(
    objective: Objective,
    x0: PyTree,
    optimizers: Mapping[str, Optimizer | ScipyOptimizer],
    num_steps: int = 10,
    *,
    stop: StopRule = None,
    record_every: int = 1,
    progress: bool | None = None,
    problem: str | None = None,
    solution: PyTree | None = None,
    direction: PyTree | None = None,
) -> Comparison:
    """Run several optimizers on one objective from one start.

    **Arguments:**

    - `x0`: the start, a PyTree; `optimizers`: name to optimizer.
    - `num_steps`, `stop`, `record_every`, `progress`: as in `minimize`.
    - `problem`, `solution`, `direction`: see the fields of `Comparison`.

    **Returns:** a `Comparison`. A run that fails is a result like the others.

    **Raises:** `ValueError` without optimizers; else as `minimize`.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**2, lambda z: jnp.sum(z**2))
    >>> methods = {"GD": pg.GradientDescent(0.01), "PG": pg.PhysicalGradient(0.3)}
    >>> comparison = pg.compare(objective, jnp.array([3.0]), methods, num_steps=5)
    >>> comparison["PG"].loss < comparison["GD"].loss
    True
    """
    if not isinstance(optimizers, Mapping):
        raise TypeError(
            f"optimizers must map names to optimizers, got {type(optimizers).__name__}"
        )
    if not all(isinstance(name, str) for name in optimizers):
        raise TypeError(f"names of optimizers must be text, got {list(optimizers)}")
    if not optimizers:
        raise ValueError("a comparison needs at least one optimizer, got none")
    x0 = checked_start(x0)
    for what, tree in (("solution", solution), ("direction", direction)):
        if tree is not None and _flat(tree).shape != _flat(x0).shape:
            raise ValueError(
                f"{what} must have {_flat(x0).size} entries like x0, got "
                f"{_flat(tree).size}"
            )
    runs = {
        name: minimize(
            objective,
            optimizer,
            x0,
            num_steps,
            stop=stop,
            record_every=record_every,
            progress=progress,
        )
        for name, optimizer in optimizers.items()
    }
    words = {name: describe(optimizer) for name, optimizer in optimizers.items()}
    return Comparison(runs, words, num_steps, problem, solution, direction, objective)


def _way(run: Run) -> PyTree:
    """The iterates in x-space, whatever name that has."""
    return next(iter(run.trajectory.spaces.values()))


def _flat(tree: PyTree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
