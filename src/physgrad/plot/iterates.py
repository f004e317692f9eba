"""The table of all iterates: the text beside the pictures, which sorts."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJS, Div

MOST_ROWS = 400
"""More are not shown: a browser would take seconds for them."""


def iterates_table(data: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """An HTML table of the iterates.

    **Arguments:** `data`: the columns; `columns`: those that are shown, each with its
    heading.
    """
    count = len(data["row"])
    shown = [np.asarray(data[key]) for key in columns]
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{html.escape(head)}'
        "</button></th>"
        for head in columns.values()
    )
    rows = "".join(
        f'<tr data-row="{row}">'
        + "".join(_cell(column[row]) for column in shown)
        + "</tr>"
        for row in range(min(count, MOST_ROWS))
    )
    more = f", the first {MOST_ROWS} of {count}" if count > MOST_ROWS else ""
    return (
        '<div class="scroll iterates" tabindex="0" role="region" '
        'aria-label="Table of iterates"><table><caption>Every iterate of every method'
        f"{more}; a heading sorts</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    number = float(value)
    shown = f"{number:.7g}" if np.isfinite(number) else str(number)
    return f'<td data-value="{number!r}">{shown}</td>'


STYLE = """
.iterates { max-height: 22rem; }
.iterates thead th { position: sticky; top: 0; background: var(--pg-paper); }
.iterates button {
  font: inherit; color: inherit; background: none; border: 0; padding: 0.2rem 0;
  cursor: pointer;
}
.iterates button::after { content: " ↕" / ""; color: var(--pg-quiet); }
.iterates [aria-sort=ascending] button::after { content: " ↑" / ""; color: inherit; }
.iterates [aria-sort=descending] button::after { content: " ↓" / ""; color: inherit; }
.iterates button:focus-visible { outline: 3px solid var(--pg-link); }
.iterates tbody tr { cursor: pointer; }
.iterates tbody tr:hover { background: var(--pg-raised); }
.iterates tr[aria-selected=true] { background: var(--pg-raised); }
.iterates tr[aria-selected=true] td:first-child {
  box-shadow: inset 4px 0 0 var(--pg-link); padding-left: 0.6rem; font-weight: 600;
}
"""

# Headings sort, rows are chosen: found where the event came from, within the shadow of
# Bokeh's element, too.
SCRIPT = """
document.addEventListener("click", (event) => {
    const path = event.composedPath().filter((part) => part.matches);
    const head = path.find((part) => part.matches(".iterates th"));
    if (head) {
        const heads = [...head.parentElement.children], place = heads.indexOf(head);
        const up = head.ariaSort != "ascending";
        for (const other of heads) other.ariaSort = "none";
        head.ariaSort = up ? "ascending" : "descending";
        const body = head.closest("table").tBodies[0];
        const value = (row) => {
            const cell = row.children[place], number = cell.dataset.value;
            return number === undefined ? cell.textContent : Number(number);
        };
        const rows = [...body.rows].sort((a, b) => {
            const [left, right] = [value(a), value(b)];
            if (Number.isNaN(left)) return Number.isNaN(right) ? 0 : 1;
            if (Number.isNaN(right)) return -1;
            return (left > right ? 1 : left < right ? -1 : 0) * (up ? 1 : -1);
        });
        body.append(...rows);
        return;
    }
    const row = path.find((part) => part.matches(".iterates tr[data-row]"));
    const all = Bokeh.documents[0]?.get_model_by_name("all iterates");
    if (row && all) all.selected.indices = [Number(row.dataset.row)];
});
"""
"""For the end of the body."""

# Selecting a row of all iterates marks it in every figure and in the table.
MARK = """
const row = all.selected.indices[0];
if (row === undefined) return;
const data = {};
for (const key of Object.keys(all.data)) data[key] = [all.data[key][row]];
mark.data = data;
const body = Bokeh.index.find_one(table)?.shadow_el;
for (const line of body?.querySelectorAll("tr[data-row]") ?? []) {
    line.ariaSelected = Number(line.dataset.row) == row;
}
"""


def columns_of(entries: Mapping[str, Mapping[int, str]]) -> dict[str, str]:
    """The columns that are shown, with their headings.

    **Arguments:** `entries`: of each space, those that are shown, with their names.
    """
    shown = {"method": "method", "step": "step", "loss": "L"}
    for space, names in entries.items():
        shown |= {f"{space}[{entry}]": name for entry, name in names.items()}
    return shown | {"result": "result"}


class Iterates:
    """All iterates of all runs, which of them is chosen, and their table.

    A page keeps one for all the figures that it draws in turn.
    """

    def __init__(self) -> None:
        self.all = ColumnDataSource(name="all iterates")
        """Select a row, and it is chosen everywhere."""
        self.mark = ColumnDataSource()
        """The chosen row alone, which figures draw a ring around."""
        self.table = Div(sizing_mode="stretch_width")
        links = {"all": self.all, "mark": self.mark, "table": self.table}
        self.all.selected.js_on_change("indices", CustomJS(args=links, code=MARK))

    def fill(
        self, columns: Mapping[str, Any], entries: Mapping[str, Mapping[int, str]]
    ) -> None:
        """Other iterates; the first one is marked until one is chosen."""
        self.all.update(data=dict(columns))
        self.mark.update(data={key: column[:1] for key, column in columns.items()})
        self.table.text = iterates_table(columns, columns_of(entries))

    def choose(self, row: int) -> None:
        """Mark a row."""
        data: dict[Any, Any] = dict(self.all.data)
        self.mark.update(data={key: [column[row]] for key, column in data.items()})
        self.all.selected.update(indices=[row])
