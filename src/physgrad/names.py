"""Names of methods, their keys and defaults, and how they are typed.

An optimizer is typed as `NAME[:key=value,...]`, such as `pg:step_size=0.5`. Loads no
JAX, so that a wrong name is answered at once.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """What the text of a value may be."""

    expected: str
    """In words: `step_size must be EXPECTED`."""
    read: Callable[[str], Any]
    """Text to value; `ValueError` where the text is not what is expected."""
    choices: tuple[str, ...] = ()
    """All there is, where the values are names."""


class Key(NamedTuple):
    """A setting of a method."""

    kind: Kind
    default: Any


class Method(NamedTuple):
    """What a name of an optimizer stands for."""

    class_name: str
    """The class of physgrad that it makes."""
    keys: Mapping[str, Key]
    """Its settings. The value of one called `inverse` brings its own: `INVERSES`."""
    extra: str | None = None
    """The extra of the package that it needs."""


class Named(NamedTuple):
    """An optimizer as it was typed, read and checked."""

    text: str
    name: str
    settings: Mapping[str, Any]
    """A value for each key, typed or default."""

    @property
    def words(self) -> str:
        """The name with all of its settings: `adam(learning_rate=0.3, ...)`."""
        pairs = (f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}({', '.join(pairs)})"


_DECIMAL = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(rf"({_DECIMAL})(?:/([0-9]+))?")
_WHOLE = re.compile(r"[0-9]{1,40}")


def number(text: str) -> float:
    """A finite number in ASCII decimal digits, or a fraction (`ValueError` otherwise).

    >>> number("-2.5e-1"), number("3/4")
    (-0.25, 0.75)
    """
    match = _NUMBER.fullmatch(text)
    value = float(match[1]) / (float(match[2] or 1) or math.nan) if match else math.nan
    if not math.isfinite(value):
        raise ValueError(f"must be a number, got {quoted(text)}")
    return value


def whole_number(text: str, name: str = "the number") -> int:
    """A whole number from 0 on, of ASCII digits (`ValueError` otherwise).

    >>> whole_number("10")
    10
    """
    if not _WHOLE.fullmatch(text):
        what = f"{name} must be a whole number from 0 on"
        raise ValueError(f"{what}, got {quoted(text)}")
    return int(text)


def quoted(text: str) -> str:
    """Text of a user as it stands in messages: in quotes, cut where it is long.

    >>> quoted("nwton"), quoted("9" * 1000)
    ("'nwton'", "'9999999999999999999999999999999999999999...'")
    """
    return repr(text if len(text) <= 80 else f"{text[:40]}...")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest match, or all names.

    >>> nearest("nwton", ["gd", "newton"])
    "; did you mean 'newton'?"
    >>> nearest("zzz", ["gd", "newton"])
    '; known: gd, newton'
    """
    spelled = {one.lower(): one for one in known}
    match = difflib.get_close_matches(name[:80].lower(), spelled, n=1)
    if match:
        return f"; did you mean {spelled[match[0]]!r}?"
    return f"; known: {', '.join(spelled.values())}"


def _within(
    expected: str, read: Callable[[str], Any], accept: Callable[[Any], bool]
) -> Kind:
    def read_within(text: str) -> Any:
        value = read(text)
        if not accept(value):
            raise ValueError(expected)
        return value

    return Kind(expected, read_within)


def _one_of(names: Iterable[str]) -> Kind:
    names = tuple(names)
    return Kind(" or ".join(names), lambda text: names[names.index(text)], names)


POSITIVE = _within("a positive number such as 0.3", number, lambda v: v > 0)
NOT_NEGATIVE = _within("zero or a positive number", number, lambda v: v >= 0)
_FINITE = Kind("a number such as -0.5", number)
_BELOW_ONE = _within("a number from 0 to below 1", number, lambda v: 0 <= v < 1)
SHARE = _within("a number from 0 to 1", number, lambda v: 0 <= v <= 1)
FRACTION = _within("a number above 0 and below 1", number, lambda v: 0 < v < 1)
COUNT = _within(
    "a whole number from 1 to 1000000", whole_number, lambda v: 1 <= v <= 1_000_000
)

SOLVERS = ("dogleg", "lm", "newton", "lbfgs", "bfgs")
"""Solvers of the numerical inverse."""
SCIPY_METHODS = (
    *("trf", "dogbox", "lm"),
    *("L-BFGS-B", "BFGS", "CG", "SLSQP", "TNC", "Nelder-Mead", "Powell"),
)
"""Least-squares solvers and minimizers of SciPy."""
PENALTIES = ("identity", "gradient", "laplacian")
"""Operators of the regularized inverse."""

