"""What the repository promises about its own files: no addresses or paths of one
machine, a complete lock, imports that point down, docstrings.

Each check is a function from text to a list of faults, and is shown a bad example, too.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"

# Assembled from parts, or this file would be the first to be found.
REGISTRIES = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in [
            ("pypi", "org"),
            ("python" + "hosted", "org"),
            ("npm" + "js", "org"),
            ("npm" + "js", "com"),
            ("debian", "org"),
        ]
    ),
    re.IGNORECASE,
)
MACHINE_PATHS = re.compile(rf"(?<![\w./])/(?:{'|'.join(['home', 'root', 'work'])})/\w")
LOCKED = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>[\w.!+]+)(?: ; [^#@:]+?)?"
    r"(?: --hash=sha256:[0-9a-f]{64})+"
)

# Top to bottom: a module imports from its own room or from one below.
LAYERS = [
    *("cli", "explorer", "plot", "train", "problems", "simulators", "doctor"),
    *("comparison", "loop", "optimizers", "physical_gradient", "optimizer"),
    *("objective", "bijections", "simulator", "callback", "process"),
    *("inverses", "basis", "krylov", "spectral", "trajectory", "storage"),
    *(
        "worker",
        "expressions",
        "cards",
        "training_names",
        "names",
        "results",
        "derivatives",
    ),
]
OUTSIDE = ["physgrad", "__main__"]
HEAVY = {"equinox", "jax", "optimistix"}


class Import(NamedTuple):
    target: str  # the dotted name: a module, or a name in one
    line: int
    where: str  # "module", "function" or "TYPE_CHECKING"


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def own(module: str) -> bool:
    return module.partition(".")[0] == "physgrad"


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[Import]:
    """Every import, relative ones made absolute."""

    def visit(node: ast.AST, where: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = where
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, where)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parts = module.split(".")
                    parents = parts[: len(parts) - child.level + is_package]
                    base = ".".join([*parents, base] if base else parents)
                for alias in child.names:
                    yield Import(f"{base}.{alias.name}", child.lineno, where)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = "function"
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                inside = "TYPE_CHECKING"
            yield from visit(child, inside)

    return visit(tree, "module")


def layer_faults(text: str, module: str, is_package: bool = False) -> list[str]:
    """Imports that point up, or hide in a function."""
    here = room(module)
    if here in OUTSIDE:
        return []
    if here not in LAYERS:
        return [f"{module}: the room {here} has no place in LAYERS"]
    faults = []
    for target, line, where in imports(ast.parse(text), module, is_package):
        there = room(target)
        if not own(target) or here == "cli":
            continue
        if there not in LAYERS:
            faults.append(f"{module}:{line}: {target} is no room; name the module")
        elif LAYERS.index(there) < LAYERS.index(here):
            faults.append(f"{module}:{line}: {here} imports up, from {there}")
        if where == "function":
            faults.append(f"{module}:{line}: {target} is imported in a function")
    return faults


def import_graph(modules: dict[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """Module to the own modules that are imported when it is loaded."""
    return {
        module: {
            target if target in modules else target.rpartition(".")[0]
            for target, _, where in imports(ast.parse(text), module, is_package)
            if own(target) and where == "module"
        }
        for module, (text, is_package) in modules.items()
    }


def heavy_imports(module: str) -> list[str]:
    """Heavy packages that a fresh Python has loaded after `import module`."""
    program = f"import sys, {module}; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return sorted(HEAVY & set(answer.stdout.split()))


def missing_docstrings(text: str, module: str) -> list[str]:
    """Public classes and functions of a module that have none."""
    return [
        f"{module}:{node.lineno}: {node.name} has no docstring"
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]


def lock_lines(text: str) -> list[str]:
    """One line for each requirement, its continuation lines joined."""
    return [" ".join(x.split()) for x in text.replace("\\\n", " ").splitlines() if x]


def lock_faults(text: str) -> list[str]:
    """Lines that are anything but name==version, perhaps a marker, and hashes."""
    return [line for line in lock_lines(text) if not LOCKED.fullmatch(line)]


def stale_requirements(requirements: list[str], lock: str) -> list[str]:
    """Requirements that no version in the lock satisfies."""
    locked = {m["name"]: m["version"] for m in map(LOCKED.match, lock_lines(lock)) if m}
    faults = []
    for needed in map(Requirement, requirements):
        version = locked.get(canonicalize_name(needed.name))
        if needed.name == "physgrad":
            continue
        if version is None or not needed.specifier.contains(version):
            faults.append(str(needed))
    return faults


def source_modules() -> dict[str, tuple[str, bool]]:
    """Dotted name to (text, is it a package)."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = (path.read_text(encoding="utf-8"), is_package)
    return found


