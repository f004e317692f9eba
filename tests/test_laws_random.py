"""Laws that hold for any start and step size: failures are named, never NaN."""

from __future__ import annotations

import families
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import physgrad as pg

cheap = settings(max_examples=25, deadline=None, database=None, derandomize=True)
numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, 1e-30, 1e30])
starts = st.tuples(numbers, numbers)
step_sizes = st.floats(1e-6, 1e3) | st.sampled_from([1e-30, 0.3, 1.0, 2.0])

TOY = pg.Simulator(families.square, pg.AnalyticInverse(families.square_root))
LOSS = pg.SquaredLoss(jnp.array([1.0, -2.0]))
METHODS = {
    "gd": pg.GradientDescent,
    "newton": pg.Newton,
    "pg": pg.PhysicalGradient,
    "pg-numerical": lambda eta: pg.PhysicalGradient(eta, pg.NumericalInverse()),
    "gauss-newton": pg.GaussNewton,
    "lm": pg.LevenbergMarquardt,
}


@pytest.mark.parametrize("method", METHODS)
def test_runs_from_anywhere_are_finite_and_named(method):
    @cheap
    @given(start=starts, step_size=step_sizes)
    @example(start=(0.0, 0.0), step_size=1.0)
    @example(start=(1e30, 1.0), step_size=0.3)
    def law(start, step_size):
        objective = pg.Objective(TOY, LOSS)
        x0 = np.asarray(start, np.float32)
        try:
            run = pg.minimize(objective, METHODS[method](step_size), x0, 6)
        except ValueError as error:  # the loss itself overflows at the start
            assert "not finite at x0" in str(error)
            return
        trajectory = run.trajectory
        for values in (*trajectory.spaces.values(), trajectory.losses):
            assert np.all(np.isfinite(values)) and len(values) == run.num_steps + 1
        assert np.array_equal(run.x, trajectory["x"][-1])
        if run.result == "completed":
            assert run.num_steps == 6
        if not run.ok:
            assert run.message
            assert run.num_steps < 6 or run.result == "stalled"
        certificates = trajectory.certificates
        if certificates is not None:
            kept = certificates.results == families.COMPLETED
            residuals = certificates.residuals[kept]
            assert np.all(residuals <= certificates.tolerances[kept])

    law()
