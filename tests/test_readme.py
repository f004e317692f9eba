"""The README's Python runs as written, and what it says of files is so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import physgrad as pg

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def last_frame(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 11  # the start and ten steps
        image.seek(10)
        return np.asarray(image.convert("RGB"))


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    run = names["run"]
    assert isinstance(run, pg.Run)
    assert run.result == "completed"
    fitted = names["fitted"]
    assert isinstance(fitted, pg.Run) and fitted.result == "converged"
    report = names["report"]
    assert isinstance(report, pg.CheckReport) and report.diagnosis == ("fine",)
    assert report.code is not None and f"fine: {report.code}" in README
    assert report.noise is not None and report.noise.uncertainty is not None
    first, second = report.noise.uncertainty.deviations
    assert f"standard deviations of x: {first:.3g}, {second:.3g}" in README
    made, shown = (tmp_path / "trajectories.gif", ROOT / "docs/trajectories.gif")
    assert shown.stat().st_size < 200_000
    frames = [last_frame(path) for path in (made, shown)]
    assert np.mean(frames[0] != frames[1]) < 0.01  # rounding may move a pixel
    got = f"amplitude {fitted.x['amplitude']:.2f}, rate {fitted.x['rate']:.2f}"
    assert got in README


def test_every_link_within_the_project_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert "src/physgrad/physical_gradient.py" in links[:1]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_central_file_is_as_short_as_the_readme_says():
    lines = (ROOT / "src/physgrad/physical_gradient.py").read_text().splitlines()
    assert f"{len(lines)} lines" in README
    assert len(lines) < 80


def test_every_result_is_explained():
    assert [result for result in pg.Result if f"`{result}`" not in README] == []
