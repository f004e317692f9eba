"""Networks that invert a bent map: 25 seconds of training for each method.

A network 2-32-64-32-2 with ReLU is to give an x with P(x) = z, P bent, stretched by xi
in one direction against the other and turned by 45 degrees; always new samples;
float64. Errors in x are the distances to the nearest solution. Adam and the physical
gradient have the best rate of a sweep; where xi = 1 there are those two alone.
"""

from __future__ import annotations

from methods import verdict
from trainings import Budget, Plan, Results

from physgrad.train.experiments.sine_map_inversion import sine_map_inversion

EVEN = ", xi = 1"
RATES = ("1e-3", "3e-4", "3e-3")

PLAN = Plan(
    "sine-map",
    {
        "adam": tuple(f"adam:learning_rate={rate}" for rate in RATES),
        "sgd": ("sgd",),
        "gauss-newton": ("gauss-newton:batch=100",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
        "physical": (
            "physical",
            "physical:learning_rate=1e-3",
            "physical:learning_rate=1e-4",
        ),
        "physical, half in z": ("physical:metric=0.5",),
        "physical, in z": ("physical:metric=1",),
        "physical-lm": ("physical-lm:batch=100",),
        "supervised": ("supervised",),
        f"adam{EVEN}": tuple(f"adam:learning_rate={rate}" for rate in RATES),
        f"physical{EVEN}": (
            "physical:learning_rate=1e-3",
            "physical",
            "physical:learning_rate=3e-3",
        ),
    },
    Budget(seconds=25.0),
    by_x=True,
    builds={
        label: lambda quick: sine_map_inversion(1.0)
        for label in (f"adam{EVEN}", f"physical{EVEN}")
    },
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table, and whether the goals were reached."""
    del quick
    ours = PLAN.median(results, "physical", "x_error")
    adam = PLAN.median(results, "adam", "x_error")
    even = PLAN.median(results, f"adam{EVEN}", "x_error")
    other = PLAN.median(results, f"physical{EVEN}", "x_error")
    goals = [
        verdict("xi = 32, an error in x of at most 1e-2", ours <= 1e-2),
        f"- xi = 32: Adam's is {adam / ours:.2g} times that of the physical gradient",
        f"- xi = 1: Adam's is {even / other:.2g} times that of the physical gradient",
    ]
    return "\n".join([PLAN.report(results), *goals, ""])
