"""Many runs at once, on the host: full buckets, compacted as members end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from physgrad.inverses.flat import flatten, leaf_name
from physgrad.inverses.settings import brief, flag, optional, whole_number
from physgrad.inverses.trees import arrays
from physgrad.loop import compiled
from physgrad.loop.batch import Batch
from physgrad.loop.bucket import Family
from physgrad.loop.reporting import reporter, wants_bar
from physgrad.loop.start import check_concrete, check_kinds, floating_start
from physgrad.loop.stopping import StopRule
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.trajectory import Runs

# In buckets of at least so many the compiler treats all members alike.
DETERMINISTIC = 8
DEFAULT_DEVICE = "jax_default_device"


def minimize_many(
    objective: Objective | Callable[[Any], Objective],
    optimizer: Optimizer,
    starts: PyTree,
    num_steps: int = 100,
    *,
    parameters: PyTree = None,
    stop: StopRule = None,
    record_every: int | None = None,
    deterministic: bool = False,
    devices: int | Sequence[Any] | None = None,
    progress: bool | None = None,
) -> Runs:
    """Run an optimizer on many problems of one shape at once, each to its own end.

    All members step in one compiled loop; when at most half of them go on, these are
    packed into a loop for the next power of two, so that nobody waits for a straggler.
    A member that fails changes no other, and says so by its own code.

    **Arguments:**

    - `objective`: of all members; with `parameters` a function that takes those of one
        member and returns its `Objective`.
    - `starts`: PyTree of arrays, one entry of their leading axis for each member.
    - `num_steps`, `stop`: as in `minimize`, for each member.
    - `parameters`: PyTree of arrays with the same leading axis.
    - `record_every`: None keeps start and end of each; as in `minimize` otherwise, in
        arrays that are as long as the longest run.
    - `deterministic`: the bits of a member are the same in whatever company and on any
        number of devices: at least eight in a loop, always a power of two, and on CPUs
        code that XLA does not optimize, about twice as slow.
    - `devices`: how many, or which; None for all. Each has a loop of its own.
    - `progress`: a bar on stderr, on a terminal only; None: for more than 1,000 steps.

    **Returns:** `Runs`: `runs.x`, `runs.losses`, `runs.codes`, ... with a leading axis;
    `runs[i]` is the `Run` of a member, with its message, `runs.best` that of the least
    loss, for many starts of one problem.

    **Raises:** `ValueError`, `TypeError` for wrong arguments, before anything runs. A
    start that is NaN is no error: that member ends as `non_finite`.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> def fit(target):
    ...     return pg.Objective(lambda x: x**2, pg.SquaredLoss(target))
    >>> starts, targets = jnp.array([[1.0], [1.0]]), jnp.array([[4.0], [9.0]])
    >>> method, stop = pg.LevenbergMarquardt(), pg.Stop(loss=1e-8)
    >>> runs = pg.minimize_many(fit, method, starts, parameters=targets, stop=stop)
    >>> runs, runs.x.round(3).ravel().tolist()
    (Runs(2 members: 2 converged), [2.0, 3.0])
    """
    num_steps = whole_number("num_steps", 0)(num_steps)
    record_every = optional(whole_number("record_every", 1))(record_every)
    deterministic = flag("deterministic")(deterministic)
    check_concrete(objective, optimizer, starts, parameters, stop)
    starts, parameters = _members(starts, parameters)
    family = Family(objective, optimizer, stop)
    if parameters is not None and (
        isinstance(objective, Objective | type) or not callable(objective)
    ):
        raise TypeError(
            "with parameters, objective must be a function of those of one member that "
            f"returns an Objective, got {brief(objective)}"
        )
    one = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), parameters)
    check_kinds(family.one(one), optimizer, stop)
    if parameters is None and family.objective.bounds is not None:
        family.objective.bounds.check(starts)
    watched = wants_bar(progress, num_steps)
    with (
        compiled.same_bits_in_each_row() if deterministic else contextlib.nullcontext(),
        reporter(watched) as show,
    ):
        batch = Batch(
            family,
            starts,
            parameters,
            num_steps,
            record_every,
            least=DETERMINISTIC if deterministic else 1,
            devices=_devices(devices),
        )
        while batch.goes_on:
            batch.advance(watched)
            show(batch.snapshot())
        return batch.finish()


def _members(starts: PyTree, parameters: PyTree) -> tuple[PyTree, PyTree]:
    """Starts and parameters as arrays.

    **Raises:** `ValueError` for leaves whose leading axes are missing or differ.
    """
    starts = floating_start(starts, "starts")
    parameters = arrays("parameters", parameters)
    counts = {}
    for name, tree in (("starts", starts), ("parameters", parameters)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if not leaf.ndim:
                raise ValueError(
                    f"{leaf_name(name, path)} must have a leading axis of members, got "
                    "a number"
                )
            counts[leaf_name(name, path)] = len(leaf)
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"all must have the same number of members, got {got}")
    like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), starts)
    flatten(like, "a start")
    return starts, parameters


def _devices(devices: Any) -> Sequence[Any] | None:
    """The devices to use; None for the one that JAX takes anyway."""
    there = jax.local_devices()
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        if not devices or not all(isinstance(one, jax.Device) for one in devices):
            raise TypeError(
                f"devices must be devices such as those of jax.devices(), got {devices}"
            )
        return devices
    count = 1 if getattr(jax.config, DEFAULT_DEVICE) is not None else len(there)
    if devices is not None:
        count = whole_number("devices", 1)(devices)
    if count > len(there):
        raise ValueError(
            f"devices must be at most {len(there)}, as many as JAX has of "
            f"{there[0].platform}, got {count}"
        )
    return None if count == 1 else there[:count]
