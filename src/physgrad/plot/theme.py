"""Light and dark: the style sheets of the page and of the report.

Everything follows CSS variables. Those named `--pg-...` are ours; Bokeh draws the axes,
grids and backgrounds of its figures in the colors of `--bk-...`, and each widget looks
up its own in a style sheet that `dressed` gives it. What Bokeh takes from no style
sheet, marks and lines in a figure, has colors that can be told on both backgrounds.
"""

from __future__ import annotations

from typing import Any, TypeVar

from bokeh.models import InlineStyleSheet, LayoutDOM, Legend, Model

from physgrad.plot import iterates

WIDE: dict[str, Any] = {"sizing_mode": "stretch_width"}
"""As wide as there is room."""
WRAP: dict[str, Any] = {
    **WIDE,
    "styles": {"flex-wrap": "wrap", "gap": "0.3rem", "display": "flex"},
}
"""Side by side where there is room, else below each other."""

LIGHT = {
    "paper": "#FFFFFF",
    "raised": "#F5F6F8",
    "ink": "#1B1E23",
    "quiet": "#565C66",
    "line": "#C9CDD3",
    "border": "#858B95",
    "grid": "#E9EBEE",
    "link": "#005C91",
    "alert": "#A93800",
    "alert-paper": "#FDF1EA",
}
DARK = {
    "paper": "#15171A",
    "raised": "#1F2226",
    "ink": "#E9EBEE",
    "quiet": "#A4ABB6",
    "line": "#3A3F47",
    "border": "#7E8590",
    "grid": "#282C31",
    "link": "#6CB8EA",
    "alert": "#FF9A66",
    "alert-paper": "#2E1E16",
}
"""On paper and raised, text has a contrast of 4.5:1; border and method colors, 3:1."""

_BOKEH = """
    --bk-background-fill-color: var(--pg-paper);
    --bk-border-fill-color: var(--pg-paper);
    --bk-outline-line-color: var(--pg-line);
    --bk-axis-line-color: var(--pg-border);
    --bk-major-tick-line-color: var(--pg-border);
    --bk-minor-tick-line-color: var(--pg-line);
    --bk-grid-line-color: var(--pg-grid);
    --bk-axis-label-text-color: var(--pg-ink);
    --bk-major-label-text-color: var(--pg-quiet);
    --bk-label-text-color: var(--pg-ink);
    --bk-text-color: var(--pg-ink);
"""


def _variables(colors: dict[str, str]) -> str:
    return "".join(f"--pg-{name}: {color}; " for name, color in colors.items())


PART = """\
{% from macros import embed %}
{% macro part(name) %}
{% for doc in docs %}{% for root in doc.roots if root.name == name %}\
{{ embed(root) }}{% endfor %}{% endfor %}
{% endmacro %}
"""
"""For the head of a template: `part(NAME)` is where the root of that name stands."""

PAGE = f"""
:root {{ color-scheme: light; {_variables(LIGHT)}{_BOKEH} }}
@media (prefers-color-scheme: dark) {{
  :root:not([data-theme=light]) {{ color-scheme: dark; {_variables(DARK)} }}
}}
:root[data-theme=dark] {{ color-scheme: dark; {_variables(DARK)} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0; padding: 0 1rem 3rem; background: var(--pg-paper); color: var(--pg-ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}}
h1 {{ font-size: 1.6rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }}
h2 {{ font-size: 1.15rem; line-height: 1.3; margin: 2.2rem 0 0.4rem; }}
p {{ margin: 0.3rem 0 0.8rem; max-width: 44rem; }}
a {{ color: var(--pg-link); }}
code, pre {{ font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }}
code {{ font-size: 0.9em; }}
header {{ padding: 1rem 0 0.4rem; border-bottom: 1px solid var(--pg-line); }}
#dark-or-light {{
  float: right; font: inherit; font-size: 0.85rem; color: var(--pg-ink);
  background: var(--pg-raised); border: 1px solid var(--pg-border); border-radius: 5px;
  padding: 0.2rem 0.7rem; cursor: pointer;
}}
.skip {{ position: absolute; left: -99rem; }}
.skip:focus {{ left: 1rem; top: 0.5rem; background: var(--pg-paper); z-index: 9; }}
:focus-visible {{ outline: 3px solid var(--pg-link); outline-offset: 2px; }}
"""
"""The style sheet of a page around the figures."""

TEXT = """
table { border-collapse: collapse; margin: 0.6rem 0; font-size: 0.9rem; }
caption { text-align: left; font-weight: 600; padding: 0.2rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.9rem 0.25rem 0; }
thead th { font-weight: 600; border-bottom: 1px solid var(--pg-border); }
tbody tr { border-bottom: 1px solid var(--pg-line); }
tbody th { font-weight: 500; min-width: 4rem; overflow-wrap: anywhere; }
td.words { min-width: 14rem; }
td { font-variant-numeric: tabular-nums; }
.scroll { overflow: auto; }
pre {
  background: var(--pg-raised); border: 1px solid var(--pg-line); border-radius: 6px;
  padding: 0.8rem 1rem; overflow: auto; font-size: 0.85rem; line-height: 1.45;
}
.alert, .status {
  margin: 0; padding: 0.5rem 0.8rem; border-left: 4px solid var(--pg-alert);
  background: var(--pg-alert-paper); color: var(--pg-ink); max-width: none;
  box-shadow: 0 2px 10px rgb(0 0 0 / 25%); pointer-events: auto;
}
.status { border-color: var(--pg-border); background: var(--pg-raised); }
"""
"""Of tables, code and messages; on the page and in a Div of Bokeh's alike."""

