"""Networks that push linear oscillators: 20 seconds of training for each method.

A network 4-20-20-20-24 with tanh pushes one of two oscillators so that both end as they
began, 4,096 samples, as many of validation; float64. Adam, half-inverse and LM with 3
seeds, Adam and the physical gradient at the best rate of a sweep.
"""

from __future__ import annotations

from methods import verdict
from trainings import OURS, Budget, Plan, Results

KINDS = ("train_loss", "validation_loss")
RATES = (":learning_rate=3e-3", ":learning_rate=3e-4")
PLAN = Plan(
    "linear-oscillators",
    {
        "adam": tuple(f"adam{rate}" for rate in ("", *RATES)),
        "sgd": ("sgd",),
        "gauss-newton": ("gauss-newton",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
        "physical": tuple(f"physical{rate}" for rate in ("", *RATES)),
        "physical, half in z": ("physical:metric=0.5",),
        "physical, in z": ("physical:metric=1",),
        "physical-lm": ("physical-lm",),
    },
    Budget(seconds=20.0),
    seeds=3,
    repeated=("adam", "half-inverse", "lm"),
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table, and whether the goals were reached."""
    del quick
    half = PLAN.best(results, ["half-inverse"], *KINDS)
    best = PLAN.best(results, OURS, *KINDS)
    goals = [
        verdict("half-inverse at most 5e-8, training and validation", half <= 5e-8),
        verdict("the best of our methods at most 1e-9, both", best <= 1e-9),
    ]
    return "\n".join([PLAN.report(results), *goals, ""])
