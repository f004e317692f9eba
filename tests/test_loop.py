"""The public face: the examples of the design as they stand there, and the names."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import physgrad as pg


def square(x):
    return jnp.array([x[0], x[1] ** 2])


def square_root(z, x):  # the branch on which x lies
    return jnp.array([z[0], jnp.copysign(jnp.sqrt(z[1]), x[1])])


def rotate(x):
    return jnp.array([0.8 * x[0] - 0.6 * x[1], 0.6 * x[0] + 0.8 * x[1]])


def stiffen(z):
    return jnp.sinh(z)


def test_the_newcomers_example_runs_as_written():
    simulator = pg.Simulator(square, inverse=pg.AnalyticInverse(square_root))
    objective = pg.Objective(simulator, loss=lambda z: jnp.sum(z**2))
    run = pg.minimize(
        objective,
        pg.PhysicalGradient(step_size=0.3),
        jnp.array([3.0, 3.0]),
        num_steps=10,
    )
    assert run.result == "completed" and run.message == ""
    np.testing.assert_allclose(run.x, [0.08474258, 0.50421], rtol=2e-6)
    assert isinstance(run.x, jax.Array)
    shapes = [
        v.shape
        for v in (run.trajectory.losses, run.trajectory["x"], run.trajectory["z"])
    ]
    assert shapes == [(11,), (11, 2), (11, 2)]
    assert run.trajectory.targets.shape == (10, 2)
    assert run.trajectory.certificates is not None
    assert run.trajectory.certificates.residuals.shape == (10,)


def test_chains_and_other_rules_run_as_written():
    chain = pg.Chain(rotate, stiffen)
    x0 = jnp.array([0.5, 0.5])
    objective = pg.Objective(chain, pg.SquaredLoss(jnp.array([1.0, 1.0])))
    run = pg.minimize(objective, pg.PhysicalGradient(step_size=1.0), x0, num_steps=2)
    assert run.loss < 1e-10 and run.trajectory["z1"].shape == (3, 2)
    objective = pg.Objective(pg.Simulator(square), lambda z: jnp.sum((z - 1) ** 2))
    method = pg.PhysicalGradient(step_size=1.0, inverse=pg.NumericalInverse())
    assert pg.minimize(objective, method, x0, num_steps=2).loss < 1e-10


def test_comparisons_run_as_written(tmp_path):
    simulator = pg.Simulator(square, inverse=pg.AnalyticInverse(square_root))
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.zeros(2)))
    comparison = pg.compare(
        objective,
        jnp.array([3.0, 3.0]),
        {
            "GD": pg.GradientDescent(learning_rate=0.01),
            "Newton": pg.Newton(step_size=1 / 3),
            "PG": pg.PhysicalGradient(step_size=0.3),
            "Adam": pg.OptaxOptimizer(optax.adam(0.3)),
        },
        num_steps=10,
    )
    assert comparison.table().row_count == 4
    comparison.save(tmp_path / "out")
    assert pg.Comparison.load(tmp_path / "out")["PG"].loss == comparison["PG"].loss
    if not hasattr(pg.plot, "compare"):
        pytest.skip("the figures are not there yet")
    pg.plot.compare(comparison, space="z")


def modules():
    found = pkgutil.walk_packages(pg.__path__, "physgrad.")
    return [m.name for m in found if not m.name.endswith("__main__")]


def test_names_stay_what_they_are_whatever_was_imported():
    before = {name: getattr(pg, name) for name in dir(pg)}
    for name in modules():
        importlib.import_module(name)
    for name, value in before.items():
        same = getattr(pg, name) is value or name == "__version__"
        assert same, name
    assert callable(pg.compare) and callable(pg.minimize) and callable(pg.iterate)
    assert isinstance(pg.__version__, str)


def test_public_names_are_declared_for_type_checkers():
    """The imports under TYPE_CHECKING are the lazy names, each with its home."""
    assert pg.__file__ is not None
    tree = ast.parse(Path(pg.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {}
    for node in guarded.body:
        assert isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names:
            assert alias.asname == alias.name, "re-exported by `as`"
            home = node.module.partition(".")[2] or alias.name
            declared[alias.name] = home
    assert declared == pg._HOME


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="minimise"):
        pg.__getattr__("minimise")