INVERSES: dict[str, dict[str, Key]] = {
    "own": {},
    "numerical": {
        "solver": Key(_one_of(SOLVERS), "dogleg"),
        "rtol": Key(POSITIVE, None),
        "max_steps": Key(COUNT, 256),
    },
    "broyden": {
        "rtol": Key(POSITIVE, None),
        "max_steps": Key(COUNT, 256),
    },
    "linearized": {"damping": Key(NOT_NEGATIVE, 0.0)},
    "spectral": {
        "power": Key(_FINITE, 0.5),
        "truncation": Key(FRACTION, None),
    },
    "regularized": {
        "noise": Key(NOT_NEGATIVE, None),
        "operator": Key(_one_of(PENALTIES), "identity"),
    },
    "transposed": {},
    "ladder": {},
}
"""Inverse to its keys; problems add names of their own, without keys."""


_PHYSICAL = {
    "step_size": Key(POSITIVE, 0.3),
    "metric": Key(_one_of(("newton", "gradient")), "newton"),
    "acceptance": Key(_one_of(("monotone", "trust-region")), None),
    "momentum": Key(_BELOW_ONE, 0.0),
}


def _optax(learning_rate: float, **keys: Key) -> Method:
    rate = Key(POSITIVE, learning_rate)
    return Method("OptaxOptimizer", {"learning_rate": rate, **keys}, extra="train")


_EPS = Key(NOT_NEGATIVE, 1e-8)

# Defaults suit the toy from (3, 3) in ten steps.
OPTIMIZERS = {
    "gd": Method("GradientDescent", {"learning_rate": Key(POSITIVE, 0.01)}),
    "newton": Method("Newton", {"step_size": Key(POSITIVE, 1 / 3)}),
    "pg": Method(
        "PhysicalGradient", _PHYSICAL | {"inverse": Key(_one_of(INVERSES), "own")}
    ),
    "pg-numeric": Method("PhysicalGradient", _PHYSICAL | INVERSES["numerical"]),
    "gauss-newton": Method("GaussNewton", {"step_size": Key(POSITIVE, 1 / 3)}),
    "half-inverse": Method(
        "HalfInverse",
        {
            "step_size": Key(POSITIVE, 0.3),
            "truncation": Key(FRACTION, None),
            "metric": Key(_one_of(("newton", "gradient")), "gradient"),
        },
    ),
    "lm": Method("LevenbergMarquardt", {"radius": Key(POSITIVE, 1.5)}),
    "lbfgs": Method("LBFGS", {"history_length": Key(COUNT, 10)}),
    "adam": _optax(0.3, b1=Key(_BELOW_ONE, 0.9), b2=Key(_BELOW_ONE, 0.999), eps=_EPS),
    "adagrad": _optax(
        1.0, initial_accumulator_value=Key(NOT_NEGATIVE, 0.1), eps=Key(POSITIVE, 1e-7)
    ),
    "rmsprop": _optax(0.3, decay=Key(_BELOW_ONE, 0.9), eps=_EPS),
    "sgd": _optax(0.01, momentum=Key(_BELOW_ONE, 0.9)),
    "scipy": Method(
        "ScipyOptimizer", {"method": Key(_one_of(SCIPY_METHODS), "trf")}, extra="scipy"
    ),
}
"""Optimizer to what it is."""

DEFAULT_OPTIMIZERS = ("gd", "newton", "pg", "pg-numeric")
"""The notebook's."""


def parse_optimizer(text: str, inverses: Iterable[str] = ()) -> Named:
    """Read `NAME[:key=value,...]`; `inverses` are further values of the key `inverse`.

    **Raises:** `ValueError`, one line that names what is wrong and what was expected.

    >>> parse_optimizer("newton:step_size=1/2").settings
    {'step_size': 0.5}
    """
    return parse_named(text, OPTIMIZERS, "optimizer", inverses)