_WIDGET = f"""
:host {{
  color: var(--pg-ink);
  --background-color: var(--pg-paper);
  --surface-background-color: var(--pg-raised);
  --border-color: var(--pg-border);
  --border: 1px solid var(--pg-border);
  --placeholder-color: var(--pg-quiet);
  --icon-color: var(--pg-quiet);
  --color: var(--pg-ink);
  --text-color: var(--pg-ink);
  --hover-color: var(--pg-raised);
  --highlight-color: var(--pg-link);
  --input-focus-border-color: var(--pg-link);
  --font-size: 14px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}}
:host, .bk-clearfix {{ max-width: 100%; }}
.bk-clearfix {{ display: block; width: 100%; }}
.bk-input, .bk-btn, label, .bk-tab, .bk-slider-title {{ color: var(--pg-ink); }}
.bk-input, .bk-btn {{ background-color: var(--pg-paper); font-size: 14px; }}
.bk-btn {{ border: 1px solid var(--pg-border); }}
.bk-btn:hover {{ background-color: var(--pg-raised); }}
.bk-btn-primary {{
  background-color: var(--pg-link); border-color: var(--pg-link);
  color: var(--pg-paper);
}}
.bk-btn-primary:hover {{
  background-color: var(--pg-link); text-decoration: underline;
}}
.bk-btn.bk-active {{ background-color: var(--pg-link); color: var(--pg-paper); }}
.bk-input:focus-visible, .bk-btn:focus-visible, .bk-tab:focus-visible,
.noUi-handle:focus-visible, a:focus-visible, [tabindex]:focus-visible {{
  outline: 3px solid var(--pg-link); outline-offset: 1px;
}}
.noUi-target {{ background: var(--pg-raised); border-color: var(--pg-border); }}
.noUi-handle {{ background: var(--pg-paper); border-color: var(--pg-border); }}
select.bk-input {{
  appearance: auto; -webkit-appearance: auto; background-image: none;
}}
.bk-header .bk-tab.bk-active {{
  background: var(--pg-paper); color: var(--pg-ink); border-color: var(--pg-border);
}}
.bk-header {{ border-color: var(--pg-border); }}
a {{ color: var(--pg-link); }}
p {{ margin: 0.2rem 0; max-width: 44rem; }}
ul {{ padding-left: 1.2rem; }}
code, pre {{ font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }}
{TEXT}
{iterates.STYLE}
"""


# Bokeh writes a color of its own on each word of a legend.
_LEGEND = ".bk-label { color: var(--pg-ink) !important; }"
_Root = TypeVar("_Root", bound=Model)


def dressed(root: _Root) -> _Root:
    """The model, it and all widgets in it in our colors."""
    for model in root.references():
        css = _WIDGET if isinstance(model, LayoutDOM) else _LEGEND
        if isinstance(model, LayoutDOM | Legend) and not _has(model, css):
            model.stylesheets = [*model.stylesheets, InlineStyleSheet(css=css)]
    return root


def _has(model: LayoutDOM | Legend, css: str) -> bool:
    return any(getattr(sheet, "css", None) == css for sheet in model.stylesheets)


SCRIPT = """
{
    // what is drawn on a canvas does not follow a style sheet by itself
    const repaint = () => {
        for (const view of Bokeh.index.query(({model}) => model.type == "Figure")) {
            view.request_repaint();
        }
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    document.getElementById("dark-or-light").addEventListener("click", () => {
        const root = document.documentElement;
        const dark = getComputedStyle(root).colorScheme == "dark";
        root.dataset.theme = dark ? "light" : "dark";
        repaint();
    });
}
"""
"""For the end of the body, where a button has the id `dark-or-light`."""

NAMES = """
const deep = (root) => [...root.querySelectorAll("*")].flatMap(
    (part) => part.shadowRoot ? [part, ...deep(part.shadowRoot)] : [part]);
for (const {model, shadow_el: inside} of Bokeh.index.query(() => true)) {
    if (!inside) continue;
    if (model.type == "Slider") {
        inside.querySelector("[role=slider]").ariaLabel = model.name ?? model.title;
    } else if (model.type == "Figure") {
        const canvas = inside.querySelector(".bk-Canvas")?.shadowRoot;
        const events = canvas?.querySelector(".bk-events");
        for (const part of deep(inside)) {
            if (part.matches(".bk-OnOffButton, .bk-ClickButton")) {
                part.setAttribute("role", "button");
                part.setAttribute("aria-label", `${part.title}, ${model.title.text}`);
            }
        }
        // no "img": the tools are inside of it
        events?.setAttribute("role", "group");
        events?.setAttribute("aria-label",
            `${model.title.text}: a picture of what the tables say in numbers`);
    }
}
"""
"""Names for screen readers that Bokeh does not give; for when all is drawn."""
