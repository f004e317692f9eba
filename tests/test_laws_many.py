"""Laws of `minimize_many`: each member goes as it would alone, in any company."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import physgrad as pg
from physgrad.loop import batch

TESTS = str(Path(__file__).parent)
STOP = pg.Stop(loss=1e-8)


def bent(x):
    return jnp.stack([x[0] * jnp.cos(x[1]), x[0] * jnp.sin(x[1]), x[0] ** 3])


def fit(target):
    return pg.Objective(bent, pg.SquaredLoss(target))


def problems(count, dtype=jnp.float32):
    """Starts and targets; those farther away take longer."""
    far = 0.05 + jnp.arange(count, dtype=dtype)[:, None] / max(count, 1)
    true = jnp.ones((count, 2), dtype)
    return true + far * jnp.array([0.5, -0.4], dtype), jax.vmap(bent)(true)


def same(one, other):
    """Whether two trees are equal to the bit."""
    return all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def facts(runs):
    return runs.x, runs.codes, runs.losses, runs.num_steps, dict(runs.evaluations)


METHODS = {
    "lm": pg.LevenbergMarquardt(),
    "gn": pg.GaussNewton(0.6),
    "adam": pg.OptaxOptimizer(optax.adam(0.05)),
    "noisy": pg.OptaxOptimizer(
        optax.chain(optax.add_noise(1e-4, 0.5, key=jax.random.key(0)), optax.sgd(0.05))
    ),
    "lbfgs": pg.LBFGS(),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float32") for name in METHODS), ("lm", "float64")],
    indirect=["dtype"],
)
def test_each_member_goes_as_it_would_alone(name, dtype):
    method = METHODS[name]
    starts, targets = problems(7, dtype)
    runs = pg.minimize_many(
        fit, method, starts, 60, parameters=targets, stop=STOP, record_every=4
    )
    assert len(runs) == 7
    for i in (0, 3, 6):
        alone = pg.minimize(
            fit(targets[i]), method, starts[i], 60, stop=STOP, record_every=4
        )
        member = runs[i]
        assert (member.result, member.num_steps) == (alone.result, alone.num_steps)
        assert member.message == alone.message
        assert member.evaluations == alone.evaluations
        np.testing.assert_array_equal(member.trajectory.steps, alone.trajectory.steps)
        rtol = 1e4 * float(jnp.finfo(dtype).eps)
        for space in ("x", "z"):
            np.testing.assert_allclose(
                member.trajectory[space], alone.trajectory[space], rtol, rtol
            )
        assert np.array_equal(runs.x[i], member.trajectory["x"][-1])


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_batches_of_any_size(count):
    starts, targets = problems(count)
    runs = pg.minimize_many(
        fit, pg.GaussNewton(0.7), starts, 99, parameters=targets, stop=STOP
    )
    assert len(runs) == count and np.all(runs.ok)
    assert runs.counts == {pg.Result.converged: count}
    assert np.all(runs.losses <= 1e-8)
    assert runs.trajectory.losses.shape == (count, 2)
    np.testing.assert_array_equal(runs.trajectory.steps[:, 1], runs.num_steps)
    assert repr(runs) == f"Runs({count} members: {count} converged)"


def test_a_batch_of_none():
    starts, targets = problems(0)
    runs = pg.minimize_many(fit, pg.GaussNewton(1.0), starts, 9, parameters=targets)
    assert (len(runs), repr(runs), runs.x.shape) == (0, "Runs(0 members)", (0, 2))
    with pytest.raises(ValueError, match="none of 0 members has a finite loss"):
        _ = runs.best
    with pytest.raises(IndexError, match="no member 0 of 0"):
        _ = runs[0]


def test_no_steps_at_all():
    starts, targets = problems(3)
    runs = pg.minimize_many(fit, pg.GaussNewton(1.0), starts, 0, parameters=targets)
    assert same(runs.x, starts) and runs.counts == {pg.Result.completed: 3}


@pytest.mark.parametrize("method", ["lm", "gn"])
def test_a_member_that_fails_changes_no_bit_of_the_others(method):
    starts, targets = problems(30)
    broken = starts.at[11].set(jnp.nan)
    ends = [
        pg.minimize_many(
            fit,
            METHODS[method],
            x0,
            60,
            parameters=targets,
            stop=STOP,
            deterministic=True,
            record_every=1,
        )
        for x0 in (starts, broken)
    ]
    others = np.arange(30) != 11
    whole, other = (jax.tree.map(lambda a: a[others], facts(runs)) for runs in ends)
    assert same(whole, other)
    failed = ends[1][11]
    assert failed.result is pg.Result.non_finite
    assert (failed.message, failed.num_steps) == ("x0[0] is nan", 0)
    assert ends[1].best.ok


@pytest.mark.parametrize("method", ["lm", "lbfgs"])
def test_deterministic_bits_do_not_depend_on_place_or_company(method):
    starts, targets = problems(100)
    order = np.random.default_rng(0).permutation(100)
    ends = [
        pg.minimize_many(
            fit,
            METHODS[method],
            starts[rows],
            40,
            parameters=targets[rows],
            stop=STOP,
            deterministic=True,
        )
        for rows in (np.arange(100), order, np.arange(13))
    ]
    whole, turned, few = (facts(runs) for runs in ends)
    assert same(jax.tree.map(lambda a: a[order], whole), turned)
    assert same(jax.tree.map(lambda a: a[:13], whole), few)


def test_stragglers_are_packed_into_ever_smaller_buckets(monkeypatch):
    sizes = []
    advance = batch.bucket.advance

    def watched(family, members, stint):
        sizes.append((len(members.limit), stint.fewest))
        return advance(family, members, stint)

    monkeypatch.setattr(batch.bucket, "advance", watched)
    # one needs many steps, the others two kinds of few
    rates = jnp.full(24, 0.4).at[5].set(0.004).at[jnp.arange(6)].multiply(0.5)
    runs = pg.minimize_many(
        lambda rate: pg.Objective(lambda x: x, lambda z: jnp.sum(rate * z**2)),
        pg.GradientDescent(1.0),
        jnp.ones((24, 3)),
        5000,
        parameters=rates,
        stop=pg.Stop(step=1e-3),
    )
    assert np.all(runs.ok) and runs.num_steps[5] > 10 * np.max(runs.num_steps[6:])
    assert sizes == [(24, 12), (8, 4), (1, 0)]


def test_many_starts_of_one_problem_and_the_best():
    objective = pg.Objective(lambda x: x, lambda z: jnp.sum((z**2 - 1) ** 2 + 0.3 * z))
    starts = jnp.linspace(-2, 2, 9)[:, None]
    runs = pg.minimize_many(objective, pg.GradientDescent(0.05), starts, 200)
    assert runs.best.x[0] < 0 and runs.best.loss == np.min(runs.losses)
    assert runs[-1].x[0] > 0


def test_trees_and_parameters_of_several_arrays():
    def build(own):
        return pg.Objective(
            lambda x: {"z": own["scale"] * x["a"] + x["b"]}, pg.SquaredLoss(own["goal"])
        )

    own = {"scale": jnp.array([1.0, 2.0]), "goal": {"z": jnp.array([3.0, 4.0])}}
    starts = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    runs = pg.minimize_many(build, pg.GaussNewton(1.0), starts, 3, parameters=own)
    reached = own["scale"] * runs.x["a"] + runs.x["b"]
    np.testing.assert_allclose(reached, [3.0, 4.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(parameters=jnp.ones((4, 3))), ValueError, "starts 3, parameters 4"),
        (dict(starts=jnp.ones(())), ValueError, "starts must have a leading axis"),
        (dict(starts={}), ValueError, "has no entries"),
        (dict(starts=[True]), TypeError, r"starts\[0\]"),
        (dict(objective=3), TypeError, "must be a function of those of one member"),
        (dict(objective=fit(jnp.ones(3))), TypeError, "must be a function of those"),
        (dict(objective=lambda target: target), TypeError, "must be an Objective"),
        (dict(optimizer=pg.GaussNewton), TypeError, "optimizer must be an Optimizer"),
        (dict(num_steps=-1), ValueError, "num_steps must be a whole number"),
        (dict(record_every=0), ValueError, "record_every must be a whole number"),
        (dict(deterministic=1), TypeError, "deterministic must be True or False"),
        (dict(devices=9), ValueError, "devices must be at most 1, as many as JAX has"),
        (dict(devices=0), ValueError, "devices must be a whole number from 1 on"),
        (dict(devices=["cpu"]), TypeError, "devices must be devices such as"),
    ],
)
def test_wrong_use_is_refused_by_name(change, error, message, monkeypatch):
    # users have no checker of annotations: the library itself must refuse
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    starts, targets = problems(3)
    right = dict(
        objective=fit, optimizer=METHODS["gn"], starts=starts, parameters=targets
    )
    with pytest.raises(error, match=message):
        pg.minimize_many(**{**right, **change})


def test_two_devices_give_the_same_bits():
    """In a process of its own: JAX asks for its devices once."""
    program = """
        import sys
        sys.path.insert(0, {tests!r})
        import jax, numpy as np, physgrad as pg
        import test_laws_many as laws
        assert len(jax.devices()) == 2
        for count in (1, 21):
            starts, targets = laws.problems(count)
            ends = [
                pg.minimize_many(
                    laws.fit, laws.METHODS["gn"], starts, 40, parameters=targets,
                    stop=laws.STOP, deterministic=True, devices=devices, record_every=3,
                )
                for devices in (1, None, jax.devices())
            ]
            for other in ends[1:]:
                assert laws.same(laws.facts(ends[0]), laws.facts(other))
                assert laws.same(
                    ends[0].trajectory.spaces, other.trajectory.spaces
                )
        print("the same bits")
    """
    flags = "--xla_force_host_platform_device_count=2"
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program).format(tests=TESTS)],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "the same bits\n", ended.stderr
