"""What the page shows: its whole state, as it stands in the address of the page.

`?problem=toy&start=3,3&optimizer=gd:learning_rate=0.01&steps=10`, or with formulas of
the user's, `?z=x0&z=x1**2&loss=z0**2+z1**2&start=3,3`. Methods are typed as on the
command line.
"""

from __future__ import annotations

import dataclasses
import math
import urllib.parse
from collections.abc import Mapping, Sequence

from physgrad.cards import parse_problem, problem_card
from physgrad.expressions import ExpressionError, parse
from physgrad.names import (
    DEFAULT_OPTIMIZERS,
    Named,
    nearest,
    number,
    parse_optimizers,
    quoted,
    whole_number,
)

MOST_STEPS = 1000
MOST_METHODS = 8
MOST_ENTRIES = 3
"""Of x and of z, where they are typed."""
MOST_NUMBERS = 64
"""In the start: it stands in the address."""
LARGEST = 1e12
"""Of an entry of the start: far beyond any picture."""
_KEYS = ("problem", "z", "loss", "start", "optimizer", "steps", "float64")
_KEYS += ("method", "step")


@dataclasses.dataclass(frozen=True)
class Formulas:
    """A simulator and a loss that were typed.

    **Raises:** `ValueError` for what is no formula over x0, x1, ... and z0, ..., naming
    which one it is.
    """

    z: tuple[str, ...]
    """Each entry of z, over x0, x1, ..."""
    loss: str
    """L, over z0, z1, ..."""
    entries: int
    """Of x."""

    def __post_init__(self) -> None:
        for what, count in (("x", self.entries), ("z", len(self.z))):
            if not 1 <= count <= MOST_ENTRIES:
                limits = f"from 1 to {MOST_ENTRIES}"
                raise ValueError(f"{what} has {limits} entries here, got {count}")
        formulas = [*zip(self.z_names, self.z, strict=True), ("L", self.loss)]
        for name, text in formulas:
            try:
                parse(text, self.z_names if name == "L" else self.x_names)
            except ExpressionError as error:
                raise ValueError(f"{name}, {error}") from None

    @property
    def x_names(self) -> list[str]:
        """x0, x1, ..."""
        return [f"x{i}" for i in range(self.entries)]

    @property
    def z_names(self) -> list[str]:
        """z0, z1, ..."""
        return [f"z{i}" for i in range(len(self.z))]


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that a page needs to be shown again."""

    problem: str = "toy"
    """The name of a problem, where no formulas are given."""
    formulas: Formulas | None = None
    start: tuple[float, ...] = (3.0, 3.0)
    """x0."""
    optimizers: tuple[str, ...] = DEFAULT_OPTIMIZERS
    """As they are typed on the command line."""
    steps: int = 10
    float64: bool = False
    method: str = "pg"
    """Key of the run whose steps are looked at."""
    step: int = 0
    """Which of its steps."""

    def __post_init__(self) -> None:
        inverses = () if self.formulas else problem_card(self.problem).inverses
        entries = self.entries
        if entries > MOST_NUMBERS:
            raise ValueError(
                f"the page shows problems of up to {MOST_NUMBERS} entries of x, got "
                f"{entries}: use physgrad.compare and physgrad.plot"
            )
        if len(self.start) != entries:
            raise ValueError(
                f"the start must have {entries} entries, got {len(self.start)}"
            )
        if not all(math.isfinite(x) and abs(x) <= LARGEST for x in self.start):
            raise ValueError(f"the start must be within {LARGEST:g}, got {self.start}")
        if not 1 <= len(self.optimizers) <= MOST_METHODS:
            got = len(self.optimizers)
            raise ValueError(f"choose from 1 to {MOST_METHODS} methods, got {got}")
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(
                f"steps must be a whole number from 1 to {MOST_STEPS}, got {self.steps}"
            )
        known = parse_optimizers(self.optimizers, inverses)
        if self.method not in known:
            end = nearest(self.method, known)
            raise ValueError(f"no method {quoted(self.method)} is shown{end}")
        if not 0 <= self.step < self.steps:
            raise ValueError(
                f"step must be from 0 to {self.steps - 1}, got {self.step}"
            )

    @property
    def entries(self) -> int:
        """Of x."""
        if self.formulas is not None:
            return self.formulas.entries
        return parse_problem(self.problem).entries

    @property
    def named(self) -> dict[str, Named]:
        """The methods, read, by the keys of their runs."""
        inverses = () if self.formulas else problem_card(self.problem).inverses
        return parse_optimizers(self.optimizers, inverses)

    def query(self) -> str:
        """What comes behind the `?` of the address."""
        pairs: list[tuple[str, str]] = []
        if self.formulas is None:
            pairs.append(("problem", self.problem))
        else:
            pairs += [("z", text) for text in self.formulas.z]
            pairs.append(("loss", self.formulas.loss))
        pairs.append(("start", ",".join(f"{x:.12g}" for x in self.start)))
        pairs += [("optimizer", text) for text in self.optimizers]
        pairs += [("steps", str(self.steps)), ("float64", str(int(self.float64)))]
        pairs += [("method", self.method), ("step", str(self.step))]
        return urllib.parse.urlencode(pairs, safe=",:*()=/")


def from_query(arguments: Mapping[str, Sequence[bytes]]) -> Settings:
    """The settings of an address; what it does not name has its default.

    **Raises:** `ValueError` for what is unknown, out of range, or comes twice.

    >>> from_query({"start": [b"3,-3"], "optimizer": [b"pg:step_size=1"]}).start
    (3.0, -3.0)
    """
    given = {key: [_text(key, v) for v in values] for key, values in arguments.items()}
    for key, texts in given.items():
        if key not in _KEYS:
            raise ValueError(f"unknown key {quoted(key)}{nearest(key, _KEYS)}")
        if key not in ("z", "optimizer") and len(texts) > 1:
            raise ValueError(f"the key {quoted(key)} comes more than once")
    one = {key: texts[0] for key, texts in given.items()}
    default = Settings()
    start, formulas = default.start, None
    if "start" in one:
        start = tuple(number(part) for part in one["start"].split(","))
    if "z" in one or "loss" in one:
        if "problem" in one:
            raise ValueError("give a problem or formulas z and loss, got both")
        formulas = Formulas(tuple(given.get("z", ())), one.get("loss", ""), len(start))
    problem = one.get("problem", default.problem)
    optimizers = tuple(given.get("optimizer", default.optimizers))
    inverses = () if formulas else problem_card(problem).inverses
    keys = list(parse_optimizers(optimizers, inverses))
    if one.get("float64", "0") not in ("0", "1"):
        raise ValueError(f"float64 must be 0 or 1, got {quoted(one['float64'])}")
    return Settings(
        problem=problem,
        formulas=formulas,
        start=start,
        optimizers=optimizers,
        steps=whole_number(one.get("steps", str(default.steps)), "steps"),
        float64=one.get("float64") == "1",
        method=one.get("method", default.method if "pg" in keys else keys[0]),
        step=whole_number(one.get("step", "0"), "step"),
    )


def _text(key: str, value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError(f"{quoted(key)} must be ASCII, got {value[:40]!r}") from None
