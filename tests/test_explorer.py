"""What the web page is made of: its state, presets, one step taken apart, figures."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from addresses import arguments

import physgrad as pg
from physgrad.explorer.anatomy import OWN, RULES, anatomy
from physgrad.explorer.code import python
from physgrad.explorer.controls import shown_problems
from physgrad.explorer.presets import PRESETS
from physgrad.explorer.settings import Formulas, Settings, from_query
from physgrad.explorer.study import preimage, settings_of, study
from physgrad.plot.linked import Linked

TOY = Settings()
TYPED = Settings(formulas=Formulas(("x0 + x1", "x1**2"), "z0**2 + (z1-1)**2", 2))
TO_BE_READ_AGAIN = {
    "the toy": TOY,
    "formulas": TYPED,
    "others": Settings(
        start=(-1.25e-3, 2.0),
        optimizers=("gd:learning_rate=0.1", "pg:step_size=0.5,inverse=notebook"),
        steps=25,
        float64=True,
        method="pg",
        step=3,
    ),
} | {preset.name: preset.settings for preset in PRESETS}


@pytest.mark.parametrize("settings", TO_BE_READ_AGAIN.values(), ids=TO_BE_READ_AGAIN)
def test_an_address_holds_the_whole_state(settings):
    assert from_query(arguments(settings.query())) == settings


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("problem=tox", "did you mean 'toy'"),
        ("colour=red", "unknown key"),
        ("start=1", "must have 2 entries, got 1"),
        ("start=1,nan", "must be a number"),
        ("start=1,1e300", "must be within"),
        ("start=1,2&start=3,4", "more than once"),
        ("steps=1000000000000", "from 1 to 1000"),
        ("steps=0", "from 1 to 1000"),
        ("steps=ten", "whole number"),
        ("step=10", "step must be from 0 to 9"),
        ("float64=yes", "float64 must be 0 or 1"),
        ("method=adam", "no method 'adam'"),
        ("optimizer=pg:step_size=-1", "positive number"),
        ("optimizer=gd&optimizer=gd", "comes more than once"),
        ("&".join(f"optimizer=lm:radius=0.{i}" for i in range(1, 10)), "8 methods"),
        ("z=x0&loss=z0&problem=toy", "got both"),
        ("z=x0", "empty formula"),
        ("z=__import__('os')&loss=z0", "not allowed in a formula"),
        ("z=x0&z=x1&z=x0&z=x1&loss=z0", "from 1 to 3 entries"),
        ("z=x0&loss=z1", "no variable z1"),
        ("start=%F0%9D%90%B1", "must be ASCII"),
    ],
)  # fmt: skip
def test_a_wrong_address_is_refused(query, words):
    with pytest.raises(ValueError, match=words):
        from_query(arguments(query))


RESULTS = {
    "The notebook's comparison": ["completed"] * 4,
    "One step is enough": ["completed"] * 3,
    "Step too big": ["inverse_failed", "completed"],
    "Wrong branch": ["inverse_failed", "completed"],
    "Singular Jacobian": ["completed", "completed", "target_not_reachable"],
    "Noisy inverse": ["completed"] * 3,
    "Target out of range": ["completed", "completed", "target_not_reachable"],
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_preset_does_what_it_says(name):
    preset = next(preset for preset in PRESETS if preset.name == name)
    comparison = study(preset.settings)
    assert [run.result for run in comparison.runs.values()] == RESULTS[name]
    failed = [run for run in comparison.runs.values() if not run.ok]
    assert all(run.message for run in failed)


def test_with_noise_a_smaller_loss_is_not_a_better_x():
    preset = next(preset for preset in PRESETS if preset.name == "Noisy inverse")
    _, exact, told = study(preset.settings).runs.values()
    truth = np.array([1.0, 2.0])
    assert exact.loss < told.loss
    assert np.linalg.norm(told.x - truth) < 0.5 * np.linalg.norm(exact.x - truth)
    np.testing.assert_allclose(exact.x, [3.01, 0.0], atol=1e-3)


def test_at_a_singular_jacobian_nothing_moves_and_beside_it_all_do():
    preset = next(preset for preset in PRESETS if preset.name == "Singular Jacobian")
    stuck = study(preset.settings)
    assert all(run.x[1] == 0 for run in stuck.runs.values())
    assert "Jacobian is singular" in stuck["pg"].message
    beside = study(dataclasses.replace(preset.settings, start=(3.0, 0.01)))
    assert all(run.x[1] > 1 for run in beside.runs.values())


def test_typed_formulas_are_minimized_by_the_numerical_rule():
    comparison = study(TYPED)
    assert comparison.problem is None and comparison["pg"].ok
    z = comparison["pg"].trajectory["z"]
    np.testing.assert_allclose(z[1], z[0] + 0.3 * (np.array([0, 1]) - z[0]), rtol=1e-4)


METHODS = (
    *("pg", "pg-numeric:solver=bfgs", "newton:step_size=1/2", "lm", "lbfgs"),
    *("half-inverse", "adam:learning_rate=0.1", "scipy:method=L-BFGS-B"),
)
RULES_OF_PG = (
    *("notebook", "numerical", "linearized,damping=0.1", "spectral,power=0.3"),
    *("regularized,noise=0.1", "transposed", "ladder", "broyden"),
)
COPIED = {
    "methods": Settings(optimizers=METHODS),
    "rules": Settings(optimizers=tuple(f"pg:inverse={rule}" for rule in RULES_OF_PG),
                      method="pg:inverse=ladder"),
    "options": Settings(
        optimizers=(
            "pg:acceptance=monotone,metric=gradient,step_size=0.01",
            "pg:momentum=0.5,step_size=0.2",
        ),
        method="pg:momentum=0.5,step_size=0.2",
        float64=True,
    ),
    "formulas": Settings(
        formulas=Formulas(
            ("x0*2.5e-1 + sin(x1)/pi**2", "x1**2 + minimum(x0, 9**9**9)"),
            "(z0 - 1)**2 + (-z1 + 4)**2/3 + 10**30*0",
            2,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("settings", COPIED.values(), ids=COPIED)
def test_the_python_that_is_copied_does_the_same(settings, capsys):
    shown, ran = study(settings), {}
    with jax.enable_x64(settings.float64):
        exec(compile(python(settings), "copied.py", "exec"), ran)
    jax.config.update("jax_enable_x64", False)
    for name, run in shown.runs.items():
        same = ran["comparison"][name].trajectory["x"]
        eps = 1e-12 if settings.float64 else 1e-4
        np.testing.assert_allclose(same, run.trajectory["x"], rtol=eps, atol=eps)
    assert "method" in capsys.readouterr().out


def test_a_start_in_z_is_pulled_back():
    assert preimage(TOY, (1.0, 4.0)) == pytest.approx((1.0, 2.0))
    with pytest.raises(ValueError, match=r"no x was found that maps to z = \(1, -4\)"):
        preimage(TOY, (1.0, -4.0))


def test_a_step_is_taken_apart():
    parts = anatomy(TOY, study(TOY))
    np.testing.assert_allclose(parts.gradient, 2 * parts.z)
    np.testing.assert_allclose(parts.target, 0.7 * parts.z, rtol=1e-6)
    landings = {landing.rule: landing for landing in parts.landings}
    assert list(landings) == [*RULES, OWN]
    np.testing.assert_allclose(landings[OWN].x, landings["P^-1"].x, rtol=1e-5)
    np.testing.assert_allclose(landings["P^-1"].z, parts.target, rtol=1e-6)
    np.testing.assert_allclose(landings["J^+"].x, [2.1, 2.55], rtol=1e-5)
    jacobian = np.diag([1.0, 6.0])
    pulled = parts.x + jacobian @ (2 * (parts.target - parts.z))
    np.testing.assert_allclose(landings["J^T"].x, pulled, rtol=1e-5)
    assert "holds" in landings["P^-1"].certificate
    assert "need not reach" in landings["J^T"].certificate


def test_what_a_method_did_is_beside_what_each_rule_does():
    settings = dataclasses.replace(TOY, method="gd", step=2)
    comparison = study(settings)
    *_, own = anatomy(settings, comparison).landings
    np.testing.assert_array_equal(own.x, comparison["gd"].trajectory["x"][3])
    np.testing.assert_array_equal(own.z, comparison["gd"].trajectory["z"][3])
    assert own.loss == comparison["gd"].trajectory.losses[3]


def test_the_inverse_of_the_method_is_the_one_that_is_taken_apart():
    name = "Wrong branch"
    settings = next(preset.settings for preset in PRESETS if preset.name == name)
    landed = anatomy(settings, study(settings)).landings[-1]
    assert landed.rule == "P^-1" and landed.x[1] > 0 > settings.start[1]
    assert not landed.holds and "branch" in landed.certificate


def test_all_figures_draw_from_the_same_iterates():
    comparison = study(TOY)
    linked = Linked(comparison)
    assert list(linked.figures) == ["x", "z"] and linked.fits(comparison)
    for name, run in comparison.runs.items():
        data = linked.sources[name].data
        for place in range(2):
            z = run.trajectory["z"][:, place]
            np.testing.assert_array_equal(np.asarray(data[f"z {place}"], z.dtype), z)
        np.testing.assert_array_equal(data["loss"], run.trajectory.losses)
    linked.show_iterate("newton", 4)
    loss = comparison["newton"].trajectory.losses[4]
    np.testing.assert_array_equal(np.asarray(linked.iterates.mark.data["loss"]), [loss])
    row, table = linked.iterates.all.selected.indices[0], linked.iterates.all.data
    assert str(np.asarray(table["method"])[row]) == "newton"
    assert int(np.asarray(table["step"])[row]) == 4
    shown = {space: set(labels.data["text"]) for space, labels in linked.labels.items()}
    assert shown["x"] & shown["z"] and shown["x"] | shown["z"] <= {
        f"{value:g}" for value in (0.1, 0.3, 1, 3, 10, 30, 100, 300)
    }


def test_another_start_changes_the_data_in_place():
    linked = Linked(study(TOY))
    figures = dict(linked.figures)
    moved = Settings(start=(2.0, -1.0))
    comparison = study(moved)
    linked.update(comparison)
    assert linked.figures == figures
    for space, point in {"x": [2.0, -1.0], "z": [2.0, 1.0]}.items():
        data = linked.starts[space].data
        np.testing.assert_array_equal(np.ravel([data["x"], data["y"]]), point)
    assert not linked.fits(comparison)
    linked.look_again(comparison)
    assert linked.fits(comparison)


def test_formulas_must_use_what_they_are_given():
    for formulas, words in (
        (Formulas(("1", "2"), "z0", 2), "z does not depend on x"),
        (Formulas(("x0",), "3", 1), "L does not depend on z"),
    ):
        with pytest.raises(ValueError, match=words):
            study(Settings(formulas=formulas, start=(1.0,) * formulas.entries))


def test_a_problem_of_the_users_is_shown_in_its_own_structure():
    def forward(x):
        return jnp.stack([x["a"][0], x["b"] ** 2])

    objective = pg.Objective(forward, pg.SquaredLoss(jnp.zeros(2)))
    x0 = {"a": jnp.ones(1), "b": jnp.array(3.0)}
    pg.problems.register(pg.Problem("tests:tree", objective, x0))
    settings = Settings(
        problem="tests:tree", start=(1.0, 2.0), optimizers=("gd",), method="gd"
    )
    comparison = study(settings)
    assert list(comparison["gd"].trajectory["x"]) == ["a", "b"]
    assert Linked(comparison).planes["x"].axis_names == ("x['a'][0]", "x['b']")
    assert "ravel_pytree(problem.start)[1](" in python(settings)
    assert pg.problems.get("tests:tree", jnp.float32).start["b"] == 3
    with pytest.raises(ValueError, match="physgrad has a problem 'toy'"):
        pg.problems.register(pg.Problem("toy", objective, x0))


def test_a_space_of_one_entry_is_shown_with_its_loss():
    formulas = Formulas(("x0**3",), "(z0 - 8)**2", 1)
    settings = Settings(
        formulas=formulas, start=(1.0,), optimizers=("newton",), method="newton"
    )
    comparison = study(settings)
    linked = Linked(comparison)
    assert linked.planes["x"].axis_names == ("x₀", "L")
    curve = linked.contours["x"].data_source.data
    np.testing.assert_allclose(curve["y"], (curve["x"] ** 3 - 8) ** 2, rtol=1e-4)
    run = comparison["newton"].trajectory
    np.testing.assert_allclose(linked.sources["newton"].data["x 1"], run.losses)


@pytest.mark.parametrize("name", ["exp", "sin", "spiral", "arm-reach"])
def test_the_small_problems_open_with_their_own_start_and_methods(name):
    """What `physgrad explore NAME` shows first: every run, and the known solution."""
    assert name in shown_problems()
    settings = settings_of(name)
    comparison = study(settings)
    assert comparison.problem == name
    np.testing.assert_array_equal(comparison.start, pg.problems.get(name).start)
    assert list(comparison.runs) == list(settings.named)
    assert comparison[settings.method].ok
    assert comparison.distance(settings.method) == pytest.approx(0.0, abs=1e-2)
    assert from_query(arguments(settings.query())) == settings


def test_problems_of_many_entries_are_not_offered():
    assert "heat-source" not in shown_problems()
    with pytest.raises(ValueError, match="the page shows problems of up to"):
        settings_of("heat-source")
