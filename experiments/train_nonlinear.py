"""Networks that push nonlinear oscillators: a minute of training for each method.

A network 4-20-20-20-96 with ReLU pushes one of two oscillators, coupled by a cubic
spring, so that both end as they began; 4,096 samples, as many of validation; float64.
Adam has the best rate of a sweep.
"""

from __future__ import annotations

from methods import verdict
from trainings import OURS, Budget, Plan, Results

PLAN = Plan(
    "nonlinear-oscillators",
    {
        "adam": (
            "adam",
            "adam:learning_rate=3e-4",
            "adam:learning_rate=3e-3",
        ),
        "sgd": ("sgd",),
        "gauss-newton": ("gauss-newton",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
        "physical": ("physical",),
        "physical, in z": ("physical:metric=1",),
        "physical-lm": ("physical-lm",),
    },
    Budget(seconds=60.0),
    seeds=2,
    repeated=("lm",),
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table, and whether the goals were reached."""
    del quick
    training = PLAN.best(results, OURS, "train_loss")
    validation = PLAN.best(results, OURS, "validation_loss")
    goals = [
        verdict("the best of our methods at most 1e-6 in training", training <= 1e-6),
        verdict("and at most 3e-6 in validation", validation <= 3e-6),
    ]
    return "\n".join([PLAN.report(results), *goals, ""])
