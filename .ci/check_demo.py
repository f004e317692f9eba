"""Check what `physgrad compare` made against the known numbers of the toy problem.

usage: physgrad compare --json | python .ci/check_demo.py FOLDER_OF_FIGURES
"""

import json
import sys
from pathlib import Path

NUM_STEPS = 10
TOLERANCE = 2e-6
# the last x of each method, in float32
FINAL_X = {
    "gd": [2.4512184, 0.96171147],
    "newton": [0.05202458, 0.92383826],
    "pg": [0.08474258, 0.50421],
}


def refuse(name: str) -> None:
    """Called by the parser for NaN and Infinity, which are not JSON."""
    raise ValueError(f"{name} is not JSON")


def trajectory(document: dict, method: str) -> list[list[float]]:
    """All x of one method, the start among them."""
    run = document["runs"][method]
    if run["result"] != "completed":
        raise ValueError(f"{method}: {run['result']}: {run['message']}")
    for space, points in run["spaces"].items():
        if len(points) != NUM_STEPS + 1:
            raise ValueError(f"{method}: {len(points)} points in {space}")
    if len(run["losses"]) != NUM_STEPS + 1:
        raise ValueError(f"{method}: {len(run['losses'])} losses")
    return run["spaces"]["x"]


def check_numbers(document: dict) -> None:
    """The final iterates, and the numerical inverse against the formula."""
    if document["schema"] != 1 or document["problem"] != "toy":
        raise ValueError("expected the toy problem in schema 1")
    for method, expected in FINAL_X.items():
        got = trajectory(document, method)[-1]
        for value, known in zip(got, expected, strict=True):
            if abs(value - known) > TOLERANCE * abs(known):
                raise ValueError(f"{method}: the last x is {got}, expected {expected}")
    errors = [
        abs(a - b)
        for x, y in zip(
            trajectory(document, "pg"), trajectory(document, "pg-numeric"), strict=True
        )
        for a, b in zip(x, y, strict=True)
    ]
    mae = sum(errors) / len(errors)
    if mae > TOLERANCE:
        raise ValueError(f"pg-numeric: {mae:.2e} from pg, at most {TOLERANCE:.0e}")


def check_figures(folder: Path) -> int:
    """Count the figures; an empty file is none."""
    names = [p for p in folder.rglob("*") if p.suffix in {".png", ".svg", ".pdf"}]
    if not names or any(path.stat().st_size == 0 for path in names):
        raise ValueError(f"{folder}: no figures, or empty ones: {names}")
    return len(names)


def main() -> None:
    """Read the document from standard input; fail by name, or say what was seen."""
    check_numbers(json.load(sys.stdin, parse_constant=refuse))
    count = check_figures(Path(sys.argv[1]))
    print(f"demo: the known numbers to {TOLERANCE:.0e}, {count} figures")


if __name__ == "__main__":
    try:
        main()
    except (KeyError, ValueError) as error:
        sys.exit(f"demo: {type(error).__name__}: {error}")
