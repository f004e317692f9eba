"""Wrong noise, prior or operator of the noise-safe inverse: named in one line."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest
from test_bad_arguments import INF, NAN, OBJECTIVE, X0, refused

import physgrad as pg

ANY: Any = pg


def pull(rule):
    return pg.minimize(OBJECTIVE, pg.PhysicalGradient(1.0, rule), X0, 1)


KINDS = {
    "noise of text": (
        lambda: ANY.RegularizedInverse("loud"),
        "noise must be a floating array, got 'loud'",
    ),
    "noise that is a switch": (lambda: ANY.RegularizedInverse(True), "got True"),
    "prior of text": (
        lambda: ANY.RegularizedInverse(0.1, {"a": "x"}),
        "prior['a'] must be a floating array, got 'x'",
    ),
    "operator that is a number": (
        lambda: ANY.RegularizedInverse(operator=2.0),
        "or a lineax operator, got 2.0",
    ),
    "steps that are no count": (
        lambda: ANY.RegularizedInverse(max_steps=2.5),
        "max_steps must be a whole number from 1 on, got 2.5",
    ),
}
VALUES = {
    "negative noise": (
        lambda: pg.RegularizedInverse(-0.5),
        "noise must be zero or positive, finite, got -0.5 at noise",
    ),
    "noise of NaN": (
        lambda: pg.RegularizedInverse({"a": jnp.array([1.0, NAN])}),
        "finite, got nan at noise['a'][1]",
    ),
    "infinite prior": (
        lambda: pg.RegularizedInverse(0.1, jnp.array([INF])),
        "prior must be finite, got inf at prior[0]",
    ),
    "noise of another shape": (
        lambda: pull(pg.RegularizedInverse(jnp.ones(3))),
        "noise must have the shape (1,) of z, got (3,)",
    ),
    "noise of another structure": (
        lambda: pull(pg.RegularizedInverse([0.1])),
        "noise must have the structure of z",
    ),
    "prior of another shape": (
        lambda: pull(pg.RegularizedInverse(0.1, jnp.ones((1, 1)))),
        "prior must have the shape (1,) of x, got (1, 1)",
    ),
    "prior of another structure": (
        lambda: pull(pg.RegularizedInverse(0.1, {"a": jnp.ones(1)})),
        "prior must have the structure of x",
    ),
    "unknown operator": (
        lambda: pg.RegularizedInverse(operator="curl"),
        "operator must be 'identity', 'gradient', 'laplacian', a matrix of shape",
    ),
    "operator with other columns": (
        lambda: pull(pg.RegularizedInverse(0.1, operator=jnp.ones((2, 3)))),
        "operator must have 1 columns like x, got 3",
    ),
    "operator that is a vector": (
        lambda: pg.RegularizedInverse(operator=jnp.ones(3)),
        "operator must be a matrix of shape (rows, x entries), got shape (3,)",
    ),
    "operator of NaN": (
        lambda: pg.RegularizedInverse(operator=jnp.full((1, 1), NAN)),
        "operator must be finite",
    ),
    "steps below one": (
        lambda: pg.RegularizedInverse(max_steps=0),
        "max_steps must be a whole number from 1 on, got 0",
    ),
}


@pytest.fixture(autouse=True)
def no_annotation_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users have no checker of annotations: the library itself must refuse."""
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)


@pytest.mark.parametrize("fault", KINDS)
def test_wrong_kinds(fault):
    call, words = KINDS[fault]
    refused(call, TypeError, words)


@pytest.mark.parametrize("fault", VALUES)
def test_wrong_values(fault):
    call, words = VALUES[fault]
    refused(call, ValueError, words)
