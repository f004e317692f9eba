"""Starts, targets and weights that cannot be: refused by leaf, or noted once."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import physgrad as pg

ANY: Any = pg
NAN, INF = float("nan"), float("inf")


def total(z):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(z))


def same(x):
    return x


def square(x):
    return jnp.stack([x[0], x[1] ** 2])


def square_root(z, x):
    return jnp.stack([z[0], jnp.copysign(jnp.sqrt(z[1]), x[1])])


OBJECTIVE = pg.Objective(pg.Simulator(same, pg.AnalyticInverse(same)), total)
DESCENT = pg.GradientDescent(0.25)
ONES = jnp.ones(2)


@pytest.fixture(autouse=True)
def no_annotation_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users have no checker of annotations: the library itself must refuse."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def start_refused(x0: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        pg.minimize(OBJECTIVE, DESCENT, x0, 1)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    assert message.startswith("x0")
    assert words in message


NOT_FINITE = {
    "key and index": (
        {"a": np.array([0, 0, 0, NAN], np.float32)},
        "x0 has 1 non-finite value at leaf 'a'[3]",
    ),
    "array": (np.array([1, NAN, INF], np.float32), "2 non-finite values at [1]"),
    "matrix": (np.full((2, 2), -INF, np.float32), "4 non-finite values at [0][0]"),
    "nested": (
        {"p": [ONES, {"q": np.array([[1, INF]], np.float32)}]},
        "1 non-finite value at leaf 'p.1.q'[0][1]",
    ),
    "number": (NAN, "1 non-finite value at x0 itself"),
}


@pytest.mark.parametrize("where", NOT_FINITE)
def test_not_finite(where):
    start_refused(NOT_FINITE[where][0], ValueError, NOT_FINITE[where][1])


WRONG_KINDS = {
    "text": ("3,3", "got '3,3'"),
    "bytes": (b"3", "got b'3'"),
    "None": (None, "got None"),
    "None in a tree": ({"a": ONES, "b": None}, "x0['b']"),
    "text in a list": ([1.0, "a"], "x0[1] must be a floating array, got 'a'"),
    "text in an array": (np.array(["a"]), "got <U1"),
    "bools": (np.array([True]), "got bool"),
    "one bool": (True, "got True"),
    "objects": (np.array([1.0, None], object), "got object"),
    "ragged": (np.array([[1.0], [1.0, 2.0]], object), "got object"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "got datetime64[D]"),
    "complex": (np.array([1j], np.complex64), "write complex states as real pairs"),
    "one complex": (1j, "got 1j"),
    "half precision": (np.ones(1, np.float16), "float32 or float64 array, got float16"),
    "brain floats": (jnp.ones(1, jnp.bfloat16), "got bfloat16"),
    "extended": (np.ones(1, np.longdouble), "float32 or float64 array, got"),
    "masked": (np.ma.masked_equal([1.0, 2.0], 1), "got a masked one; fill it"),
    "huge whole number": ([10**400], "x0[0] must be a float32 or float64 array"),
    "set": ({1.0}, "got {1.0}"),
    "function": (same, "got <function same"),
    "shape only": (jax.ShapeDtypeStruct((2,), jnp.float32), "got ShapeDtypeStruct"),
    "key of a generator": (jax.random.key(0), "got key<fry>"),
}


@pytest.mark.parametrize("kind", WRONG_KINDS)
def test_wrong_kinds(kind):
    start_refused(WRONG_KINDS[kind][0], TypeError, WRONG_KINDS[kind][1])


@pytest.mark.parametrize("x0", [np.zeros(0, np.float32), {}, [], np.zeros((0, 2), "f")])
def test_without_entries(x0):
    start_refused(x0, ValueError, "x0 has no entries, got")


def test_two_dtypes():
    with jax.enable_x64(True):
        x0 = {"a": jnp.ones(1, jnp.float32), "b": jnp.ones(1, jnp.float64)}
        start_refused(x0, TypeError, "x0 must have one dtype, got float32 and float64")


@pytest.mark.parametrize("x0", [[3, 4], np.array([3, 4]), np.array([3, 4], np.uint8)])
def test_whole_numbers_become_floats_with_a_note(x0):
    with pytest.warns(UserWarning, match="holds whole numbers; they became float32"):
        run = pg.minimize(OBJECTIVE, DESCENT, x0, 1)
    assert np.allclose(np.stack(run.x), [1.5, 2.0])


def test_float64_is_rounded_with_a_note_at_the_callers_line():
    with pytest.warns(UserWarning, match="x0 is float64.*jax_enable_x64") as notes:
        run = pg.minimize(OBJECTIVE, DESCENT, np.ones(2), 1)
    assert run.x.dtype == jnp.float32
    assert [note.filename for note in notes] == [__file__]


def test_float64_is_kept_where_it_is_switched_on():
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("error")
        run = pg.minimize(OBJECTIVE, DESCENT, np.ones(2), 1)
    assert run.x.dtype == jnp.float64


def test_the_callers_arrays_are_left_alone():
    for x0 in (jnp.array([3.0, 4.0]), np.array([3.0, 4.0], np.float32)):
        run = pg.minimize(OBJECTIVE, DESCENT, x0, 2)
        assert np.array_equal(x0, [3, 4]) and run.x is not x0
        assert np.array_equal(run.x, [0.75, 1])


def test_no_steps_give_the_start():
    run = pg.minimize(OBJECTIVE, DESCENT, ONES, 0)
    assert (run.result, run.message, run.num_steps) == ("completed", "", 0)
    assert np.array_equal(run.trajectory["x"], [[1, 1]])
    assert np.array_equal(run.trajectory.losses, [2])


def test_endless_runs_allocate_no_endless_history():
    run = pg.minimize(OBJECTIVE, DESCENT, ONES, 10**12, stop=pg.Stop(loss=1e-6))
    assert run.result == "converged"
    assert len(run.trajectory) == run.num_steps + 1 == 12


def test_an_inverse_notices_a_start_of_the_wrong_length():
    simulator = pg.Simulator(square, pg.AnalyticInverse(square_root))
    objective = pg.Objective(simulator, total)
    with pytest.raises(TypeError, match=r"return x as float32 of shape \(3,\), got"):
        pg.minimize(objective, pg.PhysicalGradient(0.3), jnp.ones(3), 1)


TARGETS = {
    "NaN": (
        lambda: pg.SquaredLoss(np.array([1, NAN], "f")),
        ValueError,
        "target must be finite, got nan at target[1]; to leave data out put any number "
        "there, and weight=0",
    ),
    "NaN in a leaf": (
        lambda: pg.SquaredLoss({"u": np.array([[1, INF]], "f")}),
        ValueError,
        "got inf at target['u'][0][1]",
    ),
    "no entries": (
        lambda: pg.SquaredLoss(None),
        ValueError,
        "target must have entries, got None",
    ),
    "text": (
        lambda: ANY.SquaredLoss(["a"]),
        TypeError,
        "target[0] must be a floating array, got 'a'",
    ),
    "objects": (
        lambda: ANY.SquaredLoss(np.array([1, None], object)),
        TypeError,
        "target must be a float32 or float64 array, got object",
    ),
    "complex": (lambda: ANY.SquaredLoss(ONES * 1j), TypeError, "as real pairs"),
    "half precision": (
        lambda: ANY.SquaredLoss(np.ones(2, np.float16)),
        TypeError,
        "got float16",
    ),
    "NaN weight": (
        lambda: pg.SquaredLoss(ONES, np.array([1, NAN], "f")),
        ValueError,
        "weight must be zero or positive, got nan at weight[1]",
    ),
    "negative weight": (
        lambda: pg.SquaredLoss(ONES, -1.0),
        ValueError,
        "weight must be zero or positive, got -1.0 at weight",
    ),
    "weight by name": (
        lambda: ANY.SquaredLoss(ONES, "inverse variance"),
        TypeError,
        "weight must be a floating array, got 'inverse variance'",
    ),
}


@pytest.mark.parametrize("fault", TARGETS)
def test_wrong_targets_and_weights(fault):
    call, error, words = TARGETS[fault]
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


MISFITS = {
    "a column": (jnp.ones((2, 1)), None, "output (2,) vs target (2, 1)"),
    "one number": (0.0, None, "output (2,) vs target ()"),
    "a list": ([1.0, 2.0], None, "jnp.array(...) makes it one array"),
    "weights in a column": (ONES, jnp.ones((2, 1)), "output (2,) vs weight (2, 1)"),
    "weights in a list": (ONES, [1.0], "but the weight has PyTreeDef([*])"),
    "other keys": ({"a": ONES}, None, "but the target has PyTreeDef({'a': *})"),
}


@pytest.mark.parametrize("fault", MISFITS)
def test_targets_are_never_broadcast(fault):
    target, weight, words = MISFITS[fault]
    objective = pg.Objective(same, pg.SquaredLoss(target, weight))
    for call in (pg.minimize, pg.iterate):
        with pytest.raises(ValueError) as caught:
            call(objective, DESCENT, ONES, 1)
        assert words in str(caught.value)


def test_masked_data_are_left_out():
    target = jnp.array([5.0, 7.0])
    loss = pg.SquaredLoss(target, weight=jnp.array([1.0, 0.0]))
    simulator = pg.Simulator(same, pg.AnalyticInverse(same))
    run = pg.minimize(pg.Objective(simulator, loss), pg.PhysicalGradient(1.0), ONES, 1)
    assert run.ok and np.array_equal(run.x, [5, 1]) and run.loss == 0


def test_an_empty_batch_gives_an_empty_result():
    def end(x0):
        return pg.iterate(OBJECTIVE, DESCENT, x0, 2).x

    assert jax.vmap(end)(jnp.zeros((0, 2))).shape == (0, 2)
