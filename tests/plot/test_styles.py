"""One identity per method: color, marker and dash."""

from __future__ import annotations

import numpy as np
import pytest

from physgrad.plot.style import GREEN, GREY, PURPLE, STYLES, Style, kind_of, styles

WHITE, DARK = "#FFFFFF", "#15171A"


def luminance(color: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("background", [WHITE, DARK])
@pytest.mark.parametrize("kind", STYLES)
def test_every_color_stands_out(kind, background):
    assert contrast(STYLES[kind].color, background) >= 3.0
    assert contrast(WHITE, "#000000") == pytest.approx(21.0)


def test_the_methods_look_as_agreed():
    looks = {kind: (s.color, s.marker, s.width) for kind, s in STYLES.items()}
    assert looks["gd"] == ("#0072B2", "o", 1.0)
    assert looks["newton"] == ("#D55E00", "s", 1.0)
    assert looks["pg"] == ("#009E73", "D", 1.5)
    assert STYLES["gd"].dash == STYLES["pg"].dash == ()
    numeric = STYLES["pg-numeric"]
    assert (numeric.color, numeric.marker, numeric.hollow) == (GREEN, "D", True)
    assert {STYLES[kind].color for kind in ("adam", "adagrad", "rmsprop", "sgd")} == {
        PURPLE
    }
    assert {STYLES[kind].color for kind in ("gauss-newton", "lm")} == {GREY}
    identities = {(s.color, s.marker, s.hollow) for s in STYLES.values()}
    dashes = {(s.color, s.dash) for s in STYLES.values()}
    assert len(identities) == len(STYLES)
    assert len({d for c, d in dashes if c == PURPLE}) == 5


def test_a_method_is_known_by_what_it_is():
    words = {
        **{"a": "GradientDescent(learning_rate=0.01)", "gd": "Newton(step_size=1.0)"},
        **{"b": "PhysicalGradient(step_size=0.3)", "c": "LevenbergMarquardt()"},
        **{"d": "PhysicalGradient(step_size=0.3, inverse=NumericalInverse(max=9))"},
        **{"Adam:learning_rate=1": "OptaxOptimizer(...)", "gd2": "OptaxOptimizer(..)"},
        **{"mine": "SignDescent(step_size=0.5)", "lbfgs": "Wrapped(..)"},
    }
    kinds = [kind_of(name, text) for name, text in words.items()]
    assert kinds == [
        *("gd", "newton", "pg", "lm", "pg-numeric", "adam", "optax", "other", "lbfgs")
    ]


def test_runs_of_one_kind_share_a_color_and_nothing_else():
    made = styles({f"pg:step_size={i}": "PhysicalGradient()" for i in range(6)})
    assert made["pg:step_size=0"] == STYLES["pg"]
    assert {style.color for style in made.values()} == {GREEN}
    assert len({style.marker for style in made.values()}) == 6
    assert all(style.dash for style in list(made.values())[1:])
    many = styles({str(i): "GradientDescent()" for i in range(18)})
    assert len({(style.marker, style.hollow) for style in many.values()}) == 18
    more = styles({str(i): "GradientDescent()" for i in range(40)})
    assert all(isinstance(style, Style) for style in more.values())


def test_no_two_methods_look_alike_without_their_colors():
    looks = {(s.marker, s.hollow, s.dash) for s in STYLES.values()}
    assert len(looks) == len(STYLES)
    for color in {style.color for style in STYLES.values()}:
        family = [style for style in STYLES.values() if style.color == color]
        assert len({(s.marker, s.hollow) for s in family}) == len(family)
        assert len({style.dash for style in family}) == len(family)
