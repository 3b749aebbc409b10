"""The batched meaning of programs: NumPy over all rows at once.

Only what Python would evaluate needs a value: the branches of a conditional, the second operand of
`and` and `or`, and the element of a comprehension are checked on the rows that reach them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, assert_never

import numpy as np

from dsl.primitives import PRIMITIVES
from dsl.primitives.base import Beyond, Undefined
from dsl.primitives.scalar import truths
from dsl.primitives.sequence import (
    SequencePrimitive,
    compacted,
    concatenated,
    equal,
    repeated,
    scalar,
    sequence,
    within,
)
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
from dsl.values import (
    Sequence,
    Tuple,
    Value,
    constant,
    extent,
    from_batch,
    lift,
    padded,
    pick,
    spread,
    stack,
    to_array,
)


def run(program: Program, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """The results of a program on a batch, (B,) or (B, L) or, where lengths differ between rows,
    (B,) tuples.  Raises Undefined, with the rows, where the program has no value."""
    rows = _rows(program, batch)
    if rows == 0:
        return np.zeros(0, np.int64)
    return to_array(value_of(program, batch), rows)


def _rows(program: Program, batch: Mapping[str, np.ndarray]) -> int:
    """The rows of a batch; 1 for a batch of no columns."""
    if missing := [name for name in program.parameters if name not in batch]:
        raise Beyond(f"there is no input {missing[0]}")
    return next((len(column) for column in batch.values()), 1)


def run_defined(program: Program, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Results and where they are defined; the others hold an arbitrary value."""
    found = run_within(program, batch)
    return found.results, found.defined


@dataclass(frozen=True, slots=True)
class Found:
    """Results of a batch, and the rows on which they are `defined`; of the others those that are
    `beyond` the language, where Python may have a value, and a reason why."""

    results: np.ndarray
    defined: np.ndarray
    beyond: np.ndarray
    reason: str = ""


def run_within(program: Program, batch: Mapping[str, np.ndarray]) -> Found:
    """The results of a program on the rows on which it has one."""
    rows = next((len(column) for column in batch.values()), 1)
    defined, beyond, reason = np.ones(rows, bool), np.zeros(rows, bool), ""
    results: np.ndarray | None = None
    while defined.any() and results is None:
        chosen = dict(batch)
        if not defined.all():
            chosen = {name: np.asarray(column)[defined] for name, column in batch.items()}
        try:
            results = run(program, chosen)
        except Undefined as undefined:
            positions = np.flatnonzero(defined)
            if undefined.rows is not None and undefined.rows.any():
                positions = positions[np.broadcast_to(undefined.rows, positions.shape)]
            defined[positions] = False
            if isinstance(undefined, Beyond):
                beyond[positions], reason = True, undefined.reason
    if results is None:
        return Found(np.zeros(rows, np.int64), defined, beyond, reason)
    if defined.all():
        return Found(results, defined, beyond, reason)
    full = np.zeros((rows, *results.shape[1:]), results.dtype)
    full[defined] = results
    return Found(full, defined, beyond, reason)


def value_of(program: Program, batch: Mapping[str, np.ndarray]) -> Value:
    """The result of a program as a value of rank 0 (see `dsl.values`)."""
    scope = Scope(dict(program.constants))
    for name in program.parameters:
        scope.bind(name, from_batch(np.asarray(batch[name])), 0)
    for statement in program.body:
        match statement:
            case Assign():
                scope.assign(statement)
            case Loop():
                scope.loop(statement)
            case _:
                assert_never(statement)
    return scope.evaluate(program.result)


