"""A search for P(x) = z~ by calls of P alone, with a Jacobian kept up by secants."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from physgrad.inverses.flat import Flat, FlatMap, Scalar, largest, largest_by_leaf
from physgrad.inverses.rule import Code
from physgrad.inverses.state import State
from physgrad.results import Cause
from physgrad.spectral import Power, filtered_solution

Matrix = Float[Array, "z x"]

# A point serves where the misfit falls by this part of what the Jacobian predicts, and
# the Jacobian where it falls by that part.
SUFFICIENT, GOOD = 1e-4, 0.5
# So many points in vain, or with little gain, and the Jacobian is taken anew.
PATIENCE = 2
# How a radius shrinks where a point was in vain, and grows where it was not.
SHRINK, GROW = 0.25, 2.0
# Where the Jacobian promises less than so many sqrt(eps) of the misfit, x is at rest.
REST = 10.0
# Singular values below so many sqrt(eps) of the largest are errors of differences.
UNSEEN = 2.0


class _Now(NamedTuple):
    """The search between two calls of P."""

    x: Flat
    z: Flat
    matrix: Matrix
    """About J; zero at the very first."""
    units: Flat
    """One over those of x: the slopes of its entries."""
    column: Int[Array, ""]
    """Which one of J is to be taken by differences; as many as x: none is."""
    fresh: Bool[Array, ""]
    """Whether J is of differences at x."""
    vain: Int[Array, ""]
    """Points tried in vain, or with little gain, one after another."""
    radius: Scalar
    steps: Int[Array, ""]
    calls: Int[Array, ""]
    cause: Code
    """Why it has ended; none at the target or the nearest point."""
    ended: Bool[Array, ""]


class _Way(NamedTuple):
    """Where to go from a point, by the Jacobian."""

    dx: Flat
    length: Scalar
    """|dx| in the units of x."""
    before: Scalar
    """The misfit at the point, ..."""
    predicted: Scalar
    """... and the one that the Jacobian predicts."""
    rests: Bool[Array, ""]
    """Whether the Jacobian leads nowhere."""


class SecantSearch(eqx.Module):
    """Find x with P(x) = z~, with one call of P in each step of a loop.

    One, also where the Jacobian is taken anew, column by column: members of a batch
    that are at different things are called no more often than alone.
    """

    forward: FlatMap
    z_target: Flat
    tolerance: Float[Array, " leaves"]
    root: lx.AbstractLinearOperator
    """R, with B = R^T R."""
    counts: Bool[Array, "..."]
    """Which entries of z have a weight."""

    def run(self, x: Flat, z: Flat, matrix: Matrix, budget: Int[Array, ""]) -> _Now:
        """The end of the search from a point, with a Jacobian of an earlier one."""
        zero = jnp.zeros((), jnp.int32)
        begin = _Now(
            x,
            z,
            matrix,
            _slopes(matrix),
            zero + x.size,
            jnp.asarray(False),
            zero,
            jnp.asarray(jnp.inf, x.dtype),
            zero,
            zero,
            zero + Cause.out_of_budget.code,
            self.arrived(z),
        )
        end = lax.while_loop(
            lambda now: ~now.ended & (now.steps < budget),
            lambda now: self._next(now),  # a method would have to be hashed
            begin,
        )
        cause = jnp.where(self.arrived(end.z), Cause.none.code, end.cause)
        return end._replace(cause=cause)

    def _next(self, now: _Now) -> _Now:
        """Call P once: ahead, or beside x for a column of J; or rest."""
        none = now.x.size
        way = self._way(now)
        measuring = now.column < none
        anew = ~measuring & ~now.fresh & (way.rests | (now.vain >= PATIENCE))
        now = now._replace(column=jnp.where(anew, 0, now.column))
        measuring = measuring | anew
        rests = ~measuring & way.rests
        beside = _beside(now.x, now.column)
        x = jnp.where(measuring, beside, now.x + way.dx)
        z = lax.cond(rests, lambda: now.z, lambda: self.forward(x))
        tried = self._tried(now, way, x, z)
        measured = _measured(now, beside, z)
        return jax.tree.map(
            lambda stay, measured, tried: jnp.where(
                rests, stay, jnp.where(measuring, measured, tried)
            ),
            now._replace(cause=jnp.zeros_like(now.cause), ended=jnp.asarray(True)),
            measured,
            tried,
        )

    def _way(self, now: _Now) -> _Way:
        """The step of Gauss and Newton, no longer than the radius."""

        def ahead() -> _Way:
            misfit = self._misfit(now.z)
            slopes = self.root.as_matrix() @ now.matrix / now.units
            eps = float(jnp.finfo(now.x.dtype).eps)
            whole = filtered_solution(slopes, -misfit, Power(-1.0), UNSEEN * eps**0.5)
            size, before = jnp.linalg.norm(whole), jnp.linalg.norm(misfit)
            promised = jnp.linalg.norm(slopes @ whole)
            part = jnp.where(size > now.radius, now.radius / size, 1.0)
            predicted = jnp.linalg.norm(misfit + part * (slopes @ whole))
            rests = promised <= REST * jnp.sqrt(eps) * before
            rests = rests | (size <= eps * jnp.linalg.norm(now.units * now.x))
            dx = part * whole / now.units
            return _Way(dx, part * size, before, predicted, rests)

        def nowhere() -> _Way:
            zero = jnp.zeros((), now.x.dtype)
            return _Way(jnp.zeros_like(now.x), zero, zero, zero, jnp.asarray(False))

        return lax.cond(now.column < now.x.size, nowhere, ahead)

    def _tried(self, now: _Now, way: _Way, x: Flat, z: Flat) -> _Now:
        """The search after a point ahead, which serves where the misfit falls."""
        eps = jnp.finfo(x.dtype).eps
        after = jnp.linalg.norm(self._misfit(z))
        promised = way.before - way.predicted
        gain = (way.before - after) / jnp.where(promised > 0, promised, 1.0)
        arrived, finite = self.arrived(z), jnp.all(jnp.isfinite(z))
        serves = finite & ((gain >= SUFFICIENT) | arrived)
        # differences at x know more of the ways from x than a point far off
        learns = finite & (serves | ~now.fresh)
        matrix = jnp.where(learns, _with_secant(now, z, way.dx), now.matrix)
        longer = jnp.maximum(now.radius, GROW * way.length)
        radius = jnp.where(serves, longer, SHRINK * way.length)
        size = jnp.linalg.norm(now.units * now.x)
        hopeless = ~serves & now.fresh & (radius <= eps * size)
        return _Now(
            jnp.where(serves, x, now.x),
            jnp.where(serves, z, now.z),
            matrix,
            now.units,
            now.column,
            now.fresh & ~serves,
            jnp.where(serves & (gain >= GOOD), 0, now.vain + 1),
            radius.astype(now.radius.dtype),
            now.steps + 1,
            now.calls + 1,
            jnp.where(hopeless, Cause.stuck.code, now.cause).astype(now.cause.dtype),
            (serves & arrived) | hopeless,
        )

    def arrived(self, z: Flat) -> Bool[Array, ""]:
        """Whether z is the target, within its tolerance."""
        misses = jnp.where(self.counts, z - self.z_target, 0.0)
        return jnp.all(largest_by_leaf(self.forward, misses) <= self.tolerance)

    def _misfit(self, z: Flat) -> Flat:
        return self.root.mv(z - self.z_target)


def _measured(now: _Now, beside: Flat, z: Flat) -> _Now:
    """The search with one more column of J, from z at a point beside x."""
    last = now.x.size - 1
    at = jnp.minimum(now.column, last)
    h = (beside - now.x)[at]
    column = (z - now.z) / jnp.where(h != 0, h, 1.0)
    # where P is not finite nothing is known
    column = jnp.where(jnp.all(jnp.isfinite(column)), column, 0.0)
    matrix = now.matrix.at[:, at].set(column)
    complete = now.column >= last
    return now._replace(
        matrix=matrix,
        units=jnp.where(complete, _slopes(matrix), now.units),
        column=now.column + 1,
        fresh=complete,
        vain=jnp.zeros_like(now.vain),
        radius=jnp.full_like(now.radius, jnp.inf),
        calls=now.calls + 1,
    )


def differences(forward: FlatMap, state: State) -> Matrix:
    """J by differences."""
    entries = jnp.arange(state.x.size)
    points = jax.vmap(lambda entry: _beside(state.x, entry))(entries)
    h = jnp.diagonal(points) - state.x
    return ((jax.vmap(forward)(points) - state.z) / h[:, None]).T


def _beside(x: Flat, entry: Int[Array, ""]) -> Flat:
    """x with one entry moved, for a difference."""
    largest_entry = largest(x)
    size = jnp.where(largest_entry > 0, largest_entry, 1.0)
    h = jnp.sqrt(jnp.finfo(x.dtype).eps) * jnp.where(x != 0, jnp.abs(x), size)
    return jnp.where(jnp.arange(x.size) == entry, x + h, x)


def _slopes(matrix: Matrix) -> Flat:
    slopes = jnp.linalg.norm(matrix, axis=0)
    return jnp.where(slopes > 0, slopes, 1.0)


def _with_secant(now: _Now, z: Flat, dx: Flat) -> Matrix:
    """J + (dz - J dx) dx^T / |dx|^2, in the units of x."""
    scaled = now.units * dx
    square = jnp.sum(scaled**2)
    row = now.units * scaled / jnp.where(square > 0, square, 1.0)
    return now.matrix + jnp.outer(z - now.z - now.matrix @ dx, row)
