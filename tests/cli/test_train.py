"""`physgrad train`: its table, its files, what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture(autouse=True)
def x64_stays_off():
    import jax

    yield
    jax.config.update("jax_enable_x64", False)


def test_it_prints_a_table_and_saves_results_and_figures(here, tmp_path):
    folder = tmp_path / "out"
    options = ("--method", "lm:batch=16", "--method", "adam", "--epochs", "2")
    code, out, err = here("train", "two-scale-toy", *options, "--out", str(folder))
    assert code == 0, err
    rows = [line.split("│")[1].strip() for line in out.splitlines() if "│" in line]
    assert rows == ["lm", "adam"]
    assert "loss, validation" in out and "error in x" in out
    assert "100%" in err
    saved = {p.name for p in folder.iterdir()}
    pictures = {f"{n}.{k}" for n in ("training", "samples") for k in ("png", "svg")}
    assert saved == {"results.json", *pictures, "checkpoints"}
    document = json.loads((folder / "results.json").read_text())
    assert document["schema"] == 1 and document["experiment"] == "two-scale-toy"
    assert list(document["methods"]) == ["lm", "adam"]
    for method in document["methods"].values():
        assert method["epochs"] == 2 and method["result"] == "completed"
        assert method["compile_seconds"] > 0 and method["seconds"] > 0
        assert {"train_loss", "validation_loss", "x_error", "history"} <= set(method)


def test_it_goes_on_with_resume_and_begins_anew_with_force(here, tmp_path):
    folder = str(tmp_path / "out")
    words = ("train", "two-scale-toy", "--method", "adam", "--json", "--out", folder)
    assert here(*words, "--epochs", "1")[0] == 0
    code, _, err = here(*words, "--epochs", "2")
    assert (code, "--resume to go on, --force to begin anew" in err) == (2, True)
    code, out, _ = here(*words, "--epochs", "3", "--resume")
    assert (code, json.loads(out)["methods"]["adam"]["epochs"]) == (0, 3)
    code, out, _ = here(*words, "--epochs", "1", "--force")
    assert (code, json.loads(out)["methods"]["adam"]["epochs"]) == (0, 1)
    code, _, err = here(*words, "--epochs", "2", "--resume", "--seed", "7")
    assert (code, "is of another run: two-scale-toy, seed 0" in err) == (2, True)


def test_it_goes_on_with_all_of_the_methods_that_it_had(here, tmp_path):
    folder = str(tmp_path / "out")
    words = ("train", "two-scale-toy", "--json", "--out", folder, "--epochs")
    two = ("--method", "lm:batch=16", "--method", "adam")
    code, out, err = here(*words, "1", "--resume", *two)
    assert (code, "nothing to resume in " in err) == (0, True)
    # as if it had been cut off before the second one was saved
    shutil.rmtree(next((tmp_path / "out" / "checkpoints").glob("method-*")))
    code, out, _ = here(*words, "2", "--resume")
    methods = json.loads(out)["methods"]
    assert {name: m["epochs"] for name, m in methods.items()} == {"lm": 2, "adam": 2}
    assert list(methods) == ["lm", "adam"]
    code, out, err = here(*words, "2", "--resume", "--method", "adam")
    assert (code, "lm:damping=0.001,batch=16, too: name that method" in err) == (
        2,
        True,
    )
    code, out, _ = here(*words, "2", "--resume", *two, "--method", "sgd")
    assert (code, list(json.loads(out)["methods"])) == (0, ["lm", "adam", "sgd"])
    code, out, _ = here(*[w for w in words if w != "--json"], "2", "--resume")
    assert (code, out.count("not trained on, since it has had ")) == (0, 3)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("train", 2, "name an experiment: two-scale-toy, linear-oscillators"),
        ("train linear-oscilators", 2, "did you mean 'linear-oscillators'"),
        ("train two-scale-toy --method adm", 2, "did you mean 'adam'"),
        ("train two-scale-toy --method adam:rate=1", 2, "unknown key 'rate'"),
        ("train two-scale-toy --method adam:batch=0", 2, "batch must be a whole"),
        ("train two-scale-toy --method adam --method adam", 2, "more than once"),
        (
            "train linear-oscillators --method supervised",
            2,
            "is not known",
        ),
        ("train two-scale-toy --seconds 0", 2, "--seconds must be a positive"),
        ("train two-scale-toy --seconds x", 2, "--seconds must be a positive"),
        ("train two-scale-toy --epochs -1", 2, "--epochs must be a whole number"),
        ("train two-scale-toy --epochs 1 --seconds 1", 2, "exclude each other"),
        ("train two-scale-toy --seed 1.5", 2, "--seed must be a whole number"),
        ("train two-scale-toy --seed 9999999999", 2, "--seed must be below"),
        ("train two-scale-toy --resume", 2, "add --out DIR"),
        ("train two-scale-toy --out /proc/nowhere/x", 3, "cannot save results in"),
        (
            "train linear-oscillators --method adam:batch=100000 --epochs 1",
            2,
            "batch must be at most the 4096 samples",
        ),
    ],
    ids=map(str, range(16)),
)
def test_wrong_use_is_said_in_one_line(here, words, code, said):
    found, out, err = here(*words.split())
    assert (found, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1