@dataclass
class Scope:
    """The variables in force, each with the rank at which it was bound; `active` marks the rows
    that Python would evaluate, at `rank`."""

    constants: dict[str, Any]
    variables: dict[str, tuple[Value, int]] = field(default_factory=dict)
    rank: int = 0
    active: np.ndarray | None = None

    def bind(self, name: str, value: Value, rank: int) -> None:
        self.variables[name] = (value, rank)

    def assign(self, statement: Assign) -> None:
        values = [self.evaluate(value) for value in statement.values]
        if len(statement.names) > 1 and len(values) == 1:
            match values[0]:
                case Tuple(items) if len(items) == len(statement.names):
                    values = list(items)
                case _:
                    raise Beyond(f"cannot unpack into {', '.join(statement.names)}")
        for name, value in zip(statement.names, values, strict=True):
            self.bind(name, value, self.rank)

    def evaluate(self, expr: Expr) -> Value:
        match expr:
            case Literal(written):
                return constant(written, self.rank)
            case Constant(name):
                return constant(self.constants[name], self.rank)
            case Variable(name):
                if name not in self.variables:
                    raise Beyond(f"{name} has no value yet")
                value, rank = self.variables[name]
                return lift(value, rank, self.rank)
            case Call():
                return self.call(expr)
            case Comprehension():
                return self.comprehension(expr)
            case _:
                assert_never(expr)

    def call(self, call: Call) -> Value:
        match call.primitive:
            case "ite":
                return self.conditional(call)
            case "and" | "or":
                return self.connective(call)
            case "get":
                return self.lookup(call)
            case "any" | "all" if isinstance(call.args[0], Comprehension):
                return self.quantified(call)
        if call.primitive not in PRIMITIVES:
            raise Beyond(f"{call.primitive} is no primitive of programs")
        args = [self.evaluate(arg) for arg in call.args]
        primitive = PRIMITIVES[call.primitive]
        if isinstance(primitive, SequencePrimitive):
            failed = primitive.failed(self.rank, *args)
            if self.fails(failed):
                self.refuse(call, failed, primitive.excessive(self.rank, *args))
            return primitive.batched(self.rank, *args)
        match call.primitive, args:
            case "eq", [a, b] if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
                return equal(a, b, self.rank)
            case "ne", [a, b] if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
                return ~equal(a, b, self.rank)
            case "add", [Sequence() as a, Sequence() as b]:
                return concatenated(self.rank, a, b)
            case "mul", [Sequence() as a, np.ndarray() as b]:
                return repeated(self.rank, a, b)
        arrays = [scalar(arg, primitive.name) for arg in args]
        if primitive.undefined is not None:
            failed = primitive.fails(*arrays)
            if self.fails(failed):
                self.refuse(call, failed, primitive.beyond(*arrays))
        return np.asarray(primitive.numpy(*arrays))

    def reached(self, rows: np.ndarray) -> np.ndarray:
        """Those of the rows that are evaluated."""
        return rows if self.active is None else rows & self.active

    def fails(self, failed: np.ndarray | None) -> bool:
        return failed is not None and bool(failed.any()) and bool(self.reached(failed).any())

    def refuse(self, call: Call, failed: np.ndarray | None, beyond: np.ndarray | None) -> NoReturn:
        """Raises Undefined for the rows on which Python would raise; Beyond where there are none,
        and the language alone has no value."""
        assert failed is not None
        reason = f"{call.primitive}: {PRIMITIVES[call.primitive].undefined or 'no value'}"
        raises = failed if beyond is None else failed & ~beyond
        kind = Undefined if self.reached(raises).any() else Beyond
        rows = self.reached(raises if kind is Undefined else failed)
        raise kind(reason, np.asarray(rows.reshape(rows.shape[0], -1).any(axis=1)))

    def restricted(self, condition: np.ndarray) -> Scope:
        active = condition if self.active is None else self.active & condition
        return Scope(self.constants, self.variables, self.rank, active)

    def conditional(self, call: Call) -> Value:
        """A chain of decisions without recursion: decision lists are long."""
        branches: list[tuple[np.ndarray, Value]] = []
        scope, rest = self, call.args[2]
        while True:
            condition = truths(scalar(scope.evaluate(call.args[0]), "if"))[0]
            branches.append((condition, scope.restricted(condition).evaluate(call.args[1])))
            scope, rest = scope.restricted(~condition), call.args[2]
            if not (isinstance(rest, Call) and rest.primitive == "ite"):
                break
            call = rest
        result = scope.evaluate(rest)
        for condition, value in reversed(branches):
            result = chosen(condition, value, result, self.rank)
        return result

    def lookup(self, call: Call) -> Value:
        """`T.get(k, d)`, which is also how `if k in T: return T[k]` is read: whether Python
        evaluates the default where the key is there depends on how it is written."""
        primitive, contains = PRIMITIVES["get"], PRIMITIVES["contains"]
        assert isinstance(primitive, SequencePrimitive) and isinstance(contains, SequencePrimitive)
        table, key = (self.evaluate(arg) for arg in call.args[:2])
        try:
            default = self.evaluate(call.args[2])
        except Undefined as undefined:
            raises = undefined.rows if not isinstance(undefined, Beyond) else None
            if raises is not None and self.rank == 0:
                raises = raises & ~scalar(contains.batched(0, key, table), "in")
                if raises.any():
                    raise Undefined(undefined.reason, raises) from None
            raise Beyond(undefined.reason, undefined.rows) from None
        return primitive.batched(self.rank, table, key, default)

    def quantified(self, call: Call) -> Value:
        """`any` and `all` of a generator, which Python does not go through to the end."""
        primitive = PRIMITIVES[call.primitive]
        assert isinstance(primitive, SequencePrimitive)
        try:
            truth = self.evaluate(call.args[0])
        except Undefined as undefined:
            raise Beyond(undefined.reason, undefined.rows) from None
        return primitive.batched(self.rank, truth)

    def connective(self, call: Call) -> Value:
        primitive = PRIMITIVES[call.primitive]
        result = scalar(self.evaluate(call.args[0]), call.primitive)
        for arg in call.args[1:]:
            holds = truths(result)[0]
            reached = holds if call.primitive == "and" else ~holds
            other = self.restricted(reached).evaluate(arg)
            result = np.asarray(primitive.numpy(result, scalar(other, call.primitive)))
        return result

    def comprehension(self, expr: Comprehension) -> Value:
        source = sequence(self.evaluate(expr.source), "for")
        inside = within(source, self.rank)
        inner = self.entered(expr.targets, source.items, inside)
        count = extent(source.items, self.rank + 1)
        if expr.condition is None:
            element = inner.evaluate(expr.element)
            return Sequence(spread(element, self.rank + 1, count), source.length)
        keep = truths(scalar(inner.evaluate(expr.condition), "if"))[0] & inside
        element = inner.restricted(keep).evaluate(expr.element)
        length = np.broadcast_to(source.length, keep.shape[:-1])
        return compacted(Sequence(spread(element, self.rank + 1, count), length), keep, self.rank)

    def entered(self, targets: tuple[str, ...], items: Value, inside: np.ndarray) -> Scope:
        """The scope inside one more loop, over `items`."""
        active = inside
        if self.active is not None:
            active = inside & self.active[..., None]
        inner = Scope(self.constants, dict(self.variables), self.rank + 1, active)
        for name, value in zip(targets, unpacked(items, len(targets)), strict=True):
            inner.bind(name, value, self.rank + 1)
        return inner

    def loop(self, loop: Loop) -> None:
        """Carries out a loop step by step; rows whose sequence has ended keep their state."""
        source = sequence(self.evaluate(loop.source), "for")
        for name, first in loop.state:
            self.bind(name, self.evaluate(first), self.rank)
        appended: dict[str, list[Value]] = {name: [] for name in loop.outputs}
        shortest = int(source.length.min(initial=0)) if source.length.size else 0
        longest = int(source.length.max(initial=0)) if source.length.size else 0
        for step in range(longest):
            position = np.full((1,) * (self.rank + 1), step)
            live = None if step < shortest else source.length > step
            inner = self if live is None else self.restricted(live)
            item = pick(source.items, self.rank, position)
            before = {name: self.variables[name] for name, _ in loop.state}
            for name, value in zip(loop.targets, unpacked(item, len(loop.targets)), strict=True):
                self.bind(name, value, self.rank)
            for statement in loop.body:
                match statement:
                    case Assign():
                        values = [inner.evaluate(value) for value in statement.values]
                        for name, value in zip(statement.names, values, strict=True):
                            self.bind(name, value, self.rank)
                    case Append(name, item_expr):
                        appended[name].append(inner.evaluate(item_expr))
            if live is not None:
                for name, (old, _) in before.items():
                    new = self.variables[name][0]
                    self.bind(name, chosen(live, new, old, self.rank), self.rank)
        for name, values in appended.items():
            self.bind(name, self.collected(values, source.length, longest), self.rank)

    def collected(self, values: list[Value], length: np.ndarray, steps: int) -> Value:
        if not values:
            return constant((), self.rank)
        each = len(values) // steps
        return Sequence(stack(tuple(values), self.rank), length * each)


