"""One step of each method through the three spaces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drawing import (
    compared,
    data,
    drawn,
    first_way,
    lay_out,
    shortened,
    text_box,
    texts,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import physgrad as pg
from physgrad.plot.style import GREEN, STYLES


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
    assert first_way(shortened(toy, 0), "pg") is None


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
    assert sorted(texts(loss, "run-label")) == ["gd: 7.9", "newton: 7.1", "pg: 0"]


def test_the_panels_say_what_carries_what(panels):
    figure = panels[0].figure
    said = [text.get_text() for text in figure.texts]
    assert said == ["P carries gd and newton on", "P⁻¹ carries pg back", "L"]
    notes = [texts(ax, "note")[0] for ax in panels[:2]]
    assert notes == ["gd and newton step here: straight", "pg steps here: straight"]
    lay_out(panels[0])
    for ax in panels:
        for child in [*ax.texts, ax.xaxis.label, ax.yaxis.label, *figure.texts]:
            center, size = text_box(child)
            if child.get_text():
                assert figure.bbox.contains(*(center - size / 2)), child
                assert figure.bbox.contains(*(center + size / 2)), child


def test_a_first_step_that_leaves_has_its_arrow_at_the_edge(diverging):
    x, z, loss = pg.plot.three_spaces(diverging)
    assert max(np.abs([*x.get_ylim(), *z.get_ylim()])) < 20
    assert loss.get_ylim()[1] < 200
    assert any(text.startswith("gd: 1.2e+08") for text in texts(loss, "run-label"))
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
    with pytest.raises(ValueError, match="has a first step to be drawn"):
        pg.plot.three_spaces(shortened(toy, 0))
