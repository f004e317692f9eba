"""Laws of the noise-safe inverse: its derivatives are those at the tau it chose."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from families import relative
from jaxtyping import Array, Float

import physgrad as pg

SIZE, NOISE = 5, 0.02
DIRECTION = np.cos(np.arange(SIZE))
RULES = {
    "identity": pg.RegularizedInverse(NOISE),
    "laplacian": pg.RegularizedInverse(NOISE, operator="laplacian"),
    "without noise": pg.RegularizedInverse(0.0),
    "from the data": pg.RegularizedInverse(),
}


class Bent(eqx.Module):
    """z = A (x + bend x^3): affine where `bend` is zero."""

    matrix: Float[Array, "z x"]
    bend: Float[Array, ""]

    def __call__(self, x: Array) -> Array:
        return self.matrix @ (x + self.bend * x**3)


class Values(NamedTuple):
    """What a derivative is taken with respect to."""

    target: Float[Array, " z"]
    start: Float[Array, " x"]
    bend: Float[Array, ""]


def problem(rows, bend):
    """A of singular values from 1 to 1e-2, and a noisy target."""
    rng = np.random.default_rng(3)
    left, _ = np.linalg.qr(rng.standard_normal((rows, rows)))
    right, _ = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))
    rank = min(rows, SIZE)
    matrix = (left[:, :rank] * 10 ** -np.linspace(0, 2, rank)) @ right[:rank]
    x, start = rng.uniform(0.5, 1.5, SIZE), rng.uniform(-0.5, 0.5, SIZE)
    target = matrix @ (x + bend * x**3) + NOISE * rng.standard_normal(rows)
    return jnp.asarray(matrix), Values(*map(jnp.asarray, (target, start, bend)))


def answer(matrix, values, rule):
    """The answer of the rule to the step of length 1 from the start."""
    loss = pg.SquaredLoss(values.target)
    flat, x = pg.Objective(Bent(matrix, values.bend), loss).flatten(values.start)
    state = flat.start(x)
    step = pg.NewtonMetric().step(flat.loss, state.z)
    return rule.pull_back(flat.simulator, state.z + step.dz, state, step.metric)


def ran(matrix, values, rule, num_steps=3):
    """The end of a run, which rests after its first step."""
    loss = pg.SquaredLoss(values.target)
    objective = pg.Objective(Bent(matrix, values.bend), loss)
    method = pg.PhysicalGradient(1.0, inverse=rule)
    return pg.iterate(objective, method, values.start, num_steps).x


def at_fixed_tau(matrix, values, rule, inverse_tau, guess):
    """argmin |P(x) - z~|^2 + 1/(2 tau) |L (x - start)|^2, by Newton's method."""
    flat, _ = pg.Objective(lambda x: x, jnp.sum).flatten(guess)
    rows = rule.operator.rows(flat.simulator, guess)

    def function(x: Array) -> Array:
        misfit = Bent(matrix, values.bend)(x) - values.target
        rough = rows @ (x - values.start)
        return jnp.sum(misfit**2) + inverse_tau / 2 * jnp.sum(rough**2)

    def newton(_: int, x: Array) -> Array:
        return x - jnp.linalg.solve(jax.hessian(function)(x), jax.grad(function)(x))

    return jax.lax.fori_loop(0, 10, newton, guess)


def differences(function, values, h=1e-5):
    """The gradient by central differences, as PyTree."""
    flat, unravel = jax.flatten_util.ravel_pytree(values)
    units = h * jnp.eye(flat.size)

    def slope(unit: Array) -> Array:
        ahead, behind = function(unravel(flat + unit)), function(unravel(flat - unit))
        return (ahead - behind) / (2 * h)

    return unravel(jax.lax.map(slope, units))


@pytest.mark.parametrize(
    ("name", "rows", "bend"),
    [
        ("identity", 8, 0.2),
        ("identity", 3, 0.0),
        ("laplacian", 3, 0.2),
        ("without noise", 3, 0.2),
        ("from the data", 8, 0.0),
    ],
)
def test_derivatives_are_those_of_the_minimum_at_its_tau(name, rows, bend, monkeypatch):
    """In target, start and a coefficient, forward and reverse, for tall and wide P."""
    # close to the minimum: else x, and what is bent of its derivative, are off by 1 %
    monkeypatch.setattr("physgrad.inverses.weight.SMALL", 1e-6)
    with jax.enable_x64(True):
        matrix, values = problem(rows, bend)
        rule = RULES[name]

        def end(values: Values) -> tuple[Array, pg.PullBack]:
            found = answer(matrix, values, rule)
            return jnp.asarray(DIRECTION) @ found.x, found

        both = jax.jit(jax.value_and_grad(end, has_aux=True))
        (_, found), gradient = both(values)
        assert np.any(found.x != values.start)

        def again(values: Values) -> Array:
            weight = jnp.maximum(found.damping, 1e-8)  # less, and Newton meets rounding
            return DIRECTION @ at_fixed_tau(matrix, values, rule, weight, found.x)

        expected = jax.jit(lambda values: differences(again, values))(values)
        for got, right in zip(gradient, expected, strict=True):
            assert relative(got, right) <= 1e-3
        pushed = jax.jit(lambda v: jax.jvp(lambda v: end(v)[0], (v,), (v,))[1])(values)
        pulled = sum(jnp.sum(g * v) for g, v in zip(gradient, values, strict=True))
        np.testing.assert_allclose(pushed, pulled, rtol=1e-9)


def test_where_x_stays_its_derivative_is_that_of_the_start():
    """Member 0 is within the noise of its target already; the others are fitted."""
    with jax.enable_x64(True):
        matrix, values = problem(8, 0.2)
        starts = jnp.stack([values.start, values.start, values.start + 0.3])
        at_start = Bent(matrix, values.bend)(values.start) + 0.5 * NOISE
        targets = jnp.stack([at_start, values.target, values.target])

        def end(target: Array, start: Array) -> Array:
            moved = values._replace(target=target, start=start)
            return DIRECTION @ ran(matrix, moved, RULES["identity"])

        both = jax.grad(end, (0, 1))
        batch = jax.jit(jax.vmap(both))(targets, starts)
        assert relative(batch[1][0], DIRECTION) <= 1e-12
        assert not np.any(batch[0][0])
        alone = jax.jit(both)
        for i in range(3):
            for got, expected in zip(batch, alone(targets[i], starts[i]), strict=True):
                np.testing.assert_allclose(got[i], expected, rtol=1e-6, atol=1e-9)
        assert np.all(np.abs(batch[0][1:]).max(axis=1) > 0.1)


def test_what_is_not_fitted_has_the_derivative_of_the_start():
    """Without noise dx+/dx = I - J^+ J and dx+/dz~ = J^+, where J is wide or 0, too."""
    with jax.enable_x64(True):
        matrix, values = problem(3, 0.0)
        rule = pg.RegularizedInverse(0.0)
        jacobian = jax.jit(jax.jacrev(lambda v, matrix: ran(matrix, v, rule, 1)))
        for some in (matrix, 0 * matrix):
            slopes = jacobian(values, some)
            inverse = np.linalg.pinv(some)
            projected = np.eye(SIZE) - inverse @ some
            np.testing.assert_allclose(slopes.target, inverse, atol=1e-9)
            np.testing.assert_allclose(slopes.start, projected, atol=1e-9)
