"""Programs of the host side: where they run, what they remember, what they refuse."""

from __future__ import annotations

import collections
import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import physgrad as pg
from physgrad.loop import compiled

KEY = jax.random.key(0)


def squares(z):
    return jnp.sum(z**2)


@dataclasses.dataclass
class Scaled:
    """A function that compares by its fields, and so has no hash."""

    factor: float

    def __call__(self, x):
        return self.factor * x


class Fading(pg.Optimizer):
    """A descent whose memory is what the test gives it."""

    memory: object
    later: object

    def init(self, objective, state):
        return self.memory

    def update(self, objective, state, memory):
        x = state.x - 0.1 * objective.gradient(state.x)
        step = pg.Step(objective.evaluate(state, x), pg.Evaluations(forward=1, vjp=1))
        return step, self.later


@pytest.mark.parametrize("options", [None, {"xla_cpu_no_such_option": True}])
def test_programs_that_are_quick_to_compile_give_the_same_run(monkeypatch, options):
    problem = pg.problems.get("toy", jnp.float32)
    arguments = problem.objective, pg.PhysicalGradient(0.3), problem.start, 7
    expected = pg.minimize(*arguments)
    if options is not None:  # XLA makes no promise to know them
        monkeypatch.setattr(compiled, "QUICK_OPTIONS", options)
        monkeypatch.setattr(compiled, "_kept", collections.OrderedDict())
    with compiled.quick_to_compile():
        run = pg.minimize(*arguments)
    assert run.compilations == 1
    np.testing.assert_allclose(run.trajectory["x"], expected.trajectory["x"], 1e-6)


def test_arguments_compile_nothing_beside_the_program(caplog):
    unusual = np.ones((3, 1, 7), np.int32)  # no other test has compiled for it
    with jax.log_compiles(), caplog.at_level("WARNING"):
        result, seconds = compiled.run(twice, unusual)
    compilations = [m for m in caplog.messages if m.startswith("Compiling")]
    assert len(compilations) == 1 and seconds > 0
    np.testing.assert_array_equal(result, 2 * unusual)


def twice(x):
    return 2 * x


def test_functions_without_a_hash_are_the_same_as_themselves_only():
    method, x0 = pg.GradientDescent(0.25), jnp.array([1.0])
    one, other = (pg.Objective(Scaled(1.0), squares) for _ in range(2))
    runs = [pg.minimize(objective, method, x0, 1) for objective in (one, one, other)]
    assert [run.compilations for run in runs] == [1, 0, 1]
    assert [float(run.x[0]) for run in runs] == [0.5, 0.5, 0.5]


def test_what_was_made_afresh_is_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr(compiled, "KEPT", 3)
    monkeypatch.setattr(compiled, "_kept", collections.OrderedDict())
    monkeypatch.setattr(compiled, "_made_afresh", collections.OrderedDict())
    for size in range(1, 7):
        compiled.run(twice, np.ones(size))
    assert len(compiled._made_afresh) == len(compiled._kept) == 3


ON_ANOTHER_DEVICE = """
import jax, jax.numpy as jnp, physgrad as pg
objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
there = jax.devices()[1]
for start in (jnp.ones(2), jax.device_put(jnp.ones(2), there)):
    run = pg.minimize(objective, pg.GradientDescent(0.25), start, 60, callback=print)
    print(run.compilations, run.x.devices() == start.devices(), run.result)
method, start = pg.GradientDescent(0.25), jnp.ones(3)
with jax.default_device(there):
    pg.minimize(objective, method, jnp.ones(3), 3)
run = pg.minimize(objective, method, start, 3)
print(run.compilations, run.x.devices() == start.devices(), run.result)
"""


def test_a_run_stays_on_the_device_of_its_start():
    environment = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_DEVICE],
        env=environment,
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if "Snapshot" not in line]
    expected = ["2 True completed", "2 True completed", "1 True completed"]
    assert lines == expected, done.stderr


@pytest.mark.parametrize(
    "memory, later, got",
    [
        ((0, 0.5), (1, 0.25), r"\(1, 0.25\)"),
        (jnp.zeros(2), None, "None"),
        (jnp.zeros(2), jnp.zeros(3), r"float\[3\]"),
        (jnp.asarray(0), jnp.asarray(0.5), r"float\[\]"),
        ("one", "two", "'two'"),
    ],
    ids=["numbers", "structure", "shape", "kind", "text"],
)
def test_a_memory_that_would_not_be_remembered_is_refused(memory, later, got):
    objective = pg.Objective(twice, squares)
    with pytest.raises(TypeError, match=f"like that of init.* got .*{got}.* an array"):
        pg.minimize(objective, Fading(memory, later), jnp.ones(2), 3)


def test_numbers_that_stay_may_be_remembered():
    objective = pg.Objective(twice, squares)
    run = pg.minimize(objective, Fading((3, "three"), (3, "three")), jnp.ones(2), 3)
    assert run.ok and run.loss < run.trajectory.losses[0]


def test_keys_of_random_numbers_may_be_remembered():
    objective, noise = pg.Objective(twice, squares), optax.noisy_sgd(0.01, key=KEY)
    method = pg.OptaxOptimizer(noise)
    run = pg.minimize(objective, method, jnp.ones(2), 60, callback=lambda _: None)
    assert run.result == "completed"
    end = pg.iterate(objective, method, jnp.ones(2), 60)
    np.testing.assert_array_equal(end.x, run.x)


def test_the_host_side_cannot_be_traced():
    objective = pg.Objective(twice, squares)

    def end(x):
        return pg.minimize(objective, pg.GradientDescent(0.1), x, 3).loss

    for transformed in (jax.jit(end), jax.grad(end), jax.vmap(end)):
        with pytest.raises(TypeError, match="use iterate"):
            transformed(jnp.ones((2, 2)))
