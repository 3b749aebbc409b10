"""Tensor primitives that are sums of products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dsl.primitives.tensor.base import Box, TensorPrimitive, registered


def bilinear(
    operation: Callable[[np.ndarray, np.ndarray], np.ndarray], a: Box, b: Box, terms: int
) -> Box:
    """The box of a sum of `terms` products of entries of `a` and of `b`.

    By midpoints and radii (Rump, "Fast and parallel interval arithmetic", 1999): exact up to
    rounding where one of the two is a point.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        middle_a, radius_a = _middle(a)
        middle_b, radius_b = _middle(b)
        size_a, size_b = np.abs(middle_a), np.abs(middle_b)
        middle = operation(middle_a, middle_b)
        radius = np.zeros_like(middle)
        if radius_a.any():
            radius = radius + operation(radius_a, size_b + radius_b)
        if radius_b.any():
            radius = radius + operation(size_a, radius_b)
        largest = operation(size_a + radius_a, size_b + radius_b)
        radius = radius * (1 + 1e-15 * (terms + 8)) + 2.3e-16 * (terms + 8) * largest + 1e-300
        low, high = middle - radius, middle + radius
    unknown = ~np.isfinite(middle) | ~np.isfinite(radius)
    return Box(np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high))


def _middle(a: Box) -> tuple[np.ndarray, np.ndarray]:
    """A midpoint and a radius that cover the box."""
    if a.is_point:
        return a.low, np.zeros_like(a.low)
    middle = a.low / 2 + a.high / 2
    radius = np.maximum(a.high - middle, middle - a.low)
    return middle, np.nextafter(radius, np.inf)


def _plus(a: Box, b: Box) -> Box:
    return Box(np.nextafter(a.low + b.low, -np.inf), np.nextafter(a.high + b.high, np.inf))


class Matmul(TensorPrimitive):
    """The matrix product of the last two axes; the axes before them broadcast."""

    name = "matmul"

    def numpy(self, *args: Any, **options: Any) -> Any:
        return np.matmul(*args)

    def bounds(self, *args: Box, **options: Any) -> Box:
        return bilinear(np.matmul, args[0], args[1], args[0].shape[-1])

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 2.0 * math.prod(result) * args[0][-1]


class Linear(TensorPrimitive):
    """`x @ weight.T + bias` over the last axis; weight is (out, in)."""

    name = "linear"

    def numpy(self, *args: Any, **options: Any) -> Any:
        x, weight, *bias = args
        result = np.matmul(x, np.swapaxes(weight, -1, -2))
        return result + bias[0] if bias else result

    def bounds(self, *args: Box, **options: Any) -> Box:
        x, weight, *bias = args
        turned = Box(np.swapaxes(weight.low, -1, -2), np.swapaxes(weight.high, -1, -2))
        result = bilinear(np.matmul, x, turned, x.shape[-1])
        return _plus(result, bias[0]) if bias else result

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 2.0 * math.prod(result) * args[1][-1]


def first_two(equation: str) -> tuple[str, str]:
    """Einstein's sum over more than two arrays as one over the first two, and one over what that
    gives and the others."""
    terms, _, output = equation.partition("->")
    left, right, *rest = terms.split(",")
    needed = set("".join(rest)) | set(output)
    kept = "".join(c for c in dict.fromkeys(left + right) if c in needed)
    return f"{left},{right}->{kept}", f"{','.join([kept, *rest])}->{output}"


