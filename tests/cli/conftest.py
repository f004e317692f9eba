"""The command in this process, and stand-ins for what takes time."""

from __future__ import annotations

import pytest
from command import physgrad, strict_json

from physgrad.cli import comparing, run


@pytest.fixture
def here(capsys):
    """The command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def figures(monkeypatch):
    """Stand in for the figures, which take their time."""
    from physgrad import plot

    monkeypatch.setattr(plot, "figures", lambda comparison: {"x.png": b"picture"})
    return plot


@pytest.fixture
def unused(monkeypatch):
    """Nothing may be computed."""

    def fail(*arguments):
        raise AssertionError("something ran")

    monkeypatch.setattr(comparing, "_compare", fail)


@pytest.fixture(scope="session")
def default(tmp_path_factory):
    """`physgrad compare --json --out DIR`: its document, and DIR."""
    folder = tmp_path_factory.mktemp("default") / "out"
    answer = physgrad("compare", "--json", "--out", str(folder))
    assert (answer.returncode, answer.stderr) == (0, "")
    return strict_json(answer.stdout), folder
