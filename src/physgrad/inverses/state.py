"""Where a run is: the same point in every space."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from physgrad.inverses.flat import (
    Flat,
    FlatMap,
    Scalar,
    largest,
    largest_by_leaf,
    sizes,
)


class State(eqx.Module):
    """Where a run is: the same point in every space, with what certificates need."""

    spaces: tuple[Flat, ...]
    """x, any intermediate spaces, z: flat vectors."""
    scales: tuple[Float[Array, " leaves"], ...]
    """Rounding scale max(|z|, |J| |x|) at the start, for each leaf of z: of the whole
    map, then of each link."""
    slopes: tuple[Float[Array, " leaves"], ...]
    """|J t| / |t| for each leaf of z, of the same maps, where a run starts at x0 = 0,
    so that |J| |x0| says nothing; zero where it does not."""
    gain: Float[Array, " maps"]
    """Largest |J t| / |t| seen so far: of the whole map, then of each link."""

    @property
    def x(self) -> Flat:
        """The point in x-space."""
        return self.spaces[0]

    @property
    def z(self) -> Flat:
        """The point in z-space."""
        return self.spaces[-1]

    @property
    def scale(self) -> Float[Array, " leaves"]:
        """The rounding scale of the whole map, for each leaf of z."""
        return self.scales[0]

    def link(self, index: int) -> State:
        """The state between space `index` and the next one, as its own rule sees it."""
        pick = slice(index + 1, index + 2) if len(self.spaces) > 2 else slice(0, 1)
        between = self.spaces[index : index + 2]
        return State(between, self.scales[pick], self.slopes[pick], self.gain[pick])

    def move(self, spaces: tuple[Flat, ...]) -> State:
        """The state at another point of the same run."""
        return State(spaces, self.scales, self.slopes, self.gain)

    def pulled_to(self, spaces: tuple[Flat, ...], found: Scalar | None = None) -> State:
        """The state at a point that was pulled back: its secants add to the gain.

        `found`: that of the only map, where it is known.
        """
        if found is None:
            pairs = zip(self.spaces, spaces, strict=True)
            moved = [sizes(after - before)[0] for before, after in pairs]
            steps = [secant(moved[i], moved[j]) for i, j in _stretches(spaces)]
        else:
            steps = [found]
        # fmax: a step to NaN is undone by the loop, and must not spoil the gain
        gain = jnp.fmax(self.gain, jnp.stack(steps))
        return State(spaces, self.scales, self.slopes, gain)


def secant(dx: Scalar, dz: Scalar) -> Scalar:
    """|dz| / |dx|; zero where x has not moved."""
    return jnp.where(dx > 0, dz / jnp.where(dx > 0, dx, 1.0), 0.0)


def _stretches(spaces: tuple[Flat, ...]) -> list[tuple[int, int]]:
    """The whole map and, in a chain, each link, as pairs of places in `spaces`."""
    last = len(spaces) - 1
    links = [(i, i + 1) for i in range(last)] if last > 1 else []
    return [(0, last), *links]


def start_state(forward: FlatMap, x: Flat) -> State:
    """The state at the start of a run, with the scale and gain of each map."""
    spaces = forward.spaces(x)
    fixed = lax.stop_gradient(spaces)
    sizes = [
        _sizes_at_start(forward.part(i, j), fixed[i], fixed[j])
        for i, j in _stretches(spaces)
    ]
    scales, slopes, gains = zip(*sizes, strict=True)
    return State(spaces, scales, slopes, jnp.stack(gains))


def _sizes_at_start(
    forward: FlatMap, x: Flat, z: Flat
) -> tuple[Float[Array, " leaves"], Float[Array, " leaves"], Scalar]:
    """max(|z|, |J| |x|) for each leaf of z, |J t| / |t| for each where x is zero, and
    the largest of these: from two tangents like x.

    The signs differ, so that two columns of J cannot cancel in both tangents. By
    finite differences: a size is wanted, not a derivative, and the simulator may have
    none.
    """
    h = jnp.sqrt(jnp.finfo(x.dtype).eps)
    signs = jnp.where(jnp.arange(x.size) % 2 == 0, 1.0, -1.0).astype(x.dtype)
    moves = largest(x) > 0
    size = jnp.where(moves, jnp.abs(x), jnp.ones_like(x))
    tangents = jnp.stack([size, signs * size])
    images = (jax.vmap(lambda t: forward(x + h * t))(tangents) - z) / h
    # outside of its domain a simulator may answer NaN: that tangent tells nothing
    image = jnp.max(jnp.where(jnp.isfinite(images), jnp.abs(images), 0.0), axis=0)
    reach = jnp.where(moves, image, 0.0)
    scale = largest_by_leaf(forward, jnp.fmax(jnp.abs(z), reach))
    slope = largest_by_leaf(forward, image) / largest(size)
    return scale, jnp.where(moves, 0.0, slope), largest(image) / largest(size)
