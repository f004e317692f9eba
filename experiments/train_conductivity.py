"""Networks that read a conductivity: 20 seconds of training for each method.

A network is to give the conductivity of a rod in 64 cells from its temperature, always
new samples; float64. Errors in x are relative distances. Adam and the physical gradient
have the best rate of a sweep.

Then the networks as learned inverses: from rho = 1 to the conductivity of 64 other
temperatures in one physical step, whose solver begins at the network's difference, of
networks that were trained anew.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from methods import price_each, spread, table
from trainings import Budget, Plan, Results

import physgrad as pg
from physgrad.train.experiments.conductivity_inverse import conductivity_inverse

RATES = ("1e-3", "3e-4", "3e-3")
PLAN = Plan(
    "conductivity",
    {
        "adam": tuple(f"adam:learning_rate={rate}" for rate in RATES),
        "sgd": ("sgd",),
        "gauss-newton": ("gauss-newton",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
        "physical": tuple(f"physical:learning_rate={rate}" for rate in RATES),
        "physical, half in z": ("physical:metric=0.5",),
        "physical-lm": ("physical-lm",),
        "supervised": ("supervised:learning_rate=3e-4", "supervised"),
    },
    Budget(seconds=20.0),
    by_x=True,
)
INVERSE, ALONE = "inverse: ", "no network"
BEGINS = (ALONE, "adam", "physical", "supervised")
COUNT, SEED = 64, 1_000_003


def cases(quick: bool) -> dict[str, dict[str, Any]]:
    """The trainings, and the inversions that begin with a network of some of them."""
    inversions = {
        f"{INVERSE}{begin}": {"begin": begin, "quick": quick} for begin in BEGINS
    }
    return PLAN.cases(quick) | inversions


def run(quick: bool, begin: str | None = None, **case: Any) -> dict[str, Any]:
    """What a training reaches, or what an inversion takes."""
    if begin is None:
        return PLAN.run(quick=quick, **case)
    solver = pg.NumericalInverse()
    rule: pg.Inverse = solver
    if begin != ALONE:
        text = PLAN.methods[begin][0]
        trained = PLAN.trained(label=begin, method=text, seed=0, quick=quick)
        rule = pg.LearnedInverse(trained.network, solver)
    return inverted(rule, 4 if quick else COUNT)


def inverted(rule: pg.Inverse, count: int) -> dict[str, Any]:
    """Errors of rho and prices, each temperature in one physical step."""
    experiment = conductivity_inverse()
    samples = experiment.draw(jax.random.key(SEED), count)
    known = np.asarray(samples.solution)
    runs = pg.minimize_many(
        lambda sample: pg.Objective(
            experiment.simulator(sample), pg.SquaredLoss(sample.target)
        ),
        pg.PhysicalGradient(1.0, inverse=rule),
        np.ones_like(known),
        1,
        parameters=samples,
        progress=False,
    )
    apart = np.linalg.norm(np.asarray(runs.x) - known, axis=1)
    return {
        "errors": (apart / np.linalg.norm(known, axis=1)).tolist(),
        "prices": price_each(runs).tolist(),
        "inverted": int(np.sum(runs.codes != pg.Result.inverse_failed.code)),
    }


def report(results: Results, quick: bool) -> str:
    """A table of the trainings, and one of the inversions."""
    del quick
    found = {begin: results[f"{INVERSE}{begin}"] for begin in BEGINS}
    rows = [
        [
            begin,
            f"{one['inverted']} of {len(one['errors'])}",
            spread(one["errors"], ".2g"),
            spread(one["prices"], ",.0f"),
        ]
        for begin, one in found.items()
    ]
    columns = ["begins with", "inverted", "error of the conductivity", "price"]
    return "\n".join([PLAN.report(results), table(columns, rows), ""])


def draw(results: Results, quick: bool) -> Figure:
    """The trainings."""
    return PLAN.draw(results, quick)
