"""Programs as Python text; `dsl.parser` reads all that is printed here."""

from __future__ import annotations

import json
import math
from typing import Any, assert_never

import numpy as np

from dsl.primitives import PRIMITIVES
from dsl.program import (
    Append,
    Assign,
    Call,
    Comprehension,
    Constant,
    Expr,
    Literal,
    Loop,
    Program,
    Statement,
    Variable,
    expressions,
    walk,
)

WIDTH = 96
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_POSTFIX, _ATOM, _CONDITIONAL, _UNARY = 15, 16, 1, 12
_LAZY = ("range", "enumerate", "zip")
_ITERATING = ("sum", "max", "min", "any", "all", "sorted", "set", "contains")


def to_python(program: Program, docstring: str = "") -> str:
    """The whole file: imports, constants, one function."""
    lines = [f"import {module}" for module in imports(program)]
    if lines:
        lines.append("")
    for name, value in program.constants:
        lines += [f"{name} = {written(value)}"]
    if program.constants:
        lines.append("")
    if lines:
        lines.append("")
    lines.append(f"def {program.name}({', '.join(program.parameters)}):")
    if docstring:
        lines += _docstring(docstring)
    lines += body_lines(program)
    return "\n".join(lines) + "\n"


def imports(program: Program) -> tuple[str, ...]:
    """The modules that the text needs."""
    needed: set[str] = set()
    for outer in expressions(program):
        for node in walk(outer):
            if isinstance(node, Call):
                python = PRIMITIVES[node.primitive].python
                if python.startswith("math."):
                    needed.add("math")
                elif python.startswith("np."):
                    needed.add("numpy as np")
            elif isinstance(node, Literal) and not _finite(node.value):
                needed.add("math")
    if any(not _finite(value) for _, value in program.constants):
        needed.add("math")
    return tuple(sorted(needed))


def body_lines(program: Program) -> list[str]:
    """The statements of the function, indented by four."""
    lines: list[str] = []
    for statement in program.body:
        lines += ["    " + line for line in _statement(statement)]
    return lines + ["    " + line for line in _result(program.result)]


def count_lines(program: Program) -> int:
    """The lines of the function, its header included, as printed."""
    return (
        1
        + len(body_lines(program))
        + sum(written(value).count("\n") + 1 for _, value in program.constants)
    )


def _docstring(text: str) -> list[str]:
    first, *rest = text.replace("\\", "\\\\").replace('"""', "'''").splitlines() or [""]
    if not rest:
        return [f'    """{first}"""']
    return [f'    """{first}', *(f"    {line}".rstrip() for line in rest), '    """']


def _statement(statement: Statement) -> list[str]:
    match statement:
        case Assign(names, values):
            return [f"{', '.join(names)} = {', '.join(expression(value) for value in values)}"]
        case Loop(targets, source, state, body, outputs):
            lines = [f"{name} = {expression(first)}" for name, first in state]
            lines += [f"{name} = []" for name in outputs]
            lines.append(f"for {', '.join(targets)} in {_printed(source)[0]}:")
            for step in body:
                match step:
                    case Assign():
                        lines += ["    " + line for line in _statement(step)]
                    case Append(name, value):
                        lines.append(f"    {name}.append({expression(value)})")
            if not body:
                lines.append("    pass")
            return lines
        case _:
            assert_never(statement)


def _result(result: Expr) -> list[str]:
    """`return ...`; a chain of conditionals that is long becomes a list of decisions, and so does a
    look-up among exceptions before it."""
    lines: list[str] = []
    while True:
        match result:
            case Call("ite", (condition, then, otherwise)) if _is_long(then, otherwise, result):
                lines.append(f"if {expression(condition)}:")
                lines += ["    " + inner for inner in _result(then)]
                result = otherwise
            case Call("get", (Constant() as table, key, default)) if _is_wide(result):
                lines.append(f"if {expression(Call('contains', (key, table)))}:")
                lines.append(f"    return {expression(Call('index', (table, key)))}")
                result = default
            case _:
                return [*lines, f"return {expression(result)}"]


