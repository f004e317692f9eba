"""Names of methods and problems, as the command knows them."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from physgrad import problems
from physgrad.cards import PROBLEMS
from physgrad.inverses.numerical import NumericalInverse
from physgrad.names import (
    INVERSES,
    OPTIMIZERS,
    SOLVERS,
    nearest,
    parse_optimizer,
    parse_optimizers,
)
from physgrad.optimizers.named import named_optimizer


def test_names_agree_with_the_problems():
    assert tuple(PROBLEMS) == problems.names()
    for name, card in PROBLEMS.items():
        problem = problems.get(name)
        assert sum(leaf.size for leaf in jax.tree.leaves(problem.start)) == card.entries
        assert set(problem.inverses) == set(card.inverses)
        assert not set(card.inverses) & set(INVERSES)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_agree_with_the_optimizers(name):
    made = named_optimizer(parse_optimizer(name))
    assert type(made).__name__ == OPTIMIZERS[name].class_name


def test_every_inverse_has_its_name():
    inverses = problems.get("toy").inverses

    def rule(text: str) -> Any:
        named = parse_optimizer(f"pg:inverse={text}", inverses)
        return vars(named_optimizer(named, inverses))["inverse"]

    assert rule("own") is None
    assert rule("notebook") is inverses["notebook"]
    assert rule("linearized,damping=0.5").damping == 0.5
    safe = rule("regularized,noise=0.1,operator=laplacian")
    assert float(safe.noise) == pytest.approx(0.1) and safe.operator.order == 2
    assert type(rule("transposed")).__name__ == "TransposedInverse"
    names = set()
    for solver in SOLVERS:
        numerical = rule(f"numerical,solver={solver},rtol=0.5,max_steps=7")
        assert isinstance(numerical, NumericalInverse)
        assert (numerical.rtol, numerical.max_steps) == (0.5, 7)
        names.add(type(numerical.solver).__name__)
    assert names == {"LevenbergMarquardt", "Newton", "LBFGS", "BFGS", "Dogleg"}


def test_runs_are_called_by_bare_names_where_those_are_given_once():
    texts = ["gd:learning_rate=0.1", "pg", "pg:step_size=1"]
    assert list(parse_optimizers(texts)) == ["gd", "pg", "pg:step_size=1"]
    assert parse_optimizers(texts)["gd"].settings == {"learning_rate": 0.1}


def test_the_nearest_name_is_offered_whatever_its_case():
    assert nearest("NEWTON", ["gd", "newton"]) == "; did you mean 'newton'?"
