"""Names of training experiments and methods, with their settings. Loads no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from physgrad.names import (
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Key,
    Method,
    Named,
    nearest,
    parse_named,
    quoted,
)

_BATCH = {"batch": Key(COUNT, 128)}
_RATE = {"learning_rate": Key(POSITIVE, 1e-3)}
_STEP = {"step_size": Key(POSITIVE, 1.0)}
_PHYSICAL = {**_STEP, "metric": Key(SHARE, 0.0)}
_SPECTRAL = {**_STEP, "truncation": Key(FRACTION, 1e-6)}

METHODS = {
    "adam": Method("adam", {**_RATE, **_BATCH}),
    "sgd": Method("sgd", {**_RATE, "momentum": Key(NOT_NEGATIVE, 0.9), **_BATCH}),
    "physical": Method("physical", {**_RATE, **_PHYSICAL, **_BATCH}),
    "supervised": Method("supervised", {**_RATE, **_BATCH}),
    "gauss-newton": Method("gauss_newton", {**_SPECTRAL, **_BATCH}),
    "half-inverse": Method("half_inverse", {**_SPECTRAL, **_BATCH}),
    "lm": Method("levenberg_marquardt", {"damping": Key(POSITIVE, 1e-3), **_BATCH}),
    "physical-lm": Method(
        "physical_lm", {"damping": Key(POSITIVE, 1e-3), **_STEP, **_BATCH}
    ),
}
"""Method to what it is: how the parameters of a network are changed."""


class Card(NamedTuple):
    """What is known of an experiment before it is built."""

    what: str
    teaches: str
    methods: tuple[str, ...]
    """Those that matter, and Adam."""
    seconds: float
    """For each method."""
    settings: Mapping[str, Mapping[str, Any]]
    """Of methods, where they are not the defaults: as published, or as tuned."""
    without: Mapping[str, str] = {}
    """Methods that it cannot have, and why."""


NO_SOLUTION = "the x that made a target is not known"

EXPERIMENTS = {
    "two-scale-toy": Card(
        "t to (sin 6t, cos 9t), whose second part counts a hundred times less",
        "a scale that the simulator has spoils the gradient, and Gauss-Newton, too",
        ("adam", "half-inverse", "lm"),
        10.0,
        {
            "adam": {"learning_rate": 0.3, "batch": 256},
            "half-inverse": {"batch": 256},
            "gauss-newton": {"batch": 256},
            "lm": {"batch": 256},
            "physical": {"learning_rate": 0.03, "batch": 256},
            "supervised": {"learning_rate": 0.03, "batch": 256},
        },
    ),
    "linear-oscillators": Card(
        "push one of two coupled oscillators so that both end as they began",
        "a linear simulator, and still Adam is four orders behind",
        ("adam", "half-inverse", "lm"),
        20.0,
        {
            "adam": {"batch": 256},
            "sgd": {"learning_rate": 0.03, "batch": 256},
            "half-inverse": {"batch": 32, "truncation": 6e-7},
            "gauss-newton": {"batch": 32},
            "lm": {"batch": 32},
            "physical": {"batch": 256},
            "physical-lm": {"batch": 8},
        },
        {"supervised": NO_SOLUTION},
    ),
    "nonlinear-oscillators": Card(
        "the same with a cubic coupling and 96 pushes",
        "full Gauss-Newton steps diverge; damped ones win",
        ("adam", "half-inverse", "lm"),
        60.0,
        {
            "half-inverse": {"batch": 32},
            "gauss-newton": {"batch": 128},
            "lm": {"batch": 128},
            "physical": {"learning_rate": 3e-4},
            "physical-lm": {"batch": 8},
        },
        {"supervised": NO_SOLUTION},
    ),
    "sine-map": Card(
        "an ill-scaled, bent and rotated map of the plane, xi = 32, 45 degrees",
        "the physical gradient finds x, where Adam's x is ten times as far off",
        ("adam", "physical"),
        25.0,
        {
            "adam": {"batch": 100},
            "sgd": {"learning_rate": 1e-5, "batch": 100},
            "physical": {"learning_rate": 3e-4, "batch": 100},
            "supervised": {"batch": 100},
            "half-inverse": {"batch": 100},
            "lm": {"batch": 100},
        },
    ),
    "poisson": Card(
        "the x whose Laplacian is z, on 8 by 8 cells",
        "the Jacobian of a wide z is dear: Adam is the better one",
        ("adam", "physical", "half-inverse"),
        20.0,
        {
            "adam": {"learning_rate": 3e-4, "batch": 64},
            "physical": {"learning_rate": 3e-4, "batch": 64},
            "supervised": {"learning_rate": 3e-4, "batch": 64},
            "half-inverse": {"batch": 8, "truncation": 1e-5},
            "gauss-newton": {"batch": 8},
            "lm": {"batch": 8},
            "physical-lm": {"batch": 8},
        },
    ),
    "heat": Card(
        "the boxes that heat on 64 by 64 cells has come from",
        "with an exact inverse of a linear map this is supervised training, without x",
        ("adam", "physical", "supervised"),
        300.0,
        {},
        dict.fromkeys(
            ("gauss-newton", "half-inverse", "lm", "physical-lm"),
            "the Jacobian of 4,096 cells, and of samples that depend on each other, is "
            "too large",
        ),
    ),
    "quantum-dipole": Card(
        "a field that leads a particle from its ground state to a mixture of others",
        "by the Jacobian of what is not wanted, through 96 steps of Schroedinger's law",
        ("adam", "half-inverse", "lm"),
        60.0,
        {
            "adam": {"learning_rate": 0.05, "batch": 256},
            "sgd": {"learning_rate": 0.1},
            "half-inverse": {"step_size": 0.5, "batch": 16, "truncation": 1e-5},
            "lm": {"batch": 16},
            "gauss-newton": {"batch": 16},
        },
        {"supervised": NO_SOLUTION},
    ),
    "conductivity": Card(
        "the conductivity of a rod in 64 cells, from its temperature",
        "Adam fits the temperature, the physical gradient the conductivity",
        ("adam", "physical", "supervised"),
        20.0,
        {
            "sgd": {"learning_rate": 0.1},
            "half-inverse": {"batch": 8},
            "gauss-newton": {"step_size": 0.1, "batch": 8},
            "lm": {"batch": 8},
            "physical-lm": {"batch": 8},
        },
    ),
    "cart-pole": Card(
        "a controller in each of 50 steps that swings the pole on a cart up",
        "by the Jacobian of a few samples four orders below Adam, by x+ hardly below",
        ("adam", "physical", "half-inverse", "lm"),
        60.0,
        {
            "adam": {"batch": 8},
            "sgd": {"learning_rate": 0.1, "batch": 8},
            "physical": {"learning_rate": 3e-3, "batch": 8},
            "half-inverse": {"batch": 8},
            "gauss-newton": {"batch": 8},
            "lm": {"batch": 16},
            "physical-lm": {"batch": 2},
        },
        {"supervised": NO_SOLUTION},
    ),
}
"""Experiment to its card."""


def experiment_card(name: str) -> Card:
    """The card of an experiment (`ValueError` with the nearest match)."""
    if name not in EXPERIMENTS:
        end = nearest(name, EXPERIMENTS)
        raise ValueError(f"unknown experiment {quoted(name)}{end}")
    return EXPERIMENTS[name]


def parse_methods(texts: Sequence[str], experiment: str) -> dict[str, Named]:
    """Read `NAME[:key=value,...]` of methods, with the defaults of an experiment.

    **Raises:** `ValueError`, one line that names what is wrong and what was expected.

    >>> parse_methods(["adam:batch=64"], "two-scale-toy")["adam"].settings
    {'learning_rate': 0.3, 'batch': 64}
    """
    card = experiment_card(experiment)
    named: dict[str, Named] = {}
    for text in texts:
        one = parse_named(text, _known(card), "method")
        if one.name in card.without:
            why = card.without[one.name]
            raise ValueError(f"{experiment} cannot be trained by {one.name}: {why}")
        if text in named:
            raise ValueError(f"method {quoted(text)} comes more than once")
        named[text] = one
    names = [one.name for one in named.values()]
    return {
        one.name if names.count(one.name) == 1 else text: one
        for text, one in named.items()
    }


def _known(card: Card) -> dict[str, Method]:
    """The methods, with an experiment's own defaults."""

    def adapted(name: str, method: Method) -> Method:
        own = card.settings.get(name, {})
        keys = {
            key: Key(kind, own.get(key, default))
            for key, (kind, default) in method.keys.items()
        }
        return method._replace(keys=keys)

    return {name: adapted(name, method) for name, method in METHODS.items()}
