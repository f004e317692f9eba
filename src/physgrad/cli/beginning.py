"""`physgrad init`: a problem to start from, in TOML with data, and in Python."""

from __future__ import annotations

import keyword
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from physgrad.cli.process import SUCCESS, DiskError, print_text, uninterrupted
from physgrad.names import quoted

CELLS, DURATION, NOISE = 32, 1e-3, 0.01
IMPORTED = ("physgrad", "jax", "numpy", "scipy", "optax", "equinox", "matplotlib")

TOML = """\
# A problem of physgrad: where was the heat, if this is where it has spread to?
# Run it:   physgrad compare {name}.toml --out {name}_results
# In short: a simulator with its parameters, data, and methods that are compared.
# An editor that knows JSON schemas can check this file: physgrad problems --schema

[simulator]
# One of physgrad.simulators, as in the reference. What its parameters mean, in which
# units, and what its inverse can do, stands there, too.
name = "diffusion"
shape = [{cells}]            # cells around a circle of length 1
duration = {duration}
noise = {noise}             # standard deviation of the data, in their unit; 0: none

[loss]
# L = sum of weight * (z - target)^2. Numbers, or a file beside this one: .csv, .npy, or
# .npz:key for one array of several.
target = "{name}_data.csv"
# weight = 1.0

[start]
# x0: a number for all entries, a list of numbers, or a file. `shape` is that of x,
# where it is not that of the target.
x = 0.0
# shape = [{cells}]

# What the data were made of: how far each method is from it. The smallest loss is not
# the nearest x, since data have noise: below {cells} * noise^2 it is fitted, too.
# Where you do not know it, leave this section out.
[solution]
x = "{name}_truth.csv"

[run]
# As on the command line: physgrad compare --help lists them with their settings.
optimizers = ["gd:learning_rate=0.3", "lbfgs", "pg:step_size=1"]
steps = 20
float64 = true
"""

PYTHON = '''\
"""A problem of physgrad with a simulator of your own: a ball that is thrown.

    physgrad compare {name}.py:problem      several methods, side by side
    physgrad check {name}.py:problem        is the inverse one? which method will help?
    physgrad explore {name}.py:problem      x-space and z-space, on a page
"""

import jax.numpy as jnp

import physgrad as pg

GRAVITY = 0.981  # in tens of meters per second^2, so that all numbers are near 1


def throw(x):
    """From speed (10 m/s) and angle (radians) to distance and height (10 m)."""
    speed, angle = x
    up, across = speed * jnp.sin(angle), speed * jnp.cos(angle)
    return jnp.stack([2 * up * across / GRAVITY, up**2 / (2 * GRAVITY)])


def aim(z):
    """The inverse: the angle from their ratio, the speed from the height."""
    across, up = z
    angle = jnp.arctan2(4 * up, across)
    return jnp.stack([jnp.sqrt(2 * GRAVITY * up) / jnp.sin(angle), angle])


# Without a formula for the inverse it is found numerically: pg.Simulator(throw).
simulator = pg.Simulator(throw, inverse=pg.AnalyticInverse(aim))

target = jnp.array([2.0, 0.4])  # what is asked for: 20 m far, 4 m high
objective = pg.Objective(simulator, pg.SquaredLoss(target))
problem = pg.Problem("{stem}", objective, start=jnp.array([1.0, 0.5]))
'''


@click.command("init", short_help="Write a problem to start from.")
@click.argument("name")
def init_command(*, name: str) -> int:
    """Write NAME.toml with its data, NAME_data.csv and NAME_truth.csv, and NAME.py.

    Both ways to start run as they are, and say in comments what can be changed. Files
    that are there already stay as they are.
    """
    stem = os.path.basename(name)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", stem):
        raise click.UsageError(
            "a problem's name must be of letters, digits and _, as one in Python, got "
            f"{quoted(stem)}"
        )
    if keyword.iskeyword(stem) or stem in {*sys.stdlib_module_names, *IMPORTED}:
        raise click.UsageError(
            f"{stem}.py would hide the {stem!r} of Python: choose another name"
        )
    folder = Path(name).parent
    if not folder.is_dir():
        raise DiskError(f"cannot write in {folder} (no such folder): make it first")
    heat, measured = _data()
    files = {
        folder / f"{stem}.toml": TOML.format(
            name=stem, cells=CELLS, duration=DURATION, noise=NOISE
        ),
        folder / f"{stem}_data.csv": measured,
        folder / f"{stem}_truth.csv": heat,
        folder / f"{stem}.py": PYTHON.format(name=stem, stem=stem),
    }
    for path in files:
        if path.exists():
            raise click.UsageError(f"{path} is there already: choose another name")
    with uninterrupted():
        _write(files)
    print_text(f"wrote {', '.join(str(path) for path in files)}")
    print_text(f"next: physgrad compare {folder / stem}.toml")
    return SUCCESS


def _write(files: dict[Path, str]) -> None:
    from physgrad.plot.saving import write_file

    for path, text in files.items():
        try:
            write_file(path, text.encode())
        except OSError as error:
            raise DiskError(
                f"cannot write {path} ({error.strerror}): name another place"
            ) from error


def _data() -> tuple[str, str]:
    """Two warm places, and what is left of them after a while, measured with noise."""
    import numpy as np

    s = (np.arange(CELLS) + 0.5) / CELLS
    heat = np.exp(-(((s - 0.3) / 0.06) ** 2)) + 0.6 * np.exp(-(((s - 0.7) / 0.1) ** 2))
    waves = 2 * np.pi * np.fft.rfftfreq(CELLS, 1 / CELLS)
    spread = np.fft.irfft(np.fft.rfft(heat) * np.exp(-DURATION * waves**2), CELLS)
    spread += NOISE * np.random.default_rng(0).standard_normal(CELLS)
    return _column(heat), _column(spread)


def _column(values: Iterable[float]) -> str:
    return "temperature\n" + "".join(f"{value:.6f}\n" for value in values)
