"""The pictures, by what is drawn in them: artists, labels, data, files."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.style
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text

import physgrad as pg
from physgrad.plot.labels import Obstacles, extent, plain
from physgrad.plot.levels import level_values
from physgrad.plot.marks import MOST_ARROWS
from physgrad.plot.one_step import way_of
from physgrad.plot.space import flat_objective, plane_of
from physgrad.plot.style import GREEN, GREY, PURPLE, STYLES, Style, kind_of, styles
from physgrad.plot.view import View, view_of
from physgrad.results import Result

WHITE, DARK = "#FFFFFF", "#15171A"
DEFAULT = {
    "gd": pg.GradientDescent(0.01),
    "newton": pg.Newton(1 / 3),
    "pg": pg.PhysicalGradient(0.3),
    "pg-numeric": pg.PhysicalGradient(0.3, inverse=pg.NumericalInverse()),
}
PICTURES = ["x_gd", "x_gd_newton", "x_all", "z_pg", "z_all", "three_spaces", "losses"]


def compared(methods, start=(3.0, 3.0), num_steps=10, dtype=jnp.float32):
    toy = pg.problems.get("toy", dtype)
    return pg.compare(
        toy.objective,
        jnp.array(start, dtype),
        methods,
        num_steps,
        problem="toy",
        solution=toy.solution,
        direction=toy.direction,
    )


@pytest.fixture(scope="module")
def toy():
    return compared(DEFAULT)


@pytest.fixture(scope="module")
def diverging():
    return compared({"gd": pg.GradientDescent(1.0), "pg": DEFAULT["pg"]})


@pytest.fixture(scope="module")
def long():
    """A thousand steps: past the rounding of float32."""
    return compared({"gd": DEFAULT["gd"], "pg": DEFAULT["pg"]}, num_steps=1000)


@pytest.fixture(scope="module")
def double():
    with jax.enable_x64(True):
        return compared({"pg": DEFAULT["pg"]}, num_steps=200, dtype=jnp.float64)


@pytest.fixture
def unrendered(monkeypatch):
    """`figures` draws, but renders nothing: for tests of which pictures there are."""
    monkeypatch.setattr("physgrad.plot.files._content", lambda figure, form: b"")


@pytest.fixture
def vectors_only(monkeypatch):
    """`figures` renders no PNG, the slower half."""
    real = importlib.import_module("physgrad.plot.files")._content

    def content(figure, form):
        return real(figure, form) if form == "svg" else b""

    monkeypatch.setattr("physgrad.plot.files._content", content)


@pytest.fixture(scope="module")
def files(toy):
    return pg.plot.figures(toy)


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No picture changes matplotlib's settings, or leaves a figure with pyplot."""
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def drawn(ax: Axes, gid: str):
    """The lines, collections and texts of an axes that are called so."""
    children = [*ax.lines, *ax.collections, *ax.texts, *ax.patches]
    return [child for child in children if child.get_gid() == gid]


def texts(ax: Axes, gid: str) -> list[str]:
    return [text.get_text() for text in drawn(ax, gid)]


def data(line) -> np.ndarray:
    return np.asarray(line.get_xydata())


def by_name(ax: Axes):
    return {line.get_label(): line for line in drawn(ax, "trajectory")}


def text_box(text: Text) -> tuple[np.ndarray, np.ndarray]:
    """Center and size of a text in pixels, without the line that leads to it.

    Only what was drawn has its place.
    """
    low, high = np.asarray(Text.get_window_extent(text))
    return (low + high) / 2, high - low


def lay_out(ax: Axes) -> None:
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()


def contours(ax: Axes) -> dict[float, np.ndarray]:
    """The level lines: value to points, (n, 2)."""
    found = [c for c in ax.collections if isinstance(c, ContourSet)]
    return {
        float(value): np.asarray(path.vertices).reshape(-1, 2)
        for lines in found
        for value, path in zip(np.asarray(lines.levels), lines.get_paths(), strict=True)
    }


def first_way(comparison, name: str) -> Any:
    flat = flat_objective(comparison)
    assert flat is not None
    return way_of(flat, comparison[name])


def cut_off(run, iterates: int, result=Result.inverse_failed):
    """The run as if it had failed after so many iterates."""

    def cut(tree):
        return jax.tree.map(lambda a: a[:iterates], tree)

    way = run.trajectory
    spaces = {name: cut(tree) for name, tree in way.spaces.items()}
    way = dataclasses.replace(
        way, spaces=spaces, losses=way.losses[:iterates], steps=way.steps[:iterates]
    )
    return dataclasses.replace(
        run, result=result, message="why", trajectory=way, num_steps=iterates - 1
    )


