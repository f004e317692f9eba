"""Formulas typed by a user, such as "x0**2 + sin(x1)": read, never run as Python.

A text passes four gates, each of which lets through only what is on its list: printable
ASCII up to a length; tokens, in a number and a nesting; the nodes of its syntax tree;
names and functions. What is left is arithmetic on floating arrays.
"""

from __future__ import annotations

import ast
import dataclasses
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

LENGTH = 2000
TOKENS = 800
NODES = 400
DEPTH = 50
DIGITS = 20
# Whole exponents up to this are products: x**2 has its derivative at x < 0, too.
LARGEST_POWER = 64

FUNCTIONS: Mapping[str, tuple[Callable[..., Array], int]] = {
    name: (getattr(jnp, name), arity)
    for names, arity in [
        (("abs", "sqrt", "cbrt", "exp", "expm1", "log", "log1p"), 1),
        (("sin", "cos", "tan", "arcsin", "arccos", "arctan"), 1),
        (("sinh", "cosh", "tanh", "arcsinh", "arctanh"), 1),
        (("minimum", "maximum", "arctan2", "hypot"), 2),
    ]
    for name in names
}
CONSTANTS = {"pi": 3.141592653589793, "e": 2.718281828459045}

_TOKEN = re.compile(
    r"(?P<space> +)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<sign>\*\*|[-+*/(),])",
    re.ASCII,
)
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_OPERATIONS: Mapping[type[ast.AST], Callable[..., Array]] = {
    ast.Add: jnp.add,
    ast.Sub: jnp.subtract,
    ast.Mult: jnp.multiply,
    ast.Div: jnp.divide,
    ast.UAdd: jnp.positive,
    ast.USub: jnp.negative,
}


class ExpressionError(ValueError):
    """What is wrong with a formula, and in which column, counted from 1."""

    def __init__(self, message: str, column: int = 1) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


@dataclasses.dataclass(frozen=True)
class Expression:
    """A formula that has been read. Call it with a value for each of its variables.

    >>> import jax.numpy as jnp
    >>> from physgrad.expressions import parse
    >>> formula = parse("x0**2 + sin(pi * x1)", ["x0", "x1"])
    >>> print(formula({"x0": jnp.array(3.0), "x1": jnp.array(0.5)}))
    10.0
    """

    text: str
    """As it was typed."""
    names: frozenset[str]
    """The variables it uses."""
    tree: ast.expr = dataclasses.field(repr=False, compare=False)
    """Checked: of listed nodes only."""

    def __call__(self, values: Mapping[str, ArrayLike]) -> Float[Array, "..."]:
        """The value, in the dtype of the variables; without any, JAX's default."""
        arrays = {name: jnp.asarray(values[name]) for name in sorted(self.names)}
        dtype = jnp.result_type(*(arrays or values).values(), float)
        return _value(self.tree, arrays, jnp.zeros((), dtype))


def parse(text: str, variables: Sequence[str]) -> Expression:
    """Read a formula over some variables.

    Numbers, `+ - * / **`, brackets, the variables, `FUNCTIONS` and `CONSTANTS`.

    **Raises:** `ExpressionError` for anything else, and for variables that are no names
    or have one of their own here.
    """
    check_variables(variables)
    if len(text) > LENGTH:
        got = f"{len(text)} characters"
        raise ExpressionError(f"a formula has at most {LENGTH} characters, got {got}")
    _check_tokens(text)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        skipped = len(text) - len(text.lstrip())
        column = (error.offset or 1) + skipped
        raise ExpressionError("this is not a formula", column) from None
    nodes = list(_checked(tree, frozenset(variables), depth=1))
    if len(nodes) > NODES:
        raise ExpressionError(f"a formula has at most {NODES} parts, got {len(nodes)}")
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    return Expression(text.strip(), frozenset(used & set(variables)), tree)


def check_variables(variables: Sequence[str]) -> None:
    """Refuse names that are none, that mean something else here, or come twice."""
    for name in variables:
        if not _NAME.fullmatch(name) or keyword.iskeyword(name):
            raise ExpressionError(
                f"a variable is a small letter, then letters, digits or _, got {name!r}"
            )
        if name in FUNCTIONS or name in CONSTANTS:
            raise ExpressionError(f"{name} has a meaning of its own: take another name")
    if len(set(variables)) < len(variables):
        raise ExpressionError(f"each variable once, got {', '.join(variables)}")


