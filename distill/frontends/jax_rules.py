"""The operations of jaxprs, by name, as calls of the builder.  Nothing here imports jax.

A rule takes the builder, the equation (for its params and the shapes of its outputs) and the
values of its inputs.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from distill.frontends import operators as o
from distill.frontends.building import Builder, Unsupported, Value

Rule = Callable[..., Any]


def plain(primitive: str, **options: Any) -> Rule:
    return lambda b, equation, *args: b.elementwise(primitive, *args, **options)


def with_params(function: Callable[..., Any]) -> Rule:
    """A function of the builder and the inputs, and of the equation's params by name."""
    return lambda b, equation, *args: function(b, *args, **equation.params)


def _one(b: Builder, x: Value) -> Value:
    return b.constant(np.ones((), x.dtype))


def integer_pow(b: Builder, x: Value, y: int, **_: Any) -> Value:
    if y == 2:
        return b.elementwise("mul", x, x)
    return b.elementwise("pow", x, b.constant(np.asarray(y, x.dtype)))


def rsqrt(b: Builder, x: Value, **_: Any) -> Value:
    return b.elementwise("div", _one(b, x), b.elementwise("sqrt", x))


def div(b: Builder, x: Value, y: Value, **_: Any) -> Value:
    found = b.elementwise("div", x, y)
    return found if x.dtype.kind == "f" else b.cast(found, x.dtype)  # towards zero


def rem(b: Builder, x: Value, y: Value, **_: Any) -> Value:
    """The remainder with the sign of x."""
    size = b.elementwise("mod", b.elementwise("abs", x), b.elementwise("abs", y))
    return b.elementwise("mul", b.elementwise("sign", x), size)


def log1p(b: Builder, x: Value, **_: Any) -> Value:
    return b.elementwise("log", b.elementwise("add", x, _one(b, x)))


def expm1(b: Builder, x: Value, **_: Any) -> Value:
    return b.elementwise("sub", b.elementwise("exp", x), _one(b, x))


def exp2(b: Builder, x: Value, **_: Any) -> Value:
    factor = b.constant(np.asarray(np.log(2), x.dtype))
    return b.elementwise("exp", b.elementwise("mul", x, factor))


def ceil(b: Builder, x: Value, **_: Any) -> Value:
    return b.elementwise("neg", b.elementwise("floor", b.elementwise("neg", x)))


def round_(b: Builder, x: Value, rounding_method: Any = None, **_: Any) -> Value:
    if int(getattr(rounding_method, "value", 1)) != 1:
        raise Unsupported("away from zero")
    return b.elementwise("round", x)


def clamp(b: Builder, low: Value, x: Value, high: Value, **_: Any) -> Value:
    return b.elementwise("minimum", b.elementwise("maximum", x, low), high)


def select_n(b: Builder, which: Value, *cases: Value, **_: Any) -> Value:
    if len(cases) != 2:
        raise Unsupported("between more than two cases")
    return b.elementwise("where", b.cast(which, bool), cases[1], cases[0])


def logical(primitive: str) -> Rule:
    def rule(b: Builder, equation: Any, *args: Value) -> Value:
        if any(arg.dtype != bool for arg in args):
            raise Unsupported("on integers")
        return b.elementwise(primitive, *args)

    return rule


def convert(b: Builder, x: Value, new_dtype: Any, **_: Any) -> Value:
    name = np.dtype(new_dtype).name
    if name in ("bfloat16", "float16"):
        raise Unsupported("to half precision")
    return b.cast(x, name)


def broadcast_in_dim(
    b: Builder, x: Value, shape: Sequence[int], broadcast_dimensions: Sequence[int], **_: Any
) -> Value:
    for axis in range(len(shape)):
        if axis not in broadcast_dimensions:
            x = b.unsqueeze(x, axis)
    return b.expand(x, shape)


def reshape(b: Builder, x: Value, new_sizes: Sequence[int], **_: Any) -> Value:
    return b.reshape(x, new_sizes)


def squeeze(b: Builder, x: Value, dimensions: Sequence[int], **_: Any) -> Value:
    return b.squeeze(x, dimensions)


def expand_dims(b: Builder, x: Value, dimensions: Sequence[int], **_: Any) -> Value:
    for axis in sorted(dimensions):
        x = b.unsqueeze(x, axis)
    return x