class Einsum(TensorPrimitive):
    """Einstein's sum of products; `equation` is NumPy's, with every axis named or `...`."""

    name = "einsum"

    def numpy(self, *args: Any, equation: str = "", **options: Any) -> Any:
        if any(np.asarray(arg).dtype == object for arg in args):
            return np.einsum(equation, *args)
        return np.einsum(equation, *args, optimize=len(args) > 1)

    def bounds(self, *args: Box, equation: str = "", **options: Any) -> Box:
        terms = math.prod(math.prod(arg.shape) or 1 for arg in args)
        if len(args) == 1:
            single = Box(*(np.einsum(equation, end) for end in (args[0].low, args[0].high)))
            return _plus(single, _slack(args[0], equation))
        if len(args) == 2:
            return bilinear(
                lambda a, b: np.einsum(equation, a, b, optimize=True), *args, terms=min(terms, 4096)
            )
        inner, outer = first_two(equation)
        first = self.bounds(*args[:2], equation=inner)
        return self.bounds(first, *args[2:], equation=outer)

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 2.0 * max(math.prod(result), *(math.prod(arg) for arg in args))


def _slack(a: Box, equation: str) -> Box:
    size = np.maximum(np.abs(a.low), np.abs(a.high))
    slack = 2.3e-16 * (size.size + 8) * np.einsum(equation, size) + 1e-300
    return Box(-slack, slack)


def windows(
    x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> np.ndarray:
    """Views of the last axes: (..., *places) gains the axes of the kernel at its end."""
    axes = tuple(range(x.ndim - len(kernel), x.ndim))
    span = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation))
    found = np.lib.stride_tricks.sliding_window_view(x, span, axes)
    places = tuple(slice(None, None, s) for s in stride)
    inside = tuple(slice(None, None, d) for d in dilation)
    chosen: Any = (..., *places, *inside)
    return np.asarray(found[chosen])


def padded(x: np.ndarray, padding: Sequence[Sequence[int]], value: float = 0.0) -> np.ndarray:
    """The array with (before, after) entries added to its last axes."""
    if not any(before or after for before, after in padding):
        return x
    pairs = [(0, 0)] * (x.ndim - len(padding)) + [(int(b), int(a)) for b, a in padding]
    return np.pad(x, pairs, constant_values=value)


class Conv(TensorPrimitive):
    """A convolution (a cross-correlation) of x (B, C, *space) by weight (out, C/groups, *kernel);
    `padding` is a pair (before, after) for each axis of the space."""

    name = "conv"

    def numpy(
        self,
        *args: Any,
        stride: tuple[int, ...] = (),
        padding: tuple[tuple[int, int], ...] = (),
        dilation: tuple[int, ...] = (),
        groups: int = 1,
        **options: Any,
    ) -> Any:
        x, weight, *bias = args
        axes = weight.ndim - 2
        ones = (1,) * axes
        view = windows(
            padded(x, padding or ((0, 0),) * axes),
            weight.shape[2:],
            stride or ones,
            dilation or ones,
        )
        rows, channels = view.shape[0], view.shape[1] // groups
        places = view.shape[2 : 2 + axes]
        parts = []
        for group in range(groups):
            block = view[:, group * channels : (group + 1) * channels]
            order = (0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes))
            columns = block.transpose(order).reshape(rows, math.prod(places), -1)
            each = weight.shape[0] // groups
            matrix = weight[group * each : (group + 1) * each].reshape(each, -1)
            parts.append(np.matmul(columns, matrix.T))
        result = parts[0] if groups == 1 else np.concatenate(parts, axis=-1)
        result = np.moveaxis(result, -1, 1).reshape(rows, weight.shape[0], *places)
        return result + bias[0].reshape(-1, *ones) if bias else result

    def bounds(self, *args: Box, **options: Any) -> Box:
        x, weight, *bias = args
        terms = math.prod(weight.shape[1:])
        result = bilinear(lambda a, b: np.asarray(self.numpy(a, b, **options)), x, weight, terms)
        if not bias:
            return result
        shape = (-1, *(1,) * (len(weight.shape) - 2))
        return _plus(result, Box(bias[0].low.reshape(shape), bias[0].high.reshape(shape)))

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 2.0 * math.prod(result) * math.prod(args[1][1:])


LINEAR = registered(Matmul, Linear, Einsum, Conv)
