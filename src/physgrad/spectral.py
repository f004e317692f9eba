"""Solutions by singular values: A = U S V^T, dx = V f(S) U^T b.

They are smooth in A also where singular values are equal, but U and V are not: the
derivative of the decomposition divides by s_i - s_j. So that of the solutions is
written down, with f continued to -S as an odd function and A as the block matrix
[[0, A], [A^T, 0]], whose eigenvalues are S and -S. It holds while the number of
singular values that are kept stays. A second derivative is one of the decomposition:
NaN where singular values are equal.

**Source:** Higham, Functions of Matrices, 2008, theorem 3.11 (Daleckii and Krein);
Noferini, "A formula for the Frechet derivative of a generalized matrix function",
SIAM J. Matrix Anal. Appl. 38, 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from physgrad.derivatives import undifferentiable

Values = Float[Array, " values"]
Pairs = Float[Array, "values values"]
Number = Float[Array, ""] | float

# Where s_i and s_j differ by less than this part of their sum, the difference quotient
# of f would lose digits: it is taken as the mean of f' between them, by Gauss's rule,
# which is exact to rounding at that distance.
NEAR = 0.05
NO_SECOND_DERIVATIVE = (
    "a metric handed on by SpectralInverse has no second derivative; differentiate "
    "the run once, or use LinearizedInverse() in the chain"
)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)


class Power(eqx.Module):
    """f(s) = s^power."""

    power: Number

    def __call__(self, s: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return s**self.power


class Damped(eqx.Module):
    """f(s) = s / (s^2 + damping)."""

    damping: Number

    def __call__(self, s: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        # written so that s^2 can neither overflow nor underflow
        return 1.0 / (s + self.damping / s)


Gain = Power | Damped


class Spectrum(NamedTuple):
    """A = U S V^T on its smaller side; singular values that were dropped are zero."""

    left: Float[Array, "z values"]
    """U."""
    values: Values
    """S, largest first."""
    right: Float[Array, "values x"]
    """V^T."""

    def solve(self, gain: Callable[[Values], Values], vector: Float[Array, " z"]):
        """dx = V f(S) U^T b, with f = `gain` where S is not dropped, else 0."""
        filtered = self.scaled(gain) * (self.left.T @ vector)
        return (self.right.T @ filtered).astype(vector.dtype)

    def scaled(self, gain: Callable[[Values], Values]) -> Values:
        """f(S), zero where a singular value was dropped."""
        kept = self.values > 0
        return jnp.where(kept, gain(jnp.where(kept, self.values, 1.0)), 0.0)

    def truncated(self, part: Number | None) -> Spectrum:
        """Singular values up to this part of the largest dropped, too."""
        if part is None:
            return self
        kept = self.values > part * self.values[0]
        return self._replace(values=jnp.where(kept, self.values, 0.0))


def spectrum(matrix: Float[Array, "z x"], truncation: Number | None = None) -> Spectrum:
    """The singular value decomposition A = U S V^T, small singular values dropped.

    A float64 matrix is decomposed itself: its Gram matrix would lose half of the
    digits. A float32 one has its Gram matrix of the smaller side taken in float64,
    where JAX has it, which is quicker and leaves float32 more digits than its own
    decomposition would; with x64 off it is decomposed as it is.

    **Arguments:**

    - `matrix`: A, shape (z entries, x entries).
    - `truncation`: values up to this part of the largest are dropped; None, or less
        than that, for max(z, x) eps, below which they are rounding.

    >>> import jax.numpy as jnp
    >>> spectrum(jnp.array([[2.0, 0.0], [0.0, 1e-9]])).values
    Array([2., 0.], dtype=float32)

    **Source:** Golub and Van Loan, Matrix Computations, 4th ed., sections 2.4 and 8.6.
    """
    floor = max(matrix.shape) * float(jnp.finfo(matrix.dtype).eps)
    if matrix.dtype == jnp.float32 and jnp.result_type(float) == jnp.float64:
        left, values, right = _by_gram_matrix(matrix.astype(jnp.float64))
    else:
        left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    return Spectrum(left, values, right).truncated(floor).truncated(truncation)


def _by_gram_matrix(
    matrix: Float[Array, "z x"],
) -> tuple[Float[Array, "z values"], Values, Float[Array, "values x"]]:
    """U, S, V^T from the eigenvectors of A A^T or A^T A, the smaller of them."""
    if matrix.shape[0] > matrix.shape[1]:
        right, values, left = _by_gram_matrix(matrix.T)
        return left.T, values, right.T
    squares, vectors = jnp.linalg.eigh(matrix @ matrix.T)  # smallest first
    values = jnp.sqrt(jnp.maximum(squares, 0.0))[::-1]
    left = vectors[:, ::-1]
    right = left.T @ matrix / jnp.where(values > 0, values, 1.0)[:, None]
    return left, values, right


def filtered_solution(
    matrix: Float[Array, "z x"],
    vector: Float[Array, " z"],
    gain: Gain,
    truncation: Number | None = None,
) -> Float[Array, " x"]:
    """dx = V f(S) U^T b, zero where a singular value is dropped.

    It can be differentiated with respect to A, b and the number in f.

    >>> import jax, jax.numpy as jnp
    >>> half = lambda a: filtered_solution(a * jnp.eye(2), jnp.ones(2), Power(-0.5))
    >>> print(jax.jacfwd(half)(4.0))                       # -1/2 4^(-3/2), twice
    [-0.0625 -0.0625]
    """
    return _solution(matrix, vector, gain, truncation)


def damped_solution(
    matrix: Float[Array, "z x"], vector: Float[Array, " z"], damping: Number = 0.0
) -> Float[Array, " x"]:
    """dx = (A^T A + damping I)^+ A^T b = V S / (S^2 + damping) U^T b.

    A rank-deficient A gives the least-norm solution, never infinity.

    **Source:** Hansen, Rank-Deficient and Discrete Ill-Posed Problems, section 4.2.

    >>> import jax.numpy as jnp
    >>> damped_solution(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([4.0, 1.0]))
    Array([2., 0.], dtype=float32)
    """
    return _solution(matrix, vector, Damped(damping), None)


def gram_solution(
    matrix: Float[Array, "z x"],
    vector: Float[Array, " z"],
    gain: Gain,
    truncation: Number | None = None,
) -> Float[Array, " x"]:
    """dx = V f(S) U^T b by the eigenvectors of A A^T or A^T A, the smaller, in float64.

    Several times as quick as a decomposition of A, at half of its digits: singular
    values below sqrt(max(z, x) eps) of the largest are rounding, and dropped. With x64
    off it is the decomposition, since a Gram matrix in float32 would be wrong in its
    first digit.

    >>> import jax.numpy as jnp
    >>> gram_solution(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.ones(2), Power(-1.0))
    Array([0.5, 0. ], dtype=float32)
    """
    if jnp.result_type(float) != jnp.float64:
        return spectrum(matrix, truncation).solve(gain, vector)
    a, b = matrix.astype(jnp.float64), vector.astype(jnp.float64)
    wide = a.shape[0] <= a.shape[1]
    squares, vectors = jnp.linalg.eigh(a @ a.T if wide else a.T @ a)  # smallest first
    floor = max(a.shape) * float(jnp.finfo(a.dtype).eps)
    part = floor if truncation is None else jnp.maximum(truncation**2, floor)
    kept = squares > part * squares[-1]
    values = jnp.sqrt(jnp.where(kept, squares, 1.0))
    ratios = jnp.where(kept, gain(values) / values, 0.0)
    if wide:
        dx = a.T @ (vectors @ (ratios * (vectors.T @ b)))
    else:
        dx = vectors @ (ratios * (vectors.T @ (a.T @ b)))
    return dx.astype(vector.dtype)


class _Filtered(NamedTuple):
    """A and f(S), as derivatives need them; what is rounding in S counts as zero."""

    left: Float[Array, "z values"]
    """U, zero where S is."""
    values: Values
    """S, those that only `truncation` drops included."""
    right: Float[Array, "x values"]
    """V, zero where S is."""
    gains: Values
    """f(S), zero where dropped."""
    ratios: Values
    """f(S) / S, zero where dropped."""
    slopes: Pairs
    """D_ij = (f_i - f_j) / (s_i - s_j), f'(s_i) where they are equal."""
    kept: Spectrum


