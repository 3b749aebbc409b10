"""Text to programs.  The text is data: it is parsed and interpreted, never run by Python."""

from __future__ import annotations

import ast
import functools
import re
import unicodedata
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NoReturn, TypeAlias

from dsl.errors import DistillError, Place
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
    children,
    expressions,
    walk,
)

Places: TypeAlias = dict[int, tuple[Expr, Place]]
"""Where expressions stand in their text, by `id`; each is kept alive beside its place."""

_FUNCTIONS = {p.python: p for p in PRIMITIVES.values() if p.python and not p.infix}
_METHODS = {p.method: p for p in PRIMITIVES.values() if getattr(p, "method", "")}  # type: ignore[attr-defined]
_COMPARE = {p.infix: p.name for p in PRIMITIVES.values() if p.precedence == 5 and p.infix != "in"}
_INFIX = ("add", "sub", "mul", "floordiv", "mod", "truediv", "pow", "neg")
_AUGMENTED = {"+=": "add", "-=": "sub", "*=": "mul", "//=": "floordiv", "%=": "mod"}
_MODULES = ("math", "np")
_MANY = 1 << 30
_ARITY = {"range": (1, 3), "max": (1, _MANY), "min": (1, _MANY), "zip": (1, _MANY)}
_ARITY |= {"dot": (2, 2), "get": (3, 3), "count": (2, 2), "find": (2, 2)}
"""The least and greatest number of arguments, a method's owner included; others take one."""
RESERVED = frozenset({*_FUNCTIONS, *_MODULES, "list", "tuple"}) - {"math.inf", "math.nan"}
"""Names that a variable may not take: the text would mean something else in Python."""
_UNORDERED = ("len", "sum", "max", "min", "any", "all", "sorted", "set")
_LONGEST_TEXT = 4_000_000
_DEEPEST = 90
_DEEPEST_EXPRESSION = 4000


def parse(text: str, source: str = "program") -> Program:
    """The program of a file's text.  Raises DistillError D101 with the place."""
    return parse_with_places(text, source)[0]


def parse_with_places(text: str, source: str = "program") -> tuple[Program, Places]:
    """The program, and where each of its expressions stands in the text."""
    reader = Reader(source)
    try:
        program = reader.file(_tree(text, source, "file"))
    except RecursionError:
        raise DistillError("D101", "the text nests too deeply", place=Place(source)) from None
    if any(_depth(expr) > _DEEPEST_EXPRESSION for expr in expressions(program)):
        raise DistillError("D101", "the text nests too deeply", place=Place(source))
    _refuse_visible_sets(program, reader.places)
    return program, reader.places


def parse_expression(text: str, source: str = "expression") -> Expr:
    """One expression over free variables, as in `where` or a packing."""
    try:
        return Reader(source, free=True).expr(_tree(text, source, "conditional"))
    except RecursionError:
        raise DistillError("D101", "the text nests too deeply", place=Place(source)) from None


def _tree(text: str, source: str, start: str) -> Any:
    import lark

    if len(text) > _LONGEST_TEXT:
        raise DistillError("D101", "the text is longer than 4 MB", place=Place(source))
    if "\0" in text:
        raise DistillError("D101", "the text holds a NUL character", place=Place(source))
    _bounded_depth(text, source)
    try:
        return _lark(start).parse(text + ("\n" if start == "file" else ""))
    except lark.exceptions.UnexpectedInput as error:
        line, column = max(error.line, 0), max(error.column, 0)
        found = text.splitlines()[line - 1].strip() if 0 < line <= text.count("\n") + 1 else ""
        raise DistillError(
            "D101",
            "the text is not a program of this language",
            place=Place(source, line, column),
            notes=(f"found  {found[:80]}",) if found else (),
            remedy="see docs/dsl.md for what programs may contain",
        ) from None
    except lark.exceptions.LarkError as error:
        raise DistillError(
            "D101", f"the text is not a program: {error}", place=Place(source)
        ) from None


_BRACKET_OR_TEXT = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|#[^\n]*|[\[\](){}]',
    re.DOTALL,
)


