"""Folders and processes that tests of storage share."""

import subprocess
from pathlib import Path

import pytest
from saving import add_user_files, save


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Results of save 1 with files of the user among them."""
    save(tmp_path / "out", 1)
    add_user_files(tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid
