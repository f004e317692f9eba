"""Laws of the step: on an affine simulator a full physical step is Newton's step, an
affine change of z or a factor in L leaves it alone, and short steps are Gauss-Newton's.
"""

from __future__ import annotations

import equinox as eqx
import families
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import (
    COMPLETED,
    OF_SHAPE,
    eps,
    in_float64,
    one_step,
    relative,
    squared_step,
)
from jaxtyping import Array, Float

import physgrad as pg

WEIGHTS = {
    "square": np.array([4.0, 0.25]),
    "wide": np.array([4.0, 0.25]),
    "tall": np.array([1.0, 9.0, 0.5]),
}
TARGETS = {
    "square": np.array([2.0, -1.0]),
    "wide": np.array([2.0, -1.0]),
    "tall": np.array([2.0, -1.0, 0.5]),
}
# Other powers of the singular values are other methods, and so is a tau from the data.
# `exact` is no rule for a tall simulator: its target lies outside the range.
OTHER = {"transposed", "from-data", *families.SPECTRAL} - {"spectral"}
STEPS = [
    case
    for case in families.cases(r for r in families.RULES if r not in OTHER)
    if case.values[0] not in ("lbfgs", "dogleg")
] + [case for case in families.cases(["exact"]) if case.values[1].name != "tall"]


def newton_step(jacobian, weight, misfit):
    """The shortest minimizer of |J dx + misfit|_W: -(J^T W J)^+ J^T W misfit."""
    root = np.sqrt(weight)[:, None]
    return np.linalg.lstsq(root * jacobian, -root[:, 0] * misfit, rcond=1e-12)[0]


@pytest.mark.parametrize(("rule", "family", "dtype"), STEPS, indirect=["dtype"])
def test_full_step_on_an_affine_simulator_is_newtons(rule, family, dtype):
    """Square: exactly; wide: the shortest one; tall: the weighted least squares."""
    weight, target = WEIGHTS[family.name], TARGETS[family.name]
    for member in family.maps:
        # a numerical solver goes no farther on a singular Jacobian than it must
        if not member.affine or (member.name == "deficient" and rule == "bfgs"):
            continue
        for x in member.points:
            z, jacobian = in_float64(family, member, x)
            # the shortest step: in the units of its columns where the rule has those
            units = np.ones(len(x))
            if rule == "broyden":
                units = np.linalg.norm(jacobian, axis=0)
            expected = newton_step(jacobian / units, weight, z - target) / units
            step = squared_step(family, member, rule, x, target, dtype, weight=weight)
            # off the range the misfit is flat at its minimum: half of the digits
            flat = family.name == "tall" and rule in families.PREIMAGES
            bound = 50 * np.sqrt(eps(dtype)) if flat else 100 * eps(dtype) ** 0.75
            got = np.asarray(step.state.x, float) - np.asarray(x)
            assert relative(got, expected) <= bound, (member.name, got, expected)


class Quadratic(eqx.Module):
    """1/2 z^T H z - b^T z with H dense; knows nothing of itself."""

    hessian: Float[Array, "z z"]
    linear: Float[Array, " z"]

    def __call__(self, z: Array) -> Array:
        return 0.5 * z @ self.hessian @ z - self.linear @ z


HESSIAN = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])


@pytest.mark.parametrize("rule", ["linearized", "numerical"])
def test_full_step_is_newtons_for_a_dense_metric(rule):
    """A tall affine simulator, B = H with off-diagonal entries."""
    dtype = jnp.float32
    family = OF_SHAPE["tall"]
    member, linear = family.maps[0], np.array([1.0, -2.0, 0.5])
    loss = Quadratic(jnp.asarray(HESSIAN, dtype), jnp.asarray(linear, dtype))
    simulator = pg.Simulator(family.pick(member), family.rule(rule, member))
    x = np.array([0.5, 1.25])
    step = one_step(
        pg.Objective(simulator, loss), pg.PhysicalGradient(1.0), jnp.asarray(x, dtype)
    )
    z, jacobian = in_float64(family, member, x)
    gradient = jacobian.T @ (HESSIAN @ z - linear)
    expected = -np.linalg.solve(jacobian.T @ HESSIAN @ jacobian, gradient)
    got = np.asarray(step.state.x, float) - x
    assert relative(got, expected) <= 50 * np.sqrt(eps(dtype))


class Changed(eqx.Module):
    """z' = C z + d, behind a simulator."""

    forward: families.Pick
    matrix: Float[Array, "z z"]
    shift: Float[Array, " z"]

    def __call__(self, x: Array) -> Array:
        return self.matrix @ self.forward(x) + self.shift


class Unchanged(eqx.Module):
    """An inverse, or a loss, of z' = C z + d: `function` of z."""

    function: families.Pick | None
    matrix: Float[Array, "z z"]
    shift: Float[Array, " z"]

    def z(self, changed: Array) -> Array:
        return jnp.linalg.solve(self.matrix, changed - self.shift)


class ChangedInverse(Unchanged):
    def __call__(self, changed: Array, x: Array) -> Array:
        assert self.function is not None
        return self.function(self.z(changed), x)


class ChangedLoss(Unchanged):
    """Convex and not quadratic: the sum of cosh(z / 4)."""

    def __call__(self, changed: Array) -> Array:
        return jnp.sum(jnp.cosh(self.z(changed) / 4))


def changed_step(member, matrix, shift, x, dtype):
    """One exact physical step of a member, seen through z' = C z + d."""
    family = OF_SHAPE["square"]
    change = jnp.asarray(matrix, dtype), jnp.asarray(shift, dtype)
    inverse = family.exact(member).function
    assert isinstance(inverse, families.Pick)
    simulator = pg.Simulator(
        Changed(family.pick(member), *change),
        pg.AnalyticInverse(ChangedInverse(inverse, *change)),
    )
    objective = pg.Objective(simulator, ChangedLoss(None, *change))
    step = one_step(objective, pg.PhysicalGradient(0.3), jnp.asarray(x, dtype))
    assert step.result == COMPLETED, member.name
    return np.asarray(step.state.x)


CHANGES = [([[0.0, 1e3], [2.0, 0.0]], [5.0, -7.0]), ([[2.0, 1.0], [0.5, -1.0]], [1, 0])]


def test_affine_changes_of_z_leave_the_physical_step_alone(dtype):
    for member in OF_SHAPE["square"].maps:
        for x in member.points:
            plain = changed_step(member, np.eye(2), np.zeros(2), x, dtype)
            assert relative(plain, x) > 1e-3
            for matrix, shift in CHANGES:
                seen = changed_step(member, matrix, shift, x, dtype)
                bound = 4000 * eps(dtype)
                assert relative(seen, plain) <= bound, (member.name, x)


class Bent(eqx.Module):
    """z' = sinh(z / 4) for the toy: the same loss, in another variable."""

    def simulator(self) -> pg.Simulator:
        def inverse(bent: Array, x: Array) -> Array:
            return families.square_root(4 * jnp.arcsinh(bent), x)

        def forward(x: Array) -> Array:
            return jnp.sinh(families.square(x) / 4)

        return pg.Simulator(forward, pg.AnalyticInverse(inverse))

    def loss(self, bent: Array) -> Array:
        return jnp.sum(jnp.cosh(jnp.arcsinh(bent)))


def test_a_nonlinear_change_of_z_does_not(dtype):
    toy, x = OF_SHAPE["square"].maps[1], (1.5, 1.5)
    plain = changed_step(toy, np.eye(2), np.zeros(2), x, dtype)
    objective = pg.Objective(Bent().simulator(), Bent().loss)
    step = one_step(objective, pg.PhysicalGradient(0.3), jnp.asarray(x, dtype))
    assert step.result == COMPLETED
    assert relative(step.state.x, plain) > 1e-2


@pytest.mark.parametrize("rule", ["exact", "numerical"])
def test_short_steps_are_gauss_newtons_to_first_order(rule):
    """|step / eta - Gauss-Newton| = O(eta): it halves with eta."""
    family, etas = OF_SHAPE["square"], 2.0 ** -np.arange(6, 11)
    with jax.enable_x64(True):
        for member in family.maps:
            x = np.asarray(member.points[0])
            z, jacobian = in_float64(family, member, x)
            target = in_float64(family, member, member.points[1])[0]
            expected = newton_step(jacobian, np.ones(2), z - target)
            misses = []
            for eta in etas:
                step = squared_step(
                    family, member, rule, x, target, jnp.float64, step_size=eta
                )
                misses.append(relative((np.asarray(step.state.x) - x) / eta, expected))
            if member.affine:
                assert max(misses) <= 1e-9
            else:
                order = np.log2(np.asarray(misses[:-1]) / misses[1:])
                np.testing.assert_allclose(order, 1.0, atol=0.05, err_msg=member.name)


class Scaled(eqx.Module):
    """scale * sum(cosh(z / 4)): knows nothing of itself."""

    scale: Float[Array, ""]

    def __call__(self, z: Array) -> Array:
        return self.scale * jnp.sum(jnp.cosh(z / 4))


METHODS = {
    "exact": pg.PhysicalGradient(0.3),
    "numerical": pg.PhysicalGradient(0.3, inverse=pg.NumericalInverse()),
    "linearized": pg.PhysicalGradient(0.3, inverse=pg.LinearizedInverse()),
    "gauss-newton": pg.GaussNewton(0.3),
    "newton-in-x": pg.Newton(0.3),
    "levenberg-marquardt": pg.LevenbergMarquardt(),
}


@pytest.mark.parametrize("method", METHODS)
def test_scaling_the_loss_leaves_newton_steps_alone(method):
    family = OF_SHAPE["square"]
    for member in family.maps[:2]:
        steps = []
        for scale in (1.0, 1e-6, 1e6):
            objective = pg.Objective(
                pg.Simulator(family.pick(member), family.exact(member)),
                Scaled(jnp.float32(scale)),
            )
            step = one_step(objective, METHODS[method], jnp.asarray(member.points[0]))
            assert step.result == COMPLETED
            steps.append(step.state.x)
        assert relative(steps[1], steps[0]) <= 1e-5, member.name
        assert relative(steps[2], steps[0]) <= 1e-5, member.name
