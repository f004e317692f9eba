"""Trajectories in x-space and z-space, with the level lines of the loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.style
import numpy as np
import pytest
from drawing import (
    by_name,
    contours,
    data,
    drawn,
    shortened,
    texts,
)
from matplotlib.figure import Figure

import physgrad as pg
from physgrad.plot.style import STYLES


@pytest.mark.parametrize("space", ["x", "z"])
def test_the_lines_are_the_trajectories(toy, space):
    ax = pg.plot.compare(toy, space)
    lines = by_name(ax)
    assert list(lines) == list(toy.runs)
    for name, run in toy.runs.items():
        np.testing.assert_array_equal(data(lines[name]), run.trajectory[space])
        assert lines[name].get_color() == STYLES[name].color
        assert lines[name].get_marker() == STYLES[name].marker
    assert lines["pg"].get_linewidth() == 1.5 * lines["gd"].get_linewidth()
    assert lines["newton"].is_dashed() and not lines["gd"].is_dashed()
    assert lines["pg-numeric"].get_markerfacecolor() == "none"
    assert ax.get_title(loc="left") == f"{space}-space"
    assert (ax.get_xlabel(), ax.get_ylabel()) == (f"{space}₀", f"{space}₁")
    assert isinstance(ax.figure, Figure)


@pytest.mark.parametrize("space", ["x", "z"])
def test_axes_are_equal_and_start_and_solution_marked(toy, space):
    ax = pg.plot.compare(toy, space)
    assert ax.get_aspect() == 1.0
    box = ax.get_window_extent()
    width, height = np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())
    assert box.width / box.height == pytest.approx(width / height)
    steps = [np.diff(axis.get_majorticklocs()) for axis in (ax.xaxis, ax.yaxis)]
    assert np.ptp(np.concatenate(steps)) == pytest.approx(0.0)
    (start,), (solution,) = drawn(ax, "start"), drawn(ax, "solution")
    np.testing.assert_array_equal(data(start)[0], toy["gd"].trajectory[space][0])
    assert (start.get_marker(), start.get_markerfacecolor()) == ("o", "none")
    np.testing.assert_array_equal(data(solution)[0], [0.0, 0.0])
    assert solution.get_marker() == "x"


def test_level_lines_have_the_same_values_in_every_space(toy):
    pictures = {space: pg.plot.compare(toy, space) for space in "xz"}
    levels = [list(contours(ax)) for ax in pictures.values()]
    assert levels[0] == levels[1] == [0.3, 1, 3, 10, 30, 100, 300]
    for ax in pictures.values():
        written = texts(ax, "level-label")
        assert [text for text in written if text.startswith("L = ")] == written[:1]
        values = [float(text.removeprefix("L = ")) for text in written]
        assert len(set(values)) == len(values) >= 5
        assert set(values) <= set(levels[0])


@pytest.mark.parametrize(
    ("space", "loss"),
    [
        ("x", lambda x: x[:, 0] ** 2 + x[:, 1] ** 4),
        ("z", lambda z: z[:, 0] ** 2 + z[:, 1] ** 2),
    ],
)
def test_level_lines_are_where_the_loss_has_their_value(toy, space, loss):
    for value, points in contours(pg.plot.compare(toy, space)).items():
        np.testing.assert_allclose(loss(points), value, rtol=0.05)


def test_one_picture_of_a_comparison_can_be_laid_over_another(toy):
    alone, all_of_them = (
        pg.plot.compare(toy, methods=methods) for methods in (["gd"], None)
    )
    assert list(by_name(alone)) == ["gd"]
    assert alone.get_xlim() == all_of_them.get_xlim()
    assert alone.get_ylim() == all_of_them.get_ylim()


def test_the_axes_that_are_given_are_used(toy):
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert pg.plot.compare(toy, "x", ax=left) is left
    assert pg.plot.compare(toy, "z", ax=right) is right
    assert len(figure.axes) == 2 and len(by_name(right)) == 4
    several: Any = [left]
    with pytest.raises(TypeError):
        pg.plot.compare(toy, ax=several)


@pytest.mark.parametrize("num_steps", [0, 1])
def test_the_shortest_runs_are_drawn(toy, num_steps, unrendered):
    short = shortened(toy, num_steps)
    for space in "xz":
        ax = pg.plot.compare(short, space)
        assert len(texts(ax, "level-label")) >= 5
        assert all(len(data(line)) == num_steps + 1 for line in by_name(ax).values())
    assert ("three_spaces.png" in pg.plot.figures(short)) is (num_steps == 1)


def test_double_precision_is_drawn_in_double_precision(double):
    with jax.enable_x64(True):
        ax = pg.plot.compare(double)
    (line,) = by_name(ax).values()
    np.testing.assert_array_equal(data(line), double["pg"].trajectory["x"])
    assert double["pg"].trajectory["x"].dtype == np.float64
    assert len(texts(ax, "level-label")) >= 5


def test_two_coordinates_of_a_larger_space(unrendered):
    objective = pg.Objective(
        lambda x: {"u": x["a"] ** 3 + x["a"], "v": 2 * x["b"]},
        lambda z: jnp.sum(z["u"] ** 2) + z["v"] ** 2,
    )
    x0 = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(1.5)}
    solution = {"a": jnp.zeros(2), "b": jnp.array(0.0)}
    methods = {"gd": pg.GradientDescent(0.005)}
    large = pg.compare(objective, x0, methods, num_steps=5, solution=solution)
    with pytest.raises(ValueError, match=r"'x' has 3; choose two with coordinates="):
        pg.plot.compare(large)
    ax = pg.plot.compare(large, coordinates=(2, 1))
    expected = large["gd"].trajectory["x"]
    (line,) = by_name(ax).values()
    np.testing.assert_array_equal(
        data(line), np.stack([expected["b"], expected["a"][:, 1]], 1)
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x['b']", "x['a'][1]")
    assert texts(ax, "level-label") == [] and texts(ax, "solution-label") == [
        "solution"
    ]
    assert set(pg.plot.figures(large)) >= {"x_all.png", "z_all.svg", "losses.png"}
    for wrong in [(0, 0), (0, 3), (0,), (-1, 0)]:
        with pytest.raises(ValueError, match="coordinates must be"):
            pg.plot.compare(large, coordinates=wrong)


def test_a_space_of_one_entry_has_no_plane(unrendered):
    objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum(z**2))
    small = pg.compare(objective, jnp.array([1.0]), {"gd": pg.GradientDescent(0.01)})
    with pytest.raises(ValueError, match=r"'x' has 1; plot\.losses"):
        pg.plot.compare(small)
    assert set(pg.plot.figures(small)) == {"losses.png", "losses.svg"}


def test_spaces_between_have_pictures_too():
    turn = jnp.array([[0.8, -0.6], [0.6, 0.8]])
    chain = pg.Chain(
        pg.Simulator(lambda x: turn @ x, pg.AnalyticInverse(lambda z: turn.T @ z)),
        pg.Simulator(jnp.sinh, pg.AnalyticInverse(jnp.arcsinh)),
    )
    objective = pg.Objective(chain, pg.SquaredLoss(jnp.array([1.0, -1.0])))
    methods = {"GD": pg.GradientDescent(0.02), "PG": pg.PhysicalGradient(0.3)}
    comparison = pg.compare(objective, jnp.array([2.0, 1.5]), methods, num_steps=3)
    ax = pg.plot.compare(comparison, "z1")
    expected = comparison["PG"].trajectory["z1"]
    np.testing.assert_array_equal(data(by_name(ax)["PG"]), expected)
    assert (ax.get_xlabel(), ax.get_title(loc="left")) == ("z1[0]", "z1-space")
    for value, points in contours(ax).items():
        losses = np.sum((np.sinh(points) - [1.0, -1.0]) ** 2, axis=1)
        np.testing.assert_allclose(losses, value, rtol=0.1)
    panels = pg.plot.three_spaces(comparison)
    titles = [p.get_title(loc="left") for p in panels]
    assert titles == ["x-space", "z-space", "loss L"]


def test_wrong_names_are_named(toy):
    with pytest.raises(ValueError, match="unknown space 'q'; known: x, z"):
        pg.plot.compare(toy, "q")
    with pytest.raises(
        ValueError, match="unknown method 'nwton'; did you mean 'newton'"
    ):
        pg.plot.compare(toy, methods=["nwton"])
    with pytest.raises(TypeError, match="methods must be several names, got the text"):
        pg.plot.compare(toy, methods="gd")


def test_level_lines_need_an_objective(toy):
    unknown = dataclasses.replace(toy, problem=None, objective=None)
    ax = pg.plot.compare(unknown)
    assert contours(ax) == {}
    assert texts(ax, "solution-label") == ["solution"]
    assert texts(pg.plot.compare(unknown, "z"), "solution-label") == []
    given = pg.plot.compare(unknown, "z", objective=toy.objective)
    assert len(texts(given, "level-label")) >= 5
    by_problem = dataclasses.replace(toy, objective=None)
    assert len(texts(pg.plot.compare(by_problem), "level-label")) >= 5


def test_a_dark_style_is_followed(toy):
    with matplotlib.rc_context():
        matplotlib.style.use("dark_background")
        ax = pg.plot.compare(toy)
        (start,) = drawn(ax, "start")
        assert start.get_markeredgecolor() == "white"
        box = drawn(ax, "level-label")[0].get_bbox_patch()
        assert box.get_facecolor()[:3] == (0, 0, 0)