def _bounded_depth(text: str, source: str) -> None:
    depth = 0
    for match in _BRACKET_OR_TEXT.finditer(text):
        depth += (match[0] in "([{") - (match[0] in ")]}")
        if depth > _DEEPEST:
            line = text.count("\n", 0, match.start()) + 1
            raise DistillError(
                "D101", f"brackets nest deeper than {_DEEPEST}", place=Place(source, line)
            )


@functools.cache
def _lark(start: str) -> Any:
    import lark
    from lark.indenter import Indenter

    class Indentation(Indenter):
        NL_type = "_NL"
        OPEN_PAREN_types = ["LPAR", "LSQB", "LBRACE"]
        CLOSE_PAREN_types = ["RPAR", "RSQB", "RBRACE"]
        INDENT_type = "_INDENT"
        DEDENT_type = "_DEDENT"
        tab_len = 8

    grammar = resources.files("dsl").joinpath("grammar.lark").read_text(encoding="utf-8")
    return lark.Lark(
        grammar,
        parser="lalr",
        start=start,
        postlex=Indentation() if start == "file" else None,
        maybe_placeholders=True,
        propagate_positions=True,
    )


@dataclass
class Reader:
    """Turns trees into expressions; knows which names are constants and which are bound."""

    source: str
    constants: dict[str, Any] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    free: bool = False
    places: Places = field(default_factory=dict)

    def named(self, name: str, tree: Any) -> str:
        """A name that may be bound: no function of the language, and as Python would spell it."""
        if name in RESERVED:
            self.refuse(f"{name} is a function of this language and no name for a value", tree)
        if name.startswith("__"):
            self.refuse(f"{name}: names do not begin with two underscores", tree)
        if not name.isascii() and unicodedata.normalize("NFKC", name) != name:
            self.refuse(f"{name}: Python would read this name in another spelling", tree)
        return name

    def refuse(self, finding: str, tree: Any = None, remedy: str = "") -> NoReturn:
        meta = getattr(tree, "meta", None)
        place = Place(self.source, getattr(meta, "line", 0), getattr(meta, "column", 0))
        if tree is not None and meta is None:
            place = Place(self.source, getattr(tree, "line", 0), getattr(tree, "column", 0))
        raise DistillError("D101", finding, place=place, remedy=remedy)

    def file(self, tree: Any) -> Program:
        function = tree.children[-1]
        for child in tree.children[:-1]:
            match child.data:
                case "import_line":
                    names = [str(name) for name in child.children if name is not None]
                    if names not in (["math"], ["numpy", "np"]):
                        self.refuse(f"import of {names[0]}: only math and numpy as np", child)
                case "constant_line":
                    name, value = child.children
                    self.named(str(name), child)
                    if str(name) in self.constants:
                        self.refuse(f"{name} is defined twice", child)
                    self.constants[str(name)] = self.fixed(self.expr(value), value)
        return self.function(function)

    def function(self, tree: Any) -> Program:
        name, parameters, _, *rest = tree.children
        names = []
        for parameter in parameters.children if parameters is not None else ():
            if parameter is not None:
                names.append(self.named(str(parameter.children[0]), parameter))
        if len(set(names)) < len(names):
            self.refuse("two parameters have one name", tree)
        self.bound |= set(names)
        statements = [child for child in rest if child.data != "docstring"]
        body, result = self.block(statements, tree)
        used = {
            node.name
            for outer in _all_expressions(body, result)
            for node in walk(outer)
            if isinstance(node, Constant)
        }
        constants = tuple((key, value) for key, value in self.constants.items() if key in used)
        return Program(str(name), tuple((n, None) for n in names), body, result, constants)

    def block(self, statements: list[Any], tree: Any) -> tuple[tuple[Statement, ...], Expr]:
        body: list[Statement] = []
        for position, statement in enumerate(statements):
            match statement.data:
                case "assign":
                    body.append(self.assign(statement))
                case "augmented":
                    body.append(self.augmented(statement))
                case "loop":
                    self.loop(statement, body)
                case "append":
                    self.refuse("append outside a loop", statement)
                case "return_line":
                    if position + 1 < len(statements):
                        self.refuse("a statement after return", statements[position + 1])
                    return _single(body), self.expr(statement.children[0])
                case "branch":
                    return _single(body), self.branch(statement, statements[position + 1 :], tree)
        self.refuse("the function does not return a value on every path", tree)

    def branch(self, statement: Any, rest: list[Any], tree: Any) -> Expr:
        """Decisions that return, as one conditional expression; a list of them without recursion,
        since decision lists are long."""
        tests: list[tuple[Any, list[Any]]] = []
        while True:
            otherwise: list[Any] = list(rest)
            children = [child for child in statement.children if child is not None]
            first: list[Any] = []
            tests.append((children[0], first))
            for child in children[1:]:
                match child.data:
                    case "elif_branch":
                        tests.append((child.children[0], list(child.children[1:])))
                    case "else_branch":
                        if rest:
                            self.refuse("a statement after if and else that both return", rest[0])
                        otherwise = list(child.children)
                    case _:
                        first.append(child)
            if not otherwise or otherwise[0].data != "branch":
                break
            statement, rest = otherwise[0], otherwise[1:]
        result = self.returned(otherwise, tree)
        for test, body in reversed(tests):
            result = self.decided(self.expr(test), self.returned(body, tree), result)
        return result

    def decided(self, test: Expr, then: Expr, otherwise: Expr) -> Expr:
        """`then if test else otherwise`; `if k in TABLE: return TABLE[k]` is a look-up that has
        something to return where there is no entry."""
        match test, then:
            case (
                Call("contains", (key, Constant(name) as table)),
                Call("index", (same, again)),
            ) if same == table and again == key and isinstance(self.constants.get(name), dict):
                return Call("get", (table, key, otherwise))
        return Call("ite", (test, then, otherwise))

    def returned(self, statements: list[Any], tree: Any) -> Expr:
        body, result = self.block(statements, tree)
        if body:
            self.refuse("only return may stand in a branch", statements[0])
        return result

    def assign(self, tree: Any) -> Assign:
        names = tuple(self.named(str(name), tree) for name in tree.children[0].children)
        values = tuple(self.expr(value) for value in tree.children[1].children)
        if len(values) not in (1, len(names)) or (len(values) == 1 < len(names)):
            self.refuse(f"{len(names)} names for {len(values)} values", tree)
        for name in names:
            if name in self.constants:
                self.refuse(f"{name} is a constant", tree)
        self.bound |= set(names)
        return Assign(names, values)

    def augmented(self, tree: Any) -> Assign:
        name, sign, value = tree.children
        if str(name) not in self.bound:
            self.refuse(f"{name} has no value yet", tree)
        args = (Variable(str(name)), self.expr(value))
        return Assign((str(name),), (Call(_AUGMENTED[str(sign)], args),))

    def loop(self, tree: Any, body: list[Statement]) -> None:
        targets = tuple(self.named(str(name), tree) for name in tree.children[0].children)
        source = self.expr(tree.children[1])
        self.bound |= set(targets)
        steps = self.steps(tree.children[2:], None)
        changed = [name for step in steps for name in _changed(step)]
        first: dict[str, Expr] = {}
        outputs: list[str] = []
        appended = {step.name for step in steps if isinstance(step, Append)}
        kept: list[Statement] = []
        for statement in body:
            match statement:
                case Assign((name,), (value,)) if name in appended:
                    if value != Call("list", ()):
                        self.refuse(f"{name} must start as the empty list", tree)
                    outputs.append(name)
                case Assign((name,), (value,)) if name in changed:
                    first[name] = value
                case Assign(names, values) if len(values) == len(names) and (
                    set(names) & (set(changed) | appended)
                ):
                    for name, value in zip(names, values, strict=True):
                        if name in appended:
                            outputs.append(name)
                        elif name in changed:
                            first[name] = value
                        else:
                            kept.append(Assign((name,), (value,)))
                case _:
                    kept.append(statement)
        if missing := appended - set(outputs):
            self.refuse(f"{sorted(missing)[0]} is not a list made before the loop", tree)
        hidden = set(first) | set(outputs)
        for outer in _all_expressions(tuple(kept), source):
            for node in walk(outer):
                if isinstance(node, Variable) and node.name in hidden:
                    self.refuse(f"{node.name} is used between its first value and the loop", tree)
        body[:] = kept
        body.append(Loop(targets, source, tuple(first.items()), tuple(steps), tuple(outputs)))

    def steps(self, trees: Any, condition: Expr | None) -> list[Assign | Append]:
        """The body of a loop; a branch becomes conditional assignments."""
        steps: list[Assign | Append] = []
        for tree in trees:
            match tree.data:
                case "assign" | "augmented":
                    step = self.assign(tree) if tree.data == "assign" else self.augmented(tree)
                    steps.append(step if condition is None else _guarded(step, condition))
                case "append":
                    if condition is not None:
                        self.refuse("append under a condition inside a loop", tree)
                    steps.append(Append(str(tree.children[0]), self.expr(tree.children[1])))
                case "step_branch":
                    steps += self.step_branch(tree, condition)
        return steps

    def step_branch(self, tree: Any, outer: Expr | None) -> list[Assign | Append]:
        children = [child for child in tree.children if child is not None]
        arms: list[tuple[Expr | None, list[Any]]] = [(self.expr(children[0]), [])]
        for child in children[1:]:
            match child.data:
                case "step_elif":
                    arms.append((self.expr(child.children[0]), list(child.children[1:])))
                case "step_else":
                    arms.append((None, list(child.children)))
                case _:
                    arms[0][1].append(child)
        return self.merged(arms, outer, tree)

    def merged(
        self, arms: list[tuple[Expr | None, list[Any]]], outer: Expr | None, tree: Any
    ) -> list[Assign | Append]:
        """The arms of a branch as simultaneous conditional assignments: each arm may assign every
        name once, from values before the branch."""
        values: dict[str, list[tuple[Expr | None, Expr]]] = {}
        for condition, trees in arms:
            seen: set[str] = set()
            for step in self.steps(trees, None):
                if isinstance(step, Append):
                    self.refuse("append under a condition inside a loop", tree)
                used = {n.name for v in step.values for n in walk(v) if isinstance(n, Variable)}
                if used & seen or set(step.names) & seen:
                    self.refuse("a branch inside a loop uses what it has just assigned", tree)
                seen |= set(step.names)
                for name, value in zip(step.names, step.values, strict=True):
                    values.setdefault(name, []).append((condition, value))
        names = tuple(values)
        results = []
        for name in names:
            result: Expr = Variable(name)
            given = dict(values[name])
            for condition, _ in reversed(arms):
                value = given.get(condition, Variable(name))
                result = value if condition is None else Call("ite", (condition, value, result))
            results.append(result)
        assign = Assign(names, tuple(results))
        return [assign if outer is None else _guarded(assign, outer)]

    def expr(self, tree: Any) -> Expr:
        result = self.read(tree)
        meta = getattr(tree, "meta", None)
        place = Place(self.source, getattr(meta, "line", 0), getattr(meta, "column", 0))
        # The expression is kept beside its place, so that its identity stays its own.
        self.places.setdefault(id(result), (result, place))
        return result

    def read(self, tree: Any) -> Expr:
        kind = tree.data
        parts = tree.children
        match kind:
            case "number" | "string" | "true" | "false" | "none":
                return Literal(self.literal(kind, parts))
            case "name":
                return self.name(str(parts[0]), tree)
            case "neg":
                return self.negated(parts[0])
            case "positive":
                return self.expr(parts[0])
            case "ite":
                then, condition, otherwise = (self.expr(part) for part in parts)
                return Call("ite", (condition, then, otherwise))
            case "and_" | "or_":
                return Call(kind[:-1], tuple(self.expr(part) for part in parts))
            case "not_":
                return Call("not", (self.expr(parts[0]),))
            case "compare":
                return self.comparison(parts)
            case "index":
                return self.index(parts)
            case "slice":
                args = tuple(
                    Literal(None)
                    if part is None or part.children[0] is None
                    else self.expr(part.children[0])
                    for part in parts[1:]
                )
                return Call("slice", (self.expr(parts[0]), *args))
            case "method":
                return self.method(tree)
            case "call":
                return self.called(str(parts[0]), parts[1], tree)
            case "comprehension" | "generator":
                return self.comprehension(parts[0], parts[1])
            case "list":
                return Call("list", tuple(self.expr(p) for p in parts if p is not None))
            case "tuple_":
                return self.record(tuple(self.expr(p) for p in parts if p is not None))
            case "dict_":
                return self.mapping(parts, tree)
            case "attribute":
                if _dotted(tree) in ("math.inf", "math.nan"):
                    return Literal(float(_dotted(tree)[5:]))
                self.refuse(f"attribute {parts[1]}: programs have no attributes", tree)
        if kind in _INFIX:
            return Call(kind, tuple(self.expr(part) for part in parts))
        self.refuse(f"{kind} is not an expression", tree)

    def literal(self, kind: str, parts: Any) -> bool | int | float | str | None:
        match kind:
            case "true":
                return True
            case "false":
                return False
            case "none":
                return None
            case "string":
                read = "".join(_text(str(part)) for part in parts)
                if "\0" in read:
                    self.refuse("a text with a NUL character", parts[0])
                return read
        text = str(parts[0]).replace("_", "")
        if len(text) > 1300:
            self.refuse("a number of over 1300 digits", parts[0])
        if text.isdigit():
            if text.strip("0") and text.startswith("0"):
                self.refuse("a whole number does not begin with 0", parts[0])
            return int(text)
        return float(text)

    def negated(self, part: Any) -> Expr:
        inner = self.expr(part)
        match inner:
            case Literal(value) if isinstance(value, (int, float)) and not isinstance(value, bool):
                if part.data in ("number", "attribute"):
                    return Literal(-value)
        return Call("neg", (inner,))

    def name(self, name: str, tree: Any) -> Expr:
        if name.startswith("__"):
            self.refuse(f"{name}: names do not begin with two underscores", tree)
        if name in self.bound:
            return Variable(name)
        if name in self.constants:
            return Constant(name)
        if self.free:
            return Variable(name)
        self.refuse(f"{name} is not defined", tree)

    def comparison(self, parts: Any) -> Expr:
        operands = [self.expr(part) for part in parts[::2]]
        tests: list[Expr] = []
        for sign, a, b in zip(parts[1::2], operands, operands[1:]):
            match getattr(sign, "data", None):
                case "in_":
                    tests.append(Call("contains", (a, b)))
                case "not_in":
                    tests.append(Call("not", (Call("contains", (a, b)),)))
                case _:
                    tests.append(Call(_COMPARE[str(sign)], (a, b)))
        return functools.reduce(lambda a, b: Call("and", (a, b)), tests)

    def index(self, parts: Any) -> Expr:
        keys = tuple(self.expr(part) for part in parts[1].children)
        key = keys[0] if len(keys) == 1 else self.record(keys)
        return Call("index", (self.expr(parts[0]), key))

    def method(self, tree: Any) -> Expr:
        owner, name, arguments = tree.children
        if owner.data == "name" and str(owner.children[0]) in _MODULES:
            return self.called(f"{owner.children[0]}.{name}", arguments, tree)
        if str(name) not in _METHODS:
            self.refuse(f"method {name}: only {', '.join(sorted(_METHODS))}", tree)
        args = self.arguments(arguments)
        return self.counted(_METHODS[str(name)].name, (self.expr(owner), *args), tree)

    def counted(self, name: str, args: tuple[Expr, ...], tree: Any) -> Expr:
        """A call with a number of arguments that the primitive takes."""
        low, high = _ARITY.get(name, (1, 1))
        if not low <= len(args) <= high:
            self.refuse(f"{name} takes another number of arguments than {len(args)}", tree)
        return Call(name, args)

    def called(self, name: str, arguments: Any, tree: Any) -> Expr:
        args = self.arguments(arguments)
        if name in ("list", "tuple") and len(args) == 1:
            return args[0]
        primitive = _FUNCTIONS.get(name)
        if primitive is None:
            self.refuse(
                f"{name} is not a function of this language",
                tree,
                remedy="functions: " + ", ".join(sorted(_FUNCTIONS)),
            )
        return self.counted(primitive.name, args, tree)

    def arguments(self, tree: Any) -> tuple[Expr, ...]:
        return tuple(self.expr(child) for child in tree.children if child is not None)

    def comprehension(self, element: Any, clause: Any) -> Expr:
        names, source, condition = clause.children
        targets = tuple(self.named(str(name), clause) for name in names.children)
        iterated = self.expr(source)
        outer = set(self.bound)
        self.bound |= set(targets)
        test = None if condition is None else self.expr(condition)
        result = Comprehension(self.expr(element), targets, iterated, test)
        self.bound = outer
        return result

    def record(self, items: tuple[Expr, ...]) -> Expr:
        """A tuple of literals is a literal; others are records."""
        if all(isinstance(item, Literal) for item in items):
            return Literal(tuple(item.value for item in items if isinstance(item, Literal)))
        return Call("tuple", items)

    def mapping(self, parts: Any, tree: Any) -> Expr:
        """A dictionary in place becomes a constant with a name of its own."""
        entries: dict[Any, Any] = {}
        for entry in parts:
            if entry is None:
                continue
            key, value = (self.fixed(self.expr(part), part) for part in entry.children)
            if key in entries:
                self.refuse(f"the key {key!r} stands twice", entry)
            entries[key] = value
        name = f"map_{len(self.constants)}"
        self.constants[name] = entries
        return Constant(name)

    def fixed(self, expr: Expr, tree: Any) -> Any:
        """The value of an expression of literals."""
        match expr:
            case Literal(value):
                return value
            case Call("list" | "tuple", args):
                return tuple(self.fixed(arg, tree) for arg in args)
            case Constant(name):
                return self.constants.pop(name) if name.startswith("map_") else self.constants[name]
        self.refuse("a constant is made of literals only", tree)


