"""Random programs of every construct of the language, and what real Python makes of their text.

The generator asks a *chooser* for each decision, so that one description serves Hypothesis (which
shrinks) and the long suite (which counts seeds).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dsl.printer import to_python
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
    Variable,
)

Choose = Callable[[int, int], int]
"""An integer from `low` to `high`, both included."""

INPUTS = {
    "a": "int",
    "b": "int",
    "p": "bool",
    "x": "real",
    "c": "token",
    "s": "ints",
    "w": "words",
} | {"r": "reals"}
INTEGERS = (0, 1, -1, 2, 3, -3, 7, 10, 2**31, -(2**31), 2**53 + 1, 2**62, -(2**62), 2**63 - 1)
REALS = (0.0, 0.5, -0.5, 1.0, 2.5, -2.5, 1e-9, 1e9, 0.1)
TOKENS = ("a", "b", "c", "é", "日")
TABLES = {"ROW": (3, -1, 4, 1), "PAIRS": {0: 5, 1: -2, 7: 1}, "NAMES": {"a": 1, "é": 2, "日": 3}}


def seeded(seed: int) -> Choose:
    """A chooser of the long suite."""
    rng = np.random.default_rng(seed)
    return lambda low, high: int(rng.integers(low, high + 1))


class Generator:
    """Expressions of a wanted kind over the variables in scope."""

    def __init__(self, choose: Choose, *, sequences: bool = True, reals: bool = True) -> None:
        self.choose = choose
        self.reals = reals
        kinds = {"int", "bool", "token"} | ({"real"} if reals else set())
        kinds |= {"ints", "words"} if sequences else set()
        kinds |= {"reals"} if sequences and reals else set()
        self.scope = {name: kind for name, kind in INPUTS.items() if kind in kinds}
        self.sequences = sequences
        self.fresh = 0

    def of(self, *options: Any) -> Any:
        return options[self.choose(0, len(options) - 1)]

    def leaf(self, kind: str) -> Expr:
        names = [name for name, known in self.scope.items() if known == kind]
        if names and self.choose(0, 2):
            return Variable(self.of(*names))
        match kind:
            case "int":
                return Literal(self.of(*INTEGERS) if not self.choose(0, 3) else self.choose(-4, 9))
            case "bool":
                return Literal(bool(self.choose(0, 1)))
            case "real":
                return Literal(self.of(*REALS))
            case "token":
                return Literal(self.of(*TOKENS))
            case "ints":
                return Call(
                    "list", tuple(Literal(self.choose(-2, 3)) for _ in range(self.choose(0, 3)))
                )
            case "reals":
                return Call("list", tuple(Literal(self.of(*REALS)) for _ in range(2)))
            case _:
                return Call("list", tuple(Literal(self.of(*TOKENS)) for _ in range(2)))

    def make(self, kind: str, depth: int) -> Expr:
        if depth <= 0 or not self.choose(0, 5):
            return self.leaf(kind)
        if not self.choose(0, 7):
            return Call(
                "ite",
                (
                    self.make("bool", depth - 1),
                    self.make(kind, depth - 1),
                    self.make(kind, depth - 1),
                ),
            )
        return getattr(self, f"_{kind}")(depth - 1)

    def args(self, depth: int, *kinds: str) -> tuple[Expr, ...]:
        return tuple(self.make(kind, depth) for kind in kinds)

    def _int(self, depth: int) -> Expr:
        number = self.of("int", "int", "bool")
        flat = 9 if not self.sequences else 16
        match self.choose(0, flat):
            case 0 | 1 | 2:
                return Call(self.of("add", "sub", "mul"), self.args(depth, number, "int"))
            case 3:
                return Call("floordiv", self.args(depth, "int", number))
            case 4:
                return Call("mod", self.args(depth, number, "int"))
            case 5:
                return Call("pow", (self.make("int", depth), self.exponent(depth)))
            case 6:
                return self.negated(self.make("int", depth))
            case 7:
                return Call(self.of("max", "min"), self.args(depth, "int", "int"))
            case 8:
                return Call("int", self.args(depth, self.of("bool", "int")))
            case 9:
                if not self.reals:
                    return Call("add", self.args(depth, "bool", "bool"))
                return Call(self.of("floor", "ceil", "int"), self.args(depth, "real"))
            case 10:
                return Call("len", self.args(depth, self.of("ints", "words")))
            case 11:
                return Call(self.of("sum", "max", "min", "len"), (self.items(depth),))
            case 12:
                return Call("index", (self.items(depth), self.make("int", depth)))
            case 13:
                kind, item = self.of(("ints", "int"), ("words", "token"))
                return Call(self.of("count", "find"), self.args(depth, kind, item))
            case 14:
                return Call("get", (Constant("PAIRS"), *self.args(depth, "int", "int")))
            case 15:
                return Call("index", (Constant("NAMES"), self.make("token", depth)))
            case _:
                return Call("sum", (self.comprehension("bool", depth),))

    def _bool(self, depth: int) -> Expr:
        match self.choose(0, 6 if self.sequences else 4):
            case 0 | 1:
                kind = self.of("int", "real", "int") if self.reals else "int"
                sign = self.of("lt", "le", "gt", "ge", "eq", "ne")
                return Call(sign, self.args(depth, kind, self.of("int", kind)))
            case 2:
                return Call(self.of("and", "or"), self.args(depth, "bool", "bool"))
            case 3:
                return Call("not", self.args(depth, "bool"))
            case 4:
                return Call(self.of("eq", "ne", "lt", "ge"), self.args(depth, "token", "token"))
            case 5:
                kind, item = self.of(("ints", "int"), ("words", "token"))
                return Call("contains", self.args(depth, item, kind))
            case _:
                return Call(self.of("any", "all"), (self.comprehension("bool", depth),))

    def exponent(self, depth: int) -> Expr:
        """A small constant, or a small number that may be -1: then Python has a real number."""
        if not self.reals or self.choose(0, 3):
            return Literal(self.choose(0, 4))
        return Call("sub", (Call("mod", (self.make("int", depth), Literal(5))), Literal(1)))

    def negated(self, inner: Expr) -> Expr:
        """`-3` is a literal, not the negative of one."""
        name = "abs" if isinstance(inner, Literal) else self.of("neg", "abs")
        return Call(name, (inner,))

    def items(self, depth: int) -> Expr:
        """A list of integers or the constant row, which is a tuple: they do not mix in Python."""
        return Constant("ROW") if not self.choose(0, 3) else self.make("ints", depth)

    def _real(self, depth: int) -> Expr:
        match self.choose(0, 7 if self.sequences else 5):
            case 6:
                return Call(self.of("sum", "sum", "max", "min"), self.args(depth, "reals"))
            case 7:
                return Call("index", self.args(depth, "reals", "int"))
            case 0 | 1:
                return Call(self.of("add", "sub", "mul"), self.args(depth, "real", "real"))
            case 2:
                return Call("truediv", self.args(depth, self.of("real", "int"), "real"))
            case 3:
                return Call(self.of("mod", "floordiv", "pow"), self.args(depth, "real", "real"))
            case 4:
                name = self.of("sqrt", "exp", "log", "tanh", "sin", "cos")
                return Call(name, self.args(depth, "real"))
            case _:
                return self.negated(self.make("real", depth))

    def _token(self, depth: int) -> Expr:
        if not self.sequences:
            return self.leaf("token")
        return Call("index", self.args(depth, "words", "int"))

    def _ints(self, depth: int) -> Expr:
        match self.choose(0, 6):
            case 0:
                return Call("sorted", self.args(depth, "ints"))
            case 1:
                return Call("add", self.args(depth, "ints", "ints"))
            case 2:
                return Call("slice", (self.make("ints", depth), *self.slice(depth)))
            case 3:
                return Call("range", (Call("mod", (self.make("int", depth), Literal(5))),))
            case 4:
                return Call("mul", (self.make("ints", depth), Literal(self.choose(-1, 3))))
            case 5:
                return Call("list", self.args(depth, "int", "int"))
            case _:
                return self.comprehension("int", depth)

    def _reals(self, depth: int) -> Expr:
        match self.choose(0, 3):
            case 0:
                return Call("sorted", self.args(depth, "reals"))
            case 1:
                return Call("add", self.args(depth, "reals", "reals"))
            case 2:
                return Call("slice", (self.make("reals", depth), *self.slice(depth)))
            case _:
                return self.comprehension("real", depth)

    def _words(self, depth: int) -> Expr:
        match self.choose(0, 3):
            case 0:
                return Call("sorted", (Call("set", self.args(depth, "words")),))
            case 1:
                return Call("slice", (self.make("words", depth), *self.slice(depth)))
            case 2:
                return Call("add", self.args(depth, "words", "words"))
            case _:
                return self.comprehension("token", depth)

    def slice(self, depth: int) -> tuple[Expr, ...]:
        ends = [
            Literal(None) if self.choose(0, 1) else Literal(self.choose(-3, 3)) for _ in range(2)
        ]
        return (*ends, Literal(self.of(None, None, -1, 2, -2)))

    def comprehension(self, element: str, depth: int) -> Expr:
        self.fresh += 1
        name, position = f"v{self.fresh}", f"i{self.fresh}"
        kinds = [("ints", "int"), ("words", "token"), ("reals", "real")]
        kind, item = kinds[self.choose(0, 2 if self.reals else 1)]
        source = self.make(kind, depth - 1)
        outer = dict(self.scope)
        if self.choose(0, 2):
            targets: tuple[str, ...] = (name,)
        else:
            source, targets = Call("enumerate", (source,)), (position, name)
            self.scope[position] = "int"
        self.scope[name] = item
        condition = None if self.choose(0, 2) else self.make("bool", depth - 1)
        result = Comprehension(self.make(element, depth - 1), targets, source, condition)
        self.scope = outer
        return result

    def program(self, depth: int = 4) -> Program:
        """Assignments, perhaps a loop, and a result of some kind."""
        inputs = tuple((name, None) for name in self.scope)
        body: list[Any] = []
        for _ in range(self.choose(0, 2)):
            self.fresh += 1
            kind = self.of(
                *(kind for kind in ("int", "bool", "real") if kind != "real" or self.reals)
            )
            name = f"t{self.fresh}"
            body.append(Assign((name,), (self.make(kind, depth - 1),)))
            self.scope[name] = kind
        if self.sequences and not self.choose(0, 2):
            body.append(self.loop(depth - 1))
        kinds = ["int", "bool", "token", *(["real"] if self.reals else [])]
        kinds += ["ints", "words"] if self.sequences else []
        kinds += ["reals"] if self.sequences and self.reals else []
        result = self.make(self.of(*kinds), depth)
        return with_constants(Program("program", inputs, tuple(body), result))

    def loop(self, depth: int) -> Loop:
        kind, item = self.of(("ints", "int"), ("words", "token"))
        source, first = self.make(kind, depth - 1), self.make("int", 1)
        outer = dict(self.scope)
        self.scope |= {"item": item, "state": "int"}
        steps: list[Any] = [Assign(("state",), (self.make("int", depth - 1),))]
        outputs: tuple[str, ...] = ()
        if self.choose(0, 1):
            steps.append(Append("out", self.make("int", depth - 1)))
            outputs = ("out",)
        self.scope = outer | {"state": "int"} | dict.fromkeys(outputs, "ints")
        return Loop(("item",), source, (("state", first),), tuple(steps), outputs)


def with_constants(program: Program) -> Program:
    """The program with the tables that it names."""
    from dataclasses import replace

    from dsl.program import expressions, walk

    used = {n.name for e in expressions(program) for n in walk(e) if isinstance(n, Constant)}
    constants = tuple((name, value) for name, value in TABLES.items() if name in used)
    return replace(program, constants=constants)


def inputs_of(choose: Choose) -> dict[str, Any]:
    """One value for each input, boundary values among them."""
    small = lambda: choose(-4, 9)  # noqa: E731
    whole = lambda: small() if choose(0, 3) else INTEGERS[choose(0, len(INTEGERS) - 1)]  # noqa: E731
    return {
        "a": whole(),
        "b": whole(),
        "p": bool(choose(0, 1)),
        "x": REALS[choose(0, len(REALS) - 1)],
        "c": TOKENS[choose(0, len(TOKENS) - 1)],
        "s": [whole() for _ in range(choose(0, 4))],
        "w": [TOKENS[choose(0, len(TOKENS) - 1)] for _ in range(choose(0, 4))],
        "r": [REALS[choose(0, len(REALS) - 1)] for _ in range(9 * choose(0, 1))],
    }


def batches_of(rows: list[dict[str, Any]]) -> list[tuple[dict[str, np.ndarray], list[int]]]:
    """The rows as batches of equal lengths, with the numbers of the rows."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        lengths = tuple(len(value) for value in row.values() if isinstance(value, list))
        groups.setdefault(lengths, []).append(number)
    return [
        ({name: _column([rows[n][name] for n in numbers]) for name in rows[0]}, numbers)
        for numbers in groups.values()
    ]


