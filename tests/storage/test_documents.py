"""Arrays and documents come back with the same bits, or are refused."""

import io
import json
import pickle
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from physgrad.results import CheckpointError
from physgrad.storage import (
    from_json,
    pack_arrays,
    to_json,
    unpack_arrays,
)

cheap = settings(max_examples=25, deadline=None, database=None)


# Arrays


@st.composite
def arrays_of_bits(draw) -> np.ndarray:
    dtype = np.dtype(
        draw(st.sampled_from(["<f2", "<f4", "<f8", ">f4", "i1", "<i8", "?"]))
    )
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = int(np.prod(shape)) * dtype.itemsize
    bits = draw(st.binary(min_size=size, max_size=size))
    if dtype.kind == "b":
        bits = bytes(b & 1 for b in bits)
    return np.frombuffer(bits, dtype).reshape(shape)


def assert_same_bits(got: dict, expected: dict) -> None:
    assert list(got) == list(expected)
    for key, array in expected.items():
        assert (got[key].dtype, got[key].shape) == (array.dtype, array.shape)
        assert got[key].tobytes() == array.tobytes()


@cheap
@given(st.dictionaries(st.text("aβ/. é", max_size=4), arrays_of_bits(), max_size=3))
def test_the_same_bits_come_back(arrays):
    data = pack_arrays(arrays)
    assert_same_bits(unpack_arrays(data, name="x.npz"), arrays)


def test_equal_arrays_give_equal_bytes(monkeypatch):
    data = pack_arrays({"x": np.zeros(3)})
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert pack_arrays({"x": np.zeros(3)}) == data


def test_special_values_and_layouts_come_back():
    payload = np.array([0x7FF8_0000_DEAD_BEEF, 0xFFF0_0000_0000_0001], "u8").view("f8")
    grid = np.arange(6.0).reshape(2, 3)
    arrays = {"nan": payload, "zero": np.array(-0.0), "t": grid.T, "cut": grid[:, ::2]}
    arrays |= {"text": np.array(["ä", "bcd"]), "complex": np.array([1 - 2j])}
    assert_same_bits(unpack_arrays(pack_arrays(arrays), name="x"), arrays)


def test_a_broken_archive_is_refused_or_the_same():
    """Every truncation is refused; a flipped bit is, unless it touches no array."""
    arrays = {"x": np.array([1.5, -0.0]), "n": np.array(3)}
    data = pack_arrays(arrays)
    for size in range(len(data)):
        with pytest.raises(CheckpointError, match=r"run/x\.npz"):
            unpack_arrays(data[:size], name="run/x.npz")
    refused = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert_same_bits(unpack_arrays(bytes(flipped), name="x"), arrays)
        except CheckpointError:
            refused += 1
    assert refused > 4 * len(data)  # more than half: all of the data and the headers


@cheap
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises(CheckpointError, match=r"x\.npz"):
        unpack_arrays(data, name="x.npz")


class Bomb:
    """Unpickling one of these leaves a trace."""

    went_off = False

    def __reduce__(self):
        return setattr, (Bomb, "went_off", True)


