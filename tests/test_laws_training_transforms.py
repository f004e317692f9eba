"""Laws of what is around a training: devices, parts of a batch, loops, ensembles."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from families import eps, relative
from jax.flatten_util import ravel_pytree

import physgrad as pg

TESTS = str(Path(__file__).parent)
COUNT = 8


def network(params, inputs):
    return params["out"] @ jnp.tanh(params["in"] @ inputs)


def logarithm():
    return pg.Simulator(jnp.exp, pg.AnalyticInverse(lambda z: jnp.log(z)))


def cubic():
    return pg.Simulator(lambda x: x + x**3)  # with a numerical inverse


SIMULATORS = {"analytic": logarithm, "numerical": cubic}


def setting(dtype):
    """Parameters, inputs and targets."""
    keys = jax.random.split(jax.random.key(1), 4)
    shapes = {"in": (5, 3), "out": (2, 5)}
    params = {
        name: jax.random.normal(key, shape, dtype)
        for key, (name, shape) in zip(keys, shapes.items(), strict=False)
    }
    inputs = jax.random.normal(keys[2], (COUNT, 3), dtype)
    return params, inputs, jax.random.uniform(keys[3], (COUNT, 2), dtype, 0.5, 2.0)


def of_batch(name, reduction=jnp.mean):
    """The loss of a batch, as the five lines of the documentation have it."""
    loss = pg.physical_loss(SIMULATORS[name]())

    def value(params, inputs, targets):
        xs = jax.vmap(network, (None, 0))(params, inputs)
        return reduction(jax.vmap(loss)(xs, targets))

    return value


def flat(tree):
    return ravel_pytree(tree)[0]


def updated(step, params, inputs, targets):
    """What a step by the Jacobian of the physics changes."""
    simulator = logarithm()

    def output(params, inputs):
        return simulator(network(params, inputs))

    batch = {"output": output, "inputs": inputs, "targets": targets}
    return step.update(None, step.init(params), params, **batch)[0]


def on_two_devices():
    """Run in a process of its own: the same numbers with the batch on two devices."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("samples",))
    by_sample, everywhere = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        for axes in (("samples",), ())
    )
    params, inputs, targets = setting(jnp.float64)
    ways = {name: jax.value_and_grad(of_batch(name)) for name in SIMULATORS}
    for make in (pg.train.half_inverse, pg.train.levenberg_marquardt):
        ways[make.__name__] = lambda *args, make=make: updated(make(), *args)
    parts = jax.device_put((inputs, targets), by_sample)
    assert len(parts[0].sharding.device_set) == 2
    for name, way in ways.items():
        alone = flat(jax.jit(way)(params, inputs, targets))
        shared = jax.jit(way)(jax.device_put(params, everywhere), *parts)
        print(name, relative(jax.device_get(flat(shared)), alone) <= 1e-8)


def test_a_batch_on_two_devices_has_the_gradient_of_one():
    program = """
        import sys
        sys.path.insert(0, {tests!r})
        import jax
        jax.config.update("jax_enable_x64", True)
        import test_laws_training_transforms as laws
        laws.on_two_devices()
    """
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program).format(tests=TESTS)],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    names = [*SIMULATORS, "half_inverse", "levenberg_marquardt"]
    assert ended.stdout.splitlines() == [f"{n} True" for n in names], ended.stderr


@pytest.mark.parametrize("name", SIMULATORS)
def test_the_gradients_of_parts_add_up_to_that_of_the_batch(name, dtype):
    """In a scan, and by what Optax has for it; for a mean or a sum over the batch."""
    params, inputs, targets = setting(dtype)
    gradient = jax.jit(jax.grad(of_batch(name)))
    whole = gradient(params, inputs, targets)
    parts = jax.tree.map(lambda v: v.reshape(4, 2, -1), (inputs, targets))

    def add(total, part):
        return jax.tree.map(jnp.add, total, gradient(params, *part)), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, _ = jax.jit(lambda parts: jax.lax.scan(add, zeros, parts))(parts)
    assert relative(flat(total) / 4, flat(whole)) <= 256 * eps(dtype)

    optimizer = optax.MultiSteps(optax.sgd(1.0), 4, accumulator_dtype=dtype)
    now, state, update = params, optimizer.init(params), jax.jit(optimizer.update)
    for part in zip(*parts, strict=True):
        updates, state = update(gradient(params, *part), state, now)
        now = optax.apply_updates(now, updates)
    assert relative(flat(params) - flat(now), flat(whole)) <= 4096 * eps(dtype)

    summed = jax.jit(jax.grad(of_batch(name, jnp.sum)))(params, inputs, targets)
    assert relative(flat(summed), COUNT * flat(whole)) <= 64 * eps(dtype)


