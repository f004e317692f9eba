"""The controls of the page: what they show, and the settings they ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    Div,
    LayoutDOM,
    Model,
    NumericInput,
    Select,
    Slider,
    TextInput,
    Toggle,
    UIElement,
)

from physgrad.cards import PROBLEMS, problem_card
from physgrad.explorer.method_row import MethodRow, size_of
from physgrad.explorer.presets import PRESETS
from physgrad.explorer.settings import (
    MOST_ENTRIES,
    MOST_METHODS,
    MOST_NUMBERS,
    Formulas,
    Settings,
)
from physgrad.explorer.study import settings_of
from physgrad.names import OPTIMIZERS, parse_optimizers
from physgrad.plot.theme import WIDE, WRAP, dressed

TYPED = "formulas, typed below"
NOTHING = ""
FIRST_FORMULAS = ("x0", "x1**2", "")
FIRST_LOSS = "z0**2 + z1**2"

Change = Callable[[Settings], Settings]
"""Present settings to those that are asked for; `ValueError` where there are none."""


class Controls:
    """All controls. `fill` sets them to settings; what a visitor does asks for others.

    `ask` gets each change at once; `ask_soon` those of sliders that are being moved,
    where only the last one counts.
    """

    def __init__(
        self,
        settings: Settings,
        ask: Callable[[Change], None],
        ask_soon: Callable[[Change], None],
    ):
        self._ask, self._ask_soon, self._filling = ask, ask_soon, False
        self._shown: Formulas | None = None  # in the fields, but for what is typed
        names = [preset.name for preset in PRESETS]
        self.preset = Select(title="Preset", options=[NOTHING, *names], **WIDE)
        self.lesson = Div(text="", **WIDE)
        self.problem = Select(
            title="Problem", options=[*shown_problems(), TYPED], **WIDE
        )
        self.start = [
            NumericInput(title=f"Start x{i}", mode="float", width=90)
            for i in range(MOST_ENTRIES)
        ]
        self.steps = NumericInput(title="Steps", mode="int", width=90)
        self.float64 = Toggle(label="float64", active=False, width=90)
        self.entries = Select(
            title="Entries of x", options=["1", "2", "3"], value="2", width=90
        )
        self.z = [
            TextInput(title=f"z{i} =", value=text, **WIDE)
            for i, text in enumerate(FIRST_FORMULAS)
        ]
        self.loss = TextInput(title="L =", value=FIRST_LOSS, **WIDE)
        self.use = Button(label="Use these formulas", button_type="primary", **WIDE)
        self.add = Select(title="Add a method", options=[NOTHING, *OPTIMIZERS], **WIDE)
        self.method = Select(title="Method", options=[], width=260)
        self.step = Slider(title="Step", start=1, end=2, step=1, value=1, width=260)
        self.methods: list[MethodRow] = []
        self._rows, self._formulas = column(**WIDE), self._formula_fields()
        self._listen()
        self.fill(settings)

    @property
    def layout(self) -> LayoutDOM:
        """What is run, and by which methods."""
        numbers = row(*self.start, self.steps, self.float64, **WRAP)
        parts = [self.preset, self.lesson, self.problem, self._formulas, numbers]
        return column(*parts, self._rows, self.add, **WIDE)

    @property
    def chosen(self) -> LayoutDOM:
        """Which step is taken apart."""
        return row(self.method, self.step, **WRAP)

    def fill(self, settings: Settings) -> None:
        """Set all controls to these settings."""
        self._filling = True
        self.problem.value = TYPED if settings.formulas else settings.problem
        self._formulas.visible = settings.formulas is not None
        self._fill_formulas(settings.formulas)
        self.fill_numbers(settings)
        self._fill_methods(settings)
        self.fill_chosen(settings)
        self.add.update(value=NOTHING, disabled=len(self.methods) >= MOST_METHODS)
        shown = next((p for p in PRESETS if p.settings == settings), None)
        self.preset.value = shown.name if shown else NOTHING
        if shown:
            self.lesson.text = f"<p>{shown.lesson}</p>"
        self.lesson.visible = shown is not None
        self._filling = False

    def fill_numbers(self, settings: Settings) -> None:
        """Show the start, how many steps, and in which precision."""
        before, self._filling = self._filling, True
        for place, field in enumerate(self.start):
            field.visible = place < settings.entries <= MOST_ENTRIES
            if field.visible:
                field.value = settings.start[place]
        self.steps.value, self.float64.active = settings.steps, settings.float64
        self._filling = before

    def fill_chosen(self, settings: Settings) -> None:
        """Show which step is taken apart."""
        before, self._filling = self._filling, True
        self.method.update(options=list(settings.named), value=settings.method)
        # a slider has no length of one
        self.step.update(end=max(settings.steps, 2), value=settings.step + 1)
        self._filling = before

    def _fill_formulas(self, formulas: Formulas | None) -> None:
        """Show other formulas; what is typed and not used yet stays otherwise."""
        if formulas is None or formulas == self._shown:
            return
        self._shown = formulas
        texts = [*formulas.z, *[""] * (MOST_ENTRIES - len(formulas.z))]
        for text, field in zip(texts, self.z, strict=True):
            field.value = text
        self.loss.value, self.entries.value = formulas.loss, str(formulas.entries)

    def _fill_methods(self, settings: Settings) -> None:
        names = [one.name for one in settings.named.values()]
        others = names != [method.name for method in self.methods]
        if others:
            self.methods = [
                MethodRow(
                    name,
                    names[: place + 1].count(name),
                    self._read_methods,
                    self._without(place),
                )
                for place, name in enumerate(names)
            ]
        inverses = inverses_of(settings)
        for method, text in zip(self.methods, settings.optimizers, strict=True):
            method.fill(text, inverses, removable=len(names) > 1)
        if others:
            rows: list[UIElement] = [dressed(one.layout) for one in self.methods]
            self._rows.children = rows

    def _formula_fields(self) -> LayoutDOM:
        hint = (
            "<p>Formulas over x0, x1, x2 (for L: z0, z1, z2), with + - * / **, sin, "
            "exp, sqrt, ... The inverse is left to the numerical rule.</p>"
        )
        fields = [self.entries, *self.z, self.loss, self.use]
        return column(Div(text=hint, **WIDE), *fields, **WIDE)

    def _listen(self) -> None:
        self._when(self.preset, "value", lambda settings, name: preset(name))
        self._when(self.problem, "value", self._with_problem)
        self._when(self.steps, "value", with_steps)
        self._when(self.float64, "active", with_float64)
        self._when(self.add, "value", with_method)
        self._when(self.method, "value", with_chosen)
        self._when(self.step, "value", with_step, soon=True)
        for field in self.start:
            self._when(field, "value", lambda settings, _: self._with_start(settings))
        self.use.on_click(lambda: self._ask(self._with_formulas))

    def _when(
        self,
        widget: Model,
        name: str,
        change: Callable[[Settings, Any], Settings | None],
        *,
        soon: bool = False,
    ) -> None:
        """Ask for a change when a visitor turned a control; None asks for nothing."""
        ask = self._ask_soon if soon else self._ask

        def turned(attribute: str, old: Any, new: Any) -> None:
            if not self._filling:
                ask(lambda settings: change(settings, new) or settings)

        widget.on_change(name, turned)

    def _with_problem(self, settings: Settings, name: str) -> Settings:
        self._formulas.visible = name == TYPED  # to be mended where they are refused
        if name == TYPED:
            return self._with_formulas(settings)
        return settings_of(name, float64=settings.float64)

    def _with_formulas(self, settings: Settings) -> Settings:
        texts = [field.value.strip() for field in self.z]
        while texts and not texts[-1]:
            texts.pop()
        entries = int(self.entries.value)
        formulas = Formulas(tuple(texts), self.loss.value.strip(), entries)
        start = (*settings.start, *(1.0,) * entries)[:entries]
        return with_subject(settings, settings.problem, formulas, start)

    def _with_start(self, settings: Settings) -> Settings:
        values = [field.value for field in self.start[: settings.entries]]
        numbers = tuple(float(value) for value in values if value is not None)
        if len(numbers) < len(values):
            raise ValueError("the start must have a number for each entry of x")
        return dataclasses.replace(settings, start=numbers)

    def _read_methods(self, soon: bool) -> None:
        def change(settings: Settings) -> Settings:
            return with_optimizers(settings, tuple(one.text() for one in self.methods))

        if not self._filling:
            (self._ask_soon if soon else self._ask)(change)

    def _without(self, place: int) -> Callable[[], None]:
        def change(settings: Settings) -> Settings:
            texts = settings.optimizers
            return with_optimizers(settings, texts[:place] + texts[place + 1 :])

        return lambda: self._ask(change)


def shown_problems() -> list[str]:
    """The problems that are small enough for the page."""
    return [name for name, card in PROBLEMS.items() if card.entries <= MOST_NUMBERS]


def inverses_of(settings: Settings) -> tuple[str, ...]:
    """Names of the inverses that the problem brings."""
    return () if settings.formulas else problem_card(settings.problem).inverses


def preset(name: str) -> Settings | None:
    """The settings of a preset; None where none is chosen."""
    return next((one.settings for one in PRESETS if one.name == name), None)


def with_subject(
    settings: Settings,
    problem: str,
    formulas: Formulas | None,
    start: tuple[float, ...],
) -> Settings:
    """Another problem; methods by an inverse that it has not are left out."""
    inverses = () if formulas else problem_card(problem).inverses
    texts = []
    for text in settings.optimizers:
        try:
            parse_optimizers([text], inverses)
        except ValueError:
            continue
        texts.append(text)
    optimizers = tuple(texts) or ("pg",)
    return dataclasses.replace(
        settings,
        problem=problem,
        formulas=formulas,
        start=start,
        optimizers=optimizers,
        method=next(iter(parse_optimizers(optimizers, inverses))),
    )


def with_optimizers(settings: Settings, texts: tuple[str, ...]) -> Settings:
    """Other methods; the one that is looked at stays in its place."""
    keys = list(parse_optimizers(texts, inverses_of(settings)))
    place = list(settings.named).index(settings.method)
    method = keys[min(place, len(keys) - 1)] if keys else settings.method
    return dataclasses.replace(settings, optimizers=texts, method=method)


def with_method(settings: Settings, name: str) -> Settings | None:
    """One more method; where it is there already, with half the setting."""
    if not name:
        return None
    text, key = name, size_of(name)
    if key is None:  # nothing to halve
        if text in settings.optimizers:
            return None
        return with_optimizers(settings, (*settings.optimizers, text))
    value = float(OPTIMIZERS[name].keys[key].default)
    while text in settings.optimizers:
        value = value / 2 if key != "history_length" else value + 1
        text = f"{name}:{key}={value:.6g}"
    return with_optimizers(settings, (*settings.optimizers, text))


def with_steps(settings: Settings, steps: float | None) -> Settings:
    """Another number of steps."""
    if steps is None or steps != int(steps):
        raise ValueError(f"steps must be a whole number, got {steps}")
    step = max(0, min(settings.step, int(steps) - 1))
    return dataclasses.replace(settings, steps=int(steps), step=step)


def with_float64(settings: Settings, active: bool) -> Settings:
    """Single or double precision."""
    return dataclasses.replace(settings, float64=active)


def with_chosen(settings: Settings, method: str) -> Settings:
    """Another run whose step is taken apart."""
    return dataclasses.replace(settings, method=method)


def with_step(settings: Settings, number: float) -> Settings:
    """Another step, counted from 1."""
    step = max(0, min(int(number), settings.steps) - 1)
    return dataclasses.replace(settings, step=step)
