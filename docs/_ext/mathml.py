"""Formulas as MathML, made when the pages are built.

Browsers draw MathML themselves, so no script is needed for it, neither from another
host nor in the pages. The conversion is that of docutils, which Sphinx brings along.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def convert(node: nodes.Element, as_block: bool) -> str:
    """The MathML of a formula; a warning, and its LaTeX, where there is none."""
    tex = node.astext().strip()
    try:
        return latex2mathml.tex2mathml(tex, as_block=as_block)
    except MathError as error:
        logger.warning("no MathML for %r: %s", tex, error, location=node)
        return f"<code>{nodes.unescape(tex)}</code>"


def visit_inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(convert(node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.Element) -> None:
    names = " ".join(node.get("ids", []))
    name = f' id="{names}"' if names else ""
    number = f'<span class="eqno">({node["number"]})</span>' if node["number"] else ""
    block = convert(node, as_block=True)
    translator.body.append(f'<div class="math notranslate"{name}>{number}{block}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