def slice_(
    b: Builder,
    x: Value,
    start_indices: Sequence[int],
    limit_indices: Sequence[int],
    strides: Sequence[int] | None = None,
    **_: Any,
) -> Value:
    steps = strides or [1] * x.rank
    for axis, (start, stop, step) in enumerate(zip(start_indices, limit_indices, steps)):
        x = b.slice(x, axis, start, stop, step)
    return x


def dynamic_slice(b: Builder, x: Value, *starts: Value, slice_sizes: Any, **_: Any) -> Value:
    for axis, (start, size) in enumerate(zip(starts, slice_sizes)):
        if size == x.shape[axis]:
            continue
        if not start.is_constant:
            raise Unsupported("at a computed place")
        first = min(max(int(start.sample), 0), x.shape[axis] - size)
        x = b.slice(x, axis, first, first + size)
    return x


def gather(
    b: Builder, x: Value, index: Value, dimension_numbers: Any, slice_sizes: Sequence[int], **_: Any
) -> Value:
    """Whole slices along one axis, as indexing with one array gives."""
    axes = tuple(dimension_numbers.start_index_map)
    collapsed = tuple(dimension_numbers.collapsed_slice_dims)
    if getattr(dimension_numbers, "operand_batching_dims", ()):
        return _gather_along(b, x, index, dimension_numbers, slice_sizes)
    if len(axes) != 1:
        return _gather_constant(b, x, index, dimension_numbers, slice_sizes)
    (axis,) = axes
    full = all(n == x.shape[i] for i, n in enumerate(slice_sizes) if i != axis)
    if not full or slice_sizes[axis] != 1 or (collapsed != axes and index.rank == 1):
        return _gather_constant(b, x, index, dimension_numbers, slice_sizes)
    at = b.squeeze(index, [-1])
    if at.is_constant:
        at = b.constant(np.clip(at.sample, 0, x.shape[axis] - 1))
    found = o.embedding(b, x, at, axis)
    if collapsed != axes:
        raise Unsupported("slices that keep their axis")
    # embedding leaves the index's axes where the axis was; jax wants them around offset_dims.
    offsets = list(dimension_numbers.offset_dims)
    places = [i for i in range(found.rank) if i not in offsets]
    order = [0] * found.rank
    inner = [i for i in range(found.rank) if not axis <= i < axis + at.rank]
    for place, source in zip(places, range(axis, axis + at.rank)):
        order[place] = source
    for place, source in zip(offsets, inner):
        order[place] = source
    return b.transpose(found, order)


def _gather_constant(
    b: Builder, x: Value, index: Value, numbers: Any, slice_sizes: Sequence[int]
) -> Value:
    """One slice at a constant place."""
    if not index.is_constant or index.rank != 1:
        raise Unsupported("at several computed places")
    for axis, start in zip(numbers.start_index_map, index.sample):
        first = min(max(int(start), 0), x.shape[axis] - slice_sizes[axis])
        x = b.slice(x, axis, first, first + slice_sizes[axis])
    for axis, size in enumerate(slice_sizes):
        if axis not in numbers.start_index_map:
            x = b.slice(x, axis, 0, size)
    return b.squeeze(x, list(numbers.collapsed_slice_dims))


def _gather_along(
    b: Builder, x: Value, index: Value, numbers: Any, slice_sizes: Sequence[int]
) -> Value:
    """One entry along an axis for each row (take_along_axis)."""
    (axis,) = numbers.start_index_map
    rest = tuple(i for i in range(x.rank) if i != axis)
    if tuple(numbers.operand_batching_dims) != rest or any(n != 1 for n in slice_sizes):
        raise Unsupported("in this form")
    if tuple(numbers.start_indices_batching_dims) != rest or index.rank != x.rank + 1:
        raise Unsupported("in this form")
    return o.gather_along(b, x, b.squeeze(index, [-1]), axis)


def dynamic_update_slice(b: Builder, x: Value, update: Value, *starts: Value, **_: Any) -> Value:
    """The value with one slice replaced; the slice is shorter in one axis at most."""
    shorter = [i for i, n in enumerate(update.shape) if n != x.shape[i]]
    if not shorter:
        return update
    if len(shorter) > 1:
        raise Unsupported("in several axes")
    (axis,) = shorter
    if not starts[axis].is_constant:
        raise Unsupported("at a computed place")
    size = update.shape[axis]
    first = min(max(int(starts[axis].sample), 0), x.shape[axis] - size)
    parts = [
        b.slice(x, axis, 0, first),
        update,
        b.slice(x, axis, first + size, x.shape[axis]),
    ]
    kept = [part for part in parts if part.shape[axis]]
    return b.concat(kept, axis)


