"""`physgrad compare`: several methods on a problem, from one start, side by side."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from physgrad.cli.process import (
    NO_SUCCESS,
    SUCCESS,
    complain,
    print_text,
    saving,
    uninterrupted,
    wrong_use,
)
from physgrad.cli.subject import Subject, subject_of
from physgrad.cli.tables import lines_of
from physgrad.names import (
    Named,
    parse_optimizers,
    usage,
    whole_number,
)
from physgrad.results import MissingExtra

if TYPE_CHECKING:
    from physgrad.comparison.comparison import Comparison
    from physgrad.problems.problem import Problem

RESULT_FILES = ("results.json", "results.npz")
"""As in `comparison.archive`, which loads JAX."""
REPORT = "report.html"
MOST_NUMBERS = 200_000_000
"""Entries of x in all iterates of all runs together: a few gigabytes of memory."""
MOST_ITERATES = 10_000_000
"""Of all runs together: a few gigabytes of results."""


@click.command(
    "compare",
    short_help="Run several methods on a problem, side by side.",
    # \b: click is to leave the lines of a paragraph as they are
    epilog="\b\n" + usage().replace("\n\n", "\n\n\b\n"),
)
@click.argument("problem", default="toy")
@click.option(
    "--optimizer",
    "optimizers",
    multiple=True,
    metavar="NAME[:key=value,...]",
    help="A method; once for each.  [default: the problem's]",
)
@click.option("--start", metavar="X0,X1,...", help="x0.  [default: the problem's]")
@click.option("--steps", metavar="N", help="Steps to do.  [default: the problem's]")
@click.option("--size", metavar="N", help="How large it is: cells, joints, ...")
@click.option(
    "--noise", metavar="PART", help="Of its data: a part of their root mean square."
)
@click.option("--seed", metavar="N", help="Which of those that are drawn at random.")
@click.option("--float64", is_flag=True, help="Compute in double precision.")
@click.option("--out", metavar="DIR", help="Save results and figures in DIR.")
@click.option(
    "--report", is_flag=True, help="Write report.html in DIR, too: it opens offline."
)
@click.option("--force", is_flag=True, help="Replace older results in DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def compare_command(
    *,
    problem: str,
    optimizers: tuple[str, ...],
    start: str | None,
    steps: str | None,
    size: str | None,
    noise: str | None,
    seed: str | None,
    float64: bool,
    out: str | None,
    report: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Run several methods on PROBLEM (default: toy) from one start, side by side.

    PROBLEM is one of those that `physgrad problems` lists, with --size, --noise and
    --seed where it has them, or NAME:size=N,... for short; a problem file, FILE.toml
    (`physgrad init` writes one); or path/to/file.py:OBJECT or MODULE:OBJECT, a Problem,
    or an Objective with --start.
    """
    with wrong_use(ValueError):
        settings = {"size": size, "noise": noise, "seed": seed}
        subject = subject_of(problem, settings, start)
        optimizers = optimizers or subject.optimizers
        named = parse_optimizers(optimizers, subject.inverses)
        steps = str(subject.steps) if steps is None else steps
        num_steps = _steps(steps, len(named))
    if out is not None:
        _check_folder(out, force)  # before anything runs: no hours lost
    elif report:
        raise click.UsageError("--report needs a folder to write in: add --out DIR")
    float64 = float64 or subject.float64
    command = None
    if report:
        command = _command(subject.text, optimizers, start, steps, float64)
        _load_report()
    found, comparison = _compare(subject, named, num_steps, float64)
    try:
        with uninterrupted():
            saved = [] if out is None else _save(comparison, found, out, force, command)
    finally:  # what was computed is shown, whatever the disk says
        print_text(comparison.to_json() if as_json else _text(comparison))
    if saved and not as_json:
        print_text(f"saved in {out}: {', '.join(saved)}")
    return SUCCESS if any(run.ok for run in comparison.runs.values()) else NO_SUCCESS


def _steps(text: str, runs: int) -> int:
    steps = whole_number(text, "--steps")
    if runs * (steps + 1) > MOST_ITERATES:
        raise ValueError(
            f"--steps {steps} with {runs} optimizers would record more than "
            f"{MOST_ITERATES:,} iterates: ask for fewer, or use physgrad.minimize("
            "..., record_every=...)"
        )
    return steps


def _compare(
    subject: Subject,
    named: Mapping[str, Named],
    num_steps: int,
    float64: bool,
) -> tuple[Problem, Comparison]:
    """Call the library; what it refuses here is what the user asked for."""
    import jax

    if float64:
        jax.config.update("jax_enable_x64", True)  # before any array is made

    from physgrad.comparison.comparison import compare
    from physgrad.loop.compiled import quick_to_compile
    from physgrad.optimizers.named import named_optimizer, named_words

    problem = subject.build()
    with wrong_use(ValueError, TypeError, MissingExtra):
        optimizers = {
            key: named_optimizer(one, problem.inverses) for key, one in named.items()
        }
    with wrong_use(ValueError, TypeError), quick_to_compile():
        x0 = typed_start(problem.start, subject.start)
        _check_numbers(x0, num_steps, len(named))
        comparison = compare(
            problem.objective,
            x0,
            optimizers,
            num_steps,
            problem=problem.name,
            solution=problem.solution,
            direction=problem.direction,
        )
    described = {**comparison.optimizers, **named_words(named)}
    return problem, dataclasses.replace(comparison, optimizers=described)


