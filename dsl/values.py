"""How batches of values are stored.

Inside `n` loops a scalar is an array of shape (B, l1, ..., ln), axes of 1 standing for values that
do not depend on that loop: it has *rank* n.  A sequence holds items of rank n + 1 and a length of
rank n; items beyond the length mean nothing.  Sequences of sequences and of records nest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from dsl.primitives.base import Beyond


@dataclass(frozen=True, slots=True)
class Sequence:
    """`items` has one axis more than the rank, of at least the greatest `length`."""

    items: Value
    length: np.ndarray


@dataclass(frozen=True, slots=True)
class Tuple:
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A finite map, as Python writes it."""

    entries: Mapping[Any, Any]


_MOST_ENTRIES = 2**27
"""A few lines of text can nest lists without end; a gigabyte of entries is enough."""

Value: TypeAlias = np.ndarray | Sequence | Tuple | Table


def lift(value: Value, rank: int, to: int) -> Value:
    """A value of `rank` as one of the greater rank `to`, the same in every further loop."""
    if rank == to:
        return value
    match value:
        case np.ndarray():
            shape = value.shape
            return value.reshape(shape[: rank + 1] + (1,) * (to - rank) + shape[rank + 1 :])
        case Sequence(items, length):
            # The axis of the items stays behind the new ones.
            return Sequence(lift(items, rank, to), _array(lift(length, rank, to)))
        case Tuple(items):
            return Tuple(tuple(lift(item, rank, to) for item in items))
        case Table():
            return value


def pick(value: Value, rank: int, index: np.ndarray) -> Value:
    """Entries of axis `rank + 1`: one each for an index of that rank, or a new axis for an index
    of one rank more."""
    match value:
        case np.ndarray():
            ones = (1,) * index.ndim
            grid: list[np.ndarray] = []
            for axis in range(rank + 1):
                span = np.arange(value.shape[axis])
                grid.append(span.reshape((*ones[:axis], -1, *ones[axis + 1 :])))
            return np.asarray(value[(*grid, index)])
        case Sequence(items, length):
            return Sequence(pick(items, rank, index), _array(pick(length, rank, index)))
        case Tuple(items):
            return Tuple(tuple(pick(item, rank, index) for item in items))
        case Table():
            raise Beyond("a map has no positions")


def spread(value: Value, axis: int, count: int) -> Value:
    """The value with an axis of one entry repeated `count` times (a view)."""
    match value:
        case np.ndarray():
            if value.shape[axis] == count:
                return value
            shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
            return np.broadcast_to(value, shape)
        case Sequence(items, length):
            return Sequence(spread(items, axis, count), _array(spread(length, axis, count)))
        case Tuple(items):
            return Tuple(tuple(spread(item, axis, count) for item in items))
        case Table():
            return value


def trim(value: Value, axis: int, count: int) -> Value:
    """The first `count` entries along an axis."""
    match value:
        case np.ndarray():
            return value[(slice(None),) * axis + (slice(count),)]
        case Sequence(items, length):
            return Sequence(trim(items, axis, count), _array(trim(length, axis, count)))
        case Tuple(items):
            return Tuple(tuple(trim(item, axis, count) for item in items))
        case Table():
            return value


def extent(value: Value, axis: int) -> int:
    """How many entries a value has along an axis."""
    match value:
        case np.ndarray():
            return int(value.shape[axis])
        case Sequence(_, length):
            return int(length.shape[axis])
        case Tuple(items):
            return max((extent(item, axis) for item in items), default=0)
        case Table():
            return 0


def stack(values: tuple[Value, ...], rank: int) -> Value:
    """Values of one rank as the entries of a new axis `rank + 1`."""
    first = values[0]
    match first:
        case np.ndarray():
            arrays = np.broadcast_arrays(*unified([_array(value) for value in values]))
            if len(arrays) * arrays[0].size > _MOST_ENTRIES:
                raise Beyond("lists of over 134 million entries at once")
            return np.stack(arrays, axis=rank + 1)
        case Sequence():
            parts = [value for value in values if isinstance(value, Sequence)]
            if len(parts) != len(values):
                raise Beyond("a list of sequences and scalars")
            count = max(extent(part.items, rank + 1) for part in parts)
            items = tuple(padded(part.items, rank + 1, count) for part in parts)
            return Sequence(stack(items, rank), _array(stack(tuple(p.length for p in parts), rank)))
        case Tuple(items):
            columns = zip(*(value.items for value in values if isinstance(value, Tuple)))
            return Tuple(tuple(stack(column, rank) for column in columns))
        case Table():
            raise Beyond("a list of maps")


def padded(value: Value, axis: int, count: int) -> Value:
    """The value with its last entry along an axis repeated up to `count` entries."""
    have = extent(value, axis)
    if have == count:
        return value
    if have == 0:
        return _blank(value, axis, count)
    match value:
        case np.ndarray():
            last = value[(slice(None),) * axis + (slice(have - 1, have),)]
            return np.concatenate([value, np.repeat(last, count - have, axis)], axis)
        case Sequence(items, length):
            return Sequence(padded(items, axis, count), _array(padded(length, axis, count)))
        case Tuple(items):
            return Tuple(tuple(padded(item, axis, count) for item in items))
        case Table():
            return value