def _filtered(
    matrix: Float[Array, "z x"], gain: Gain, truncation: Number | None
) -> _Filtered:
    seen = spectrum(matrix)
    kept = seen.truncated(truncation)
    gains, ratios = kept.scaled(gain), kept.scaled(lambda s: gain(s) / s)
    slopes = _slopes(gain, gains, seen.values, kept.values > 0)
    left, right = (m * (seen.values > 0) for m in (seen.left, seen.right.T))
    return _Filtered(left, seen.values, right, gains, ratios, slopes, kept)


def _slopes(gain: Gain, gains: Values, values: Values, kept: Array) -> Pairs:
    """D_ij = (f_i - f_j) / (s_i - s_j), f'(s_i) where they are equal."""
    gap, total = values[:, None] - values, values[:, None] + values
    near = (kept[:, None] == kept) & (jnp.abs(gap) <= NEAR * total)
    far = (gains[:, None] - gains) / jnp.where(near, 1.0, gap)
    inside = near & kept
    nodes = (jnp.asarray(NODES, values.dtype)[:, None, None] * gap + total) / 2
    nodes = jnp.where(inside, nodes, 1.0)
    _, slopes = jax.jvp(gain, (nodes,), (jnp.ones_like(nodes),))
    mean = jnp.tensordot(jnp.asarray(WEIGHTS / 2, values.dtype), slopes, 1)
    return jnp.where(near, jnp.where(inside, mean, 0.0), far)