def _guarded(step: Assign, condition: Expr) -> Assign:
    values = tuple(
        Call("ite", (condition, value, Variable(name)))
        for name, value in zip(step.names, step.values, strict=True)
    )
    return Assign(step.names, values)


def _changed(step: Assign | Append) -> tuple[str, ...]:
    return step.names if isinstance(step, Assign) else ()


def _single(body: list[Statement]) -> tuple[Statement, ...]:
    return tuple(body)


def _all_expressions(body: tuple[Statement, ...], result: Expr) -> tuple[Expr, ...]:
    return tuple(expressions(Program("", (), body, result)))


def _text(token: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(ast.literal_eval(token))


def _depth(expr: Expr) -> int:
    """The number of levels of an expression."""
    level, depth = [expr], 0
    while level:
        depth += 1
        level = [child for node in level for child in children(node)]
    return depth


def _refuse_visible_sets(program: Program, places: Places) -> None:
    """Raises D101 where the order of a set could be seen: Python's differs from run to run."""
    stack: list[tuple[Expr, bool]] = [(expr, False) for expr in expressions(program)]
    while stack:
        node, unordered = stack.pop()
        match node:
            case Call("set", _) if not unordered:
                _, place = places.get(id(node), (node, Place("program")))
                raise DistillError(
                    "D101", "the order of a set is not defined", place=place, remedy="use sorted"
                )
            case Call("contains", (item, items)):
                stack += [(item, False), (items, True)]
            case Call(primitive, args):
                aggregate = primitive in _UNORDERED and len(args) == 1
                stack += [(arg, aggregate) for arg in args]
            case Comprehension(element, _, source, condition):
                stack += [(element, False), (source, unordered)]
                stack += [] if condition is None else [(condition, False)]


def _dotted(tree: Any) -> str:
    owner, name = tree.children
    return f"{owner.children[0]}.{name}" if owner.data == "name" else str(name)


def equal_programs(one: Program, other: Program) -> bool:
    """Are two programs the same, constants included?"""
    return one == other and _plain(dict(one.constants)) == _plain(dict(other.constants))


def _plain(value: Any) -> Any:
    """Constants as they are after a round trip through text: arrays are nested tuples."""
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return value
