"""A report as one JSON document."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import PyTree

from physgrad.doctor.entries import Leaf
from physgrad.doctor.noise import Uncertainty
from physgrad.inverses.flat import leaf_name
from physgrad.names import package_version

if TYPE_CHECKING:
    from physgrad.doctor.report import CheckReport

SCHEMA = 1
# Matrices that only the doctor needs, as large as J.
_LEFT_OUT = ("left", "right", "gradient_step")


def document(report: CheckReport) -> dict[str, Any]:
    """The report as dicts and lists of text, numbers and arrays."""
    head = {
        "schema": SCHEMA,
        "physgrad": package_version(),
        "ok": report.ok,
        "diagnosis": [str(name) for name in report.diagnosis],
        "recommendation": report.recommendation,
        "code": report.code,
    }
    return head | _plain(report)


def _by_name(tree: PyTree) -> dict[str, np.ndarray]:
    return {
        leaf_name("x", path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _plain(value: Any) -> Any:
    """Records as dicts; a PyTree of arrays with text for keys."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.name not in (*_LEFT_OUT, "deviations")
        }
        if isinstance(value, Uncertainty):  # whatever kind of tree x is
            fields["deviations"] = _by_name(value.deviations)
        return fields
    if isinstance(value, Leaf):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value) if isinstance(value, str) else np.asarray(value)
