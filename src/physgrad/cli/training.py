"""`physgrad train`: a network through physics, by several methods side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from physgrad.cli.process import (
    NO_SUCCESS,
    SUCCESS,
    DiskError,
    complain,
    print_text,
    resumable,
    saving,
    uninterrupted,
    wrong_use,
)
from physgrad.cli.tables import lines_of
from physgrad.names import Named, number, package_version, quoted, whole_number
from physgrad.results import CheckpointError, MissingExtra
from physgrad.training_names import (
    EXPERIMENTS,
    METHODS,
    experiment_card,
    parse_methods,
)

if TYPE_CHECKING:
    from physgrad.train.course import Outcome
    from physgrad.train.training import Point

RESULTS = "results.json"
MOST_SEED = 2**31
WITHOUT_STEP = {
    "skipped": "not finite, or without a Newton step in z",
    "rejected": "the loss would not have fallen",
}


def _usage() -> str:
    lines = ["Experiments:"]
    lines += [f"  {name:23}{card.what}" for name, card in EXPERIMENTS.items()]
    lines += ["", "Methods, and their settings; defaults are the experiment's:"]
    lines += [f"  {name:14}{', '.join(m.keys)}" for name, m in METHODS.items()]
    return "\n".join(lines)


@click.command(
    "train",
    short_help="Train a network through physics, by several methods.",
    epilog="\b\n" + _usage().replace("\n\n", "\n\n\b\n"),
)
@click.argument("experiment", required=False, metavar="EXPERIMENT")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME[:key=value,...]",
    help="A method; once for each.  [default: the experiment's]",
)
@click.option(
    "--seconds",
    metavar="S",
    help="To train, for each method, without compiling.  [default: the experiment's]",
)
@click.option(
    "--epochs",
    metavar="N",
    help="To train, instead of seconds: rounds through the samples that are kept, or "
    "where they are always new, 100 batches of first-order methods, 10 of others.",
)
@click.option("--seed", metavar="N", default="0", help="Of network and data.")
@click.option("--out", metavar="DIR", help="Save results, figures and checkpoints.")
@click.option("--resume", is_flag=True, help="Go on with what is in DIR.")
@click.option("--force", is_flag=True, help="Replace what is in DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def train_command(
    *,
    experiment: str | None,
    methods: tuple[str, ...],
    seconds: str | None,
    epochs: str | None,
    seed: str,
    out: str | None,
    resume: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Train the network of EXPERIMENT by one or more methods, side by side.

    All begin with the same network; samples that are kept are the same for all, new
    ones are drawn alike. Progress goes to stderr, a table to stdout. A training with
    --out that was cut off, at whatever moment, goes on with --resume to the same bits:
    with the methods that it had, and others that are named beside them.
    """
    if experiment is None:
        raise click.UsageError(f"name an experiment: {', '.join(EXPERIMENTS)}")
    with wrong_use(ValueError):
        card = experiment_card(experiment)
        parse_methods(methods, experiment)  # what is wrong is told before all else
        budget = _budget(seconds, epochs, card.seconds)
        number_of_seed = whole_number(seed, "--seed")
        if number_of_seed >= MOST_SEED:
            raise ValueError(f"--seed must be below {MOST_SEED}, got {quoted(seed)}")
    folder = None if out is None else _folder(out, resume, force)
    if folder is None and (resume or force):
        raise click.UsageError("--resume and --force need a folder: add --out DIR")
    held: tuple[str, ...] = ()
    if folder is not None and resume:
        held = _held_methods(folder, experiment, number_of_seed)
    with wrong_use(ValueError):
        named = parse_methods(methods or held or card.methods, experiment)
    outcomes = _train(experiment, named, budget, number_of_seed, folder)
    document = _document(experiment, number_of_seed, outcomes)
    try:
        with uninterrupted():
            saved = [] if folder is None else _save(folder, document, outcomes)
    finally:  # what was computed is shown, whatever the disk says
        print_text(_json(document) if as_json else _table(experiment, outcomes))
    if saved and not as_json:
        print_text(f"saved in {out}: {', '.join(saved)}")
    unsaved = [outcome.unsaved for outcome in outcomes.values() if outcome.unsaved]
    if unsaved:
        raise DiskError(f"cannot save the networks in {out} ({unsaved[0]})")
    good = any(o.result == "completed" for o in outcomes.values())
    return SUCCESS if good else NO_SUCCESS


