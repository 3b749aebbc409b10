"""Domains: the inputs for which a claim is made.

Text: `x: int[0..112], y: int[0..112] where x < y`, `s: seq(tokens("abc"), 1..12)`,
`bits: seq(int[0..1], 1..)`, `img: array(real[0,1], 1x28x28)`, `rho: real[0.6, 0.68]`.
"""

from __future__ import annotations

import ast
import functools
import itertools
import keyword
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl import types as t
from dsl.errors import DistillError, Place
from dsl.program import Call, Expr, Literal, Program, Variable, walk

BLOCK = 1 << 15
_ATTEMPTS = 200
_SPAN_OF_UNBOUNDED = 12


@dataclass(frozen=True, slots=True)
class Shape:
    """One length for each sequence of a domain."""

    lengths: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Domain:
    """Named inputs with their types and a condition; made from its text."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _spaced(self.text))
        _ = self.fields, self.where
        from dsl.parser import RESERVED

        for name in self.names:
            if name in RESERVED or keyword.iskeyword(name) or name.startswith("__"):
                raise _error(self.text, 0, f"an input cannot be called {name}")
            if unicodedata.normalize("NFKC", name) != name:
                raise _error(self.text, 0, f"Python would read {name} in another spelling")
        unknown = {
            node.name
            for node in (walk(self.where) if self.where is not None else ())
            if isinstance(node, Variable)
        } - set(self.names)
        bound = _comprehension_names(self.where)
        if unknown - bound:
            raise _error(self.text, 0, f"{sorted(unknown - bound)[0]} in `where` is no input")

    @functools.cached_property
    def fields(self) -> tuple[tuple[str, t.Type], ...]:
        return _Reader(self.text).fields()

    @functools.cached_property
    def where(self) -> Expr | None:
        condition = _Reader(self.text).condition()
        if condition is None:
            return None
        from dsl.parser import parse_expression

        return parse_expression(condition, "where")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.fields)

    @property
    def types(self) -> dict[str, t.Type]:
        return dict(self.fields)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        from html import escape

        count = "without end" if self.raw_size is None else f"{self.raw_size:,}".replace(",", " ")
        cells = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(str(kind))}</td></tr>"
            for name, kind in self.fields
        )
        before = "" if self.where is None else ", before <code>where</code>"
        return (
            f"<table><caption><code>{escape(self.text)}</code>: {count} inputs{before}</caption>"
            f"<thead><tr><th>input</th><th>values</th></tr></thead><tbody>{cells}</tbody></table>"
        )

    def __getstate__(self) -> dict[str, str]:
        return {"text": self.text}

    def __setstate__(self, state: dict[str, str]) -> None:
        object.__setattr__(self, "text", state["text"])

    @property
    def is_finite(self) -> bool:
        """Can the inputs be counted (before `where`)?"""
        return all(_count(kind, None) is not None for _, kind in self.fields)

    def shapes(self) -> Iterator[Shape]:
        """All combinations of lengths, the shortest first; endless for an unbounded sequence."""
        sequences = [(name, kind) for name, kind in self.fields if isinstance(kind, t.Seq)]
        if any(kind.high is None for _, kind in sequences):
            # By the sum of what each has beyond its least length.
            for total in itertools.count(0):
                for extra in itertools.product(range(total + 1), repeat=len(sequences)):
                    lengths = [(n, k.low + e) for (n, k), e in zip(sequences, extra, strict=True)]
                    fits = all(
                        k.high is None or k.low + e <= k.high
                        for (_, k), e in zip(sequences, extra, strict=True)
                    )
                    if sum(extra) == total and fits:
                        yield Shape(tuple(lengths))
        ranges = [
            [(name, length) for length in range(kind.low, (kind.high or 0) + 1)]
            for name, kind in sequences
        ]
        for combination in itertools.product(*ranges):
            yield Shape(tuple(combination))

    def shape_size(self, shape: Shape) -> int | None:
        """How many inputs have these lengths, `where` left aside; None if they are not finite."""
        lengths = dict(shape.lengths)
        total = 1
        for name, kind in self.fields:
            count = _count(kind, lengths.get(name))
            if count is None:
                return None
            total *= count
        return total

    @functools.cached_property
    def raw_size(self) -> int | None:
        """The number of inputs, `where` left aside; None if there is no end to them."""
        total = 1
        for _, kind in self.fields:
            count = _count(kind, None)
            if count is None:
                return None
            total *= count
        return total

    def size(self, limit: int = 20_000_000) -> int | None:
        """The exact number of inputs; None if they are not finite, or more than `limit` would
        have to be looked at to see which satisfy `where`."""
        if self.raw_size is None or self.where is None:
            return self.raw_size
        if self.raw_size > limit:
            return None
        return sum(len(next(iter(batch.values()))) for batch in self.batches())

    def batches(
        self, block: int = BLOCK, shapes: tuple[Shape, ...] | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """All inputs in order, in blocks of one shape each; the last name varies fastest."""
        for shape in self.shapes() if shapes is None else shapes:
            size = self.shape_size(shape)
            if size is None:
                raise DistillError(
                    "D110", f"the domain `{self.text}` is not finite", remedy="give int ranges"
                )
            for start in range(0, size, block):
                batch = self.block(shape, start, min(start + block, size))
                if self.where is not None:
                    batch = self.kept(batch)
                if len(next(iter(batch.values()))):
                    yield batch

    def block(self, shape: Shape, start: int, stop: int) -> dict[str, np.ndarray]:
        """The inputs of one shape with numbers `start` to `stop`, `where` left aside."""
        lengths = dict(shape.lengths)
        slots = [
            (name, kind, _slots(kind, lengths.get(name)), _base(kind)) for name, kind in self.fields
        ]
        stride = 1
        columns: dict[str, np.ndarray] = {}
        for name, kind, count, base in reversed(slots):
            found: list[np.ndarray] = []
            for _ in range(count):
                found.append(_digit(start, stop, stride, base))
                stride *= base
            digits = np.empty((stop - start, 0), np.int64)
            if found:
                digits = found[0][:, None] if count == 1 else np.stack(found[::-1], 1)
            columns[name] = _decoded(kind, digits, lengths.get(name))
        return {name: columns[name] for name in self.names}

    def sample(self, count: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
        """About `count` random inputs, one batch for each shape met: lengths are uniform, then
        items are uniform.  Inputs that violate `where` are drawn again."""
        shapes = self.sampled_shapes(count, rng)
        batches = []
        for shape, share in shapes:
            batch = self.sample_shape(shape, share, rng)
            if batch is not None:
                batches.append(batch)
        return batches

    def sampled_shapes(self, count: int, rng: np.random.Generator) -> list[tuple[Shape, int]]:
        """Shapes and how many inputs to draw of each; each shape of few gets its share."""
        ranges = []
        for name, kind in self.fields:
            if isinstance(kind, t.Seq):
                high = kind.low + _SPAN_OF_UNBOUNDED if kind.high is None else kind.high
                ranges.append((name, np.arange(kind.low, high + 1)))
        number = math.prod(len(span) for _, span in ranges)
        if number == 1:
            return [(Shape(tuple((name, int(span[0])) for name, span in ranges)), count)]
        drawn: dict[Shape, int] = {}
        columns = [rng.choice(span, size=count) for _, span in ranges]
        for row in zip(*columns, strict=True):
            shape = Shape(tuple((name, int(n)) for (name, _), n in zip(ranges, row, strict=True)))
            drawn[shape] = drawn.get(shape, 0) + 1
        return sorted(drawn.items(), key=lambda item: item[0].lengths)

    def sample_shape(
        self, shape: Shape, count: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray] | None:
        """`count` random inputs of one shape; fewer, or None, where `where` leaves hardly any."""
        parts: list[dict[str, np.ndarray]] = []
        have = 0
        draw = count
        for attempt in range(_ATTEMPTS):
            part = self._drawn(shape, draw, rng)
            if self.where is not None:
                part = self.kept(part)
            found = len(next(iter(part.values()))) if part else 0
            if found:
                parts.append(part)
                have += found
            if have >= count or (attempt > 20 and have == 0):
                break
            draw = min(max(count, 256), BLOCK)
        if not parts:
            return None
        return {name: np.concatenate([p[name] for p in parts])[:count] for name in self.names}

    def _drawn(self, shape: Shape, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        lengths = dict(shape.lengths)
        distinct = _distinct_names(self.where)
        return {
            name: _random(kind, lengths.get(name), count, rng, name in distinct)
            for name, kind in self.fields
        }

    def kept(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows of a batch that satisfy `where`."""
        keep = self.satisfied(batch)
        return {name: column[keep] for name, column in batch.items()}

    def satisfied(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Which rows satisfy `where`; where it has no value, it is not satisfied."""
        rows = len(next(iter(batch.values())))
        if self.where is None or rows == 0:
            return np.ones(rows, bool)
        from dsl.evaluate import run_within

        inputs = tuple((name, None) for name in self.names)
        where = Program("where", inputs, (), self.where)
        found = run_within(where, batch)
        if found.reason:
            raise DistillError(
                "D111",
                f"the condition of `{self.text}` has no value on some inputs: {found.reason}",
                remedy="Python may have a value there, the language has none: write it otherwise",
            )
        return np.asarray(found.results.astype(bool) & found.defined)

    def contains(self, **values: Any) -> bool:
        """Is this one input in the domain?"""
        if set(values) != set(self.names):
            return False
        for name, kind in self.fields:
            if not _member(kind, values[name]):
                return False
        batch = {name: _column(kind, values[name]) for name, kind in self.fields}
        return bool(self.satisfied(batch)[0])

    def row(self, batch: dict[str, np.ndarray], index: int) -> dict[str, Any]:
        """One row of a batch as plain Python values."""
        return {name: batch[name][index].tolist() for name in self.names}

    def restricted(self, condition: str) -> Domain:
        """The domain with a further condition."""
        head, where = _Reader(self.text).parts()
        return Domain(f"{head} where {f'({where}) and ({condition})' if where else condition}")


def single(domain: Domain, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """A batch of one row."""
    return {name: _column(kind, inputs[name]) for name, kind in domain.fields}


def _column(kind: t.Type, value: Any) -> np.ndarray:
    match kind:
        case t.Seq(item, _, _):
            return np.array([list(value)], _dtype(item)).reshape(1, len(value))
        case t.Tensor(item, shape):
            return np.asarray(value, _dtype(item)).reshape((1, *shape))
        case _:
            return np.array([value], _dtype(kind))


def _dtype(kind: t.Type) -> Any:
    match kind:
        case t.Bool():
            return bool
        case t.Int():
            return np.int64
        case t.Real():
            return np.float64
        case t.Token(alphabet):
            return np.array(alphabet).dtype
    return object


def _member(kind: t.Type, value: Any) -> bool:
    match kind:
        case t.Bool():
            return isinstance(value, bool)
        case t.Int(low, high):
            whole = isinstance(value, int) and not isinstance(value, bool)
            return whole and (low is None or low <= value) and (high is None or value <= high)
        case t.Real(low, high):
            real = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not real or not math.isfinite(value):
                return False
            return (low is None or low <= value) and (high is None or value <= high)
        case t.Token(alphabet):
            return not isinstance(value, bool) and value in alphabet
        case t.Seq(item, low, high):
            if not isinstance(value, (list, tuple, str)):
                return False
            enough = low <= len(value) and (high is None or len(value) <= high)
            return enough and all(_member(item, entry) for entry in value)
        case t.Tensor(item, shape):
            array = np.asarray(value)
            return array.shape == shape and all(_member(item, x) for x in array.ravel().tolist())
    return False


def _base(kind: t.Type) -> int:
    match kind:
        case t.Bool():
            return 2
        case t.Int(low, high) if low is not None and high is not None:
            return high - low + 1
        case t.Token(alphabet):
            return len(alphabet)
        case t.Real(low, high) if low is not None and low == high:
            return 1
        case t.Seq(item, _, _) | t.Tensor(item, _):
            return _base(item)
    raise DistillError("D110", f"{kind} is not finite")


def _slots(kind: t.Type, length: int | None) -> int:
    match kind:
        case t.Seq():
            return length or 0
        case t.Tensor(_, shape):
            return math.prod(shape)
    return 1


def _count(kind: t.Type, length: int | None) -> int | None:
    match kind:
        case t.Bool():
            return 2
        case t.Int(low, high):
            return None if low is None or high is None else high - low + 1
        case t.Token(alphabet):
            return len(alphabet)
        case t.Real(low, high):
            return 1 if low is not None and low == high else None
        case t.Seq(item, low, high):
            base = _count(item, None)
            if base is None:
                return None
            if length is not None:
                return int(base**length)
            return None if high is None else sum(base**n for n in range(low, high + 1))
        case t.Tensor(item, shape):
            base = _count(item, None)
            return None if base is None else int(base ** math.prod(shape))
    return None


def _digit(start: int, stop: int, stride: int, base: int) -> np.ndarray:
    """One digit of the numbers from `start` to `stop`: `n // stride % base`.  It is constant on
    runs of `stride` numbers, and repeats itself after `stride * base` of them."""
    first, last = start // stride, (stop - 1) // stride
    if stride == 1:
        offset, count = start % base, stop - start
        return np.tile(np.arange(base), (offset + count) // base + 1)[offset : offset + count]
    digits = (np.arange(last - first + 1) + first % base) % base
    runs = np.full(len(digits), min(stride, stop - start))
    runs[0] = min(stop, (first + 1) * stride) - start
    runs[-1] = stop - max(start, last * stride)
    return np.repeat(digits, runs)


def _decoded(kind: t.Type, digits: np.ndarray, length: int | None) -> np.ndarray:
    match kind:
        case t.Seq(item, _, _):
            return _decoded_items(item, digits)
        case t.Tensor(item, shape):
            return _decoded_items(item, digits).reshape(len(digits), *shape)
        case _:
            return _decoded_items(kind, digits)[:, 0]


def _decoded_items(kind: t.Type, digits: np.ndarray) -> np.ndarray:
    match kind:
        case t.Bool():
            return digits.astype(bool)
        case t.Int(low, _):
            return digits + low if low else digits
        case t.Real(low, _):
            return np.full(digits.shape, low, np.float64)
        case t.Token(alphabet):
            return np.asarray(np.array(alphabet)[digits])
    raise DistillError("D110", f"items of type {kind} cannot be enumerated")


def _random(
    kind: t.Type, length: int | None, count: int, rng: np.random.Generator, distinct: bool
) -> np.ndarray:
    match kind:
        case t.Seq(item, _, _):
            if distinct and (base := _count(item, None)) is not None and base >= (length or 0):
                order = rng.permuted(np.tile(np.arange(base), (count, 1)), axis=1)
                return _decoded_items(item, order[:, : length or 0])
            return _random_items(item, (count, length or 0), rng)
        case t.Tensor(item, shape):
            return _random_items(item, (count, *shape), rng)
    return _random_items(kind, (count,), rng)


def _random_items(kind: t.Type, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    match kind:
        case t.Bool():
            return rng.integers(0, 2, shape).astype(bool)
        case t.Int(low, high):
            low = -(2**31) if low is None else low
            high = 2**31 if high is None else high
            return rng.integers(low, high + 1, shape)
        case t.Real(low, high):
            low = -1e3 if low is None else low
            high = 1e3 if high is None else high
            return low + (high - low) * rng.random(shape)
        case t.Token(alphabet):
            return np.array(alphabet)[rng.integers(0, len(alphabet), shape)]
    raise DistillError("D110", f"items of type {kind} cannot be drawn")


def _comprehension_names(expr: Expr | None) -> set[str]:
    from dsl.program import Comprehension

    return {
        name
        for node in (walk(expr) if expr is not None else ())
        if isinstance(node, Comprehension)
        for name in node.targets
    }


def _distinct_names(where: Expr | None) -> set[str]:
    """The sequences s for which `where` demands `len(set(s)) == len(s)`."""
    names: set[str] = set()
    stack = [where] if where is not None else []
    while stack:
        match stack.pop():
            case Call("and", args):
                stack.extend(args)
            case Call("eq", (a, b)):
                for one, other in ((a, b), (b, a)):
                    match one, other:
                        case (
                            Call("len", (Call("set", (Variable(s),)),)),
                            Call("len", (Variable(r),)) | Literal(r),
                        ) if s == r or isinstance(r, int):
                            names.add(s)
    return names


def _error(text: str, position: int, finding: str) -> DistillError:
    return DistillError(
        "D111",
        finding,
        place=Place("domain", 1, position + 1),
        notes=(text, " " * position + "^") if position else (text,),
        remedy='write, for example, `a: int[0..9], s: seq(tokens("ab"), 1..8) where a < 5`',
    )


_TEXT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\s+", re.DOTALL)


def _spaced(text: str) -> str:
    """The text with single blanks between its words; texts in quotes stay as they are."""
    return _TEXT.sub(lambda match: " " if match[0].isspace() else match[0], text).strip()


_TOKEN = re.compile(
    r"\s*(?:(?P<name>[^\W\d]\w*)|(?P<number>-?[0-9]+(?:\.(?!\.)[0-9]*)?(?:[eE][+-]?[0-9]+)?"
    r"|-?\.[0-9]+)"
    r"|(?P<dots>\.\.)|(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<sign>[:,\[\]()]))"
)


class _Reader:
    """Reads the text of a domain, one token at a time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def fields(self) -> tuple[tuple[str, t.Type], ...]:
        fields: list[tuple[str, t.Type]] = []
        while True:
            name = self.take("name", "a name")
            if name in (known for known, _ in fields):
                raise _error(self.text, self.position, f"two inputs are called {name}")
            self.expect(":")
            fields.append((name, self.kind()))
            if not self.accept(","):
                break
        if self.peek()[1] not in ("", "where"):
            raise _error(self.text, self.position, f"unexpected `{self.peek()[1]}`")
        return tuple(fields)

    def condition(self) -> str | None:
        return self.parts()[1] or None

    def parts(self) -> tuple[str, str]:
        """The text before `where` and after it; the latter is empty where there is none."""
        self.position = 0
        self.fields()
        head = self.text[: self.position].strip()
        if self.peek()[1] != "where":
            return head, ""
        self.next()
        return head, self.text[self.position :].strip()

    def kind(self) -> t.Type:
        start = self.position
        name = self.take("name", "a type")
        try:
            return self._kind(name, start)
        except ValueError as error:
            raise _error(self.text, start, str(error)) from None

    def _kind(self, name: str, start: int) -> t.Type:
        match name:
            case "bool":
                return t.Bool()
            case "int":
                self.expect("[")
                low, high = self.limits()
                self.expect("]")
                if any(end is not None and not -(2**63) <= end < 2**63 for end in (low, high)):
                    raise ValueError("an integer input has at most 64 bits")
                return t.Int(low, high)
            case "real":
                self.expect("[")
                first = self.real()
                self.expect(",")
                second = self.real()
                self.expect("]")
                return t.Real(first, second)
            case "tokens" | "enum":
                self.expect("(")
                items = self.items()
                self.expect(")")
                if not items:
                    raise ValueError("no tokens are given")
                if len(set(items)) < len(items):
                    raise ValueError("a token is given twice")
                return t.Token(tuple(items))  # type: ignore[arg-type]
            case "seq":
                self.expect("(")
                item = self.kind()
                self.expect(",")
                low, high = self.limits()
                self.expect(")")
                return t.Seq(item, low or 0, high)
            case "array":
                self.expect("(")
                item = self.kind()
                self.expect(",")
                shape = self.shape()
                self.expect(")")
                return t.Tensor(item, shape)
        raise _error(self.text, start, f"no type `{name}`: bool, int, real, tokens, seq or array")

    def limits(self) -> tuple[int | None, int | None]:
        """`3`, `0..9` or `1..`."""
        low = self.whole()
        if not self.accept(".."):
            return low, low
        if self.peek()[0] != "number":
            return low, None
        return low, self.whole()

    def shape(self) -> tuple[int, ...]:
        match = re.compile(r"\s*(\d+(?:\s*x\s*\d+)*)").match(self.text, self.position)
        if match is None:
            raise _error(self.text, self.position, "a shape such as 1x28x28 is missing")
        self.position = match.end()
        shape = tuple(int(axis) for axis in match[1].split("x"))
        if 0 in shape:
            raise ValueError("an axis of the array is empty")
        return shape

    def items(self) -> list[str] | list[int | float]:
        if not self.accept("["):
            return list(self.string())
        read = self.string if self.peek()[0] == "string" else self.numeral
        items: list[Any] = [read()]
        while self.accept(","):
            items.append(read())
        self.expect("]")
        return items

    def numeral(self) -> int | float:
        text = self.take("number", "a number")
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)

    def string(self) -> str:
        text = self.take("string", "a text in quotes")
        try:
            read = str(ast.literal_eval(text))
        except (SyntaxError, ValueError):
            raise _error(self.text, self.position, f"{text} is not a text") from None
        if "\0" in read:
            raise _error(self.text, self.position, "a token with a NUL character")
        return read

    def whole(self) -> int:
        text = self.take("number", "a whole number")
        if not re.fullmatch(r"-?\d+", text):
            raise _error(self.text, self.position, f"{text} is not a whole number")
        return int(text)

    def real(self) -> float:
        return float(self.take("number", "a number"))

    def peek(self) -> tuple[str, str]:
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            rest = self.text[self.position :].strip()
            return "", rest[:1]
        return str(match.lastgroup), match[str(match.lastgroup)]

    def next(self) -> None:
        match = _TOKEN.match(self.text, self.position)
        if match is not None:
            self.position = match.end()

    def take(self, group: str, what: str) -> str:
        kind, text = self.peek()
        if kind != group:
            found = f"found `{text}`" if text else "found the end"
            raise _error(self.text, self.position, f"{what} is missing, {found}")
        self.next()
        return text

    def accept(self, sign: str) -> bool:
        if self.peek()[1] == sign:
            self.next()
            return True
        return False

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            found = self.peek()[1]
            raise _error(
                self.text,
                self.position,
                f"`{sign}` is missing, found " + (f"`{found}`" if found else "the end"),
            )
