"""Programs of networks, built operation by operation.

A front end walks its graph as for a batch of one row, whose axes are all numbers, and calls the
functions of this module and of `distill.frontends.operators` in its framework's own terms.  Each
value knows which of its axes of one entry is the batch, and the program gets that axis back, in
front and of any length.  Where a framework's graph merges the batch with another axis, or loses
it, the value has a batch axis besides all of its own: so every graph has a translation.  That rows
do not influence each other is not assumed but checked against the runtime afterwards.

What depends on no input is computed at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsl import types as t
from dsl.primitives.tensor import TENSOR
from dsl.primitives.tensor.base import item_of
from dsl.program import Assign, Call, Constant, Expr, Program, Variable


class Unsupported(Exception):
    """An operation, or an option of one, that has no translation."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A value of the framework's graph.

    `sample` is what it is for one row of zeros, in the framework's shape; `name` the variable
    that holds it for a batch, None for constants, whose `label` is the name of the weight that
    they come from.  `batch` is the axis of the sample that stands for the batch, None where the
    variable has one axis more than the sample.
    """

    sample: np.ndarray
    name: str | None = None
    batch: int | None = None
    label: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.sample.shape)

    @property
    def rank(self) -> int:
        return self.sample.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.sample.dtype

    @property
    def is_constant(self) -> bool:
        return self.name is None


@dataclass
class Builder:
    """The bindings and constants so far; `hint` names the values that come next."""

    hint: str = "value"
    inputs: list[tuple[str, t.Type | None]] = field(default_factory=list)
    body: list[Assign] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _known: dict[str, str] = field(default_factory=dict)

    def input(self, name: str, shape: tuple[int, ...], dtype: Any) -> Value:
        """An input for rows of a shape (without the batch axis)."""
        sample = np.zeros((1, *shape), dtype)
        name = self._fresh(name)
        self.inputs.append((name, t.Tensor(item_of(dtype), (-1, *shape))))
        return Value(sample, name, 0)

    def finished(self, result: Value, name: str = "network") -> Program:
        """The program with a result whose first axis is the batch.  Raises Unsupported."""
        if result.is_constant:
            if result.rank == 0 or result.shape[0] != 1:
                raise Unsupported("the output does not depend on the input")
            final: Expr = self._constant(result.sample, result.label)
        else:
            if result.batch != 0:
                if result.rank == 0 or result.shape[0] != 1:
                    raise Unsupported("the first axis of the output is not the batch")
                result = self.rebatched(result, 0)
            assert result.name is not None
            final = Variable(result.name)
        return Program(
            name, tuple(self.inputs), tuple(self.body), final, tuple(self.constants.items())
        )

    # Values of the graph as arguments of primitives.

    def rebatched(self, value: Value, batch: int | None) -> Value:
        """The same value with another of its axes of one entry as the batch."""
        if value.is_constant or value.batch == batch:
            return value
        shape = _without(value.shape, batch)
        return self.emitted("reshape", [value], value.shape, batch, shape=(-1, *shape))

    def _argument(self, value: Value) -> Expr:
        if value.name is not None:
            return Variable(value.name)
        return self._constant(value.sample, value.label)

    def emitted(
        self,
        primitive: str,
        args: Sequence[Value],
        shape: tuple[int, ...] | None,
        batch: int | None,
        /,
        **options: Any,
    ) -> Value:
        """A call on values as they are stored; `shape` is the framework's of the result, None
        where it is the stored one with the batch put back in its place."""
        stored = [_stored(arg) for arg in args]
        with np.errstate(all="ignore"):
            result = np.asarray(TENSOR[primitive].numpy(*stored, **options))
        if shape is None:
            rest = list(result.shape[1:])
            if batch is not None:
                rest.insert(batch, 1)
            shape = tuple(rest)
        # Weights take their names before the value that they make does.
        call = Call(primitive, tuple(self._argument(arg) for arg in args), _frozen(options))
        name = self._fresh(self.hint)
        self.body.append(Assign((name,), (call,)))
        return Value(result.reshape(shape), name, batch)

    def _constant(self, array: np.ndarray, label: str) -> Constant:
        """A constant of the side table; equal arrays of one label are one."""
        array = np.ascontiguousarray(array) if array.ndim else np.asarray(array)
        key = f"{label} {array.dtype.str} {array.shape} {hash(array.tobytes())}"
        if key not in self._known:
            self._known[key] = self._fresh(label or f"{self.hint}_constant", kept=bool(label))
            self.constants[self._known[key]] = array
        return Constant(self._known[key])

    def _fresh(self, name: str, *, kept: bool = False) -> str:
        if not kept:
            name = re.sub(r"\W+", "_", name).strip("_") or "value"
            name = f"v_{name}" if name[0].isdigit() else name
        unique, count = name, 1
        while unique in self._taken:
            unique, count = f"{name}_{count}", count + 1
        self._taken.add(unique)
        return unique

    # Operations that every framework has.

    def constant(self, array: Any, label: str = "") -> Value:
        return Value(np.asarray(array), None, None, label)

    def elementwise(self, primitive: str, *args: Value, **options: Any) -> Value:
        """An operation on each entry, with NumPy's broadcasting."""
        if all(arg.is_constant for arg in args):
            return self.folded(primitive, args, **options)
        shape = np.broadcast_shapes(*(arg.shape for arg in args))
        args = tuple(_as_number(arg, args, shape) for arg in args)
        aligned, batch = self.aligned(args, len(shape))
        return self.emitted(primitive, aligned, None, batch, **options)

    def aligned(
        self, args: Sequence[Value], rank: int, *, tail: int = 0
    ) -> tuple[list[Value], int | None]:
        """Arguments whose stored axes broadcast as the framework's do, and the batch of the
        result.  The last `tail` axes take no part in broadcasting."""
        places = {
            None if arg.batch is None else arg.batch + rank - arg.rank
            for arg in args
            if not arg.is_constant
        }
        batch = places.pop() if len(places) == 1 else None
        free = all(
            arg.rank - rank + batch < 0 or arg.shape[arg.rank - rank + batch] == 1
            for arg in args
            if batch is not None
        )
        if batch is not None and (batch >= rank - tail or not free):
            batch = None
        return [self._level(arg, rank, batch) for arg in args], batch

    def _level(self, arg: Value, rank: int, batch: int | None) -> Value:
        own = None if batch is None else batch - (rank - arg.rank)
        if arg.is_constant:
            if own is None or own < 0:
                return arg
            return Value(arg.sample.reshape(_without(arg.shape, own)), None, None, arg.label)
        arg = self.rebatched(arg, own)
        missing = rank - arg.rank
        if missing == 0:
            return arg
        # Axes of one entry come between the batch and the value's own.
        inner = _without(arg.shape, own)
        shape = (1,) * missing + arg.shape
        stored = (-1, *(1,) * missing, *inner)
        return self.emitted("reshape", [arg], shape, batch, shape=stored)

    def folded(self, primitive: str, args: Sequence[Value], /, **options: Any) -> Value:
        """The value of an operation on constants; it keeps the label of a single weight."""
        with np.errstate(all="ignore"):
            result = np.asarray(TENSOR[primitive].numpy(*(a.sample for a in args), **options))
        labels = {arg.label for arg in args if arg.label}
        return Value(result, None, None, labels.pop() if len(labels) == 1 else "")

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """The entries in the same order under another shape (numbers only; one may be -1)."""
        shape = tuple(int(axis) for axis in shape)
        if -1 in shape:
            known = -math.prod(shape)
            size = math.prod(value.shape)
            shape = tuple(size // known if axis == -1 else axis for axis in shape)
        if value.is_constant:
            return self.folded("reshape", [value], shape=shape)
        batch = self._kept_batch(value, shape)
        before, after = _without(value.shape, value.batch), _without(shape, batch)
        if before == after:
            return Value(value.sample.reshape(shape), value.name, batch)
        return self.emitted("reshape", [value], shape, batch, shape=(-1, *after))

    def _kept_batch(self, value: Value, shape: tuple[int, ...]) -> int | None:
        old = value.batch
        if (
            old is not None
            and old < len(shape)
            and shape[old] == 1
            and math.prod(shape[:old]) == math.prod(value.shape[:old])
        ):
            return old
        if shape and shape[0] == 1:
            return 0
        # An axis that vanished or was added before the batch leaves it in its place.
        if old is not None:
            for place, axis in enumerate(shape):
                if axis == 1 and math.prod(shape[:place]) == math.prod(value.shape[:old]):
                    return place
        return None

    def squeeze(self, value: Value, axes: Sequence[int]) -> Value:
        axes = [axis % value.rank for axis in axes]
        keep = [n for i, n in enumerate(value.shape) if not (i in axes and n == 1)]
        if value.is_constant or value.batch is None or value.batch in axes:
            return self.reshape(value, keep)
        moved = value.batch - sum(1 for axis in axes if axis < value.batch)
        return self._reshaped(value, tuple(keep), moved)

    def unsqueeze(self, value: Value, axis: int) -> Value:
        axis = axis % (value.rank + 1)
        shape = (*value.shape[:axis], 1, *value.shape[axis:])
        if value.is_constant or value.batch is None:
            return self.reshape(value, shape)
        return self._reshaped(value, shape, value.batch + (axis <= value.batch))

    def _reshaped(self, value: Value, shape: tuple[int, ...], batch: int) -> Value:
        after = _without(shape, batch)
        if after == _without(value.shape, value.batch):
            return Value(value.sample.reshape(shape), value.name, batch)
        return self.emitted("reshape", [value], shape, batch, shape=(-1, *after))

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """Axis i of the result is axis `axes[i]` of the value."""
        axes = tuple(int(axis) % value.rank for axis in axes)
        if value.is_constant:
            return self.folded("transpose", [value], axes=axes)
        shape = tuple(value.shape[axis] for axis in axes)
        batch = None if value.batch is None else axes.index(value.batch)
        stored = (0, *(stored_axis(value, axis) for axis in axes if axis != value.batch))
        if stored == tuple(range(len(stored))):
            return Value(value.sample.reshape(shape), value.name, batch)
        return self.emitted("transpose", [value], shape, batch, axes=stored)

    def expand(self, value: Value, shape: Sequence[int]) -> Value:
        """The value repeated along axes of one entry up to a shape; -1 keeps an axis."""
        missing = len(shape) - value.rank
        full = tuple(value.shape[i - missing] if n == -1 else int(n) for i, n in enumerate(shape))
        if value.is_constant:
            # Broadcasting does the same wherever the value is used.
            return Value(np.broadcast_to(value.sample, full), None, None, value.label)
        for _ in range(missing):
            value = self.unsqueeze(value, 0)
        if value.shape == full:
            return value
        batch = value.batch if value.batch is None or full[value.batch] == 1 else None
        value = self.rebatched(value, batch)
        stored = (-1, *_without(full, batch))
        return self.emitted("expand", [value], full, batch, shape=stored)

    def concat(self, args: Sequence[Value], axis: int) -> Value:
        """Values of one rank, one after the other."""
        args = [arg for arg in args if arg.shape != (0,)] or list(args)
        axis = axis % args[0].rank
        if all(arg.is_constant for arg in args):
            return self.folded("concat", args, axis=axis)
        if len(args) == 1:
            return args[0]
        batches = {arg.batch for arg in args if not arg.is_constant}
        batch = batches.pop() if len(batches) == 1 else None
        if batch == axis or any(arg.shape[batch] != 1 for arg in args if batch is not None):
            batch = None
        parts = [self.with_batch(arg, batch) for arg in args]
        place = stored_axis(parts[0], axis, batch)
        return self.emitted("concat", parts, None, batch, axis=place)

    def with_batch(self, value: Value, batch: int | None) -> Value:
        """The value stored with a batch axis in front, of one entry for constants."""
        if not value.is_constant:
            return self.rebatched(value, batch)
        shape = (1, *_without(value.shape, batch))
        return Value(value.sample.reshape(shape), None, None, value.label)

    def slice(self, value: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
        """Entries of one axis, by Python's rules."""
        axis = axis % value.rank
        start, stop, step = slice(start, stop, step).indices(value.shape[axis])
        if value.is_constant:
            ends = {"axis": axis, "start": start, "stop": stop, "step": step}
            return self.folded("slice", [value], **ends)
        if (start, stop, step) == (0, value.shape[axis], 1):
            return value
        value = self.off(value, [axis])
        place = stored_axis(value, axis)
        if step < 0:
            index = np.arange(value.shape[axis])[start : None if stop < 0 else stop : step]
            return self.emitted(
                "gather", [value, self.constant(index)], None, value.batch, axis=place
            )
        options = {"axis": place, "start": start, "stop": stop, "step": step}
        return self.emitted("slice", [value], None, value.batch, **options)

    def select(self, value: Value, axis: int, index: int) -> Value:
        """One entry of an axis, which vanishes."""
        axis = axis % value.rank
        index = index % max(value.shape[axis], 1)
        part = self.slice(value, axis, index, index + 1)
        return self.squeeze(part, [axis])

    def off(self, value: Value, axes: Sequence[int]) -> Value:
        """The value with a batch that is none of `axes`."""
        if value.is_constant or value.batch not in [axis % value.rank for axis in axes]:
            return value
        return self.rebatched(value, None)

    def reduce(
        self, primitive: str, value: Value, axes: Sequence[int], *, keepdims: bool = False
    ) -> Value:
        """A reduction over axes, which vanish unless `keepdims`; all, if none is given."""
        axes = sorted(axis % max(value.rank, 1) for axis in axes) or list(range(value.rank))
        if value.is_constant:
            return self.folded(primitive, [value], axes=tuple(axes), keepdims=keepdims)
        value = self.off(value, axes)
        batch = value.batch
        if batch is not None and not keepdims:
            batch -= sum(1 for axis in axes if axis < batch)
        stored = tuple(stored_axis(value, axis) for axis in axes)
        return self.emitted(primitive, [value], None, batch, axes=stored, keepdims=keepdims)

    def place(self, primitive: str, value: Value, axis: int, *, keepdims: bool = False) -> Value:
        """The place of an extreme entry along an axis."""
        axis = axis % value.rank
        if value.is_constant:
            return self.folded(primitive, [value], axis=axis, keepdims=keepdims)
        value = self.off(value, [axis])
        batch = value.batch
        if batch is not None and not keepdims and axis < batch:
            batch -= 1
        stored = stored_axis(value, axis)
        return self.emitted(primitive, [value], None, batch, axis=stored, keepdims=keepdims)

    def along(self, primitive: str, value: Value, axis: int) -> Value:
        """An operation along an axis that keeps the shape: softmax, cumsum."""
        axis = axis % max(value.rank, 1)
        if value.is_constant:
            return self.folded(primitive, [value], axis=axis)
        value = self.off(value, [axis])
        return self.emitted(primitive, [value], None, value.batch, axis=stored_axis(value, axis))

    def cast(self, value: Value, dtype: Any) -> Value:
        if value.dtype == np.dtype(dtype):
            return value
        return self.elementwise("cast", value, dtype=np.dtype(dtype).name)


def _as_number(value: Value, args: Sequence[Value], shape: tuple[int, ...]) -> Value:
    """One number instead of a constant of many equal ones, where the others have the shape."""
    if not value.is_constant or value.label or value.sample.size < 2:
        return value
    first = value.sample.reshape(-1)[0]
    if value.sample.tobytes() != first.tobytes() * value.sample.size:
        return value
    if np.broadcast_shapes(*(arg.shape for arg in args if arg is not value), ()) != shape:
        return value
    return Value(np.asarray(first))


def stored_axis(value: Value, axis: int, batch: int | str | None = "own") -> int:
    """Where an axis of the framework's lies in the stored array."""
    batch = value.batch if batch == "own" else batch
    if batch is None:
        return axis + 1
    assert isinstance(batch, int) and axis != batch
    return axis + 1 if axis < batch else axis


def _stored(value: Value) -> np.ndarray:
    if value.is_constant:
        return value.sample
    return value.sample.reshape((1, *_without(value.shape, value.batch)))


def _without(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    return shape if axis is None else (*shape[:axis], *shape[axis + 1 :])


def _frozen(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((name, value) for name, value in options.items() if value is not None))
