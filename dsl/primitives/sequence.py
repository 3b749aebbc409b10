"""Primitives on sequences.

Their batched meanings take values (see `dsl.values`) and the rank at which they stand; rows on
which they are undefined are reported by `failed`, the others compute something there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from dsl import types as t
from dsl.primitives.base import (
    Beyond,
    Interval,
    Primitive,
    TypeMismatch,
    Undefined,
    as_number,
    is_integral,
    joined,
    magnitude,
    numeric,
    registered,
)
from dsl.primitives.scalar import Eq, truths
from dsl.values import (
    Sequence,
    Table,
    Tuple,
    Value,
    extent,
    lift,
    padded,
    pick,
    spread,
    stack,
    trim,
)
from dsl.values import constant as written
from dsl.values import joined as appended

_LONGEST = 10**6


class SequencePrimitive(Primitive):
    """A primitive whose arguments or result are sequences, records or maps."""

    no_smt = "sequences are unrolled by dsl.smt"
    no_bounds = "sequences are unrolled before bounds are taken"
    method: ClassVar[str] = ""

    def batched(self, rank: int, *args: Value) -> Value:
        raise Beyond(f"{self.name} has no batched meaning")

    def failed(self, rank: int, *args: Value) -> np.ndarray | None:
        """The rows, at `rank`, on which there is no value; None when there are none."""
        return None

    def excessive(self, rank: int, *args: Value) -> np.ndarray | None:
        """Those of the rows that fail on which Python has a value; None when there are none."""
        return None


def sequence(value: Value, name: str) -> Sequence:
    if not isinstance(value, Sequence):
        raise Beyond(f"{name} takes a sequence")
    return value


def scalar(value: Value, name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise Beyond(f"{name} takes a scalar")
    return value


def within(value: Sequence, rank: int) -> np.ndarray:
    """Which entries of the items lie inside the sequence, at rank + 1."""
    count = extent(value.items, rank + 1)
    return np.asarray(np.arange(count) < value.length[..., None])


def compacted(value: Sequence, keep: np.ndarray, rank: int) -> Sequence:
    """The entries that are kept, in order."""
    count = extent(value.items, rank + 1)
    keep = np.broadcast_to(keep, (*keep.shape[:-1], count))
    order = np.argsort(~keep, axis=-1, kind="stable")
    length = keep.sum(-1)
    order = order[..., : int(length.max(initial=0))]
    return Sequence(pick(value.items, rank, order), length)


def equal(a: Value, b: Value, rank: int) -> np.ndarray:
    """Where two values are the same; sequences and records item by item."""
    match a, b:
        case (np.ndarray(), np.ndarray()):
            return np.asarray(Eq().numpy(a, b))
        case (Tuple(left), Tuple(right)) if len(left) == len(right):
            result: np.ndarray = np.ones((1,) * (rank + 1), bool)
            for x, y in zip(left, right, strict=True):
                result = result & equal(x, y, rank)
            return result
        case (Sequence(), Sequence()):
            count = max(extent(a.items, rank + 1), extent(b.items, rank + 1))
            if count == 0:
                return np.asarray(a.length == b.length)
            same = equal(
                padded(a.items, rank + 1, count), padded(b.items, rank + 1, count), rank + 1
            )
            inside = np.arange(count) < np.minimum(a.length, b.length)[..., None]
            return np.asarray((a.length == b.length) & (same | ~inside).all(-1))
        case (Tuple(left), Sequence()):
            return equal(
                Sequence(stack(left, rank), np.full((1,) * (rank + 1), len(left))), b, rank
            )
        case (Sequence(), Tuple()):
            return equal(b, a, rank)
    return np.zeros((1,) * (rank + 1), bool)


def _item(kind: t.Type, name: str) -> t.Type:
    match kind:
        case t.Seq(item, _, _):
            return item
        case t.Tensor(item, shape):
            return item if len(shape) == 1 else t.Tensor(item, shape[1:])
        case t.Token():
            return t.Token()
    raise TypeMismatch(f"{name} takes a sequence, not {kind}")


class Length(SequencePrimitive):
    """The number of items."""

    name, python = "len", "len"
    examples = {"len([1, 2, 3])": 3}

    def type(self, *args: t.Type) -> t.Type:
        _item(args[0], "len")
        return t.Int(0)

    def value(self, *args: Any) -> Any:
        return len(args[0])

    def batched(self, rank: int, *args: Value) -> Value:
        return sequence(args[0], "len").length


class Sum(SequencePrimitive):
    """The sum of the items, 0 when there are none."""

    name, python = "sum", "sum"
    examples = {"sum([1, 2, 3])": 6}

    def type(self, *args: t.Type) -> t.Type:
        return numeric("sum", _item(args[0], "sum"))

    def value(self, *args: Any) -> Any:
        return sum(args[0])

    def batched(self, rank: int, *args: Value) -> Value:
        value = sequence(args[0], "sum")
        items = as_number(scalar(value.items, "sum"))
        items = np.where(within(value, rank), items, np.zeros((), np.int64))
        if not is_integral(items):
            return _added(items)
        if magnitude(items) * max(items.shape[-1], 1) >= 2**62:
            items = items.astype(object)
        return np.asarray(items.sum(-1))


def _added(items: np.ndarray) -> np.ndarray:
    """The sums of real items along the last axis, as Python adds them: from the left to right,
    since 3.12 with what rounding loses added at the end.  NumPy's own sum adds in pairs, and one
    bit decides a comparison."""
    if items.shape[-1] == 0:
        return np.zeros(items.shape[:-1])
    if sys.version_info < (3, 12):
        return np.asarray(np.add.accumulate(items, axis=-1)[..., -1])
    rows = items.reshape(-1, items.shape[-1]).tolist()
    return np.array([sum(row) for row in rows], np.float64).reshape(items.shape[:-1])


class _Extreme(SequencePrimitive):
    """Of one sequence its extreme item; of several arguments the extreme one."""

    undefined = "the sequence is empty"
    prefer: ClassVar[Callable[..., Any]]

    def type(self, *args: t.Type) -> t.Type:
        if len(args) == 1:
            return _item(args[0], self.name)
        result = args[0]
        for kind in args[1:]:
            result = joined(result, kind)
        return result

    def value(self, *args: Any) -> Any:
        if len(args) == 1 and len(args[0]) == 0:
            raise Undefined(f"{self.name} of an empty sequence")
        return (max if self.name == "max" else min)(*args)

    def failed(self, rank: int, *args: Value) -> np.ndarray | None:
        return np.asarray(sequence(args[0], self.name).length == 0) if len(args) == 1 else None

    def batched(self, rank: int, *args: Value) -> Value:
        if len(args) > 1:
            result = as_number(scalar(args[0], self.name))
            for other in args[1:]:
                result = type(self).prefer(result, as_number(scalar(other, self.name)))
            return result
        value = sequence(args[0], self.name)
        if extent(value.items, rank + 1) == 0:
            shape = np.broadcast_shapes(value.length.shape)
            return np.zeros(shape, np.int64)
        items = scalar(value.items, self.name)
        # Entries outside repeat the first one, which changes no extreme.
        items = np.where(within(value, rank), items, items[..., :1])
        if items.dtype.kind in "US":
            items = np.sort(items, axis=-1)
            return items[..., -1] if self.name == "max" else items[..., 0]
        try:
            return np.asarray(items.max(-1) if self.name == "max" else items.min(-1))
        except TypeError:
            raise Beyond("numbers and texts have no order") from None

    def smt(self, *args: Any) -> Any:
        import z3

        numbers = [z3.If(x, z3.IntVal(1), z3.IntVal(0)) if z3.is_bool(x) else x for x in args]
        result = numbers[0]
        for other in numbers[1:]:
            better = other > result if self.name == "max" else other < result
            result = z3.If(better, other, result)
        return result

    def bounds(self, *args: Interval) -> Interval:
        choose = max if self.name == "max" else min
        return Interval(choose(a.low for a in args), choose(a.high for a in args))


class Max(_Extreme):
    """The greatest item of a sequence, or the greatest of several arguments."""

    name, python = "max", "max"
    prefer: ClassVar[Callable[..., Any]] = staticmethod(lambda a, b: np.where(b > a, b, a))
    examples = {"max([1, 3, 2])": 3, "max(1, 2)": 2}


class Min(_Extreme):
    """The least item of a sequence, or the least of several arguments."""

    name, python = "min", "min"
    prefer: ClassVar[Callable[..., Any]] = staticmethod(lambda a, b: np.where(b < a, b, a))
    examples = {"min([1, 3, 2])": 1, "min(1, 2)": 1}


class _Quantifier(SequencePrimitive):
    def type(self, *args: t.Type) -> t.Type:
        _item(args[0], self.name)
        return t.Bool()


class Any_(_Quantifier):
    """Is one of the items true?"""

    name, python = "any", "any"
    examples = {"any([False, True])": True}

    def value(self, *args: Any) -> Any:
        return any(args[0])

    def batched(self, rank: int, *args: Value) -> Value:
        value = sequence(args[0], "any")
        return np.asarray((truths(scalar(value.items, "any"))[0] & within(value, rank)).any(-1))


class All(_Quantifier):
    """Are all the items true?"""

    name, python = "all", "all"
    examples = {"all([False, True])": False}

    def value(self, *args: Any) -> Any:
        return all(args[0])

    def batched(self, rank: int, *args: Value) -> Value:
        value = sequence(args[0], "all")
        return np.asarray((truths(scalar(value.items, "all"))[0] | ~within(value, rank)).all(-1))


class Sorted(SequencePrimitive):
    """The items in ascending order."""

    name, python = "sorted", "sorted"
    examples = {"sorted([3, 1, 2])": [1, 2, 3]}

    def type(self, *args: t.Type) -> t.Type:
        return t.Seq(_item(args[0], "sorted"))

    def value(self, *args: Any) -> Any:
        return sorted(args[0])

    def batched(self, rank: int, *args: Value) -> Value:
        value = sequence(args[0], "sorted")
        items = scalar(value.items, "sorted")
        items, outside = np.broadcast_arrays(items, ~within(value, rank))
        try:
            order = np.lexsort((items, outside), axis=-1)
        except TypeError:
            raise Beyond("numbers and texts have no order") from None
        return Sequence(pick(items, rank, order), value.length)


class Set(SequencePrimitive):
    """The different items, in ascending order (an order that no program can see)."""

    name, python = "set", "set"
    examples = {"len(set([2, 1, 2]))": 2}

    def type(self, *args: t.Type) -> t.Type:
        return t.Seq(_item(args[0], "set"))

    def value(self, *args: Any) -> Any:
        return sorted(set(args[0]))

    def batched(self, rank: int, *args: Value) -> Value:
        value = Sorted().batched(rank, args[0])
        ordered = sequence(value, "set")
        items = scalar(ordered.items, "set")
        fresh = np.ones(items.shape, bool)
        fresh[..., 1:] = items[..., 1:] != items[..., :-1]
        return compacted(ordered, fresh & within(ordered, rank), rank)


class Range(SequencePrimitive):
    """The integers from `start` (0) up to `stop`, without it, in steps of `step` (1)."""

    name, python = "range", "range"
    undefined = "the step is 0 or there are over a million"
    examples = {"[i for i in range(3)]": [0, 1, 2]}

    def type(self, *args: t.Type) -> t.Type:
        for kind in args:
            if not isinstance(kind, (t.Int, t.Bool)):
                raise TypeMismatch(f"range takes integers, not {kind}")
        return t.Seq(t.Int())

    def value(self, *args: Any) -> Any:
        if len(args) == 3 and args[2] == 0:
            raise Undefined("a range with step 0")
        if len(range(*args)) > _LONGEST:
            raise Beyond("a range of over a million numbers")
        return list(range(*args))

    def _limits(self, *args: Value) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        numbers = [as_number(scalar(value, "range")) for value in args]
        zero, one = np.zeros_like(numbers[0]), np.ones_like(numbers[0])
        start, stop, step = (zero, numbers[0], one) if len(numbers) == 1 else (*numbers, one)[:3]
        safe = np.where(step == 0, 1, step)
        count = np.maximum(0, -((start - stop) // safe))
        return start, safe, np.asarray(count), step

    def failed(self, rank: int, *args: Value) -> np.ndarray | None:
        _, _, count, step = self._limits(*args)
        return np.asarray((step == 0) | (count > _LONGEST), bool)

    def excessive(self, rank: int, *args: Value) -> np.ndarray | None:
        _, _, count, step = self._limits(*args)
        return np.asarray((step != 0) & (count > _LONGEST), bool)

    def batched(self, rank: int, *args: Value) -> Value:
        start, step, count, _ = self._limits(*args)
        count = np.minimum(count, _LONGEST)
        span = np.arange(int(count.max(initial=0)))
        items = start[..., None] + step[..., None] * span
        return Sequence(items, count)


class Enumerate(SequencePrimitive):
    """Pairs of position and item."""

    name, python = "enumerate", "enumerate"
    examples = {"[i for i, c in enumerate(['a', 'b'])]": [0, 1]}

    def type(self, *args: t.Type) -> t.Type:
        return t.Seq(t.Record((t.Int(0), _item(args[0], "enumerate"))))

    def value(self, *args: Any) -> Any:
        return list(enumerate(args[0]))

    def batched(self, rank: int, *args: Value) -> Value:
        value = sequence(args[0], "enumerate")
        span = np.arange(extent(value.items, rank + 1)).reshape((1,) * (rank + 1) + (-1,))
        return Sequence(Tuple((span, value.items)), value.length)


class Zip(SequencePrimitive):
    """Tuples of the items that stand at one position, as long as the shortest."""

    name, python = "zip", "zip"
    examples = {"[a + b for a, b in zip([1, 2], [3, 4])]": [4, 6]}

    def type(self, *args: t.Type) -> t.Type:
        return t.Seq(t.Record(tuple(_item(kind, "zip") for kind in args)))

    def value(self, *args: Any) -> Any:
        return list(zip(*args, strict=False))

    def batched(self, rank: int, *args: Value) -> Value:
        values = [sequence(value, "zip") for value in args]
        count = min(extent(value.items, rank + 1) for value in values)
        length = values[0].length
        for value in values[1:]:
            length = np.minimum(length, value.length)
        return Sequence(Tuple(tuple(trim(v.items, rank + 1, count) for v in values)), length)


class List(SequencePrimitive):
    """The list of the arguments."""

    name = "list"
    examples = {"[1, 2]": [1, 2]}

    def type(self, *args: t.Type) -> t.Type:
        if not args:
            return t.Seq(t.Int(), 0, 0)
        result = args[0]
        for kind in args[1:]:
            result = joined(result, kind)
        return t.Seq(result, len(args), len(args))

    def value(self, *args: Any) -> Any:
        return list(args)

    def batched(self, rank: int, *args: Value) -> Value:
        if not args:
            return written((), rank)
        return Sequence(stack(args, rank), np.full((1,) * (rank + 1), len(args)))


class TupleOf(SequencePrimitive):
    """The record of the arguments."""

    name = "tuple"
    examples = {"(1, True)": (1, True)}

    def type(self, *args: t.Type) -> t.Type:
        return t.Record(args)

    def value(self, *args: Any) -> Any:
        return tuple(args)

    def batched(self, rank: int, *args: Value) -> Value:
        return Tuple(args)


class Index(SequencePrimitive):
    """The item of a sequence at a position, from the end if negative; the entry of a map."""

    name = "index"
    undefined = "there is no such item"
    examples = {"[5, 6, 7][-1]": 7}

    def type(self, *args: t.Type) -> t.Type:
        match args:
            case (t.Mapping(_, value), _):
                return value
            case (t.Record(items), _):
                result = items[0]
                for kind in items[1:]:
                    result = joined(result, kind)
                return result
            case (kind, t.Int() | t.Bool()):
                return _item(kind, "indexing")
        raise TypeMismatch(f"an index is an integer, not {args[1]}")

    def value(self, *args: Any) -> Any:
        try:
            return args[0][args[1]]
        except (IndexError, KeyError):
            raise Undefined(f"no item {args[1]!r}") from None

    def failed(self, rank: int, *args: Value) -> np.ndarray | None:
        match args[0]:
            case Table(entries):
                return ~_looked_up(entries, args[1], rank)[1]
            case Tuple(items):
                index = scalar(args[1], "indexing")
                return np.asarray((index < -len(items)) | (index >= len(items)))
        length = sequence(args[0], "indexing").length
        index = as_number(scalar(args[1], "indexing"))
        return np.asarray((index < -length) | (index >= length), bool)

    def batched(self, rank: int, *args: Value) -> Value:
        match args[0]:
            case Table(entries):
                return _looked_up(entries, args[1], rank)[0]
            case Tuple(items):
                index = scalar(args[1], "indexing")
                if index.size == 1:
                    return items[int(index.flat[0]) % max(len(items), 1)]
                stacked = stack(items, rank)
                return pick(stacked, rank, np.clip(index, -len(items), len(items) - 1))
        value = sequence(args[0], "indexing")
        index = as_number(scalar(args[1], "indexing"))
        if not is_integral(index):
            raise Beyond("an index is an integer")
        if index.dtype == object:
            index = np.clip(index, -(2**62), 2**62).astype(np.int64)
        if extent(value.items, rank + 1) == 0:
            return lift(np.zeros((1,), np.int64), 0, rank)
        index = np.where(index < 0, index + value.length, index)
        return pick(value.items, rank, np.clip(index, 0, extent(value.items, rank + 1) - 1))


def _looked_up(entries: Any, key: Value, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The entries of a map, and whether there is one, for scalar or record keys."""
    parts = key.items if isinstance(key, Tuple) else (key,)
    columns = np.broadcast_arrays(*(scalar(part, "a map") for part in parts))
    shape = columns[0].shape
    if isinstance(key, Tuple):
        keys: list[Any] = list(zip(*(column.ravel().tolist() for column in columns)))
    else:
        keys = columns[0].ravel().tolist()
    found = np.fromiter((k in entries for k in keys), bool, len(keys)).reshape(shape)
    spare = next(iter(entries.values()), 0)
    values = [entries.get(k, spare) for k in keys]
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or not kinds <= {int, float, bool, str}:
        array = np.empty(len(values), object)
        array[:] = values
    else:
        array = np.array(values)
    return array.reshape(shape), found


