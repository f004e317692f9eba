"""Losses against iterations and evaluations."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from drawing import (
    DEFAULT,
    by_name,
    compared,
    data,
    drawn,
    legend_texts,
    texts,
    thinned,
)

import physgrad as pg
from physgrad.plot.marks import LEFT_OUT


def test_losses_are_drawn_on_a_log_axis(toy):
    ax = pg.plot.losses(toy)
    assert ax.get_yscale() == "log"
    for name, line in by_name(ax).items():
        expected = toy[name].trajectory.losses
        np.testing.assert_array_equal(data(line)[:, 0], np.arange(11))
        np.testing.assert_array_equal(data(line)[:, 1], expected)
    assert sorted(texts(ax, "run-label")) == ["gd", "newton", "pg and pg-numeric"]
    assert pg.plot.losses(toy, ax=ax) is ax


def test_evaluations_end_at_the_total_of_the_run(toy):
    ax = pg.plot.losses(toy, against="evaluations")
    for name, line in by_name(ax).items():
        across = data(line)[:, 0]
        assert across[0] == 1 and across[-1] == sum(toy[name].evaluations.values())
    assert ax.get_title(loc="left") == "L against evaluations"
    with pytest.raises(ValueError, match="against must be 'steps' or 'evaluations'"):
        pg.plot.losses(toy, against="seconds")


@pytest.mark.parametrize("name", ["long", "double"])
def test_what_rounding_leaves_is_shaded(name, request):
    comparison = request.getfixturevalue(name)
    dtype = comparison["pg"].trajectory.losses.dtype
    ax = pg.plot.losses(comparison)
    (floor,) = drawn(ax, "floor")
    eps = np.finfo(dtype).eps
    top = floor.get_y() + floor.get_height()
    assert top == pytest.approx(90 * float(eps) ** 2)
    bottom = ax.get_ylim()[0]
    assert floor.get_y() <= bottom < top
    said = f"rounding of {np.dtype(dtype)}: below {top:.0e} (shaded)"
    assert said in ax.get_title(loc="right").splitlines()


def test_the_axis_does_not_reach_for_a_floor_far_below(toy):
    ax = pg.plot.losses(toy)
    assert ax.get_ylim()[0] > 1e-3
    assert ax.get_title(loc="right").endswith("(not reached)")


def test_a_loss_of_zero_is_a_triangle_at_the_lower_edge():
    solved = compared({"pg": pg.PhysicalGradient(1.0), "gd": DEFAULT["gd"]})
    assert solved["pg"].loss == 0
    ax = pg.plot.losses(solved)
    (marks,) = drawn(ax, "below")
    assert marks.get_marker() == "v"
    assert data(marks)[:, 0].tolist() == list(range(1, 11))
    assert "pg (L = 0)" in texts(ax, "run-label")
    ax.figure.canvas.draw()


def test_a_diverging_loss_does_not_set_the_scale(diverging):
    ax = pg.plot.losses(diverging)
    assert ax.get_ylim()[1] < 1e6
    end = f"{diverging['gd'].loss:.3g}"
    assert f"gd (diverged in step 3, last at L = {end})" in texts(ax, "run-label")
    (heads,) = drawn(ax, "arrows")
    assert heads.get_offsets()[0][1] == pytest.approx(ax.get_ylim()[1])


@pytest.mark.parametrize(("name", "left_out"), [("toy", False), ("long", True)])
def test_markers_are_left_out_with_a_note_only(name, left_out, request):
    ax = pg.plot.losses(request.getfixturevalue(name))
    lines = [*drawn(ax, "trajectory"), *drawn(ax, "below")]
    assert thinned(lines) is left_out
    assert (LEFT_OUT in ax.get_title(loc="right").splitlines()) is left_out


def test_ten_methods_have_a_legend_beside_the_losses(ten):
    ax = pg.plot.losses(ten)
    assert legend_texts(ax) == list(ten.runs) and texts(ax, "run-label") == []


def test_a_negative_loss_is_drawn_on_a_linear_axis():
    objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2) - 1)
    methods = {"gd": pg.GradientDescent(0.3)}
    below = pg.compare(objective, jnp.array([1.5]), methods, num_steps=5)
    ax = pg.plot.losses(below)
    assert ax.get_yscale() == "linear" and drawn(ax, "floor") == []
    assert ax.get_ylim()[0] < -0.9


def test_losses_of_nothing_but_zero():
    solved = compared({"gd": DEFAULT["gd"]}, start=(0.0, 0.0))
    ax = pg.plot.losses(solved)
    assert ax.get_yscale() == "linear"
    assert pg.plot.compare(solved).get_aspect() == 1.0
