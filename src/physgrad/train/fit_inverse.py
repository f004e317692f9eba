"""Train a network to be the inverse of a simulator, by round trips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from physgrad.inverses.flat import Scalar, call_user
from physgrad.inverses.learned import LearnedInverse
from physgrad.inverses.settings import brief, whole_number
from physgrad.results import MissingExtra


def fit_inverse(
    network: Callable,
    simulator: Callable,
    sample: Callable,
    key: Array,
    num_steps: int = 1000,
    batch_size: int = 128,
    *,
    optimizer: Any = None,
) -> LearnedInverse:
    """A `LearnedInverse` from a network that is trained by round trips.

    minimize the mean of |n(P(x)) - x|^2 over x drawn at random, new ones at each step.

    **Arguments:**

    - `network`: x = n(z), a module of arrays, such as one of Equinox.
    - `simulator`: z = P(x).
    - `sample`: x from a key, `sample(key)`: where the inverse will be needed.
    - `key`: of JAX; the same key gives the same network.
    - `num_steps`, `batch_size`: of the training.
    - `optimizer`: an Optax transformation; None for Adam with a learning rate of 1e-3.

    **Raises:** `TypeError`, `ValueError` for counts that are not positive, or an
    optimizer that is none; `RuntimeError` where the training ends in NaN;
    `MissingExtra` without Optax.

    >>> import equinox as eqx, jax, jax.numpy as jnp, physgrad as pg
    >>> network = eqx.nn.MLP(1, 1, 16, 1, key=jax.random.key(0))
    >>> simulator = pg.Simulator(lambda x: x + x**3)
    >>> sample = lambda key: jax.random.uniform(key, (1,), minval=-1, maxval=1)
    >>> rule = pg.train.fit_inverse(network, simulator, sample, jax.random.key(1))
    >>> z = simulator(jnp.array([0.5]))
    >>> print(jnp.abs(rule.network(z) - 0.5) < 0.1)
    [ True]

    **Source:** Lee, Zhang, Fischer, Bengio, "Difference Target Propagation", 2015,
    section 2.2.
    """
    try:
        import optax  # the extra "train"
    except ImportError as error:
        raise MissingExtra("optax", "train", "fit_inverse") from error
    steps = whole_number("num_steps", 1)(num_steps)
    count = whole_number("batch_size", 1)(batch_size)
    optimizer = optax.adam(1e-3) if optimizer is None else optimizer
    if not hasattr(optimizer, "update"):
        raise TypeError(
            "optimizer must be an Optax transformation, such as optax.adam(1e-3), got "
            f"{brief(optimizer)}"
        )
    params, rest = eqx.partition(network, eqx.is_inexact_array)

    def loss(params: PyTree, key: Array) -> Scalar:
        learned = eqx.combine(params, rest)
        xs = jax.vmap(sample)(jax.random.split(key, count))

        def misses(x: PyTree) -> Scalar:
            back = call_user(learned, "the network", simulator(x))
            squares = jax.tree.map(lambda b, x: jnp.sum((b - x) ** 2), back, x)
            return jax.tree.reduce(jnp.add, squares)

        return jnp.mean(jax.vmap(misses)(xs))

    def step(carry: Any, key: Array) -> tuple[Any, Scalar]:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    @jax.jit
    def trained(params: PyTree, key: Array) -> tuple[PyTree, Array]:
        begin = (params, optimizer.init(params))
        (params, _), losses = lax.scan(step, begin, jax.random.split(key, steps))
        return params, losses

    params, losses = trained(params, key)
    if not jnp.isfinite(losses[-1]):
        first = int(jnp.argmax(~jnp.isfinite(losses)))
        raise RuntimeError(
            f"the training of the inverse ends in NaN, from step {first} on: lower the "
            "learning rate, or draw x where the simulator is finite"
        )
    return LearnedInverse(eqx.combine(params, rest))