def _check_tokens(text: str) -> None:
    """Everything that Python's parser must not see: it can be made to fail badly."""
    column, count, depth = 0, 0, 0
    while column < len(text):
        token = _TOKEN.match(text, column)
        if token is None:
            raise ExpressionError(_not_a_token(text, column), column + 1)
        kind, word = token.lastgroup, token.group()
        count += kind != "space"
        depth += (word == "(") - (word == ")")
        if count > TOKENS:
            raise ExpressionError(f"a formula has at most {TOKENS} words", column + 1)
        if depth > DEPTH:
            raise ExpressionError(f"brackets nest at most {DEPTH} deep", column + 1)
        if kind == "number" and sum(map(str.isdigit, word)) > DIGITS:
            raise ExpressionError(f"a number has at most {DIGITS} digits", column + 1)
        column = token.end()
    if not count:
        raise ExpressionError("an empty formula")


def _not_a_token(text: str, column: int) -> str:
    """What is wrong there, and what to write instead of what people often type."""
    letter = text[column]
    if letter == "." and text[:column].rstrip()[-1:].isalpha():
        return "a name has no dots here; write sin(x), not np.sin(x)"
    if letter in "0123456789.":
        return "a number such as 2.5e-3 is expected; write 2*x, not 2x"
    hint = {"^": "; write x**2 for a power", "[": "; write x0, not x[0]"}
    return f"{letter!a} is not allowed in a formula{hint.get(letter, '')}"


def _checked(node: ast.AST, variables: frozenset[str], depth: int) -> Iterator[ast.AST]:
    """The node and all below it, if each is on the list."""
    column = getattr(node, "col_offset", 0) + 1
    if depth > DEPTH:
        raise ExpressionError(f"a formula nests at most {DEPTH} deep", column)
    yield node
    match node:
        case ast.Constant(value=int() | float() as value) if type(value) is not bool:
            if not abs(value) < float("inf"):
                raise ExpressionError("a number must be finite", column)
            return
        case ast.Name(id=name):
            if name not in variables and name not in CONSTANTS:
                raise ExpressionError(_unknown(name, variables), column)
            return
        case ast.BinOp(left=left, op=op, right=right) if _is_listed(op):
            # a sum of many terms nests to the left, and is not deep to its reader
            yield from _checked(left, variables, depth)
            below = [right]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATIONS:
            below = [operand]
        case ast.Call(func=ast.Name(id=name), args=below, keywords=[]):
            if name not in FUNCTIONS:
                known = ", ".join(sorted(FUNCTIONS))
                raise ExpressionError(f"no function {name}; there are {known}", column)
            if len(below) != FUNCTIONS[name][1]:
                wanted, got = FUNCTIONS[name][1], len(below)
                raise ExpressionError(f"{name} takes {wanted}, got {got}", column)
        case _:
            raise ExpressionError("only arithmetic is allowed here", column)
    for part in below:
        yield from _checked(part, variables, depth + 1)


def _is_listed(operator: ast.operator) -> bool:
    return isinstance(operator, ast.Pow) or type(operator) in _OPERATIONS


def _unknown(name: str, variables: frozenset[str]) -> str:
    if name in FUNCTIONS:
        return f"{name} is a function: {name}(...)"
    known = ", ".join([*sorted(variables), *CONSTANTS])
    return f"no variable {name}; there are {known}"


def _value(node: ast.expr, values: Mapping[str, Array], zero: Array) -> Array:
    """The value of a checked node; every number is an array of the dtype of `zero`."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return jnp.asarray(float(number), zero.dtype)
        case ast.Name(id=name) if name in values:
            return values[name].astype(zero.dtype)
        case ast.Name(id=name):
            return jnp.asarray(CONSTANTS[name], zero.dtype)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, whole = _value(left, values, zero), _whole(right)
            if whole is not None:
                return lax.integer_pow(base, whole)
            return jnp.power(base, _value(right, values, zero))
        case ast.BinOp(left=left, op=op, right=right):
            parts = _value(left, values, zero), _value(right, values, zero)
            return _OPERATIONS[type(op)](*parts)
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATIONS[type(op)](_value(operand, values, zero))
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name][0](*(_value(arg, values, zero) for arg in args))
        case _:
            raise AssertionError(f"an unchecked node: {ast.dump(node)}")


def _whole(node: ast.expr) -> int | None:
    """A small whole exponent, if that is what a node is."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if not isinstance(node, ast.Constant) or not isinstance(node.value, int | float):
        return None
    number = float(node.value)
    if number.is_integer() and number <= LARGEST_POWER:
        return sign * int(number)
    return None
