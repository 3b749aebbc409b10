"""The operations of StableHLO, by name, as calls of the builder.  Nothing here imports jax.

A rule takes the builder, the values of the inputs and the operation's attributes by name;
`result` is the declared shape (None for free axes) and dtype of what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from distill.frontends import jax_rules as j
from distill.frontends.building import Builder, Unsupported, Value

Rule: TypeAlias = Callable[..., Value]

_COMPARISONS = {"EQ": "eq", "NE": "ne", "LT": "lt", "LE": "le", "GT": "gt", "GE": "ge"}
_REDUCTIONS = {
    **{"add": ("sum", "add"), "multiply": ("prod", "mul")},
    **{"maximum": ("max", "maximum"), "minimum": ("min", "minimum")},
    **{"or": ("max", "maximum"), "and": ("min", "minimum")},
}


def plain(primitive: str) -> Rule:
    return lambda b, *args, **_: b.elementwise(primitive, *args)


def logical(primitive: str) -> Rule:
    def rule(b: Builder, *args: Value, **_: Any) -> Value:
        if any(arg.dtype != bool for arg in args):
            raise Unsupported("on integers")
        return b.elementwise(primitive, *args)

    return rule


def numbers(value: Value) -> tuple[int, ...]:
    """A value that has to be known, as whole numbers."""
    if not value.is_constant:
        raise Unsupported("by a computed shape")
    return tuple(int(n) for n in value.sample.reshape(-1))


def constant(b: Builder, value: np.ndarray, **_: Any) -> Value:
    return b.constant(value)


def divide(b: Builder, x: Value, y: Value, **_: Any) -> Value:
    return j.div(b, x, y)


def remainder(b: Builder, x: Value, y: Value, **_: Any) -> Value:
    return j.rem(b, x, y)


def compare(b: Builder, x: Value, y: Value, comparison_direction: str, **_: Any) -> Value:
    return b.elementwise(_COMPARISONS[comparison_direction], x, y)


def convert(b: Builder, x: Value, result: Any, **_: Any) -> Value:
    return b.cast(x, result[1])


def broadcast(b: Builder, x: Value, result: Any, broadcast_dimensions: Any, **_: Any) -> Value:
    return j.broadcast_in_dim(b, x, result[0], broadcast_dimensions)


def dynamic_broadcast(
    b: Builder, x: Value, shape: Value, broadcast_dimensions: Any, **_: Any
) -> Value:
    return j.broadcast_in_dim(b, x, numbers(shape), broadcast_dimensions)


def reshape(b: Builder, x: Value, result: Any, **_: Any) -> Value:
    return b.reshape(x, result[0])


def dynamic_reshape(b: Builder, x: Value, shape: Value, **_: Any) -> Value:
    return b.reshape(x, numbers(shape))


def concatenate(b: Builder, *args: Value, dimension: int, **_: Any) -> Value:
    return b.concat(args, dimension)


def dimension_size(b: Builder, x: Value, dimension: int, **_: Any) -> Value:
    return b.constant(np.asarray(x.shape[dimension], np.int32))


def dynamic_range(b: Builder, shape: Value, iota_dimension: int, result: Any, **_: Any) -> Value:
    return _range(b, numbers(shape), iota_dimension, result[1])


def plain_range(b: Builder, iota_dimension: int, result: Any, **_: Any) -> Value:
    return _range(b, result[0], iota_dimension, result[1])


def _range(b: Builder, shape: Sequence[int], axis: int, dtype: np.dtype) -> Value:
    lead = [1] * len(shape)
    lead[axis] = shape[axis]
    row = np.arange(shape[axis], dtype=dtype).reshape(lead)
    return b.constant(np.broadcast_to(row, shape))


def slice_(
    b: Builder, x: Value, start_indices: Any, limit_indices: Any, strides: Any, **_: Any
) -> Value:
    return j.slice_(b, x, start_indices, limit_indices, strides)


def real_dynamic_slice(
    b: Builder, x: Value, start: Value, limit: Value, strides: Value, **_: Any
) -> Value:
    return j.slice_(b, x, numbers(start), numbers(limit), numbers(strides))


def dynamic_slice(b: Builder, x: Value, *starts: Value, slice_sizes: Any, **_: Any) -> Value:
    return j.dynamic_slice(b, x, *starts, slice_sizes=slice_sizes)


def dynamic_update_slice(b: Builder, x: Value, update: Value, *starts: Value, **_: Any) -> Value:
    return j.dynamic_update_slice(b, x, update, *starts)


def pad(
    b: Builder,
    x: Value,
    value: Value,
    edge_padding_low: Any,
    edge_padding_high: Any,
    interior_padding: Any,
    **_: Any,
) -> Value:
    config = tuple(zip(edge_padding_low, edge_padding_high, interior_padding))
    return j.pad(b, x, value, padding_config=config)


def dynamic_pad(
    b: Builder, x: Value, value: Value, low: Value, high: Value, interior: Value, **_: Any
) -> Value:
    config = tuple(zip(numbers(low), numbers(high), numbers(interior)))
    return j.pad(b, x, value, padding_config=config)


def gather(
    b: Builder, x: Value, index: Value, dimension_numbers: Any, slice_sizes: Any, **_: Any
) -> Value:
    if dimension_numbers.index_vector_dim == index.rank:
        index = b.unsqueeze(index, index.rank)
    elif dimension_numbers.index_vector_dim != index.rank - 1:
        raise Unsupported("with places in another axis than the last")
    return j.gather(b, x, index, dimension_numbers, slice_sizes)


def dynamic_gather(
    b: Builder, x: Value, index: Value, sizes: Value, dimension_numbers: Any, **_: Any
) -> Value:
    return gather(b, x, index, dimension_numbers, numbers(sizes))


def dot_general(b: Builder, x: Value, y: Value, dot_dimension_numbers: Any, **_: Any) -> Value:
    given = dot_dimension_numbers
    contracted = given.lhs_contracting_dimensions, given.rhs_contracting_dimensions
    stacked = given.lhs_batching_dimensions, given.rhs_batching_dimensions
    return j.dot_general(b, x, y, (contracted, stacked))


def convolution(
    b: Builder,
    x: Value,
    weight: Value,
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    window_strides: Any = None,
    padding: Any = None,
    lhs_dilation: Any = None,
    rhs_dilation: Any = None,
    window_reversal: Any = None,
    **_: Any,
) -> Value:
    if window_reversal is not None and any(window_reversal):
        raise Unsupported("with a reversed window")
    given, count = dimension_numbers, x.rank - 2
    specs = SimpleNamespace(
        lhs_spec=_spec(given, "input", "batch", "feature"),
        rhs_spec=_spec(given, "kernel", "output_feature", "input_feature"),
        out_spec=_spec(given, "output", "batch", "feature"),
    )
    return j.convolution(
        b,
        x,
        weight,
        dimension_numbers=specs,
        window_strides=window_strides or (1,) * count,
        padding=_pairs(padding, count),
        lhs_dilation=lhs_dilation or (1,) * count,
        rhs_dilation=rhs_dilation or (1,) * count,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
    )


def _pairs(padding: np.ndarray | None, count: int) -> list[tuple[int, int]]:
    if padding is None:
        return [(0, 0)] * count
    return [(int(low), int(high)) for low, high in padding]


def _spec(given: Any, side: str, first: str, second: str) -> tuple[int, ...]:
    """Where the two axes that are not spatial lie, then the spatial ones."""
    lead = (getattr(given, f"{side}_{part}_dimension") for part in (first, second))
    return (*lead, *getattr(given, f"{side}_spatial_dimensions"))


def reverse(b: Builder, x: Value, dimensions: Any, **_: Any) -> Value:
    return j.rev(b, x, dimensions)


def transpose(b: Builder, x: Value, permutation: Any, **_: Any) -> Value:
    return b.transpose(x, permutation)


def reduced(
    b: Builder,
    inputs: Sequence[Value],
    axes: Sequence[int],
    kinds: tuple[str, ...],
    body: Callable[[list[Value]], list[Any]],
) -> list[Value]:
    """What a reduction gives.  `kinds` names the operations of its body, and `body` applies it;
    one of two values is the place of an extreme if it acts like that on numbers."""
    if len(inputs) == 2:
        x, start = inputs
        if len(kinds) != 1 or kinds[0] not in _REDUCTIONS:
            raise Unsupported("with a body of its own")
        over_axis, over_two = _REDUCTIONS[kinds[0]]
        found = b.reduce(over_axis, x, axes) if axes else x
        if start.is_constant and _is_neutral(kinds[0], start.sample):
            return [found]
        return [b.elementwise(over_two, found, start)]
    if len(inputs) != 4 or len(axes) != 1:
        raise Unsupported("of several values")
    x, places, start, _ = inputs
    (axis,) = axes
    counted = np.moveaxis(places.sample, axis, -1)
    if not places.is_constant or not (counted == np.arange(x.shape[axis])).all():
        raise Unsupported("of several values")
    for name, extreme, kind in (("argmax", "max", "maximum"), ("argmin", "min", "minimum")):
        if _is_neutral(kind, start.sample) and _takes_extreme(b, body, x.dtype, places.dtype, name):
            place = b.place(name, x, axis)
            return [b.reduce(extreme, x, axes), b.cast(place, places.dtype)]
    raise Unsupported("of several values")


def _is_neutral(kind: str, start: np.ndarray) -> bool:
    """Does a reduction that starts here give what it would give without a start?"""
    value = start.item()
    low: Any = -np.inf if start.dtype.kind == "f" else 0
    high: Any = np.inf if start.dtype.kind == "f" else 1
    if start.dtype.kind in "iu":
        low, high = np.iinfo(start.dtype).min, np.iinfo(start.dtype).max
    wanted = {"add": 0, "multiply": 1, "maximum": low, "minimum": high, "or": 0, "and": 1}
    return bool(value == wanted[kind])


def _takes_extreme(
    b: Builder, body: Callable[[list[Value]], list[Any]], dtype: Any, places: Any, name: str
) -> bool:
    """Does a body keep the extreme of two values with its place, the first of equal ones?"""
    sign = 1 if name == "argmax" else -1
    cases = (((1, 0), (2, 1), 1), ((2, 0), (1, 1), 0), ((1, 0), (1, 1), 0), ((1, 1), (1, 0), 1))
    for first, second, wanted in cases:
        pair = (first, second)
        if sign < 0 and first[0] != second[0]:
            wanted = 1 - wanted
        args = [
            b.constant(np.asarray(entry, kind))
            for item in pair
            for entry, kind in zip(item, (dtype, places))
        ]
        found = body(args)
        if not all(isinstance(value, Value) and value.is_constant for value in found):
            return False
        if tuple(value.sample.item() for value in found) != pair[wanted]:
            return False
    return True


def windowed(
    b: Builder, inputs: Sequence[Value], kinds: tuple[str, ...], options: Mapping[str, Any]
) -> list[Value]:
    """What a reduction over windows gives: pooling, or a running sum."""
    known: Mapping[tuple[str, ...], str] = {("maximum",): "max_pool", ("add",): "avg_pool"}
    primitive = known.get(kinds)
    if primitive is None or len(inputs) != 2:
        raise Unsupported("with a body of its own")
    x, start = inputs
    if not start.is_constant or not _is_neutral(kinds[0], start.sample):
        raise Unsupported("from a start of its own")
    ones = (1,) * x.rank
    params = {
        "window_dimensions": options["window_dimensions"],
        "window_strides": options.get("window_strides") or ones,
        "base_dilation": options.get("base_dilations") or ones,
        "window_dilation": options.get("window_dilations") or ones,
        "padding": _pairs(options.get("padding"), x.rank),
    }
    return [j.window(primitive)(b, SimpleNamespace(params=params), x)]


RULES: Mapping[str, Rule] = {
    **{
        name: plain(primitive)
        for name, primitive in (
            *(("add", "add"), ("subtract", "sub"), ("multiply", "mul"), ("negate", "neg")),
            *(("maximum", "maximum"), ("minimum", "minimum"), ("abs", "abs"), ("power", "pow")),
            *(("exponential", "exp"), ("log", "log"), ("tanh", "tanh"), ("logistic", "sigmoid")),
            *(("sqrt", "sqrt"), ("sine", "sin"), ("cosine", "cos"), ("floor", "floor")),
            *(("sign", "sign"), ("round_nearest_even", "round"), ("select", "where")),
        )
    },
    "constant": constant,
    "divide": divide,
    "remainder": remainder,
    "rsqrt": lambda b, x, **_: j.rsqrt(b, x),
    "log_plus_one": lambda b, x, **_: j.log1p(b, x),
    "exponential_minus_one": lambda b, x, **_: j.expm1(b, x),
    "ceil": lambda b, x, **_: j.ceil(b, x),
    "clamp": lambda b, low, x, high, **_: j.clamp(b, low, x, high),
    "and": logical("and"),
    "or": logical("or"),
    "xor": logical("ne"),
    "not": logical("not"),
    "compare": compare,
    "convert": convert,
    "broadcast_in_dim": broadcast,
    "dynamic_broadcast_in_dim": dynamic_broadcast,
    "reshape": reshape,
    "dynamic_reshape": dynamic_reshape,
    "transpose": transpose,
    "concatenate": concatenate,
    "get_dimension_size": dimension_size,
    "iota": plain_range,
    "dynamic_iota": dynamic_range,
    "slice": slice_,
    "real_dynamic_slice": real_dynamic_slice,
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "pad": pad,
    "dynamic_pad": dynamic_pad,
    "gather": gather,
    "dynamic_gather": dynamic_gather,
    "reverse": reverse,
    "dot_general": dot_general,
    "convolution": convolution,
    "optimization_barrier": lambda b, x, **_: x,
}
"""Every operation of StableHLO that has a translation; calls, loops and reductions are the
walker's."""
