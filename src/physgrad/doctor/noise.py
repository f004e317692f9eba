"""How much of a noise in z arrives in x: by J^+, and through the inverse itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from physgrad.doctor.directions import Spectrum
from physgrad.doctor.entries import Vector, length
from physgrad.doctor.subject import Subject
from physgrad.inverses.flat import real_array
from physgrad.inverses.settings import brief

LEVELS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""|noise| / |z0|, in the mean square."""


@dataclasses.dataclass(frozen=True)
class Level:
    """One size of noise: how much of it arrives in x."""

    level: float
    """|noise| / |z0|."""
    linear: float | None
    """Median |J^+ noise| / |x0|."""
    measured: float | None
    """Median |P^-1(z0 + noise) - P^-1(z0)| / |x0| over finite answers; None: none."""
    samples: int
    held: int
    """How many certificates hold: not where z0 + noise is out of range."""


@dataclasses.dataclass(frozen=True, eq=False)
class Uncertainty:
    """The standard deviations of x for a given noise in z: diag(J^+ C J^+T)^1/2."""

    deviations: Any
    """A PyTree like x. What z does not show of x is not counted."""
    by_leaf: tuple[tuple[str, float], ...]
    """Each leaf of x, and the largest of its standard deviations."""
    gain: float
    """(|deviations of x| / |x0|) / (|deviations of z| / |z0|)."""
    relative: float
    """|deviations of x| / |x0|."""
    size: float
    """The standard deviation of z, in the root mean square."""


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """How much of a noise in z arrives in x, both relative to their size."""

    worst_gain: float | None
    """Relative: |z0| / (smallest singular value |x0|)."""
    typical_gain: float | None
    """Relative, in the mean square over directions: |z0| |J^+|_F / (|x0| z^1/2)."""
    levels: tuple[Level, ...]
    uncertainty: Uncertainty | None
    """For the noise that was given, where J is dense."""


def noise_gain(
    subject: Subject,
    spectrum: Spectrum | None,
    covariance: np.ndarray | None,
    count: int,
    seed: int,
) -> Noise:
    """The noise of each level, and the given one, pulled back."""
    back = None
    if spectrum is not None and spectrum.dense and spectrum.rank:
        back = spectrum.pseudo_inverse()
    sizes = length(subject.z) / length(subject.x)
    worst = typical = uncertainty = None
    if back is not None:
        worst = float(sizes * np.linalg.norm(back, 2))
        typical = float(sizes * np.linalg.norm(back) / np.sqrt(subject.z.size))
        if covariance is not None:
            uncertainty = spread(subject, back, covariance)
    origin = subject.pull_back(subject.z).x
    random = np.random.default_rng(seed)
    draws = random.standard_normal((count, subject.z.size))
    draws *= length(subject.z) / np.sqrt(subject.z.size)
    levels = tuple(
        _level(subject, level, back, origin, draws)
        for level in LEVELS
        if not subject.patience_is_out
    )
    return Noise(worst, typical, levels, uncertainty)


def _level(
    subject: Subject,
    level: float,
    back: np.ndarray | None,
    origin: Vector,
    draws: np.ndarray,
) -> Level:
    unit = length(subject.x)
    answers = [subject.pull_back(subject.z + level * draw) for draw in draws]
    moved = [float(np.linalg.norm(a.x - origin)) / unit for a in answers]
    finite = [size for size in moved if np.isfinite(size)]
    linear = None
    if back is not None:
        linear = float(np.median(np.linalg.norm(level * draws @ back.T, axis=1))) / unit
    measured = float(np.median(finite)) if finite else None
    return Level(level, linear, measured, len(draws), sum(a.held for a in answers))


def spread(subject: Subject, back: np.ndarray, covariance: np.ndarray) -> Uncertainty:
    """diag(J^+ C J^+T)^1/2, with C a matrix or its diagonal."""
    if covariance.ndim == 1:
        variances, trace = back**2 @ covariance, covariance.sum()
    else:
        variances = np.einsum("ij,jk,ik->i", back, covariance, back)
        trace = np.trace(covariance)
    deviations = np.sqrt(np.maximum(variances, 0.0))
    by_leaf = tuple(
        (leaf.name, float(np.max(deviations[leaf.place])))
        for leaf in subject.x_leaves
        if leaf.size
    )
    relative = float(np.linalg.norm(deviations)) / length(subject.x)
    size = float(np.sqrt(trace / subject.z.size))
    z_relative = float(np.sqrt(trace)) / length(subject.z)
    gain = relative / z_relative if z_relative else 0.0
    tree = jax.tree.map(np.asarray, subject.x_tree(deviations))
    return Uncertainty(tree, by_leaf, gain, relative, size)


def as_covariance(noise: Any, subject: Subject) -> np.ndarray:
    """The covariance of z, or its diagonal, of what the user gave as noise.

    **Raises:** `TypeError`, `ValueError` for anything else than a number, a PyTree like
    z of standard deviations, or a covariance matrix (z entries, z entries).
    """
    z_tree = subject.z_tree(subject.z)
    shapes = [leaf.shape for leaf in jax.tree.leaves(z_tree)]
    arrays = [
        np.asarray(real_array(leaf, "noise"), float) for leaf in jax.tree.leaves(noise)
    ]
    if not arrays or not all(np.all(np.isfinite(array)) for array in arrays):
        raise ValueError(f"noise must be finite numbers, got {brief(noise)}")
    entries = subject.z.size
    like_z = jax.tree.structure(noise) == jax.tree.structure(z_tree)
    like_z = like_z and [array.shape for array in arrays] == shapes
    if like_z or [array.shape for array in arrays] == [()]:
        deviations = np.concatenate([np.ravel(array) for array in arrays])
        if np.any(deviations < 0):
            raise ValueError(
                f"noise must be standard deviations, zero or positive, got "
                f"{deviations.min():.3g}"
            )
        return np.broadcast_to(deviations**2, (entries,))
    if len(arrays) != 1 or arrays[0].shape != (entries, entries):
        got = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            "noise must be a standard deviation, a tree of them like z, or a "
            f"covariance matrix ({entries}, {entries}), got shape {got}"
        )
    matrix = arrays[0]
    least = np.linalg.eigvalsh((matrix + matrix.T) / 2)[0]
    floor = -1e-6 * np.max(np.abs(matrix))
    if not np.allclose(matrix, matrix.T, rtol=1e-5, atol=-floor) or least < floor:
        raise ValueError(
            "noise must be a covariance matrix, symmetric and positive, got one with "
            f"the eigenvalue {least:.3g}"
            if np.allclose(matrix, matrix.T)
            else "noise must be a covariance matrix, got one that is not symmetric"
        )
    return matrix
