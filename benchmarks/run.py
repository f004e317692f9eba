"""Run the benchmarks, each in a process of its own, and print Markdown.

python benchmarks/run.py [--quick] [--only NAME]
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time

from report import machine

TITLES = {
    "notebook_loop": "The notebook's loop against `minimize`",
    "rivals": "To the same loss: physgrad and other libraries",
    "million": "A million starts at once",
    "recording": "Recording on against off",
    "heat": "A step against one inverse and one forward",
    "warm_start": "Evaluations of a numerical inverse",
    "conductivity": "A conductivity from its noisy solution",
    "least_squares": "Least squares from the literature",
    "stragglers": "Many problems, some of them slow",
    "devices": "Two devices against one",
    "million_unknowns": "A million unknowns",
    "callbacks": "A simulator behind a callback",
    "simulators": "Ready simulators",
    "training": "Gradients and steps for networks",
    "cold": "The command, cold",
}
# Threads of BLAS get in the way of 2 by 2 matrices: SciPy's L-BFGS-B takes 100 ms in
# place of 0.5 ms while another process is busy.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

# Those that run on more than one device, and on how many.
DEVICES = {"devices": 2}


def main() -> int:
    """Print the machine, then one section for each benchmark; 1 if one broke."""
    parser = argparse.ArgumentParser(description="Run the benchmarks of physgrad.")
    parser.add_argument("--only", choices=list(TITLES), help="run this one only")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes: does it run? not to be quoted",
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        importlib.import_module(options.only).main(options.quick)
        return 0
    print(machine() + "\n", flush=True)
    if options.quick:
        print("QUICK: small sizes, few samples; goals mean nothing here.\n", flush=True)
    names = [options.only] if options.only else list(TITLES)
    broken = [name for name in names if not _run(name, options.quick)]
    if broken:
        print(f"BROKEN: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def _run(name: str, quick: bool) -> bool:
    """Run one benchmark in a fresh process; whether it came to its end."""
    print(f"## {TITLES[name]}\n", flush=True)
    command = [sys.executable, __file__, "--inside", "--only", name]
    began = time.perf_counter()
    environment = {**os.environ, **ONE_THREAD}
    if name in DEVICES:
        flag = f"--xla_force_host_platform_device_count={DEVICES[name]}"
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    ended = subprocess.run(command + ["--quick"] * quick, env=environment)
    print(f"({name}: {time.perf_counter() - began:.0f} s)\n", flush=True)
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
