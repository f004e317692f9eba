"""Simulators that another process imports, good and bad ones."""

from __future__ import annotations

import os
import time

import numpy as np


def toy(x):
    return np.array([x[0], x[1] ** 2])


def orbit(x):
    return {"far": x["a"] * 2, "all": (np.array([x["b"], x["a"][0]]),)}


def late(x):
    """Hangs where x is small."""
    if abs(x[1]) < 2.0:
        time.sleep(60)
    return toy(x)


def crash(x):
    if abs(x[1]) < 2.0:
        os._exit(3)
    return toy(x)


def picky(x):
    if abs(x[1]) < 2.0:
        raise ValueError("the mesh is inverted")
    return toy(x)


class MeshError(Exception):
    """Of a library that the parent does not know."""


def strange(x):
    raise MeshError("no mesh here")


def loud(x):
    print("a banner on stdout")
    os.write(1, b"and another one\n")
    return toy(x)


def who(x):
    """The process that it is called in."""
    return np.array([os.getpid(), 0.0])
