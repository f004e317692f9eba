"""Steps of a network's parameters by the Jacobian of what the physics behind it gives.

dtheta = eta V S^-p U^T B^1/2 dz, with B^1/2 J = U S V^T of a whole batch,
J = dz/dtheta, dz = -B^-1 dL/dz: transformations for Optax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from physgrad.inverses.flat import Flat, Scalar, flatten
from physgrad.inverses.settings import brief, finite, fraction, optional, positive
from physgrad.inverses.settings import whole_number as whole
from physgrad.inverses.trees import in_precision
from physgrad.objective.z_step import as_z_metric
from physgrad.results import MissingExtra
from physgrad.spectral import Damped, Power
from physgrad.train.batch import Batch
from physgrad.train.judged import as_loss

# Of Krylov spaces, where the Jacobian is above 1 GiB.
KRYLOV_STEPS = 64
MEAN, SUM = "mean", "sum"
ONLY_ARRAYS = "; equinox.partition(network, equinox.is_inexact_array) has them apart"


class SpectralState(NamedTuple):
    """What `spectral_step` counts."""

    skipped: Int[Array, ""]
    """Batches without a step, since it was not finite."""


class DampedState(NamedTuple):
    """What `levenberg_marquardt` knows."""

    damping: Scalar
    """Relative to the size of J^T B J."""
    skipped: Int[Array, ""]
    """Batches without a step: not finite, or a sample had no Newton step in z."""
    rejected: Int[Array, ""]
    """Batches without a step, since the loss would not have fallen."""
    ratio: Scalar
    """The fall of the loss over that of its model, at the last batch."""


def spectral_step(
    power: Any,
    step_size: Any = 1.0,
    truncation: Any = None,
    *,
    metric: Any = "gradient",
    loss: Any = None,
    reduction: Any = MEAN,
    krylov_steps: int | None = None,
) -> Any:
    """An Optax transformation by the singular values of J, any power of them.

    dtheta = step_size V S^-power U^T B^1/2 dz,  B^1/2 J = U S V^T,  dz = -B^-1 dL/dz

    J = dz/dtheta of the whole batch, (samples times entries of z) x parameters, of the
    *physical output* z of a network and the simulator behind it. Power 1 is
    Gauss-Newton's step, 1/2 the half inverse, -1 with B = I gradient descent.

    `update` takes the function and the samples by name, and does not look at gradients:

        updates, state = step.update(None, state, params,
                                     output=output, inputs=inputs, targets=targets)

    - `output`: z of one sample, `output(params, inputs)`; a network, then a simulator.
    - `inputs`, `targets`: PyTrees of arrays whose first axis counts the samples. A
        target may be a `SquaredLoss(target, weight)`, whose weight masks entries.

    J is built sample by sample, and solved on its smaller side: by its Gram matrix in
    float64, or with x64 off by its decomposition in float32, which for a large J takes
    ten times as long. Above 1 GiB it is not built: V f(S) U^T comes from a Krylov
    space.

    **Arguments:**

    - `power`: p, a finite number.
    - `step_size`: eta.
    - `truncation`: singular values up to this part of the largest are dropped, and
        in any case those that are rounding, up to sqrt(max(rows, parameters) eps), some
        1e-6 in float64; None for these alone.
    - `metric`: B, as in `PhysicalGradient`: "gradient" for I, as published; "newton"
        for the Hessian of the loss.
    - `loss`: L(z, target) of a sample; None for the sum of squares. For "newton" its
        Hessian must be positive definite: a batch where it is not is skipped, and
        counted in the state; "gradient" has a step everywhere.
    - `reduction`: "mean" or "sum" of the samples' losses. With B = I it decides how
        long the step is: with "sum" it is as many times longer as there are samples.
    - `krylov_steps`: products with J and J^T each, where it is not built; None for 64.

    Numbers may be those of `optax.inject_hyperparams`; a schedule of the step size goes
    behind the step, as `optax.scale_by_schedule` in an `optax.chain`.

    **Raises:** `TypeError`, `ValueError` for wrong values or kinds of these;
    `MissingExtra` without Optax.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> gauss_newton = pg.train.spectral_step(power=1, metric="newton")
    >>> params, xs = jnp.array([0.0]), jnp.array([1.0, 2.0])
    >>> updates, _ = gauss_newton.update(
    ...     None, gauss_newton.init(params), params,
    ...     output=lambda a, x: a * x, inputs=xs, targets=3 * xs[:, None])
    >>> print((params + updates).round(4))
    [3.]

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022, section 2.
    """
    settings = (
        finite("power")(power),
        positive("step_size")(step_size),
        optional(fraction("truncation"))(truncation),
        as_z_metric(metric),
    )
    batch_loss, steps = _batch_loss(loss, reduction), _krylov_steps(krylov_steps)

    def init(params: PyTree) -> SpectralState:
        flatten(params, "params", ONLY_ARRAYS)
        return SpectralState(jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: SpectralState, params: PyTree = None, **batch: Any
    ) -> tuple[PyTree, SpectralState]:
        flat, samples = batch_loss.batch(params, batch)
        power, step_size, part, metric = in_precision(settings, flat.dtype)
        model = samples.model(flat, metric, steps)
        step = step_size * model.solve(Power(-power), part)
        finite = jnp.all(jnp.isfinite(step))
        step = jnp.where(finite, step, 0.0)
        return samples.unravel(step), SpectralState(state.skipped + ~finite)

    return _transformation(init, update)


def half_inverse(
    step_size: Any = 1.0,
    truncation: Any = 1e-6,
    *,
    metric: Any = "gradient",
    loss: Any = None,
    reduction: Any = MEAN,
    krylov_steps: int | None = None,
) -> Any:
    """Half-inverse gradients, dtheta = -step_size V S^-1/2 U^T dL/dz, for Optax.

    `spectral_step` with power 1/2; as published B = I, and L is a mean over the batch.

    **Arguments:** `truncation`: singular values up to this part of the largest are
    dropped. Others, and the errors, as in `spectral_step`.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> step, params = pg.train.half_inverse(reduction="sum"), jnp.array([0.0])
    >>> batch = {"inputs": jnp.array([4.0]), "targets": jnp.array([[8.0]])}
    >>> updates, _ = step.update(
    ...     None, step.init(params), params, output=lambda a, x: a * x, **batch)
    >>> print(updates)                                         # 4^(-1/2) 2 (8 - 0)
    [8.]

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022.
    """
    return spectral_step(
        0.5,
        step_size,
        truncation,
        metric=metric,
        loss=loss,
        reduction=reduction,
        krylov_steps=krylov_steps,
    )


def gauss_newton(
    step_size: Any = 1.0,
    truncation: Any = 1e-6,
    *,
    metric: Any = "newton",
    loss: Any = None,
    reduction: Any = MEAN,
    krylov_steps: int | None = None,
) -> Any:
    """Gauss-Newton's step of the parameters, dtheta = step_size (B^1/2 J)^+ B^1/2 dz.

    `spectral_step` with power 1, by default in the metric of the loss, B = H_L, where
    the reduction does not matter. On a batch with fewer rows than there are parameters
    it fits that batch alone: `levenberg_marquardt` is the safer one.

    **Arguments**, and errors, as in `spectral_step`.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> step, params = pg.train.gauss_newton(), jnp.array([0.0])
    >>> batch = {"inputs": jnp.array([4.0]), "targets": jnp.array([[8.0]])}
    >>> updates, _ = step.update(
    ...     None, step.init(params), params, output=lambda a, x: a * x, **batch)
    >>> print(updates.round(4))
    [2.]

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 10.3.
    """
    return spectral_step(
        1.0,
        step_size,
        truncation,
        metric=metric,
        loss=loss,
        reduction=reduction,
        krylov_steps=krylov_steps,
    )


def levenberg_marquardt(
    damping: Any = 1e-3,
    *,
    metric: Any = "newton",
    loss: Any = None,
    reduction: Any = MEAN,
    krylov_steps: int | None = None,
) -> Any:
    """Levenberg and Marquardt's step of the parameters, for Optax.

    dtheta = (J^T B J + lambda I)^-1 J^T B dz

    lambda follows from batch to batch the gain ratio, the fall of the batch's loss over
    that of its linear model: a step that would raise the loss is not taken, and lambda
    grows threefold; one that does as the model says lets it shrink to a third. It is
    relative to the size of J^T B J along the gradient. A batch that is not finite is
    no step, and leaves lambda as it is.

    `update` takes `output`, `inputs` and `targets`, as `spectral_step` does.

    **Arguments:** `damping`: lambda at the start. Others as in `spectral_step`.

    **Raises:** `TypeError`, `ValueError` for wrong values or kinds of these;
    `MissingExtra` without Optax.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> step, params = pg.train.levenberg_marquardt(1e-6), jnp.array([0.0])
    >>> batch = {"inputs": jnp.array([4.0]), "targets": jnp.array([[8.0]])}
    >>> updates, _ = step.update(
    ...     None, step.init(params), params, output=lambda a, x: a * x, **batch)
    >>> print(updates.round(4))
    [2.]

    **Source:** Nielsen, "Damping parameter in Marquardt's method", 1999.
    """
    start, z_metric = positive("damping")(damping), as_z_metric(metric)
    batch_loss, steps = _batch_loss(loss, reduction), _krylov_steps(krylov_steps)

    def init(params: PyTree) -> DampedState:
        flat, _ = flatten(params, "params", ONLY_ARRAYS)
        now = jnp.asarray(start, flat.dtype)
        none = jnp.zeros((), jnp.int32)
        return DampedState(now, none, none, jnp.zeros_like(now))

    def update(
        updates: PyTree, state: DampedState, params: PyTree = None, **batch: Any
    ) -> tuple[PyTree, DampedState]:
        flat, samples = batch_loss.batch(params, batch)
        model = samples.model(flat, in_precision(z_metric, flat.dtype), steps)
        step = model.solve(Damped(state.damping * model.curvature()), None)
        fall = model.value - samples.value(flat + step)
        ratio = fall / model.decrease(step)
        seen = jnp.isfinite(model.value) & jnp.all(jnp.isfinite(step))
        taken = seen & (fall > 0)
        factor = jnp.where(taken, jnp.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3), 3.0)
        factor = jnp.where(seen, factor, 1.0)  # of a broken batch nothing is learned
        limits = jnp.finfo(flat.dtype)
        new = jnp.clip(state.damping * factor, limits.eps**2, limits.eps**-0.5)
        skipped, rejected = state.skipped + ~seen, state.rejected + (seen & ~taken)
        step = jnp.where(taken, step, 0.0)
        return samples.unravel(step), DampedState(new, skipped, rejected, ratio)

    return _transformation(init, update)


class _BatchLoss(NamedTuple):
    """What the loss of a batch is."""

    loss: Callable | None
    reduction: str

    def batch(self, params: PyTree, batch: dict[str, Any]) -> tuple[Flat, Batch]:
        """The parameters as a vector, and the samples."""
        missing = [name for name in _BATCH if name not in batch]
        if params is None or missing:
            what = ["params"] * (params is None) + missing
            raise ValueError(
                f"update needs params, and by name output, inputs and targets; got no "
                f"{', '.join(what)}"
            )
        if not callable(batch["output"]):
            raise TypeError(
                "output must be a function (params, inputs) -> z, got "
                f"{brief(batch['output'])}"
            )
        flat, unravel = flatten(params, "params", ONLY_ARRAYS)
        inputs, targets = batch["inputs"], batch["targets"]
        count = _count(inputs, targets)
        weight = flat.dtype.type(1 / count if self.reduction == MEAN else 1.0)
        samples = Batch(batch["output"], inputs, targets, self.loss, weight, unravel)
        return flat, samples


def _krylov_steps(value: Any) -> int:
    # None is the default, since inject_hyperparams would make an array of a number
    return KRYLOV_STEPS if value is None else whole("krylov_steps", 1)(value)


def _batch_loss(loss: Any, reduction: Any) -> _BatchLoss:
    if reduction not in (MEAN, SUM):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {brief(reduction)}")
    return _BatchLoss(as_loss(loss), reduction)


_BATCH = ("output", "inputs", "targets")


def _count(inputs: PyTree, targets: PyTree) -> int:
    """How many samples there are (`ValueError` for none, or not the same number)."""
    sizes = {
        name: {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tree)}
        for name, tree in (("inputs", inputs), ("targets", targets))
    }
    found = sizes["inputs"] | sizes["targets"]
    if len(found) != 1 or () in found or not sizes["inputs"]:
        told = {name: sorted(found) for name, found in sizes.items()}
        raise ValueError(
            "inputs and targets must have the same number of samples along their first "
            f"axes, got {told['inputs']} and {told['targets']}"
        )
    ((count,),) = found
    if count == 0:
        raise ValueError("a batch must have at least one sample, got none")
    return count


def _transformation(init: Callable, update: Callable) -> Any:
    try:
        import optax  # the extra "train"
    except ImportError as error:
        raise MissingExtra("optax", "train", "steps of parameters") from error
    return optax.GradientTransformationExtraArgs(init, update)