@pytest.fixture(scope="module")
def tracked() -> dict[str, str]:
    """Path to text of the files in git, pictures and the like left out."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True
    )
    if listing.returncode != 0:
        pytest.skip(f"not a git checkout: {listing.stderr.strip()}")
    texts = {}
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            texts[name] = content.decode("utf-8", errors="replace")
    return texts


def test_no_file_names_a_registry(tracked):
    assert [name for name, text in tracked.items() if REGISTRIES.search(text)] == []
    assert REGISTRIES.search("https://files.Python" + "Hosted.org/packages")


def test_no_file_holds_a_path_of_one_machine(tracked):
    assert [name for name, text in tracked.items() if MACHINE_PATHS.search(text)] == []
    assert MACHINE_PATHS.search('open("/' + 'home/ann/data.npz")')
    assert not MACHINE_PATHS.search("docs/" + "work/notes.md, /workshop/x")


def test_the_lock_is_the_only_one(tracked):
    assert [name for name in tracked if Path(name).name == "uv.lock"] == []


def test_the_lock_has_hashes_and_no_addresses():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert len(lock_lines(text)) > 10
    assert lock_faults(text) == []
    digest = "--hash=sha256:" + "0" * 64
    bad = ["a==1", f"--index-url https://a.b {digest}", f"a @ https://a.b {digest}"]
    assert lock_faults("\n".join(bad)) == bad
    assert lock_faults(f"a==1 ; sys_platform == 'win32' \\\n    {digest}\n") == []


def test_the_lock_serves_the_project():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = project["build-system"]["requires"] + project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        needed += extra
    assert stale_requirements(needed, text) == [], "run `make lock`"
    lock = "a-b==1.2 --hash=sha256:" + "0" * 64
    assert stale_requirements(["A_b>=1", "A_b>=2", "c"], lock) == ["A_b>=2", "c"]


def test_imports_point_down():
    modules = source_modules()
    faults = [
        fault
        for module, (text, is_package) in modules.items()
        for fault in layer_faults(text, module, is_package)
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("module", "text", "fault"),
    [
        ("physgrad.loop", "from physgrad.comparison import compare", "imports up"),
        ("physgrad.loop", "from .comparison import compare", "imports up"),
        ("physgrad.loop", "from . import cli", "imports up"),
        ("physgrad.inverses.exact", "from .. import loop", "imports up"),
        ("physgrad.loop", "import physgrad", "is no room"),
        ("physgrad.loop", "def f():\n    import physgrad.names", "in a function"),
        ("physgrad.utils", "", "no place"),
    ],
)
def test_imports_that_do_not_point_down_are_found(module, text, fault):
    assert [fault in found for found in layer_faults(text, module)] == [True]


def test_imports_that_point_down_pass():
    own_room = "from .rule import Rule\nfrom physgrad.results import Result\nimport jax"
    assert layer_faults(own_room, "physgrad.inverses.exact") == []
    assert layer_faults("from .exact import Exact", "physgrad.inverses", True) == []
    assert layer_faults("def f():\n    import physgrad", "physgrad.cli") == []


def test_imports_make_no_circle():
    tuple(graphlib.TopologicalSorter(import_graph(source_modules())).static_order())
    circle = {"physgrad.a": ("from .b import x", False)}
    circle["physgrad.b"] = ("from physgrad import a", False)
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(import_graph(circle)).prepare()


@pytest.mark.parametrize("name", ["cli", "cards", "names", "results"])
def test_the_command_line_answers_before_jax_is_loaded(name):
    assert heavy_imports(f"physgrad.{name}") == []


def test_a_heavy_import_is_found():
    assert heavy_imports("jax.numpy") == ["jax"]


def test_public_names_have_docstrings():
    faults = [
        fault
        for module, (text, _) in source_modules().items()
        for fault in missing_docstrings(text, module)
    ]
    assert faults == []
    bad = "def shown(): ...\ndef _hidden(): ...\nclass Told:\n    'what'\n"
    assert missing_docstrings(bad, "m") == ["m:1: shown has no docstring"]