def shortened(comparison, num_steps: int):
    """The comparison as if it had done so few steps."""
    runs = {
        name: cut_off(run, num_steps + 1, Result.completed)
        for name, run in comparison.runs.items()
    }
    return dataclasses.replace(comparison, runs=runs, num_steps=num_steps)


# --- one identity per method


def luminance(color: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("background", [WHITE, DARK])
@pytest.mark.parametrize("kind", STYLES)
def test_every_color_stands_out(kind, background):
    assert contrast(STYLES[kind].color, background) >= 3.0
    assert contrast(WHITE, "#000000") == pytest.approx(21.0)


def test_the_methods_look_as_agreed():
    looks = {kind: (s.color, s.marker, s.width) for kind, s in STYLES.items()}
    assert looks["gd"] == ("#0072B2", "o", 1.0)
    assert looks["newton"] == ("#D55E00", "s", 1.0)
    assert looks["pg"] == ("#009E73", "D", 1.5)
    assert STYLES["gd"].dash == STYLES["pg"].dash == ()
    numeric = STYLES["pg-numeric"]
    assert (numeric.color, numeric.marker, numeric.hollow) == (GREEN, "D", True)
    assert {STYLES[kind].color for kind in ("adam", "adagrad", "rmsprop", "sgd")} == {
        PURPLE
    }
    assert {STYLES[kind].color for kind in ("gauss-newton", "lm")} == {GREY}
    identities = {(s.color, s.marker, s.hollow) for s in STYLES.values()}
    dashes = {(s.color, s.dash) for s in STYLES.values()}
    assert len(identities) == len(STYLES)
    assert len({d for c, d in dashes if c == PURPLE}) == 5


def test_a_method_is_known_by_what_it_is():
    words = {
        **{"a": "GradientDescent(learning_rate=0.01)", "gd": "Newton(step_size=1.0)"},
        **{"b": "PhysicalGradient(step_size=0.3)", "c": "LevenbergMarquardt()"},
        **{"d": "PhysicalGradient(step_size=0.3, inverse=NumericalInverse(max=9))"},
        **{"Adam:learning_rate=1": "OptaxOptimizer(...)", "gd2": "OptaxOptimizer(..)"},
        **{"mine": "SignDescent(step_size=0.5)", "lbfgs": "Wrapped(..)"},
    }
    kinds = [kind_of(name, text) for name, text in words.items()]
    assert kinds == [
        *("gd", "newton", "pg", "lm", "pg-numeric", "adam", "optax", "other", "lbfgs")
    ]


def test_runs_of_one_kind_share_a_color_and_nothing_else():
    made = styles({f"pg:step_size={i}": "PhysicalGradient()" for i in range(6)})
    assert made["pg:step_size=0"] == STYLES["pg"]
    assert {style.color for style in made.values()} == {GREEN}
    assert len({style.marker for style in made.values()}) == 6
    assert all(style.dash for style in list(made.values())[1:])
    many = styles({str(i): "GradientDescent()" for i in range(40)})
    assert all(isinstance(style, Style) for style in many.values())


# --- compare


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


def test_the_axes_that_are_given_are_used(toy):
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert pg.plot.compare(toy, "x", ax=left) is left
    assert pg.plot.compare(toy, "z", ax=right) is right
    assert len(figure.axes) == 2 and len(by_name(right)) == 4
    several: Any = [left]
    with pytest.raises(TypeError):
        pg.plot.compare(toy, ax=several)


def test_a_run_that_leaves_is_marked_where_it_leaves(diverging):
    assert diverging["gd"].result == "diverged"
    for space, edge in (("x", 0), ("z", 1)):
        ax = pg.plot.compare(diverging, space)
        assert max(np.abs([*ax.get_xlim(), *ax.get_ylim()])) < 12
        assert "gd\n(diverged in step 3)" in texts(ax, "run-label")
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
    assert "gd\n(goes on outside)" in texts(pg.plot.compare(away), "run-label")


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


@pytest.mark.parametrize("num_steps", [0, 1])
def test_the_shortest_runs_are_drawn(toy, num_steps, unrendered):
    short = shortened(toy, num_steps)
    for space in "xz":
        ax = pg.plot.compare(short, space)
        assert len(texts(ax, "level-label")) >= 5
        assert all(len(data(line)) == num_steps + 1 for line in by_name(ax).values())
    assert ("three_spaces.png" in pg.plot.figures(short)) is (num_steps == 1)


def test_a_thousand_steps_stay_readable(long):
    ax = pg.plot.compare(long)
    for line in by_name(ax).values():
        assert len(data(line)) == 1001
        marked = np.asarray(line.get_markevery())
        assert {0, 1000} <= set(marked.tolist()) and len(marked) < 250
    assert all(len(h.get_offsets()) <= MOST_ARROWS for h in drawn(ax, "arrows"))


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
    assert [p.get_title(loc="left") for p in panels] == ["x-space", "z-space", "L"]


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


# --- which part is shown, and which values


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


def test_a_view_is_left_where_the_path_crosses_its_edge():
    view = View(np.array([0.0, 0.0]), np.array([2.0, 1.0]))
    path = np.array([[1.0, 0.5], [3.0, 0.5], [1.0, 0.5], [1.0, 4.5]])
    np.testing.assert_allclose(np.array(view.exit(path)), [1.0, 1.0])
    np.testing.assert_allclose(np.array(view.exit(path[:2])), [2.0, 0.5])
    assert view.exit(path[:1]) is None and view.exit(path[1:2]) is None
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


# --- three spaces


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


# --- losses


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
    said = ax.get_title(loc="right")
    assert said == f"rounding of {np.dtype(dtype)}: below {top:.0e} (shaded)"


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
    assert "gd (diverged in step 3)" in texts(ax, "run-label")
    (heads,) = drawn(ax, "arrows")
    assert heads.get_offsets()[0][1] == pytest.approx(ax.get_ylim()[1])


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


# --- files


def test_all_pictures_are_there_as_png_and_svg(files):
    expected = [f"{name}.{form}" for name in PICTURES for form in ("png", "svg")]
    assert list(files) == expected
    for name, content in files.items():
        if name.endswith("png"):
            assert content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) > 10_000
            width = int.from_bytes(content[16:20], "big")
            assert 800 <= width <= 1600
        else:
            assert ElementTree.fromstring(content).tag.endswith("svg")


