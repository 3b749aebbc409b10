"""Layers in the terms that frameworks share: products, convolutions, pooling, recurrences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distill.frontends.building import Builder, Unsupported, Value, stored_axis


def unified(b: Builder, *args: Value) -> list[Value]:
    """Arguments of one dtype: reals if there is a real one, else integers if there is one.

    Numbers (of no axes) do not widen arrays, as in PyTorch.
    """
    order = "biuf"
    kinds = [order.index("i" if a.dtype.kind == "u" else a.dtype.kind) for a in args]
    most = max(kinds)
    candidates = [a for a, k in zip(args, kinds) if k == most and a.rank] or [
        a for a, k in zip(args, kinds) if k == most
    ]
    dtype = max((a.dtype for a in candidates), key=lambda d: d.itemsize)
    return [b.cast(arg, dtype) for arg in args]


def binary(b: Builder, primitive: str, x: Value, y: Value) -> Value:
    return b.elementwise(primitive, *unified(b, x, y))


def number(b: Builder, value: float | int | bool, like: Value) -> Value:
    """A number of the dtype of another value, unless it is a real one beside integers."""
    if isinstance(value, float) and like.dtype.kind != "f":
        return b.constant(np.asarray(value, np.float32))
    return b.constant(np.asarray(value, like.dtype if like.dtype.kind != "b" else None))


def matmul(b: Builder, x: Value, y: Value) -> Value:
    """The product of vectors, matrices or stacks of matrices."""
    if x.rank == 1:
        return b.squeeze(matmul(b, b.unsqueeze(x, 0), y), [-2 if y.rank > 1 else -1])
    if y.rank == 1:
        return b.squeeze(matmul(b, x, b.unsqueeze(y, 1)), [-1])
    if x.is_constant and y.is_constant:
        return b.folded("matmul", [x, y])
    rank = max(x.rank, y.rank)
    if y.is_constant and y.rank == 2:
        x = b.off(x, [-1])
        return b.emitted("matmul", [x, y], (*x.shape[:-1], y.shape[-1]), x.batch)
    args, batch = b.aligned([_pushed(b, x), _pushed(b, y)], rank, tail=2)
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    shape = (*lead, x.shape[-2], y.shape[-1])
    return b.emitted("matmul", args, shape, batch)


def _pushed(b: Builder, x: Value) -> Value:
    """The value with a batch that is not one of the two axes of its matrices."""
    return b.off(x, [-1, -2])


def linear(b: Builder, x: Value, weight: Value, bias: Value | None) -> Value:
    """`x @ weight.T + bias`, weight (out, in)."""
    if not weight.is_constant or (bias is not None and not bias.is_constant):
        product = matmul(b, x, b.transpose(weight, (1, 0)))
        return product if bias is None else b.elementwise("add", product, bias)
    x = b.off(x, [-1])
    args = [x, weight] if bias is None else [x, weight, bias]
    if x.is_constant:
        return b.folded("linear", args)
    return b.emitted("linear", args, (*x.shape[:-1], weight.shape[0]), x.batch)


def einsum(b: Builder, equation: str, args: Sequence[Value]) -> Value:
    """Einstein's sum; an axis for the batch is added where the equation has none."""
    equation = equation.replace(" ", "")
    inputs, _, output = equation.partition("->")
    terms = inputs.split(",")
    if not _:
        letters = sorted({c for c in inputs if c.isalpha() and inputs.count(c) == 1})
        output = ("..." if "..." in inputs else "") + "".join(letters)
    terms = [_spelled(term, arg.rank, inputs) for term, arg in zip(terms, args, strict=True)]
    output = _spelled_output(output, terms)
    if all(arg.is_constant for arg in args):
        return b.folded("einsum", list(args), equation=f"{','.join(terms)}->{output}")
    batches = {
        None if arg.batch is None else term[arg.batch]
        for arg, term in zip(args, terms)
        if not arg.is_constant
    }
    letter = batches.pop() if len(batches) == 1 else None
    holders = [(arg, term) for arg, term in zip(args, terms) if letter and letter in term]
    if (
        letter is None
        or letter not in output
        or any(term.count(letter) > 1 for term in terms)
        or any(arg.is_constant for arg, _ in holders)
    ):
        letter = None
    if letter is None:
        used = set("".join(terms))
        spare = next(c for c in "BZYXWVUTSRQPONMLKJIHGFEDCA" if c not in used)
        parts = [b.rebatched(arg, None) for arg in args]
        spelled = [t if a.is_constant else spare + t for a, t in zip(parts, terms)]
        shape = _einsum_shape(terms, output, args)
        return b.emitted(
            "einsum", parts, shape, None, equation=f"{','.join(spelled)}->{spare}{output}"
        )
    spelled = [
        letter + term.replace(letter, "") if not arg.is_constant else term
        for arg, term in zip(args, terms)
    ]
    equation = f"{','.join(spelled)}->{letter}{output.replace(letter, '')}"
    shape = _einsum_shape(terms, output, args)
    return b.emitted("einsum", list(args), shape, output.index(letter), equation=equation)


