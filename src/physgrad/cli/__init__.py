"""The command `physgrad`: parses, calls the library, prints; no numerics.

JAX, NumPy and rich are imported where they are needed: help, names and wrong use are
answered without them.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

from physgrad.cards import PROBLEMS
from physgrad.cli.beginning import init_command
from physgrad.cli.checking import check_command
from physgrad.cli.comparing import compare_command
from physgrad.cli.exploring import explore_command
from physgrad.cli.process import (
    CLOSED_PIPE,
    SUCCESS,
    flush_or_drop,
    listen,
    print_text,
    report,
    show_warning,
)
from physgrad.cli.training import train_command
from physgrad.names import package_version


def main() -> NoReturn:
    """The command: runs `sys.argv`, and exits."""
    listen()
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        flush_or_drop(stream)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """The exit code of the command with these arguments; never raises an `Exception`.

    0 done; 1 no run succeeded, or a check found a fault; 2 wrong use; 3 files, disk;
    4 a fault of ours; 141 nobody reads stdout any more. For 2 to 4 one line on stderr
    says what is wrong.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            with commands.make_context("physgrad", list(arguments)) as context:
                return commands.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except BrokenPipeError:  # as in `physgrad compare | head -3`
        return CLOSED_PIPE
    except Exception as error:
        return report(error)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    package_name="physgrad", prog_name="physgrad", message="%(prog)s %(version)s"
)
def commands() -> None:
    """Optimization through physics by inverting it.

    Exit codes: 0 done, 1 no run succeeded or a check found a fault, 2 wrong use, 3
    files and disk, 4 a fault of physgrad.
    """


@commands.command("problems")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of problem files.")
def problems_command(as_json: bool, schema: bool) -> int:
    """List the problems, with size, cost and what each teaches."""
    if schema:
        from physgrad.problems.problem_schema import problem_schema

        print_text(json.dumps(problem_schema(), indent=2))
        return SUCCESS
    if as_json:
        cards = {name: card.document() for name, card in PROBLEMS.items()}
        document = {"schema": 1, "physgrad": package_version(), "problems": cards}
        print_text(json.dumps(document))
        return SUCCESS
    for name, card in PROBLEMS.items():
        print_text(f"{name}: {card.what}")
        print_text(
            f"    x has {card.entries:,} entries; a call of the simulator: {card.cost}"
        )
        print_text(f"    {card.teaches}")
        for option in card.options:
            print_text(f"    {option}")
        for inverse in card.inverses:
            print_text(f"    with a further inverse: --optimizer pg:inverse={inverse}")
    return SUCCESS


commands.add_command(compare_command)
commands.add_command(check_command)
commands.add_command(explore_command)
commands.add_command(init_command)
commands.add_command(train_command)