class Get(SequencePrimitive):
    """The entry of a map at a key, or the third argument where there is none."""

    name, method = "get", "get"

    def type(self, *args: t.Type) -> t.Type:
        if not isinstance(args[0], t.Mapping):
            raise TypeMismatch(f"get takes a map, not {args[0]}")
        return joined(args[0].value, args[2])

    def value(self, *args: Any) -> Any:
        return args[0].get(args[1], args[2])

    def batched(self, rank: int, *args: Value) -> Value:
        table, key, default = args
        if not isinstance(table, Table):
            raise Beyond("get takes a map")
        values, found = _looked_up(table.entries, key, rank)
        other = scalar(default, "get")
        if values.dtype != other.dtype and (values.dtype == object or other.dtype == object):
            values, other = values.astype(object), other.astype(object)
        return np.where(found, values, other)


class Contains(SequencePrimitive):
    """Is `x` among the items of `s`, or a key of it?"""

    name, infix, precedence = "contains", "in", 5
    examples = {"2 in [1, 2]": True}

    def type(self, *args: t.Type) -> t.Type:
        return t.Bool()

    def value(self, *args: Any) -> Any:
        return args[0] in args[1]

    def batched(self, rank: int, *args: Value) -> Value:
        if isinstance(args[1], Table):
            return _looked_up(args[1].entries, args[0], rank)[1]
        value = sequence(args[1], "in")
        if extent(value.items, rank + 1) == 0:
            return np.zeros((1,) * (rank + 1), bool)
        listed, wanted = _listed(value), _integers(args[0])
        if listed is not None and wanted is not None and len(listed) == len(wanted):
            return _among(wanted, listed)
        same = equal(lift(args[0], rank, rank + 1), value.items, rank + 1)
        return np.asarray((same & within(value, rank)).any(-1))


