"""`report`: a comparison as one HTML file, with everything that it needs inside."""

from __future__ import annotations

import html
import importlib.metadata
import os
import platform

from bokeh.core.templates import get_env
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.models import CustomJS, Model, TabPanel, Tabs
from bokeh.resources import INLINE

from physgrad.comparison.comparison import Comparison
from physgrad.objective.objective import Objective
from physgrad.plot import iterates, theme
from physgrad.plot.linked import Linked
from physgrad.plot.saving import checked_file, write_file
from physgrad.plot.space import checked_comparison
from physgrad.plot.text_tables import results_table, table, vector
from physgrad.plot.theme import WIDE, WRAP

PACKAGES = ("physgrad", "jax", "jaxlib", "equinox", "optimistix", "numpy", "bokeh")


def report(
    comparison: Comparison,
    file: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
    command: str | None = None,
    objective: Objective | None = None,
    force: bool = False,
) -> str:
    """A comparison as one HTML file: linked plots, tables, and how it was made.

    It opens from disk and fetches nothing: pointing at an iterate marks it in every
    space, in the losses and in the table of all iterates, as on the page of `physgrad
    explore`. Whatever text a comparison holds is shown as text.

    **Arguments:**

    - `file`: also written there, as a whole or not at all; ends with .html.
    - `title`: by default, the name of the problem.
    - `command`: what makes the same comparison again, if a command does.
    - `objective`: for the level lines, where the comparison does not know it (it was
      loaded, and is not of a named problem).
    - `force`: whether an older file is replaced.

    **Returns:** the HTML, about 2 MB, most of it the library that draws.

    **Raises:** `TypeError` for what is no comparison; `ValueError` for a file that does
    not end with .html; `FileExistsError` where the file is there already, unless
    `force`; other `OSError` where it cannot be written; `MissingExtra` without bokeh.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 2 * x, lambda z: jnp.sum(z**2))
    >>> methods = {"GD": pg.GradientDescent(0.1), "Newton": pg.Newton(1.0)}
    >>> comparison = pg.compare(objective, jnp.array([3.0, 1.0]), methods, num_steps=2)
    >>> text = pg.plot.report(comparison, title="Doubling")
    >>> "<h1>Doubling</h1>" in text, len(text) < 3_000_000
    (True, True)
    """
    checked_comparison(comparison)
    path = None if file is None else checked_file(file, ".html", force=force)
    linked = Linked(comparison, objective)
    if title is None:
        title = f"physgrad: {comparison.problem or 'a comparison'}"
    tabs = [
        TabPanel(child=shown, title=f"by {against}")
        for against, shown in linked.losses.items()
    ]
    roots: dict[str, Model] = {
        "spaces": row(*linked.figures.values(), **WRAP),
        "losses": column(Tabs(tabs=tabs, **WIDE), **WIDE),
        "iterates": linked.iterates.table,
    }
    for name, root in roots.items():
        theme.dressed(root).name = name
    document = Document(title=title)
    for root in roots.values():
        document.add_root(root)
    document.js_on_event("document_ready", CustomJS(code=theme.NAMES))
    text = file_html(
        document,
        INLINE,
        title,
        template=get_env().from_string(TEMPLATE),
        template_variables={
            "css": theme.PAGE + theme.TEXT + LAYOUT,
            "script": theme.SCRIPT + iterates.SCRIPT,
            "results": results_table(comparison),
            "settings": _settings(comparison),
            "how": _how(command),
            "versions": _versions(),
        },
        suppress_callback_warning=True,
    )
    if path is not None:
        write_file(path, text.encode())
    return text


def _settings(comparison: Comparison) -> str:
    """What was run: the problem, the start, and each method."""
    dtype = str(next(iter(comparison.runs.values())).trajectory.losses.dtype)
    rows = [
        ("problem", comparison.problem or "not one of physgrad's"),
        ("start", vector(comparison.start)),
        ("steps", str(comparison.num_steps)),
        ("dtype", dtype),
        *comparison.optimizers.items(),
    ]
    return table("What was run", ("setting", "value"), rows)


def _versions() -> str:
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    rows = [("Python", platform.python_version()), *found.items()]
    rows.append(("machine", f"{platform.system()} {platform.machine()}"))
    return table("This report was written with", ("what", "version"), rows)


def _how(command: str | None) -> str:
    if command is None:
        return "<p>It was made in Python, by <code>physgrad.compare</code>.</p>"
    return (
        "<p>This command makes it again:</p>"
        f"<pre tabindex='0'><code>{html.escape(command)}</code></pre>"
    )


TEMPLATE = (
    theme.PART
    + """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{{ title | e }}</title>
{{ bokeh_css | default("", true) }}
{{ bokeh_js }}
<style>{{ css }}</style>
</head>
<body>
<header>
<button type="button" id="dark-or-light">Dark or light</button>
<h1>{{ title | e }}</h1>
</header>
<main>
<section aria-labelledby="results"><h2 id="results">Results</h2>{{ results }}</section>
<section aria-labelledby="spaces"><h2 id="spaces">The same runs in every space</h2>
<p>Level lines of L are at the same values in every space. Point at an iterate to mark
it everywhere; the table below holds the numbers.</p>
{{ part("spaces") }}</section>
<section aria-labelledby="losses"><h2 id="losses">Loss</h2>
{{ part("losses") }}</section>
<section aria-labelledby="iterates"><h2 id="iterates">Every iterate</h2>
{{ part("iterates") }}</section>
<section aria-labelledby="settings"><h2 id="settings">How it was made</h2>
{{ settings }}{{ how }}{{ versions }}</section>
</main>
{{ plot_script }}
<script>{{ script }}</script>
</body>
</html>
"""
)

LAYOUT = """
main { max-width: 76rem; margin: 0 auto; }
"""
