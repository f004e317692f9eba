"""The controls of one method on the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from bokeh.layouts import row
from bokeh.models import Button, NumericInput, Select, Slider, TextInput

from physgrad.names import INVERSES, OPTIMIZERS, parse_optimizer
from physgrad.plot.theme import WRAP

# The setting of a method that has a field and a slider of its own.
SIZES = ("step_size", "learning_rate", "radius", "history_length")
# Powers of ten on the slider.
LOWEST, HIGHEST = -4.0, 1.0
OWN = "own"


def size_of(name: str) -> str | None:
    """The setting of a method that has a field of its own; None where it has none.

    >>> size_of("pg"), size_of("lm"), size_of("scipy")
    ('step_size', 'radius', None)
    """
    return next((key for key in SIZES if key in OPTIMIZERS[name].keys), None)


class MethodRow:
    """The controls of one method; settings without a control of their own are typed.

    What they say is the text of the command line, `pg:step_size=0.3`, so that there is
    one reader of it. `changed` is told that a visitor changed it, and whether that is
    one of many changes, as of a slider that moves. `number`: which of the methods of
    this name it is, from 1.
    """

    def __init__(
        self,
        name: str,
        number: int,
        changed: Callable[[bool], None],
        remove: Callable[[], None],
    ):
        self.name, self._filling, self._changed = name, False, changed
        self._typed, self._shown = name, ()
        keys, self._size = OPTIMIZERS[name].keys, size_of(name)
        slides = self._size not in (None, "history_length")
        half: dict[str, Any] = {"width": 150, "margin": (0, 5, 4, 5)}
        wide: dict[str, Any] = half | {"width": 310}
        called = name if number == 1 else f"{name} ({number})"
        label = f"{called}: {(self._size or 'size').replace('_', ' ')}"
        self.number = NumericInput(
            title=label, mode="float", visible=self._size is not None, **half
        )
        self.slider = Slider(
            title="power of ten", name=f"{label}, as a power of ten",
            start=LOWEST, end=HIGHEST, step=0.02, value=0.0,
            visible=slides, format="0.00", **half,
        )  # fmt: skip
        self.inverse = Select(
            title=f"{called}: inverse", visible="inverse" in keys, **half
        )
        self.more = TextInput(title=f"{called}: others", **wide)
        self.drop = Button(label=f"Remove {called}", align="end", **half)
        parts = [self.number, self.slider, self.inverse, self.more, self.drop]
        self.layout = row(*parts, css_classes=["method"], **WRAP)
        for widget in (self.number, self.inverse, self.more):
            widget.on_change("value", self._heard)
        self.slider.on_change("value", self._slid)
        self.drop.on_click(remove)

    def fill(self, text: str, inverses: Sequence[str], *, removable: bool) -> None:
        """Show a method as it is typed on the command line."""
        self._filling, self._typed = True, text
        pairs = (part.split("=") for part in text.partition(":")[2].split(",") if part)
        typed = {key: value for key, value in pairs}
        settings = parse_optimizer(text, inverses).settings
        if self._size is not None:
            self._fill_size(float(settings[self._size]))
            typed.pop(self._size, None)
        others = [key for key in settings if key not in (self._size, "inverse")]
        self.more.placeholder = ", ".join(f"{key}=..." for key in others)
        self.more.visible = bool(others)
        self.inverse.options = [*INVERSES, *inverses]
        self.inverse.value = typed.pop("inverse", OWN)
        self.more.value = ",".join(f"{key}={value}" for key, value in typed.items())
        self.drop.disabled = not removable
        self._shown = self._state()
        self._filling = False

    def _fill_size(self, value: float) -> None:
        self.number.value = float(f"{value:.6g}")
        exponent = math.log10(value) if value > 0 else LOWEST
        exponent = min(max(exponent, LOWEST), HIGHEST)
        # what the slider itself asked for leaves it where it is
        if abs(exponent - self.slider.value) > 0.02:
            self.slider.value = round(exponent, 2)

    def text(self) -> str:
        """The method as it is typed on the command line."""
        if self._state() == self._shown:
            return self._typed  # 1/3 stays 1/3
        value, parts = self.number.value, []
        if self._size is not None:
            if value is None:
                raise ValueError(f"{self.name} needs a number for its {self._size}")
            parts.append(f"{self._size}={float(value):.6g}")
        if self.inverse.visible and self.inverse.value != OWN:
            parts.append(f"inverse={self.inverse.value}")
        if self.more.value.strip():
            parts.append(self.more.value.replace(" ", ""))
        return f"{self.name}:{','.join(parts)}".removesuffix(":")

    def _state(self) -> tuple[Any, ...]:
        return self.number.value, self.inverse.value, self.more.value

    def _heard(self, attribute: str, old: Any, new: Any) -> None:
        if not self._filling:
            self._changed(False)

    def _slid(self, attribute: str, old: Any, new: float) -> None:
        if self._filling:
            return
        self._filling = True
        self.number.value = float(f"{10**new:.3g}")
        self._filling = False
        self._changed(True)
