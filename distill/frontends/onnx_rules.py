"""The operations of ONNX, by name, as calls of the builder, for opset 8 and later.

A rule takes the inputs of a node as one tuple (None where one is left out) and its attributes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from distill.frontends import operators as o
from distill.frontends.building import Builder, Unsupported, Value
from distill.frontends.graph import Rule
from distill.frontends.onnx_recurrent import RECURRENT

Inputs = tuple[Any, ...]
Attributes = Mapping[str, Any]


def rule(function: Callable[..., Any]) -> Rule:
    """A function of a builder and the inputs, and of the attributes by name."""

    @functools.wraps(function)
    def found(b: Builder, inputs: Inputs, *, attributes: Attributes, **_: Any) -> Any:
        return function(b, *inputs, **attributes)

    return found


def elementwise(primitive: str, **options: Any) -> Rule:
    return lambda b, inputs, **_: b.elementwise(primitive, *inputs, **options)


def ints(value: Value | None) -> list[int]:
    """A constant list of whole numbers."""
    if value is None:
        return []
    if not value.is_constant:
        raise Unsupported("by a computed shape")
    return [int(n) for n in value.sample.reshape(-1)]


def number(value: Value) -> float:
    if not value.is_constant:
        raise Unsupported("by a computed number")
    return float(value.sample.reshape(-1)[0])


def variadic(primitive: str) -> Rule:
    def found(b: Builder, inputs: Inputs, **_: Any) -> Value:
        result: Value = inputs[0]
        for other in inputs[1:]:
            result = b.elementwise(primitive, result, other)
        return result

    return found


@rule
def mean_of(b: Builder, *inputs: Value) -> Value:
    total: Value = variadic("add")(b, inputs)
    return b.elementwise("div", total, b.constant(np.asarray(len(inputs), total.dtype)))


@rule
def div(b: Builder, x: Value, y: Value) -> Value:
    if x.dtype.kind == "f":
        return b.elementwise("div", x, y)
    return b.cast(b.elementwise("div", x, y), x.dtype)  # whole numbers: towards zero


@rule
def mod(b: Builder, x: Value, y: Value, fmod: int = 0) -> Value:
    if fmod:
        raise Unsupported("with the sign of the dividend")
    return b.elementwise("mod", x, y)


@rule
def power(b: Builder, x: Value, y: Value) -> Value:
    return b.elementwise("pow", x, b.cast(y, x.dtype) if y.is_constant else y)


@rule
def reciprocal(b: Builder, x: Value) -> Value:
    return b.elementwise("div", b.constant(np.ones((), x.dtype)), x)


@rule
def leaky_relu(b: Builder, x: Value, alpha: float = 0.01) -> Value:
    return b.elementwise("leaky_relu", x, slope=float(alpha))


@rule
def prelu(b: Builder, x: Value, slope: Value) -> Value:
    positive = b.elementwise("relu", x)
    return b.elementwise(
        "add", positive, b.elementwise("mul", b.elementwise("sub", x, positive), slope)
    )


def exponential(default: float, scale: float, *, inner: bool = False) -> Rule:
    """Elu, Selu (`scale`) and Celu (`inner` scales x too)."""

    @rule
    def found(b: Builder, x: Value, alpha: float = default, gamma: float = scale) -> Value:
        def constant(value: float) -> Value:
            return b.constant(np.asarray(value, x.dtype))

        low = b.elementwise("minimum", x, constant(0.0))
        if inner:
            low = b.elementwise("div", low, constant(alpha))
        curved = b.elementwise("sub", b.elementwise("exp", low), constant(1.0))
        curved = b.elementwise("mul", curved, constant(alpha))
        total = b.elementwise("add", b.elementwise("relu", x), curved)
        return total if gamma == 1 else b.elementwise("mul", total, constant(gamma))

    return found


@rule
def hard_sigmoid(b: Builder, x: Value, alpha: float = 0.2, beta: float = 0.5) -> Value:
    scaled = b.elementwise("mul", x, b.constant(np.asarray(alpha, x.dtype)))
    shifted = b.elementwise("add", scaled, b.constant(np.asarray(beta, x.dtype)))
    return b.elementwise("clip", shifted, low=0.0, high=1.0)


@rule
def hard_swish(b: Builder, x: Value) -> Value:
    return b.elementwise("mul", x, hard_sigmoid(b, (x,), attributes={"alpha": 1 / 6, "beta": 0.5}))


@rule
def softsign(b: Builder, x: Value) -> Value:
    one = b.constant(np.ones((), x.dtype))
    return b.elementwise("div", x, b.elementwise("add", b.elementwise("abs", x), one))


@rule
def mish(b: Builder, x: Value) -> Value:
    return b.elementwise("mul", x, b.elementwise("tanh", b.elementwise("softplus", x, beta=1.0)))


@rule
def gelu(b: Builder, x: Value, approximate: str = "none") -> Value:
    return b.elementwise("gelu", x, approximate=approximate)


@rule
def clip(
    b: Builder, x: Value, low: Any = None, high: Any = None, min: Any = None, max: Any = None
) -> Value:
    for primitive, end in (("maximum", low), ("minimum", high)):
        if end is not None and not end.is_constant:
            x, low, high = b.elementwise(primitive, x, end), None, None
    least = min if low is None else number(low)
    most = max if high is None else number(high)
    return b.elementwise("clip", x, low=least, high=most)


@rule
def cast(b: Builder, x: Value, to: int, **_: Any) -> Value:
    from onnx import helper

    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(to))
    if dtype.kind not in "biuf" or dtype == np.float16:
        raise Unsupported(f"to {dtype}")
    return b.cast(x, dtype)


@rule
def cast_like(b: Builder, x: Value, other: Value, **_: Any) -> Value:
    return b.cast(x, other.dtype)


@rule
def ceil(b: Builder, x: Value) -> Value:
    return b.elementwise("neg", b.elementwise("floor", b.elementwise("neg", x)))


@rule
def tan(b: Builder, x: Value) -> Value:
    return b.elementwise("div", b.elementwise("sin", x), b.elementwise("cos", x))


@rule
def same(b: Builder, x: Value, *_: Any, **__: Any) -> Value:
    return x


def dropout(b: Builder, inputs: Inputs, *, outputs: int, **_: Any) -> Any:
    x = inputs[0]
    if len(inputs) > 2 and inputs[2] is not None and bool(inputs[2].sample):
        raise Unsupported("in training mode")
    return x if outputs == 1 else (x, b.constant(np.ones(x.shape, bool)))


# Products and images.


@rule
def matmul(b: Builder, x: Value, y: Value) -> Value:
    return o.matmul(b, x, y)


@rule
def gemm(
    b: Builder,
    x: Value,
    y: Value,
    c: Value | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    if transA:
        x = b.transpose(x, (1, 0))
    if y.is_constant:
        weight = y if transB else b.transpose(y, (1, 0))
        if alpha != 1:
            weight = b.elementwise("mul", weight, b.constant(np.asarray(alpha, weight.dtype)))
        if c is not None and beta != 1:
            c = b.elementwise("mul", c, b.constant(np.asarray(beta, c.dtype)))
        if c is None or (c.is_constant and c.shape == weight.shape[:1]):
            return o.linear(b, x, weight, c)
        return b.elementwise("add", o.linear(b, x, weight, None), c)
    found = o.matmul(b, x, b.transpose(y, (1, 0)) if transB else y)
    if alpha != 1:
        found = b.elementwise("mul", found, b.constant(np.asarray(alpha, found.dtype)))
    if c is None:
        return found
    if beta != 1:
        c = b.elementwise("mul", c, b.constant(np.asarray(beta, found.dtype)))
    return b.elementwise("add", found, c)


@rule
def einsum(b: Builder, *inputs: Value, equation: str) -> Value:
    return o.einsum(b, equation, inputs)


def places(
    space: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[int] | None,
    auto_pad: str,
    ceil_mode: int = 0,
) -> list[tuple[int, int]]:
    """Padding (before, after) for each axis of the space."""
    axes = len(kernel)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for n, s, span in zip(space, stride, spans):
            total = max((-(-n // s) - 1) * s + span - n, 0)
            less, more = total // 2, total - total // 2
            found.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
        return found
    given = [0] * 2 * axes if pads is None or auto_pad == "VALID" else list(pads)
    pairs = [(given[i], given[i + axes]) for i in range(axes)]
    if not ceil_mode:
        return pairs
    found = []
    for (before, after), n, s, span in zip(pairs, space, stride, spans):
        count = -(-(n + before + after - span) // s) + 1
        if (count - 1) * s >= n + before:
            count -= 1
        found.append((before, max(after, (count - 1) * s + span - n - before)))
    return found


@rule
def conv(
    b: Builder,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:
    axes = weight.rank - 2
    stride, dilation = strides or [1] * axes, dilations or [1] * axes
    padding = places(x.shape[2:], weight.shape[2:], stride, dilation, pads, auto_pad)
    return o.convolution(
        b, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=group
    )


def max_pool(
    b: Builder, inputs: Inputs, *, attributes: Attributes, outputs: int = 1, **_: Any
) -> Value:
    if outputs > 1:
        raise Unsupported("with places")
    kernel = tuple(attributes["kernel_shape"])
    stride = tuple(attributes.get("strides") or [1] * len(kernel))
    dilation = tuple(attributes.get("dilations") or [1] * len(kernel))
    padding = _pool_places(inputs[0], kernel, stride, dilation, attributes)
    options = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return o.pool(b, "max_pool", inputs[0], len(kernel), **options)


def average_pool(b: Builder, inputs: Inputs, *, attributes: Attributes, **_: Any) -> Value:
    kernel = tuple(attributes["kernel_shape"])
    stride = tuple(attributes.get("strides") or [1] * len(kernel))
    if attributes.get("ceil_mode") or any(d != 1 for d in attributes.get("dilations") or ()):
        raise Unsupported("with ceil_mode or dilations")
    padding = _pool_places(inputs[0], kernel, stride, (1,) * len(kernel), attributes)
    counted = bool(attributes.get("count_include_pad", 0))
    options = {"kernel": kernel, "stride": stride, "padding": padding, "counted": counted}
    return o.pool(b, "avg_pool", inputs[0], len(kernel), **options)


def _pool_places(
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    attributes: Attributes,
) -> tuple[tuple[int, int], ...]:
    pads, auto = attributes.get("pads"), attributes.get("auto_pad", "NOTSET")
    mode = attributes.get("ceil_mode", 0)
    return tuple(places(x.shape[2:], kernel, stride, dilation, pads, auto, mode))


def global_pool(primitive: str) -> Rule:
    @rule
    def found(b: Builder, x: Value) -> Value:
        return b.reduce(primitive, x, range(2, x.rank), keepdims=True)

    return found


# Shapes.


@rule
def reshape(
    b: Builder, x: Value, shape: Value | None = None, allowzero: int = 0, **old: Any
) -> Value:
    wanted = list(old["shape"]) if shape is None else ints(shape)
    if not allowzero:
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return b.reshape(x, wanted)


@rule
def transpose(b: Builder, x: Value, perm: Sequence[int] | None = None) -> Value:
    return b.transpose(x, range(x.rank)[::-1] if perm is None else perm)


@rule
def flatten(b: Builder, x: Value, axis: int = 1) -> Value:
    axis = axis if axis >= 0 else axis + x.rank
    return b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@rule
def squeeze(b: Builder, x: Value, given: Value | None = None, axes: Any = None) -> Value:
    wanted = ints(given) if given is not None else list(axes or [])
    return b.squeeze(x, wanted or [i for i, n in enumerate(x.shape) if n == 1])


@rule
def unsqueeze(b: Builder, x: Value, given: Value | None = None, axes: Any = ()) -> Value:
    wanted = ints(given) if given is not None else list(axes)
    rank = x.rank + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = b.unsqueeze(x, axis)
    return x


@rule
def concat(b: Builder, *inputs: Value, axis: int = 1) -> Value:
    return b.concat(inputs, axis)


def split(b: Builder, inputs: Inputs, *, attributes: Attributes, outputs: int, **_: Any) -> Any:
    x, axis = inputs[0], attributes.get("axis", 0)
    if len(inputs) > 1 and inputs[1] is not None:
        sizes = ints(inputs[1])
    elif "split" in attributes:
        sizes = list(attributes["split"])
    else:
        each = -(-x.shape[axis] // outputs)
        sizes = [each] * (outputs - 1) + [x.shape[axis] - each * (outputs - 1)]
    ends = np.cumsum(sizes).tolist()
    parts = tuple(b.slice(x, axis, end - n, end) for n, end in zip(sizes, ends))
    return parts if outputs > 1 else parts[0]


def slice_(b: Builder, inputs: Inputs, *, attributes: Attributes, **_: Any) -> Value:
    x = inputs[0]
    if len(inputs) == 1:
        starts, ends = list(attributes["starts"]), list(attributes["ends"])
        axes, steps = list(attributes.get("axes") or range(len(starts))), [1] * len(starts)
    else:
        given = [*inputs[1:], None, None, None]
        starts, ends = ints(given[0]), ints(given[1])
        axes = ints(given[2]) or list(range(len(starts)))
        steps = ints(given[3]) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps):
        if step < 0 and end <= -x.shape[axis] - 1:
            index = np.arange(x.shape[axis])[start::step]
            x = o.embedding(b, x, b.constant(index), axis)
        else:
            x = b.slice(x, axis, start, end, step)
    return x


@rule
def gather(b: Builder, x: Value, index: Value, axis: int = 0) -> Value:
    if index.is_constant:
        count = x.shape[axis]
        index = b.constant(np.where(index.sample < 0, index.sample + count, index.sample))
        if index.rank == 0:
            return b.select(x, axis, int(index.sample))
    return o.embedding(b, x, index, axis)


@rule
def gather_elements(b: Builder, x: Value, index: Value, axis: int = 0) -> Value:
    return o.gather_along(b, x, index, axis)


@rule
def expand(b: Builder, x: Value, shape: Value) -> Value:
    wanted = ints(shape)
    full = np.broadcast_shapes(x.shape, tuple(wanted))
    return b.expand(x, full)


@rule
def tile(b: Builder, x: Value, repeats: Value) -> Value:
    for axis, times in enumerate(ints(repeats)):
        if times > 1:
            x = b.concat([x] * times, axis)
    return x


def pad(b: Builder, inputs: Inputs, *, attributes: Attributes, **_: Any) -> Value:
    x, mode = inputs[0], attributes.get("mode", "constant")
    given = [*inputs[1:], None, None, None]
    pads = ints(given[0]) if given[0] is not None else list(attributes["pads"])
    value = number(given[1]) if given[1] is not None else float(attributes.get("value", 0.0))
    axes = [axis % x.rank for axis in ints(given[2])] or list(range(x.rank))
    pairs = [(0, 0)] * x.rank
    for place, axis in enumerate(axes):
        pairs[axis] = (pads[place], pads[place + len(axes)])
    if mode == "constant":
        return o.pad(b, x, pairs, value)
    renamed = {"edge": "replicate", "wrap": "circular"}.get(str(mode), str(mode))
    return o.gathered_pad(b, x, pairs, renamed)


@rule
def shape(b: Builder, x: Value, start: int = 0, end: int | None = None) -> Value:
    return b.constant(np.asarray(x.shape[start:end], np.int64))


@rule
def size(b: Builder, x: Value) -> Value:
    return b.constant(np.asarray(o.size(x), np.int64))


@rule
def constant(b: Builder, **attributes: Any) -> Value:
    if "sparse_value" in attributes:
        raise Unsupported("sparse")
    (name, value), *_ = attributes.items()
    dtype: Any = {"value_float": np.float32, "value_floats": np.float32}.get(name)
    return b.constant(np.asarray(value, dtype))


@rule
def constant_of_shape(b: Builder, shape: Value, value: Any = None) -> Value:
    filling = np.zeros(1, np.float32) if value is None else np.asarray(value)
    wanted = ints(shape)
    if math.prod(wanted) > 1 << 28:
        raise Unsupported("of more than 2**28 entries")
    return b.constant(np.full(wanted, filling.reshape(-1)[0], filling.dtype))


@rule
def range_(b: Builder, start: Value, limit: Value, delta: Value) -> Value:
    ends = [v.sample.reshape(-1)[0] for v in (start, limit, delta)]
    if not all(v.is_constant for v in (start, limit, delta)):
        raise Unsupported("with computed ends")
    return b.constant(np.arange(*ends, dtype=start.dtype))


@rule
def trilu(b: Builder, x: Value, k: Value | None = None, upper: int = 1) -> Value:
    offset = 0 if k is None else ints(k)[0]
    rows, columns = x.shape[-2:]
    below = np.tri(rows, columns, offset - 1 if upper else offset, dtype=np.bool_)
    kept = b.constant(~below if upper else below)
    if x.dtype == bool:
        return b.elementwise("and", x, kept)
    return b.elementwise("where", kept, x, b.constant(np.zeros((), x.dtype)))


@rule
def one_hot(b: Builder, index: Value, depth: Value, values: Value, axis: int = -1) -> Value:
    if not values.is_constant:
        raise Unsupported("of computed values")
    count = ints(depth)[0]
    axis = axis % (index.rank + 1)
    lead = b.unsqueeze(index, axis)
    row = np.arange(count, dtype=index.dtype).reshape((-1, *(1,) * (index.rank - axis)))
    off, on = values.sample.reshape(-1)
    return b.elementwise(
        "where",
        b.elementwise("eq", lead, b.constant(row)),
        b.constant(np.asarray(on)),
        b.constant(np.asarray(off)),
    )


@rule
def depth_to_space(b: Builder, x: Value, blocksize: int, mode: str = "DCR") -> Value:
    n, c, h, w = x.shape
    inner = c // blocksize**2
    if mode == "DCR":
        parts = b.reshape(x, (n, blocksize, blocksize, inner, h, w))
        turned = b.transpose(parts, (0, 3, 4, 1, 5, 2))
    else:
        parts = b.reshape(x, (n, inner, blocksize, blocksize, h, w))
        turned = b.transpose(parts, (0, 1, 4, 2, 5, 3))
    return b.reshape(turned, (n, inner, h * blocksize, w * blocksize))


# Along axes.


def reduction(primitive: str, before: str = "", after: str = "") -> Rule:
    @rule
    def found(
        b: Builder,
        x: Value,
        given: Value | None = None,
        axes: Any = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Value:
        wanted = ints(given) if given is not None else list(axes or [])
        if before == "square":
            x = b.elementwise("mul", x, x)
        elif before:
            x = b.elementwise(before, x)
        if wanted or not noop_with_empty_axes:
            x = b.reduce(primitive, x, wanted, keepdims=bool(keepdims))
        return b.elementwise(after, x) if after else x

    return found


@rule
def log_sum_exp(
    b: Builder, x: Value, given: Value | None = None, axes: Any = None, keepdims: int = 1, **_: Any
) -> Value:
    wanted = ints(given) if given is not None else list(axes or range(x.rank))
    top = b.reduce("max", x, wanted, keepdims=True)
    powers = b.elementwise("exp", b.elementwise("sub", x, top))
    total = b.elementwise("log", b.reduce("sum", powers, wanted, keepdims=True))
    found = b.elementwise("add", total, top)
    return found if keepdims else b.squeeze(found, wanted)


def place(primitive: str) -> Rule:
    @rule
    def found(
        b: Builder, x: Value, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
    ) -> Value:
        if select_last_index:
            raise Unsupported("the last of ties")
        return b.place(primitive, x, axis, keepdims=bool(keepdims))

    return found


def softmax(primitive: str) -> Rule:
    def found(b: Builder, inputs: Inputs, *, attributes: Attributes, opset: int, **_: Any) -> Value:
        x = inputs[0]
        axis = attributes.get("axis", -1 if opset >= 13 else 1)
        if opset >= 13 or axis % x.rank == x.rank - 1:
            return b.along(primitive, x, axis)
        # Before opset 13 all axes from `axis` on are one.
        axis = axis % x.rank
        flat = b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
        return b.reshape(b.along(primitive, flat, 1), x.shape)

    return found


@rule
def cumsum(b: Builder, x: Value, axis: Value, exclusive: int = 0, reverse: int = 0) -> Value:
    if exclusive or reverse:
        raise Unsupported("exclusive or reversed")
    return b.along("cumsum", x, ints(axis)[0])


def layer_norm(
    b: Builder, inputs: Inputs, *, attributes: Attributes, outputs: int, **_: Any
) -> Any:
    if outputs > 1:
        raise Unsupported("with mean and deviation")
    x, weight, *rest = inputs
    axis = attributes.get("axis", -1) % x.rank
    epsilon = attributes.get("epsilon", 1e-5)
    return o.layer_norm(b, x, x.rank - axis, weight, rest[0] if rest else None, epsilon)


@rule
def rms_norm(
    b: Builder, x: Value, weight: Value, axis: int = -1, epsilon: float = 1e-5, **_: Any
) -> Value:
    return o.layer_norm(b, x, x.rank - axis % x.rank, weight, None, epsilon, centred=False)


def batch_norm(
    b: Builder, inputs: Inputs, *, attributes: Attributes, outputs: int, **_: Any
) -> Value:
    if attributes.get("training_mode") or outputs > 1:
        raise Unsupported("in training mode")
    x, scale, bias, mean, variance = inputs
    return o.batch_norm(b, x, scale, bias, mean, variance, attributes.get("epsilon", 1e-5))


@rule
def instance_norm(b: Builder, x: Value, scale: Value, bias: Value, epsilon: float = 1e-5) -> Value:
    return o.group_norm(b, x, x.shape[1], scale, bias, epsilon)


@rule
def group_norm(
    b: Builder,
    x: Value,
    scale: Value,
    bias: Value,
    num_groups: int = 1,
    epsilon: float = 1e-5,
    **_: Any,
) -> Value:
    if scale.shape != (x.shape[1],):
        raise Unsupported("with a scale for each group")
    return o.group_norm(b, x, num_groups, scale, bias, epsilon)


# Quantised layers, as the whole numbers that they compute with.


def quantised(b: Builder, x: Value, scale: Value, zero: Value | None, axis: int = 1) -> Value:
    dtype = np.dtype(np.uint8) if zero is None else zero.dtype
    if axis != 1 or (scale.rank > 0 and scale.shape != (1,)):
        scale, zero = _channels(b, x, scale, axis), _channels(b, x, zero, axis)
    steps = b.elementwise("round", b.elementwise("div", x, scale))
    if zero is not None:
        steps = b.elementwise("add", steps, b.cast(zero, x.dtype))
    limits = np.iinfo(dtype)
    return b.cast(b.elementwise("clip", steps, low=limits.min, high=limits.max), dtype)


def _channels(b: Builder, x: Value, part: Any, axis: int) -> Any:
    if part is None or part.rank == 0 or part.shape == (1,):
        return part
    wanted = [1] * x.rank
    wanted[axis] = part.shape[0]
    return b.reshape(part, wanted)


@rule
def quantize(
    b: Builder, x: Value, scale: Value, zero: Value | None = None, axis: int = 1, **_: Any
) -> Value:
    return quantised(b, x, scale, zero, axis)


@rule
def dequantize(
    b: Builder, x: Value, scale: Value, zero: Value | None = None, axis: int = 1, **_: Any
) -> Value:
    scale, zero = _channels(b, x, scale, axis), _channels(b, x, zero, axis)
    real = b.cast(x, scale.dtype)
    if zero is not None:
        real = b.elementwise("sub", real, b.cast(zero, scale.dtype))
    return b.elementwise("mul", real, scale)


def _whole(b: Builder, x: Value, zero: Value | None, axis: int | None = None) -> Value:
    wide = b.cast(x, np.int64)
    if zero is None:
        return wide
    if axis is not None:
        zero = _channels(b, x, zero, axis)
    return b.elementwise("sub", wide, b.cast(zero, np.int64))


@rule
def matmul_integer(
    b: Builder, x: Value, y: Value, x_zero: Value | None = None, y_zero: Value | None = None
) -> Value:
    return b.cast(o.matmul(b, _whole(b, x, x_zero), _whole(b, y, y_zero)), np.int32)


@rule
def conv_integer(
    b: Builder,
    x: Value,
    y: Value,
    x_zero: Value | None = None,
    y_zero: Value | None = None,
    **options: Any,
) -> Value:
    args = (_whole(b, x, x_zero), _whole(b, y, y_zero, 0))
    return b.cast(conv(b, args, attributes=options), np.int32)


def _requantised(
    b: Builder, total: Value, scales: Sequence[Value], scale: Value, zero: Value
) -> Value:
    factor = b.elementwise("div", b.elementwise("mul", scales[0], scales[1]), scale)
    real = b.elementwise("mul", b.cast(total, np.float32), factor)
    shifted = b.elementwise("add", b.elementwise("round", real), b.cast(zero, np.float32))
    limits = np.iinfo(zero.dtype)
    return b.cast(b.elementwise("clip", shifted, low=limits.min, high=limits.max), zero.dtype)


@rule
def qlinear_matmul(
    b: Builder, x: Value, sx: Value, zx: Value, y: Value, sy: Value, zy: Value, s: Value, z: Value
) -> Value:
    total = o.matmul(b, _whole(b, x, zx), _whole(b, y, zy))
    return _requantised(b, total, (sx, sy), s, z)


@rule
def qlinear_conv(
    b: Builder,
    x: Value,
    sx: Value,
    zx: Value,
    w: Value,
    sw: Value,
    zw: Value,
    s: Value,
    z: Value,
    bias: Value | None = None,
    **options: Any,
) -> Value:
    wide = None if bias is None else b.cast(bias, np.int64)
    total = conv(b, (_whole(b, x, zx), _whole(b, w, zw, 0), wide), attributes=options)
    return _requantised(b, total, (sx, _channels(b, total, sw, 1)), s, z)


@rule
def q_gemm(
    b: Builder,
    x: Value,
    sx: Value,
    zx: Value,
    w: Value,
    sw: Value,
    zw: Value,
    c: Value | None = None,
    s: Value | None = None,
    z: Value | None = None,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    if alpha != 1 or s is None or z is None:
        raise Unsupported("with a factor or a real output")
    args = (_whole(b, x, zx), _whole(b, w, zw), None if c is None else b.cast(c, np.int64))
    total = gemm(b, args, attributes={"transA": transA, "transB": transB})
    return _requantised(b, total, (sx, sw), s, z)


@rule
def nothing(b: Builder, *_: Any, **__: Any) -> None:
    return None


RULES: Mapping[str, Rule] = {
    **{
        name: elementwise(primitive)
        for name, primitive in (
            *(("Add", "add"), ("Sub", "sub"), ("Mul", "mul"), ("Neg", "neg"), ("Abs", "abs")),
            *(("Relu", "relu"), ("Tanh", "tanh"), ("Sigmoid", "sigmoid"), ("Exp", "exp")),
            *(("Log", "log"), ("Sqrt", "sqrt"), ("Erf", "erf"), ("Sin", "sin"), ("Cos", "cos")),
            *(("Floor", "floor"), ("Round", "round"), ("Sign", "sign"), ("Where", "where")),
            *(("Less", "lt"), ("LessOrEqual", "le"), ("Greater", "gt")),
            *(("GreaterOrEqual", "ge"), ("Equal", "eq"), ("Not", "not"), ("And", "and")),
            *(("Or", "or"), ("Xor", "ne"), ("Swish", "silu")),
        )
    },
    "Softplus": elementwise("softplus", beta=1.0),
    "IsNaN": lambda b, inputs, **_: b.elementwise("ne", inputs[0], inputs[0]),
    **{name: variadic(p) for name, p in (("Sum", "add"), ("Max", "maximum"), ("Min", "minimum"))},
    "Mean": mean_of,
    "Div": div,
    "Mod": mod,
    "Pow": power,
    "Reciprocal": reciprocal,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": exponential(1.0, 1.0),
    "Selu": exponential(1.67326319217681884765625, 1.05070102214813232421875),
    "Celu": exponential(1.0, 1.0, inner=True),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Softsign": softsign,
    "Mish": mish,
    "Gelu": gelu,
    "Clip": clip,
    "Cast": cast,
    "CastLike": cast_like,
    "Ceil": ceil,
    "Tan": tan,
    "Identity": same,
    "Dropout": dropout,
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "Conv": conv,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_pool("mean"),
    "GlobalMaxPool": global_pool("max"),
    "Reshape": reshape,
    "Transpose": transpose,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "Shape": shape,
    "Size": size,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
    "Trilu": trilu,
    "OneHot": one_hot,
    "DepthToSpace": depth_to_space,
    "ReduceSum": reduction("sum"),
    "ReduceMean": reduction("mean"),
    "ReduceMax": reduction("max"),
    "ReduceMin": reduction("min"),
    "ReduceProd": reduction("prod"),
    "ReduceL1": reduction("sum", before="abs"),
    "ReduceL2": reduction("sum", before="square", after="sqrt"),
    "ReduceSumSquare": reduction("sum", before="square"),
    "ReduceLogSumExp": log_sum_exp,
    "ArgMax": place("argmax"),
    "ArgMin": place("argmin"),
    "Softmax": softmax("softmax"),
    "LogSoftmax": softmax("log_softmax"),
    "CumSum": cumsum,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "MatMulInteger": matmul_integer,
    "ConvInteger": conv_integer,
    "QLinearMatMul": qlinear_matmul,
    "QLinearConv": qlinear_conv,
    "com.microsoft.QGemm": q_gemm,
    "getitem": lambda b, x, index: x[index],
    **RECURRENT,
}
"""Every operation of ONNX that has a translation."""
