"""What the pages promise, as far as it can be seen without building them.

`make docs` runs the notebooks and checks the pages that result; here their sources are
read. Each check is a function from text to a list of faults, and is shown a bad
example, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import physgrad as pg

pytest.importorskip("sphinx", reason="the extra docs is not installed")

import docstrings
import names
import pages

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SOURCES = {
    path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if not {"_build", "results"} & set(path.parts)  # what studies write is no page
}
DIRECTIVE = re.compile(r"^\.\. auto\w+:: (physgrad[\w.]*)$", re.MULTILINE)
CELL = re.compile(r"^```\{code-cell\}.*?^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^(`{3,}|:{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
DECIMAL = re.compile(r"(?<![\w.])\d[\d,]*\.\d+(?:e-?\d+)?")


def public_names() -> set[str]:
    """Everything that has to have its place in the reference."""
    return {
        *(f"physgrad.{name}" for name in pg._HOME),
        *(f"physgrad.plot.{name}" for name in pg.plot.__all__),
        *(f"physgrad.simulators.{name}" for name in pg.simulators.__all__),
        *(f"physgrad.train.{name}" for name in pg.train.__all__),
        *(f"physgrad.problems.{name}" for name in names.problem_functions()),
    }


def reference_faults(texts: Iterable[str], public: set[str]) -> list[str]:
    """Public names without a place, with two, and places of what is not public."""
    places = [name for text in texts for name in DIRECTIVE.findall(text)]
    return [
        *(f"{name} has no place" for name in sorted(public - set(places))),
        *(f"{name} is not public" for name in sorted(set(places) - public)),
        *(f"{x} has two places" for x in sorted(set(places)) if places.count(x) > 1),
    ]


def is_notebook(text: str) -> bool:
    return "file_format: mystnb" in text


def stale_numbers(text: str) -> list[str]:
    """Numbers in the prose of a notebook that none of its cells knows.

    A number is a setting or an asserted result, and stands in a cell, or it comes from
    the run, by `glue`: what was typed once may be wrong tomorrow.
    """
    cells = " ".join(CELL.findall(text))
    prose = re.sub(r"`[^`]*`", "", CELL.sub("", text))
    known = set(DECIMAL.findall(cells))
    return [number for number in DECIMAL.findall(prose) if number not in known]


def links(text: str) -> Iterator[str]:
    """Where a source leads to within the documentation, relative to its folder."""
    prose = FENCED.sub("", text)
    roles = re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text)
    cards = re.findall(r"^:link: (\S+)\n:link-type: doc$", text, re.MULTILINE)
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    entries = [line for tree in trees for line in tree.split() if line[0] != ":"]
    entries = [x for x in entries if x not in ("Learn", "Look", "up", "About")]
    yield from (f"{name}.md" for name in [*roles, *cards, *entries])
    yield from re.findall(r"\]\(([^)#:]+)\)", prose)
    yield from re.findall(r"^```\{(?:include|image)\} (\S+)$", text, re.MULTILINE)


def link_faults(sources: Mapping[str, str], root: Path) -> list[str]:
    return [
        f"{name}: {link}"
        for name, text in sources.items()
        for link in links(text)
        if not (root / name).parent.joinpath(link).exists()
    ]


def test_every_public_name_has_its_place_in_the_reference():
    reference = [SOURCES[name] for name in SOURCES if name.startswith("reference/")]
    assert reference_faults(reference, public_names()) == []
    bad = "..  autoclass:: physgrad.A\n.. autoclass:: physgrad.B\n"
    assert reference_faults([bad, bad], {"physgrad.A"}) == [
        "physgrad.A has no place",
        "physgrad.B is not public",
        "physgrad.B has two places",
    ]


def test_notebooks_are_text_without_outputs():
    assert [
        path.name for path in DOCS.rglob("*.ipynb") if "_build" not in path.parts
    ] == []
    with_cells = {name for name, text in SOURCES.items() if "{code-cell}" in text}
    assert with_cells == {name for name, text in SOURCES.items() if is_notebook(text)}
    assert len(with_cells) >= 15
    assert all(
        SOURCES[name].startswith("---\nfile_format: mystnb\n") for name in with_cells
    )


@pytest.mark.parametrize(
    "name", [n for n, text in SOURCES.items() if is_notebook(text)]
)
def test_numbers_in_the_prose_of_a_notebook_come_from_its_cells(name: str):
    assert stale_numbers(SOURCES[name]) == []


def test_a_number_that_was_typed_is_found():
    cell = "```{code-cell}\nx = 0.25\n```\n"
    assert stale_numbers(
        f"{cell}It took 0.25, and 1.34e-5 and {{glue:text}}`a:.2f`."
    ) == ["1.34e-5"]


def test_every_link_within_the_sources_leads_somewhere():
    assert link_faults(SOURCES, DOCS) == []
    bad = {"a/b.md": "{doc}`c`, {doc}`text <../d>`, [e](e.md), [web](https://f.g)"}
    assert link_faults(bad, DOCS) == ["a/b.md: c.md", "a/b.md: ../d.md", "a/b.md: e.md"]


def test_every_page_is_in_a_table_of_contents():
    entries = {
        (DOCS / name).parent.joinpath(link).resolve()
        for name, text in SOURCES.items()
        if "{toctree}" in text
        for link in links(text)
    }
    missing = [name for name in SOURCES if (DOCS / name).resolve() not in entries]
    assert missing == ["index.md"]


def test_the_example_of_the_first_page_is_that_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (block,) = re.findall(r"^```python\n(.*?)^```$", SOURCES["index.md"], re.M | re.S)
    lines = [
        line for line in block.splitlines() if not line.startswith(("import", "run."))
    ]
    assert [line for line in lines if line not in readme] == []


@pytest.mark.parametrize(
    ("markdown", "rest"),
    [
        (["`x`: |x|_B of x_ref*"], ["``x``: \\|x\\|\\_B of x\\_ref\\*"]),
        (["- `x`: a", "    b"], ["- ``x``: a", "  b"]),
        (["**Raises:** `A`s"], ["**Raises:** ``A``\\ s"]),
        (["a `b", "c` d"], ["a ``b c`` d"]),
        ([">>> f(`1`)", "|2|", "", "|3|"], [">>> f(`1`)", "|2|", "", "\\|3\\|"]),
        (["as::", "", "    |x|", "", "|y|"], ["as::", "", "    |x|", "", "\\|y\\|"]),
    ],
)
def test_docstrings_become_rest(markdown, rest):
    assert docstrings.to_rest(markdown) == rest


@pytest.mark.parametrize(
    ("code", "module", "target"),
    [
        ("PhysicalGradient", "", "physgrad.PhysicalGradient"),
        ("pg.minimize(objective, x0)", "", "physgrad.minimize"),
        ("compare", "", "physgrad.compare"),
        ("compare", "physgrad.plot", "physgrad.plot.compare"),
        ("pg.plot.losses", "", "physgrad.plot.losses"),
        ("inverse_failed", "", "physgrad.Result"),
        ("Run.loss", "", "physgrad.Run"),
        ("pg.NoSuchName", "", "physgrad.NoSuchName"),  # for Sphinx to report
        ("optax.adam(0.1)", "", None),
        ("physgrad compare --json", "", None),
    ],
)
def test_code_that_names_something_public_leads_there(code, module, target):
    assert names.target(code, names.NAMES, module) == target


@pytest.mark.parametrize(
    ("name", "text", "faults"),
    [
        ("a.html", '<script src="https://b.c/d.js"></script>', 1),
        ("a.html", '<link rel="stylesheet" href="//b.c/d.css">', 1),
        ("a.html", '<img src="http://b.c/d.png" alt="">', 1),
        ("a.html", "<style>p { background: url(https://b.c/d.png) }</style>", 1),
        ("a.css", "@import 'https://b.c/d.css';", 1),
        ("a.html", '<a href="https://b.c">b</a> <img src="d.png" alt="">', 0),
        ("a.html", '<link rel="next" href="https://b.c/d.html">', 0),
        ("a.css", "@font-face { src: url(d.woff2) }", 0),
    ],
)
def test_what_a_page_fetches_from_another_host_is_found(name, text, faults):
    assert len(pages.outside_faults(name, text)) == faults


def test_links_of_pages_that_lead_nowhere_are_found():
    files = {"a.html", "b/c.html"}
    page = pages.Page('<a href="b/c.html#here">1</a> <a href="b/d.html">2</a>')
    other = pages.Page('<p id="there"></p> <a href="../a.html#">3</a>')
    faults = list(pages.link_faults({"a.html": page, "b/c.html": other}, files))
    assert ["no place" in fault for fault in faults] == [True, False]
    assert "no file" in faults[1]
