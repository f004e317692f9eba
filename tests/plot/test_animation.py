"""Trajectories step by step, as an animated GIF."""

from __future__ import annotations

import io
import itertools
import os
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from drawing import (
    by_name,
    compared,
    data,
    drawn,
    legend_texts,
    texts,
)
from matplotlib.colors import to_rgb
from PIL import Image

import physgrad as pg
from physgrad.plot.animation import MOST_FRAMES, _Film
from physgrad.plot.gif import encode, palette_of
from physgrad.plot.settings import own_settings
from physgrad.plot.space import plane_of
from physgrad.plot.style import STYLES
from physgrad.plot.trajectories import Scene

TRIO = ["gd", "newton", "pg"]


def film_of(comparison, names=None):
    scenes = [Scene(comparison, plane_of(comparison, space)) for space in "xz"]
    return _Film(scenes, list(names or comparison.runs))


def decoded(content: bytes) -> tuple[list[np.ndarray], list[int]]:
    """Every frame, (height, width, 3), and how long it stays."""
    frames, durations = [], []
    with Image.open(io.BytesIO(content)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    return frames, durations


@pytest.fixture(scope="module")
def content(toy):
    return pg.plot.animate(toy, methods=TRIO, fps=5, hold=2)


def test_there_is_a_frame_for_each_step_and_the_last_one_stays(content):
    frames, durations = decoded(content)
    assert len(content) < 200_000
    assert durations == [200] * 10 + [2000]
    assert all(np.any(one != two) for one, two in itertools.pairwise(frames))
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in content  # it begins anew, again and again


def test_the_colors_are_those_of_the_methods(content):
    frames, _ = decoded(content)
    found = {tuple(color) for color in np.unique(frames[-1].reshape(-1, 3), axis=0)}
    for name in TRIO:
        exact = tuple(round(255 * part) for part in to_rgb(STYLES[name].color))
        assert exact in found
    assert len(found) <= 64


def test_a_frame_shows_so_many_steps_of_every_run(toy):
    film = film_of(toy)
    film._frame(4)
    for space, ax in zip("xz", film.axes, strict=True):
        lines = by_name(ax)
        assert list(lines) == list(toy.runs)
        for name, run in toy.runs.items():
            np.testing.assert_array_equal(
                data(lines[name]), run.trajectory[space][:5].astype(float)
            )
        assert ax.get_title(loc="left") == f"{space}-space"
    assert film.counter.get_text() == "step 4 of 10"


def test_nothing_but_the_runs_moves_and_the_last_frame_is_the_still_picture(toy):
    film = film_of(toy, TRIO)
    film.counter.set_text("step 10 of 10")
    film.canvas.draw()
    still = np.asarray(film.canvas.buffer_rgba())[..., :3].copy()
    before = [(ax.get_xlim(), texts(ax, "run-label")) for ax in film.axes]
    first = film._frame(0)
    np.testing.assert_array_equal(film._frame(10), still)
    assert before == [(ax.get_xlim(), texts(ax, "run-label")) for ax in film.axes]
    # the level lines and the axes are in every frame
    ink = np.all(first < 60, axis=2)
    assert ink.sum() > 2000 and np.mean(still[ink] < 90) > 0.99


def test_a_stop_sign_comes_where_a_run_ends():
    start = (3.0, 3.0)
    methods = {"newton": pg.Newton(1 / 3), "pg": pg.PhysicalGradient(1.5)}
    failed = compared(methods, start, num_steps=4)
    ended = failed["pg"].num_steps
    assert not failed["pg"].ok and ended < 4
    film = film_of(failed)
    for step in range(5):
        film._frame(step)
        assert len(drawn(film.axes[0], "stop")) == (step >= ended)


def test_of_many_runs_there_is_one_legend_beside_the_panels(ten):
    film = film_of(ten)
    left, right = film.axes
    assert legend_texts(left) == [] and legend_texts(right) == list(ten.runs)
    film._frame(3)
    legend = right.get_legend()
    assert legend is not None
    box, panel = legend.get_window_extent(), right.get_window_extent()
    assert box.x0 > panel.x1 and box.x1 < film.figure.bbox.x1
    assert left.get_window_extent().width == pytest.approx(panel.width)


def test_of_many_steps_some_are_left_out(long, monkeypatch):
    film = film_of(long)
    shown: list[int] = []
    monkeypatch.setattr(film, "_frame", shown.append)
    list(film.frames())
    assert (len(shown), shown[0], shown[-1]) == (MOST_FRAMES, 0, 1000)
    assert np.ptp(np.diff(shown)) <= 1


def test_the_bytes_depend_on_the_arguments_only(toy, content):
    with matplotlib.rc_context():
        matplotlib.style.use("dark_background")
        again = pg.plot.animate(toy, methods=TRIO, fps=5, hold=2)
    assert again == content


def test_a_space_of_more_entries_is_shown_in_its_principal_plane(toy, monkeypatch):
    asked: list[Any] = []
    module = "physgrad.plot.animation"
    monkeypatch.setattr(f"{module}.count_entries", lambda c, space: 2 + (space == "z"))
    monkeypatch.setattr(f"{module}.plane_of", lambda *a: asked.append(a) or 1 / 0)
    for space in "xz":
        with pytest.raises(ZeroDivisionError):
            pg.plot.animate(toy, spaces=[space])
    assert [(space, coordinates) for _, space, _, coordinates in asked] == [
        ("x", None),
        ("z", "principal"),
    ]


def test_frames_of_a_few_colors_come_back_as_they_were():
    palette = palette_of(["#D55E00", "black"])
    random = np.random.default_rng(0)
    frames = [palette[random.integers(len(palette), size=(7, 9))] for _ in range(3)]
    again, durations = decoded(encode(frames, ["#D55E00", "black"], 100, 700))
    assert durations == [100, 100, 700]
    np.testing.assert_array_equal(again, frames)
    many = [f"#{k:06x}" for k in range(0, 200_000, 1000)]
    assert len(palette_of(many)) <= 256


@pytest.fixture
def quick(monkeypatch):
    """`animate` draws nothing: for tests of files."""

    class Nothing:
        def __init__(self, *rest):
            self.frames = self.colors = list

    monkeypatch.setattr("physgrad.plot.animation._Film", Nothing)
    monkeypatch.setattr("physgrad.plot.animation.encode", lambda *rest: b"GIF89a new")


def test_a_file_is_written_as_a_whole(toy, tmp_path, quick, monkeypatch):
    file = tmp_path / "a.GIF"
    assert pg.plot.animate(toy, file) == file.read_bytes() == b"GIF89a new"
    with pytest.raises(FileExistsError, match="name another file, or force"):
        pg.plot.animate(toy, file)
    file.write_bytes(b"older")

    def full(*handles):
        raise OSError(28, "No space left on device")

    for call in ("fsync", "replace"):
        with monkeypatch.context() as broken, pytest.raises(OSError, match="No space"):
            broken.setattr(os, call, full)
            pg.plot.animate(toy, file, force=True)
    assert file.read_bytes() == b"older"
    pg.plot.animate(toy, str(file), force=True)
    assert file.read_bytes() == b"GIF89a new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.GIF"]


