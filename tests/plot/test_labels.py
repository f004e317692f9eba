"""Labels at the ends of runs, and the legend where they do not fit."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from drawing import (
    DEFAULT,
    by_name,
    compared,
    cut_off,
    data,
    drawn,
    lay_out,
    legend_texts,
    text_box,
    texts,
)
from matplotlib.figure import Figure

import physgrad as pg
from physgrad.plot.labels import Label, Obstacles, extent, place_labels
from physgrad.results import Result


@pytest.mark.parametrize("start", [(3.0, 3.0), (3.0, -3.0), (-2.0, 0.5)])
@pytest.mark.parametrize("space", ["x", "z"])
def test_labels_cover_neither_each_other_nor_the_markers(start, space):
    comparison = compared({**DEFAULT, "lm": pg.LevenbergMarquardt()}, start)
    ax = pg.plot.compare(comparison, space)
    lay_out(ax)
    kinds = ("run-label", "level-label", "start-label", "solution-label")
    labels = [label for kind in kinds for label in drawn(ax, kind)]
    assert texts(ax, "start-label") == ["start"]
    assert set(" ".join(texts(ax, "run-label")).replace(",", "").split()) >= set(
        comparison.runs
    )
    boxes = [text_box(label) for label in labels]
    for (one, size), (other, its_size) in itertools.combinations(boxes, 2):
        assert np.any(np.abs(one - other) >= (size + its_size) / 2 - 1e-6)
    obstacles = Obstacles(ax)
    for line in by_name(ax).values():
        obstacles.add_markers(data(line))
    for center, size in boxes:
        covered = np.all(np.abs(obstacles.markers - center) < size / 2, axis=1)
        assert not covered.any()
        corners = np.stack([center - size / 2, center + size / 2])
        assert obstacles.frame_contains(corners).all()


@pytest.mark.parametrize("gap", [12.0, 20.0, 30.0])
def test_a_label_is_nearest_to_what_it_names(gap):
    """Or a line leads to it, even if it would best lie beyond the other."""
    ax = Figure().add_axes((0, 0, 1, 1))
    middle, apart = np.array([0.5, 0.5]), np.array([0.0, gap / 2 / 480])
    ends = [middle - apart, middle + apart]
    ways = [np.array([0.0, 1.0]), np.array([0.0, -1.0])]
    labels = [
        Label("a run", *where, "run-label")
        for where in zip(ends, "kk", ways, strict=True)
    ]
    obstacles = Obstacles(ax)
    obstacles.add_markers(np.array(ends))
    written = place_labels(ax, labels, obstacles)
    assert written is not None
    lay_out(ax)
    places = ax.transData.transform(ends)
    for label, place in zip(written, places, strict=True):
        center, size = text_box(label)
        away = np.hypot(*np.maximum(np.abs(places - center) - size / 2, 0).T)
        own = np.hypot(*np.maximum(np.abs(place - center) - size / 2, 0))
        assert label.arrow_patch is not None or own <= np.min(away) + 1e-6


def test_runs_that_look_the_same_share_a_label(toy):
    ax = pg.plot.compare(toy)
    assert sorted(texts(ax, "run-label")) == ["gd", "newton", "pg and pg-numeric"]


def test_many_runs_get_a_legend_beside_the_axes(toy):
    # names that matplotlib would leave out of a legend, or parse
    runs = {f"_gd${i}$": cut_off(toy["gd"], i, Result.completed) for i in range(1, 11)}
    words = dict.fromkeys(runs, toy.optimizers["gd"])
    many = dataclasses.replace(toy, runs=runs, optimizers=words)
    ax = pg.plot.compare(many)
    legend = ax.get_legend()
    assert legend is not None and texts(ax, "run-label") == []
    assert [text.get_text() for text in legend.get_texts()] == list(runs)
    assert extent(legend)[0][0] > ax.get_window_extent().x1
    assert ax.figure.bbox.contains(*(sum(extent(legend)) - extent(legend)[1] / 2))
    given = Figure().add_subplot()
    inside = pg.plot.compare(many, ax=given).get_legend()
    assert inside is not None
    assert given.get_window_extent().contains(*extent(inside)[0])


@pytest.mark.parametrize("space", ["x", "z"])
def test_ten_methods_have_a_legend_beside_the_axes(ten, space):
    ax = pg.plot.compare(ten, space)
    assert legend_texts(ax) == list(ten.runs) and texts(ax, "run-label") == []
    legend = ax.get_legend()
    assert legend is not None
    assert extent(legend)[0][0] - extent(legend)[1][0] / 2 >= ax.get_window_extent().x1
    samples = [(s.get_marker(), s.get_linestyle()) for s in legend.get_lines()]
    assert len(set(samples)) > 7 and all(marker != "None" for marker, _ in samples)
    few = pg.plot.compare(ten, space, methods=["pg"])
    lay_out(ax)
    np.testing.assert_allclose(extent(ax.patch)[1], extent(few.patch)[1], rtol=1e-6)
