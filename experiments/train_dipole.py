"""Networks that steer a quantum particle: 40 seconds of training for each method.

A network 28-20-20-20-96 with tanh gives a field in each of 96 steps (384 as published),
which leads a particle from its ground state to a mixture of states 2 and 3; 1,024
samples, as many of validation; float64. The loss is the part of the probability that is
missing. Adam has the best rate of a sweep.
"""

from __future__ import annotations

from trainings import Budget, Plan, Results

PLAN = Plan(
    "quantum-dipole",
    {
        "adam": ("adam", "adam:learning_rate=2e-3", "adam:batch=64"),
        "sgd": ("sgd:learning_rate=0.1", "sgd:learning_rate=0.01"),
        "gauss-newton": ("gauss-newton",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
    },
    Budget(seconds=40.0),
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table."""
    del quick
    return PLAN.report(results)
