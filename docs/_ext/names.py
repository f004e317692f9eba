"""Code that is a name of physgrad leads to its place in the reference.

`PhysicalGradient`, `pg.minimize(...)` and `inverse_failed` in backticks become links,
in pages and docstrings alike. A name after `pg.` or `physgrad.` that does not exist
becomes a link to nowhere, which `nitpicky` reports.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import docutils.nodes as nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

import physgrad as pg

CODE = re.compile(r"(?:(pg|physgrad)\.)?((?:\w+\.)*\w+)(\(.*\))?", re.DOTALL)


def problem_functions() -> list[str]:
    """The public functions of `physgrad.problems`."""
    return [
        name
        for name, value in vars(pg.problems).items()
        if inspect.isfunction(value) and value.__module__ == "physgrad.problems"
        if not name.startswith("_")
    ]


def public_names() -> dict[str, str]:
    """What is linked: the name in code to its full name in the reference."""
    functions = problem_functions()
    names = {name: f"physgrad.{name}" for name in pg._HOME}
    names |= {f"plot.{name}": f"physgrad.plot.{name}" for name in pg.plot.__all__}
    simulators = pg.simulators.__all__
    names |= {
        f"simulators.{name}": f"physgrad.simulators.{name}" for name in simulators
    }
    names |= {f"train.{name}": f"physgrad.train.{name}" for name in pg.train.__all__}
    names |= {f"problems.{name}": f"physgrad.problems.{name}" for name in functions}
    names |= {str(result): "physgrad.Result" for result in pg.Result}
    return names


NAMES = public_names()
MODULES = ("plot", "problems", "simulators", "train")


def target(code: str, names: Mapping[str, str], module: str = "") -> str | None:
    """The full name of what code names; None for code that names nothing of ours.

    >>> target("pg.minimize(objective)", NAMES), target("Nobody", NAMES)
    ('physgrad.minimize', None)
    """
    match = CODE.fullmatch(code.strip())
    if not match:
        return None
    prefix, name, _ = match.groups()
    head, _, member = name.partition(".")
    inner = f"{module.removeprefix('physgrad.')}.{name}"
    for known in (name,) if prefix else (inner, name):
        if known in names:
            return names[known]
    if head in names and member and head not in MODULES:
        return names[head]
    return f"physgrad.{name}" if prefix == "pg" else None


class LinkNames(SphinxTransform):
    """Wraps code that is a public name in a reference to it."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        page_module = _module_of(self.document)
        for literal in list(self.document.findall(nodes.literal)):
            around = list(_around(literal))
            if any(isinstance(node, _NO_LINKS) for node in around):
                continue
            described = [node for node in around if isinstance(node, addnodes.desc)]
            own = [_signature(node) for node in described]
            module = own[0][0] if own else page_module
            full_name = target(literal.astext(), NAMES, module)
            if full_name is None or full_name in [name for _, name in own]:
                continue
            reference = addnodes.pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=full_name,
                refexplicit=True,
                refwarn=True,
            )
            reference.source, reference.line = literal.source, literal.line
            literal.replace_self(reference)
            reference += literal


_NO_LINKS = (
    addnodes.pending_xref,
    nodes.reference,
    nodes.title,
    addnodes.desc_signature,
)


def _module_of(document: nodes.document) -> str:
    """The module that a page describes; empty where that is not just one."""
    places = [x for node in document.findall(nodes.Element) for x in node["ids"]]
    modules = [x.removeprefix("module-") for x in places if x.startswith("module-")]
    return modules[0] if len(modules) == 1 else ""


def _around(node: nodes.Node) -> list[nodes.Node]:
    found, parent = [], node.parent
    while parent is not None:
        found.append(parent)
        parent = parent.parent
    return found


def _signature(desc: addnodes.desc) -> tuple[str, str]:
    """Module and full name of what a description describes."""
    first = next(iter(desc.findall(addnodes.desc_signature)), None)
    if first is None:
        return "", ""
    module = first.get("module") or ""
    return module, f"{module}.{first.get('fullname')}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