def _budget(seconds: str | None, epochs: str | None, default: float) -> dict[str, Any]:
    """As `train.training.Budget` takes it."""
    if seconds is not None and epochs is not None:
        raise ValueError("--seconds and --epochs exclude each other: give one")
    if epochs is not None:
        return {"epochs": whole_number(epochs, "--epochs")}
    if seconds is None:
        return {"seconds": default}
    try:
        value = number(seconds)
    except ValueError:
        value = -1.0
    if value <= 0:
        raise ValueError(f"--seconds must be a positive number, got {quoted(seconds)}")
    return {"seconds": value}


def _folder(out: str, resume: bool, force: bool) -> Path:
    """The folder of --out, which can be written to: seen before anything is trained."""
    from physgrad.storage import check_folder

    if not out:
        raise click.UsageError("--out must name a folder, got ''")
    if resume and force:
        raise click.UsageError("--resume and --force exclude each other: give one")
    folder = Path(out)
    with _disk(out):
        check_folder(folder / "checkpoints", force=True)
    held = [name for name in (RESULTS, "checkpoints") if (folder / name).exists()]
    if held and not (resume or force):
        raise click.UsageError(
            f"the folder of --out holds {held[0]} ({out}): name another one, or add "
            "--resume to go on, --force to begin anew"
        )
    if force:
        _forget(folder)
    return folder


def _held_methods(folder: Path, experiment: str, seed: int) -> tuple[str, ...]:
    """What a training that goes on is of: of the methods that it has."""
    from physgrad.train.plan import Plan

    place = folder / "checkpoints"
    with _checkpoints(), _disk(str(folder)):
        held = Plan.read(place)
        if held is None:
            complain(f"warning: nothing to resume in {folder}: the training begins")
            return ()
        held.check(experiment, seed, place)
    return held.methods


def _forget(folder: Path) -> None:
    """Remove the checkpoints of an older training, and nothing else."""
    import shutil

    from physgrad.loop.saves import locked_folder
    from physgrad.train.plan import OURS

    if (folder / "checkpoints").exists():
        with _disk(str(folder)), locked_folder(folder / "checkpoints", OURS):
            shutil.rmtree(folder / "checkpoints")


@contextlib.contextmanager
def _disk(out: str) -> Iterator[None]:
    """A folder of checkpoints that holds something else is in the way, too."""
    try:
        with saving(out):
            yield
    except FileExistsError as error:
        raise DiskError(f"cannot save in {out}: {error}") from error


def _train(
    experiment: str,
    named: Mapping[str, Named],
    budget: Mapping[str, Any],
    seed: int,
    folder: Path | None,
) -> dict[str, Outcome]:
    import jax

    jax.config.update("jax_enable_x64", True)  # before any array is made

    with wrong_use(MissingExtra):
        from physgrad.train.course import train_all
    from physgrad.train.training import Budget

    way = "nothing was saved"
    if folder is not None:
        way = "--resume, and not --force, goes on"
    with (
        wrong_use(ValueError, MissingExtra),
        _checkpoints(),
        _disk(str(folder)),
        resumable(way),
    ):
        return train_all(
            experiment,
            named,
            Budget(**budget),
            seed,
            folder=folder,
            watch=_watcher(budget),
        )


@contextlib.contextmanager
def _checkpoints() -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        what = "is of another run" in str(error)
        raise (click.UsageError if what else DiskError)(str(error)) from error


