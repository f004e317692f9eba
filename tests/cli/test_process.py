"""Faults of ours, streams and interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from command import physgrad, strict_json

from physgrad.cli.process import uninterrupted
from physgrad.names import (
    OPTIMIZERS,
)


def test_a_fault_of_ours_has_a_traceback_only_on_request(here, unused, monkeypatch):
    code, out, err = here("compare")
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert err.startswith("physgrad: internal error (AssertionError: something ran)")
    monkeypatch.setenv("PHYSGRAD_DEBUG", "1")
    assert "Traceback" in here("compare")[2]


def test_without_a_command_there_is_help(here):
    code, out, err = here()
    assert (code, out) == (2, "")
    assert "Commands:\n  check " in err and "\n  compare " in err
    code, out, err = here("compare", "--help")
    assert (code, err) == (0, "")
    for name in OPTIMIZERS:
        assert f"\n    {name} " in out


def test_problems_are_listed(here):
    assert here("problems")[1].startswith("toy: z = ")
    document = strict_json(here("problems", "--json")[1])
    assert document["problems"]["toy"]["inverses"] == ["notebook"]


def test_names_and_help_need_no_jax():
    program = """
import sys
from physgrad.cli import run
for line in ["--help", "--version", "problems", "compare --help", "compare toyy",
             "compare --optimizer nwton", "compare --optimizer pg:inverse=x",
             "compare --start 3", "compare --out /dev/null/x", "check --help",
             "check toyy", "check toy --start 3", "check toy --inverse x",
             "check toy --noise x"]:
    print("exit code", run(line.split()))
print(sorted({"jax", "equinox", "rich", "scipy"} & set(sys.modules)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    lines = answer.stdout.splitlines()
    assert lines[-1] == "[]"
    codes = [int(line[-1]) for line in lines if line.startswith("exit code")]
    assert codes == [0, 0, 0, 0, 2, 2, 2, 2, 3, 0, 2, 2, 2, 2]


def test_a_stream_that_takes_nothing_leaves_no_traceback():
    with open("/dev/full", "w") as full:
        answer = physgrad("problems", stdout=full)
        assert (answer.returncode, answer.stderr) == (
            3,
            "physgrad: cannot print (stdout): No space left on device\n",
        )
        assert physgrad("compare", "--bad", stderr=full).returncode == 2
    reader, writer = os.pipe()
    os.close(reader)
    answer = physgrad("problems", stdout=writer)
    os.close(writer)
    assert (answer.returncode, answer.stderr) == (141, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_command(number):
    program = f"""
import os, sys, threading
from physgrad.cli import main
sys.argv = ["physgrad", "compare"]
threading.Timer(0.3, os.kill, (os.getpid(), {int(number)})).start()
main()
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert (answer.returncode, answer.stdout) == (128 + number, "")
    assert answer.stderr == "physgrad: interrupted\n"


def test_an_interrupt_waits_for_a_save():
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("saved")
    assert done == ["saved"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