def _is_long(then: Expr, otherwise: Expr, result: Expr) -> bool:
    nested = any(isinstance(x, Call) and x.primitive == "ite" for x in (then, otherwise))
    return nested or _is_wide(result)


def _is_wide(result: Expr) -> bool:
    return len(f"return {expression(result)}") > WIDTH - 4


def expression(expr: Expr) -> str:
    """The text of an expression on one line."""
    text = _printed(expr)[0]
    return f"list({text})" if _is_lazy(expr) else text


def _is_lazy(expr: Expr) -> bool:
    """Does Python make an iterator of it, where the language has a sequence?"""
    return isinstance(expr, Call) and expr.primitive in _LAZY


def _iterates(parent: Expr, part: Expr) -> bool:
    """Does the parent only go through the part, so that an iterator will do?"""
    match parent:
        case Comprehension(_, _, source, _):
            return source is part
        case Call(primitive, args):
            return primitive in _ITERATING and (len(args) == 1 or primitive == "contains")
    return False


def _printed(root: Expr) -> tuple[str, int]:
    """Text and precedence; explicit stack, so that deep expressions do not recurse."""
    done: dict[int, tuple[str, int]] = {}
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if not ready and isinstance(node, (Call, Comprehension)):
            stack.append((node, True))
            parts = node.args if isinstance(node, Call) else _parts(node)
            stack.extend((part, False) for part in parts)
            continue
        done[id(node)] = _one(node, done)
    return done[id(root)]


def _parts(node: Comprehension) -> tuple[Expr, ...]:
    return tuple(x for x in (node.element, node.source, node.condition) if x is not None)


def _one(node: Expr, done: dict[int, tuple[str, int]]) -> tuple[str, int]:
    def text(part: Expr, least: int = 0) -> str:
        inner, precedence = done[id(part)]
        if _is_lazy(part) and not _iterates(node, part):
            return f"list({inner})"
        return inner if precedence >= least else f"({inner})"

    match node:
        case Literal(value):
            shown = written(value)
            return shown, _UNARY if shown.startswith("-") else _ATOM
        case Variable(name) | Constant(name):
            return name, _ATOM
        case Comprehension():
            return f"[{_clauses(node, text)}]", _ATOM
        case Call():
            return _call(node, text)
        case _:
            assert_never(node)


def _clauses(node: Comprehension, text: Any) -> str:
    condition = "" if node.condition is None else f" if {text(node.condition, 2)}"
    # The source of a comprehension may not be a bare conditional.
    return (
        f"{text(node.element)} for {', '.join(node.targets)} in {text(node.source, 2)}{condition}"
    )


