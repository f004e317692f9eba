"""`physgrad check`: is this inverse an inverse, and which method will help?"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from physgrad.cards import is_problem, parse_problem, problem_card
from physgrad.cli.comparing import typed_start
from physgrad.cli.loading import load
from physgrad.cli.process import NO_SUCCESS, SUCCESS, print_text, wrong_use
from physgrad.cli.subject import is_problem_file, refuse_unknown, subject_of
from physgrad.names import (
    INVERSES,
    nearest,
    number,
    parse_optimizer,
    parse_start,
    quoted,
)

if TYPE_CHECKING:
    from physgrad.doctor.report import CheckReport


@click.command("check", short_help="Is an inverse an inverse? Which method will help?")
@click.argument("object_name", metavar="OBJECT")
@click.option(
    "--start",
    metavar="X0,X1,...",
    help="x0, or MODULE:X0 for an array or a tree.  [default: the problem's]",
)
@click.option(
    "--inverse",
    metavar="NAME[,key=value]",
    help=f"In place of its own: {', '.join(INVERSES)}, or one of the problem's.",
)
@click.option("--noise", metavar="SD", help="Standard deviation of z's entries.")
@click.option("--float64", is_flag=True, help="Compute in double precision.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check_command(
    *,
    object_name: str,
    start: str | None,
    inverse: str | None,
    noise: str | None,
    float64: bool,
    as_json: bool,
) -> int:
    """Examine the simulator OBJECT and its inverse: what is wrong, what will help.

    OBJECT is a problem (toy), a problem file (FILE.toml), MODULE:OBJECT or
    path/to/file.py:OBJECT; the latter name a Simulator, a Chain, an Objective, a
    Problem or a function z = P(x). The module is imported: its code runs. Exits with 1
    if the inverse is none, or the simulator has another fault.
    """
    with wrong_use(ValueError):
        deviation = None if noise is None else _deviation(noise)
        _check_names(object_name, start, inverse)
    report = _check(object_name, start, inverse, deviation, float64)
    print_text(report.to_json() if as_json else str(report))
    return SUCCESS if report.ok else NO_SUCCESS


def _deviation(text: str) -> float:
    try:
        value = number(text)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ValueError(
            f"--noise must be a positive number such as 1e-3, got {quoted(text)}"
        )
    return value


def _check_names(name: str, start: str | None, inverse: str | None) -> None:
    """What can be refused before JAX is loaded (`ValueError`)."""
    if not is_problem_file(name):
        refuse_unknown(name)
    own = is_problem(name)
    if inverse is not None and own:
        _rule_name(inverse, problem_card(name).inverses)
    if start is not None and ":" not in start:
        entries = parse_problem(name).entries if own else start.count(",") + 1
        parse_start(start, entries)


def _rule_name(text: str, more: tuple[str, ...]) -> None:
    known = [*INVERSES, *more]
    if text.partition(",")[0] not in known:
        raise ValueError(f"unknown --inverse {quoted(text)}{nearest(text, known)}")
    parse_optimizer(f"pg:inverse={text}", more)


def _check(
    name: str,
    start: str | None,
    inverse: str | None,
    noise: float | None,
    float64: bool,
) -> CheckReport:
    """Load what is named, and call the library; stdout is kept for the report."""
    import jax

    file = subject_of(name, {}, None) if is_problem_file(name) else None
    if float64 or (file is not None and file.float64):
        jax.config.update("jax_enable_x64", True)  # before any array is made

    from physgrad import problems
    from physgrad.doctor.examination import check
    from physgrad.loop.compiled import quick_to_compile

    with contextlib.redirect_stdout(sys.stderr):  # their prints are not the report
        if file is not None:
            found = file.build()
        else:
            found = problems.get(name) if is_problem(name) else load(name)
        inverses: Mapping[str, Any] = {}
        like = None
        if isinstance(found, problems.Problem):
            found, like, inverses = found.objective, found.start, found.inverses
        x0 = _start(start, like)
        with wrong_use(ValueError, TypeError), quick_to_compile():
            try:
                target = _with_rule(found, inverse, inverses)
                report = check(target, x0, noise=noise)
            except TypeError as error:
                raise TypeError(f"{error} ({name})") from error
    return dataclasses.replace(report, subject=name)


def _start(text: str | None, like: Any) -> Any:
    """The start that was typed or named, else that of the problem."""
    if text is None:
        if like is None:
            raise click.UsageError(
                "--start is needed: x0 as numbers separated by commas, or MODULE:X0"
            )
        return like
    if ":" in text:
        return load(text)
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    with wrong_use(ValueError):
        entries = text.count(",") + 1
        if like is None:
            like = jnp.zeros(entries)
        values = parse_start(text, ravel_pytree(like)[0].size)
        return typed_start(like, values)


def _with_rule(found: Any, inverse: str | None, own: Mapping[str, Any]) -> Any:
    """What was found, with the rule that was asked for in place of its own."""
    if inverse is None or inverse == "own":
        return found
    from physgrad import Objective, Simulator
    from physgrad.optimizers.named import named_optimizer

    _rule_name(inverse, tuple(own))
    method: Any = named_optimizer(parse_optimizer(f"pg:inverse={inverse}", own), own)
    if isinstance(found, Objective):
        return Objective(Simulator(found.simulator, method.inverse), found.loss)
    return Simulator(found, method.inverse)