def _einsum_shape(terms: Sequence[str], output: str, args: Sequence[Value]) -> tuple[int, ...]:
    sizes: dict[str, int] = {}
    for term, arg in zip(terms, args):
        for letter, size in zip(term, arg.shape):
            sizes[letter] = max(sizes.get(letter, 1), size)
    return tuple(sizes[letter] for letter in output)


def _spelled(term: str, rank: int, inputs: str) -> str:
    """A term with letters for what `...` stands for."""
    if "..." not in term:
        return term
    free = [c for c in "zyxwvutsrqponmlkjihgfedcba" if c not in inputs]
    count = rank - len(term.replace("...", ""))
    return term.replace("...", "".join(free[:count][::-1]))


def _spelled_output(output: str, terms: Sequence[str]) -> str:
    if "..." not in output:
        return output
    named = "".join(terms)
    free = [c for c in "abcdefghijklmnopqrstuvwxyz" if c in named and c not in output]
    # The letters that stand for the ellipsis are those that no written term had; they follow
    # each other in every term, the longest run of them is the ellipsis of the output.
    runs = [
        "".join(c for c in term if c in free and all(c in t or len(t) < len(term) for t in terms))
        for term in terms
    ]
    return output.replace("...", max(runs, key=len))


def embedding(b: Builder, table: Value, index: Value, axis: int = 0) -> Value:
    """Rows of a table (slices along `axis`) at an index of any shape."""
    axis = axis % table.rank
    if table.is_constant and index.is_constant:
        return b.folded("gather", [table, index], axis=axis, along=False)
    if index.is_constant:
        # numpy.take along the stored axis, with as many axes as the index has.
        table = b.off(table, [axis])
        batch = table.batch
        if batch is not None and axis < batch:
            batch += index.rank - 1
        place = stored_axis(table, axis)
        return b.emitted("gather", [table, index], None, batch, axis=place, along=False)
    if not table.is_constant:
        raise Unsupported("whole slices of a computed array at computed places")
    if axis != 0:
        order = (axis, *(i for i in range(table.rank) if i != axis))
        found = embedding(b, b.transpose(table, order), index)
        count = index.rank
        inner = list(range(count, count + table.rank - 1))
        return b.transpose(found, (*inner[:axis], *range(count), *inner[axis:]))
    shape = (*index.shape, *table.shape[1:])
    return b.emitted("gather", [table, index], shape, index.batch, axis=0, along=False)


def gather_along(b: Builder, table: Value, index: Value, axis: int) -> Value:
    """An entry along `axis` for each entry of the index."""
    axis = axis % table.rank
    if table.is_constant and index.is_constant:
        return b.folded("gather", [table, index], axis=axis, along=True)
    if table.shape != index.shape:
        for other in range(table.rank):
            if other != axis and table.shape[other] > index.shape[other]:
                table = b.slice(table, other, 0, index.shape[other])
    parts = [b.with_batch(b.off(v, [axis]), None) for v in (table, index)]
    return b.emitted("gather", parts, None, None, axis=axis + 1, along=True)