def test_the_bytes_depend_on_the_comparison_only(toy, files):
    with matplotlib.rc_context():
        matplotlib.style.use("dark_background")
        matplotlib.rcParams["svg.hashsalt"] = None
        again = pg.plot.figures(toy)
    assert again == files
    assert b"dc:date" not in files["x_all.svg"]


def test_what_was_saved_gives_the_same_pictures(toy, files, tmp_path, vectors_only):
    toy.save(tmp_path / "out")
    again = pg.plot.figures(pg.Comparison.load(tmp_path / "out"))
    assert again == {
        name: content if name.endswith("svg") else b""
        for name, content in files.items()
    }


def test_names_are_text_not_markup(toy, vectors_only):
    name = "<script>alert('$x_1$ & \\frac')</script>"
    hostile = dataclasses.replace(
        toy, runs={name: toy["gd"]}, optimizers={name: toy.optimizers["gd"]}
    )
    made = pg.plot.figures(hostile)
    assert list(made)[:2] == ["x_all.png", "x_all.svg"]
    for content in (made["x_all.svg"], made["losses.svg"], made["three_spaces.svg"]):
        assert b"<script" not in content
        found = "".join(ElementTree.fromstring(content).itertext())
        assert "<script>alert('$x_1$ & \\frac')</s" in found


def test_pictures_follow_what_there_is(toy, unrendered):
    def only(*names):
        return dataclasses.replace(
            toy,
            runs={name: toy[name] for name in names},
            optimizers={name: toy.optimizers[name] for name in names},
        )

    def stems(comparison):
        return [name[:-4] for name in pg.plot.figures(comparison)][::2]

    assert stems(only("newton")) == ["x_all", "z_all", "three_spaces", "losses"]
    assert stems(dataclasses.replace(toy, problem=None, objective=None)) == [
        name for name in PICTURES if name != "three_spaces"
    ]


# --- the extra


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    module = importlib.import_module("physgrad.plot")
    for loaded in [m for m in sys.modules if m.startswith("physgrad.plot.")]:
        monkeypatch.delitem(sys.modules, loaded)
    for name in module.__all__:
        monkeypatch.delitem(vars(module), name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in module.__all__:
        with pytest.raises(
            pg.MissingExtra, match=rf"plot\.{name} needs .*physgrad\[plot"
        ):
            getattr(pg.plot, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pg.plot.nothing


def test_matplotlib_is_loaded_with_the_first_picture_only():
    program = "import sys, physgrad.plot, physgrad.plot.style; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert {"matplotlib", "jax"} & set(answer.stdout.split()) == set()
    assert set(pg.plot.__all__) <= set(dir(pg.plot))


def test_a_plane_knows_its_start_and_solution(toy):
    plane = plane_of(toy, "z")
    assert plane.start.tolist() == [3.0, 9.0]
    assert [mark.tolist() for mark in plane.landmarks] == [[3.0, 9.0], [0.0, 0.0]]
    assert plane.loss is not None and float(plane.loss(jnp.array([3.0, 4.0]))) == 25.0
