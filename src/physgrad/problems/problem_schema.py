"""The JSON schema of problem files, for editors."""

from __future__ import annotations

import inspect
from typing import Any

from physgrad import simulators
from physgrad.problems.problem_file import MOST_STEPS, NEEDED, SECTIONS, parameters_of

_DATA = {
    "description": "A number, numbers, or a file beside this one: csv, npy, npz:key",
    "type": ["number", "string", "array"],
}
_KINDS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "strings": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    "integer": {"type": "integer", "minimum": 0, "maximum": MOST_STEPS},
    "boolean": {"type": "boolean"},
    "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
    "data": _DATA,
}
# Annotations are text.
_ANNOTATED: dict[str, dict[str, Any]] = {
    "float": {"type": "number"},
    "float | None": {"type": "number"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "str": {"type": "string"},
    "str | None": {"type": "string"},
}


def problem_schema() -> dict[str, Any]:
    """What a problem file may hold, as JSON schema (draft 2020-12).

    >>> sorted(problem_schema()["properties"])
    ['loss', 'run', 'simulator', 'solution', 'start']
    """
    sections = {
        name: _section({key: _KINDS[kind] for key, kind in keys.items()}, name)
        for name, keys in SECTIONS.items()
    }
    sections["simulator"] = {"oneOf": [_simulator(n) for n in simulators.__all__]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A problem of physgrad",
        "type": "object",
        "properties": sections,
        "required": list(NEEDED),
        "additionalProperties": False,
    }


def _section(properties: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [NEEDED[name]] if name in NEEDED else [],
        "additionalProperties": False,
    }


def _simulator(name: str) -> dict[str, Any]:
    """One simulator with its parameters."""
    parameters = parameters_of(name)
    section = _section({"name": {"const": name}}, "simulator")
    for key, parameter in parameters.items():
        kind = dict(_ANNOTATED.get(str(parameter.annotation), {}))
        if isinstance(parameter.default, int | float | str | bool):
            kind["default"] = parameter.default
        section["properties"][key] = kind
        if parameter.default is parameter.empty:
            section["required"].append(key)
    lines = (inspect.getdoc(getattr(simulators, name)) or "").splitlines()
    return {**section, "description": lines[0]}
