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
        "At x1 = 0 the derivative of x1^2 is zero: no method that goes by it can move "
        "x1, though the loss asks z1 to be 4. Start a little beside it.",
        Settings(
            formulas=Formulas(("x0", "x1**2"), "z0**2 + (z1 - 4)**2", 2),
            start=(3.0, 0.0),
            optimizers=("gd:learning_rate=0.1", "gauss-newton:step_size=1", "pg"),
            method="gauss-newton",
        ),
    ),
    Preset(
        "Noisy inverse",
        "The second entry of x is squeezed a thousandfold on its way to z. What is "
        "noise in z is a thousand times that in x: exact inversion follows it, a "
        "regularized one stops at the noise it was told of.",
        Settings(
            formulas=Formulas(
                ("x0", "x1/1000"), "(z0 - 1)**2 + (z1 - 0.01)**2", entries=2
            ),
            start=(3.0, 3.0),
            optimizers=(
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