def pad(b: Builder, x: Value, value: Value, padding_config: Any, **_: Any) -> Value:
    if not value.is_constant:
        raise Unsupported("with a computed value")
    if any(inner or low < 0 or high < 0 for low, high, inner in padding_config):
        return _spread(b, x, value, padding_config)
    pairs = [(low, high) for low, high, _inner in padding_config]
    return o.pad(b, x, pairs, float(value.sample))


def _spread(b: Builder, x: Value, value: Value, padding_config: Any) -> Value:
    """Padding between entries, or cut off at the ends: each place is an entry or the value."""
    for axis, (low, high, inner) in enumerate(padding_config):
        if (low, high, inner) == (0, 0, 0):
            continue
        size = x.shape[axis]
        index = np.full(max(size + (size - 1) * inner, 0), size)
        index[:: inner + 1] = np.arange(size)
        ends = [np.full(max(end, 0), size) for end in (low, high)]
        index = np.concatenate([ends[0], index, ends[1]])
        index = index[max(-low, 0) : len(index) - max(-high, 0)]
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        extra = b.constant(np.full(shape, value.sample, x.dtype))
        x = o.embedding(b, b.concat([x, extra], axis), b.constant(index), axis)
    return x


def rev(b: Builder, x: Value, dimensions: Sequence[int], **_: Any) -> Value:
    for axis in dimensions:
        x = o.embedding(b, x, b.constant(np.arange(x.shape[axis])[::-1].copy()), axis)
    return x


def iota(b: Builder, equation: Any) -> Value:
    shape, axis = equation.params["shape"], equation.params["dimension"]
    lead = [1] * len(shape)
    lead[axis] = shape[axis]
    row = np.arange(shape[axis], dtype=equation.params["dtype"]).reshape(lead)
    return b.constant(np.broadcast_to(row, shape))


def split(b: Builder, x: Value, sizes: Sequence[int], axis: int, **_: Any) -> list[Value]:
    ends = np.cumsum(sizes).tolist()
    return [b.slice(x, axis, end - n, end) for n, end in zip(sizes, ends)]


def reduction(primitive: str) -> Rule:
    def rule(b: Builder, equation: Any, x: Value) -> Value:
        axes = equation.params["axes"]
        return b.reduce(primitive, x, axes) if axes else x

    return rule


def place(primitive: str) -> Rule:
    def rule(b: Builder, equation: Any, x: Value) -> Value:
        (axis,) = equation.params["axes"]
        return b.cast(b.place(primitive, x, axis), np.dtype(equation.params["index_dtype"]))

    return rule


def cumsum(b: Builder, x: Value, axis: int, reverse: bool = False, **_: Any) -> Value:
    if reverse:
        return rev(b, b.along("cumsum", rev(b, x, [axis]), axis), [axis])
    return b.along("cumsum", x, axis)


def dot_general(b: Builder, x: Value, y: Value, dimension_numbers: Any, **_: Any) -> Value:
    (left, right), (left_stack, right_stack) = dimension_numbers
    if not left_stack and tuple(left) == (x.rank - 1,) and tuple(right) == (0,) and y.rank == 2:
        return o.matmul(b, x, y)
    letters = iter(string.ascii_letters)
    one, other = [""] * x.rank, [""] * y.rank
    for i, j in (*zip(left_stack, right_stack), *zip(left, right)):
        one[i] = other[j] = next(letters)
    one = [letter or next(letters) for letter in one]
    other = [letter or next(letters) for letter in other]
    output = [one[i] for i in left_stack]
    output += [c for i, c in enumerate(one) if i not in left_stack and i not in left]
    output += [c for j, c in enumerate(other) if j not in right_stack and j not in right]
    equation = f"{''.join(one)},{''.join(other)}->{''.join(output)}"
    return o.einsum(b, equation, o.unified(b, x, y))


def convolution(
    b: Builder,
    x: Value,
    weight: Value,
    dimension_numbers: Any,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    feature_group_count: int,
    batch_group_count: int = 1,
    **_: Any,
) -> Value:
    if any(n != 1 for n in lhs_dilation) or batch_group_count != 1:
        raise Unsupported("transposed or in groups of rows")
    found = o.convolution(
        b,
        b.transpose(x, dimension_numbers.lhs_spec),
        b.transpose(weight, dimension_numbers.rhs_spec),
        None,
        stride=window_strides,
        padding=padding,
        dilation=rhs_dilation,
        groups=feature_group_count,
    )
    spec = dimension_numbers.out_spec
    return b.transpose(found, [spec.index(axis) for axis in range(len(spec))])


