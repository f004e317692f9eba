"""What a run depends on, in hashes that other processes find again."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from physgrad.names import package_version

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(parts: Mapping[str, Any]) -> dict[str, str]:
    """A hash of each part, and the versions of what computes with them.

    Arrays count by their bits, functions by their code and what it closes over. A
    global that a function reads is not looked at.

    >>> import jax.numpy as jnp
    >>> one, other = (fingerprint({"x0": jnp.array(v)}) for v in (1.0, 2.0))
    >>> [key for key in one if one[key] != other[key]]
    ['x0']
    """
    found = {name: _hash(tree) for name, tree in parts.items()}
    versions = {
        "physgrad": package_version(),
        "jax": jax.__version__,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    return {**found, **versions, "float64": str(jax.config.read("jax_enable_x64"))}


def _hash(tree: Any) -> str:
    digest = hashlib.sha256()
    for word in _words(tree, set()):
        digest.update(len(word).to_bytes(8, "big") + word)
    return digest.hexdigest()


def _words(value: Any, seen: set[int]) -> Iterator[bytes]:
    """A value in bytes, with all that it is made of."""
    if isinstance(value, types.FunctionType | types.MethodType | type):
        yield from _of_callable(value, seen)
        return
    leaves, _ = jax.tree.flatten(value)
    if len(leaves) == 1 and leaves[0] is value:
        yield from _of_leaf(value, seen)
        return
    yield ADDRESS.sub("", eqx.tree_pformat(value, width=10**6)).encode()
    for leaf in leaves:
        yield from _words(leaf, seen)


def _of_leaf(leaf: Any, seen: set[int]) -> Iterator[bytes]:
    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    ):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        array = np.asarray(leaf)
        yield f"{array.dtype} {array.shape}".encode()
        yield array.tobytes()
    else:
        yield ADDRESS.sub("", repr(leaf)).encode()
        for part in getattr(leaf, "__dict__", {}).values():
            if id(part) not in seen:
                seen.add(id(part))
                yield from _words(part, seen)


def _of_callable(function: Any, seen: set[int]) -> Iterator[bytes]:
    # without its module, which is __main__ in a script
    yield function.__qualname__.encode()
    if id(function) in seen or isinstance(function, type):
        return
    seen.add(id(function))
    if isinstance(function, types.MethodType):
        yield from _words(function.__self__, seen)
        function = function.__func__
    yield from _of_code(function.__code__)
    defaults = *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()
    for part in (*_closed_over(function), *defaults):
        yield from _words(part, seen)


def _of_code(code: types.CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield " ".join(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _of_code(constant)
        else:
            yield repr(constant).encode()


def _closed_over(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not assigned yet
            yield cell.cell_contents
