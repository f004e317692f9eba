"""SciPy's least-squares solvers and minimizers, with their iterates in every space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from physgrad.inverses.settings import brief, describe
from physgrad.names import nearest
from physgrad.objective.objective import Objective
from physgrad.optimizer.host_functions import End, HostFunctions, Vector, Visit
from physgrad.results import MissingExtra

# As good as no limit: `minimize` counts the steps.
MANY = 10**9
EPS = float(np.finfo(np.float64).eps)


class _Method(NamedTuple):
    """What is known of a method of SciPy."""

    settings: Mapping[str, Any]
    """Tolerances and limits that leave the end of the run to `minimize`."""
    bounds: bool
    """Whether it keeps within bounds."""
    gradient: bool = True
    """Whether it needs derivatives."""


_LEAST_SQUARES = {
    "trf": _Method({"ftol": None, "gtol": None, "xtol": EPS}, bounds=True),
    "dogbox": _Method({"ftol": None, "gtol": None, "xtol": EPS}, bounds=True),
    "lm": _Method({"ftol": EPS, "gtol": EPS, "xtol": EPS}, bounds=False),
}
_MINIMIZERS = {
    "L-BFGS-B": _Method(
        {"ftol": 0.0, "gtol": 0.0, "maxiter": MANY, "maxfun": MANY}, bounds=True
    ),
    "BFGS": _Method({"gtol": 0.0, "maxiter": MANY}, bounds=False),
    "CG": _Method({"gtol": 0.0, "maxiter": MANY}, bounds=False),
    "SLSQP": _Method({"ftol": 0.0, "maxiter": MANY}, bounds=True),
    "TNC": _Method(
        {"ftol": 0.0, "gtol": 0.0, "xtol": 0.0, "maxfun": MANY}, bounds=True
    ),
    "Nelder-Mead": _Method(
        {"fatol": 0.0, "xatol": 0.0, "maxiter": MANY, "maxfev": MANY},
        bounds=True,
        gradient=False,
    ),
    "Powell": _Method(
        {"ftol": 0.0, "xtol": 1e-8, "maxiter": MANY, "maxfev": MANY},
        bounds=True,
        gradient=False,
    ),
}
METHODS = {**_LEAST_SQUARES, **_MINIMIZERS}


class ScipyOptimizer(eqx.Module):
    """The iterates of SciPy's `least_squares` or `minimize` on L(P(x)).

    SciPy drives itself on the host, in float64, on functions that are compiled; one
    step here is one of its iterations. Entries of x whose bounds are equal are not
    shown to it. Its own tolerances are as tight as it lets them be, so that `stop` ends
    the run; where SciPy ends before, the run does, and says why. `iterate`,
    `minimize_many` and checkpoints are for methods of physgrad.

    **Arguments:**

    - `method`: "trf", "dogbox" or "lm", for a loss that knows its residual
        (`SquaredLoss` does); "L-BFGS-B", "BFGS", "CG", "SLSQP" or "TNC"; "Nelder-Mead"
        or "Powell", without derivatives. Bounds are for all but "lm", "BFGS" and "CG".
    - `options`: of SciPy, by their names, such as {"x_scale": "jac"}.

    **Raises:** `ValueError` for an unknown method; `TypeError` for a method that is no
    name, or options that are no dict; `MissingExtra` without SciPy; when used,
    `ValueError` for bounds or a loss that it does not know.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**2, pg.SquaredLoss(jnp.array([4.0])))
    >>> run = pg.minimize(objective, pg.ScipyOptimizer("trf"), jnp.array([3.0]), 6)
    >>> print(run.x)
    [2.]

    **Source:** Virtanen et al., Nature Methods 17, 2020.
    """

    method: str = eqx.field(static=True, default="trf")
    """Its name in SciPy."""
    options: Mapping[str, Any] | None = eqx.field(static=True, default=None)
    """Of SciPy."""

    def __check_init__(self) -> None:
        if not isinstance(self.method, str):
            raise TypeError(f"method must be a name, got {brief(self.method)}")
        if self.method not in METHODS:
            raise ValueError(
                f"unknown method {self.method!r}{nearest(self.method, METHODS)}"
            )
        if not isinstance(self.options, Mapping | None):
            raise TypeError(f"options must be a dict, got {brief(self.options)}")
        _scipy()

    def __repr__(self) -> str:
        return describe(self)

    def check(self, objective: Objective) -> None:
        """Refuse an objective that the method cannot work on (`ValueError`)."""
        squares = hasattr(objective.loss, "residual")
        if self.method in _LEAST_SQUARES and not squares:
            raise ValueError(
                f"{self.method} needs a loss that knows its residual, got "
                f"{brief(objective.loss)}; use SquaredLoss, or a class with residual(z)"
            )
        if objective.bounds is not None and not METHODS[self.method].bounds:
            able = [name for name, method in METHODS.items() if method.bounds]
            raise ValueError(f"{self.method} knows no bounds; use {', '.join(able)}")

    def drive(self, functions: HostFunctions, x: Vector, visit: Visit) -> End:
        """Go on from x until done, and visit each iterate after it.

        What the functions and `visit` raise ends the run.
        """
        if self.method in _LEAST_SQUARES:
            found = self._least_squares(functions, x, visit)
        else:
            found = self._minimize(functions, x, visit)
        return End(bool(found.success), str(found.message).strip())

    def _least_squares(
        self, functions: HostFunctions, start: Vector, visit: Visit
    ) -> Any:
        """All three ask for a Jacobian where they have gone, and nowhere else."""

        here = start

        def arrive(x: Vector) -> None:
            nonlocal here
            if not np.array_equal(x, here):
                here = np.array(x)
                visit(here)

        def jacobian(x: Vector) -> Any:
            arrive(x)
            return functions.jacobian(x)

        bounds = {} if functions.bounds is None else {"bounds": functions.bounds}
        found = _scipy().least_squares(
            functions.residual,
            start,
            jacobian,
            method=self.method,
            **{"max_nfev": MANY, **self._settings, **bounds},
        )
        arrive(found.x)  # the last one may have needed no Jacobian
        return found

    def _minimize(self, functions: HostFunctions, start: Vector, visit: Visit) -> Any:
        gradient = METHODS[self.method].gradient
        bounds = functions.bounds
        return _scipy().minimize(
            functions.loss_and_gradient if gradient else functions.loss,
            start,
            method=self.method,
            jac=gradient or None,
            bounds=None if bounds is None else np.stack(bounds, axis=1),
            callback=lambda x: visit(np.array(x)),
            options=self._settings,
        )

    @property
    def _settings(self) -> dict[str, Any]:
        return {**METHODS[self.method].settings, **(self.options or {})}


def _scipy() -> Any:
    try:
        import scipy.optimize as optimize  # the extra "scipy"
    except ImportError as error:
        raise MissingExtra("scipy", "scipy", "ScipyOptimizer") from error
    return optimize
