"""Robot arms: where the hand is, from the angles of the joints."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.rule import Inverse
from physgrad.simulator import Simulator, default_rule
from physgrad.simulators.checks import array, check_field
from physgrad.simulators.precision import like_x

TURN = 2 * np.pi
PLANAR, JOINTS = (2, 7), "yz"


class PlanarArm(eqx.Module):
    """z = sum of l_i (cos, sin)(x_1 + ... + x_i)."""

    lengths: Float[Array, " joints"]

    def __call__(self, x: Array) -> Array:
        return self.joints(x)[-1]

    @like_x
    def joints(self, x: Array) -> Array:
        """Where all joints are, the shoulder first, the hand last: (joints + 1, 2)."""
        check_field("x", x.shape, self.lengths.shape)
        angles, lengths = jnp.cumsum(x), self.lengths
        links = lengths[:, None] * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        return jnp.pad(jnp.cumsum(links, axis=0), ((1, 0), (0, 0)))

    @like_x
    def both_elbows(self, z: Array, x: Array) -> Array:
        """Both postures of two joints with the hand at z: (2, 2), NaN out of reach."""
        a, b = self.lengths
        elbow = _elbow(a, b, jnp.sum(z**2))
        elbows = jnp.stack([elbow, -elbow])
        inner = jnp.arctan2(b * jnp.sin(elbows), a + b * jnp.cos(elbows))
        return _near(jnp.stack([jnp.arctan2(z[1], z[0]) - inner, elbows], axis=1), x)


class SpatialArm(eqx.Module):
    """Joints that turn about z, then about y or z in turn, each with a link along x."""

    lengths: Float[Array, " joints"]
    axes: str = eqx.field(static=True)
    """Of each joint, "y" or "z", in the frame of the link before it."""

    def __call__(self, x: Array) -> Array:
        return self.joints(x)[-1]

    @like_x
    def joints(self, x: Array) -> Array:
        """Where all joints are, the shoulder first, the hand last: (joints + 1, 3)."""
        check_field("x", x.shape, self.lengths.shape)
        place, frame = jnp.zeros(3, x.dtype), jnp.eye(3, dtype=x.dtype)
        places = [place]
        for axis, angle, length in zip(self.axes, x, self.lengths, strict=True):
            frame = frame @ _turn(axis, angle)
            place = place + length * frame[:, 0]
            places.append(place)
        return jnp.stack(places)

    @like_x
    def all_postures(self, z: Array, x: Array) -> Array:
        """The four postures of joints about z, y, y with the hand at z: (4, 3).

        The shoulder to the front or the back, the elbow up or down; NaN out of reach.
        """
        offset, a, b = self.lengths
        radius = jnp.hypot(z[0], z[1])
        found = []
        for side in (1.0, -1.0):
            yaw = jnp.arctan2(side * z[1], side * z[0])
            out = side * radius - offset
            elbow = _elbow(a, b, out**2 + z[2] ** 2)
            for bend in (elbow, -elbow):
                inner = jnp.arctan2(b * jnp.sin(bend), a + b * jnp.cos(bend))
                # a turn about y lowers the hand
                pitch = jnp.arctan2(-z[2], out) - inner
                found.append(jnp.stack([yaw, pitch, bend]))
        return _near(jnp.stack(found), x)


def planar_arm(lengths: Any) -> Simulator:
    """An arm in a plane, from the angles of 2 to 7 joints to the place of the hand.

    z = sum of l_i (cos, sin)(x_1 + ... + x_i).

    **The inverse** of two joints is exact: of both elbows, and all turns, the nearest
    to x; where the hand cannot reach there is none, so `inverse_failed`, and the
    message says to shorten the step. At full stretch the elbows meet, and the Jacobian
    is singular. Of more joints it is the default: numerical, a posture near x,
    damped where that fails.

    **Arguments:** `lengths`: of the links, shoulder first, positive; one for each
    joint. x has the shape (joints,): angles in radians, each to the link before it; z
    the shape (2,), in the unit of the lengths.

    **Raises:** `ValueError` for lengths that are not positive, or of less than 2 or
    more than 7 joints.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> arm = pg.simulators.planar_arm([1.0, 1.0])
    >>> print(arm(jnp.array([0.0, jnp.pi / 2])).round(4))
    [1. 1.]

    **Source:** Siciliano et al., Robotics: Modelling, Planning and Control, 2009,
    sections 2.9.1 and 2.12.1.
    """
    forward = PlanarArm(jnp.asarray(_lengths(lengths)))
    exact = AnalyticInverse(forward.both_elbows, branches=True)
    inverse: Inverse = exact if len(forward.lengths) == 2 else default_rule()
    return Simulator(forward, inverse)


def spatial_arm(lengths: Any, axes: str | None = None) -> Simulator:
    """An arm in space, from the angles of 2 to 7 joints to the place of the hand.

    Each joint turns about an axis of the link before it, and carries a link along x.

    **The inverse** of joints about "zyy" is exact: the shoulder to the front or the
    back, the elbow up or down, and all turns, the nearest to x; out of reach there is
    none, so `inverse_failed`. Of others it is the default: numerical, a posture
    nearest to x, damped where that fails.

    **Arguments:**

    - `lengths`: of the links, shoulder first, zero or positive; one for each joint. x
        has the shape (joints,): angles in radians; z the shape (3,), in the unit of the
        lengths.
    - `axes`: of the joints, such as "zyy"; None for "z", "y", "y", and "z" and "y" in
        turn from there.

    **Raises:** `ValueError` for lengths below zero, of less than 2 or more than 7
    joints, or axes of another number or other than y and z.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> arm = pg.simulators.spatial_arm([0.0, 1.0, 1.0])
    >>> print(arm(jnp.array([jnp.pi / 2, 0.0, -jnp.pi / 2])).round(4) + 0.0)
    [0. 1. 1.]

    **Source:** Siciliano et al., Robotics: Modelling, Planning and Control, 2009,
    sections 2.9.5 and 2.12.4.
    """
    links = _lengths(lengths, least=0.0)
    if axes is None:
        axes = ("zyy" + "zy" * len(links))[: len(links)]
    if not isinstance(axes, str):
        raise TypeError(f"axes must be text such as 'zyy', got {axes!r}")
    if len(axes) != len(links) or set(axes) - set(JOINTS):
        raise ValueError(
            f"axes must be {len(links)} letters y or z, one for each link, got {axes!r}"
        )
    forward = SpatialArm(jnp.asarray(links), axes)
    exact = AnalyticInverse(forward.all_postures, branches=True)
    return Simulator(forward, exact if axes == "zyy" else default_rule())


def _lengths(lengths: Any, least: float | None = None) -> np.ndarray:
    found = array("lengths", lengths, (None,))
    few, many = PLANAR
    if not few <= len(found) <= many:
        raise ValueError(f"an arm has {few} to {many} joints, got {len(found)} lengths")
    if least is None and (found <= 0).any():
        raise ValueError(f"lengths must be positive, got {found.min():.3g}")
    if (found < 0).any():
        raise ValueError(f"lengths must be zero or positive, got {found.min():.3g}")
    if found.sum() == 0:
        raise ValueError("lengths must not all be zero")
    return found


def _elbow(a: Array, b: Array, squares: Array) -> Array:
    """The angle between two links that span so much; NaN where they cannot."""
    cosine = (squares - a**2 - b**2) / (2 * a * b)
    inside = jnp.abs(cosine) <= 1
    # guarded twice, so that derivatives are finite at full stretch, too
    return jnp.where(inside, jnp.arccos(jnp.where(inside, cosine, 0.0)), jnp.nan)


def _near(postures: Array, x: Array) -> Array:
    """Each angle, turned to the nearest one to that of x."""
    return postures + TURN * jnp.round((x - postures) / TURN)


def _turn(axis: str, angle: Array) -> Array:
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    zero, one = jnp.zeros_like(angle), jnp.ones_like(angle)
    if axis == "z":
        rows = [[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]]
    else:
        rows = [[cosine, zero, sine], [zero, one, zero], [-sine, zero, cosine]]
    return jnp.stack([jnp.stack(row) for row in rows])
