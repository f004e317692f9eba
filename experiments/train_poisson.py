"""Networks for Poisson's equation: 10 seconds of training for each method.

A network 64-64-128-64-64 with tanh is to give x from its Laplacian z, on 8 by 8 cells,
always new samples; float64. Adam has the best rate of a sweep. Errors in x are
distances.
"""

from __future__ import annotations

from trainings import Budget, Plan, Results

PLAN = Plan(
    "poisson",
    {
        "adam": ("adam", "adam:learning_rate=1e-3", "adam:learning_rate=1e-4"),
        "sgd": ("sgd",),
        "gauss-newton": ("gauss-newton",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
        "physical": (
            "physical:learning_rate=1e-3",
            "physical",
            "physical:learning_rate=3e-3",
        ),
        "physical, half in z": ("physical:metric=0.5",),
        "physical, in z": ("physical:metric=1",),
        "physical-lm": ("physical-lm",),
        "supervised": (
            "supervised:learning_rate=1e-3",
            "supervised",
            "supervised:learning_rate=3e-3",
        ),
    },
    Budget(seconds=10.0),
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table, and who is the better one."""
    del quick
    adam, half = (
        PLAN.median(results, label, "validation_loss")
        for label in ("adam", "half-inverse")
    )
    said = f"Half-inverse's loss is {half / adam:.2g} times Adam's."
    return "\n".join([PLAN.report(results), said, ""])
