"""A problem in a file: a simulator, data and methods, in TOML.

[simulator]
name = "diffusion"          # one of `physgrad.simulators`, and its parameters
shape = [64]
duration = 1e-3

[loss]
target = "measured.csv"     # numbers, or a file beside this one: csv, npy, npz:key
weight = 1.0                # of each squared misfit

[start]
x = 0.0                     # for all entries, or numbers, or a file
shape = [64]                # of x, if it is not that of the target

[solution]                  # if it is known
x = "truth.npz:x"

[run]
optimizers = ["pg:step_size=1", "lbfgs"]
steps = 20
float64 = true
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from physgrad import simulators
from physgrad.inverses.settings import brief
from physgrad.names import nearest, parse_optimizers
from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.file_data import from_file, names_file, numbers
from physgrad.problems.problem import Problem
from physgrad.simulator import Simulator

MOST_BYTES = 2**20
SECTIONS: dict[str, dict[str, str]] = {
    "simulator": {"name": "string"},
    "loss": {"target": "data", "weight": "data"},
    "start": {"x": "data", "shape": "shape"},
    "solution": {"x": "data"},
    "run": {"optimizers": "strings", "steps": "integer", "float64": "boolean"},
}
"""Section to its keys and what they take; the simulator has its parameters, too."""
NEEDED = {"simulator": "name", "loss": "target"}
OPTIMIZERS = ("pg:step_size=1", "lbfgs")
STEPS, MOST_STEPS = 20, 1_000_000
# How x and z are drawn, where that is known.
PICTURES = {
    "diffusion": "flow",
    "burgers": "flow",
    "korteweg_de_vries": "flow",
    "kuramoto_sivashinsky": "flow",
    "navier_stokes": "flow",
    "advection": "flow",
    "wave": "waves",
    "heating": "fields",
    "poisson": "fields",
    "conductivity": "fields",
    "darcy": "fields",
    "driven_oscillators": "control",
    "driven_pendulum": "control",
    "planar_arm": "arm",
    "seen_orbit": "orbit",
}


@dataclasses.dataclass(frozen=True)
class ProblemFile:
    """What a problem file says, checked as far as it can be without its data."""

    path: Path
    text: str
    sections: Mapping[str, Mapping[str, Any]]

    @property
    def optimizers(self) -> tuple[str, ...]:
        """As they are typed on the command line."""
        return tuple(self._run.get("optimizers", OPTIMIZERS))

    @property
    def steps(self) -> int:
        """Steps to do."""
        return self._run.get("steps", STEPS)

    @property
    def float64(self) -> bool:
        """Whether to compute in double precision."""
        return self._run.get("float64", False)

    @property
    def _run(self) -> Mapping[str, Any]:
        return self.sections.get("run", {})

    def problem(self) -> Problem:
        """Build it, in JAX's default float.

        **Raises:** `ValueError` with the line and key of what is wrong; `OSError` for
        data that cannot be read; `MissingExtra`.
        """
        simulator = self._simulator()
        target = self._numbers("loss", "target")
        weight = self._numbers("loss", "weight", missing=None)
        start = self._start(target)
        solution = self._numbers("solution", "x", missing=None)
        dtype = jnp.result_type(float)
        with self._at("loss", "target"):
            loss = SquaredLoss(
                jnp.asarray(target, dtype),
                None if weight is None else jnp.asarray(weight, dtype),
            )
        name = self.sections["simulator"]["name"]
        objective = Objective(simulator, loss)
        x0 = jnp.asarray(start, dtype)
        with self._at(*self._shape_of_x()):
            jax.eval_shape(simulator, x0)
        with self._at("loss", "target"):
            objective.flatten(x0)
        if solution is not None and solution.shape != x0.shape:
            message = f"must have the shape {x0.shape} of x, got {solution.shape}"
            self._refuse("solution", "x", message)
        return Problem(
            self.path.name,
            objective,
            x0,
            solution=None if solution is None else jnp.asarray(solution, dtype),
            picture=PICTURES.get(name, "points") if target.ndim <= 2 else "points",
        )

    def _simulator(self) -> Simulator:
        parameters = dict(self.sections["simulator"])
        make = getattr(simulators, parameters.pop("name"))
        for key, value in parameters.items():
            if names_file(value):
                with self._at("simulator", key):
                    parameters[key] = from_file(value, self.path.parent)
            elif isinstance(value, list) and key not in ("shape", "lengths"):
                parameters[key] = np.asarray(numbers(value, self.path.parent))
        parameters = {k: _as_tuple(v) for k, v in parameters.items()}
        with self._at("simulator", next(iter(parameters), "name")):
            return make(**parameters)

    def _shape_of_x(self) -> tuple[str, str]:
        """Where the shape of x is said; it is that of the target if nowhere else."""
        start = self.sections.get("start", {})
        if "shape" in start:
            return "start", "shape"
        return ("loss", "target") if _is_number(start.get("x", 0.0)) else ("start", "x")

    def _start(self, target: np.ndarray) -> np.ndarray:
        x = self._numbers("start", "x", missing=np.asarray(0.0))
        shape = self.sections.get("start", {}).get("shape", target.shape)
        if x.ndim == 0:
            return np.full(tuple(shape), x)
        if "shape" in self.sections.get("start", {}) and x.shape != tuple(shape):
            self._refuse("start", "x", f"must have the shape {shape}, got {x.shape}")
        return x

    def _numbers(self, section: str, key: str, missing: Any = ...) -> Any:
        if key not in self.sections.get(section, {}) and missing is not ...:
            return missing
        with self._at(section, key):
            found = numbers(self.sections[section][key], self.path.parent)
            bad = found.size - np.count_nonzero(np.isfinite(found))
            if bad:
                raise ValueError(f"must be finite, got {bad} NaN or infinite entries")
            return found

    @contextlib.contextmanager
    def _at(self, section: str, key: str) -> Iterator[None]:
        """What is raised within is wrong at this key, or at the one it names."""
        try:
            yield
        except (ValueError, TypeError) as error:
            line = (str(error).splitlines() or [""])[0]
            named = re.match(r"(?:unknown )?([a-z_]+)\b", line)
            if named and named[1] in self.sections.get(section, {}):
                key = named[1]
            raise ValueError(f"{self.place(section, key)}: {line}") from error
        except OSError as error:
            what = f"{error.strerror}; {self.place(section, key)}"
            raise OSError(error.errno, what, error.filename) from error

    def _refuse(self, section: str, key: str, message: str) -> None:
        raise ValueError(f"{self.place(section, key)}: {message}")

    def place(self, section: str, key: str = "") -> str:
        """`file:line: section.key`, the line as far as it can be found."""
        number = _line(self.text, section, key)
        dotted = f"{section}.{key}" if key else section
        return f"{self.path.name}:{number}: {dotted}"


def read_problem_file(path: str | Path) -> ProblemFile:
    """Read a problem file, and check what can be checked before any data is read.

    **Raises:** `ValueError`, one line with file, line and key: for what is no TOML or
    UTF-8, more than 1 MiB, unknown sections, keys and simulators (with the nearest
    match), missing ones, and values of another kind; `OSError` for a file that cannot
    be read.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"{path.name} has {size:,} bytes; up to {MOST_BYTES:,} are read"
        )
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 at byte {error.start}") from error
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{path.name} is no TOML: {error}") from error
    if not document:
        raise ValueError(f"{path.name} is empty: no problem is given")
    file = ProblemFile(path, text, document)
    for fault in _faults(file):
        raise ValueError(fault)
    return file


