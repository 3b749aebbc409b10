"""Tensor primitives that look along axes: sums, extremes, pooling, normalisation, attention."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dsl.primitives.tensor.base import Box, TensorPrimitive, each, either, is_object, registered
from dsl.primitives.tensor.elementwise import ELEMENTWISE
from dsl.primitives.tensor.linear import bilinear, padded, windows


class _Reduction(TensorPrimitive):
    """A reduction over `axes`, which vanish unless `keepdims`."""

    rising: ClassVar[bool] = True  # in every entry

    def bounds(self, *args: Box, **options: Any) -> Box:
        low, high = (np.asarray(self.numpy(x, **options)) for x in (args[0].low, args[0].high))
        return Box(low, high)

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return float(math.prod(args[0]))


class _Summed(_Reduction):
    """A reduction whose rounding grows with the number of entries."""

    def bounds(
        self, *args: Box, axes: tuple[int, ...] = (), keepdims: bool = False, **options: Any
    ) -> Box:
        found = super().bounds(*args, axes=axes, keepdims=keepdims)
        slack = _sum_slack(args[0], axes, keepdims)
        return Box(found.low - slack, found.high + slack)


def _sum_slack(a: Box, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    size = np.maximum(np.abs(a.low), np.abs(a.high))
    count = math.prod(a.shape[axis] for axis in axes)
    return np.asarray(2.3e-16 * (count + 4) * size.sum(axis=axes, keepdims=keepdims) + 1e-300)


class Sum(_Summed):
    """The sum over `axes`."""

    name = "sum"

    def numpy(
        self, *args: Any, axes: tuple[int, ...] = (), keepdims: bool = False, **options: Any
    ) -> Any:
        x = args[0]
        if x.dtype.kind == "b":
            x = x.astype(np.int64)
        return np.sum(x, axis=tuple(axes), keepdims=keepdims)


class Mean(_Summed):
    """The mean over `axes`."""

    name = "mean"

    def numpy(
        self, *args: Any, axes: tuple[int, ...] = (), keepdims: bool = False, **options: Any
    ) -> Any:
        if is_object(args[0]):
            count = math.prod(args[0].shape[axis] for axis in axes)
            return np.sum(args[0], axis=tuple(axes), keepdims=keepdims) / count
        return np.mean(args[0], axis=tuple(axes), keepdims=keepdims)


class Max(_Reduction):
    """The greatest entry over `axes`."""

    name = "max"

    def numpy(
        self, *args: Any, axes: tuple[int, ...] = (), keepdims: bool = False, **options: Any
    ) -> Any:
        return _extreme("maximum", np.max, args[0], axes, keepdims)


class Min(_Reduction):
    """The least entry over `axes`."""

    name = "min"

    def numpy(
        self, *args: Any, axes: tuple[int, ...] = (), keepdims: bool = False, **options: Any
    ) -> Any:
        return _extreme("minimum", np.min, args[0], axes, keepdims)


def _extreme(name: str, function: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if not is_object(x):
        return function(x, axis=tuple(axes), keepdims=keepdims)
    for axis in sorted(axes, reverse=True):
        parts = [x.take(i, axis) for i in range(x.shape[axis])]
        result = parts[0]
        for part in parts[1:]:
            result = ELEMENTWISE[name].numpy(result, part)
        x = np.expand_dims(result, axis) if keepdims else result
    return x


class Prod(_Reduction):
    """The product over `axes`."""

    name = "prod"

    def numpy(
        self, *args: Any, axes: tuple[int, ...] = (), keepdims: bool = False, **options: Any
    ) -> Any:
        return np.prod(args[0], axis=tuple(axes), keepdims=keepdims)

    def bounds(
        self, *args: Box, axes: tuple[int, ...] = (), keepdims: bool = False, **options: Any
    ) -> Box:
        low, high = args[0].low, args[0].high
        for axis in sorted(axes, reverse=True):
            product = Box(np.ones_like(low.take(0, axis)), np.ones_like(low.take(0, axis)))
            for i in range(low.shape[axis]):
                part = Box(low.take(i, axis), high.take(i, axis))
                product = ELEMENTWISE["mul"].bounds(product, part)
            low, high = product.low, product.high
            if keepdims:
                low, high = np.expand_dims(low, axis), np.expand_dims(high, axis)
        return Box(low, high)


class CumulativeSum(TensorPrimitive):
    """The sums of the entries up to each place along `axis`."""

    name = "cumsum"

    def numpy(self, *args: Any, axis: int = -1, **options: Any) -> Any:
        x = args[0]
        return np.cumsum(x.astype(np.int64) if x.dtype.kind == "b" else x, axis=axis)

    def bounds(self, *args: Box, axis: int = -1, **options: Any) -> Box:
        a = args[0]
        size = np.cumsum(np.maximum(np.abs(a.low), np.abs(a.high)), axis=axis)
        slack = 2.3e-16 * (a.shape[axis] + 4) * size + 1e-300
        return Box(np.cumsum(a.low, axis=axis) - slack, np.cumsum(a.high, axis=axis) + slack)


class _Place(TensorPrimitive):
    """The place of an extreme entry along `axis`; the first, if several tie."""

    better: ClassVar[str]

    def numpy(self, *args: Any, axis: int = -1, keepdims: bool = False, **options: Any) -> Any:
        x = args[0]
        if not is_object(x):
            function = np.argmax if self.better == "gt" else np.argmin
            return function(x, axis=axis, keepdims=keepdims)
        compare = (lambda a, b: a > b) if self.better == "gt" else (lambda a, b: a < b)
        best, place = x.take(0, axis), np.zeros(x.take(0, axis).shape, object)
        for i in range(1, x.shape[axis]):
            part = x.take(i, axis)
            condition = each(compare, part, best)
            best = each(either, condition, part, best)
            place = each(either, condition, np.full(place.shape, i, object), place)
        return np.expand_dims(place, axis) if keepdims else place

    def bounds(self, *args: Box, axis: int = -1, keepdims: bool = False, **options: Any) -> Box:
        low, high = args[0].low, args[0].high
        if self.better == "lt":
            low, high = -high, -low
        # A place is possible if nothing is certainly greater.
        possible = high >= low.max(axis=axis, keepdims=True)
        count = possible.shape[axis]
        first = np.argmax(possible, axis=axis)
        last = count - 1 - np.argmax(np.flip(possible, axis), axis=axis)
        if keepdims:
            first, last = np.expand_dims(first, axis), np.expand_dims(last, axis)
        return Box(first.astype(np.float64), last.astype(np.float64))


class Argmax(_Place):
    """The place of the greatest entry along `axis`; the first, if several tie."""

    name, better = "argmax", "gt"


class Argmin(_Place):
    """The place of the least entry along `axis`; the first, if several tie."""

    name, better = "argmin", "lt"


class _Pool(TensorPrimitive):
    """Windows of `kernel` entries over the last axes, reduced to one each."""

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return float(math.prod(result) * math.prod(options["kernel"]))


class MaxPool(_Pool):
    """The greatest entry of each window; what is padded never counts."""

    name = "max_pool"

    def numpy(
        self,
        *args: Any,
        kernel: tuple[int, ...] = (),
        stride: tuple[int, ...] = (),
        padding: tuple[tuple[int, int], ...] = (),
        dilation: tuple[int, ...] = (),
        **options: Any,
    ) -> Any:
        ones = (1,) * len(kernel)
        x = padded(args[0], padding or ((0, 0),) * len(kernel), -np.inf)
        view = windows(x, kernel, stride or kernel, dilation or ones)
        return _extreme("maximum", np.max, view, tuple(range(-len(kernel), 0)), False)

    def bounds(self, *args: Box, **options: Any) -> Box:
        ends = [np.asarray(self.numpy(x, **options)) for x in (args[0].low, args[0].high)]
        return Box(*ends)


class AveragePool(_Pool):
    """The mean of each window; `counted` says whether padding counts as entries of 0."""

    name = "avg_pool"

    def numpy(
        self,
        *args: Any,
        kernel: tuple[int, ...] = (),
        stride: tuple[int, ...] = (),
        padding: tuple[tuple[int, int], ...] = (),
        counted: bool = True,
        **options: Any,
    ) -> Any:
        ones = (1,) * len(kernel)
        padding = padding or ((0, 0),) * len(kernel)
        axes = tuple(range(-len(kernel), 0))
        total = windows(padded(args[0], padding), kernel, stride or kernel, ones).sum(axis=axes)
        if counted or not any(before or after for before, after in padding):
            return total / np.asarray(math.prod(kernel), total.dtype)
        inside = np.ones(args[0].shape[-len(kernel) :], np.int64)
        count = windows(padded(inside, padding), kernel, stride or kernel, ones).sum(axis=axes)
        return total / count.astype(total.dtype)

    def bounds(self, *args: Box, **options: Any) -> Box:
        low, high = (np.asarray(self.numpy(x, **options)) for x in (args[0].low, args[0].high))
        size = self.numpy(np.maximum(np.abs(args[0].low), np.abs(args[0].high)), **options)
        slack = 2.3e-16 * (math.prod(options["kernel"]) + 4) * np.asarray(size) + 1e-300
        return Box(low - slack, high + slack)


class Softmax(TensorPrimitive):
    """`exp(x) / sum(exp(x))` along `axis`."""

    name = "softmax"

    def numpy(self, *args: Any, axis: int = -1, **options: Any) -> Any:
        x = args[0]
        with np.errstate(invalid="ignore"):
            powers = np.exp(x - x.max(axis=axis, keepdims=True))
        return powers / powers.sum(axis=axis, keepdims=True)

    def bounds(self, *args: Box, axis: int = -1, **options: Any) -> Box:
        a = args[0]
        with np.errstate(all="ignore"):
            top = a.high.max(axis=axis, keepdims=True)
            low, high = np.exp(a.low - top), np.exp(a.high - top)
            count = a.shape[axis]
            slack = 1e-15 * (count + 32)
            others_high = high.sum(axis=axis, keepdims=True) * (1 + slack) - high
            others_low = low.sum(axis=axis, keepdims=True) * (1 - slack) - low
            least = low / (low + np.maximum(others_high, 0.0))
            most = high / (high + np.maximum(others_low, 0.0))
        least = np.where(np.isnan(least), 0.0, least)
        most = np.where(np.isnan(most), 1.0, most)
        return Box(np.maximum(least * (1 - slack), 0.0), np.minimum(most * (1 + slack), 1.0))

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 4.0 * math.prod(result)


class LogSoftmax(TensorPrimitive):
    """The logarithm of the softmax along `axis`."""

    name = "log_softmax"

    def numpy(self, *args: Any, axis: int = -1, **options: Any) -> Any:
        x = args[0]
        shifted = x - x.max(axis=axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    def bounds(self, *args: Box, axis: int = -1, **options: Any) -> Box:
        inner = Softmax().bounds(*args, axis=axis)
        logarithm = ELEMENTWISE["log"].bounds(inner)
        return Box(logarithm.low, np.minimum(logarithm.high, 0.0))

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 4.0 * math.prod(result)


class LayerNorm(TensorPrimitive):
    """x less its mean over the last `axes` axes, divided by `sqrt(variance + epsilon)`, times
    the weight and plus the bias where they are given.

    `centred=False` leaves the mean in and divides by the root of the mean square (RMSNorm).
    """

    name = "layer_norm"

    def numpy(
        self,
        *args: Any,
        axes: int = 1,
        epsilon: float = 1e-5,
        centred: bool = True,
        **options: Any,
    ) -> Any:
        x, *scale = args
        over = tuple(range(-axes, 0))
        middle = x - x.mean(axis=over, keepdims=True) if centred else x
        spread = np.mean(middle * middle, axis=over, keepdims=True)
        result = middle / np.sqrt(spread + np.asarray(epsilon, x.dtype))
        for operation, array in zip((np.multiply, np.add), scale):
            result = operation(result, array)
        return result

    def bounds(
        self,
        *args: Box,
        axes: int = 1,
        epsilon: float = 1e-5,
        centred: bool = True,
        **options: Any,
    ) -> Box:
        x, *scale = args
        over = tuple(range(len(x.shape) - axes, len(x.shape)))
        count = math.prod(x.shape[axis] for axis in over)
        middle = x
        if centred:
            mean = REDUCTION["mean"].bounds(x, axes=over, keepdims=True)
            # Each entry takes part in the mean: x_i - mean = (1 - 1/n) x_i - (others) / n.
            own = 1.0 / count
            low = x.low - own * x.low - (mean.high - own * x.high)
            high = x.high - own * x.high - (mean.low - own * x.low)
            size = np.maximum(np.abs(x.low), np.abs(x.high)).max(axis=over, keepdims=True)
            middle = Box(low - 4e-15 * size, high + 4e-15 * size)
        square = ELEMENTWISE["pow"].bounds(middle, Box(np.asarray(2.0), np.asarray(2.0)))
        mean_square = REDUCTION["mean"].bounds(square, axes=over, keepdims=True)
        least = np.maximum(mean_square.low, 0.0) + epsilon
        root = ELEMENTWISE["sqrt"].bounds(
            Box(least * (1 - 1e-15), (mean_square.high + epsilon) * (1 + 1e-15))
        )
        found = ELEMENTWISE["div"].bounds(middle, root)
        limit = math.sqrt(count) * (1 + 1e-12)  # no entry is further from the mean than all are
        result = Box(np.maximum(found.low, -limit), np.minimum(found.high, limit))
        for name, array in zip(("mul", "add"), scale):
            result = ELEMENTWISE[name].bounds(result, array)
        return result

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 6.0 * math.prod(result)


class Attention(TensorPrimitive):
    """`softmax(query @ key.T * scale + mask) @ value` over the last two axes.

    A fourth argument is a mask: numbers that are added, or with `mask="bool"` truth values, of
    which False hides.  `causal` hides what lies ahead.  `scale` of None is one over the root of
    the last axis of the query.
    """

    name = "attention"

    def numpy(
        self,
        *args: Any,
        scale: float | None = None,
        causal: bool = False,
        mask: str = "add",
        **options: Any,
    ) -> Any:
        query, key, value, *hidden = args
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = np.matmul(query, np.swapaxes(key, -1, -2)) * np.asarray(factor, query.dtype)
        if causal:
            seen = np.tri(*scores.shape[-2:], dtype=np.bool_)
            scores = np.where(seen, scores, np.asarray(-np.inf, scores.dtype))
        if hidden and mask == "bool":
            scores = np.where(hidden[0], scores, np.asarray(-np.inf, scores.dtype))
        elif hidden:
            scores = scores + hidden[0]
        return np.matmul(Softmax().numpy(scores, axis=-1), value)

    def bounds(
        self,
        *args: Box,
        scale: float | None = None,
        causal: bool = False,
        mask: str = "add",
        **options: Any,
    ) -> Box:
        query, key, value, *hidden = args
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        turned = Box(np.swapaxes(key.low, -1, -2), np.swapaxes(key.high, -1, -2))
        scores = bilinear(np.matmul, query, turned, query.shape[-1])
        scores = ELEMENTWISE["mul"].bounds(scores, Box(np.asarray(factor), np.asarray(factor)))
        if causal:
            seen = np.tri(*scores.shape[-2:], dtype=np.bool_)
            scores = Box(np.where(seen, scores.low, -np.inf), np.where(seen, scores.high, -np.inf))
        if hidden and mask == "bool":
            scores = Box(
                np.where(hidden[0].low != 0, scores.low, -np.inf),
                np.where(hidden[0].high != 0, scores.high, -np.inf),
            )
        elif hidden:
            scores = ELEMENTWISE["add"].bounds(scores, hidden[0])
        weights = Softmax().bounds(scores, axis=-1)
        mixed = bilinear(np.matmul, weights, value, value.shape[-2])
        # The weights sum to one: no mixture leaves the hull of the values that can be seen.
        low = np.broadcast_to(value.low.min(axis=-2, keepdims=True), mixed.shape)
        high = np.broadcast_to(value.high.max(axis=-2, keepdims=True), mixed.shape)
        return Box(np.maximum(mixed.low, low), np.minimum(mixed.high, high))

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 4.0 * math.prod(result) * args[1][-2]


REDUCTION = registered(
    *(Sum, Mean, Max, Min, Prod, CumulativeSum, Argmax, Argmin, MaxPool, AveragePool),
    *(Softmax, LogSoftmax, LayerNorm, Attention),
)
