"""Comparisons that tests of pictures share, and what no test may leave behind."""

from __future__ import annotations

import importlib
import sys

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.style
import pytest
from drawing import (
    DEFAULT,
    TEN,
    compared,
)

import physgrad as pg


@pytest.fixture(scope="session")
def toy():
    return compared(DEFAULT)


@pytest.fixture(scope="session")
def diverging():
    return compared({"gd": pg.GradientDescent(1.0), "pg": DEFAULT["pg"]})


@pytest.fixture(scope="session")
def ten():
    """As many methods as the command line has."""
    return compared(TEN)


@pytest.fixture(scope="session")
def crossing():
    """A run of gradient descent that jumps back and forth across the picture."""
    return compared({"gd": pg.GradientDescent(0.1), "pg": DEFAULT["pg"]})


@pytest.fixture(scope="session")
def long():
    """A thousand steps: past the rounding of float32."""
    return compared({"gd": DEFAULT["gd"], "pg": DEFAULT["pg"]}, num_steps=1000)


@pytest.fixture(scope="session")
def double():
    with jax.enable_x64(True):
        return compared({"pg": DEFAULT["pg"]}, num_steps=200, dtype=jnp.float64)


@pytest.fixture
def unrendered(monkeypatch):
    """`figures` draws, but renders nothing: for tests of which pictures there are."""
    monkeypatch.setattr("physgrad.plot.files.content", lambda figure, form: b"")


@pytest.fixture
def vectors_only(monkeypatch):
    """`figures` renders no PNG, the slower half."""
    real = importlib.import_module("physgrad.plot.files").content

    def content(figure, form):
        return real(figure, form) if form == "svg" else b""

    monkeypatch.setattr("physgrad.plot.files.content", content)


@pytest.fixture(scope="session")
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