def window(primitive: str) -> Rule:
    """Pooling over the axes whose window has more than one entry."""

    def rule(b: Builder, equation: Any, x: Value, *_: Value) -> Value:
        params = equation.params
        kernel, stride = params["window_dimensions"], params["window_strides"]
        if any(n != 1 for n in (*params["base_dilation"], *params["window_dilation"])):
            raise Unsupported("with dilation")
        axes = [i for i, (k, s) in enumerate(zip(kernel, stride)) if k != 1 or s != 1]
        if not axes:
            return x
        order = [i for i in range(x.rank) if i not in axes] + axes
        options: dict[str, Any] = {
            "kernel": tuple(kernel[i] for i in axes),
            "stride": tuple(stride[i] for i in axes),
            "padding": tuple(tuple(params["padding"][i]) for i in axes),
        }
        found = o.pool(b, primitive, b.transpose(x, order), len(axes), **options)
        if primitive == "avg_pool":
            count = int(np.prod(options["kernel"]))
            found = b.elementwise("mul", found, b.constant(np.asarray(count, x.dtype)))
        return b.transpose(found, [order.index(i) for i in range(x.rank)])

    return rule


def same(b: Builder, equation: Any, *args: Value) -> Any:
    return list(args)


def concatenate(b: Builder, *args: Value, dimension: int, **_: Any) -> Value:
    return b.concat(args, dimension)


def transpose(b: Builder, x: Value, permutation: Sequence[int], **_: Any) -> Value:
    return b.transpose(x, permutation)


RULES: Mapping[str, Rule] = {
    **{
        name: plain(primitive)
        for name, primitive in (
            *(("add", "add"), ("add_any", "add"), ("sub", "sub"), ("mul", "mul"), ("neg", "neg")),
            *(("max", "maximum"), ("min", "minimum"), ("abs", "abs"), ("pow", "pow")),
            *(("exp", "exp"), ("log", "log"), ("tanh", "tanh"), ("logistic", "sigmoid")),
            *(("sqrt", "sqrt"), ("erf", "erf"), ("sin", "sin"), ("cos", "cos")),
            *(("floor", "floor"), ("sign", "sign"), ("lt", "lt"), ("le", "le"), ("gt", "gt")),
            *(("ge", "ge"), ("eq", "eq"), ("ne", "ne"), ("lt_to", "lt"), ("le_to", "le")),
        )
    },
    "square": lambda b, equation, x: b.elementwise("mul", x, x),
    "div": with_params(div),
    "rem": with_params(rem),
    "integer_pow": with_params(integer_pow),
    "rsqrt": with_params(rsqrt),
    "log1p": with_params(log1p),
    "expm1": with_params(expm1),
    "exp2": with_params(exp2),
    "ceil": with_params(ceil),
    "round": with_params(round_),
    "clamp": with_params(clamp),
    "select_n": with_params(select_n),
    "and": logical("and"),
    "or": logical("or"),
    "not": logical("not"),
    "convert_element_type": with_params(convert),
    "broadcast_in_dim": with_params(broadcast_in_dim),
    "reshape": with_params(reshape),
    "transpose": with_params(transpose),
    "squeeze": with_params(squeeze),
    "expand_dims": with_params(expand_dims),
    "concatenate": with_params(concatenate),
    "slice": with_params(slice_),
    "dynamic_slice": with_params(dynamic_slice),
    "dynamic_update_slice": with_params(dynamic_update_slice),
    "gather": with_params(gather),
    "pad": with_params(pad),
    "rev": with_params(rev),
    "iota": iota,
    "split": with_params(split),
    "reduce_sum": reduction("sum"),
    "reduce_max": reduction("max"),
    "reduce_min": reduction("min"),
    "reduce_prod": reduction("prod"),
    "reduce_or": reduction("max"),
    "reduce_and": reduction("min"),
    "argmax": place("argmax"),
    "argmin": place("argmin"),
    "cumsum": with_params(cumsum),
    "dot_general": with_params(dot_general),
    "conv_general_dilated": with_params(convolution),
    "reduce_window_max": window("max_pool"),
    "reduce_window_sum": window("avg_pool"),
    **dict.fromkeys(("copy", "copy_p", "device_put", "stop_gradient"), same),
}
"""Every operation of jaxprs that has a translation; calls and loops are the walker's."""
