"""Laws of rules: what is pulled back maps to the target where the certificate says so,
and at the optimum no rule moves x.
"""

from __future__ import annotations

import families
import numpy as np
import pytest
from families import COMPLETED, OF_SHAPE, cases, eps, in_float64, squared_step

import physgrad as pg

ALL = (*families.PREIMAGES, *families.LINEAR, "regularized")
FAILED = pg.Result.inverse_failed.code
MAY_GIVE_UP = ("bfgs", "lbfgs", "dogleg")
"""Solvers that come to rest short of a preimage here and there, and say so."""


def pairs(member):
    """Every start with every other point of a map."""
    points = [np.asarray(p) for p in member.points]
    return [(x, goal) for x in points for goal in points if goal is not x]


def rounding(family, member, *points):
    """eps times this is the rounding of z at these points: max(|z|, |J| |x|)."""
    sizes = []
    for x in points:
        z, jacobian = in_float64(family, member, x)
        sizes += [np.max(np.abs(z)), np.max(np.abs(jacobian) @ np.abs(x))]
    return max(sizes)


@pytest.mark.parametrize(
    ("rule", "family", "dtype"), cases(families.PREIMAGES), indirect=["dtype"]
)
def test_points_pulled_back_map_to_the_target(rule, family, dtype):
    """P(x+) = z~ for every z~ = P(x'), measured anew in float64."""
    for member in family.maps:
        for x, goal in pairs(member):
            target, _ = in_float64(family, member, goal)
            z, _ = in_float64(family, member, x)
            step = squared_step(family, member, rule, x, target, dtype)
            if rule in MAY_GIVE_UP and step.result == FAILED:
                continue  # never `target_not_reachable`: there is a preimage
            assert step.result == COMPLETED, (member.name, x, goal)
            assert step.certificate is not None
            assert step.certificate.residual <= step.certificate.tolerance
            promise = np.sqrt(eps(dtype)) * np.max(np.abs(target - z))
            scale = rounding(family, member, x, goal, np.asarray(step.state.x, float))
            bound = 1.01 * promise + 32 * eps(dtype) * scale
            assert step.certificate.tolerance <= bound
            reached, _ = in_float64(family, member, step.state.x)
            miss = np.max(np.abs(reached - target))
            assert miss <= step.certificate.tolerance + 8 * eps(dtype) * scale
            if rule == "exact":
                assert miss <= 32 * eps(dtype) * scale


@pytest.mark.parametrize("family", OF_SHAPE.values(), ids=OF_SHAPE)
def test_exact_inverses_of_injective_maps_return_the_point_itself(family, dtype):
    for member in family.maps:
        if not member.injective:
            continue
        for x, goal in pairs(member):
            target, jacobian = in_float64(family, member, goal)
            step = squared_step(family, member, "exact", x, target, dtype)
            scale = rounding(family, member, x, goal)
            bound = 64 * eps(dtype) * scale * np.linalg.norm(np.linalg.pinv(jacobian))
            assert np.max(np.abs(np.asarray(step.state.x) - goal)) <= bound, member.name


@pytest.mark.parametrize(
    ("rule", "family", "dtype"), cases(families.LINEAR), indirect=["dtype"]
)
def test_rules_that_promise_nothing_report_their_residual(rule, family, dtype):
    for member in family.maps:
        for x, goal in pairs(member):
            target, _ = in_float64(family, member, goal)
            step = squared_step(family, member, rule, x, target, dtype)
            assert step.result == COMPLETED
            assert step.certificate is not None
            assert np.isinf(step.certificate.tolerance)
            reached, _ = in_float64(family, member, step.state.x)
            scale = rounding(family, member, x, goal, np.asarray(step.state.x, float))
            np.testing.assert_allclose(
                step.certificate.residual,
                np.max(np.abs(reached - target)),
                rtol=0,
                atol=16 * eps(dtype) * scale,
            )


@pytest.mark.parametrize(("rule", "family", "dtype"), cases(ALL), indirect=["dtype"])
def test_no_rule_moves_x_at_the_optimum(rule, family, dtype):
    for member in family.maps:
        for point in member.points:
            x = np.asarray(point, dtype)
            step = squared_step(
                family, member, rule, x, family.pick(member)(x * 1), dtype
            )
            assert step.result == COMPLETED
            dx = np.max(np.abs(np.asarray(step.state.x) - x))
            if rule == "exact":  # P^-1(P(x)) is x to rounding, carried through J^+
                _, jacobian = in_float64(family, member, x)
                gain = np.linalg.norm(np.linalg.pinv(jacobian))
                assert dx <= 8 * eps(dtype) * gain * rounding(family, member, x)
            else:
                assert dx == 0, (member.name, point)


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [
        ("numerical", "float32"),
        ("numerical", "float64"),
        ("bfgs", "float64"),
        ("dogleg", "float64"),
    ],
    indirect=["dtype"],
)
def test_unreachable_targets_end_at_the_nearest_point_in_the_metric(rule, dtype):
    """min |P(x+) - z~|_B: J^T B (P(x+) - z~) = 0, labelled `target_not_reachable`."""
    family, weight = OF_SHAPE["tall"], np.array([1.0, 4.0, 0.5])
    for member in family.maps:
        x, goal = (np.asarray(p) for p in member.points[:2])
        target = in_float64(family, member, goal)[0] + np.array([0.3, -0.4, 0.2])
        step = squared_step(family, member, rule, x, target, dtype, weight=weight)
        if rule in MAY_GIVE_UP and step.result == FAILED:
            continue
        assert step.result == pg.Result.target_not_reachable.code, member.name
        z, jacobian = in_float64(family, member, step.state.x)
        misfit = weight * (z - target)
        size = np.linalg.norm(jacobian) * np.linalg.norm(misfit)
        assert np.max(np.abs(jacobian.T @ misfit)) <= 20 * np.sqrt(eps(dtype)) * size


def test_exact_inverses_name_targets_out_of_range(dtype):
    family = OF_SHAPE["tall"]
    for member in family.maps:
        x, goal = (np.asarray(p) for p in member.points[:2])
        target = in_float64(family, member, goal)[0] + np.array([0.3, -0.4, 0.2])
        step = squared_step(family, member, "exact", x, target, dtype)
        assert step.result == pg.Result.inverse_failed.code, member.name
