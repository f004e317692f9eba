"""Pictures as files, and what there is without matplotlib."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import jax.numpy as jnp
import jaxtyping
import matplotlib
import matplotlib.style
import pytest
from drawing import (
    PICTURES,
)

import physgrad as pg
from physgrad.plot.space import plane_of


def test_all_pictures_are_there_as_png_and_svg(files):
    expected = [f"{name}.{form}" for name in PICTURES for form in ("png", "svg")]
    assert list(files) == expected
    for name, content in files.items():
        if name.endswith("png"):
            assert content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) > 10_000
            width = int.from_bytes(content[16:20], "big")
            assert 800 <= width <= 1600
        else:
            assert ElementTree.fromstring(content).tag.endswith("svg")


def test_the_bytes_depend_on_the_comparison_only(toy, files):
    with matplotlib.rc_context():
        matplotlib.style.use("dark_background")
        matplotlib.rcParams["svg.hashsalt"] = None
        again = pg.plot.figures(toy)
    assert again == files
    assert b"dc:date" not in files["x_all.svg"]


def test_what_was_saved_gives_the_same_pictures(toy, files, tmp_path, vectors_only):
    toy.save(tmp_path / "out")
    again = pg.plot.figures(pg.Comparison.load(tmp_path / "out"))
    assert again == {
        name: content if name.endswith("svg") else b""
        for name, content in files.items()
    }


def test_names_are_text_not_markup(toy, vectors_only):
    name = "<script>alert('$x_1$ & \\frac')</script>"
    hostile = dataclasses.replace(
        toy, runs={name: toy["gd"]}, optimizers={name: toy.optimizers["gd"]}
    )
    made = pg.plot.figures(hostile)
    assert list(made)[:2] == ["x_all.png", "x_all.svg"]
    for content in (made["x_all.svg"], made["losses.svg"], made["three_spaces.svg"]):
        assert b"<script" not in content
        found = "".join(ElementTree.fromstring(content).itertext())
        assert "<script>alert('$x_1$ & \\frac')</s" in found


def test_pictures_follow_what_there_is(toy, unrendered):
    def only(*names):
        return dataclasses.replace(
            toy,
            runs={name: toy[name] for name in names},
            optimizers={name: toy.optimizers[name] for name in names},
        )

    def stems(comparison):
        return [name[:-4] for name in pg.plot.figures(comparison)][::2]

    assert stems(only("newton")) == ["x_all", "z_all", "three_spaces", "losses"]
    assert stems(dataclasses.replace(toy, problem=None, objective=None)) == [
        name for name in PICTURES if name != "three_spaces"
    ]


PICTURES_OF_A_COMPARISON = [
    *("animate", "compare", "figures", "losses", "report", "three_spaces")
]


@pytest.mark.parametrize("name", PICTURES_OF_A_COMPARISON)
def test_what_is_no_comparison_is_refused(toy, name, monkeypatch):
    # users have no checker of annotations: the library itself must refuse
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    picture: Any = getattr(pg.plot, name)
    wrong = {"a Run": toy["gd"], "an Objective": toy.objective, "a NoneType": None}
    for what, value in wrong.items():
        with pytest.raises(TypeError) as caught:
            picture(value)
        assert str(caught.value) == (
            f"comparison must be a Comparison, got {what}; make one: "
            "compare(objective, x0, {...})"
        )


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    module = importlib.import_module("physgrad.plot")
    for loaded in [m for m in sys.modules if m.startswith("physgrad.plot.")]:
        monkeypatch.delitem(sys.modules, loaded)
    for name in module.__all__:
        monkeypatch.delitem(vars(module), name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in module.__all__:
        with pytest.raises(
            pg.MissingExtra, match=rf"plot\.{name} needs .*physgrad\[plot"
        ):
            getattr(pg.plot, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pg.plot.nothing


def test_matplotlib_is_loaded_with_the_first_picture_only():
    program = "import sys, physgrad.plot, physgrad.plot.style; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert {"matplotlib", "jax"} & set(answer.stdout.split()) == set()
    assert set(pg.plot.__all__) <= set(dir(pg.plot))


def test_a_plane_knows_its_start_and_solution(toy):
    plane = plane_of(toy, "z")
    assert plane.start.tolist() == [3.0, 9.0]
    assert [mark.tolist() for mark in plane.landmarks] == [[3.0, 9.0], [0.0, 0.0]]
    assert plane.loss is not None and float(plane.loss(jnp.array([3.0, 4.0]))) == 25.0
