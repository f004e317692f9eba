"""Problems in files: run, refused with file, line and key, and begun by `init`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import physgrad as pg
from physgrad.problems.file_data import numbers
from physgrad.problems.problem_file import SECTIONS, parameters_of, read_problem_file
from physgrad.problems.problem_schema import problem_schema

GOOD = """\
[simulator]
name = "advection"
shape = [8]
duration = 0.5

[loss]
target = "data.csv"

[run]
optimizers = ["pg:step_size=1"]
steps = 2
"""


@pytest.fixture(autouse=True)
def no_types_checked(monkeypatch):
    """As the user has it: what a file holds may be of any type."""
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    yield
    jax.config.update("jax_enable_x64", False)  # a file may ask for it


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.csv").write_text("u\n" + "\n".join("12345678") + "\n")
    np.savez(tmp_path / "data.npz", z=np.arange(8.0), w=np.ones(8))
    np.save(tmp_path / "data.npy", np.arange(8.0))
    (tmp_path / "p.toml").write_text(GOOD)
    return tmp_path


def changed(folder: Path, old: str, new: str) -> str:
    assert old in GOOD
    (folder / "p.toml").write_text(GOOD.replace(old, new))
    return str(folder / "p.toml")


@pytest.mark.parametrize(
    "target",
    ['"data.csv"', '"data.npz:z"', '"data.npy"', "[1, 2, 3, 4, 5, 6, 7, 8]"],
)
def test_a_file_runs_with_data_of_each_kind(here, folder, target):
    path = changed(folder, '"data.csv"', target)
    code, out, err = here("compare", path, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["problem"], found["steps"]) == ("p.toml", 2)
    assert found["runs"]["pg"]["losses"][-1] < 1e-8


def test_the_command_line_wins_over_the_file(here, folder):
    path = str(folder / "p.toml")
    code, out, _ = here("compare", path, "--steps", "1", "--optimizer", "gd", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["steps"] == 1
    assert list(document["runs"]) == ["gd"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[loss]", "[los]", "p.toml:6: los: unknown; did you mean 'loss'"),
        ("shape =", "shap =", "p.toml:3: simulator.shap: unknown key; did you mean"),
        (
            "target =",
            "targt =",
            "p.toml:7: loss.targt: unknown key; did you mean 'target'",
        ),
        ("target =", "# target =", "[loss] must give 'target'"),
        ('name = "advection"', "", "[simulator] must give 'name'"),
        ('"advection"', '"advektion"', "unknown simulator 'advektion'; did you mean"),
        ('"advection"', "3", "must be the name of a simulator"),
        ("duration = 0.5", "", "needs 'duration'"),
        ("duration = 0.5", "duration = -1", "p.toml:4: simulator.duration: duration"),
        ("duration = 0.5", "duration = nan", "simulator.duration: duration must be"),
        ("duration = 0.5", 'duration = "x"', "simulator.duration"),
        ("duration = 0.5", "duration = true", "simulator.duration"),
        ("duration = 0.5", "duration = {a = 1}", "must be a value"),
        ("shape = [8]", "shape = [0]", "p.toml:3: simulator.shape"),
        ("shape = [8]", "shape = [9]", "loss.target: x must have the shape (9,)"),
        ("steps = 2", 'steps = "ten"', "p.toml:11: run.steps: must be a whole number"),
        ("steps = 2", "steps = true", "run.steps: must be a whole number"),
        ("steps = 2", "steps = 10000000", "run.steps: must be a whole number"),
        ("steps = 2", "stps = 2", "did you mean 'steps'"),
        ("steps = 2", "float64 = 1", "run.float64: must be true or false"),
        ("steps = 2", "steps = 2\nsteps = 3", "is no TOML"),
        ('["pg:step_size=1"]', "[]", "run.optimizers: must be a list"),
        ('["pg:step_size=1"]', '["pgg"]', "unknown optimizer 'pgg'"),
        ('"data.csv"', '"nope.csv"', "cannot read|p.toml:7: loss.target"),
        ('"data.csv"', '"../data.csv"', "lie in the folder"),
        ('"data.csv"', '"/etc/passwd.csv"', "lie in the folder"),
        ('"data.csv"', '"data.txt"', "data files end with"),
        ('"data.csv"', '"data.npz"', "has several arrays"),
        ('"data.csv"', '"data.npz:q"', "has no array 'q'"),
        ('"data.csv"', "[1, [2]]", "loss.target: must be a number, a list"),
        ('"data.csv"', "true", "loss.target: must be a number, a list"),
        (
            '"data.csv"',
            "[1, 2]",
            "p.toml:7: loss.target: x must have the shape (8,), got (2,)",
        ),
        (
            '"data.csv"',
            "[1, 2, 3, 4, 5, 6, 7, nan]",
            "loss.target: must be finite, got 1 NaN",
        ),
        ('"data.csv"', '"data.csv"\nweight = -1', "weight must be"),
        ("[run]", "[start]\nshape = [3, 3]\n[run]", "must have the shape"),
        ("[run]", "[start]\nx = [1, 2]\n[run]", "must have the shape"),
        ("[simulator]", "seed = 3\n[simulator]", "seed: unknown"),
        ("[run]", "[solution]\nx = [1, 2]\n[run]", "p.toml:10: solution.x: must have"),
        ("[run]", "[start]\nx = nan\n[run]", "p.toml:10: start.x: must be finite"),
        ("shape = [8]", 'shape = [8]\nspeed = "x"', "unknown key"),
    ],
    ids=map(str, range(40)),
)
def test_what_is_wrong_is_said_in_one_line(here, folder, old, new, said):
    path = changed(folder, old, new)
    code, out, err = here("compare", path)
    assert code == (3 if "cannot read" in said else 2)
    assert out == ""
    assert all(part in err for part in said.split("|"))
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", 2, "is empty: no problem is given"),
        (b"# only a comment\n", 2, "is empty"),
        (b"\xff\xfe[simulator]", 2, "is not UTF-8 at byte 0"),
        (b"[simulator]\nname = 'caf\xe9'", 2, "is not UTF-8 at byte"),
        (b"x" * (2**20 + 1), 2, "up to 1,048,576 are read"),
        (b"simulator: !!python/object/apply:os.system ['true']", 2, "is no TOML"),
        (b"[[[[[" * 1000, 2, "is no TOML"),
        (b"simulator = 3", 2, "must be a section"),
    ],
    ids=map(str, range(8)),
)
def test_what_is_no_problem_file_is_refused(here, folder, content, code, said):
    (folder / "p.toml").write_bytes(content)
    found, _, err = here("compare", str(folder / "p.toml"))
    assert found == code
    assert said in err
    assert err.count("\n") == 1


def test_marks_and_line_ends_of_other_systems_are_fine(folder):
    content = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    (folder / "p.toml").write_bytes(content)
    assert read_problem_file(folder / "p.toml").steps == 2


def test_missing_files_and_folders_are_errors_of_the_disk(here, folder):
    for path in (folder / "nope.toml", folder / "dir.toml"):
        (folder / "dir.toml").mkdir(exist_ok=True)
        code, _, err = here("compare", str(path))
        assert code == 3
        assert "cannot read" in err


def test_settings_of_named_problems_are_refused_beside_a_file(here, folder):
    code, _, err = here("compare", str(folder / "p.toml"), "--size", "8")
    assert code == 2
    assert "--size is for problems by name" in err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"1,2\n3\n", "a.csv:2: expected 2 numbers as above, got 1"),
        ("a.csv", b"1\nx\n", "a.csv:2: expected numbers"),
        ("a.csv", b"\xff\xff", "not UTF-8"),
        ("a.csv", b"", "is empty"),
        ("a.npy", b"no array", "cannot be read|a.npy"),
        ("a.npz", b"PK\x03\x04 broken", "a.npz cannot be read"),
    ],
    ids=map(str, range(6)),
)
def test_broken_data_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        numbers(name, tmp_path)


def test_nothing_is_unpickled_and_no_bomb_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="nothing is unpickled"):
        numbers("a.npy", tmp_path)
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", b"\0" * (2**28 + 1))
    with pytest.raises(ValueError, match="up to 268,435,456 are read"):
        numbers("b.npz", tmp_path)
    link = tmp_path / "link.csv"
    link.symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="lie in the folder"):
        numbers("link.csv", tmp_path)


KEYS = sorted({key for keys in SECTIONS.values() for key in keys})
VALUES = st.one_of(
    st.integers(-10, 10),
    st.floats(),
    st.booleans(),
    st.sampled_from(['"pg"', '"data.csv"', '"diffusion"', "[]", "[1]", '""', "{}"]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted([*SECTIONS, "other"])),
            st.lists(st.tuples(st.sampled_from([*KEYS, "nope"]), VALUES), max_size=3),
        ),
        max_size=4,
    )
)
def test_any_file_is_read_or_refused_in_one_line(tmp_path_factory, sections):
    """Whatever stands in it: a problem, or a ValueError of one line."""
    lines = []
    for section, pairs in sections:
        lines.append(f"[{section}]")
        for key, value in pairs:
            text = str(value).lower() if isinstance(value, bool | float) else value
            lines.append(f"{key} = {text}")
    path = tmp_path_factory.mktemp("fuzz") / "p.toml"
    path.write_text("\n".join(lines))
    try:
        read_problem_file(path)
    except ValueError as error:
        assert "\n" not in str(error)
        assert "p.toml" in str(error)


def test_an_object_of_python_runs(here, folder):
    (folder / "mine.py").write_text(
        "import jax.numpy as jnp, physgrad as pg\n"
        "objective = pg.Objective(lambda x: x**3, pg.SquaredLoss(jnp.ones(2)))\n"
        "problem = pg.Problem('mine', objective, jnp.full(2, 2.0))\n"
        "number = 3\n"
    )
    path = str(folder / "mine.py")
    options = ("--optimizer", "pg:step_size=1", "--json")
    code, out, err = here("compare", f"{path}:problem", *options)
    assert (code, err) == (0, "")
    assert json.loads(out)["problem"] == f"{path}:problem"
    code, out, _ = here("compare", f"{path}:objective", "--start", "2,2", *options)
    assert code == 0
    for name, said in (
        ("objective", "--start is needed"),
        ("number", "must be a Problem or an Objective, got int"),
        ("nope", "there is no 'nope'"),
    ):
        code, _, err = here("compare", f"{path}:{name}", *options)
        assert code == 2
        assert said in err
    code, _, err = here("compare", f"{path}:problem", "--start", "1,2,3", *options)
    assert (code, "--start must be 2" in err) == (2, True)


def test_init_writes_problems_that_run_and_keeps_what_is_there(
    here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, _ = here("init", "mine")
    assert code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("mine.py", "mine.toml", "mine_data.csv", "mine_truth.csv")
    ]
    assert "next: physgrad compare mine.toml" in out
    for name in ("mine.toml", "mine.py:problem"):
        options = ("--optimizer", "pg:step_size=1", "--steps", "3")
        code, _, err = here("compare", name, *options)
        assert (code, err) == (0, "")
    before = (tmp_path / "mine.toml").read_bytes()
    code, _, err = here("init", "mine")
    assert code == 2
    assert "is there already" in err
    assert (tmp_path / "mine.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "code"),
    [("3d", 2), ("a b", 2), ("", 2), ("no/such", 3), ("-x", 2), ("jax", 2), ("if", 2)],
)
def test_init_refuses_what_is_no_name(here, tmp_path, monkeypatch, name, code):
    monkeypatch.chdir(tmp_path)
    found, _, err = here("init", "--", name)
    assert found == code
    assert err.count("\n") == 1


def test_the_schema_knows_what_the_reader_knows(here):
    code, out, _ = here("problems", "--schema")
    assert code == 0
    schema = json.loads(out)
    assert schema == problem_schema()
    assert set(schema["properties"]) == set(SECTIONS)
    assert set(schema["properties"]["run"]["properties"]) == set(SECTIONS["run"])
    each = schema["properties"]["simulator"]["oneOf"]
    assert [one["properties"]["name"]["const"] for one in each] == pg.simulators.__all__
    for one in each:
        known = parameters_of(one["properties"]["name"]["const"])
        assert set(one["properties"]) == {"name", *known}


def test_what_is_read_is_what_is_asked_for(folder):
    """Data become the target, numbers of a start fill x."""
    text = GOOD + "\n[start]\nx = 0.5\n[solution]\nx = 'data.npy'\n"
    (folder / "p.toml").write_text(text)
    problem = read_problem_file(folder / "p.toml").problem()
    np.testing.assert_array_equal(problem.start, jnp.full(8, 0.5))
    np.testing.assert_array_equal(problem.solution, jnp.arange(8.0))
    loss = problem.objective.loss
    assert isinstance(loss, pg.SquaredLoss)
    np.testing.assert_array_equal(loss.target, jnp.arange(1.0, 9.0))
    assert problem.picture == "flow"


def test_a_problem_file_can_be_checked_but_not_explored(here, folder):
    code, out, err = here("check", str(folder / "p.toml"))
    assert (code, err) == (0, "")
    assert "p.toml at x with 8 entries" in out
    code, _, err = here("explore", str(folder / "p.toml"))
    assert (code, "a problem file is for compare and check" in err) == (2, True)


def test_a_python_file_without_its_object_says_what_is_missing(here, folder):
    for command in ("compare", "check", "explore"):
        code, _, err = here(command, "mine.py")
        assert (code, "mine.py:problem" in err) == (2, True)
