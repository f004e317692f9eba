"""What a page shows, as a Python program that does the same."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from physgrad import problems
from physgrad.explorer.settings import Formulas, Settings
from physgrad.expressions import Expression, parse
from physgrad.names import INVERSES, OPTIMIZERS, Named

LARGEST_WHOLE = 1_000_000


def python(settings: Settings) -> str:
    """A program that runs the same comparison and prints its table.

    >>> print(python(Settings(optimizers=("pg:step_size=1",))))
    import jax.numpy as jnp
    import physgrad as pg
    <BLANKLINE>
    problem = pg.problems.get("toy", jnp.float32)
    objective = problem.objective
    x0 = jnp.array([3.0, 3.0], jnp.float32)
    methods = {
        'pg': pg.PhysicalGradient(step_size=1.0),
    }
    comparison = pg.compare(objective, x0, methods, num_steps=10)
    print(comparison)
    <BLANKLINE>
    """
    dtype = "jnp.float64" if settings.float64 else "jnp.float32"
    methods = [f"    {key!r}: {_method(one)}," for key, one in settings.named.items()]
    x0 = f"jnp.array([{', '.join(map(repr, settings.start))}], {dtype})"
    if settings.formulas is not None:
        subject = _typed(settings.formulas)
    else:
        subject = _named(settings.problem, dtype)
        # an x of another structure is built like the problem's start
        if getattr(problems.get(settings.problem).start, "ndim", None) != 1:
            x0 = f"ravel_pytree(problem.start)[1]({x0})"
    body = [
        *subject,
        f"x0 = {x0}",
        "methods = {",
        *methods,
        "}",
        f"comparison = pg.compare(objective, x0, methods, num_steps={settings.steps})",
        "print(comparison)",
    ]
    return "\n".join([*_imports(body, settings.float64), "", *body, ""])


def _imports(body: list[str], float64: bool) -> list[str]:
    """What the body needs, in the usual order."""
    text = "\n".join(body)
    lines = []
    for needed, line in {
        "importlib.": "import importlib",
        "runpy.": "import runpy",
        "jax.config": "import jax",
        "jnp.": "import jax.numpy as jnp",
        "optax.": "import optax",
        "optx.": "import optimistix as optx",
        "ravel_pytree": "from jax.flatten_util import ravel_pytree",
        "pg.": "import physgrad as pg",
    }.items():
        if needed in text or (needed == "jax.config" and float64):
            lines.append(line)
    if float64:
        lines += ["", 'jax.config.update("jax_enable_x64", True)']
    return lines


def _named(problem: str, dtype: str) -> list[str]:
    home, colon, path = problem.rpartition(":")
    if not colon:
        return [
            f"problem = pg.problems.get({_text(problem)}, {dtype})",
            "objective = problem.objective",
        ]
    name, *deeper = path.split(".")
    if home.endswith(".py"):
        first = f"runpy.run_path({_text(home)})[{_text(name)}]"
    else:
        first = f"importlib.import_module({_text(home)}).{name}"
    found = ".".join([first, *deeper])
    # a Problem, or an Objective itself
    return [
        f"problem = {found}",
        'objective = getattr(problem, "objective", problem)',
    ]


def _text(value: str) -> str:
    """In double quotes, where that changes nothing."""
    return f'"{value}"' if re.fullmatch(r"[ -!#-\[\]-~]*", value) else repr(value)


def _typed(formulas: Formulas) -> list[str]:
    entries = ", ".join(_with_jnp(text, formulas.x_names) for text in formulas.z)
    return [
        "",
        "def simulator(x):",
        f"    return jnp.stack([{entries}])",
        "",
        "",
        "def loss(z):",
        f"    return {_with_jnp(formulas.loss, formulas.z_names)}",
        "",
        "",
        "objective = pg.Objective(simulator, loss)",
    ]


def _with_jnp(text: str, variables: list[str]) -> str:
    """A formula in the names of JAX: x0 is x[0], sin is jnp.sin."""
    return ast.unparse(_InJax(variables).visit(parse(text, variables).tree))


class _InJax(ast.NodeTransformer):
    """The same formula, with the names that a program has for them."""

    def __init__(self, variables: list[str]):
        self._variables = variables

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._variables:
            return _read(f"jnp.{node.id}")
        return _read(f"{node.id[0]}[{node.id[1:]}]")

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        # large whole numbers would not fit into an array of integers
        small = isinstance(node.value, int) and abs(node.value) < LARGEST_WHOLE
        return node if small else ast.Constant(float(str(node.value)))

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        has_names = any(isinstance(part, ast.Name) for part in ast.walk(node))
        if not isinstance(node.op, ast.Pow) or has_names:
            return self.generic_visit(node)
        # 9**9**9: Python would compute with whole numbers, for ever
        value = float(Expression("", frozenset(), node)({}))
        return ast.Constant(value) if math.isfinite(value) else _read(f"jnp.{value}")


def _read(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _method(named: Named) -> str:
    """The optimizer, as Python."""
    settings = dict(named.settings)
    class_name = OPTIMIZERS[named.name].class_name
    if class_name == "OptaxOptimizer":
        return f"pg.OptaxOptimizer(optax.{named.name}({_keywords(settings)}))"
    if class_name != "PhysicalGradient":
        return f"pg.{class_name}({_keywords(settings)})"
    inverse = settings.pop("inverse", "numerical")
    shown = {"step_size": settings.pop("step_size")}
    metric, acceptance = settings.pop("metric"), settings.pop("acceptance")
    momentum = settings.pop("momentum")
    rule = _rule(inverse, settings)
    parts = [_keywords(shown), f"inverse={rule}" if rule else ""]
    parts.append(f"metric={_text(metric)}" if metric != "newton" else "")
    parts.append(f"acceptance={_text(acceptance)}" if acceptance else "")
    parts.append(f"transformation=optax.trace({momentum!r})" if momentum else "")
    return f"pg.PhysicalGradient({', '.join(filter(None, parts))})"


def _rule(name: str, settings: Mapping[str, Any]) -> str | None:
    """The rule of a physical gradient; None for that of the simulator."""
    if name not in INVERSES:
        return f"problem.inverses[{_text(name)}]"
    return _RULES[name](settings)


def _numerical(settings: Mapping[str, Any]) -> str:
    others = {key: value for key, value in settings.items() if key != "solver"}
    solver = _SOLVERS[settings["solver"]]
    first = f"optx.{solver}(rtol=1e-8, atol=1e-8)" if solver else ""
    return f"pg.NumericalInverse({', '.join(filter(None, [first, _keywords(others)]))})"


_SOLVERS = {
    "dogleg": None,  # the rule's own
    "lm": "LevenbergMarquardt",
    "newton": "Newton",
    "lbfgs": "LBFGS",
    "bfgs": "BFGS",
}
_LADDER = (
    "pg.Ladder([pg.NumericalInverse(), pg.LinearizedInverse(1e-3, relative=True), "
    "pg.TransposedInverse(fitted=True)])"
)
_RULES: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    "own": lambda settings: None,
    "numerical": _numerical,
    "broyden": lambda settings: f"pg.BroydenInverse({_keywords(settings)})",
    "linearized": lambda settings: f"pg.LinearizedInverse({_keywords(settings)})",
    "spectral": lambda settings: f"pg.SpectralInverse({_keywords(settings)})",
    "regularized": lambda settings: f"pg.RegularizedInverse({_keywords(settings)})",
    "transposed": lambda settings: "pg.TransposedInverse()",
    "ladder": lambda settings: _LADDER,
}


def _keywords(settings: Mapping[str, Any]) -> str:
    """Those that are set, as arguments."""
    return ", ".join(
        f"{key}={_text(value) if isinstance(value, str) else repr(value)}"
        for key, value in settings.items()
        if value is not None
    )