def convolution(
    b: Builder,
    x: Value,
    weight: Value,
    bias: Value | None,
    *,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Value:
    """x is (N, C, *space); without N it is taken as one."""
    axes = weight.rank - 2
    if x.rank == axes + 1:
        found = convolution(
            b,
            b.unsqueeze(x, 0),
            weight,
            bias,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        return b.squeeze(found, [0])
    if not weight.is_constant or (bias is not None and not bias.is_constant):
        raise Unsupported("a convolution by computed weights")
    args = [x, weight] if bias is None else [x, weight, bias]
    options: dict[str, Any] = {
        "stride": _times(stride, axes),
        "padding": tuple((int(p), int(q)) for p, q in padding),
        "dilation": _times(dilation, axes),
        "groups": int(groups),
    }
    if x.is_constant:
        return b.folded("conv", args, **options)
    return b.emitted("conv", [_first(b, x), *args[1:]], None, 0, **options)


def _times(numbers: Sequence[int], count: int) -> tuple[int, ...]:
    numbers = tuple(int(n) for n in numbers)
    return numbers * count if len(numbers) == 1 else numbers


def _first(b: Builder, x: Value) -> Value:
    """The value with its first axis as the batch."""
    if x.batch == 0:
        return x
    if x.shape[0] != 1:
        raise Unsupported("an image layer on a batch that is merged with another axis")
    return b.rebatched(x, 0)


def pool(b: Builder, primitive: str, x: Value, axes: int, **options: Any) -> Value:
    """Pooling over the last `axes` axes."""
    if x.is_constant:
        return b.folded(primitive, [x], **options)
    x = b.off(x, range(x.rank - axes, x.rank))
    return b.emitted(primitive, [x], None, x.batch, **options)


def adaptive_average(b: Builder, x: Value, sizes: Sequence[int]) -> Value:
    """Means of windows of equal size."""
    space = x.shape[-len(sizes) :]
    if any(n % s for n, s in zip(space, sizes)):
        raise Unsupported("adaptive pooling to a size that does not divide the image")
    kernel = tuple(n // s for n, s in zip(space, sizes))
    return pool(b, "avg_pool", x, len(sizes), kernel=kernel, stride=kernel)


def pad(b: Builder, x: Value, pairs: Sequence[tuple[int, int]], value: float = 0.0) -> Value:
    """Entries added to (negative: taken off) the last axes, one pair for each."""
    first = x.rank - len(pairs)
    for axis, (before, after) in enumerate(pairs, start=first):
        start, stop = max(0, -before), x.shape[axis] - max(0, -after)
        x = b.slice(x, axis, start, stop)
    wanted = [(max(0, before), max(0, after)) for before, after in pairs]
    if not any(before or after for before, after in wanted):
        return x
    full = [(0, 0)] * first + wanted
    if x.is_constant:
        return b.folded("pad", [x], before=_ends(full, 0), after=_ends(full, 1), value=value)
    x = b.off(x, [axis for axis, pair in enumerate(full) if any(pair)])
    stored = [(0, 0)] + [pair for axis, pair in enumerate(full) if axis != x.batch]
    options = {"before": _ends(stored, 0), "after": _ends(stored, 1), "value": value}
    return b.emitted("pad", [x], None, x.batch, **options)


def _ends(pairs: Sequence[tuple[int, int]], end: int) -> tuple[int, ...]:
    return tuple(int(pair[end]) for pair in pairs)


def gathered_pad(b: Builder, x: Value, pairs: Sequence[tuple[int, int]], mode: str) -> Value:
    """Padding by reflection or repetition, as a choice of entries."""
    first = x.rank - len(pairs)
    numpy_mode: Any = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    for axis, (before, after) in enumerate(pairs, start=first):
        if before or after:
            index = np.pad(np.arange(x.shape[axis]), (before, after), mode=numpy_mode)
            x = embedding(b, x, b.constant(index), axis)
    return x


def layer_norm(
    b: Builder,
    x: Value,
    axes: int,
    weight: Value | None,
    bias: Value | None,
    epsilon: float,
    *,
    centred: bool = True,
) -> Value:
    """Normalisation over the last `axes` axes."""
    x = b.off(x, range(x.rank - axes, x.rank))
    scale = [] if weight is None else [weight]
    if bias is not None:
        scale = scale or [b.constant(np.ones(x.shape[x.rank - axes :], x.dtype))]
        scale = [*scale, bias]
    options: dict[str, Any] = {"axes": axes, "epsilon": float(epsilon)}
    if not centred:
        options["centred"] = False
    if not all(part.is_constant for part in scale):
        found = b.emitted("layer_norm", [x], None, x.batch, **options)
        for primitive, part in zip(("mul", "add"), scale):
            found = b.elementwise(primitive, found, part)
        return found
    if x.is_constant:
        return b.folded("layer_norm", [x, *scale], **options)
    return b.emitted("layer_norm", [x, *scale], None, x.batch, **options)


def batch_norm(
    b: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value,
    variance: Value,
    epsilon: float,
) -> Value:
    """Normalisation of channels (axis 1) by stored statistics, as a scale and a shift."""
    scale = 1.0 / np.sqrt(variance.sample + np.asarray(epsilon, variance.dtype))
    if weight is not None:
        scale = scale * weight.sample
    shift = -mean.sample * scale
    if bias is not None:
        shift = shift + bias.sample
    shape = (1, -1, *(1,) * (x.rank - 2))
    label = weight.label if weight is not None else mean.label
    scaled = b.elementwise(
        "mul", x, b.constant(scale.astype(x.dtype).reshape(shape), f"{label}.scale")
    )
    return b.elementwise(
        "add", scaled, b.constant(shift.astype(x.dtype).reshape(shape), f"{label}.shift")
    )


def group_norm(
    b: Builder, x: Value, groups: int, weight: Value | None, bias: Value | None, epsilon: float
) -> Value:
    """Normalisation over groups of channels."""
    shape = x.shape
    inner = b.reshape(x, (shape[0], groups, -1))
    found = b.reshape(layer_norm(b, inner, 1, None, None, epsilon), shape)
    channel = (1, -1, *(1,) * (len(shape) - 2))
    for primitive, part in (("mul", weight), ("add", bias)):
        if part is not None:
            found = b.elementwise(primitive, found, b.reshape(part, channel))
    return found


def attention(
    b: Builder,
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None,
    *,
    causal: bool,
    scale: float | None,
) -> Value:
    """Scaled dot-product attention over the last two axes."""
    args = [query, key, value] if mask is None else [query, key, value, mask]
    rank = max(arg.rank for arg in args)
    if all(arg.is_constant for arg in args):
        raise Unsupported("attention over constants")
    batches = {arg.batch for arg in args if not arg.is_constant and arg.rank == rank}
    batch = batches.pop() if len(batches) == 1 else None
    if batch is not None and batch >= rank - 2:
        batch = None
    aligned, batch = b.aligned([b.off(arg, [-1, -2]) for arg in args], rank, tail=2)
    options: dict[str, Any] = {"scale": scale, "causal": causal or None}
    if mask is not None and mask.dtype == bool:
        options["mask"] = "bool"
    options = {name: option for name, option in options.items() if option is not None}
    return b.emitted("attention", aligned, None, batch, **options)


def recurrent(
    b: Builder,
    primitive: str,
    x: Value,
    states: Sequence[Value],
    weights: Sequence[Value],
    *,
    reverse: bool = False,
    **options: Any,
) -> Value:
    """A recurrent layer on x (N, T, features) from states (N, hidden)."""
    if x.is_constant or not all(weight.is_constant for weight in weights):
        raise Unsupported("a recurrent layer with computed weights or without an input")
    x = _first(b, x)
    first = [b.with_batch(state, 0) for state in states]
    if reverse:
        options["reverse"] = True
    return b.emitted(primitive, [x, *first, *weights], None, 0, **options)


def stacked(b: Builder, values: Sequence[Value], axis: int) -> Value:
    """Values of one shape as the entries of a new axis."""
    axis = axis % (values[0].rank + 1)
    return b.concat([b.unsqueeze(value, axis) for value in values], axis)


def size(value: Value) -> int:
    return math.prod(value.shape)
