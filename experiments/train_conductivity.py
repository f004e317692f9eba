"""Networks that read a conductivity: 20 seconds of training for each method.

A network is to give the conductivity of a rod in 64 cells from its temperature, always
new samples; float64. Errors in x are relative distances. Adam and the physical gradient
have the best rate of a sweep.
"""

from __future__ import annotations

from trainings import Budget, Plan, Results

RATES = ("1e-3", "3e-4")
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
        "supervised": tuple(f"supervised:learning_rate={rate}" for rate in RATES),
    },
    Budget(seconds=20.0),
    by_x=True,
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table."""
    del quick
    return PLAN.report(results)
