"""A network of two scales: 10 seeds, each method from the same network and data.

A network 1-7-2 with tanh is to give (sin 6t, cos 9t) through z = (x0, x1 / 100). Two
seconds of training for each method, compiled before; float64. Adam has the
best rate of a sweep, by its median. Errors in x are distances.
"""

from __future__ import annotations

from methods import verdict
from trainings import OURS, Budget, Plan, Results

from physgrad.training_names import parse_methods

PLAN = Plan(
    "two-scale-toy",
    {
        "adam": (
            "adam",
            "adam:learning_rate=0.03",
            "adam:learning_rate=0.1",
            "adam:learning_rate=1",
        ),
        "sgd": (
            "sgd:learning_rate=0.01,batch=256",
            "sgd:learning_rate=0.1,batch=256",
        ),
        "gauss-newton": ("gauss-newton",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
        "physical": (
            "physical",
            "physical:learning_rate=0.1",
            "physical:learning_rate=0.01",
        ),
        "physical, half in z": ("physical:metric=0.5",),
        "physical, in z": ("physical:metric=1",),
        "physical-lm": ("physical-lm:batch=256",),
        "supervised": ("supervised",),
    },
    Budget(seconds=2.0),
    seeds=10,
    repeated=("adam", "gauss-newton", "half-inverse", "lm", "physical-lm"),
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table, and whether the goals were reached."""
    del quick
    adam, half = (
        PLAN.median(results, label, "validation_loss")
        for label in ("adam", "half-inverse")
    )
    best = PLAN.best(results, OURS, "validation_loss")
    seeds, ends = PLAN.seeds_of(results, "adam"), PLAN.medians(results, "adam")
    known = parse_methods(tuple(ends), PLAN.experiment).values()
    rates = [named.settings["learning_rate"] for named in known]
    told = [
        f"{loss:.2g} at {r:g}" for r, loss in zip(rates, ends.values(), strict=True)
    ]
    goals = [
        verdict("half-inverse at most 1e-2", half <= 1e-2),
        verdict("the best of our methods at most 1e-3", best <= 1e-3),
        verdict(f"Adam stays above 3e-2, {seeds}", adam > 3e-2),
        f"- Adam's rates, medians of the loss in validation: {', '.join(told)}",
    ]
    return "\n".join([PLAN.report(results), *goals, ""])
