"""Settings worth a look: those that work, and those that fail and say why."""

from __future__ import annotations

import dataclasses

from physgrad.explorer.settings import Formulas, Settings


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings with a name, and what is to be seen."""

    name: str
    lesson: str
    settings: Settings


_TOY = Settings()

PRESETS = (
    Preset(
        "The notebook's comparison",
        "Gradient descent bends away in z, Newton in both spaces; the physical "
        "gradient goes straight in z, where the loss is simple.",
        _TOY,
    ),
    Preset(
        "One step is enough",
        "With step size 1 a physical gradient is at the optimum of a quadratic loss at "
        "once, however bent the simulator.",
        Settings(optimizers=("gd", "newton:step_size=1", "pg:step_size=1")),
    ),
    Preset(
        "Step too big",
        "1.5 times the way to the optimum asks for a z below zero, which no x maps to: "
        "the inverse fails by name. With acceptance=monotone the step is shortened.",
        Settings(
            optimizers=(
                "pg:step_size=1.5",
                "pg:step_size=1.5,acceptance=monotone",
            ),
            method="pg:step_size=1.5",
        ),
    ),
    Preset(
        "Wrong branch",
        "The notebook's inverse returns the positive root, wherever x is: from a "
        "negative x1 it jumps to the other branch. That is caught before the first "
        "step.",
        Settings(
            start=(3.0, -3.0),
            optimizers=("pg:inverse=notebook", "pg"),
            method="pg:inverse=notebook",
        ),
    ),
    Preset(
        "Singular Jacobian",
        "At x1 = 0 the derivative of x1^2 is zero, and L is at a saddle. No method "
        "that goes by derivatives can move x1 from there, though z1 should be 4 and "
        "x1 = 2 maps to it: gd and Gauss-Newton do all their steps and minimize over "
        "x0 alone; the numerical inverse finds no x near that maps to its targets, "
        "and says so. Start at x1 = 0.01, and all of them get away.",
        Settings(
            formulas=Formulas(("x0", "x1**2"), "z0**2 + (z1 - 4)**2", 2),
            start=(3.0, 0.0),
            optimizers=("gd:learning_rate=0.1", "gauss-newton:step_size=1", "pg"),
            method="gauss-newton",
        ),
    ),
    Preset(
        "Noisy inverse",
        "Measured at x = (1, 2), with an error of 0.01 in each z: (3.01, 3.01) in "
        "place of (3, 3.02). The Jacobian is nearly singular. To fit the errors, too, "
        "exact inversion goes down the valley to x = (3.01, 0), where L is 0 and x is "
        "wrong. The regularized inverse is told of the noise and stops fitting there; "
        "gradient descent comes no farther in so few steps.",
        Settings(
            formulas=Formulas(
                ("x0 + x1", "x0 + 1.01*x1"), "(z0 - 3.01)**2 + (z1 - 3.01)**2", 2
            ),
            start=(0.0, 0.5),
            optimizers=(
                "gd:learning_rate=0.1",
                "pg:step_size=1",
                "pg:step_size=1,inverse=regularized,noise=0.01",
            ),
            method="pg:step_size=1",
        ),
    ),
    Preset(
        "Target out of range",
        "Three entries of z and two of x: where x0 and x1 are 1, their product is not "
        "3. The nearest point is taken, said so, and the run goes on to the minimum.",
        Settings(
            formulas=Formulas(
                ("x0", "x1", "x0*x1"),
                "(z0 - 1)**2 + (z1 - 1)**2 + (z2 - 3)**2",
                entries=2,
            ),
            start=(3.0, 2.0),
            optimizers=("gd", "lm", "pg:step_size=1"),
            method="pg",
        ),
    ),
)
"""In the order in which they are offered."""