def _listed(value: Sequence) -> list[np.ndarray] | None:
    """The items of a sequence of integers, or of records of them, that is the same on all rows, as
    columns; None for other sequences."""
    if value.length.size != 1 or not value.length.any():
        return None
    count = int(value.length.ravel()[0])
    match value.items:
        case Sequence(np.ndarray() as items, length) if (length == items.shape[-1]).all():
            parts = tuple(np.moveaxis(items, -1, 0))
        case items:
            parts = _integers(items) or ()
    if not parts or any(p.dtype.kind not in "ib" or p.size != p.shape[-1] for p in parts):
        return None
    return [part.ravel()[:count] for part in parts]


def _integers(value: Value) -> tuple[np.ndarray, ...] | None:
    """The parts of a record of integers, or an integer by itself."""
    parts = value.items if isinstance(value, Tuple) else (value,)
    found = tuple(p for p in parts if isinstance(p, np.ndarray) and p.dtype.kind in "ib")
    return found if len(found) == len(parts) else None


def _among(wanted: tuple[np.ndarray, ...], listed: list[np.ndarray]) -> np.ndarray:
    """Which records are listed, by one code for each record: a long list is gone through once."""
    found = np.ones((1,) * wanted[0].ndim, bool)
    code, codes = np.zeros(1, np.int64), np.zeros(len(listed[0]), np.int64)
    for part, column in zip(wanted, listed, strict=True):
        kinds, ranks = np.unique(column.astype(np.int64), return_inverse=True)
        place = np.minimum(np.searchsorted(kinds, part), len(kinds) - 1)
        found = found & (kinds[place] == part)
        # The records so far are numbered again, so that codes stay small.
        seen, codes = np.unique(codes * len(kinds) + ranks, return_inverse=True)
        joint = code * len(kinds) + place
        code = np.minimum(np.searchsorted(seen, joint), len(seen) - 1)
        found = found & (seen[code] == joint)
    return np.asarray(found)


