"""A controller in each step of a rollout: a minute of training for each method.

A network 4-100-100-1 with tanh sees cart and pole and gives the force, in each of 50
steps of a second; the pole begins hanging, up to 30 degrees off, and is to end upright;
256 samples, as many of validation; float64. The loss is 1 - cos of the angle at the
end. Adam has the best rate of a sweep.
"""

from __future__ import annotations

from trainings import Budget, Plan, Results

PLAN = Plan(
    "cart-pole",
    {
        "adam": (
            "adam",
            "adam:learning_rate=3e-3",
            "adam:learning_rate=3e-4",
        ),
        "sgd": ("sgd",),
        "gauss-newton": ("gauss-newton",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
        "physical": ("physical",),
        "physical-lm": ("physical-lm",),
    },
    Budget(seconds=60.0),
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table."""
    del quick
    return PLAN.report(results)
