"""The singular values that `check` found."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from drawing import (
    data,
    drawn,
    lay_out,
    texts,
)

import physgrad as pg
from physgrad.plot.singular_values import noise_level

SCALES = np.array([4.0, 2.0, 1e-3, 0.0])


@pytest.fixture(scope="module", params=["float32", "float64"])
def report(request):
    with jax.enable_x64(request.param == "float64"):
        scales = jnp.asarray(SCALES, request.param)
        # one x entry more than z entries, and one that z does not show
        yield pg.check(lambda x: scales * x[:4], 2 * jnp.ones(5, request.param))


def test_the_values_are_those_of_the_report(report):
    ax = pg.plot.spectrum(report)
    (values,), (zeros,) = drawn(ax, "values"), drawn(ax, "zeros")
    np.testing.assert_allclose(data(values), [[1, 4], [2, 2], [3, 1e-3]], rtol=1e-6)
    assert data(zeros).tolist() == [[4, 0]]
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    assert low < 1e-3 and high > 4
    assert ax.get_title(loc="left") == "singular values of J"


def test_rank_and_rounding_are_marked(report):
    ax = pg.plot.spectrum(report)
    (rank,), (floor,) = drawn(ax, "rank"), drawn(ax, "floor")
    assert data(rank)[:, 0].tolist() == [3.5, 3.5]
    assert texts(ax, "rank-label") == ["rank 3 of 4"]
    dtype = report.x[0].dtype
    eps = float(np.finfo(dtype).eps)
    assert floor.get_y() + floor.get_height() == pytest.approx(5 * eps * 4)
    notes = ax.get_title(loc="right").splitlines()
    assert notes[0].startswith(f"rounding of {dtype}: below ")
    assert notes[0].endswith("(shaded)")
    assert notes[1] == "noise in z: not given, check(..., noise=...)"
    assert drawn(ax, "noise") == []


def test_what_z_does_not_show_is_said(report):
    (words,) = texts(pg.plot.spectrum(report), "words")
    assert "rank 3 of 4 (4 x 5)" in words
    assert "condition number 4e+03" in words
    assert "z does not show x[3], x[4]" in words
    assert "weakly seen: x[2]" in words


def test_the_noise_is_where_it_moves_x_by_its_own_size():
    x0 = jnp.array([3.0, 4.0])  # of length 5
    noisy = pg.check(lambda x: jnp.array([2.0, 1e-3]) * x, x0, noise=0.01)
    level = noise_level(noisy)
    assert level == pytest.approx(0.01 / 5, rel=1e-5)
    ax = pg.plot.spectrum(noisy)
    (line,) = drawn(ax, "noise")
    assert data(line)[:, 1] == pytest.approx(level)
    assert texts(ax, "noise-label") == ["noise of 0.01 outweighs x below"]
    assert "noise" not in ax.get_title(loc="right")
    assert "not reached" in ax.get_title(loc="right")
    assert drawn(ax, "floor") == []
    # the noise moves x along the second direction by more than x
    assert noisy.noise is not None and noisy.noise.uncertainty is not None
    deviations = np.asarray(noisy.noise.uncertainty.deviations)
    assert deviations[0] < 5 < deviations[1]


def test_the_largest_of_many_values_are_said_to_be_so(report):
    spectrum = dataclasses.replace(
        report.spectrum,
        shape=(3000, 2000),
        dense=False,
        values=np.array([3.0, 2.0]),
        rank=2,
        null_count=0,
        unseen=(),
        weak=(),
    )
    ax = pg.plot.spectrum(dataclasses.replace(report, spectrum=spectrum))
    assert ax.get_title(loc="left") == "largest singular values of J"
    assert texts(ax, "rank-label") == ["rank at least 2 of 2000"]
    (words,) = texts(ax, "words")
    assert words.startswith("condition number at least 1.5; rank at least 2 of 2000")


def test_a_jacobian_of_zeros_is_drawn(report):
    none = dataclasses.replace(report.spectrum, values=np.zeros(4), rank=0)
    ax = pg.plot.spectrum(dataclasses.replace(report, spectrum=none))
    lay_out(ax)
    (zeros,) = drawn(ax, "zeros")
    assert len(data(zeros)) == 4
    assert texts(ax, "rank-label") == ["rank 0 of 4"]


def test_a_report_without_a_spectrum_says_why(report):
    bare = dataclasses.replace(report, spectrum=None, notes=("J: no derivative",))
    with pytest.raises(ValueError, match="no singular values of J: J: no derivative"):
        pg.plot.spectrum(bare)


def test_what_is_no_report_is_refused(toy, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    wrong: Any = toy
    with pytest.raises(TypeError, match="must be a CheckReport, got Comparison; make"):
        pg.plot.spectrum(wrong)