class Count(SequencePrimitive):
    """How many items of `s` equal `x`."""

    name, method = "count", "count"
    examples = {"[1, 2, 1].count(1)": 2}

    def type(self, *args: t.Type) -> t.Type:
        _item(args[0], "count")
        return t.Int(0)

    def value(self, *args: Any) -> Any:
        return list(args[0]).count(args[1])

    def batched(self, rank: int, *args: Value) -> Value:
        value = sequence(args[0], "count")
        same = equal(value.items, lift(args[1], rank, rank + 1), rank + 1)
        return np.asarray((same & within(value, rank)).sum(-1))


class Find(SequencePrimitive):
    """The first position at which `x` stands in `s`."""

    name, method = "find", "index"
    undefined = "it does not occur"
    examples = {"[1, 2, 1].index(2)": 1}

    def type(self, *args: t.Type) -> t.Type:
        _item(args[0], "index")
        return t.Int(0)

    def value(self, *args: Any) -> Any:
        try:
            return list(args[0]).index(args[1])
        except ValueError:
            raise Undefined(f"{args[1]!r} does not occur") from None

    def _hits(self, rank: int, *args: Value) -> np.ndarray:
        value = sequence(args[0], "index")
        same = equal(value.items, lift(args[1], rank, rank + 1), rank + 1)
        return np.asarray(same & within(value, rank))

    def failed(self, rank: int, *args: Value) -> np.ndarray | None:
        return np.asarray(~self._hits(rank, *args).any(-1))

    def batched(self, rank: int, *args: Value) -> Value:
        hits = self._hits(rank, *args)
        if hits.shape[-1] == 0:
            return np.zeros(hits.shape[:-1], np.int64)
        return np.asarray(hits.argmax(-1))