def parameters_of(simulator: str) -> Mapping[str, inspect.Parameter]:
    """The parameters of one of `physgrad.simulators`.

    >>> list(parameters_of("pendulum"))
    ['duration', 'steps', 'frequency']
    """
    return inspect.signature(getattr(simulators, simulator)).parameters


def _faults(file: ProblemFile) -> Iterator[str]:
    """What is wrong, the first of it first."""
    sections = file.sections
    for section, keys in sections.items():
        if section not in SECTIONS:
            yield f"{file.place(section)}: unknown{nearest(section, SECTIONS)}"
            return
        if not isinstance(keys, dict):
            yield f"{file.place(section)}: must be a section, [{section}]"
            return
    for section in sections:
        if section != "simulator":
            yield from _key_faults(file, section, SECTIONS[section])
    for section, key in NEEDED.items():
        if key not in sections.get(section, {}):
            yield f"{file.path.name}: [{section}] must give {key!r}"
            return
    for fault in _name_faults(file):
        yield fault
        return
    given = sections["simulator"]
    of_its_own = dict.fromkeys(parameters_of(given["name"]), "any")
    yield from _key_faults(file, "simulator", SECTIONS["simulator"] | of_its_own)
    for key, parameter in parameters_of(given["name"]).items():
        if parameter.default is parameter.empty and key not in given:
            place = file.place("simulator", "name")
            yield f"{place}: the simulator {given['name']!r} needs {key!r}"
    try:
        parse_optimizers(file.optimizers)
    except ValueError as error:
        yield f"{file.place('run', 'optimizers')}: {error}"


def _key_faults(
    file: ProblemFile, section: str, known: Mapping[str, str]
) -> Iterator[str]:
    for key, value in file.sections[section].items():
        if key not in known:
            yield f"{file.place(section, key)}: unknown key{nearest(key, known)}"
        elif not _KINDS[known[key]][0](value):
            expected, got = _KINDS[known[key]][1], brief(value)
            yield f"{file.place(section, key)}: must be {expected}, got {got}"


def _name_faults(file: ProblemFile) -> Iterator[str]:
    name = file.sections["simulator"]["name"]
    place = file.place("simulator", "name")
    if not isinstance(name, str):
        yield f"{place}: must be the name of a simulator, got {brief(name)}"
    elif name not in simulators.__all__:
        known = nearest(name, simulators.__all__)
        yield f"{place}: unknown simulator {brief(name)}{known}"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(_is_count(n) and n > 0 for n in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_data(value: Any) -> bool:
    return _is_number(value) or isinstance(value, str | list)


_KINDS: dict[str, tuple[Any, str]] = {
    "any": (lambda value: not isinstance(value, dict), "a value"),
    "string": (lambda value: isinstance(value, str), "text"),
    "strings": (
        lambda value: (
            isinstance(value, list)
            and bool(value)
            and all(isinstance(one, str) for one in value)
        ),
        "a list of optimizers as on the command line",
    ),
    "integer": (
        lambda value: _is_count(value) and 0 <= value <= MOST_STEPS,
        f"a whole number from 0 to {MOST_STEPS}",
    ),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "shape": (_is_shape, "a list of whole numbers such as [64, 64]"),
    "data": (_is_data, "a number, a list of numbers or a file"),
}


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _line(text: str, section: str, key: str) -> int:
    """The line of a key in its section, or that of the section; 1 if it is inline."""
    here, found = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w-]+)\s*\]", line)
        if header:
            here = header[1]
        in_place = here == section
        if header and in_place:
            found = number
        if in_place and key and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return number
        if not here and re.match(rf"\s*{re.escape(section)}\b", line):
            return number
    return found
