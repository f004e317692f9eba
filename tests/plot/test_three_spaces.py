"""One step of each method through the three spaces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drawing import (
    compared,
    cut_off,
    data,
    drawn,
    first_way,
    lay_out,
    legend_texts,
    shortened,
    text_box,
    texts,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import physgrad as pg
from physgrad.plot.labels import extent
from physgrad.plot.style import GREEN, STYLES
from physgrad.results import Result


@pytest.fixture(scope="module")
def panels(toy):
    return pg.plot.three_spaces(toy)


def lines_of(ax: Axes, gid: str) -> dict[str, np.ndarray]:
    return {line.get_color(): data(line) for line in drawn(ax, gid)}


def test_a_step_is_straight_where_it_was_taken(toy, panels):
    x, z, _ = panels
    in_x = lines_of(x, "step")
    for name in ("gd", "newton", "pg"):
        path, run = in_x[STYLES[name].color], toy[name].trajectory
        np.testing.assert_allclose(path[[0, -1]], run["x"][:2], rtol=1e-5)
        image = lines_of(z, "step")[STYLES[name].color]
        np.testing.assert_allclose(image[[0, -1]], run["z"][:2], rtol=1e-5)
    taken_in_x, taken_in_z = (lines_of(ax, "taken") for ax in (x, z))
    assert set(taken_in_x) == {STYLES["gd"].color, STYLES["newton"].color}
    assert set(taken_in_z) == {GREEN}
    target = toy["pg"].trajectory.targets[0]
    np.testing.assert_allclose(taken_in_z[GREEN][-1], target, rtol=1e-6)


def bend(path: np.ndarray) -> float:
    """The largest distance from the chord, relative to its length."""
    chord = path[-1] - path[0]
    normal = np.array([-chord[1], chord[0]]) / (chord @ chord)
    return float(np.max(np.abs((path - path[0]) @ normal)))


def test_each_line_is_the_image_of_the_other(toy):
    for name in toy.runs:
        way = first_way(toy, name)
        assert way.in_z is name.startswith("pg")
        images = np.stack([way.x[:, 0], way.x[:, 1] ** 2], axis=1)
        np.testing.assert_allclose(way.z, images, atol=2e-5)
        np.testing.assert_allclose(way.losses, np.sum(way.z**2, axis=1), rtol=1e-5)
        assert way.lengths[way.step] == 1.0
        straight, bent = (way.z, way.x) if way.in_z else (way.x, way.z)
        assert bend(straight) < 1e-4 < 5e-3 < bend(bent)
        assert np.argmin(way.losses) >= len(way.losses) - 3


def test_only_the_step_in_z_leads_to_the_solution(toy):
    ends = {name: first_way(toy, name).losses[-1] for name in toy.runs}
    assert ends["pg"] < 1e-3 < 7 < ends["newton"] < ends["gd"] < 8


def test_a_linearized_step_in_z_is_straight_in_x():
    comparison = compared({"gauss-newton": pg.GaussNewton(1 / 3)})
    way = first_way(comparison, "gauss-newton")
    assert not way.in_z and bend(way.x) < 1e-4


def test_the_third_panel_is_the_loss_along_the_step(toy, panels):
    _, _, loss = panels
    for name in ("gd", "newton", "pg"):
        path = lines_of(loss, "step")[STYLES[name].color]
        losses = toy[name].trajectory.losses
        np.testing.assert_allclose(path[[0, -1], 0], [0.0, 1.0])
        np.testing.assert_allclose(path[[0, -1], 1], losses[:2], rtol=1e-5)
    said = ["gd: 7.9", "newton: 7.1", "pg and pg-numeric: 0"]
    assert sorted(texts(loss, "run-label")) == said
    assert (loss.get_ylabel(), loss.get_xlabel()) == ("L", "steps along the line")
    assert texts(loss, "one-step") == ["one step"]


def test_every_method_is_drawn(ten):
    """A step in x where it was not taken in z, and where it lands in z and in L."""
    x, z, loss = pg.plot.three_spaces(ten)
    for ax, space in ((x, "x"), (z, "z")):
        ends = np.array([data(line)[-1] for line in drawn(ax, "step")])
        reached = [first_move(run)[space] for run in ten.runs.values()]
        np.testing.assert_allclose(ends, reached, rtol=1e-4, atol=1e-5)
    losses = np.array([data(line)[-1] for line in drawn(loss, "step")])
    np.testing.assert_allclose(losses[:, 0], 1.0)
    expected = [first_move(run)["loss"] for run in ten.runs.values()]
    np.testing.assert_allclose(losses[:, 1], expected, rtol=1e-3)
    assert len(drawn(x, "taken")) == 8 and len(drawn(z, "taken")) == 2
    names = [text.partition(":")[0] for text in legend_texts(loss)]
    assert names == list(ten.runs) and texts(x, "run-label") == []
    spaces = [text[-1] for text in legend_texts(loss)]
    assert spaces == ["z" if name.startswith("pg") else "x" for name in ten.runs]
    legend = loss.get_legend()
    assert legend is not None and extent(legend)[0][0] > loss.get_window_extent().x1


def first_move(run):
    """The first iterate that is not the start: a line search may refuse some steps."""
    trajectory = run.trajectory
    moved = np.any(trajectory["x"] != trajectory["x"][0], axis=1)
    first = int(np.argmax(moved))
    spaces = {space: trajectory[space][first] for space in "xz"}
    return spaces | {"loss": trajectory.losses[first]}


def test_what_cannot_be_drawn_is_named(toy):
    still = cut_off(toy["newton"], 1, Result.completed)
    some = dataclasses.replace(toy, runs={**toy.runs, "newton": still})
    panels = pg.plot.three_spaces(some)
    assert texts(panels[0], "caption") == ["not shown: newton (it did no step)"]
    assert texts(pg.plot.three_spaces(toy)[0], "caption") == []
    lay_out(panels[0])
    (note,) = drawn(panels[0], "caption")
    center, size = text_box(note)
    assert panels[0].figure.bbox.contains(*(center - size / 2))


def test_a_step_that_was_not_recorded_is_named():
    toy = pg.problems.get("toy")
    methods = {"gd": pg.GradientDescent(0.01)}
    coarse = pg.compare(toy.objective, toy.start, methods, 4, record_every=2)
    assert first_way(coarse, "gd") == "its steps were not all recorded"
    with pytest.raises(ValueError, match=r"not shown: gd \(its steps were not all"):
        pg.plot.three_spaces(coarse)


def test_the_panels_say_what_carries_what(panels):
    figure = panels[0].figure
    said = [text.get_text() for text in figure.texts]
    assert said == [
        "P carries the steps in x to z",
        "P⁻¹ carries the steps in z to x",
        "L judges every z",
    ]
    notes = [texts(ax, "note")[0] for ax in panels[:2]]
    assert notes == ["gd and newton step here", "pg and pg-numeric step here"]
    assert legend_texts(panels[0]) == [
        "a step in the space where it is taken",
        "the same step in the other space",
        "L after the step",
        "on in its direction until L rises (number: L there)",
    ]
    lay_out(panels[0])
    key = panels[0].get_legend()
    assert key is not None
    for ax in panels:
        names = [ax.xaxis.label, ax.yaxis.label, *figure.texts, *key.get_texts()]
        for child in [*ax.texts, *names]:
            center, size = text_box(child)
            if child.get_text():  # all of it is in the figure
                assert figure.bbox.contains(*(center - size / 2)), child
                assert figure.bbox.contains(*(center + size / 2)), child


def test_a_first_step_that_leaves_has_its_arrow_at_the_edge(diverging):
    x, z, loss = pg.plot.three_spaces(diverging)
    assert max(np.abs([*x.get_ylim(), *z.get_ylim()])) < 20
    assert loss.get_ylim()[1] < 200
    assert any(text.startswith("gd: 1.2e+08") for text in texts(loss, "run-label"))
    for ax in (x, z, loss):
        heads = np.concatenate([some.get_offsets() for some in drawn(ax, "arrows")])
        assert np.any(np.isclose(heads[:, 1][:, None], ax.get_ylim()))
    x.figure.canvas.draw()


def test_three_axes_can_be_given(toy):
    figure = Figure(figsize=(12, 4))
    given = tuple(figure.subplots(1, 3))
    assert pg.plot.three_spaces(toy, ax=given, methods=["gd", "pg-numeric"]) == given
    assert len(drawn(given[0], "step")) == 2
    with pytest.raises(ValueError, match="ax must be three axes, got 2"):
        pg.plot.three_spaces(toy, ax=given[:2])


def test_three_spaces_says_what_is_missing(toy):
    with pytest.raises(ValueError, match="pass objective="):
        pg.plot.three_spaces(dataclasses.replace(toy, problem=None, objective=None))
    with pytest.raises(ValueError, match="none of the runs has a first step to be dr"):
        pg.plot.three_spaces(shortened(toy, 0))
