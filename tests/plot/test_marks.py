"""What is drawn of a run: arrows, markers, and how it ended."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drawing import (
    by_name,
    cut_off,
    data,
    drawn,
    shortened,
    texts,
    thinned,
)
from matplotlib.colors import to_rgba

import physgrad as pg
from physgrad.plot.marks import LEFT_OUT, MOST_ARROWS
from physgrad.plot.style import STYLES
from physgrad.plot.view import visible_parts
from physgrad.results import Result


def test_arrows_lead_from_iterate_to_iterate(toy):
    ax = pg.plot.compare(toy, "x", methods=["newton"])
    (heads,) = drawn(ax, "arrows")
    points = toy["newton"].trajectory["x"]
    middles = (points[:-1] + points[1:]) / 2
    for place, path in zip(heads.get_offsets(), heads.get_paths(), strict=True):
        step = int(np.argmin(np.hypot(*(middles - place).T)))
        np.testing.assert_allclose(place, middles[step], rtol=1e-6)
        tip, *sides = path.vertices[:3]
        pointed = tip - np.mean(sides, axis=0)
        walked = points[step + 1] - points[step]
        along = pointed @ walked / np.hypot(*pointed) / np.hypot(*walked)
        assert along == pytest.approx(1.0)
    assert len(heads.get_offsets()) >= 4


def test_every_segment_that_is_seen_has_its_direction(crossing):
    """An arrow on it, that points along it, even where it only crosses the picture."""
    ax = pg.plot.compare(crossing, "x", methods=["gd"])
    points = crossing["gd"].trajectory["x"].astype(float)
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    steps = np.diff(points, axis=0)
    first, last = visible_parts(points[:-1], steps, low, high)
    seen = np.flatnonzero(last > first)
    assert len(seen) == 3 and not view_holds(points[1:], low, high).any()
    places, headings = arrows_of(ax)
    assert len(places) == len(seen)
    for segment in seen:
        way = steps[segment]
        off = (places - points[segment]) @ [way[1], -way[0]] / np.hypot(*way)
        (on_it,) = np.flatnonzero(np.abs(off) < 1e-3)
        along = headings[on_it] @ way / np.hypot(*headings[on_it]) / np.hypot(*way)
        assert along == pytest.approx(1.0)
    (label,) = drawn(ax, "run-label")
    np.testing.assert_allclose(label.xy, points[seen[-1]] + last[seen[-1]] * steps[-1])


def view_holds(points, low, high):
    return np.all((points >= low) & (points <= high), axis=1)


def arrows_of(ax):
    """Where arrow heads are, and where they point to."""
    heads = drawn(ax, "arrows")
    places = np.concatenate([np.asarray(some.get_offsets()) for some in heads])
    paths = [path.vertices for some in heads for path in some.get_paths()]
    return places, np.array([tip - (one + other) / 2 for tip, one, other, _ in paths])


def test_a_run_that_leaves_is_marked_where_it_leaves(diverging):
    assert diverging["gd"].result == "diverged"
    for space, edge in (("x", 0), ("z", 1)):
        ax = pg.plot.compare(diverging, space)
        assert max(np.abs([*ax.get_xlim(), *ax.get_ylim()])) < 12
        last = diverging["gd"].trajectory[space][-1]
        where = f"[{last[0]:.3g}, {last[1]:.3g}]".replace("-", "\N{MINUS SIGN}")
        said = f"gd\n(diverged in step 3,\nlast at {where})"
        assert said in texts(ax, "run-label")
        blue = to_rgba(STYLES["gd"].color)
        places = [
            place
            for heads in drawn(ax, "arrows")
            if np.allclose(heads.get_facecolor()[0], blue)
            for place in heads.get_offsets()
        ]
        assert places[-1][1] == pytest.approx(ax.get_ylim()[edge])
        ax.figure.canvas.draw()


def test_a_run_that_completes_outside_says_so(diverging):
    completed = cut_off(diverging["gd"], 2, Result.completed)
    away = dataclasses.replace(diverging, runs={**diverging.runs, "gd": completed})
    said = texts(pg.plot.compare(away), "run-label")
    assert "gd\n(ends outside,\nat [\N{MINUS SIGN}3, \N{MINUS SIGN}105])" in said


@pytest.mark.parametrize(("iterates", "where"), [(5, "in step 5"), (1, "at the start")])
def test_a_run_that_failed_has_a_stop_sign(toy, iterates, where):
    failed = cut_off(toy["pg"], iterates)
    comparison = dataclasses.replace(toy, runs={**toy.runs, "pg": failed})
    ax = pg.plot.compare(comparison)
    (stop,) = drawn(ax, "stop")
    np.testing.assert_array_equal(data(stop)[0], failed.trajectory["x"][-1])
    assert stop.get_marker() == "8"
    assert f"pg\n(inverse_failed {where})" in texts(ax, "run-label")
    (stop,) = drawn(pg.plot.losses(comparison), "stop")
    assert data(stop)[0].tolist() == [iterates - 1, failed.trajectory.losses[-1]]


@pytest.mark.parametrize(
    ("name", "space", "left_out"),
    [("toy", "x", True), ("long", "z", True), ("shorter", "x", False)],
)
def test_markers_are_left_out_with_a_note_only(name, space, left_out, request):
    toy = request.getfixturevalue("toy" if name == "shorter" else name)
    ax = pg.plot.compare(shortened(toy, 3) if name == "shorter" else toy, space)
    lines = by_name(ax).values()
    assert thinned(lines) is left_out
    assert (ax.get_title(loc="right") == LEFT_OUT) is left_out


def test_what_is_outside_is_not_left_out(crossing):
    ax = pg.plot.compare(crossing, "x", methods=["gd"])
    assert ax.get_title(loc="right") == ""


def test_a_thousand_steps_stay_readable(long):
    ax = pg.plot.compare(long)
    for line in by_name(ax).values():
        assert len(data(line)) == 1001
        marked = np.asarray(line.get_markevery())
        assert {0, 1000} <= set(marked.tolist()) and len(marked) < 250
    assert all(len(h.get_offsets()) <= MOST_ARROWS for h in drawn(ax, "arrows"))