def _check_numbers(x0: Any, steps: int, runs: int) -> None:
    """Refuse more iterates than memory is likely to hold (`ValueError`)."""
    import jax

    entries = sum(leaf.size for leaf in jax.tree.leaves(x0))
    if entries * (steps + 1) * runs > MOST_NUMBERS:
        raise ValueError(
            f"--steps {steps} of {runs} optimizers with {entries:,} entries of x would "
            f"record more than {MOST_NUMBERS:,} numbers: ask for fewer, or use "
            "physgrad.minimize(..., record_every=...)"
        )


def typed_start(like: Any, values: tuple[float, ...] | None) -> Any:
    """The start that was typed, as the PyTree that the problem's is."""
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    if values is None:
        return like
    flat, unravel = ravel_pytree(like)
    if len(values) != flat.size:
        raise ValueError(
            f"--start must be {flat.size} finite numbers separated by commas, got "
            f"{len(values)}"
        )
    for value in values:
        if abs(value) > float(jnp.finfo(flat.dtype).max):
            raise ValueError(
                f"--start {value:g} is too large for {flat.dtype}: add --float64"
            )
    return unravel(jnp.asarray(values, flat.dtype))


def _check_folder(out: str, force: bool) -> None:
    from physgrad.storage import check_folder

    if not out:
        raise click.UsageError("--out must name a folder, got ''")
    with _folder_errors(out):
        check_folder(out, force=force, names=RESULT_FILES)


def _command(
    problem: str,
    optimizers: tuple[str, ...],
    start: str | None,
    steps: str,
    float64: bool,
) -> str:
    """What to type for the same comparison."""
    words = ["physgrad", "compare", problem]
    for text in optimizers:
        words += ["--optimizer", text]
    words += ["--steps", steps]
    words += [] if start is None else ["--start", start]
    return shlex.join([*words, "--float64"] if float64 else words)


def _load_report() -> Any:
    """`plot.report`, or what to install for it, before anything runs."""
    from physgrad import plot

    with wrong_use(MissingExtra):
        return plot.report


def _save(
    comparison: Comparison,
    problem: Problem,
    out: str,
    force: bool,
    command: str | None,
) -> list[str]:
    """Save results and figures in one piece; the names of the files.

    With a `command` that makes the same again, there is a report, too.
    """
    from physgrad.comparison.comparison import save_comparison

    figures: dict[str, bytes] = {}
    try:
        figures |= _figures(comparison, problem)
        if command is not None:
            page = _load_report()(comparison, command=command)
            figures[REPORT] = page.encode()
    finally:  # a figure that cannot be drawn does not cost the results
        try:
            with _folder_errors(out):
                save_comparison(comparison, out, figures, force=force)
        except click.ClickException:
            complain(f"not saved; the last x of each run is {_last_x(comparison)}")
            raise
    return [*RESULT_FILES, *figures]


def _figures(comparison: Comparison, problem: Problem) -> Mapping[str, bytes]:
    try:
        from physgrad.plot import figures, solutions  # need the extra "plot"

        return {**figures(comparison), **solutions(comparison, problem)}
    except MissingExtra as error:
        complain(f"warning: no figures: {error}")
        return {}


@contextlib.contextmanager
def _folder_errors(out: str) -> Iterator[None]:
    try:
        with saving(out):
            yield
    except FileExistsError as error:
        what = f"the folder of --out holds older results ({out})"
        raise click.UsageError(f"{what}: name another one, or add --force") from error


def _last_x(comparison: Comparison) -> str:
    from physgrad.comparison.document import nested
    from physgrad.storage import to_json

    return to_json({key: nested(run.x) for key, run in comparison.runs.items()})


def _text(comparison: Comparison) -> str:
    """The table, what the runs have to say, and how far pg-numeric is from pg."""
    lines = lines_of(comparison.table())
    for key, run in comparison.runs.items():
        if run.message:
            lines.append(f"{key}: {run.result}: {run.message}")
    return "\n".join([*lines, *_difference(comparison)])


def _difference(comparison: Comparison) -> list[str]:
    """How far pg-numeric is from pg, where both went as far."""
    if not {"pg", "pg-numeric"} <= comparison.runs.keys():
        return []
    difference = comparison.difference("pg-numeric", "pg")
    if difference is None:
        return []
    return [f"pg-numeric: mean absolute difference to pg in x {difference:.2g}"]
