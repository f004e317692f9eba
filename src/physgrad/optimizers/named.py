"""Optimizers from their names: what the command line asks for, built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optimistix as optx

from physgrad.inverses.broyden import BroydenInverse
from physgrad.inverses.linearized import LinearizedInverse
from physgrad.inverses.numerical import NumericalInverse
from physgrad.inverses.regularized import RegularizedInverse
from physgrad.inverses.root_solver import dogleg
from physgrad.inverses.rule import Inverse
from physgrad.inverses.spectral import SpectralInverse
from physgrad.inverses.transposed import TransposedInverse
from physgrad.names import OPTIMIZERS, Named
from physgrad.optimizer.optimizer import Optimizer
from physgrad.optimizers.gauss_newton import GaussNewton
from physgrad.optimizers.gradient_descent import GradientDescent
from physgrad.optimizers.half_inverse import HalfInverse
from physgrad.optimizers.lbfgs import LBFGS
from physgrad.optimizers.levenberg_marquardt import LevenbergMarquardt
from physgrad.optimizers.newton import Newton
from physgrad.optimizers.optax_optimizer import OptaxOptimizer
from physgrad.optimizers.scipy_optimizer import ScipyOptimizer
from physgrad.physical_gradient import PhysicalGradient
from physgrad.results import MissingExtra
from physgrad.simulator import default_rule

SOLVERS = {
    "dogleg": dogleg,
    "lm": optx.LevenbergMarquardt,
    "newton": optx.Newton,
    "lbfgs": optx.LBFGS,
    "bfgs": optx.BFGS,
}
"""Solvers of the numerical inverse, by their names."""


def named_optimizer(
    named: Named, inverses: Mapping[str, Inverse] | None = None
) -> Optimizer | ScipyOptimizer:
    """The optimizer that a name stands for; `inverses` are those of the problem.

    **Raises:** `MissingExtra` where its package is not installed.

    >>> from physgrad.names import parse_optimizer
    >>> type(named_optimizer(parse_optimizer("newton:step_size=1/2"))).__name__
    'Newton'
    """
    class_name = OPTIMIZERS[named.name].class_name
    if class_name == "OptaxOptimizer":
        return OptaxOptimizer(_transformation(named))
    if class_name == "PhysicalGradient":
        return _physical_gradient(inverses or {}, **named.settings)
    return _CLASSES[class_name](**named.settings)


def named_words(named: Mapping[str, Named]) -> dict[str, str]:
    """What Optax transformations are, run by run: they do not know it themselves."""
    return {
        key: one.words
        for key, one in named.items()
        if OPTIMIZERS[one.name].class_name == "OptaxOptimizer"
    }


_CLASSES = {
    maker.__name__: maker
    for maker in (
        GradientDescent,
        Newton,
        GaussNewton,
        HalfInverse,
        LevenbergMarquardt,
        LBFGS,
        ScipyOptimizer,
    )
}


def _physical_gradient(
    inverses: Mapping[str, Inverse],
    *,
    step_size: float,
    metric: str,
    acceptance: str | None,
    momentum: float,
    inverse: str = "numerical",
    **settings: Any,
) -> PhysicalGradient:
    """`settings` are those of the inverse; one without a name is numerical."""
    make = _INVERSES.get(inverse, lambda: inverses[inverse])
    turn = _optax("momentum").trace(momentum) if momentum else None
    return PhysicalGradient(step_size, make(**settings), metric, acceptance, turn)


def _numerical(*, solver: str, rtol: float | None, max_steps: int) -> NumericalInverse:
    # the solver's own tolerances are not used: the inverse sets them, step by step
    return NumericalInverse(SOLVERS[solver](rtol=1e-8, atol=1e-8), rtol, max_steps)


_INVERSES = {
    "own": lambda: None,  # the rule of the simulator itself
    "numerical": _numerical,
    "broyden": BroydenInverse,
    "linearized": LinearizedInverse,
    "spectral": SpectralInverse,
    "regularized": RegularizedInverse,
    "transposed": TransposedInverse,
    "ladder": default_rule,
}


def _transformation(named: Named) -> Any:
    return getattr(_optax(f"the optimizer {named.name}"), named.name)(**named.settings)


def _optax(purpose: str) -> Any:
    try:
        import optax  # the extra "train"
    except ImportError as error:
        raise MissingExtra("optax", "train", purpose) from error
    return optax
