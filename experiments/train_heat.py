"""Networks that see where the heat was: 50 steps of Adam, batches of 128.

A U-net of 37,697 numbers in float32 gives x, boxes on 64 by 64 cells, from z, their
heat after nu t = 8; physics in float64; always new samples, 128 others of validation.
Losses and errors are half the squares, summed over the cells. All methods but SGD, with
momentum at the published rate, are Adam, at a rate of 1e-3:

- adam: on the loss itself.
- physical: with the inverse that knows the rounding of z; and with the published one,
  which amplifies a wave where that is more likely to be signal than noise.
- supervised: on |x - x*|^2 / 2.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from methods import verdict
from trainings import Budget, Plan, Results

import physgrad as pg
from physgrad.train.experiment import Experiment
from physgrad.train.experiments.heat_inversion import DURATION, SIDE, heat

PUBLISHED = "physical, published inverse"
TINY, SMALL = 1e-300, 16


class PublishedInverse(pg.Inverse):
    """x+ = x + F^-1 [exp(L action) F (z~ - z)]; it promises nothing.

    With p, how much likelier a wave is signal of the amplitude it was made with than
    noise of 1e-6 of all of z~ - z, action is 2 (p - 1/2), and 0 where p is between 1/2
    and 0.68.

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, section 4.3 (and its code).
    """

    exponents: Float[Array, "side side"]
    """L, of each wave."""

    def pull_back(
        self, forward: Any, z_target: Array, state: Any, metric: Any
    ) -> pg.PullBack:
        """The point of the formula, and by how much it misses z~."""
        del metric
        missing = (z_target - state.z).reshape(self.exponents.shape)
        back = jnp.fft.ifft2(self._amplified(missing)).real
        x = state.x + back.ravel()
        z = forward(x)
        residual = jnp.max(jnp.abs(z - z_target))
        known = jnp.asarray(pg.Result.completed.code)
        spent = pg.Evaluations(forward=1, inverse=1)
        return pg.PullBack(x, z, residual, known, evaluations=spent)

    def _amplified(self, missing: Array) -> Array:
        waves = jnp.fft.fft2(missing)
        noise = 1e-6 * jnp.sqrt(jnp.sum(missing**2)) + TINY
        made_with = SIDE * jnp.exp(-self.exponents) + TINY
        signal = jnp.exp(-0.5 * (jnp.abs(waves) / made_with) ** 2)
        other = jnp.exp(-0.5 * (jnp.abs(waves) / noise) ** 2)
        both = signal + other
        likely = jnp.where(both > 0, signal / jnp.where(both > 0, both, 1.0), 0.0)
        undecided = (likely > 0.5) & (likely < 0.68)
        action = jnp.where(undecided, 0.0, 2 * (likely - 0.5))
        return waves * jnp.exp(self.exponents * action)


def small_or_whole(quick: bool) -> Experiment:
    """The experiment."""
    return heat(SMALL if quick else SIDE)


def with_published_inverse(quick: bool) -> Experiment:
    """The experiment with the inverse that was published for it."""
    experiment = small_or_whole(quick)
    side = SMALL if quick else SIDE
    along = np.fft.fftfreq(side, SIDE / side)
    exponents = (2 * np.pi) ** 2 * (along[:, None] ** 2 + along**2) * DURATION
    rule = PublishedInverse(jnp.asarray(exponents))

    def simulator(sample: Any) -> pg.Simulator:
        known: Any = experiment.simulator(sample)
        return pg.Simulator(known.forward, rule)

    return dataclasses.replace(experiment, simulator=simulator)


PLAN = Plan(
    "heat",
    {
        "adam": ("adam",),
        "sgd": ("sgd:learning_rate=3e-4",),
        "physical": ("physical",),
        PUBLISHED: ("physical",),
        "supervised": ("supervised",),
    },
    Budget(epochs=50),
    by_x=True,
    builds={"": small_or_whole, PUBLISHED: with_published_inverse},
)
cases, run, draw = PLAN.cases, PLAN.run, PLAN.draw


def report(results: Results, quick: bool) -> str:
    """The table, and whether the goals were reached."""
    del quick
    ours, published, plain = (
        _last_part(results, label) for label in ("physical", PUBLISHED, "adam")
    )
    goals = [
        verdict(
            f"plain over physical, in errors of x, at least 1.25 ({plain / ours:.2f})",
            plain >= 1.25 * ours,
        ),
        verdict(
            f"no worse than with the published inverse ({ours / published:.2f} times)",
            ours <= 1.05 * published,
        ),
    ]
    return "\n".join([PLAN.report(results), *goals, ""])


def _last_part(results: Results, label: str) -> float:
    """The mean error in x of the last 10 steps."""
    _, (found,) = PLAN.chosen(results)[label]
    return float(np.mean([error for _, error in found["way"][1:][-10:]]))
