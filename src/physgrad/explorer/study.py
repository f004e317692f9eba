"""From the settings of a page to what it shows: the comparison, and one step of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import DTypeLike
from jaxtyping import PyTree

from physgrad import problems
from physgrad.cards import parse_problem
from physgrad.comparison.comparison import Comparison, compare
from physgrad.explorer.settings import (
    MOST_METHODS,
    MOST_NUMBERS,
    Formulas,
    Settings,
)
from physgrad.expressions import parse
from physgrad.inverses.rule import Inverse
from physgrad.loop.compiled import quick_to_compile
from physgrad.loop.host import minimize
from physgrad.names import parse_optimizers
from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.optimizers.named import named_optimizer, named_words
from physgrad.optimizers.scipy_optimizer import ScipyOptimizer
from physgrad.physical_gradient import PhysicalGradient
from physgrad.results import Result
from physgrad.simulator import Simulator

# Problems and methods that are kept, so that their programs are not compiled again.
KEPT = 32


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is minimized."""

    objective: Objective
    like: PyTree
    """An x, for its structure and dtypes."""
    inverses: Mapping[str, Inverse]
    problem: str | None
    solution: PyTree | None
    direction: PyTree | None


class Typed:
    """z by the formulas that a user typed; the same text is the same function."""

    def __init__(self, texts: tuple[str, ...], names: tuple[str, ...]):
        self._key = texts, names
        self._formulas = [parse(text, names) for text in texts]

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def variables(self) -> frozenset[str]:
        """Those that the formulas use."""
        return frozenset().union(*(formula.names for formula in self._formulas))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Typed) and other._key == self._key

    def __call__(self, point: jax.Array) -> jax.Array:
        """The values of all formulas at a point, shape (formulas,)."""
        values = dict(zip(self._key[1], point, strict=True))
        found = [jnp.asarray(f(values), point.dtype) for f in self._formulas]
        return jnp.stack(found)


class TypedLoss(Typed):
    """L by one formula."""

    def __call__(self, point: jax.Array) -> jax.Array:
        """L at a point of z."""
        return super().__call__(point)[0]


def subject_of(settings: Settings) -> Subject:
    """What the settings ask to minimize.

    **Raises:** `ValueError` for formulas that leave x or z out.
    """
    return _subject(settings.problem, settings.formulas, settings.float64)


@functools.lru_cache(KEPT)
def _subject(problem: str, formulas: Formulas | None, float64: bool) -> Subject:
    dtype = jnp.float64 if float64 else jnp.float32
    if formulas is not None:
        return _typed_subject(formulas, dtype)
    known = problems.get(problem, dtype)
    return Subject(
        known.objective,
        known.start,
        known.inverses,
        known.name,
        known.solution,
        known.direction,
    )


def _typed_subject(formulas: Formulas, dtype: DTypeLike) -> Subject:
    forward = Typed(formulas.z, tuple(formulas.x_names))
    loss = TypedLoss((formulas.loss,), tuple(formulas.z_names))
    for typed, what, space in ((forward, "z", "x"), (loss, "L", "z")):
        if not typed.variables:
            raise ValueError(f"{what} does not depend on {space}: use {space}0 in it")
    _forget_old_programs()
    objective = Objective(Simulator(forward), loss)
    return Subject(objective, jnp.ones(formulas.entries, dtype), {}, None, None, None)


def _forget_old_programs() -> None:
    """JAX keeps what it traced for each formula; drop it now and then."""
    if _subject.cache_info().misses % KEPT == KEPT - 1:
        jax.clear_caches()


def settings_of(
    name: str, start: tuple[float, ...] | None = None, *, float64: bool = False
) -> Settings:
    """The page of a problem, with its own start and methods.

    **Raises:** `ValueError` for a problem that the page does not show.

    >>> settings_of("arm-reach").optimizers[-1]
    'pg:step_size=1'
    """
    named = parse_problem(name)
    card = named.card
    if start is None and named.entries <= MOST_NUMBERS:
        flat = ravel_pytree(problems.get(name).start)[0]
        # as a person would type it: 0.08, not the 0.0799999982 of float32
        start = tuple(float(str(value)) for value in np.asarray(flat))
    keys = parse_optimizers(card.optimizers, card.inverses)
    return Settings(
        problem=name,
        start=start or (),
        optimizers=card.optimizers[:MOST_METHODS],
        steps=card.steps,
        float64=float64,
        method=next(key for key in keys if key.startswith("pg")),
    )


def study(settings: Settings) -> Comparison:
    """Run the methods of a page from its start.

    **Raises:** `ValueError`, `TypeError` for what the library refuses; `MissingExtra`.
    """
    with jax.enable_x64(settings.float64), quick_to_compile():
        subject = subject_of(settings)
        comparison = compare(
            subject.objective,
            start_of(settings),
            {key: optimizer_of(settings, key) for key in settings.named},
            settings.steps,
            progress=False,
            problem=subject.problem,
            solution=subject.solution,
            direction=subject.direction,
        )
    described = {**comparison.optimizers, **named_words(settings.named)}
    return dataclasses.replace(comparison, optimizers=described)


def start_of(settings: Settings) -> PyTree:
    """x0, as the x of the subject is."""
    flat, unravel = ravel_pytree(subject_of(settings).like)
    return unravel(jnp.asarray(settings.start, flat.dtype))


def optimizer_of(settings: Settings, key: str) -> Optimizer | ScipyOptimizer:
    """The method of a run."""
    named = settings.named[key]
    return named_optimizer(named, subject_of(settings).inverses)


def preimage(settings: Settings, z: Sequence[float]) -> tuple[float, ...]:
    """The x that maps to z, by the simulator's own rule from the present start.

    **Raises:** `ValueError` where it does not get there.
    """
    with jax.enable_x64(settings.float64), quick_to_compile():
        simulator, start = subject_of(settings).objective.simulator, start_of(settings)
        flat, unravel = ravel_pytree(simulator(start))
        target = unravel(jnp.asarray(z, flat.dtype))
        objective = Objective(simulator, SquaredLoss(target))
        run = minimize(objective, PhysicalGradient(1.0), start, 1, progress=False)
    if run.result is not Result.completed:
        point = ", ".join(f"{entry:.4g}" for entry in z)
        raise ValueError(
            f"no x was found that maps to z = ({point}): it lies out of the range of "
            "the simulator, or too far from the present start"
        )
    return tuple(float(entry) for entry in ravel_pytree(run.x)[0])
