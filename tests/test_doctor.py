"""The doctor: a simulator for each answer, and the laws of what it measures."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import MEMBERS
from patients import (
    CODES,
    EXACT,
    PATIENTS,
    analytic,
    ill,
    patient,
    scaled,
)

import physgrad as pg
from physgrad.doctor.report import Diagnosis

ANY: Any = pg.check


def test_every_diagnosis_has_its_patient():
    assert set(PATIENTS) == set(Diagnosis)


@pytest.mark.parametrize("name", PATIENTS)
def test_each_answer_is_given_where_it_is_true(name):
    simulator, x0, options = PATIENTS[name]
    report = pg.check(simulator, jnp.array(x0, jnp.float32), **options)
    assert report.diagnosis[0] == name, str(report)
    assert report.ok != Diagnosis(name).is_fault
    assert (report.code is None) or CODES.get(name, "") in report.code
    assert report.recommendation and name in str(report)
    assert max(map(len, str(report).splitlines()[1:])) <= 88
    document = json.loads(report.to_json(), parse_constant=refuse)
    assert document["diagnosis"] == list(report.diagnosis)


def refuse(name: str) -> None:
    raise ValueError(name)


MATRIX = np.array([[2.0, 1.0, 0.5], [0.0, -1.0, 3.0], [1.0, 0.2, 1e-2]])
TREE = {"a": np.array([1.0, -2.0]), "b": np.array(0.5)}


class Affine:
    """z = A x for a tree x = {a: (2,), b: ()}, and the way back."""

    def __init__(self, matrix):
        self.matrix, self.back = matrix, np.linalg.pinv(matrix)

    def __call__(self, x):
        flat = jnp.concatenate([x["a"], x["b"][None]])
        return {"z": jnp.asarray(self.matrix, flat.dtype) @ flat}

    def inverse(self, z):
        x = jnp.asarray(self.back, z["z"].dtype) @ z["z"]
        return {"a": x[:2], "b": x[2]}

    def simulator(self):
        return pg.Simulator(self, pg.AnalyticInverse(self.inverse))


AFFINE = Affine(MATRIX).simulator()


def flat(tree) -> np.ndarray:
    leaves = [np.ravel(np.asarray(leaf, float)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves)


@pytest.fixture
def affine(dtype):
    """The report of an affine simulator between trees, in each dtype."""
    x0 = jax.tree.map(lambda a: jnp.asarray(a, dtype), TREE)
    return pg.check(AFFINE, x0, noise=1e-3)


def test_the_noise_gain_is_that_of_the_singular_values(affine, dtype):
    x = flat(TREE)
    z, values = MATRIX @ x, np.linalg.svd(MATRIX, compute_uv=False)
    rtol = 100 * float(jnp.finfo(dtype).eps)
    assert np.allclose(affine.spectrum.values, values, rtol=rtol)
    ratio = np.linalg.norm(z) / np.linalg.norm(x)
    worst, mean = ratio / values[-1], ratio * np.sqrt(np.mean(values**-2.0))
    assert np.allclose(affine.noise.worst_gain, worst, rtol=rtol * 10)
    assert np.allclose(affine.noise.typical_gain, mean, rtol=rtol * 10)
    for level in affine.noise.levels[2:]:  # an affine inverse is its J^+
        assert np.allclose(level.linear, level.measured, rtol=1e-2)
    assert affine.notes == () and affine.ok


def test_the_uncertainty_is_that_of_a_monte_carlo(affine):
    random = np.random.default_rng(1)
    noise = 1e-3 * random.standard_normal((20_000, 3))
    spread = np.std(noise @ np.linalg.inv(MATRIX).T, axis=0)
    got = affine.noise.uncertainty.deviations
    assert got["a"].shape == (2,) and got["b"].shape == ()
    assert np.allclose(flat(got), spread, rtol=0.03)


def test_noise_may_be_a_number_a_tree_or_a_covariance():
    x0 = jax.tree.map(jnp.asarray, TREE)

    def deviations(noise):
        report = pg.check(AFFINE, x0, noise=noise, samples=1)
        assert report.noise is not None and report.noise.uncertainty is not None
        return flat(report.noise.uncertainty.deviations)

    ways = (
        deviations(0.1),
        deviations({"z": np.full(3, 0.1)}),
        deviations(0.01 * np.eye(3)),
    )
    assert np.allclose(ways[0], ways[1]) and np.allclose(ways[0], ways[2])
    correlated = np.full((3, 3), 0.01)
    expected = np.abs(np.linalg.inv(MATRIX) @ np.full(3, 0.1))
    assert np.allclose(deviations(correlated), expected, rtol=1e-3)


def test_a_run_contracts_as_predicted(dtype):
    x0, hessian = jnp.ones(2, dtype), np.array([2.0, 8.0])
    loss = pg.SquaredLoss(jnp.zeros(2, dtype), jnp.asarray(hessian / 2, dtype))
    objective = pg.Objective(EXACT, loss)
    expected = pg.check(objective, x0, samples=1).contraction
    assert expected is not None
    assert np.allclose(expected.condition, 25 * hessian[1] / hessian[0], rtol=1e-4)
    methods = {
        "GD": pg.GradientDescent(expected.learning_rate),
        "PG": pg.PhysicalGradient(1.0),
    }
    runs = pg.compare(objective, x0, methods, 4)
    distances = np.linalg.norm(runs["GD"].trajectory["x"], axis=1)
    ratios = distances[1:] / distances[:-1]
    assert np.allclose(ratios, expected.gradient_descent, rtol=1e-3)
    assert expected.physical == 0 and np.all(np.abs(runs["PG"].x) < 1e-6)


def test_without_a_loss_half_the_square_of_z_stands_in():
    expected = pg.check(EXACT, jnp.ones(2), samples=1).contraction
    assert expected is not None and np.isclose(expected.condition, 25, rtol=1e-4)
    assert np.isclose(expected.gradient_descent, 24 / 26, rtol=1e-4)


def test_null_directions_span_the_null_space(dtype):
    matrix = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]])
    x0 = jax.tree.map(lambda a: jnp.asarray(a, dtype), TREE)
    spectrum = pg.check(Affine(matrix).simulator(), x0, samples=1).spectrum
    assert spectrum is not None
    null = spectrum.null_directions
    assert spectrum.null_count == len(null) == 2 and spectrum.rank == 1
    tolerance = 100 * float(jnp.finfo(dtype).eps)
    assert np.allclose(matrix @ null.T, 0, atol=tolerance)
    assert np.allclose(null @ null.T, np.eye(2), atol=tolerance)
    assert spectrum.unseen == ("x['b']", "0.894 x['a'][0] - 0.447 x['a'][1]")


def test_a_direction_that_is_seen_weakly_has_a_name():
    report = pg.check(analytic(ill, lambda z: z * jnp.array([1, 1e5])), jnp.ones(2))
    assert report.spectrum is not None and report.spectrum.weak == ("x[1]",)


SIZES = np.logspace(0, -3, 2000)


def many(x):
    return x * jnp.asarray(SIZES, x.dtype)


def test_a_large_simulator_is_examined_without_its_matrix():
    simulator = analytic(many, lambda z: z / jnp.asarray(SIZES, z.dtype))
    report = pg.check(simulator, jnp.ones(2000), samples=4)
    spectrum = report.spectrum
    assert spectrum is not None and not spectrum.dense
    assert np.allclose(spectrum.values[0], 1, rtol=0.02)
    assert np.all(np.diff(spectrum.values) <= 0) and spectrum.values[0] <= 1.0001
    assert report.diagnosis == ("fine",) and report.contraction is None
    assert "at least" in str(report) and "2000 x 2000" in str(report)


@jax.custom_jvp
def tree_with_a_slip(x):
    return {"u": x["a"] ** 2, "v": 3 * x["b"]}


@tree_with_a_slip.defjvp
def _(primals, tangents):
    (x,), (t,) = primals, tangents
    return tree_with_a_slip(x), {"u": 2 * x["a"] * t["a"], "v": 2 * t["b"]}


def root_with_a_slip(z, x):
    return {"a": jnp.copysign(jnp.sqrt(z["u"]), x["a"]), "b": 0.3 * z["v"]}


def test_faults_are_named_by_the_leaves_of_the_user():
    x0 = jax.tree.map(jnp.asarray, TREE)
    report = pg.check(analytic(tree_with_a_slip, root_with_a_slip), x0)
    assert report.diagnosis[:2] == ("wrong_derivative", "inverse_misses")
    assert report.derivative is not None and report.derivative.worst is not None
    assert report.derivative.worst.leaf == "x['b']"
    assert np.isclose(report.derivative.worst.relative, 1 / 3, rtol=1e-2)
    assert report.at_start is not None and report.at_start.offender is not None
    assert report.at_start.offender.leaf == "z['v']"


@pytest.mark.parametrize("member", [m for _, m in MEMBERS], ids=lambda m: m.name)
def test_the_exact_inverses_of_the_families_give_no_false_alarm(member):
    report = pg.check(
        analytic(member.forward, member.inverse), jnp.array(member.points[0])
    )
    assert report.ok, str(report)
    assert report.round_trips is not None and report.round_trips.worst is None
    assert report.at_start is not None and report.at_start.returns_x0
    assert report.derivative is not None and report.derivative.worst is None


class Bag:
    """A tree that is neither dict, list nor dataclass."""

    def __init__(self, a):
        self.a = a


jax.tree_util.register_pytree_node(Bag, lambda b: ((b.a,), None), lambda _, c: Bag(*c))


def test_any_tree_can_be_written_as_json():
    simulator = analytic(lambda x: 2 * x.a, lambda z: Bag(z / 2))
    report = pg.check(simulator, Bag(jnp.ones(2)), noise=0.2, samples=1)
    document = json.loads(report.to_json(), parse_constant=refuse)
    (deviations,) = document["noise"]["uncertainty"]["deviations"].values()
    assert np.allclose(deviations, 0.1)
    assert repr(report).startswith("CheckReport(")


def test_a_lie_says_by_which_factor():
    report = pg.check(*patient("inverse_misses"))
    assert "1.001 times what it should be" in report.findings[0].words


def test_what_the_users_code_raises_is_one_line():
    report = pg.check(*patient("simulator_raises"))
    assert "RuntimeError: the mesh file is missing" in report.findings[0].words
    assert "second line" not in str(report)


def test_problems_objectives_and_chains_are_subjects(monkeypatch):
    assert pg.check(pg.problems.get("toy"), samples=1).diagnosis == ("fine",)
    chain = pg.Chain(EXACT, analytic(jnp.sinh, jnp.arcsinh))
    report = pg.check(chain, jnp.array([0.1, 0.2]))
    assert report.diagnosis == ("fine",) and "chain of 2" in report.subject
    lying = pg.Chain(EXACT, analytic(jnp.sinh, jnp.arctan))
    assert not pg.check(lying, jnp.array([0.1, 0.2]), samples=1).ok


WRONG_USE = {
    "number": (lambda: ANY(3, jnp.ones(2)), TypeError, "check needs a simulator: .*3$"),
    "class": (lambda: ANY(pg.Simulator, 1.0), TypeError, "got the class Simulator"),
    "traced": (
        lambda: jax.jit(lambda x: ANY(EXACT, x).noise)(jnp.ones(2)),
        TypeError,
        "check runs on the host",
    ),
    "no start": (lambda: ANY(scaled), TypeError, "check needs x0"),
    "NaN": (
        lambda: ANY(EXACT, jnp.array([1.0, jnp.nan])),
        ValueError,
        r"1 non-finite value at \[1\]",
    ),
    "samples": (
        lambda: ANY(EXACT, jnp.ones(2), samples=0),
        ValueError,
        "samples must be a whole number from 1 on, got 0",
    ),
    "seed": (lambda: ANY(EXACT, jnp.ones(2), seed=-1), ValueError, "seed must be"),
    "noise shape": (
        lambda: ANY(EXACT, jnp.ones(2), noise=np.ones(3)),
        ValueError,
        r"covariance matrix \(2, 2\), got shape \(3,\)",
    ),
    "noise text": (
        lambda: ANY(EXACT, jnp.ones(2), noise="loud"),
        TypeError,
        "noise must be a floating array, got 'loud'",
    ),
    "noise below zero": (
        lambda: ANY(EXACT, jnp.ones(2), noise=-1.0),
        ValueError,
        "zero or positive, got -1",
    ),
    "noise not symmetric": (
        lambda: ANY(EXACT, jnp.ones(2), noise=np.array([[1.0, 1.0], [0.0, 1.0]])),
        ValueError,
        "not symmetric",
    ),
    "noise indefinite": (
        lambda: ANY(EXACT, jnp.ones(2), noise=np.diag([1.0, -1.0])),
        ValueError,
        "eigenvalue -1",
    ),
}


@pytest.mark.parametrize("name", WRONG_USE)
def test_wrong_use_is_refused(name):
    call, error, words = WRONG_USE[name]
    with pytest.raises(error, match=words):
        call()
