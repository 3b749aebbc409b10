"""PyTorch's operations that are layers or look along axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill.frontends import operators as o
from distill.frontends.aten import ELEMENTS, SHAPES
from distill.frontends.building import Builder, Unsupported, Value
from distill.frontends.graph import Rule


def _pair(numbers: Any, count: int) -> tuple[int, ...]:
    given = (numbers,) if isinstance(numbers, int) else tuple(int(number) for number in numbers)
    return given * count if len(given) == 1 else given


# Reductions.


def reduction(primitive: str) -> Rule:
    def rule(
        b: Builder, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
    ) -> Value:
        if dtype is not None:
            x = b.cast(x, dtype)
        if primitive == "mean" and x.dtype.kind != "f":
            x = b.cast(x, np.float32)
        axes = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
        return b.reduce(primitive, x, axes, keepdims=keepdim)

    return rule


def extreme(primitive: str, place: str) -> Rule:
    def rule(b: Builder, x: Value, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            return b.reduce(primitive, x, [])
        values = b.reduce(primitive, x, [dim], keepdims=keepdim)
        # The places are translated only if something asks for them.
        return _Lazily(values, lambda: b.place(place, x, dim, keepdims=keepdim))

    return rule


class _Lazily(tuple):  # type: ignore[type-arg]
    """A pair whose second entry is made when it is taken."""

    def __new__(cls, first: Any, second: Any) -> _Lazily:
        found = super().__new__(cls, (first, None))
        found.second = second  # type: ignore[attr-defined]
        return found

    def __getitem__(self, index: Any) -> Any:
        return self.second() if index == 1 else super().__getitem__(index)  # type: ignore[attr-defined]


def place(primitive: str) -> Rule:
    def rule(b: Builder, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
        if dim is None:
            return b.place(primitive, b.reshape(x, (-1,)), 0)
        return b.place(primitive, x, dim, keepdims=keepdim)

    return rule


def logsumexp(b: Builder, x: Value, dim: Any, keepdim: bool = False) -> Value:
    axes = [dim] if isinstance(dim, int) else list(dim)
    top = b.reduce("max", x, axes, keepdims=True)
    powers = b.elementwise("exp", b.elementwise("sub", x, top))
    total = b.elementwise("log", b.reduce("sum", powers, axes, keepdims=True))
    found = b.elementwise("add", total, top)
    return found if keepdim else b.squeeze(found, axes)


def variance(root: bool) -> Rule:
    def rule(
        b: Builder,
        x: Value,
        dim: Any = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
    ) -> Value:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        axes = list(range(x.rank)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
        if correction is None:
            correction = 1 if unbiased is None or unbiased else 0
        count = math.prod(x.shape[axis] for axis in axes)
        middle = b.elementwise("sub", x, b.reduce("mean", x, axes, keepdims=True))
        total = b.reduce("sum", b.elementwise("mul", middle, middle), axes, keepdims=keepdim)
        found = b.elementwise("div", total, b.constant(np.asarray(count - correction, x.dtype)))
        return b.elementwise("sqrt", found) if root else found

    return rule


def norm(
    b: Builder, x: Value, p: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any
) -> Value:
    axes = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if p is None or p == 2:
        return b.elementwise(
            "sqrt", b.reduce("sum", b.elementwise("mul", x, x), axes, keepdims=keepdim)
        )
    size = b.elementwise("abs", x)
    if p == 1:
        return b.reduce("sum", size, axes, keepdims=keepdim)
    if p == math.inf:
        return b.reduce("max", size, axes, keepdims=keepdim)
    raise Unsupported(f"a norm of order {p}")


def any_(b: Builder, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    axes = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    return b.reduce("max", b.cast(x, bool), axes, keepdims=keepdim)


def all_(b: Builder, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    axes = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    return b.reduce("min", b.cast(x, bool), axes, keepdims=keepdim)


def softmax(primitive: str) -> Rule:
    def rule(b: Builder, x: Value, dim: int, *args: Any, dtype: Any = None, **_: Any) -> Value:
        wanted = (
            dtype
            if dtype is not None
            else next((arg for arg in args if isinstance(arg, np.dtype)), None)
        )
        x = x if wanted is None else b.cast(x, wanted)
        return b.along(primitive, x, dim)

    return rule


def cumsum(b: Builder, x: Value, dim: int, *, dtype: Any = None) -> Value:
    if x.dtype == bool:
        x = b.cast(x, np.int64)
    return b.along("cumsum", x if dtype is None else b.cast(x, dtype), dim)


# Products.


def addmm(b: Builder, x: Value, m: Value, n: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    product = o.matmul(b, m, n)
    if alpha != 1:
        product = b.elementwise("mul", product, o.number(b, alpha, product))
    if beta != 1:
        x = b.elementwise("mul", x, o.number(b, beta, x))
    return b.elementwise("add", product, x)


def matmul(b: Builder, x: Value, y: Value) -> Value:
    return o.matmul(b, *o.unified(b, x, y))


def linear(b: Builder, x: Value, weight: Value, bias: Value | None = None) -> Value:
    return o.linear(b, x, weight, bias)


def bilinear(b: Builder, x: Value, y: Value, weight: Value, bias: Value | None = None) -> Value:
    found = o.einsum(b, "...i,oij,...j->...o", [x, weight, y])
    return found if bias is None else b.elementwise("add", found, bias)


def einsum(b: Builder, equation: str, tensors: Sequence[Value], **_: Any) -> Value:
    return o.einsum(b, equation, o.unified(b, *tensors))


# Images.


def convolution(axes: int) -> Rule:
    def rule(
        b: Builder,
        x: Value,
        weight: Value,
        bias: Value | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Value:
        dilation = _pair(dilation, axes)
        if padding == "valid":
            padding = 0
        if padding == "same":
            total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:])]
            pairs = [(n // 2, n - n // 2) for n in total]
        else:
            pairs = [(p, p) for p in _pair(padding, axes)]
        return o.convolution(
            b,
            x,
            weight,
            bias,
            stride=_pair(stride, axes),
            padding=pairs,
            dilation=dilation,
            groups=groups,
        )

    return rule


def general_convolution(
    b: Builder,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Value:
    if transposed:
        raise Unsupported("a transposed convolution")
    rule = convolution(weight.rank - 2)
    found: Value = rule(b, x, weight, bias, stride, padding, dilation, groups)
    return found


def max_pool(axes: int) -> Rule:
    def rule(
        b: Builder,
        x: Value,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Value:
        window, spread = _window(axes, kernel_size, stride, padding), _pair(dilation, axes)
        if ceil_mode:
            window["padding"] = _ceiled(x.shape[-axes:], **window, dilation=spread)
        return o.pool(b, "max_pool", x, axes, **window, dilation=spread)

    return rule


def _window(axes: int, kernel_size: Any, stride: Any, padding: Any) -> dict[str, Any]:
    """A window of pooling; its own size is the stride where none is given."""
    kernel = _pair(kernel_size, axes)
    pairs = tuple((p, p) for p in _pair(padding, axes))
    return {"kernel": kernel, "stride": _pair(stride, axes) or kernel, "padding": pairs}


def _ceiled(
    space: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """Padding after the end so that the last, partial window counts (none starts in it)."""
    found = []
    for n, k, s, (before, after), d in zip(space, kernel, stride, padding, dilation):
        span = d * (k - 1) + 1
        places = -(-(n + before + after - span) // s) + 1
        if (places - 1) * s >= n + before:
            places -= 1
        found.append((before, max(after, (places - 1) * s + span - n - before)))
    return tuple(found)


def average_pool(axes: int) -> Rule:
    def rule(
        b: Builder,
        x: Value,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Value:
        if ceil_mode or divisor_override is not None:
            raise Unsupported("with ceil_mode or a divisor")
        window = _window(axes, kernel_size, stride, padding)
        return o.pool(b, "avg_pool", x, axes, **window, counted=bool(count_include_pad))

    return rule


def adaptive_average(axes: int) -> Rule:
    def rule(b: Builder, x: Value, output_size: Any) -> Value:
        sizes = _pair(output_size, axes)
        if all(size == 1 for size in sizes):
            return b.reduce("mean", x, list(range(-axes, 0)), keepdims=True)
        return o.adaptive_average(b, x, sizes)

    return rule


def adaptive_max(axes: int) -> Rule:
    def rule(b: Builder, x: Value, output_size: Any) -> tuple[Value, None]:
        sizes = _pair(output_size, axes)
        space = x.shape[-axes:]
        if any(n % s for n, s in zip(space, sizes)):
            raise Unsupported("to a size that does not divide the image")
        kernel = tuple(n // s for n, s in zip(space, sizes))
        return o.pool(b, "max_pool", x, axes, kernel=kernel, stride=kernel), None

    return rule


def upsample(b: Builder, x: Value, size: Any, scales: Any = None, *_: Any) -> Value:
    space = x.shape[2:]
    sizes = size if size is not None else [int(n * s) for n, s in zip(space, scales)]
    for axis, (n, wanted) in enumerate(zip(space, sizes), start=2):
        index = np.floor(np.arange(wanted) * (n / wanted)).astype(np.int64)
        x = o.embedding(b, x, b.constant(index), axis)
    return x


def pixel_shuffle(b: Builder, x: Value, factor: int) -> Value:
    n, c, h, w = x.shape
    inner = b.reshape(x, (n, c // factor**2, factor, factor, h, w))
    turned = b.transpose(inner, (0, 1, 4, 2, 5, 3))
    return b.reshape(turned, (n, c // factor**2, h * factor, w * factor))


# Normalisation and attention.


def layer_norm(
    b: Builder,
    x: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Value:
    return o.layer_norm(b, x, len(normalized_shape), weight, bias, eps)


def native_layer_norm(b: Builder, *args: Any) -> tuple[Value, None, None]:
    return layer_norm(b, *args), None, None


def rms_norm(
    b: Builder,
    x: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    eps: float | None = None,
) -> Value:
    small = float(np.finfo(x.dtype).eps) if eps is None else eps
    return o.layer_norm(b, x, len(normalized_shape), weight, None, small, centred=False)


def batch_norm(
    b: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    var: Value | None,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Value:
    if training or mean is None or var is None:
        raise Unsupported("statistics of the batch: the module is in training mode")
    return o.batch_norm(b, x, weight, bias, mean, var, eps)


def inference_batch_norm(
    b: Builder, x: Value, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> tuple[Value, None, None]:
    return o.batch_norm(b, x, weight, bias, mean, var, eps), None, None


def group_norm(
    b: Builder,
    x: Value,
    num_groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Value:
    return o.group_norm(b, x, num_groups, weight, bias, eps)


def instance_norm(
    b: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    var: Value | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Value:
    if not use_input_stats and mean is not None and var is not None:
        return o.batch_norm(b, x, weight, bias, mean, var, eps)
    return o.group_norm(b, x, x.shape[1], weight, bias, eps)


def attention(
    b: Builder,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    if dropout_p:
        raise Unsupported("dropout: the module is in training mode")
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        index = np.repeat(np.arange(key.shape[-3]), query.shape[-3] // key.shape[-3])
        key, value = (o.embedding(b, x, b.constant(index), x.rank - 3) for x in (key, value))
    return o.attention(b, query, key, value, attn_mask, causal=is_causal, scale=scale)


# Recurrent layers.


def _layers(
    b: Builder,
    primitive: str,
    x: Value,
    states: Sequence[Value],
    params: Sequence[Value],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    **options: Any,
) -> tuple[Value, list[list[Value]]]:
    """Outputs and, for each kind of state, the last of every layer and direction."""
    unbatched = x.rank == 2
    if unbatched:
        x, states = b.unsqueeze(x, 0), [b.unsqueeze(state, 1) for state in states]
    elif not batch_first:
        x = b.transpose(x, (1, 0, 2))
    each = 4 if has_biases else 2
    directions = 2 if bidirectional else 1
    last: list[list[Value]] = [[] for _ in states]
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            weights = list(params[place * each : (place + 1) * each])
            if not has_biases:
                zeros = np.zeros(weights[0].shape[0], weights[0].dtype)
                weights += [b.constant(zeros), b.constant(zeros)]
            first = [b.select(state, 0, place) for state in states]
            found = o.recurrent(b, primitive, x, first, weights, reverse=direction == 1, **options)
            hidden = weights[1].shape[1]
            step = 0 if direction == 1 else found.shape[1] - 1
            end = b.select(found, 1, step)
            for kind, ends in enumerate(last):
                ends.append(b.slice(end, -1, kind * hidden, (kind + 1) * hidden))
            outputs.append(b.slice(found, -1, 0, hidden))
        x = outputs[0] if directions == 1 else b.concat(outputs, -1)
    if unbatched:
        x = b.squeeze(x, [0])
        last = [[b.squeeze(end, [0]) for end in ends] for ends in last]
    elif not batch_first:
        x = b.transpose(x, (1, 0, 2))
    return x, last


def lstm(
    b: Builder,
    x: Value,
    hx: Sequence[Value],
    params: Sequence[Value],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
) -> _Several:
    hx = list(hx)
    output, (h, c) = _layers(
        b, "lstm", x, hx, params, has_biases, num_layers, bidirectional, batch_first
    )
    return _Several(output, lambda: o.stacked(b, h, 0), lambda: o.stacked(b, c, 0))


class _Several(tuple):  # type: ignore[type-arg]
    """Results of which all but the first are made when they are taken."""

    def __new__(cls, first: Any, *rest: Any) -> _Several:
        found = super().__new__(cls, (first, *(None for _ in rest)))
        found.rest = rest  # type: ignore[attr-defined]
        return found

    def __getitem__(self, index: Any) -> Any:
        return self.rest[index - 1]() if index > 0 else super().__getitem__(index)  # type: ignore[attr-defined]


def recurrent(primitive: str, **options: Any) -> Rule:
    def rule(
        b: Builder,
        x: Value,
        hx: Value,
        params: Sequence[Value],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool = False,
    ) -> _Several:
        output, (h,) = _layers(
            b,
            primitive,
            x,
            [hx],
            params,
            has_biases,
            num_layers,
            bidirectional,
            batch_first,
            **options,
        )
        return _Several(output, lambda: o.stacked(b, h, 0))

    return rule


def cell(primitive: str, **options: Any) -> Rule:
    """One step of a recurrent layer."""

    def rule(
        b: Builder,
        x: Value,
        hx: Any,
        w_ih: Value,
        w_hh: Value,
        b_ih: Value | None = None,
        b_hh: Value | None = None,
    ) -> Any:
        states = list(hx) if isinstance(hx, tuple) else [hx]
        zeros = b.constant(np.zeros(w_ih.shape[0], w_ih.dtype))
        weights = [w_ih, w_hh, zeros if b_ih is None else b_ih, zeros if b_hh is None else b_hh]
        sequence = b.unsqueeze(x, 1)
        found = b.select(o.recurrent(b, primitive, sequence, states, weights, **options), 1, 0)
        if len(states) == 1:
            return found
        hidden = w_hh.shape[1]
        return b.slice(found, -1, 0, hidden), b.slice(found, -1, hidden, 2 * hidden)

    return rule


LAYERS: Mapping[str, Rule] = {
    "aten.sum": reduction("sum"),
    "aten.mean": reduction("mean"),
    "aten.prod": reduction("prod"),
    "aten.amax": reduction("max"),
    "aten.amin": reduction("min"),
    "aten.max": extreme("max", "argmax"),
    "aten.min": extreme("min", "argmin"),
    "aten.argmax": place("argmax"),
    "aten.argmin": place("argmin"),
    "aten.logsumexp": logsumexp,
    "aten.var": variance(False),
    "aten.std": variance(True),
    "aten.norm": norm,
    "aten.linalg_vector_norm": norm,
    "aten.any": any_,
    "aten.all": all_,
    "aten.softmax": softmax("softmax"),
    "aten._softmax": softmax("softmax"),
    "aten._safe_softmax": softmax("softmax"),
    "aten.log_softmax": softmax("log_softmax"),
    "aten._log_softmax": softmax("log_softmax"),
    "aten.cumsum": cumsum,
    "aten.matmul": matmul,
    "aten.mm": matmul,
    "aten.bmm": matmul,
    "aten.mv": matmul,
    "aten.dot": matmul,
    "aten.addmm": addmm,
    "aten.baddbmm": addmm,
    "aten.linear": linear,
    "aten.bilinear": bilinear,
    "aten.einsum": einsum,
    **{f"aten.conv{n}d": convolution(n) for n in (1, 2, 3)},
    "aten.convolution": general_convolution,
    **{f"aten.max_pool{n}d": max_pool(n) for n in (1, 2, 3)},
    "aten.max_pool2d_with_indices": lambda b, *args: (max_pool(2)(b, *args), None),
    **{f"aten.avg_pool{n}d": average_pool(n) for n in (1, 2, 3)},
    **{f"aten.adaptive_avg_pool{n}d": adaptive_average(n) for n in (1, 2, 3)},
    "aten._adaptive_avg_pool2d": adaptive_average(2),
    **{f"aten.adaptive_max_pool{n}d": adaptive_max(n) for n in (1, 2, 3)},
    "aten.upsample_nearest1d": upsample,
    "aten.upsample_nearest2d": upsample,
    "aten.pixel_shuffle": pixel_shuffle,
    "aten.layer_norm": layer_norm,
    "aten.native_layer_norm": native_layer_norm,
    "aten.rms_norm": rms_norm,
    "aten.batch_norm": batch_norm,
    "aten._native_batch_norm_legit_no_training": inference_batch_norm,
    "aten.group_norm": group_norm,
    "aten.instance_norm": instance_norm,
    "aten.scaled_dot_product_attention": attention,
    "aten.lstm": lstm,
    "aten.gru": recurrent("gru"),
    "aten.rnn_tanh": recurrent("rnn", activation="tanh"),
    "aten.rnn_relu": recurrent("rnn", activation="relu"),
    "aten.lstm_cell": cell("lstm"),
    "aten.gru_cell": cell("gru"),
    "aten.rnn_tanh_cell": cell("rnn", activation="tanh"),
    "aten.rnn_relu_cell": cell("rnn", activation="relu"),
}

RULES: Mapping[str, Rule] = {**ELEMENTS, **SHAPES, **LAYERS}
"""Every operation of PyTorch's graphs that has a translation."""
