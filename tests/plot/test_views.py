"""Which part of a space is shown, and which values its level lines have."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from drawing import (
    lay_out,
)

import physgrad as pg
from physgrad.plot.labels import plain
from physgrad.plot.levels import level_values
from physgrad.plot.view import View, view_of, visible_parts


@pytest.mark.parametrize(
    ("first", "others", "expected"),
    [
        (90.0, [22.0, 0.07], [0.3, 1, 3, 10, 30, 100, 300]),
        (90.0, [50.0], [60, 80, 100, 120, 140]),
        (1.0, [1.0], [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3]),
        (0.0, [0.0], []),
        (-1.0, [-3.0], [-2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1]),
    ],
)
def test_level_values_are_round(first, others, expected):
    values = level_values(first, np.array(others))
    wanted = np.array(expected)
    assert len(values) <= 9 and np.all(np.diff(values) > 0)
    if expected:
        assert set(np.round(values, 6)) <= set(np.round(wanted, 6))
        assert len(values) >= 3
    else:
        assert len(values) == 0


def test_a_start_at_the_solution_takes_its_levels_from_what_rises():
    values = level_values(0.0, np.array([0.0, 5.0, np.inf, np.nan]))
    assert len(values) >= 3 and np.all((values > 0) & (values < 40))


def assert_leaves(view, path, segment, place):
    left = view.exit(path)
    assert left is not None and left.segment == segment
    np.testing.assert_allclose(left.place, place)
    np.testing.assert_allclose(left.heading, path[segment + 1] - path[segment])


def test_the_part_of_a_segment_that_is_seen_is_inside():
    low, high = np.array([0.0, 0.0]), np.array([2.0, 1.0])
    random = np.random.default_rng(0)
    here, there = random.uniform(-2, 3, (2, 500, 2))
    here[:9, 0] = there[:9, 0] = 1.0  # upright ones, too
    first, last = visible_parts(here, there - here, low, high)
    for part in np.linspace(0, 1, 41):
        points = here + part * (there - here)
        inside = np.all((points >= low) & (points <= high), axis=1)
        np.testing.assert_array_equal(inside, (first <= part) & (part <= last))


def test_a_view_is_left_where_the_path_crosses_its_edge():
    view = View(np.array([0.0, 0.0]), np.array([2.0, 1.0]))
    path = np.array([[1.0, 0.5], [3.0, 0.5], [1.0, 0.5], [1.0, 4.5]])
    assert_leaves(view, path, 2, [1.0, 1.0])
    assert_leaves(view, path[:2], 0, [2.0, 0.5])
    assert view.exit(path[:1]) is None and view.exit(path[1:2]) is None
    # across the view, with no point inside; and past it
    across = np.array([[1.0, 0.5], [1.0, -5.0], [0.5, 9.0], [5.0, 9.0]])
    assert_leaves(view, across, 1, [1.0 - 6.0 / 28.0, 1.0])
    assert view.exit(across[2:]) is None
    far = view.within_reach(np.array([[1e30, 0.5], [1.5, 0.5]]))
    assert far[0, 0] < 1e7 and far[1].tolist() == [1.5, 0.5]


def test_a_view_of_one_point_has_a_size():
    for point in ([0.0, 0.0], [5.0, -3.0]):
        view = view_of([np.array(point)], [], 1.0, ratio=2.0)
        width, height = view.high - view.low
        assert width == pytest.approx(2 * height) and height > 0
        assert view.contains(np.array([point])).all()


def test_user_text_becomes_one_plain_line():
    assert plain("a\n\x00b") == "a  b"
    assert len(plain("x" * 500)) == 40


@pytest.mark.parametrize(
    ("scale", "unit", "ticks"),
    [(1e-12, " (10⁻¹²)", "2.4"), (100.0, "", "240")],
)
def test_ticks_are_short_numbers(scale, unit, ticks):
    objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2) / scale)
    methods = {"gd": pg.GradientDescent(0.1 * scale)}
    x0 = scale * jnp.array([3.0, 2.0])
    comparison = pg.compare(objective, x0, methods, num_steps=2)
    ax = pg.plot.compare(comparison)
    lay_out(ax)
    assert ax.get_xlabel() == "x₀" + unit
    assert ax.xaxis.get_offset_text().get_text() == ""
    assert ticks in [label.get_text() for label in ax.get_xticklabels()]
    assert max(len(label.get_text()) for label in ax.get_yticklabels()) <= 4
