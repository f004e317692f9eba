"""Comparisons: what they hold, show and save."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

import physgrad as pg


class Pair(NamedTuple):
    left: jax.Array
    right: jax.Array


def norm(x):
    return jnp.stack([jnp.sum(leaf**2) for leaf in jax.tree.leaves(x)])


def squares(z):
    return jnp.sum(z**2)


METHODS = {"GD": pg.GradientDescent(0.01), "LM": pg.LevenbergMarquardt()}


def compared(x0):
    return pg.compare(pg.Objective(norm, squares), x0, METHODS, 2)


def test_a_comparison_is_like_a_dict_of_runs():
    comparison = compared(jnp.array([1.0, 2.0]))
    assert list(comparison) == ["GD", "LM"] and len(comparison) == 2
    assert "GD" in comparison and "PG" not in comparison
    assert [comparison[name].num_steps for name in comparison] == [2, 2]
    assert comparison == comparison and comparison != compared(jnp.array([1.0, 2.0]))
    assert comparison["GD"] == comparison["GD"] != comparison["LM"]


def test_columns_that_a_comparison_does_not_have_are_left_out():
    comparison = compared(jnp.array([1.0, 2.0]))
    headings = [str(column.header) for column in comparison.table().columns]
    assert not {"distance", "diagonal"} & {*headings} and "loss" in headings
    known = pg.compare(
        pg.Objective(norm, squares),
        jnp.array([1.0, 2.0]),
        METHODS,
        solution=jnp.zeros(2),
        direction=jnp.ones(2),
    )
    headings = [str(column.header) for column in known.table().columns]
    assert {"distance", "diagonal"} <= {*headings}


def test_trees_come_back_in_their_own_structure(tmp_path):
    x0 = {0: (jnp.ones(2), jnp.array(3.0)), 7: [jnp.arange(1.0, 3.0)]}
    compared(x0).save(tmp_path / "out")
    loaded = pg.Comparison.load(tmp_path / "out")["GD"]
    assert jax.tree.structure(loaded.x) == jax.tree.structure(x0)
    expected = compared(x0)["GD"].trajectory["x"]
    jax.tree.map(np.testing.assert_array_equal, loaded.trajectory["x"], expected)


def test_float64_comes_back_whatever_the_x64_switch(tmp_path):
    with jax.enable_x64(True):
        saved = compared(jnp.array([1 / 3, 2.0]))
        saved.save(tmp_path / "out")
    np.testing.assert_array_equal(
        pg.Comparison.load(tmp_path / "out")["GD"].x, saved["GD"].x, strict=True
    )


def test_named_tuples_come_back_by_their_names(tmp_path):
    compared(Pair(jnp.ones(2), jnp.zeros(3))).save(tmp_path / "out")
    loaded = pg.Comparison.load(tmp_path / "out")["GD"].x
    assert [*loaded] == ["left", "right"]


def test_methods_are_shown_with_their_numbers():
    method = pg.PhysicalGradient(0.25, pg.LinearizedInverse(damping=0.5), "gradient")
    assert repr(method) == (
        "PhysicalGradient(step_size=0.25, inverse=LinearizedInverse(damping=0.5), "
        "metric=GradientMetric())"
    )
    assert repr(pg.NewtonMetric(0.5)) == "NewtonMetric(damping=0.5)"


def test_the_table_is_text_in_a_notebook_too(monkeypatch: pytest.MonkeyPatch):
    comparison = compared(jnp.array([1.0, 2.0]))
    elsewhere = str(comparison)
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    assert str(comparison) == elsewhere and "GD" in elsewhere