def unpacked(value: Value, count: int) -> tuple[Value, ...]:
    """A value for `count` targets: itself for one, the items of a record for several."""
    if count == 1:
        return (value,)
    match value:
        case Tuple(items) if len(items) == count:
            return items
    raise Beyond(f"cannot unpack an item into {count} names")


def chosen(condition: np.ndarray, a: Value, b: Value, rank: int) -> Value:
    """`a` where the condition holds, else `b`; the condition has rank `rank`, the values may be
    items of it."""
    match a, b:
        case (np.ndarray(), np.ndarray()):
            test = condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim))
            return np.asarray(PRIMITIVES["ite"].numpy(test, a, b))
        case (Sequence(), Sequence()):
            axis = rank + 1
            count = max(extent(a.items, axis), extent(b.items, axis))
            items = chosen(
                condition[..., None],
                padded(a.items, axis, count),
                padded(b.items, axis, count),
                rank + 1,
            )
            return Sequence(items, np.where(condition, a.length, b.length))
        case (Tuple(left), Tuple(right)) if len(left) == len(right):
            return Tuple(
                tuple(chosen(condition, x, y, rank) for x, y in zip(left, right, strict=True))
            )
    raise Beyond("the branches of a conditional have different kinds of values")


def call(program: Program, *args: Any) -> Any:
    """The result for one input, as a plain Python value: numbers, text, lists of them."""
    batch = {
        name: np.asarray([arg if not isinstance(arg, (list, tuple, str)) else list(arg)])
        for name, arg in zip(program.parameters, args, strict=True)
    }
    result = run(program, batch)
    return result[0].tolist() if hasattr(result[0], "tolist") else result[0]
