"""The spectrum of the Jacobian: what can be seen of x, and what cannot."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from physgrad.doctor.entries import Vector, in_words, unseen_in_words
from physgrad.doctor.subject import Matrix, Subject
from physgrad.spectral import spectrum

# The Jacobian is dense up to so many entries on its smaller side, and in all.
DENSE_SIDE, DENSE_ENTRIES = 1000, 2**24
# Null directions that are worked out, and directions that are put in words.
MOST_NULL, SHOWN = 64, 3
# A direction is weakly seen below this part of the largest singular value.
WEAK = 1e-3
# Without the matrix: singular values kept, and vectors that they are looked for with.
TOP, KRYLOV = 8, 32

Rows = Float[np.ndarray, "_ x"]


@dataclasses.dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of J at x0, and the directions of x that z does not show."""

    shape: tuple[int, int]
    """(z entries, x entries)."""
    values: Vector
    """Largest first; zero where they are rounding. Not dense: the largest ones."""
    dense: bool
    """Whether these are all singular values."""
    rank: int
    """How many are not zero; not dense: at least so many."""
    null_directions: Rows
    """Orthonormal rows with J v = 0, one for each; not dense: none are worked out."""
    null_count: int
    """How many there are; not dense: at least so many."""
    unseen: tuple[str, ...]
    """The first null directions in the names of the user."""
    weak: tuple[str, ...]
    """Directions below 1e-3 of the largest singular value, weakest first, in words."""
    scaled_rank: int | None = None
    """The rank once rows and columns are brought to one size; None if not dense."""
    left: np.ndarray | None = None
    """U of the singular values that are not zero, (z, rank); None if not dense."""
    right: np.ndarray | None = None
    """V^T of them, (rank, x); None if not dense."""

    @property
    def condition(self) -> float:
        """Largest over smallest value that is not zero; not dense: at least this."""
        return float(self.values[0] / self.values[self.rank - 1]) if self.rank else 1.0

    @property
    def deficient(self) -> bool:
        """Whether J has less than full rank, whatever the units of x and z."""
        return self.scaled_rank is not None and self.scaled_rank < min(self.shape)

    @property
    def badly_scaled(self) -> bool:
        """Whether some of the rank is lost to the units of x and z alone."""
        return self.scaled_rank is not None and self.rank < self.scaled_rank

    def pseudo_inverse(self) -> Matrix:
        """J^+ = V S^-1 U^T, shape (x entries, z entries) (`ValueError`: not dense)."""
        if self.left is None or self.right is None:
            raise ValueError("J^+ needs all singular values of J, got the largest")
        return (self.right.T / self.values[: self.rank]) @ self.left.T


def fits(subject: Subject) -> bool:
    """Whether J may be dense."""
    rows, columns = subject.z.size, subject.x.size
    return min(rows, columns) <= DENSE_SIDE and rows * columns <= DENSE_ENTRIES


def dense_spectrum(subject: Subject, jacobian: Matrix) -> Spectrum:
    """J = U S V^T."""
    parts = spectrum(jnp.asarray(jacobian, subject.dtype))
    values, left, right = (
        np.asarray(part, float) for part in (parts.values, parts.left, parts.right)
    )
    rank = int(np.sum(values > 0))
    left, right = left[:, :rank], right[:rank]
    null = null_directions(right)
    largest = np.max(values, initial=0.0)
    floor = max(jacobian.shape) * subject.eps * largest
    seen = np.max(np.abs(jacobian), axis=0) > floor
    order = range(rank - 1, -1, -1)
    weak = [right[i] for i in order if values[i] < WEAK * values[0]]
    return Spectrum(
        (subject.z.size, subject.x.size),
        values,
        True,
        rank,
        null,
        subject.x.size - rank,
        tuple(unseen_in_words(subject.x_leaves, v, seen) for v in null[:SHOWN]),
        tuple(in_words(subject.x_leaves, v) for v in weak[:SHOWN]),
        max(rank, scaled_rank(jacobian, subject.eps)),
        left,
        right,
    )


def scaled_rank(matrix: Matrix, eps: float) -> int:
    """The rank of a matrix whose columns, then rows, are divided by their size.

    >>> scaled_rank(np.diag([1e9, 1e-9, 0.0]), 1e-7)
    2
    """
    for axis in (0, 1):
        size = np.max(np.abs(matrix), axis=axis, keepdims=True)
        matrix = matrix / np.where(size > 0, size, 1.0)
    values = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(values > max(matrix.shape) * eps * values[0]))


def null_directions(right: Rows) -> Rows:
    """An orthonormal basis of what is orthogonal to the rows of V^T, 64 at most.

    One after another the projection (I - V V^T - N N^T) e of the entry that is seen
    least, so that each direction has few entries where that is possible.

    **Source:** a pivoted Cholesky factorization of the projector; Higham, Accuracy and
    Stability of Numerical Algorithms, 2nd ed., section 10.3.

    >>> null_directions(np.array([[1.0, 0.0, 0.0]])).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    seen, found = right, np.zeros((0, right.shape[1]))
    for _ in range(min(right.shape[1] - len(right), MOST_NULL)):
        place = int(np.argmin(np.sum(seen**2, axis=0).round(9)))
        direction = np.eye(1, right.shape[1], place)[0]
        for _ in range(2):  # twice is enough
            direction = direction - seen.T @ (seen @ direction)
        direction /= np.linalg.norm(direction)
        seen, found = np.vstack([seen, direction]), np.vstack([found, direction])
    return found + 0.0  # no negative zeros


def leading_spectrum(subject: Subject, seed: int) -> Spectrum:
    """The largest singular values from products with J and J^T, by Lanczos' method.

    V spans v, J^T J v, (J^T J)^2 v, ..., orthogonalized anew; the largest singular
    values of J V are close to those of J from below.

    **Source:** Golub and Van Loan, Matrix Computations, 4th ed., section 10.4.
    """
    rows, columns = subject.z.size, subject.x.size
    basis, images = np.zeros((0, columns)), np.zeros((0, rows))
    vector = np.random.default_rng(seed).standard_normal(columns)
    while len(basis) < min(KRYLOV, rows, columns):
        before = np.linalg.norm(vector)
        for _ in range(2):  # twice is enough
            vector = vector - basis.T @ (basis @ vector)
        if not np.linalg.norm(vector) > subject.eps * before:
            break  # the rest of J is zero
        vector = vector / np.linalg.norm(vector)
        image = subject.jvp(vector)
        basis, images = np.vstack([basis, vector]), np.vstack([images, image])
        vector = subject.vjp(image)
    values = np.linalg.svd(images, compute_uv=False)[:TOP]
    floor = max(rows, columns) * subject.eps * values[0]
    values = np.where(values > floor, values, 0.0)
    rank, missing = int(np.sum(values > 0)), max(0, columns - rows)
    none = np.zeros((0, columns))
    return Spectrum((rows, columns), values, False, rank, none, missing, (), ())
