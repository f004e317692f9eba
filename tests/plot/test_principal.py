"""The plane of the principal directions, for spaces of more than two entries."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import (
    by_name,
    contours,
    data,
    texts,
)

import physgrad as pg
from physgrad.plot.principal import percent, principal_plane
from physgrad.plot.space import flat_points


@pytest.fixture(scope="module", params=["float32", "float64"])
def large(request):
    """Five entries in two leaves."""
    with jax.enable_x64(request.param == "float64"):
        objective = pg.Objective(
            lambda x: {"u": x["a"] ** 3 + x["a"], "v": 2 * x["b"]},
            lambda z: jnp.sum(z["u"] ** 2) + jnp.sum(z["v"] ** 2),
        )
        x0 = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([1.5, -0.5, 0.0])}
        methods = {"GD": pg.GradientDescent(0.005), "PG": pg.PhysicalGradient(0.3)}
        solution = jax.tree.map(jnp.zeros_like, x0)
        yield pg.compare(objective, x0, methods, num_steps=4, solution=solution)


def with_iterates(comparison, name, change):
    """The comparison, the iterates of one run in x-space changed."""
    run = comparison[name]
    way = run.trajectory
    spaces = {**way.spaces, "x": change(np.array(way["x"]))}
    run = dataclasses.replace(run, trajectory=dataclasses.replace(way, spaces=spaces))
    return dataclasses.replace(comparison, runs={**comparison.runs, name: run})


def variation(comparison, space) -> np.ndarray:
    """Every iterate minus the start."""
    ways = [flat_points(run.trajectory[space]) for run in comparison.runs.values()]
    return np.concatenate(ways).astype(float) - ways[0][0]


@pytest.mark.parametrize("space", ["x", "z"])
def test_the_axes_carry_what_they_say_and_no_plane_carries_more(large, space):
    ax = pg.plot.compare(large, space, coordinates="principal")
    offsets = variation(large, space)
    squares = np.linalg.eigvalsh(offsets.T @ offsets)[::-1]
    drawn = np.concatenate([data(line) for line in by_name(ax).values()])
    carried = np.sum(drawn**2, axis=0)
    np.testing.assert_allclose(carried, squares[:2], rtol=1e-6)
    shares = [percent(share) for share in squares[:2] / squares.sum()]
    assert [ax.get_xlabel(), ax.get_ylabel()] == [
        f"1st principal direction of {space} ({shares[0]})",
        f"2nd principal direction of {space} ({shares[1]})",
    ]
    assert ax.get_aspect() == 1.0 and contours(ax) == {}


def test_the_start_is_the_origin_and_the_solution_is_projected(large):
    ax = pg.plot.compare(large, coordinates="principal")
    assert all(data(line)[0].tolist() == [0, 0] for line in by_name(ax).values())
    (cross,) = (line for line in ax.lines if line.get_gid() == "solution")
    _, _, right = np.linalg.svd(variation(large, "x"))
    start = flat_points(large["GD"].trajectory["x"])[0]
    expected = np.abs(right[:2] @ start)
    np.testing.assert_allclose(np.abs(data(cross)[0]), expected, rtol=1e-6)
    assert texts(ax, "solution-label") == ["solution"]


def test_the_whole_space_turned_has_its_level_lines(toy):
    ax = pg.plot.compare(toy, coordinates="principal")
    levels = contours(ax)
    assert list(levels) == list(contours(pg.plot.compare(toy)))
    runs = [(r.trajectory["x"], r.trajectory.losses) for r in toy.runs.values()]
    plane = principal_plane(runs, 90.0)
    for value, points in levels.items():
        x = plane.origin + points @ plane.directions
        np.testing.assert_allclose(x[:, 0] ** 2 + x[:, 1] ** 4, value, rtol=0.05)


def test_what_is_not_finite_or_far_off_does_not_turn_the_plane(toy):
    def broken(value):
        def change(x):
            x[-1] = [value, 1.0]
            return x

        return change

    expected = by_name(pg.plot.compare(toy, coordinates="principal"))["pg"]
    broken_off = with_iterates(toy, "pg-numeric", broken(np.nan))
    ax = pg.plot.compare(broken_off, coordinates="principal")
    np.testing.assert_allclose(data(by_name(ax)["pg"]), data(expected), atol=0.02)
    assert len(data(by_name(ax)["pg-numeric"])) == 10
    assert "pg-numeric\n(not finite after step 9)" in texts(ax, "run-label")
    points, losses = toy["pg"].trajectory["x"], toy["pg"].trajectory.losses
    far = np.vstack([points, [[-1e300, 1e300]]]).astype(float)
    planes = [
        principal_plane([(points, losses)], 90.0),
        principal_plane([(far, np.append(losses, np.float32(1e30)))], 90.0),
    ]
    np.testing.assert_allclose(planes[0].directions, planes[1].directions)
    with pytest.raises(ValueError, match=r"needs a finite start, got \[nan"):
        principal_plane([(np.nan * points, losses)], 90.0)


def test_directions_are_the_same_every_time():
    random = np.random.default_rng(0)
    way = np.cumsum(random.standard_normal((9, 4)), axis=0)
    plane = principal_plane([(way, np.zeros(9))], 0.0)
    largest = np.argmax(np.abs(plane.directions), axis=1)
    assert np.all(plane.directions[[0, 1], largest] > 0)
    np.testing.assert_allclose(
        plane.directions @ plane.directions.T, np.eye(2), atol=1e-12
    )
    # mirrored about the start, the runs have the same directions
    mirrored = principal_plane([(2 * way[0] - way, np.zeros(9))], 0.0)
    np.testing.assert_allclose(mirrored.directions, plane.directions)
    huge = principal_plane([(1e200 * way, np.zeros(9))], 0.0)
    np.testing.assert_allclose(huge.shares, plane.shares)


def test_runs_along_a_line_or_at_rest_have_a_plane():
    line = np.arange(3)[:, None] * np.array([0.0, 3.0, 4.0])
    plane = principal_plane([(line, np.zeros(3))], 0.0)
    np.testing.assert_allclose(plane.directions, [[0, 0.6, 0.8], [1, 0, 0]], atol=1e-9)
    assert plane.shares.tolist() == pytest.approx([1.0, 0.0])
    rest = principal_plane([(line[:1], np.zeros(1))], 0.0)
    assert rest.directions.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert rest.axis_names("z")[1] == "2nd principal direction of z (0 %)"


def test_other_words_and_small_spaces_are_refused(toy):
    with pytest.raises(ValueError, match="or 'principal', got 'princpal'"):
        pg.plot.compare(toy, coordinates="princpal")
    objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum(z**2))
    small = pg.compare(objective, jnp.array([1.0]), {"GD": pg.GradientDescent(0.01)}, 1)
    with pytest.raises(ValueError, match=r"2 entries, and 'x' has 1; plot\.losses"):
        pg.plot.compare(small, coordinates="principal")