def npz_of(*members: tuple[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def npy_header(descr: object, shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, header)
    return stream.getvalue()


def test_nothing_is_unpickled():
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, x=np.array([Bomb()], dtype=object))
    assert b"setattr" in stream.getvalue()
    raw = npz_of(("x.npy", pickle.dumps(Bomb())))
    for data in (stream.getvalue(), raw, pickle.dumps(Bomb())):
        with pytest.raises(CheckpointError, match=r"x\.npz"):
            unpack_arrays(data, name="x.npz")
    assert not Bomb.went_off
    pickle.loads(pickle.dumps(Bomb()))
    assert Bomb.went_off  # the trap works


BIG = 2**26
ARCHIVES_THAT_LIE = {
    "compressed": (
        npz_of(("x.npy", bytes(BIG)), compression=zipfile.ZIP_DEFLATED),
        f"declares {BIG} bytes",
    ),
    "small but compressed": (
        npz_of(("x.npy", npy_header("<f8", (0,))), compression=zipfile.ZIP_DEFLATED),
        "unexpected member",
    ),
    "header": (npz_of(("x.npy", npy_header("<f8", (2**40,)))), f"declares {2**43}"),
    "header too small": (npz_of(("x.npy", npy_header("<f8", ()))), "declares 8 bytes"),
    "negative": (npz_of(("x.npy", npy_header("<f8", (-1, -1)) + bytes(8))), "declares"),
    "not an array": (npz_of(("x.py", b"import os")), r"unexpected member 'x\.py'"),
    "structured": (npz_of(("x.npy", npy_header([("a", "<f8")], (0,)))), "dtype"),
    "another header": (npz_of(("x.npy", b"\x93NUMPY\3\0" + bytes(99))), "header"),
}


@pytest.mark.parametrize("form", ARCHIVES_THAT_LIE)
def test_archives_that_lie_are_refused_in_little_memory(form):
    data, message = ARCHIVES_THAT_LIE[form]
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message):
        unpack_arrays(data, name="x.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_member_that_comes_twice_is_refused():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = npz_of(*2 * [("x.npy", npy_header("<f8", (0,)))])
    with pytest.raises(CheckpointError, match="unexpected member"):
        unpack_arrays(data, name="x.npz")


@pytest.mark.parametrize(
    "array", [np.array([None]), np.zeros(2, [("a", "f8")]), np.zeros(2, "V3")]
)
def test_arrays_that_npz_would_not_give_back_are_not_packed(array):
    with pytest.raises(TypeError, match="'bad'"):
        pack_arrays({"bad": array})
    with pytest.raises(TypeError, match="bad"):
        pack_arrays({"bad\0": np.zeros(1)})  # zip would cut the name


# Documents


def test_json_is_strict_and_lists_what_is_not_finite():
    nan, inf = float("nan"), np.float32(np.inf)
    document = {
        "a": {"losses": [1, 2.5, nan], "x": np.array([[1.0, nan], [-inf, 2.0]])},
        "PG 0.3": (True, None, np.bool_(False), np.int64(7), np.str_("s"), inf),
        "scalar": np.array(nan, "f4"),
        "none": np.zeros((0, 2)),
    }
    read = json.loads(to_json(document), parse_constant=pytest.fail)
    assert read == {
        "a": {"losses": [1, 2.5, None], "x": [[1.0, None], [None, 2.0]]},
        "PG 0.3": [True, None, False, 7, "s", None],
        "scalar": None,
        "none": [],
        "nonfinite": [
            "a.losses[2]",
            "a.x[0][1]",
            "a.x[1][0]",
            '["PG 0.3"][5]',
            "scalar",
        ],
    }
    assert from_json(to_json(read), name="x") == read  # a document that was read
    read["new"] = nan
    assert json.loads(to_json(read))["nonfinite"] == [*read["nonfinite"], "new"]
    assert "nonfinite" not in json.loads(to_json({"x": 1.0}))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_numbers_have_the_digits_of_their_dtype(dtype):
    bits = np.random.default_rng(0).bytes(20_000 * np.dtype(dtype).itemsize)
    array = np.frombuffer(bits, dtype)
    array = array[np.isfinite(array)]
    read = json.loads(to_json({"x": array, "list": list(array[:99])}))
    assert np.array(read["x"], dtype).tobytes() == array.tobytes()
    assert read["list"] == read["x"][:99]
    assert to_json({"x": np.array([2.94, 0.1], dtype)}) == '{"x": [2.94, 0.1]}'
    assert to_json({"x": np.dtype(dtype).type(2.94)}) == '{"x": 2.94}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@cheap
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_documents_come_back(document):
    assert from_json(to_json(document), name="x") == document
    assert from_json(to_json(document).encode(), name="x") == document


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"a": {"b": [1, {2}]}}, r"a\.b\[1\]"),
        ({"a": {1: 2}}, r"a: key 1"),
        ({"a": 1j}, "a: "),
        ({1: 2}, "document"),
        ([1], "document"),
        ({"a": np.array([1j])}, "a: .*complex"),
        ({"a": np.array([None])}, "a: .*object"),
        ({"a": np.longdouble(1)}, "a: "),
        ({"a": b"bytes"}, "a: .*bytes"),
    ],
)
def test_other_objects_are_named_by_path(document, where):
    with pytest.raises(TypeError, match=where):
        to_json(document)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": [-Infinity]}',
        '{"a": 1e999}',
        '{"a": 1, "b": {"c": 1, "c": 1}}',
        "[1]",
        "3",
        "",
        '{"a": 1',
        '{"a": 1} x',
        "[" * 100_000,
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b"\0" * 9,
    ],
)
def test_text_that_is_not_strict_json_is_refused(text):
    with pytest.raises(CheckpointError, match=r"run\.json"):
        from_json(text, name="run.json")
