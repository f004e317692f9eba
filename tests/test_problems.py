"""The named problems: their solutions, their settings, and what is drawn of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import physgrad as pg
from physgrad.cards import PROBLEMS, is_problem, parse_problem
from physgrad.names import parse_optimizer
from physgrad.optimizers.named import named_optimizer

NAMES = tuple(PROBLEMS)
SMALL = {
    "heat-initial-state": 8,
    "heat-source": 8,
    "poisson-source": 8,
    "wave-initial-state": 12,
    "burgers-initial-state": 32,
    "kdv-initial-state": 64,
    "navier-stokes-initial-state": 8,
    "oscillators-control": 12,
    "pendulum-swing": 12,
    "kepler-orbit": 5,
    "conductivity-1d": 12,
    "darcy-2d": 5,
}


def small(name, dtype=None, **settings):
    """A problem at a size that is soon computed, without noise."""
    card = PROBLEMS[name]
    settings = {"size": SMALL.get(name), **settings}
    if card.noise is not None:
        settings.setdefault("noise", 0.0)
    return pg.problems.get(name, dtype, **settings)


def test_there_are_sixteen_and_each_says_what_it_is():
    assert len(NAMES) >= 16
    for name, card in PROBLEMS.items():
        assert card.what and card.teaches and card.cost, name
        for text in card.optimizers:
            parse_optimizer(text, card.inverses)
    required = ["toy", "exp", "sin", "spiral", "heat-initial-state", "heat-source"]
    assert set(required) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_is_known_to_the_loss_and_a_fixed_point(name):
    with jax.enable_x64(True):
        problem = small(name, jnp.float64)
        start = problem.start
        assert start.dtype == jnp.float64
        assert float(problem.objective(start)) > 0
        known = start if problem.solution is None else problem.solution
        size = np.sqrt(np.mean(np.square(known)))
        np.testing.assert_allclose(problem.scales["x"], size)
        if problem.solution is None:
            return
        assert problem.solution.shape == start.shape
        loss = float(problem.objective(problem.solution))
        assert loss <= 1e-18 * float(problem.objective(start))
        if name == "toy":
            return  # at the root of a singular Jacobian: see the notebook's tests
        for text in ("gd:learning_rate=1e-6", "pg:step_size=1"):
            method = named_optimizer(parse_optimizer(text), problem.inverses)
            assert isinstance(method, pg.Optimizer)
            ends = pg.iterate(problem.objective, method, problem.solution, 1)
            size = np.max(np.abs(problem.solution))
            # what is no data to an inverse may move: waves below rounding
            assert np.max(np.abs(ends.x - problem.solution)) <= 1e-5 * size, text


@pytest.mark.parametrize("name", NAMES)
def test_a_physical_gradient_solves_it_and_it_can_be_drawn(name):
    problem = small(name)
    methods = {"gd": pg.GradientDescent(1e-6), "pg": pg.PhysicalGradient(1.0)}
    found = pg.compare(
        problem.objective, problem.start, methods, 3, problem=problem.name
    )
    assert found["pg"].ok
    assert found["pg"].loss < 1e-3 * found["gd"].trajectory.losses[0]
    pictures = pg.plot.solutions(found, problem)
    assert bool(pictures) == (problem.picture != "points")
    for file, content in pictures.items():
        head = {"png": b"\x89PNG", "svg": b"<?xml", "gif": b"GIF8"}[file[-3:]]
        assert content.startswith(head)
    if name == "arm-reach":
        assert pg.plot.solutions(found, problem) == pictures  # the same bytes


@pytest.mark.parametrize("name", ["burgers", "kdv", "navier-stokes"])
def test_flows_of_their_own_size_are_run_backwards(name, dtype):
    problem = pg.problems.get(f"{name}-initial-state", dtype)
    full = pg.PhysicalGradient(1.0)
    run = pg.minimize(problem.objective, full, problem.start, 2, progress=False)
    assert run.ok
    solution = np.asarray(problem.solution)
    assert np.linalg.norm(run.x - solution) < 5e-3 * np.linalg.norm(solution)


def test_sizes_noises_and_seeds_make_other_problems():
    one, two = (small("heat-source", seed=seed) for seed in (0, 1))
    assert one.name == "heat-source:size=8"
    assert two.name == "heat-source:size=8,seed=1"
    assert np.max(np.abs(one.start - two.start)) == 0
    assert one.solution is not None and two.solution is not None
    assert np.max(np.abs(one.solution - two.solution)) > 0.1
    same = pg.problems.get(two.name)
    np.testing.assert_array_equal(same.solution, two.solution)
    noisy = small("heat-source", noise=0.1)
    rough = pg.compare(
        noisy.objective, noisy.start, {"pg": pg.PhysicalGradient(1.0)}, 2
    )
    assert rough["pg"].ok
    assert rough["pg"].loss > 0
    assert pg.problems.get("arm-reach", size=5).start.shape == (5,)


def test_a_finer_grid_shows_the_same_field():
    coarse, fine = (
        pg.problems.get("darcy-2d", size=size).solution for size in (16, 32)
    )
    assert coarse is not None and fine is not None
    blocks = np.asarray(fine).reshape(16, 2, 16, 2).mean(axis=(1, 3))
    assert np.mean(np.abs(blocks - coarse)) < 0.05


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("heat-sorce", "did you mean 'heat-source'"),
        ("heat-source:sise=3", "has no 'sise'; did you mean 'size'"),
        ("heat-source:size", "expected key=value"),
        ("heat-source:size=8,size=9", "more than once"),
        ("heat-source:size=0", "must be from 4 to 1024"),
        ("heat-source:size=1e3", "whole number"),
        ("heat-source:size=\u0663", "whole number"),
        ("heat-source:noise=-1", "noise must be a number from 0 to 1"),
        ("heat-source:noise=nan", "noise must be a number from 0 to 1"),
        ("heat-source:noise=1e400", "noise must be a number from 0 to 1"),
        ("heat-source:seed=-1", "whole number"),
        ("heat-source:seed=99999999999", "at most"),
        ("toy:size=3", "it has no settings"),
        ("", "unknown problem"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(text, said):
    with pytest.raises(ValueError, match=said) as raised:
        pg.problems.get(text)
    assert "\n" not in str(raised.value)


def test_names_with_settings_are_problems():
    assert is_problem("toy") and is_problem("heat-source:size=8")
    assert not is_problem("nope") and not is_problem("my_file.py:objective")
    assert parse_problem("heat-source:size=64").text == "heat-source"


def test_a_picture_of_an_unknown_kind_is_refused(monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    objective = pg.Objective(lambda x: x, pg.SquaredLoss(jnp.ones(1)))
    with pytest.raises(ValueError, match="picture must be one of"):
        pg.Problem("mine", objective, jnp.ones(1), picture="photo")
    with pytest.raises(TypeError, match="must be a Problem"):
        toy = pg.problems.get("toy")
        methods = {"pg": pg.PhysicalGradient(1.0)}
        found = pg.compare(toy.objective, toy.start, methods, 1)
        wrong: Any = objective
        pg.plot.solutions(found, wrong)