@pytest.mark.parametrize("way", ["physical", "half inverse"])
def test_a_training_in_a_scan_is_the_one_step_by_step(way, dtype):
    params, inputs, targets = setting(dtype)
    sgd = optax.sgd(0.1)

    def changed(params):
        if way == "half inverse":
            step = pg.train.half_inverse(0.1, truncation=1e-3)
            return updated(step, params, inputs, targets)
        gradient = jax.grad(of_batch("analytic"))(params, inputs, targets)
        return sgd.update(gradient, sgd.init(params))[0]

    def one(params, _):
        return optax.apply_updates(params, changed(params)), None

    in_scan, _ = jax.jit(lambda p: jax.lax.scan(one, p, length=3))(params)
    by_hand, alone = params, jax.jit(one)
    for _ in range(3):
        by_hand, _ = alone(by_hand, None)
    found = flat(in_scan) - flat(params)
    assert relative(found, flat(by_hand) - flat(params)) <= 2e4 * eps(dtype)


@pytest.mark.parametrize("way", ["physical", "half inverse", "damped"])
def test_networks_trained_side_by_side_do_not_see_each_other(way, dtype):
    """`vmap` over their parameters: each as it would go alone."""
    params, inputs, targets = setting(dtype)
    many = jax.tree.map(lambda v: jnp.stack([v, 0.5 * v, 0.1 * v]), params)
    step = {
        "half inverse": pg.train.half_inverse(truncation=1e-3),
        "damped": pg.train.levenberg_marquardt(1.0),
    }.get(way)

    def one(params):
        if step is not None:
            return updated(step, params, inputs, targets)
        return jax.grad(of_batch("analytic"))(params, inputs, targets)

    together, by_itself = jax.jit(jax.vmap(one))(many), jax.jit(one)
    for i in range(3):
        alone = by_itself(jax.tree.map(lambda v, i=i: v[i], many))
        mine = jax.tree.map(lambda v, i=i: v[i], together)
        assert relative(flat(mine), flat(alone)) <= 2e4 * eps(dtype)


PROGRAM = """
import resource
import sys

import jax

jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp

import physgrad as pg

step, hidden, count = getattr(pg.train, sys.argv[1])(), *map(int, sys.argv[2:])
sizes, keys = (64, hidden, hidden, 64), jax.random.split(jax.random.key(0), 4)
params = [
    jax.random.normal(key, shape) / shape[0] ** 0.5
    for key, shape in zip(keys, zip(sizes, sizes[1:]))
]
inputs = jax.random.normal(keys[3], (count, 64))


def output(params, inputs):
    one, two, three = params
    return jnp.sin(jnp.tanh(jnp.tanh(inputs @ one) @ two) @ three)


@jax.jit
def update(params, state):
    batch = {"inputs": inputs, "targets": jnp.sin(inputs)}
    return step.update(None, state, params, output=output, **batch)


def loss(params):
    z = jax.vmap(output, (None, 0))(params, inputs)
    return jnp.mean(jnp.sum((z - jnp.sin(inputs)) ** 2, axis=1))


updates, _ = update(params, step.init(params))
after = jax.tree.map(jnp.add, params, updates)
count = sum(p.size for p in params)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(count, peak, float(loss(params)), float(loss(after)))
"""


@pytest.mark.parametrize("step", ["half_inverse", "levenberg_marquardt"])
@pytest.mark.parametrize(
    ("hidden", "count", "least"),
    [(255, 16, 97_000), (940, 256, 1_000_000)],
    ids=["matrix", "products"],
)
def test_large_networks_take_a_step_within_four_gib(step, hidden, count, least):
    """Samples of 64 outputs, in float64: 16 with 1e5 parameters, 256 with 1e6."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, step, str(hidden), str(count)],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    params, peak, before, after = map(float, ended.stdout.split())
    assert params >= least and peak < 4 * 2**30
    assert np.isfinite(after) and after < before


@pytest.mark.parametrize(
    "make", [pg.train.half_inverse, pg.train.gauss_newton, pg.train.levenberg_marquardt]
)
def test_numbers_can_be_injected(make):
    """As by `optax.inject_hyperparams`, which makes arrays of all of them."""
    params, inputs, targets = setting(jnp.float32)
    plain, injected = make(), optax.inject_hyperparams(make)()

    @jax.jit
    def stepped(state, params):
        return injected.update(
            params, state, params, output=network, inputs=inputs, targets=targets
        )

    expected, _ = plain.update(
        None,
        plain.init(params),
        params,
        output=network,
        inputs=inputs,
        targets=targets,
    )
    found, _ = stepped(injected.init(params), params)
    one, other = (ravel_pytree(updates)[0] for updates in (found, expected))
    assert relative(one, other) <= 1e-4
