"""Training networks through physics.

`pg.physical_loss` puts a physical gradient into a training loop that exists, and
`pg.with_physical_gradient` into any program; here are the steps of a network's
parameters that look at the Jacobian of the physics behind it, as transformations for
Optax.

>>> import physgrad as pg
>>> "half_inverse" in pg.train.__all__
True
"""

from __future__ import annotations

from physgrad.train.fit_inverse import fit_inverse
from physgrad.train.parameter_steps import (
    gauss_newton,
    half_inverse,
    levenberg_marquardt,
    spectral_step,
)

__all__ = [
    "fit_inverse",
    "gauss_newton",
    "half_inverse",
    "levenberg_marquardt",
    "spectral_step",
]
