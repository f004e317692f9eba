"""physgrad: optimization through physics by inverting it.

The step is taken in the space where it is easy, the physical space z, and the point it
reaches is mapped back to the space you own, x: start reading at
`physgrad.physical_gradient`.

Names are loaded when they are first used, so that `import physgrad` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from physgrad import plot as plot
    from physgrad import problems as problems
    from physgrad import simulators as simulators
    from physgrad import train as train
    from physgrad.bijections import Interval as Interval
    from physgrad.bijections import Positive as Positive
    from physgrad.bijections import Simplex as Simplex
    from physgrad.comparison.comparison import Comparison as Comparison
    from physgrad.comparison.comparison import compare as compare
    from physgrad.doctor.examination import check as check
    from physgrad.doctor.report import CheckReport as CheckReport
    from physgrad.inverses.analytic import AnalyticInverse as AnalyticInverse
    from physgrad.inverses.broyden import BroydenInverse as BroydenInverse
    from physgrad.inverses.diagonal import DiagonalInverse as DiagonalInverse
    from physgrad.inverses.evaluations import Evaluations as Evaluations
    from physgrad.inverses.ladder import Ladder as Ladder
    from physgrad.inverses.learned import LearnedInverse as LearnedInverse
    from physgrad.inverses.linearized import LinearizedInverse as LinearizedInverse
    from physgrad.inverses.numerical import NumericalInverse as NumericalInverse
    from physgrad.inverses.refined import RefinedInverse as RefinedInverse
    from physgrad.inverses.regularized import RegularizedInverse as RegularizedInverse
    from physgrad.inverses.rule import Inverse as Inverse
    from physgrad.inverses.rule import PullBack as PullBack
    from physgrad.inverses.spectral import SpectralInverse as SpectralInverse
    from physgrad.inverses.transposed import TransposedInverse as TransposedInverse
    from physgrad.loop.host import minimize as minimize
    from physgrad.loop.iteration import Iterates as Iterates
    from physgrad.loop.iteration import iterate as iterate
    from physgrad.loop.many import minimize_many as minimize_many
    from physgrad.loop.stopping import Reached as Reached
    from physgrad.loop.stopping import Stop as Stop
    from physgrad.objective.covariance import covariance as covariance
    from physgrad.objective.losses import SquaredLoss as SquaredLoss
    from physgrad.objective.objective import Objective as Objective
    from physgrad.objective.z_step import GradientMetric as GradientMetric
    from physgrad.objective.z_step import MatrixMetric as MatrixMetric
    from physgrad.objective.z_step import NewtonMetric as NewtonMetric
    from physgrad.optimizer.acceptance import Monotone as Monotone
    from physgrad.optimizer.acceptance import TrustRegion as TrustRegion
    from physgrad.optimizer.optimizer import Optimizer as Optimizer
    from physgrad.optimizer.optimizer import Step as Step
    from physgrad.optimizers.gauss_newton import GaussNewton as GaussNewton
    from physgrad.optimizers.gradient_descent import GradientDescent as GradientDescent
    from physgrad.optimizers.half_inverse import HalfInverse as HalfInverse
    from physgrad.optimizers.lbfgs import LBFGS as LBFGS
    from physgrad.optimizers.levenberg_marquardt import (
        LevenbergMarquardt as LevenbergMarquardt,
    )
    from physgrad.optimizers.newton import Newton as Newton
    from physgrad.optimizers.optax_optimizer import OptaxOptimizer as OptaxOptimizer
    from physgrad.optimizers.optimistix_optimizer import (
        OptimistixOptimizer as OptimistixOptimizer,
    )
    from physgrad.optimizers.scipy_optimizer import ScipyOptimizer as ScipyOptimizer
    from physgrad.physical_gradient import PhysicalGradient as PhysicalGradient
    from physgrad.problems.problem import Problem as Problem
    from physgrad.results import CheckpointError as CheckpointError
    from physgrad.results import MissingExtra as MissingExtra
    from physgrad.results import Result as Result
    from physgrad.results import RunError as RunError
    from physgrad.results import SimulatorError as SimulatorError
    from physgrad.simulator import Chain as Chain
    from physgrad.simulator import Simulator as Simulator
    from physgrad.train.drop_in import PhysicalSimulator as PhysicalSimulator
    from physgrad.train.drop_in import with_physical_gradient as with_physical_gradient
    from physgrad.train.physical_loss import PhysicalLoss as PhysicalLoss
    from physgrad.train.physical_loss import physical_loss as physical_loss
    from physgrad.trajectory import Covariance as Covariance
    from physgrad.trajectory import Run as Run
    from physgrad.trajectory import Runs as Runs
    from physgrad.trajectory import Trajectory as Trajectory

# where each name lives; a test holds this list against the imports above
_HOME = {
    "AnalyticInverse": "inverses.analytic",
    "BroydenInverse": "inverses.broyden",
    "Chain": "simulator",
    "CheckReport": "doctor.report",
    "CheckpointError": "results",
    "Comparison": "comparison.comparison",
    "Covariance": "trajectory",
    "DiagonalInverse": "inverses.diagonal",
    "Evaluations": "inverses.evaluations",
    "GaussNewton": "optimizers.gauss_newton",
    "GradientDescent": "optimizers.gradient_descent",
    "GradientMetric": "objective.z_step",
    "HalfInverse": "optimizers.half_inverse",
    "Inverse": "inverses.rule",
    "Interval": "bijections",
    "Iterates": "loop.iteration",
    "Ladder": "inverses.ladder",
    "LBFGS": "optimizers.lbfgs",
    "LearnedInverse": "inverses.learned",
    "LevenbergMarquardt": "optimizers.levenberg_marquardt",
    "LinearizedInverse": "inverses.linearized",
    "MatrixMetric": "objective.z_step",
    "MissingExtra": "results",
    "Monotone": "optimizer.acceptance",
    "Newton": "optimizers.newton",
    "NewtonMetric": "objective.z_step",
    "NumericalInverse": "inverses.numerical",
    "Objective": "objective.objective",
    "OptaxOptimizer": "optimizers.optax_optimizer",
    "OptimistixOptimizer": "optimizers.optimistix_optimizer",
    "Optimizer": "optimizer.optimizer",
    "PhysicalGradient": "physical_gradient",
    "PhysicalLoss": "train.physical_loss",
    "PhysicalSimulator": "train.drop_in",
    "Positive": "bijections",
    "Problem": "problems.problem",
    "PullBack": "inverses.rule",
    "Reached": "loop.stopping",
    "RefinedInverse": "inverses.refined",
    "RegularizedInverse": "inverses.regularized",
    "Result": "results",
    "Run": "trajectory",
    "Runs": "trajectory",
    "RunError": "results",
    "ScipyOptimizer": "optimizers.scipy_optimizer",
    "Simplex": "bijections",
    "Simulator": "simulator",
    "SimulatorError": "results",
    "SpectralInverse": "inverses.spectral",
    "SquaredLoss": "objective.losses",
    "Step": "optimizer.optimizer",
    "Stop": "loop.stopping",
    "Trajectory": "trajectory",
    "TransposedInverse": "inverses.transposed",
    "TrustRegion": "optimizer.acceptance",
    "check": "doctor.examination",
    "compare": "comparison.comparison",
    "covariance": "objective.covariance",
    "iterate": "loop.iteration",
    "minimize": "loop.host",
    "minimize_many": "loop.many",
    "plot": "plot",
    "problems": "problems",
    "physical_loss": "train.physical_loss",
    "simulators": "simulators",
    "train": "train",
    "with_physical_gradient": "train.drop_in",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("physgrad.names").package_version()
    if name not in _HOME:
        raise AttributeError(f"module 'physgrad' has no attribute {name!r}")
    home = importlib.import_module(f"physgrad.{_HOME[name]}")
    value = home if _HOME[name] == name else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