@jax.custom_jvp
def _solution(
    matrix: Float[Array, "z x"],
    vector: Float[Array, " z"],
    gain: Gain,
    truncation: Number | None,
) -> Float[Array, " x"]:
    return spectrum(matrix, truncation).solve(gain, vector)


@_solution.defjvp
def _solution_jvp(primals: Any, tangents: Any) -> Any:
    """d(G b) = dG b + G db + V df(S) U^T b, with G = V f(S) U^T.

    dG = V K U^T + (I - V V^T) dA^T U f/S U^T + V f/S V^T dA^T (I - U U^T),
    K_ij = D_ij (E_ij + E_ji) / 2 - T_ij (E_ij - E_ji) / 2, E = U^T dA V,
    D_ij = (f_i - f_j) / (s_i - s_j), T_ij = (f_i + f_j) / (s_i + s_j).
    """
    matrix, vector, gain, truncation = primals
    d_matrix, d_vector, d_gain, _ = tangents
    of = _filtered(matrix, gain, truncation)
    u, v = of.left, of.right
    e = u.T @ d_matrix @ v
    total = of.values[:, None] + of.values
    means = (of.gains[:, None] + of.gains) / jnp.where(total > 0, total, 1.0)
    k = (of.slopes * (e + e.T) - means * (e - e.T)) / 2
    _, d_gains = jax.jvp(of.kept.scaled, (gain,), (d_gain,))

    b = u.T @ vector
    outside = d_matrix.T @ (u @ (of.ratios * b))
    rest = v.T @ (d_matrix.T @ (vector - u @ b))
    within = k @ b + of.ratios * rest + of.gains * (u.T @ d_vector) + d_gains * b
    dx = v @ (within - v.T @ outside) + outside
    return of.kept.solve(gain, vector), dx.astype(vector.dtype)


@jax.custom_jvp
def largest_value(matrix: Float[Array, "z x"]) -> Float[Array, ""]:
    """s_1, the largest singular value, with ds_1 = u_1^T dA v_1.

    Where several are the largest it has no derivative: the mean over them is taken,
    whatever basis the decomposition chose.

    >>> import jax.numpy as jnp
    >>> print(largest_value(jnp.array([[0.0, 3.0], [2.0, 0.0]])))
    3.0
    """
    return spectrum(matrix).values[0]


@largest_value.defjvp
def _largest_value_jvp(primals: Any, tangents: Any) -> Any:
    (matrix,), (d_matrix,) = primals, tangents
    left, values, right = spectrum(matrix)
    rounding = max(matrix.shape) * jnp.finfo(matrix.dtype).eps
    top = lax.stop_gradient((values >= (1 - rounding) * values[0]) & (values > 0))
    each = jnp.sum(left * (d_matrix @ right.T), axis=0)
    mean = jnp.sum(jnp.where(top, each, 0.0)) / jnp.maximum(jnp.sum(top), 1)
    return values[0], mean.astype(values.dtype)


@jax.custom_jvp
def metric_factor(
    matrix: Float[Array, "z x"], gain: Gain, truncation: Number | None
) -> Float[Array, "values x"]:
    """R = f(S) V^T, the factor of the metric R^T R = V f(S)^2 V^T.

    R is not smooth where singular values are equal, but R^T R is: the derivative is
    that of R^T R, and of R up to a rotation Q R, on which no metric depends.

    **Raises:** `NotImplementedError` for a second derivative, where the rotation
    would have to be known.
    """
    parts = spectrum(matrix, truncation)
    return (parts.scaled(gain)[:, None] * parts.right).astype(matrix.dtype)


@metric_factor.defjvp
def _metric_factor_jvp(primals: Any, tangents: Any) -> Any:
    """dR = V^T d(V f(S) V^T) + df(S) V^T, as if V^T were a fixed rotation.

    dR = K V^T + f/S U^T dA (I - V V^T) + df(S) V^T,
    K_ij = (s_i E_ij + s_j E_ji) (f_i - f_j) / (s_i^2 - s_j^2), E = U^T dA V.
    """
    matrix, gain, truncation = undifferentiable(primals, NO_SECOND_DERIVATIVE)
    d_matrix, d_gain, _ = tangents
    of = _filtered(matrix, gain, truncation)
    u, v = of.left, of.right
    image = u.T @ d_matrix
    e = image @ v
    pushed = of.values[:, None] * e
    total = of.values[:, None] + of.values
    k = (pushed + pushed.T) * of.slopes / jnp.where(total > 0, total, 1.0)
    _, d_gains = jax.jvp(of.kept.scaled, (gain,), (d_gain,))

    turned = k + jnp.diag(d_gains) - of.ratios[:, None] * e
    d_factor = turned @ v.T + of.ratios[:, None] * image
    # a row that is zero turns nothing
    d_factor = jnp.where((of.kept.values > 0)[:, None], d_factor, 0.0)
    factor = of.gains[:, None] * of.kept.right
    return factor.astype(matrix.dtype), d_factor.astype(matrix.dtype)