def joined(a: Value, b: Value, axis: int) -> Value:
    """The entries of `a`, then those of `b`, along an axis."""
    match a, b:
        case (np.ndarray(), np.ndarray()):
            a, b = unified([a, b])
            shape = np.broadcast_shapes(_without(a.shape, axis), _without(b.shape, axis))
            parts = [
                np.broadcast_to(part, (*shape[:axis], part.shape[axis], *shape[axis:]))
                for part in (a, b)
            ]
            return np.concatenate(parts, axis)
        case (Tuple(left), Tuple(right)) if len(left) == len(right):
            return Tuple(tuple(joined(x, y, axis) for x, y in zip(left, right, strict=True)))
        case (Sequence(), Sequence()):
            count = max(extent(a.items, axis + 1), extent(b.items, axis + 1))
            items = joined(padded(a.items, axis + 1, count), padded(b.items, axis + 1, count), axis)
            return Sequence(items, _array(joined(a.length, b.length, axis)))
    raise Beyond("sequences of different kinds of items are joined")


def unified(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays, as objects where text meets numbers, so that no value is converted."""
    kinds = {"U" if array.dtype.kind in "US" else array.dtype.kind for array in arrays}
    if len(kinds) > 1 and ("U" in kinds or "O" in kinds):
        return [array.astype(object) for array in arrays]
    return arrays


def constant(value: Any, rank: int) -> Value:
    """A written value, at a rank: the same for every row and loop."""
    if isinstance(value, Mapping):
        return Table(value)
    if isinstance(value, np.ndarray):
        return _from_array(value, rank)
    if isinstance(value, (tuple, list)):
        array = _rectangular(value)
        if array is not None:
            return _from_array(array, rank)
        if not value:
            return Sequence(np.zeros((1,) * (rank + 1) + (0,), np.int64), _lead(0, rank))
        parts = tuple(constant(item, rank) for item in value)
        return Sequence(stack(parts, rank), _lead(len(value), rank))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**62:
        return np.array(value, object).reshape((1,) * (rank + 1))
    return np.array(value).reshape((1,) * (rank + 1))


def _rectangular(value: tuple[Any, ...] | list[Any]) -> np.ndarray | None:
    """A tuple of scalars of one kind as a flat array; None for anything else."""
    kinds = {type(item) for item in value}
    if len(kinds) != 1 or not kinds <= {int, float, bool, str}:
        return None
    if kinds == {int} and any(abs(item) >= 2**62 for item in value):
        return None
    return np.array(value)


def _from_array(array: np.ndarray, rank: int) -> Value:
    if array.ndim == 0:
        return array.reshape((1,) * (rank + 1))
    items = array.reshape((1,) * (rank + 1) + array.shape)
    return _nested(items, rank, array.ndim)


def _nested(items: np.ndarray, rank: int, depth: int) -> Value:
    if depth == 0:
        return items
    length = np.full((1,) * (rank + 1), items.shape[rank + 1])
    return Sequence(_nested(items, rank + 1, depth - 1), length)


def from_batch(column: np.ndarray) -> Value:
    """A column of a batch: (B,) a scalar, (B, L, ...) a sequence of sequences."""
    return _nested(column, 0, column.ndim - 1)


def to_array(value: Value, rows: int) -> np.ndarray:
    """A result of rank 0 as a column of a batch; a record is a further axis.

    Raises Beyond for sequences whose lengths differ between rows.
    """
    match value:
        case np.ndarray():
            return np.ascontiguousarray(np.broadcast_to(value, (rows, *value.shape[1:])))
        case Sequence(items, length):
            counts = np.unique(length)
            if counts.size > 1:
                return _ragged(value, rows)
            count = int(counts[0]) if counts.size else 0
            inner = trim(items, 1, count)
            return _flat(inner, rows, count)
        case Tuple(items):
            columns = unified([to_array(item, rows) for item in items])
            if len({column.shape for column in columns}) == 1:
                return np.stack(columns, axis=1)
            raise Beyond("a record of values of different shapes is no result")
        case Table():
            raise Beyond("a map is no result")


def _flat(value: Value, rows: int, count: int) -> np.ndarray:
    match value:
        case np.ndarray():
            return np.ascontiguousarray(np.broadcast_to(value, (rows, count, *value.shape[2:])))
        case Sequence(items, length):
            counts = np.unique(length)
            if counts.size > 1:
                raise Beyond("inner sequences of different lengths are no result")
            inner = int(counts[0]) if counts.size else 0
            if not isinstance(items, np.ndarray):
                raise Beyond("deeply nested sequences are no result")
            items = items[:, :, :inner]
            return np.ascontiguousarray(
                np.broadcast_to(items, (rows, count, inner, *items.shape[3:]))
            )
        case Tuple(items):
            return np.stack(unified([_flat(item, rows, count) for item in items]), axis=2)
        case Table():
            raise Beyond("a map is no result")


def _ragged(value: Sequence, rows: int) -> np.ndarray:
    """Rows of different lengths as an object array of tuples."""
    result = np.empty(rows, object)
    lengths = np.broadcast_to(value.length, (rows,))
    for row in range(rows):
        one = _flat(trim(_row(value.items, row), 1, int(lengths[row])), 1, int(lengths[row]))
        result[row] = _tuples(one[0].tolist())
    return result


def _row(value: Value, row: int) -> Value:
    match value:
        case np.ndarray():
            return value[min(row, value.shape[0] - 1) :][:1]
        case Sequence(items, length):
            return Sequence(_row(items, row), _array(_row(length, row)))
        case Tuple(items):
            return Tuple(tuple(_row(item, row) for item in items))
        case Table():
            return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _blank(value: Value, axis: int, count: int) -> Value:
    match value:
        case np.ndarray():
            shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
            return np.zeros(shape, value.dtype)
        case Sequence(items, length):
            return Sequence(_blank(items, axis, count), _array(_blank(length, axis, count)))
        case Tuple(items):
            return Tuple(tuple(_blank(item, axis, count) for item in items))
        case Table():
            return value


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _lead(count: int, rank: int) -> np.ndarray:
    return np.full((1,) * (rank + 1), count)


def _array(value: Value) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise Beyond("a scalar is needed where a sequence stands")
    return value