class Slice(SequencePrimitive):
    """The items from `start` to `stop`, in steps of `step`, as in Python."""

    name = "slice"
    undefined = "the step is 0"
    examples = {"[1, 2, 3][::-1]": [3, 2, 1], "[1, 2, 3][1:]": [2, 3]}

    def type(self, *args: t.Type) -> t.Type:
        return t.Seq(_item(args[0], "slicing"))

    def value(self, *args: Any) -> Any:
        if args[3] == 0:
            raise Undefined("a slice with step 0")
        return list(args[0])[slice(*args[1:])]

    def failed(self, rank: int, *args: Value) -> np.ndarray | None:
        step = scalar(args[3], "slicing")
        return None if _absent(step) else np.asarray(step == 0)

    def batched(self, rank: int, *args: Value) -> Value:
        value = sequence(args[0], "slicing")
        start, stop, stride = (scalar(arg, "slicing") for arg in args[1:])
        length = value.length
        step = np.ones_like(length) if _absent(stride) else np.where(stride == 0, 1, stride)
        forward = step > 0
        low, high = np.where(forward, 0, -1), np.where(forward, length, length - 1)
        first = self._end(start, length, low, high, np.where(forward, low, high))
        last = self._end(stop, length, low, high, np.where(forward, high, low))
        count = np.maximum(0, -((first - last) // step))
        positions = first[..., None] + step[..., None] * np.arange(int(count.max(initial=0)))
        have = extent(value.items, rank + 1)
        if have == 0:
            return value
        return Sequence(pick(value.items, rank, np.clip(positions, 0, have - 1)), count)

    @staticmethod
    def _end(
        end: np.ndarray, length: np.ndarray, low: np.ndarray, high: np.ndarray, default: np.ndarray
    ) -> np.ndarray:
        if _absent(end):
            return default
        end = as_number(end)
        return np.asarray(np.clip(np.where(end < 0, end + length, end), low, high))


def _absent(array: np.ndarray) -> bool:
    return array.dtype == object and array.size == 1 and array.flat[0] is None


class Dot(SequencePrimitive):
    """The sum of the products of the items of `weights` and `values`, which are equally long."""

    name, python = "dot", "np.dot"
    undefined = "the lengths differ"

    def type(self, *args: t.Type) -> t.Type:
        return numeric("dot", *(_flat_item(kind) for kind in args))

    def value(self, *args: Any) -> Any:
        if len(args[0]) != len(args[1]):
            raise Undefined("dot of sequences of different lengths")
        return sum(a * b for a, b in zip(*args, strict=True))

    def failed(self, rank: int, *args: Value) -> np.ndarray | None:
        return np.asarray(sequence(args[0], "dot").length != sequence(args[1], "dot").length)

    def batched(self, rank: int, *args: Value) -> Value:
        a, b = (as_number(scalar(sequence(value, "dot").items, "dot")) for value in args)
        count = min(a.shape[-1], b.shape[-1])
        a, b = a[..., :count], b[..., :count]
        if is_integral(a) and is_integral(b):
            if magnitude(a) * magnitude(b) * max(count, 1) >= 2**62:
                a, b = a.astype(object), b.astype(object)
            return np.asarray((a * b).sum(-1))
        if a.size == count:
            return np.asarray(b.astype(np.float64) @ a.astype(np.float64).ravel())
        return np.asarray(np.einsum("...i,...i->...", a.astype(float), b.astype(float)))


def _flat_item(kind: t.Type) -> t.Type:
    match kind:
        case t.Tensor(item, _):
            return item
        case t.Seq(item, _, _):
            return _flat_item(item) if isinstance(item, t.Seq) else item
    raise TypeMismatch(f"dot takes sequences, not {kind}")


def concatenated(rank: int, a: Sequence, b: Sequence) -> Sequence:
    """The items of `a`, then those of `b`: the meaning of `+` on sequences."""
    first, second = extent(a.items, rank + 1), extent(b.items, rank + 1)
    if first == 0 or second == 0:
        other = b if first == 0 else a
        shape = np.broadcast_shapes(a.length.shape, b.length.shape)
        return Sequence(other.items, np.broadcast_to(other.length, shape))
    length = a.length + b.length
    span = np.arange(int(length.max(initial=0)))
    ahead = a.length[..., None]
    order = np.where(span < ahead, span, first + span - ahead)
    both = appended(a.items, b.items, rank + 1)
    return Sequence(pick(both, rank, np.clip(order, 0, first + second - 1)), length)


def repeated(rank: int, value: Sequence, count: np.ndarray) -> Sequence:
    """The items of `value`, `count` times over: the meaning of `*` on a sequence."""
    times = np.maximum(as_number(count), 0)
    length = value.length * times
    if int(length.max(initial=0)) > _LONGEST:
        raise Beyond("a sequence of over a million items")
    span = np.arange(int(length.max(initial=0)))
    order = span % np.maximum(value.length, 1)[..., None]
    if extent(value.items, rank + 1) == 0:
        return Sequence(value.items, length)
    return Sequence(pick(spread(value.items, 0, extent(value.items, 0)), rank, order), length)


SEQUENCE = registered(
    Length,
    Sum,
    Max,
    Min,
    Any_,
    All,
    Sorted,
    Set,
    Range,
    Enumerate,
    Zip,
    List,
    TupleOf,
    Index,
    Get,
    Contains,
    Count,
    Find,
    Slice,
    Dot,
)
