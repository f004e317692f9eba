"""Run the studies, each in a process on a core of its own, and write what they found.

python experiments/run.py [--quick] [--only NAME] [--anew]

A study is a list of cases. What a case has found is kept in .cache/experiments as soon
as it is known, so that a run that was cut off goes on where it was; a study begins anew
where it or the library has changed. What is done, tables and figures go to
docs/experiments/results, with date and machine; the tables of --quick to the screen.
One of several runs at a time is best told its core: taskset -c 1 python ...
"""

from __future__ import annotations

import argparse
import importlib
import os
import queue
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from figures import save
from store import Store

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "experiments" / "results"
# Threads of BLAS get in the way of small matrices.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
STUDIES = {
    "heat": "Where was the heat?",
    "spiral": "A thousand starts on a spiral",
    "mesh": "Finer grids",
    "random_fields": "Three hundred random fields",
    "orbit_arm": "Orbits and arms from a thousand starts",
    "no_help": "Where it does not help",
    "train_toy": "A network of two scales",
    "train_linear": "Networks that push linear oscillators",
    "train_nonlinear": "Networks that push nonlinear oscillators",
    "train_sine_map": "Networks that invert a bent map",
    "train_poisson": "Networks for Poisson's equation",
    "train_heat": "Networks that see where the heat was",
    "train_dipole": "Networks that steer a quantum particle",
    "train_cart_pole": "A controller in each step of a rollout",
    "train_conductivity": "Networks that read a conductivity",
}


def main() -> int:
    """Run what is asked for; 1 if a study broke."""
    parser = argparse.ArgumentParser(description="Run the studies of physgrad.")
    parser.add_argument("--only", choices=list(STUDIES), help="run this one only")
    parser.add_argument("--quick", action="store_true", help="few and small cases")
    parser.add_argument("--anew", action="store_true", help="forget what was found")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        _study(options.only, options.quick, options.anew, options.core)
        return 0
    names = [options.only] if options.only else list(STUDIES)
    broken = _processes(names, options)
    if broken:
        print(f"BROKEN: {', '.join(broken)}", file=sys.stderr)
    return int(bool(broken))


def _processes(names: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Run as many studies at a time as there are cores; those that broke."""
    free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    cores = _cores()
    for core in cores:
        free.put(core)

    def ended_well(name: str) -> bool:
        core = free.get()
        try:
            return _process(name, options, core)
        finally:
            free.put(core)

    with ThreadPoolExecutor(len(cores)) as pool:
        try:
            well = list(pool.map(ended_well, names))
        except KeyboardInterrupt:  # which those that run have got, too
            pool.shutdown(cancel_futures=True)
            raise
    return [name for name, fine in zip(names, well, strict=True) if not fine]


def _cores() -> list[int] | list[None]:
    """Those that are ours; one without a number where a process cannot be bound."""
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    return sorted(os.sched_getaffinity(0))


def _process(name: str, options: argparse.Namespace, core: int | None) -> bool:
    """Whether a study in a process of its own came to its end."""
    command = [sys.executable, __file__, "--inside", "--only", name]
    command += ["--quick"] * options.quick + ["--anew"] * options.anew
    command += [] if core is None else ["--core", str(core)]
    environment = {**os.environ, **ONE_THREAD, "JAX_ENABLE_X64": "1"}
    return subprocess.run(command, env=environment).returncode == 0


def _study(name: str, quick: bool, anew: bool, core: int | None = None) -> None:
    """Run the cases that are missing, and report."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    study = importlib.import_module(name)
    store = Store(name, quick, anew)
    cases = study.cases(quick)
    for number, (key, case) in enumerate(cases.items(), 1):
        if key in store:
            continue
        began = time.perf_counter()
        store[key] = study.run(**case)
        seconds = time.perf_counter() - began
        place = f"{name} {number}/{len(cases)}"
        print(f"{place} {key}: {seconds:.1f} s", file=sys.stderr, flush=True)
    found = {key: store[key] for key in cases}
    text, figure = study.report(found, quick), study.draw(found, quick)
    print(f"## {STUDIES[name]}\n\n{text}", flush=True)
    if not quick:
        RESULTS.mkdir(parents=True, exist_ok=True)
        _, _, method = (study.__doc__ or "").partition("\n")
        parts = (method.strip(), store.machine(), text)
        (RESULTS / f"{name}.md").write_text("\n\n".join(parts))
        save(figure, RESULTS / f"{name}.svg")


if __name__ == "__main__":
    sys.exit(main())
