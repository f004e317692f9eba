"""Fields side by side, and how they differ."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from drawing import (
    drawn,
    lay_out,
    legend_texts,
    texts,
)
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

import physgrad as pg
from physgrad.plot.field_images import DIVERGING, SEQUENTIAL
from physgrad.plot.style import MISSING, STYLES

ROWS, COLUMNS = 5, 8


def bumps(dtype: Any = np.float64) -> dict[str, np.ndarray]:
    across, up = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(-1, 1, ROWS))
    truth = np.exp(-(across**2) - up**2).astype(dtype)
    return {"truth": truth, "PG": truth + 0.25, "GD": (0.5 * truth).astype(dtype)}


def image_of(ax: Axes) -> AxesImage:
    (image,) = ax.get_images()
    return image


def values_of(ax: Axes) -> np.ma.MaskedArray:
    array = image_of(ax).get_array()
    assert array is not None
    return np.ma.asarray(array)


def titles(axes: tuple[Axes, ...]) -> list[str]:
    return [ax.get_title(loc="left") for ax in axes]


def bars(axes: tuple[Axes, ...]) -> list[Axes]:
    figure = axes[0].get_figure(root=True)
    assert figure is not None
    return [ax for ax in figure.axes if ax not in axes]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_have_limits_and_one_bar_in_common(dtype):
    made = bumps(dtype)
    axes = pg.plot.fields(made, quantity="T in K")
    assert titles(axes) == list(made)
    (bar,) = bars(axes)
    assert bar.get_ylabel() == "T in K"
    everything = np.concatenate(list(made.values()))
    for ax, array in zip(axes, made.values(), strict=True):
        image = image_of(ax)
        np.testing.assert_array_equal(values_of(ax), array.astype(float))
        assert image.get_clim() == (everything.min(), everything.max())
        assert image.get_cmap().name == SEQUENTIAL
        assert ax.get_aspect() == 1.0
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row, downwards")
    assert bar.get_ylim() == pytest.approx(image_of(axes[0]).get_clim())


def test_differences_are_about_zero_with_a_bar_of_their_own():
    made = bumps()
    axes = pg.plot.fields(made, reference="truth")
    minus = "\N{MINUS SIGN}"
    assert titles(axes)[3:] == [f"PG {minus} truth", f"GD {minus} truth"]
    first, second = bars(axes)
    assert (first.get_ylabel(), second.get_ylabel()) == ("", "difference")
    largest = max(np.max(np.abs(made[name] - made["truth"])) for name in ("PG", "GD"))
    for ax, name in zip(axes[3:], ("PG", "GD"), strict=True):
        image = image_of(ax)
        np.testing.assert_allclose(values_of(ax), made[name] - made["truth"])
        assert image.get_clim() == (-largest, largest)
        assert image.get_cmap().name == DIVERGING
    lay_out(axes[0])
    boxes = [ax.get_position() for ax in axes]
    for above, below in ((1, 3), (2, 4)):  # each below its own image
        assert boxes[above].x0 == pytest.approx(boxes[below].x0, abs=1e-3)
        assert boxes[above].y0 > boxes[below].y1


@pytest.mark.parametrize("name", [SEQUENTIAL, DIVERGING])
def test_color_maps_are_even_and_have_no_pink(name):
    colors = colormaps[name](np.linspace(0, 1, 256))[:, :3]
    luminance = colors @ [0.2126, 0.7152, 0.0722]
    if name == SEQUENTIAL:
        assert np.all(np.diff(luminance) > 0)  # lighter and lighter: no rainbow
    else:
        assert np.all(np.diff(luminance[:120]) > 0) and luminance[127:129].min() > 0.9
        assert np.all(np.diff(luminance[136:]) < 0)
    pink = np.array(to_rgba(MISSING))[:3]
    assert np.min(np.linalg.norm(colors - pink, axis=1)) > 0.3


def test_what_is_not_finite_is_pink_and_counted():
    made = bumps()
    made["PG"][1, 2:5], made["PG"][0, 0] = np.nan, np.inf
    axes = pg.plot.fields(made, reference="truth")
    for ax, said in zip(axes, [0, 4, 0, 4, 0], strict=True):
        image = image_of(ax)
        assert np.ma.count_masked(values_of(ax)) == said
        assert image.get_cmap().get_bad().tolist() == list(to_rgba(MISSING))
        assert np.isfinite(image.get_clim()).all()
        words = "\nnot finite (pink): 4 of 40" if said else ""
        assert ax.get_xlabel() == "column" + words


def test_the_origin_is_where_it_is_said():
    (ax,) = pg.plot.fields({"a": bumps()["truth"]}, origin="lower")
    assert ax.get_ylabel() == "row, upwards" and np.diff(ax.get_ylim()) > 0
    (ax,) = pg.plot.fields({"a": bumps()["truth"]})
    assert np.diff(ax.get_ylim()) < 0
    with pytest.raises(ValueError, match="origin must be 'upper' or 'lower', got 'to"):
        pg.plot.fields(bumps(), origin="top")


def test_equal_and_constant_fields_have_limits():
    same = np.full((2, 2), 3)
    axes = pg.plot.fields({"a": same, "b": same}, reference="a")
    assert [image_of(ax).get_clim() for ax in axes] == [(1.5, 4.5)] * 2 + [(-1, 1)]
    (ax,) = pg.plot.fields({"none": np.zeros((2, 2))})
    assert image_of(ax).get_clim() == (-1.0, 1.0)


def test_lines_are_the_fields_and_their_differences():
    across = np.linspace(0, 6, 33)
    made = {"PG": np.sin(across) + 0.1, "truth": np.sin(across), "fit": across / 6}
    axes = pg.plot.fields(made, reference="truth", quantity="u in m/s")
    lines = {line.get_label(): line for line in drawn(axes[0], "field")}
    apart = {line.get_label(): line for line in drawn(axes[1], "field")}
    assert set(lines) == set(made) and set(apart) == {"PG", "fit"}
    for name, line in lines.items():
        np.testing.assert_array_equal(line.get_ydata(), made[name])
    for name, line in apart.items():
        np.testing.assert_allclose(line.get_ydata(), made[name] - made["truth"])
        assert line.get_color() == lines[name].get_color()
    assert lines["PG"].get_color() == STYLES["pg"].color
    assert not lines["truth"].is_dashed() and lines["fit"].is_dashed()
    assert titles(axes) == ["fields", "differences to truth"]
    assert [ax.get_ylabel() for ax in axes] == ["u in m/s"] * 2
    low, high = axes[1].get_ylim()
    assert low == pytest.approx(-high)
    assert len(drawn(axes[1], "zero")) == 1
    for ax, names in zip(axes, (made, apart), strict=True):
        named = texts(ax, "field-label") or legend_texts(ax)
        assert sorted(named) == sorted(names)


def test_lines_have_gaps_where_they_are_not_finite():
    broken = np.arange(9.0)
    broken[[3, 8]] = np.nan, -np.inf
    (ax,) = pg.plot.fields({"a": broken, "whole": np.ones(9)})
    strokes = drawn(ax, "missing")
    assert [list(line.get_xdata()) for line in strokes] == [[3, 8]]
    assert strokes[0].get_color() == MISSING
    assert ax.get_title(loc="right") == "a: not finite (pink): 2 of 9"
    (line, _) = drawn(ax, "field")
    assert np.isnan(line.get_ydata()[[3, 8]]).all()


def test_trees_of_one_leaf_and_numbers_of_any_kind_will_do():
    made = {
        "tree": {"u": jnp.ones(3)},
        "whole": np.arange(3),
        "flags": np.ones(3, bool),
    }
    (ax,) = pg.plot.fields(made)
    assert [line.get_ydata().tolist() for line in drawn(ax, "field")] == [
        [1, 1, 1],
        [0, 1, 2],
        [1, 1, 1],
    ]


def test_the_axes_that_are_given_are_used():
    figure = Figure(figsize=(9, 4), layout="constrained")
    given = list(figure.subplots(1, 3))
    made = bumps()
    del made["GD"]
    assert pg.plot.fields(made, reference="truth", ax=given) == tuple(given)
    assert len(bars(tuple(given))) == 2
    with pytest.raises(ValueError, match="ax must be 3 axes, got 2"):
        pg.plot.fields(made, reference="truth", ax=given[:2])


def test_many_fields_take_several_rows():
    made = {str(number): np.eye(3) for number in range(6)}
    axes = pg.plot.fields(made, reference="0")
    lay_out(axes[0])
    tops = {round(ax.get_position().y1, 3) for ax in axes}
    assert len(axes) == 11 and len(tops) == 4 and len(bars(axes)) == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "fields must be 1 to 12, got 0"),
        ({str(k): np.ones(2) for k in range(13)}, "fields must be 1 to 12, got 13"),
        (
            {"a": np.ones(3), "b": np.ones((3, 1))},
            r"must have one shape, got 'a' \(3,\), 'b' \(3, 1\)",
        ),
        ({"a": np.ones((2, 2, 2))}, r"'a' must have shape .*, got \(2, 2, 2\)"),
        ({"a": np.float64(3)}, r"'a' must have shape .*, got \(\)"),
        ({"a": np.ones((0, 3))}, r"'a' must have shape .*, got \(0, 3\)"),
        ({"a": 1j * np.ones(3)}, "'a' must be real numbers, got complex128"),
        ({"a": np.array(["x"])}, "'a' must be real numbers, got <U1"),
        ({"a": {"u": np.ones(2), "v": np.ones(2)}}, "got a tree of 2 leaves"),
        ({"a": np.array([1.0, -1e305])}, r"must be below 1e\+300 in size, got 1e\+305"),
        ({"a": np.full(3, np.nan)}, "fields must have finite values, got none"),
    ],
)
def test_wrong_fields_are_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        pg.plot.fields(wrong)


def test_wrong_references_are_named():
    with pytest.raises(ValueError, match="unknown reference 'turth'; did you mean 'tr"):
        pg.plot.fields(bumps(), reference="turth")
    with pytest.raises(ValueError, match="'a' needs another field beside it"):
        pg.plot.fields({"a": np.ones(2)}, reference="a")
    nothing: Any = [np.ones(2)]
    with pytest.raises(TypeError):
        pg.plot.fields(nothing)
