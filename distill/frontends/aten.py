"""The operations of PyTorch's exported graphs, by name, as calls of the builder.

Rules take arguments as the schema of the operation names them.  Nothing here imports torch.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from distill.frontends import operators as o
from distill.frontends.building import Builder, Unsupported, Value
from distill.frontends.graph import Rule

Number = int | float | bool


def lifted(b: Builder, x: Value | Number, like: Value | Number) -> Value:
    """An argument that may be a number, as a value."""
    if isinstance(x, Value):
        return x
    if isinstance(like, Value):
        return o.number(b, x, like)
    return b.constant(np.asarray(x, np.float32 if isinstance(x, float) else None))


def unary(primitive: str, **options: Any) -> Rule:
    def rule(b: Builder, x: Value, **_: Any) -> Value:
        return b.elementwise(primitive, x, **options)

    return rule


def real(primitive: str, **options: Any) -> Rule:
    """A function of a real number; integers become reals."""

    def rule(b: Builder, x: Value, **_: Any) -> Value:
        return b.elementwise(primitive, _float(b, x), **options)

    return rule


def _float(b: Builder, x: Value) -> Value:
    return x if x.dtype.kind == "f" else b.cast(x, np.float32)


def binary(primitive: str) -> Rule:
    def rule(b: Builder, x: Any, y: Any, **_: Any) -> Any:
        return o.binary(b, primitive, lifted(b, x, y), lifted(b, y, x))

    return rule


def scaled(primitive: str) -> Rule:
    """`x + alpha * y` and `x - alpha * y`."""

    def rule(b: Builder, x: Any, other: Any, alpha: Number = 1) -> Value:
        y = lifted(b, other, x)
        if alpha != 1:
            y = o.binary(b, "mul", y, o.number(b, alpha, y))
        return o.binary(b, primitive, lifted(b, x, y), y)

    return rule


def rsub(b: Builder, x: Value, other: Any, alpha: Number = 1) -> Value:
    found: Value = scaled("sub")(b, lifted(b, other, x), x, alpha)
    return found


def div(b: Builder, x: Any, other: Any, *, rounding_mode: str | None = None) -> Value:
    a, c = o.unified(b, lifted(b, x, other), lifted(b, other, x))
    if rounding_mode is None:
        return b.elementwise("div", _float(b, a), _float(b, c))
    if a.dtype.kind in "iu":
        if rounding_mode != "floor":
            raise Unsupported("integer division that truncates")
        rest = b.elementwise("sub", a, b.elementwise("mod", a, c))
        return b.cast(b.elementwise("div", rest, c), a.dtype)
    quotient = b.elementwise("div", a, c)
    if rounding_mode == "floor":
        return b.elementwise("floor", quotient)
    return _trunc(b, quotient)


def _trunc(b: Builder, x: Value) -> Value:
    return b.elementwise(
        "mul", b.elementwise("sign", x), b.elementwise("floor", b.elementwise("abs", x))
    )


def floor_divide(b: Builder, x: Any, other: Any) -> Value:
    return div(b, x, other, rounding_mode="floor")


def power(b: Builder, x: Any, exponent: Any) -> Value:
    if isinstance(exponent, (int, float)) and isinstance(x, Value):
        if exponent == 0.5:
            return b.elementwise("sqrt", _float(b, x))
        if float(exponent).is_integer() and x.dtype.kind == "f":
            return b.elementwise("pow", x, b.constant(np.asarray(exponent, x.dtype)))
    return o.binary(b, "pow", lifted(b, x, exponent), lifted(b, exponent, x))


def reciprocal(b: Builder, x: Value) -> Value:
    x = _float(b, x)
    return b.elementwise("div", b.constant(np.ones((), x.dtype)), x)


def rsqrt(b: Builder, x: Value) -> Value:
    return reciprocal(b, b.elementwise("sqrt", _float(b, x)))


def clamp(b: Builder, x: Value, min: Any = None, max: Any = None) -> Value:
    if isinstance(min, Value) or isinstance(max, Value):
        if min is not None:
            x = o.binary(b, "maximum", x, lifted(b, min, x))
        return x if max is None else o.binary(b, "minimum", x, lifted(b, max, x))
    return b.elementwise("clip", x, low=min, high=max)


def hardtanh(b: Builder, x: Value, min_val: Number = -1.0, max_val: Number = 1.0) -> Value:
    return b.elementwise("clip", x, low=min_val, high=max_val)


def leaky_relu(b: Builder, x: Value, negative_slope: float = 0.01) -> Value:
    return b.elementwise("leaky_relu", x, slope=float(negative_slope))


def prelu(b: Builder, x: Value, weight: Value) -> Value:
    if weight.rank and weight.shape != (1,):
        weight = b.reshape(weight, (-1, *(1,) * (x.rank - 2)))
    positive = b.elementwise("relu", x)
    negative = b.elementwise("sub", x, positive)
    return b.elementwise("add", positive, b.elementwise("mul", negative, weight))


def elu(
    b: Builder, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> Value:
    def number(value: float) -> Value:
        return b.constant(np.asarray(value, x.dtype))

    # exp of what is not positive: no overflow in the branch that is not taken.
    low = b.elementwise("minimum", x, number(0.0))
    if input_scale != 1:
        low = b.elementwise("mul", low, number(input_scale))
    curved = b.elementwise("sub", b.elementwise("exp", low), number(1.0))
    if alpha != 1:
        curved = b.elementwise("mul", curved, number(alpha))
    found = b.elementwise("add", b.elementwise("relu", x), curved)
    return found if scale == 1 else b.elementwise("mul", found, number(scale))


def selu(b: Builder, x: Value) -> Value:
    return elu(b, x, 1.6732632423543772, 1.0507009873554805)


def celu(b: Builder, x: Value, alpha: float = 1.0) -> Value:
    return elu(b, x, alpha, 1.0, 1.0 / alpha)


def softplus(b: Builder, x: Value, beta: Number = 1, threshold: Number = 20) -> Value:
    return b.elementwise("softplus", x, beta=float(beta))


def hardsigmoid(b: Builder, x: Value) -> Value:
    six = b.constant(np.asarray(6.0, x.dtype))
    shifted = b.elementwise("add", x, b.constant(np.asarray(3.0, x.dtype)))
    return b.elementwise("div", b.elementwise("clip", shifted, low=0.0, high=6.0), six)


def hardswish(b: Builder, x: Value) -> Value:
    return b.elementwise("mul", x, hardsigmoid(b, x))


def mish(b: Builder, x: Value) -> Value:
    return b.elementwise("mul", x, b.elementwise("tanh", b.elementwise("softplus", x, beta=1.0)))


def softsign(b: Builder, x: Value) -> Value:
    one = b.constant(np.ones((), x.dtype))
    return b.elementwise("div", x, b.elementwise("add", b.elementwise("abs", x), one))


def gelu(b: Builder, x: Value, approximate: str = "none") -> Value:
    return b.elementwise("gelu", x, approximate=approximate)


def glu(b: Builder, x: Value, dim: int = -1) -> Value:
    half = x.shape[dim] // 2
    gate = b.slice(x, dim, half, 2 * half)
    return b.elementwise("mul", b.slice(x, dim, 0, half), b.elementwise("sigmoid", gate))


def log1p(b: Builder, x: Value) -> Value:
    return b.elementwise("log", b.elementwise("add", x, b.constant(np.ones((), x.dtype))))


def expm1(b: Builder, x: Value) -> Value:
    return b.elementwise("sub", b.elementwise("exp", x), b.constant(np.ones((), x.dtype)))


def log_base(base: float) -> Rule:
    def rule(b: Builder, x: Value) -> Value:
        x = _float(b, x)
        factor = b.constant(np.asarray(1 / math.log(base), x.dtype))
        return b.elementwise("mul", b.elementwise("log", x), factor)

    return rule


def ceil(b: Builder, x: Value) -> Value:
    return b.elementwise("neg", b.elementwise("floor", b.elementwise("neg", x)))


def tan(b: Builder, x: Value) -> Value:
    return b.elementwise("div", b.elementwise("sin", x), b.elementwise("cos", x))


def where(b: Builder, condition: Value, x: Any = None, y: Any = None) -> Value:
    if x is None or y is None:
        raise Unsupported("the places where a condition holds")
    a, c = o.unified(b, lifted(b, x, y), lifted(b, y, x))
    return b.elementwise("where", condition, a, c)


def masked_fill(b: Builder, x: Value, mask: Value, value: Any) -> Value:
    filled = lifted(b, value, x)
    return b.elementwise("where", mask, b.cast(filled, x.dtype), x)


def logical(primitive: str) -> Rule:
    def rule(b: Builder, *args: Any, **_: Any) -> Value:
        values = [lifted(b, arg, args[0]) for arg in args]
        return b.elementwise(primitive, *(b.cast(value, bool) for value in values))

    return rule


def bitwise(primitive: str) -> Rule:
    def rule(b: Builder, *args: Any) -> Value:
        if any(isinstance(arg, Value) and arg.dtype != bool for arg in args):
            raise Unsupported("on integers")
        found: Value = logical(primitive)(b, *args)
        return found

    return rule


def isnan(b: Builder, x: Value) -> Value:
    return b.elementwise("ne", x, x)


# Shapes.


def view(b: Builder, x: Value, size: Sequence[int]) -> Value:
    return b.reshape(x, size)


def flatten(b: Builder, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    first, last = start_dim % max(x.rank, 1), end_dim % max(x.rank, 1)
    return b.reshape(x, (*x.shape[:first], -1, *x.shape[last + 1 :]))


def unflatten(b: Builder, x: Value, dim: int, sizes: Sequence[int]) -> Value:
    dim = dim % x.rank
    known = math.prod(n for n in sizes if n != -1)
    inner = [x.shape[dim] // known if n == -1 else n for n in sizes]
    return b.reshape(x, (*x.shape[:dim], *inner, *x.shape[dim + 1 :]))


def swapped(b: Builder, x: Value, dim0: int, dim1: int) -> Value:
    order = list(range(x.rank))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return b.transpose(x, order)


def turned(b: Builder, x: Value) -> Value:
    return b.transpose(x, range(x.rank)[::-1])


def movedim(b: Builder, x: Value, source: Any, destination: Any) -> Value:
    sources = [source] if isinstance(source, int) else list(source)
    targets = [destination] if isinstance(destination, int) else list(destination)
    sources = [axis % x.rank for axis in sources]
    order = [axis for axis in range(x.rank) if axis not in sources]
    for target, origin in sorted(zip([axis % x.rank for axis in targets], sources)):
        order.insert(target, origin)
    return b.transpose(x, order)


def squeeze(b: Builder, x: Value, dim: Any = None) -> Value:
    if dim is None:
        # For a batch of one row this takes the batch away too: keep what is not known to be one.
        axes = [i for i, n in enumerate(x.shape) if n == 1 and i != x.batch]
    else:
        axes = [dim] if isinstance(dim, int) else list(dim)
    return b.squeeze(x, [a for a in axes if x.rank and x.shape[a] == 1])


def unsqueeze(b: Builder, x: Value, dim: int) -> Value:
    return b.unsqueeze(x, dim)


def expand(b: Builder, x: Value, size: Sequence[int], *, implicit: bool = False) -> Value:
    return b.expand(x, size)


def expand_as(b: Builder, x: Value, other: Value) -> Value:
    return b.expand(x, other.shape)


def repeat(b: Builder, x: Value, repeats: Sequence[int]) -> Value:
    for _ in range(len(repeats) - x.rank):
        x = b.unsqueeze(x, 0)
    for axis, times in enumerate(repeats):
        if times > 1:
            x = b.concat([x] * times, axis)
    return x


def repeat_interleave(b: Builder, x: Value, repeats: int, dim: int | None = None) -> Value:
    if dim is None or not isinstance(repeats, int):
        raise Unsupported("repeats that differ")
    index = np.repeat(np.arange(x.shape[dim]), repeats)
    return o.embedding(b, x, b.constant(index), dim)


def cat(b: Builder, tensors: Sequence[Value], dim: int = 0) -> Value:
    return b.concat(o.unified(b, *tensors), dim)


def stack(b: Builder, tensors: Sequence[Value], dim: int = 0) -> Value:
    return o.stacked(b, o.unified(b, *tensors), dim)


def slice_(
    b: Builder,
    x: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    count = x.shape[dim]
    return b.slice(x, dim, 0 if start is None else start, count if end is None else end, step)


def select(b: Builder, x: Value, dim: int, index: int) -> Value:
    if isinstance(index, Value):
        raise Unsupported("an entry at a computed place")
    return b.select(x, dim, index)


def split(b: Builder, x: Value, split_size: Any, dim: int = 0) -> tuple[Value, ...]:
    count = x.shape[dim]
    if isinstance(split_size, int):
        sizes = [min(split_size, count - i) for i in range(0, count, split_size)]
    else:
        sizes = list(split_size)
    ends = np.cumsum(sizes).tolist()
    return tuple(b.slice(x, dim, end - n, end) for n, end in zip(sizes, ends))


def chunk(b: Builder, x: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    return split(b, x, -(-x.shape[dim] // chunks), dim)


def unbind(b: Builder, x: Value, dim: int = 0) -> tuple[Value, ...]:
    return tuple(b.select(x, dim, index) for index in range(x.shape[dim]))


def narrow(b: Builder, x: Value, dim: int, start: int, length: int) -> Value:
    return b.slice(x, dim, start, start + length)


def flip(b: Builder, x: Value, dims: Sequence[int]) -> Value:
    for dim in dims:
        x = o.embedding(b, x, b.constant(np.arange(x.shape[dim])[::-1].copy()), dim)
    return x


def roll(b: Builder, x: Value, shifts: Sequence[int], dims: Sequence[int] = ()) -> Value:
    if not dims:
        raise Unsupported("over all axes at once")
    for shift, dim in zip(shifts, dims):
        x = o.embedding(b, x, b.constant(np.roll(np.arange(x.shape[dim]), shift)), dim)
    return x


def triangle(lower: bool) -> Rule:
    def rule(b: Builder, x: Value, diagonal: int = 0) -> Value:
        rows, columns = x.shape[-2:]
        mask = np.tri(rows, columns, diagonal if lower else diagonal - 1, dtype=bool)
        kept = b.constant(mask if lower else ~mask)
        if x.dtype == bool:
            return b.elementwise("and", x, kept)
        return b.elementwise("where", kept, x, b.constant(np.zeros((), x.dtype)))

    return rule


def diagonal(b: Builder, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    if offset:
        raise Unsupported("beside the middle")
    order = [i for i in range(x.rank) if i not in (dim1 % x.rank, dim2 % x.rank)]
    letters = "abcdefghij"[: x.rank]
    second = letters[dim2 % x.rank]
    term = letters.replace(second, letters[dim1 % x.rank])
    return o.einsum(b, f"{term}->{''.join(letters[i] for i in order)}{letters[dim1]}", [x])


def index(b: Builder, x: Value, indices: Sequence[Value | None]) -> Value:
    """Advanced indexing: one index array, or several that are constant."""
    given = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if any(i.dtype == bool for _, i in given):
        raise Unsupported("by truth values")
    if len(given) == 1:
        axis, at = given[0]
        return o.embedding(b, x, _counted(b, at, x.shape[axis]), axis)
    axes = [axis for axis, _ in given]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise Unsupported("by arrays that are not side by side")
    # Several axes side by side: one axis of all their entries, and one index into it.
    sizes = [x.shape[axis] for axis in axes]
    flat = b.reshape(x, (*x.shape[: axes[0]], -1, *x.shape[axes[-1] + 1 :]))
    if x.is_constant or all(i.is_constant for _, i in given):
        place: Value | None = None
        for (_, at), size in zip(given, sizes):
            at = _counted(b, at, size)
            if place is None:
                place = at
            else:
                scale = b.constant(np.asarray(size, at.dtype))
                place = o.binary(b, "add", b.elementwise("mul", place, scale), at)
        assert place is not None
        return o.embedding(b, flat, place, axes[0])
    return _rows_at(b, x, given)


def _rows_at(b: Builder, x: Value, given: Sequence[tuple[int, Value]]) -> Value:
    """`x[rows, at]` with rows 0..n-1 of a computed x: one entry of each row."""
    (first, rows), *rest = given
    if first != 0 or len(rest) != 1 or not rows.is_constant:
        raise Unsupported("by several computed arrays")
    (_, at) = rest[0]
    count = x.shape[0]
    if not np.array_equal(rows.sample.reshape(-1), np.arange(count)) or x.rank < 2:
        raise Unsupported("by several computed arrays")
    at = b.reshape(_counted(b, at, x.shape[1]), (count, 1, *(1,) * (x.rank - 2)))
    at = b.expand(at, (count, 1, *x.shape[2:]))
    found = o.gather_along(b, x, at, 1)
    return b.squeeze(found, [1])


def _counted(b: Builder, at: Value, count: int) -> Value:
    """Constant indices counted from the start, as bounds need them."""
    if not at.is_constant or at.dtype == bool:
        return at
    return b.constant(np.where(at.sample < 0, at.sample + count, at.sample), at.label)


def index_select(b: Builder, x: Value, dim: int, index: Value) -> Value:
    return o.embedding(b, x, index, dim)


def gather(b: Builder, x: Value, dim: int, index: Value, **_: Any) -> Value:
    return o.gather_along(b, x, index, dim)


def embedding(b: Builder, weight: Value, indices: Value, *_: Any, **__: Any) -> Value:
    return o.embedding(b, weight, indices)


def one_hot(b: Builder, x: Value, num_classes: int = -1) -> Value:
    if num_classes < 0:
        raise Unsupported("without the number of classes")
    row = b.constant(np.arange(num_classes, dtype=x.dtype))
    return b.cast(b.elementwise("eq", b.unsqueeze(x, -1), row), np.int64)


def pad(
    b: Builder, x: Value, pad: Sequence[int], mode: str = "constant", value: Any = None
) -> Value:
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    if mode != "constant":
        return o.gathered_pad(b, x, pairs, mode)
    return o.pad(b, x, pairs, 0.0 if value is None else float(value))


def like(fill: Number | None) -> Rule:
    def rule(b: Builder, x: Value, *args: Any, dtype: Any = None, **_: Any) -> Value:
        value = args[0] if fill is None else fill
        kind = x.dtype if dtype is None else np.dtype(dtype)
        return b.constant(np.full(x.shape, value, kind))

    return rule


def filled(fill: Number | None) -> Rule:
    def rule(b: Builder, size: Sequence[int], *args: Any, dtype: Any = None, **_: Any) -> Value:
        value = args[0] if fill is None else fill
        default = np.float32 if fill is not None or isinstance(value, float) else None
        return b.constant(np.full(tuple(size), value, default if dtype is None else dtype))

    return rule


def new_filled(fill: Number | None) -> Rule:
    def rule(b: Builder, x: Value, size: Sequence[int], *args: Any, **options: Any) -> Value:
        value = args[0] if fill is None else fill
        dtype = options.get("dtype")
        return b.constant(np.full(tuple(size), value, x.dtype if dtype is None else dtype))

    return rule


def arange(b: Builder, *args: Number, dtype: Any = None, **_: Any) -> Value:
    ends = args if len(args) > 1 else (0, *args)
    if dtype is None and any(isinstance(end, float) for end in ends):
        dtype = np.float32
    return b.constant(np.arange(*ends, dtype=np.int64 if dtype is None else dtype))


def linspace(b: Builder, start: Number, end: Number, steps: int, **options: Any) -> Value:
    dtype = options.get("dtype")
    return b.constant(np.linspace(start, end, steps, dtype=np.float32 if dtype is None else dtype))


def eye(b: Builder, n: int, m: int | None = None, dtype: Any = None, **_: Any) -> Value:
    return b.constant(np.eye(n, m, dtype=np.float32 if dtype is None else dtype))


def scalar_tensor(b: Builder, value: Number, dtype: Any = None, **_: Any) -> Value:
    default = np.float32 if isinstance(value, float) else None
    return b.constant(np.asarray(value, default if dtype is None else dtype))


def same(b: Builder, x: Any, *_: Any, **__: Any) -> Any:
    return x


def nothing(b: Builder, *_: Any, **__: Any) -> None:
    return None


def convert(b: Builder, x: Value, *args: Any, dtype: Any = None, **_: Any) -> Value:
    wanted = [a for a in args if isinstance(a, np.dtype)] or [dtype]
    if args and isinstance(args[0], Value):
        wanted = [args[0].dtype]
    return x if wanted[0] is None else b.cast(x, wanted[0])


def item(b: Builder, x: Value) -> Number:
    if not x.is_constant:
        raise Unsupported("a computed value decides what is computed")
    return x.sample.reshape(-1)[0].item()  # type: ignore[no-any-return]


def size_of(b: Builder, x: Value, dim: int | None = None) -> Any:
    return x.shape if dim is None else x.shape[dim]


def python(function: Callable[..., Any]) -> Rule:
    return lambda b, *args, **_: function(*args)


def getitem(b: Builder, x: Any, index: int) -> Any:
    return x[index]


ELEMENTS: Mapping[str, Rule] = {
    **{f"aten.{name}": unary(name) for name in ("neg", "abs", "relu", "floor", "round", "sign")},
    **{
        f"aten.{name}": real(name)
        for name in ("tanh", "sigmoid", "exp", "log", "sqrt", "erf", "silu", "sin", "cos")
    },
    **{
        f"aten.{ours}": binary(primitive)
        for ours, primitive in (
            *(("mul", "mul"), ("multiply", "mul"), ("maximum", "maximum")),
            *(("minimum", "minimum"), ("max.other", "maximum"), ("min.other", "minimum")),
            *(("remainder", "mod"), ("lt", "lt"), ("le", "le"), ("gt", "gt"), ("ge", "ge")),
            *(("eq", "eq"), ("ne", "ne"), ("less", "lt"), ("greater", "gt")),
        )
    },
    "aten.add": scaled("add"),
    "aten.sub": scaled("sub"),
    "aten.subtract": scaled("sub"),
    "aten.rsub": rsub,
    "aten.div": div,
    "aten.divide": div,
    "aten.true_divide": div,
    "aten.floor_divide": floor_divide,
    "aten.pow": power,
    "aten.square": lambda b, x: power(b, x, 2),
    "aten.reciprocal": reciprocal,
    "aten.rsqrt": rsqrt,
    "aten.clamp": clamp,
    "aten.clip": clamp,
    "aten.clamp_min": lambda b, x, low: clamp(b, x, low),
    "aten.clamp_max": lambda b, x, high: clamp(b, x, None, high),
    "aten.hardtanh": hardtanh,
    "aten.relu6": lambda b, x: hardtanh(b, x, 0.0, 6.0),
    "aten.leaky_relu": leaky_relu,
    "aten.prelu": prelu,
    "aten._prelu_kernel": prelu,
    "aten.elu": elu,
    "aten.selu": selu,
    "aten.celu": celu,
    "aten.softplus": softplus,
    "aten.hardsigmoid": hardsigmoid,
    "aten.hardswish": hardswish,
    "aten.mish": mish,
    "aten.softsign": softsign,
    "aten.gelu": gelu,
    "aten.glu": glu,
    "aten.log1p": log1p,
    "aten.expm1": expm1,
    "aten.log2": log_base(2.0),
    "aten.log10": log_base(10.0),
    "aten.ceil": ceil,
    "aten.trunc": lambda b, x: _trunc(b, x),
    "aten.tan": tan,
    "aten.where": where,
    "aten.masked_fill": masked_fill,
    "aten.logical_and": logical("and"),
    "aten.logical_or": logical("or"),
    "aten.logical_not": logical("not"),
    "aten.logical_xor": lambda b, x, y: b.elementwise("ne", b.cast(x, bool), b.cast(y, bool)),
    "aten.bitwise_and": bitwise("and"),
    "aten.bitwise_or": bitwise("or"),
    "aten.bitwise_not": bitwise("not"),
    "aten.__and__": bitwise("and"),
    "aten.__or__": bitwise("or"),
    "aten.isnan": isnan,
}

SHAPES: Mapping[str, Rule] = {
    **{
        f"aten.{name}": view
        for name in ("view", "reshape", "_unsafe_view", "_reshape_copy", "view_copy")
    },
    **{
        f"aten.{name}": same
        for name in (
            *("contiguous", "clone", "detach", "detach_", "alias", "lift_fresh_copy", "lift_fresh"),
            *("dropout", "alpha_dropout", "feature_dropout", "native_dropout"),
        )
    },
    "aten.flatten": flatten,
    "aten.unflatten": unflatten,
    "aten.transpose": swapped,
    "aten.swapaxes": swapped,
    "aten.t": turned,
    "aten.numpy_T": turned,
    "aten.mT": lambda b, x: swapped(b, x, -1, -2),
    "aten.permute": lambda b, x, dims: b.transpose(x, dims),
    "aten.movedim": movedim,
    "aten.squeeze": squeeze,
    "aten.unsqueeze": unsqueeze,
    "aten.expand": expand,
    "aten.expand_as": expand_as,
    "aten.repeat": repeat,
    "aten.repeat_interleave": repeat_interleave,
    "aten.cat": cat,
    "aten.concat": cat,
    "aten.stack": stack,
    "aten.slice": slice_,
    "aten.select": select,
    "aten.split": split,
    "aten.split_with_sizes": split,
    "aten.chunk": chunk,
    "aten.unbind": unbind,
    "aten.narrow": narrow,
    "aten.flip": flip,
    "aten.roll": roll,
    "aten.tril": triangle(True),
    "aten.triu": triangle(False),
    "aten.diagonal": diagonal,
    "aten.index": index,
    "aten.index_select": index_select,
    "aten.gather": gather,
    "aten.embedding": embedding,
    "aten.one_hot": one_hot,
    "aten.pad": pad,
    "aten.constant_pad_nd": lambda b, x, p, value=0.0: pad(b, x, p, "constant", value),
    "aten.zeros_like": like(0),
    "aten.ones_like": like(1),
    "aten.full_like": like(None),
    "aten.empty_like": like(0),
    "aten.zeros": filled(0),
    "aten.ones": filled(1),
    "aten.full": filled(None),
    "aten.empty": filled(0),
    "aten.new_zeros": new_filled(0),
    "aten.new_ones": new_filled(1),
    "aten.new_full": new_filled(None),
    "aten.arange": arange,
    "aten.linspace": linspace,
    "aten.eye": eye,
    "aten.scalar_tensor": scalar_tensor,
    "aten.to": convert,
    "aten._to_copy": convert,
    "aten.type_as": convert,
    "aten.item": item,
    "aten._local_scalar_dense": item,
    "aten.sym_size": size_of,
    "aten.sym_numel": lambda b, x: o.size(x),
    "aten._assert_tensor_metadata": nothing,
    "aten._assert_scalar": nothing,
    "aten._assert_async": nothing,
    "aten.sym_constrain_range_for_size": nothing,
    "aten.sym_constrain_range": nothing,
    "operator.getitem": getitem,
    "operator.add": python(operator.add),
    "operator.sub": python(operator.sub),
    "operator.mul": python(operator.mul),
    "operator.floordiv": python(operator.floordiv),
    "operator.truediv": python(operator.truediv),
    "operator.mod": python(operator.mod),
    "operator.neg": python(operator.neg),
    "operator.pow": python(operator.pow),
    "operator.eq": python(operator.eq),
    "operator.ne": python(operator.ne),
    "operator.le": python(operator.le),
    "operator.lt": python(operator.lt),
    "operator.ge": python(operator.ge),
    "operator.gt": python(operator.gt),
    "operator.and_": python(operator.and_),
    "torch.sym_max": python(max),
    "torch.sym_min": python(min),
    "torch.sym_sum": python(lambda terms: sum(terms)),
    "torch.sym_float": python(float),
    "torch.sym_int": python(int),
    "torch.sym_not": python(operator.not_),
}
