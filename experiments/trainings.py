"""What the studies of trainings share: a plan, its cases, and what is told of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from figures import legend, line, panels
from matplotlib.figure import Figure
from methods import spread, table

from physgrad.train.experiment import Experiment
from physgrad.train.experiments import named_experiment
from physgrad.train.named_methods import named_method
from physgrad.train.training import Budget, Point, Training
from physgrad.training_names import parse_methods

OURS = ("half-inverse", "lm", "physical", "physical-lm")
Results = Mapping[str, Mapping[str, Any]]
Build = Callable[[bool], Experiment]
"""The experiment, small when quick."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which methods train on an experiment, how long, and from how many seeds."""

    experiment: str
    methods: Mapping[str, tuple[str, ...]]
    """Label to a method of `physgrad train`, or to several, of which the best counts,
    by the median of its seeds; the first is expected to be it."""
    budget: Budget
    """Of each method."""
    seeds: int = 1
    repeated: tuple[str, ...] = ()
    """Labels that are trained from all seeds, the others from one."""
    by_x: bool = False
    """Whether the error in x decides, in place of the loss."""
    builds: Mapping[str, Build] = dataclasses.field(default_factory=dict)
    """Variants of the experiment, for labels that have one of their own; "" for all."""

    def cases(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Each method with each seed."""
        return {
            _key(label, text, seed): {
                "label": label,
                "method": text,
                "seed": seed,
                "quick": quick,
            }
            for label, texts in self.methods.items()
            for seed in range(self._seeds(label, quick))
            for text in (texts[:1] if quick else texts)
        }

    def _seeds(self, label: str, quick: bool) -> int:
        return self.seeds if label in self.repeated and not quick else 1

    def run(self, label: str, method: str, seed: int, quick: bool) -> dict[str, Any]:
        """What one method reaches with one seed, and its way there."""
        training = self.trained(label, method, seed, quick)
        return {
            "last": dataclasses.asdict(training.history[-1]),
            "result": str(training.result),
            "message": training.message,
            "compile_seconds": training.compile_seconds,
            "way": [[p.seconds, _worth(p, self.by_x)] for p in training.history],
        }

    def trained(self, label: str, method: str, seed: int, quick: bool) -> Training:
        """A training at its end."""
        build = self.builds.get(label, self.builds.get(""))
        experiment = build(quick) if build else named_experiment(self.experiment)
        (named,) = parse_methods([method], self.experiment).values()
        batch = int(named.settings["batch"])
        if quick:
            experiment, batch = _small(experiment), min(batch, 16)
        training = Training(experiment, named_method(named), batch, seed)
        for budget in self._budgets(quick):
            for _ in training.run(budget):
                pass
        return training

    def _budgets(self, quick: bool) -> list[Budget]:
        """One after the other: a training looks at what it has reached after each."""
        if quick:
            return [Budget(1.0, 3)]
        if self.budget.epochs is None:
            return [self.budget]
        return [Budget(epochs=n + 1) for n in range(self.budget.epochs)]

    def chosen(
        self, results: Results
    ) -> dict[str, tuple[str, list[Mapping[str, Any]]]]:
        """Label to the best of its methods and what that has found, seed by seed."""
        chosen = {}
        for label in self.methods:
            ends = self.medians(results, label)
            best = min(ends, key=ends.__getitem__)
            chosen[label] = best, self._found(results, label, best)
        return chosen

    def medians(self, results: Results, label: str) -> dict[str, float]:
        """What decides, of each method that a label has tried."""
        found = {t: self._found(results, label, t) for t in self.methods[label]}
        return {
            text: float(np.median([self._value(one) for one in ones]))
            for text, ones in found.items()
            if ones
        }

    def _found(
        self, results: Results, label: str, text: str
    ) -> list[Mapping[str, Any]]:
        """Seed by seed."""
        keys = [_key(label, text, seed) for seed in range(self.seeds)]
        return [results[key] for key in keys if key in results]

    def median(self, results: Results, label: str, kind: str) -> float:
        """Of the last values of a kind, over all seeds; infinite for NaN."""
        _, found = self.chosen(results)[label]
        values = [one["last"][kind] for one in found]
        return float(np.median(np.nan_to_num(values, nan=np.inf)))

    def best(self, results: Results, labels: Sequence[str], *kinds: str) -> float:
        """The lowest of the largest of some kinds of medians, of some methods."""
        return min(
            max(self.median(results, label, kind) for kind in kinds) for label in labels
        )

    def seeds_of(self, results: Results, label: str) -> str:
        """How many seeds a median rests on."""
        count = len(self.chosen(results)[label][1])
        return "one seed" if count == 1 else f"the median of {count} seeds"

    def _value(self, found: Mapping[str, Any]) -> float:
        value = found["way"][-1][-1]
        return np.inf if value is None else value

    def report(self, results: Results) -> str:
        """A table of all methods, the best one first."""
        chosen = self.chosen(results)
        known = any(
            found[0]["last"]["x_error"] is not None for _, found in chosen.values()
        )
        kinds = {"validation_loss": "loss, validation", "train_loss": "loss, training"}
        kinds |= {"x_error": "error in x"} if known else {}
        columns = [
            "method",
            "settings",
            "seeds",
            *kinds.values(),
            "samples seen",
            "seconds",
            "compiling",
        ]
        order = sorted(
            chosen,
            key=lambda label: np.median([self._value(v) for v in chosen[label][1]]),
        )
        rows = []
        for label in order:
            text, found = chosen[label]
            lasts = [one["last"] for one in found]
            rows.append(
                [
                    label,
                    self._settings(label, text),
                    len(found),
                    *(_spread([last[kind] for last in lasts]) for kind in kinds),
                    f"{np.median([last['samples'] for last in lasts]):,.0f}",
                    f"{np.median([last['seconds'] for last in lasts]):.3g}",
                    f"{np.median([one['compile_seconds'] for one in found]):.1f} s",
                ]
            )
        ends = [
            f"{label} ended early with seed {seed}: {found['message']}.\n"
            for label, (_, founds) in chosen.items()
            for seed, found in enumerate(founds)
            if found["result"] != "completed"
        ]
        return "\n".join([table(columns, rows), *ends])

    def _settings(self, label: str, text: str) -> str:
        """Of a method, and of how many it is the best."""
        (named,) = parse_methods([text], self.experiment).values()
        words = [f"{k.replace('_', ' ')} {v:g}" for k, v in named.settings.items()]
        tried = len(self.methods[label])
        return ", ".join(words) + (f" (best of {tried})" if tried > 1 else "")

    def draw(self, results: Results, quick: bool) -> Figure:
        """What decides against what is equal, of each method with the first seed."""
        del quick
        figure, (axes,) = panels(1)
        figure.set_size_inches(6.6, 4.2)
        by_time = self.budget.epochs is None
        for label, (_, found) in self.chosen(results).items():
            # the start has no place on a log axis
            way = [
                (seconds if by_time else batch, value)
                for batch, (seconds, value) in enumerate(found[0]["way"])
                if batch and value
            ]
            line(
                axes, label, *(zip(*way, strict=True) if way else ((), ())), marks=False
            )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="seconds of training" if by_time else "epochs",
        )
        axes.set_ylabel("error in x" if self.by_x else "loss, validation")
        legend(figure, [axes])
        return figure


def _key(label: str, text: str, seed: int) -> str:
    return f"{label}: {text}, seed {seed}"


def _worth(point: Point, by_x: bool) -> float | None:
    value = point.x_error if by_x else point.validation_loss
    return value if value is not None and np.isfinite(value) else None


def _small(experiment: Experiment) -> Experiment:
    """With few samples."""
    kept = None if experiment.kept is None else 64
    return dataclasses.replace(experiment, kept=kept, held_out=32, batches=3)


def _spread(values: list[float]) -> str:
    return spread(values, ".2g") if len(values) > 1 else f"{values[0]:.2g}"