def _column(values: list[Any]) -> np.ndarray:
    first = values[0]
    if isinstance(first, list):
        items = {str: "U1", float: np.float64}
        kind: Any = items.get(type(first[0]) if first else int, np.int64)
        return np.array(values, kind).reshape(len(values), len(first))
    kinds = {bool: bool, int: np.int64, float: np.float64}
    return np.array(values, kinds.get(type(first)))


class Failed(Exception):
    """Python raises where the program has no value."""


def python_function(program: Program) -> Callable[..., Any]:
    """The text of a program as a function of real Python.  Only tests run programs so."""
    names: dict[str, Any] = {}
    exec(compile(to_python(program), "program.py", "exec"), names)
    function = names[program.name]

    def run(**inputs: Any) -> Any:
        try:
            return plain(function(*(inputs[name] for name in program.parameters)))
        except (ArithmeticError, ValueError, LookupError) as error:
            raise Failed(str(error)) from None
        except TypeError as error:
            # A root of a negative number is complex, a negative power of an integer is real, and
            # nothing here takes it.
            if "complex" not in str(error) and "float" not in str(error):
                raise
            raise Failed(str(error)) from None

    return run


def plain(value: Any) -> Any:
    """Lists for every kind of sequence."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    return value


def same(one: Any, other: Any) -> bool:
    """Python's equality, with NaN equal to itself, item by item."""
    if isinstance(one, list) or isinstance(other, list):
        return (
            isinstance(one, list)
            and isinstance(other, list)
            and len(one) == len(other)
            and all(same(x, y) for x, y in zip(one, other, strict=True))
        )
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)
