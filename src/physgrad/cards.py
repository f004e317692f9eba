"""What is known of named problems without JAX: their sizes, settings and methods.

A problem is typed as `NAME[:key=value,...]`, such as `heat-source:size=32,seed=1`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from physgrad.names import DEFAULT_OPTIMIZERS, nearest, number, quoted, whole_number

LARGEST_SEED = 2**32 - 1


class Size(NamedTuple):
    """How large a problem can be."""

    what: str
    """What is counted."""
    default: int
    least: int
    most: int


class ProblemCard(NamedTuple):
    """What the command line needs to know of a problem before it loads JAX."""

    what: str
    """One line."""
    entries: int
    """How many numbers its x has, at its default size."""
    inverses: tuple[str, ...] = ()
    """Names of further inverses of its simulator."""
    teaches: str = ""
    """What is to be seen, in one line."""
    cost: str = ""
    """Of a call of the simulator, in words."""
    optimizers: tuple[str, ...] = DEFAULT_OPTIMIZERS
    """The methods it is run with, if no others are asked for."""
    steps: int = 10
    """And for so many steps."""
    size: Size | None = None
    """None for a problem of one size."""
    noise: float | None = None
    """Standard deviation of the data, as a part of their root mean square; None for a
    problem without data."""
    seeded: bool = False
    """Whether it is drawn at random."""
    counts_entries: bool = False
    """Whether the size is the number of entries of x."""

    @property
    def settings(self) -> dict[str, Any]:
        """What can be set, and the defaults."""
        found: dict[str, Any] = {}
        if self.size is not None:
            found["size"] = self.size.default
        if self.noise is not None:
            found["noise"] = self.noise
        if self.seeded:
            found["seed"] = 0
        return found

    @property
    def options(self) -> list[str]:
        """What can be set, in words, as on the command line."""
        found = []
        if self.size is not None:
            what, default, least, most = self.size
            found.append(f"--size {default}: {what}, {least} to {most}")
        if self.noise is not None:
            found.append(f"--noise {self.noise:g}: of the data, as a part of them")
        if self.seeded:
            found.append("--seed 0: which one is drawn")
        return found

    def document(self) -> dict[str, Any]:
        """The card for JSON."""
        size = None if self.size is None else self.size._asdict()
        return {**self._asdict(), "size": size}


_DESCENT = ("gd:learning_rate=0.01", "adam", "lbfgs")
_DENSE = ("gauss-newton:step_size=1", "lm")
_FULL = ("pg:step_size=1",)
_ADAM = "adam:learning_rate=0.03"

PROBLEMS = {
    "toy": ProblemCard(
        "z = [x0, x1^2], L = |z|^2 from (3, 3): one bent coordinate, solution (0, 0)",
        entries=2,
        inverses=("notebook",),
        teaches="straight in z is curved in x: the notebook's comparison",
        cost="two numbers",
    ),
    "exp": ProblemCard(
        "z = e^x from far below zero: gradients that vanish",
        entries=2,
        teaches="where e^x is flat, descent stands still and one step in z is enough",
        cost="two exponentials",
        optimizers=(*_DESCENT, *_DENSE, *_FULL),
        steps=20,
    ),
    "sin": ProblemCard(
        "z = (sin(10 v0 / xi), 10 xi v1), v a rotation of x: bent and badly scaled",
        entries=2,
        teaches="scales that differ by xi^2 behind a rotation: only z knows of them",
        cost="a sine",
        optimizers=("gd:learning_rate=1e-5", "adam", *_DENSE, *_FULL),
        steps=20,
        size=Size("xi, the scale", 8, 1, 64),
    ),
    "spiral": ProblemCard(
        "z is x, turned the more the farther from the center: a spiral valley",
        entries=2,
        teaches="descent winds along the valley, a step in z goes straight",
        cost="a rotation",
        optimizers=(
            *("gd:learning_rate=0.01", "adam:learning_rate=0.1", "lbfgs"),
            *("gauss-newton:step_size=1", "pg:step_size=0.3", *_FULL),
        ),
        steps=20,
        size=Size("twist, in tenths of a radian per unit of length", 30, 0, 200),
    ),
    "heat-initial-state": ProblemCard(
        "where heat was, from where it has spread to: boxes, 64 x 64 cells, nu t = 8",
        entries=4096,
        teaches="an inverse that knows its noise, where the exact one would blow up",
        cost="two fast Fourier transforms",
        optimizers=("gd:learning_rate=0.5", _ADAM, "lbfgs", *_FULL),
        steps=50,
        size=Size("cells along each axis", 64, 4, 1024),
        noise=0.0,
        seeded=True,
    ),
    "heat-source": ProblemCard(
        "what heats a plate, from its temperature after a while",
        entries=4096,
        teaches="mild smoothing: the noise-aware inverse filters little",
        cost="two fast Fourier transforms",
        optimizers=("gd:learning_rate=1e-4", _ADAM, "lbfgs", *_FULL),
        steps=50,
        size=Size("cells along each axis", 64, 4, 1024),
        noise=0.0,
        seeded=True,
    ),
    "poisson-source": ProblemCard(
        "the charges that make a potential, between walls at zero",
        entries=4096,
        teaches="an inverse that is cheaper than the simulator: five neighbors",
        cost="two sine transforms",
        optimizers=("gd:learning_rate=2e-5", "adam:learning_rate=0.1", "lbfgs", *_FULL),
        steps=50,
        size=Size("cells along each axis", 64, 4, 1024),
        noise=0.0,
        seeded=True,
    ),
    "wave-initial-state": ProblemCard(
        "how a string was plucked, from how it swings now",
        entries=256,
        teaches="what is reversible is run backwards: exact in one step",
        cost="two sine transforms",
        optimizers=("gd:learning_rate=5e-6", _ADAM, "lbfgs", *_DENSE, *_FULL),
        steps=20,
        size=Size("cells", 128, 4, 4096),
        noise=0.0,
        seeded=True,
    ),
    "burgers-initial-state": ProblemCard(
        "waves before they steepened, shortly before they break",
        entries=128,
        teaches="a flow run backwards and refined is an exact inverse, up to a shock",
        cost="60 steps of 4 pairs of Fourier transforms",
        optimizers=("gd:learning_rate=0.3", _ADAM, "lbfgs", *_DENSE, *_FULL),
        steps=20,
        size=Size("cells", 128, 16, 1024),
        noise=0.0,
        seeded=True,
    ),
    "kdv-initial-state": ProblemCard(
        "two solitons before they met, from the waves after",
        entries=128,
        teaches="dispersion loses nothing: run backwards, exact to rounding",
        cost="600 steps of 4 pairs of Fourier transforms",
        optimizers=("gd:learning_rate=0.1", _ADAM, "lbfgs", *_DENSE, *_FULL),
        steps=20,
        size=Size("cells", 128, 32, 512),
        noise=0.0,
        seeded=True,
    ),
    "navier-stokes-initial-state": ProblemCard(
        "vortices before they have stirred, from the vorticity they leave",
        entries=1024,
        teaches="a flow with a thousand unknowns, inverted in one step of refinement",
        cost="100 steps of 4 times 4 Fourier transforms",
        optimizers=("gd:learning_rate=0.3", _ADAM, "lbfgs", *_FULL),
        steps=20,
        size=Size("cells along each axis", 32, 8, 256),
        noise=0.0,
        seeded=True,
    ),
    "oscillators-control": ProblemCard(
        "pushes that bring two coupled oscillators to rest",
        entries=24,
        teaches="more unknowns than data: the shortest way, in one step",
        cost="24 symplectic steps",
        optimizers=("gd:learning_rate=0.1", _ADAM, "lbfgs", *_DENSE, *_FULL),
        steps=20,
        size=Size("pushes", 24, 12, 1000),
        counts_entries=True,
        seeded=True,
    ),
    "pendulum-swing": ProblemCard(
        "torques that swing a pendulum up, to stand still on its head",
        entries=60,
        teaches="a numerical inverse that walks a long way, in one step in z",
        cost="60 symplectic steps",
        optimizers=("gd:learning_rate=0.03", _ADAM, "lbfgs", *_DENSE, *_FULL),
        steps=30,
        size=Size("torques", 60, 10, 1000),
        counts_entries=True,
    ),
    "kepler-orbit": ProblemCard(
        "an orbit, from 20 noisy positions",
        entries=4,
        teaches="more data than unknowns: the nearest orbit, and its misfit is noise",
        cost="400 symplectic steps",
        optimizers=(
            "gd:learning_rate=1e-4",
            "adam:learning_rate=0.02",
            *_DENSE,
            *_FULL,
        ),
        steps=20,
        size=Size("positions", 20, 3, 1000),
        noise=0.01,
        seeded=True,
    ),
    "arm-reach": ProblemCard(
        "the angles of a robot arm, so that its hand is where it should be",
        entries=2,
        teaches="two elbows, two branches: the inverse stays with the one it is on",
        cost="a sine and a cosine for each joint",
        optimizers=("gd:learning_rate=0.1", "adam:learning_rate=0.1", *_DENSE, *_FULL),
        steps=20,
        size=Size("joints", 2, 2, 7),
        counts_entries=True,
        seeded=True,
    ),
    "conductivity-1d": ProblemCard(
        "how well a rod conducts at each place, from its temperature",
        entries=128,
        teaches="given u the equation is linear in rho: direct, but it amplifies noise",
        cost="two sums along the rod",
        optimizers=("gd:learning_rate=1", _ADAM, "lbfgs", *_DENSE, *_FULL),
        steps=20,
        size=Size("cells", 128, 8, 1024),
        noise=0.0,
        counts_entries=True,
    ),
    "darcy-2d": ProblemCard(
        "the permeability of ground, from the pressure of water in it",
        entries=1024,
        teaches="a material in two dimensions, direct; descent sees it through a solve",
        cost="a solve by conjugate gradients",
        optimizers=("gd:learning_rate=1", _ADAM, "lbfgs", *_FULL),
        steps=20,
        size=Size("cells along each axis", 32, 4, 256),
        noise=0.0,
        seeded=True,
    ),
}
"""Problem to what it is."""


class NamedProblem(NamedTuple):
    """A problem as it was typed, read and checked."""

    name: str
    settings: Mapping[str, Any]
    """A value for each setting of the problem, typed or default."""

    @property
    def card(self) -> ProblemCard:
        """What is known of it."""
        return PROBLEMS[self.name]

    @property
    def entries(self) -> int:
        """Entries of x, where they are few; of fields, those of the default size."""
        if self.card.counts_entries:
            return int(self.settings["size"])
        return self.card.entries

    @property
    def text(self) -> str:
        """How it is typed: its name, and what differs from the defaults."""
        defaults = self.card.settings
        typed = [f"{k}={v}" for k, v in self.settings.items() if v != defaults[k]]
        return f"{self.name}:{','.join(typed)}" if typed else self.name


def problem_card(text: str) -> ProblemCard:
    """What is known of a problem (`ValueError` for an unknown name).

    >>> problem_card("toy").entries
    2
    """
    return PROBLEMS[parse_problem(text).name]


def is_problem(text: str) -> bool:
    """Whether a text names one of the problems, with settings or without.

    >>> is_problem("toy"), is_problem("heat-source:size=8"), is_problem("nope")
    (True, True, False)
    """
    return text in PROBLEMS or text.partition(":")[0] in PROBLEMS


def parse_problem(text: str, **typed: Any) -> NamedProblem:
    """Read `NAME[:key=value,...]`; `typed` are settings given apart, None for none.

    **Raises:** `ValueError`, one line that names what is wrong and what was expected.

    >>> parse_problem("heat-source:size=32", seed=3).text
    'heat-source:size=32,seed=3'
    """
    name, _, rest = (text, "", "") if text in PROBLEMS else text.partition(":")
    if name not in PROBLEMS:
        raise ValueError(f"unknown problem {quoted(name)}{nearest(name, PROBLEMS)}")
    card = PROBLEMS[name]
    settings = card.settings
    pairs = [_pair(part, text) for part in rest.split(",")] if rest else []
    pairs += [(key, value) for key, value in typed.items() if value is not None]
    seen: set[str] = set()
    for key, value in pairs:
        if key not in settings:
            known = nearest(key, settings) if settings else ": it has no settings"
            raise ValueError(f"problem {quoted(name)} has no {quoted(key)}{known}")
        if key in seen:
            raise ValueError(f"{key} comes more than once (problem {quoted(text)})")
        seen.add(key)
        settings[key] = _SETTINGS[key](card, value)
    return NamedProblem(name, settings)


def _pair(part: str, text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([^=]*)=(.*)", part)
    if match is None:
        where = f"(problem {quoted(text)})"
        raise ValueError(f"expected key=value, got {quoted(part)} {where}")
    return match[1], match[2]


def _size(card: ProblemCard, value: Any) -> int:
    what, _, least, most = card.size or Size("", 0, 0, 0)
    count = whole_number(str(value), "size")
    if not least <= count <= most:
        raise ValueError(f"size ({what}) must be from {least} to {most}, got {count}")
    return count


def _noise(_: ProblemCard, value: Any) -> float:
    try:
        noise = number(str(value))
    except ValueError:
        noise = -1.0
    if not 0 <= noise <= 1:
        raise ValueError(
            "noise must be a number from 0 to 1, a part of the root mean square of the "
            f"data, got {quoted(str(value))}"
        )
    return noise


def _seed(_: ProblemCard, value: Any) -> int:
    seed = whole_number(str(value), "seed")
    if seed > LARGEST_SEED:
        raise ValueError(f"seed must be at most {LARGEST_SEED}, got {seed}")
    return seed


_SETTINGS = {"size": _size, "noise": _noise, "seed": _seed}