def _call(node: Call, text: Any) -> tuple[str, int]:
    primitive, args = PRIMITIVES[node.primitive], node.args
    name, precedence = node.primitive, PRIMITIVES[node.primitive].precedence
    match name:
        case "ite":
            condition, then, otherwise = args
            return f"{text(then, 2)} if {text(condition, 2)} else {text(otherwise, 1)}", 1
        case "and" if (chain := _chained(node)) is not None:
            first, middle, last = chain
            left, right = args
            signs = tuple(PRIMITIVES[x.primitive].infix for x in (left, right))  # type: ignore[union-attr]
            return f"{text(first, 6)} {signs[0]} {text(middle, 6)} {signs[1]} {text(last, 6)}", 5
        case "and" | "or":
            return f" {name} ".join(
                text(arg, precedence + (i > 0)) for i, arg in enumerate(args)
            ), (precedence)
        case "not":
            return f"not {text(args[0], precedence)}", precedence
        case "neg":
            return f"-{text(args[0], precedence + 1)}", precedence
        case "pow":
            return f"{text(args[0], precedence + 1)} ** {text(args[1], _UNARY)}", precedence
        case "list":
            return f"[{', '.join(text(arg) for arg in args)}]", _ATOM
        case "tuple":
            inner = ", ".join(text(arg) for arg in args)
            return f"({inner},)" if len(args) == 1 else f"({inner})", _ATOM
        case "index":
            key = args[1]
            if isinstance(key, Call) and key.primitive == "tuple" and len(key.args) > 1:
                return f"{text(args[0], _POSTFIX)}[{text(key)[1:-1]}]", _POSTFIX
            return f"{text(args[0], _POSTFIX)}[{text(key)}]", _POSTFIX
        case "slice":
            return f"{text(args[0], _POSTFIX)}[{_slice(args, text)}]", _POSTFIX
    if primitive.infix:
        # Comparisons do not associate: `(a < b) < c` needs its parentheses.
        outer = precedence + (precedence == 5)
        return (
            f"{text(args[0], outer)} {primitive.infix} {text(args[1], precedence + 1)}",
            precedence,
        )
    method = getattr(primitive, "method", "")
    if method:
        rest = ", ".join(text(arg) for arg in args[1:])
        return f"{text(args[0], _POSTFIX)}.{method}({rest})", _POSTFIX
    if len(args) == 1 and isinstance(args[0], Comprehension) and name in _ITERATING:
        return f"{primitive.python}({_clauses(args[0], text)})", _POSTFIX
    return f"{primitive.python}({', '.join(text(arg) for arg in args)})", _POSTFIX


def _chained(node: Call) -> tuple[Expr, Expr, Expr] | None:
    """The three terms of `a < b < c`, where a conjunction can be written so."""
    match node.args:
        case (Call(first, (a, b)), Call(second, (c, d))):
            if first in _COMPARISONS and second in _COMPARISONS and b == c and _plain(b):
                return a, b, d
    return None


def _plain(expr: Expr) -> bool:
    return not isinstance(expr, Literal)


def _slice(args: tuple[Expr, ...], text: Any) -> str:
    start, stop, step = ("" if arg == Literal(None) else text(arg) for arg in args[1:])
    return f"{start}:{stop}" + (f":{step}" if step else "")


def written(value: Any) -> str:
    """A constant as Python writes it; long tables are broken into lines."""
    match value:
        case np.ndarray():
            return written(_tuples(value.tolist()))
        case dict():
            entries = [f"{written(key)}: {written(entry)}" for key, entry in value.items()]
            return _bracketed("{", entries, "}")
        case tuple() | list():
            entries = [written(item) for item in value]
            if len(entries) == 1:
                return f"({entries[0]},)"
            return _bracketed("(", entries, ")")
        case bool() | None:
            return repr(value)
        case float():
            if math.isnan(value):
                return "math.nan"
            if math.isinf(value):
                return "math.inf" if value > 0 else "-math.inf"
            return repr(value)
        case int():
            return repr(value)
        case str():
            # A lone surrogate has no bytes in UTF-8 and is written as an escape.
            lone = any("\ud800" <= character <= "\udfff" for character in value)
            return json.dumps(value, ensure_ascii=lone)
        case np.generic():
            return written(value.item())
        case _:
            raise TypeError(f"{type(value).__name__} cannot be written in a program")


def _bracketed(left: str, entries: list[str], right: str) -> str:
    line = left + ", ".join(entries) + right
    if len(line) <= WIDTH - 16:
        return line
    inner = [entry.replace("\n", "\n    ") for entry in entries]
    rows, row = [], ""
    for entry in inner:
        if row and (len(row) + len(entry) + 2 > WIDTH - 6 or "\n" in entry):
            rows.append(row)
            row = ""
        row += (" " if row else "") + entry + ","
    rows.append(row)
    return left + "\n    " + "\n    ".join(rows) + "\n" + right


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _finite(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return bool(np.isfinite(value).all()) if value.dtype.kind == "f" else True
    if isinstance(value, dict):
        return all(_finite(entry) for entry in value.values())
    if isinstance(value, (tuple, list)):
        return all(_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)