def parse_named(
    text: str,
    known: Mapping[str, Method],
    what: str,
    inverses: Iterable[str] = (),
) -> Named:
    """Read `NAME[:key=value,...]`, the name of one of several methods.

    **Raises:** `ValueError`, one line that names what is wrong and what was expected.

    >>> parse_named("gd:learning_rate=2", OPTIMIZERS, "optimizer").settings
    {'learning_rate': 2.0}
    """
    name, colon, rest = text.partition(":")
    if name not in known:
        raise ValueError(f"unknown {what} {quoted(name)}{nearest(name, known)}")
    where = f" ({what} {quoted(text)})"
    typed = _pairs(rest, where) if colon else {}
    keys = _keys(known[name], typed, inverses)
    settings = {key: default for key, (_, default) in keys.items()}
    for key, value in typed.items():
        if key not in keys:
            raise ValueError(f"unknown key {quoted(key)}{where}{_home(key, keys)}")
        kind = keys[key].kind
        try:
            settings[key] = kind.read(value)
        except ValueError:
            got = f"{quoted(value)}{where}"
            if kind.choices:
                end = nearest(value, kind.choices)
                raise ValueError(f"unknown {key} {got}{end}") from None
            raise ValueError(f"{key} must be {kind.expected}, got {got}") from None
    return Named(text, name, settings)


def parse_optimizers(
    texts: Sequence[str], inverses: Sequence[str] = ()
) -> dict[str, Named]:
    """Read several optimizers: each by the key that its run gets.

    The key is the bare name where that is given once, else the text as typed.

    **Raises:** `ValueError` as `parse_optimizer`, and for a text that comes twice.

    >>> list(parse_optimizers(["gd:learning_rate=1", "pg", "pg:step_size=1"]))
    ['gd', 'pg', 'pg:step_size=1']
    """
    named = [parse_optimizer(text, inverses) for text in texts]
    names = [one.name for one in named]
    for text in texts:
        if texts.count(text) > 1:
            raise ValueError(f"optimizer {quoted(text)} comes more than once")
    return {one.name if names.count(one.name) == 1 else one.text: one for one in named}


def parse_start(text: str, entries: int) -> tuple[float, ...]:
    """Read so many numbers, separated by commas (`ValueError` otherwise).

    >>> parse_start("-3,1/2", entries=2)
    (-3.0, 0.5)
    """
    parts = text.split(",")
    try:
        if len(parts) == entries:
            return tuple(number(part.strip(" ")) for part in parts)
    except ValueError:
        pass  # said below
    expected = f"{entries} finite numbers separated by commas"
    raise ValueError(f"--start must be {expected}, got {quoted(text)}")


def _pairs(text: str, where: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"expected key=value, got {quoted(part)}{where}")
        if key in pairs:
            raise ValueError(f"the key {quoted(key)} comes more than once{where}")
        pairs[key] = value
    return pairs


def _keys(
    method: Method, typed: Mapping[str, str], inverses: Iterable[str]
) -> dict[str, Key]:
    """The keys of a method, and those of the inverse that is typed or its default."""
    keys = dict(method.keys)
    if "inverse" not in keys:
        return keys
    further = {name: {} for name in inverses} | INVERSES
    default = keys["inverse"].default
    keys["inverse"] = Key(_one_of(further), default)
    return keys | further.get(typed.get("inverse", default), {})


def _home(key: str, known: Iterable[str]) -> str:
    """Where an unknown key is known: with another inverse, or as a similar one."""
    for inverse, keys in INVERSES.items():
        if key in keys and "inverse" in known:
            return f"; it belongs to inverse={inverse}"
    return nearest(key, known)


def usage() -> str:
    """The optimizers with their keys and defaults, and the values that are names."""

    def setting(key: str, of: Key) -> str:
        default = of.default
        shown = f"{default:.3g}" if isinstance(default, float) else default
        return key if default is None else f"{key}={shown}"

    lines = ["Optimizers, their keys and defaults:"]
    lines += [
        f"  {name:13}{', '.join(setting(key, of) for key, of in keys.items())}"
        for name, (_, keys, _) in OPTIMIZERS.items()
    ]
    every = [method.keys for method in OPTIMIZERS.values()] + [*INVERSES.values()]
    choices = {
        key: of.kind.choices
        for keys in every
        for key, of in keys.items()
        if of.kind.choices
    }
    lines += ["", "Values:"]
    lines += [f"  {key:13}{', '.join(names)}" for key, names in choices.items()]
    lines += ["", "Keys of an inverse (pg:inverse=...):"]
    lines += [
        f"  {name:13}{', '.join(setting(key, of) for key, of in keys.items())}"
        for name, keys in INVERSES.items()
        if keys
    ]
    return "\n".join(lines)


def package_version() -> str:
    """The version of physgrad that is installed."""
    import importlib.metadata  # 30 ms that only --version and results need

    return importlib.metadata.version("physgrad")