def test_what_cannot_be_written_is_refused_before_it_is_drawn(toy, tmp_path):
    with pytest.raises(ValueError, match=r"file must end with '\.gif', got 'a\.png'"):
        pg.plot.animate(toy, "a.png")
    with pytest.raises(FileNotFoundError, match="the folder is missing"):
        pg.plot.animate(toy, tmp_path / "no" / "a.gif")
    (tmp_path / "b.gif").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
        pg.plot.animate(toy, tmp_path / "b.gif", force=True)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"fps": 0.0}, ValueError, "fps must be above 0 and at most 50, got 0"),
        ({"fps": float("nan")}, ValueError, "fps must be above 0"),
        ({"hold": -1.0}, ValueError, "hold must be 0 to 60 seconds, got -1"),
        ({"spaces": "xz"}, TypeError, "spaces must be several names, got the text"),
        ({"spaces": []}, ValueError, r"spaces must be 1 to 4 names, got \[\]"),
        ({"spaces": ["x", "q"]}, ValueError, "unknown space 'q'; known: x, z"),
        ({"methods": ["nope"]}, ValueError, "unknown method 'nope'"),
    ],
)
def test_wrong_arguments_are_named(toy, wrong, error, words):
    with pytest.raises(error, match=words):
        pg.plot.animate(toy, **wrong)


def test_settings_are_put_back():
    with matplotlib.rc_context({"font.size": 3.0}):
        with own_settings():
            assert matplotlib.rcParams["font.size"] == 10.0
        assert matplotlib.rcParams["font.size"] == 3.0
