"""Simulators in a process of their own: they may hang, crash, print."""

from __future__ import annotations

import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import outside_simulators as outside
import pytest

import physgrad as pg
from physgrad.process import Worker

X0 = np.array([3.0, 3.0], np.float32)
ROOT = pg.AnalyticInverse(
    lambda z, x: jnp.stack([z[0], jnp.copysign(jnp.sqrt(z[1]), x[1])])
)
METHOD = pg.PhysicalGradient(0.3)
WORDS = [sys.executable, "-c"]
SQUARES = """
import sys
x = [float(line) for line in sys.stdin]
print(x[0], x[1] ** 2)
"""


def toy(function, time_limit: float | None = 20.0, inverse=ROOT):
    simulator = pg.Simulator.from_callback(
        function, np.zeros(2), inverse, time_limit=time_limit
    )
    return pg.Objective(simulator, pg.SquaredLoss(jnp.zeros(2)))


def here():
    return pg.minimize(toy(outside.toy, None), METHOD, X0, 6)


WAYS = {
    "function": outside.toy,
    "name": "outside_simulators:toy",
    "command": [*WORDS, SQUARES],
    "loud": outside.loud,
}


@pytest.mark.parametrize("name", WAYS)
def test_it_does_the_same_in_another_process(name, dtype):
    run = pg.minimize(toy(WAYS[name]), METHOD, X0.astype(dtype), 6)
    same = pg.minimize(toy(outside.toy, None), METHOD, X0.astype(dtype), 6)
    assert run.ok, run.message
    np.testing.assert_array_equal(run.trajectory["z"], same.trajectory["z"])


def test_trees_go_to_and_fro():
    output = {"far": np.zeros(1), "all": (np.zeros(2),)}
    there = pg.Simulator.from_callback("outside_simulators:orbit", output)
    x = {"a": jnp.ones(1), "b": jnp.array(3.0)}
    assert jax.tree.all(jax.tree.map(np.array_equal, there(x), outside.orbit(x)))


def test_one_process_serves_a_run():
    there = pg.Simulator.from_callback(outside.who, np.zeros(2), time_limit=20.0)
    first, second = there(jnp.ones(2))[0], there(jnp.zeros(2))[0]
    assert first == second != os.getpid()


BAD = {
    "hangs": (outside.late, "TimeoutError: no answer within 0.5 s"),
    "command hangs": (
        [*WORDS, "import time; time.sleep(60)"],
        "TimeoutError: no answer within 0.5 s; the process was ended",
    ),
    "crashes": (outside.crash, "RuntimeError: the process ended with exit code 3"),
    "raises": (outside.picky, "ValueError: the mesh is inverted, at x = array"),
    "raises its own": (outside.strange, "RuntimeError: MeshError: no mesh here"),
    "command fails": (
        [*WORDS, "import sys; sys.exit('no license')"],
        "the process ended with exit code 1: no license",
    ),
    "command is killed": (
        [*WORDS, "import os; os.kill(os.getpid(), 9)"],
        "the process was ended by SIGKILL",
    ),
    "command prints words": ([*WORDS, "print('a', 2)"], "it must print numbers"),
    "command prints too much": (
        [*WORDS, "print(1, 2, 3)"],
        "must print the 2 numbers of output, got 3",
    ),
    "no such command": (["no-such-solver"], "FileNotFoundError"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_goes_wrong_there_is_said_here(name):
    function, words = BAD[name]
    quick = "hangs" in name  # it sleeps for a minute; the message says what ended it
    with pytest.raises(pg.SimulatorError, match=words) as error:
        pg.minimize(toy(function, 0.5 if quick else 20.0), METHOD, X0, 6)
    assert error.value.x.shape == (2,)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_crash_the_next_call_has_another_process():
    worker = Worker.of(outside.crash, 20.0)
    with pytest.raises(RuntimeError, match="exit code 3"):
        worker(np.zeros(2))
    np.testing.assert_array_equal(worker(X0), [3.0, 9.0])
    late = Worker.of(outside.late, 2.0)
    with pytest.raises(TimeoutError):
        late(np.zeros(2))
    np.testing.assert_array_equal(late(X0), [3.0, 9.0])


def test_a_module_that_only_this_process_finds_is_told_of_at_each_call():
    lost = Worker("nowhere_to_be_found", "f", 20.0)
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
            lost(X0)


def test_wrong_use():
    def local(x):
        return x

    imports = "needs a function that another process can import"
    for function in (local, lambda x: x, "outside_simulators:nothing", "nowhere:f"):
        with pytest.raises(TypeError, match=imports):
            toy(function)
    with pytest.raises(ValueError, match="must be 'module:function', got 'toy'"):
        toy("toy")
    with pytest.raises(TypeError, match="a command must be a list of words"):
        toy([])
    with pytest.raises(
        ValueError, match="time_limit must be a positive, finite number"
    ):
        toy(outside.toy, time_limit=0.0)
    worker = Worker.of(outside.toy, 20.0)
    with pytest.raises(TypeError, match="between processes go dicts, lists, tuples"):
        worker({1: np.zeros(2)})
