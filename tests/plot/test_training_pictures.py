"""Pictures of trainings: failed ones are marked, what was asked for is shown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from physgrad.plot.training_curves import training
from physgrad.plot.training_samples import training_samples
from physgrad.train.course import Outcome
from physgrad.train.training import Point, Shown

FIELDS, NUMBERS = (3, 8, 6), (3, 2)


def outcome(shape, losses=(1.0, 0.5, 0.1), result="completed", known=True) -> Outcome:
    """Of a training whose network makes 2 of a target of 1."""
    ones = np.arange(np.prod(shape), dtype=float).reshape(shape)
    shown = Shown(2 * ones, 2 * ones, ones, ones if known else None)
    history = tuple(
        Point(n, 10 * n, 0.1 * n, loss, loss, loss if known else None)
        for n, loss in enumerate(losses)
    )
    return Outcome("adam", history, 1.0, result, "", shown, 0, 30, {}, 0, 64, "")


def test_a_training_that_ended_early_is_marked_where_it_did():
    failed = outcome(NUMBERS, (1.0, 0.5, 0.4, math.nan), "non_finite")
    figure: Any = training({"good": outcome(NUMBERS), "bad": failed})
    for ax in figure.axes:
        marks = [line for line in ax.get_lines() if line.get_marker() == "x"]
        (place,) = (line.get_xydata() for line in marks)
        assert place.shape == (1, 2) and place[0, 1] == 0.4


def test_a_training_that_failed_at_once_is_in_the_legend():
    failed = outcome(NUMBERS, (1.0, math.nan), "non_finite")
    figure: Any = training({"good": outcome(NUMBERS), "bad": failed})
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["good", "bad"]


@pytest.mark.parametrize("known", [True, False])
def test_fields_stand_beside_what_was_asked_for(known):
    outcomes = {"a": outcome(FIELDS, known=known), "b": outcome(FIELDS, known=known)}
    figure: Any = training_samples(outcomes)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    wanted = ["x\nsolution"] * known
    assert titles == [*wanted, "x\na", "x\nb", "z\ntarget", "z\na", "z\nb"]
    assert len(figure.axes) == 3 * len(titles)
    target = outcomes["a"].shown.target
    first_of_z = figure.axes[titles.index("z\ntarget")]
    same_range = {im.get_clim() for ax in figure.axes[3:6] for im in ax.get_images()}
    assert (first_of_z.get_images()[0].get_array() == target[0]).all()
    assert not known or (target[0].min(), target[0].max()) in same_range


def test_numbers_are_drawn_as_marks_and_asked_for_as_bars():
    figure: Any = training_samples({"a": outcome(NUMBERS), "b": outcome(NUMBERS)})
    assert len(figure.axes) == 3 * 2
    for sample, ax in enumerate(figure.axes[1::2]):
        drawn = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
        asked = outcome(NUMBERS).shown.target[sample]
        assert np.array_equal(drawn["asked"], asked)
        assert np.array_equal(drawn["a"], 2 * asked)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "asked"]
