"""Networks that steer a quantum particle: 40 seconds of training for each method.

A network 28-20-20-20-96 with tanh gives a field in each of 96 steps (384 as published),
which leads a particle from its ground state to a mixture of states 2 and 3; 1,024
samples, as many of validation; float64. The loss is the part of the probability that is
missing. z is the part of psi that is not wanted; "of psi": z is psi, as published. Adam
has the best rate of a sweep.
"""

from __future__ import annotations

from trainings import Budget, Plan, Results

from physgrad.train.experiments.quantum_dipole_control import quantum_dipole_of_psi

OF_PSI, KIND = ", of psi", "validation_loss"
PLAN = Plan(
    "quantum-dipole",
    {
        "adam": (
            "adam",
            "adam:learning_rate=2e-2",
            "adam:learning_rate=0.1",
            "adam:learning_rate=0.2",
        ),
        "sgd": ("sgd",),
        "gauss-newton": ("gauss-newton",),
        "half-inverse": ("half-inverse",),
        "lm": ("lm",),
        "physical": ("physical",),
        "physical-lm": ("physical-lm:batch=16",),
        f"half-inverse{OF_PSI}": ("half-inverse",),
        f"lm{OF_PSI}": ("lm",),
    },
    Budget(seconds=40.0),
    builds={
        label: lambda quick: quantum_dipole_of_psi()
        for label in (f"half-inverse{OF_PSI}", f"lm{OF_PSI}")
    },
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table, and what the choice of z makes of a Jacobian step."""
    del quick
    ends = {label: PLAN.median(results, label, KIND) for label in PLAN.methods}
    facts = [
        f"- {name}: with z = psi its loss is {ends[name + OF_PSI] / ends[name]:.2g} "
        "times that with what is not wanted of psi"
        for name in ("half-inverse", "lm")
    ]
    return "\n".join([PLAN.report(results), *facts, ""])