def _watcher(budget: Mapping[str, Any]) -> Callable[[str, Point], None]:
    """Tells stderr of each new point: on a terminal in one line that changes, else each
    tenth of the way."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    last: list[tuple[str, int]] = [("", 0)]

    def watch(key: str, point: Point) -> None:
        whole = budget.get("seconds") or budget.get("epochs") or 1
        done = point.seconds if "seconds" in budget else point.epochs
        error = "" if point.x_error is None else f", error in x {point.x_error:.2e}"
        epoch = f", epoch {point.epochs}" if "epochs" in budget else ""
        line = (
            f"{key}: {done / whole:4.0%}, {point.seconds:.1f} s{epoch}, "
            f"loss {point.validation_loss:.2e}{error}"
        )
        if console.is_terminal:
            end = "\n" if done >= whole else "\r"
            console.print(line.ljust(console.width - 1), end=end, soft_wrap=True)
        elif (tenth := (key, int(10 * done / whole))) != last[-1]:
            console.print(line, soft_wrap=True)
            last.append(tenth)

    return watch


def _document(
    experiment: str, seed: int, outcomes: Mapping[str, Outcome]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "physgrad": package_version(),
        "experiment": experiment,
        "seed": seed,
        "methods": {key: outcome.document() for key, outcome in outcomes.items()},
    }


def _json(document: dict[str, Any]) -> str:
    from physgrad.storage import to_json

    return to_json(document)


def _save(
    folder: Path, document: dict[str, Any], outcomes: Mapping[str, Outcome]
) -> list[str]:
    """Each file beside, then renamed; the names of the files."""
    from physgrad.plot.saving import write_file

    files = {RESULTS: _json(document).encode(), **_figures(outcomes)}
    with _disk(str(folder)):
        for name, content in files.items():
            write_file(folder / name, content)
    return list(files)


def _figures(outcomes: Mapping[str, Outcome]) -> dict[str, bytes]:
    try:
        from physgrad.plot.files import content
        from physgrad.plot.training_curves import training
        from physgrad.plot.training_samples import training_samples
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        missing = MissingExtra("matplotlib", "plot", "figures")
        complain(f"warning: no figures: {missing}")
        return {}
    figures = {
        "training": training(outcomes),
        "samples": training_samples(outcomes),
    }
    return {
        f"{name}.{kind}": content(figure, kind)
        for name, figure in figures.items()
        for kind in ("png", "svg")
    }


def _table(experiment: str, outcomes: Mapping[str, Outcome]) -> str:
    from rich.table import Table

    known = any(o.last.x_error is not None for o in outcomes.values())
    title = f"{experiment}: means over the samples, seconds without compiling"
    sheet = Table(title=title, title_justify="left")
    sheet.add_column("method", no_wrap=True)
    for name in ("loss, training", "loss, validation", *(["error in x"] * known)):
        sheet.add_column(name, justify="right")
    for name in ("seconds", "batches", "compiling"):
        sheet.add_column(name, justify="right")
    for key, outcome in outcomes.items():
        last = outcome.last
        cells = [f"{last.train_loss:.2e}", f"{last.validation_loss:.2e}"]
        if known:
            cells.append("-" if last.x_error is None else f"{last.x_error:.2e}")
        cells += [f"{last.seconds:.1f}", f"{outcome.batches:,}"]
        sheet.add_row(key, *cells, f"{outcome.compile_seconds:.1f} s")
    lines = lines_of(sheet)
    for key, outcome in outcomes.items():
        lines += [f"{key}: {line}" for line in _remarks(outcome)]
    return "\n".join(lines)


def _remarks(outcome: Outcome) -> list[str]:
    """What the numbers of a method do not say."""
    lines = [
        f"{count:,} of {outcome.batches:,} batches {why}: {WITHOUT_STEP[why]}"
        for why, count in outcome.without_step.items()
    ]
    untouched = outcome.epochs_before == outcome.last.epochs > 0
    if untouched and outcome.result == "completed":
        lines.append(
            f"not trained on, since it has had {outcome.last.seconds:.1f} s, "
            f"{outcome.last.epochs:,} epochs"
        )
    if outcome.without_point:
        lines.append(
            f"{outcome.without_point:,} of {outcome.held_out:,} validation samples "
            "have no x+: their inverse fails, or there is no Newton step in z"
        )
    if outcome.message:
        lines.append(f"{outcome.result}: {outcome.message}")
    return lines
