"""Branch and bound over the integers of a whole word.

Network and program are carried through the word as affine forms of its items, so that what is
linear in both cancels exactly; a box of words on which the difference is not yet small, or on which
the program's branches are not yet decided, is split.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dsl.claim import Decode
from dsl.program import Assign, Call, Constant, Expr, Literal, Variable
from verify.recurrent import enclosures as e
from verify.recurrent.enclosures import Form
from verify.recurrent.machines import Machine

StepOfForms = Callable[[Form, Form], tuple[Form, Form]]
"""One step of the network on forms: packed items (B, *x) and states (B, h) to (y, h')."""
_ROWS = 2048
_LARGEST = 2.0**40


class Unsupported(Exception):
    """The program does something of which no affine form is known."""


@dataclass
class Split:
    """What one pass over some boxes found: for each the least slack, whether the program's
    branches were decided, and how much each item (B, items) blurs the result."""

    slack: np.ndarray
    undecided: np.ndarray
    blur: np.ndarray


@dataclass(frozen=True, slots=True)
class Words:
    """All words of `length` items, each from `low` to `high` (one entry per sequence)."""

    length: int
    low: tuple[int, ...]
    high: tuple[int, ...]

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return np.tile(self.low, self.length)[None], np.tile(self.high, self.length)[None]


def proved(
    machine: Machine,
    step: StepOfForms,
    start: np.ndarray,
    uncertainty: float,
    words: Words,
    decode: Decode,
    *,
    at_end: bool,
    most: int,
    deadline: float,
) -> tuple[int, float] | None:
    """How many boxes cover all words and the least slack on them, if on every word the outputs of
    the network decode to the answers of the machine; None where that could not be shown.  Raises
    Unsupported or Unbounded."""
    low, high = words.box()
    done, least = 0, np.inf
    while len(low):
        if time.monotonic() > deadline or done + len(low) > most:
            return None
        part = slice(max(0, len(low) - _ROWS), len(low))
        below, above = low[part], high[part]
        low, high = low[: part.start], high[: part.start]
        found = _pass(machine, step, start, uncertainty, words, below, above, decode, at_end)
        good = (found.slack > 0) & ~found.undecided
        done += int(good.sum())
        least = min(least, float(found.slack[good].min(initial=np.inf)))
        if good.all():
            continue
        below, above, blur = below[~good], above[~good], found.blur[~good]
        if (below == above).all(axis=1).any():
            return None
        left, right = _halves(below, above, blur)
        low, high = np.concatenate([low, below, right]), np.concatenate([high, left, above])
    return done, least


def _halves(low: np.ndarray, high: np.ndarray, blur: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The new upper ends of lower halves, and the new lower ends of upper halves."""
    rows = np.arange(len(low))
    score = np.where(high > low, blur + 1e-9 * (high - low), -1.0)
    item = score.argmax(axis=1)
    middle = (low[rows, item] + high[rows, item]) // 2
    left, right = high.copy(), low.copy()
    left[rows, item] = middle
    right[rows, item] = middle + 1
    return left, right


def _pass(
    machine: Machine,
    step: StepOfForms,
    start: np.ndarray,
    uncertainty: float,
    words: Words,
    low: np.ndarray,
    high: np.ndarray,
    decode: Decode,
    at_end: bool,
) -> Split:
    rows, items = low.shape
    middle, radius = (low + high) / 2, (high - low) / 2
    hidden = e.points(np.repeat(start[None].astype(np.float64), rows, axis=0), items)
    hidden = Form(hidden.centre, hidden.generators, np.full_like(hidden.centre, uncertainty))
    run = Run(machine, rows, items)
    result = Split(np.full(rows, np.inf), run.undecided, run.blur)
    width = len(words.low)
    for t in range(words.length):
        place = np.arange(t * width, (t + 1) * width)
        generators = np.zeros((rows, items, width))
        generators[:, place, np.arange(width)] = radius[:, place]
        x = Form(middle[:, place], generators, np.zeros((rows, width)))
        raw, hidden = step(x, hidden)
        answer = run.step(x)
        if at_end and t < words.length - 1:
            continue
        if machine.final:
            answer = run.value(machine.answer)
        difference = _minus(_flat(raw), answer)
        tolerance = 0.5 if decode.rule == "round" else decode.tolerance
        guard = 2.0**-22 * (1 + answer.magnitude)
        slack = tolerance - np.maximum(difference.high, -difference.low) - guard
        worse = slack < result.slack
        result.slack = np.minimum(result.slack, slack)
        size = np.abs(difference.generators)
        result.blur[worse] = np.maximum(result.blur[worse], size[worse])
    return result


def _flat(raw: Form) -> Form:
    if raw.centre[0].size != 1:
        raise Unsupported("an output of several numbers")
    rows, items = raw.generators.shape[:2]
    return Form(
        raw.centre.reshape(rows), raw.generators.reshape(rows, items), raw.radius.reshape(rows)
    )


def _minus(a: Form, b: Form) -> Form:
    return _plus(a, _times(b, -1.0))


def _plus(a: Form, b: Form) -> Form:
    centre = a.centre + b.centre
    noise = 1e-15 * (a.magnitude + b.magnitude)
    return Form(centre, a.generators + b.generators, a.radius + b.radius + noise)


def _times(a: Form, factor: float) -> Form:
    noise = 1e-15 * abs(factor) * a.magnitude
    return Form(factor * a.centre, factor * a.generators, abs(factor) * a.radius + noise)


class Run:
    """The machine on forms of scalars: (B,), (B, items), (B,).  `undecided` marks boxes on which a
    branch is not decided; their values mean nothing."""

    def __init__(self, machine: Machine, rows: int, items: int) -> None:
        self.machine, self.rows, self.items = machine, rows, items
        self.undecided = np.zeros(rows, bool)
        self.blur = np.zeros((rows, items))
        self.scope: dict[str, Form] = {
            name: self.constant(float(value))
            for name, value in zip(machine.state, machine.first, strict=True)
        }

    def constant(self, value: float) -> Form:
        if abs(value) > _LARGEST:
            raise Unsupported("a number too large to be exact")
        return Form(
            np.full(self.rows, value), np.zeros((self.rows, self.items)), np.zeros(self.rows)
        )

    def step(self, x: Form) -> Form:
        """The answer to the next items, (B, channels)."""
        for i, name in enumerate(self.machine.targets):
            self.scope[name] = Form(x.centre[:, i], x.generators[:, :, i], x.radius[:, i])
        for statement in self.machine.body:
            if not isinstance(statement, Assign):
                raise Unsupported("a loop within the loop")
            values = [self.value(value) for value in statement.values]
            self.scope.update(zip(statement.names, values, strict=True))
        if self.machine.final:
            return self.constant(0.0)
        return self.value(self.machine.answer)

    def value(self, expr: Expr) -> Form:
        match expr:
            case Literal(bool() as value):
                return self.constant(float(value))
            case Literal(int() as value):
                return self.constant(float(value))
            case Variable(name) if name in self.scope:
                return self.scope[name]
            case Constant(name):
                return self.value(Literal(self._named(name)))
            case Call("ite", (condition, a, b)):
                return self.chosen(condition, a, b)
            case Call(name, args):
                return self.applied(name, args)
        raise Unsupported(str(expr))

    def _named(self, name: str) -> int:
        value = dict(self.machine.constants).get(name)
        if not isinstance(value, int):
            raise Unsupported(f"the constant {name}")
        return value

    def applied(self, name: str, args: tuple[Expr, ...]) -> Form:
        values = [self.value(arg) for arg in args]
        match name, values:
            case "add", [a, b]:
                return _plus(a, b)
            case "sub", [a, b]:
                return _minus(a, b)
            case "neg", [a]:
                return _times(a, -1.0)
            case "int", [a]:
                return a
            case "mul", [a, b]:
                return self.product(a, b)
            case "abs", [a]:
                return self.greater(a, _times(a, -1.0))
            case "max", [a, b]:
                return self.greater(a, b)
            case "min", [a, b]:
                return _times(self.greater(_times(a, -1.0), _times(b, -1.0)), -1.0)
            case "mod" | "floordiv", [a, b]:
                return self.divided(name, a, b)
        if name in _TESTS and len(values) == 2:
            return self.compared(name, *values)
        if name in ("and", "or", "not"):
            return self.connected(name, values)
        raise Unsupported(name)

    def product(self, a: Form, b: Form) -> Form:
        if b.spread.any():
            a, b = b, a
        if b.spread.any() or len(np.unique(b.centre)) != 1:
            raise Unsupported("a product of two variables")
        result = _times(a, float(b.centre[0]))
        if (result.magnitude > _LARGEST).any():
            raise Unsupported("a number too large to be exact")
        return result

    def greater(self, a: Form, b: Form) -> Form:
        return e.maximum(a, b)

    def doubt(self, rows: np.ndarray, form: Form) -> None:
        self.undecided |= rows
        self.blur[rows] = np.maximum(self.blur[rows], np.abs(form.generators[rows]))

    def divided(self, name: str, a: Form, b: Form) -> Form:
        if b.spread.any() or len(np.unique(b.centre)) != 1 or b.centre[0] < 1:
            raise Unsupported(f"{name} by a variable")
        modulus = float(b.centre[0])
        # Both ends of an integer's enclosure lie within rounding of integers or beyond them.
        low = np.floor(np.ceil(a.low - 1e-6) / modulus)
        self.doubt(low != np.floor(np.floor(a.high + 1e-6) / modulus), a)
        quotient = Form(low, np.zeros_like(a.generators), np.zeros_like(a.radius))
        return quotient if name == "floordiv" else _minus(a, _times(quotient, modulus))

    def compared(self, name: str, a: Form, b: Form) -> Form:
        difference = _minus(a, b)
        low, high = np.ceil(difference.low - 1e-6), np.floor(difference.high + 1e-6)
        yes, no = _TESTS[name](low, high)
        self.doubt(~(yes | no), difference)
        return Form(yes.astype(np.float64), np.zeros_like(a.generators), np.zeros(self.rows))

    def connected(self, name: str, values: list[Form]) -> Form:
        truths = [value.centre > 0.5 for value in values]
        if name == "not":
            result = ~truths[0]
        else:
            result = np.logical_and.reduce(truths) if name == "and" else np.any(truths, axis=0)
        return Form(
            result.astype(np.float64), np.zeros((self.rows, self.items)), np.zeros(self.rows)
        )

    def chosen(self, condition: Expr, a: Expr, b: Expr) -> Form:
        yes = self.value(condition).centre > 0.5
        left, right = self.value(a), self.value(b)
        return Form(
            np.where(yes, left.centre, right.centre),
            np.where(yes[:, None], left.generators, right.generators),
            np.where(yes, left.radius, right.radius),
        )


_TESTS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "lt": lambda low, high: (high < 0, low >= 0),
    "le": lambda low, high: (high <= 0, low > 0),
    "gt": lambda low, high: (low > 0, high <= 0),
    "ge": lambda low, high: (low >= 0, high < 0),
    "eq": lambda low, high: ((low == 0) & (high == 0), (low > 0) | (high < 0)),
    "ne": lambda low, high: ((low > 0) | (high < 0), (low == 0) & (high == 0)),
}
