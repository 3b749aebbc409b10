"""What one step of a network may compute, rounding included, for whole regions at once.

An enclosure is an affine form: a centre, generators that carry correlations, and a radius for all
else.  It contains the exact value of the step and every value that a float32 runtime may give for
it: sums in any order, with or without fused multiplication, subnormals kept or flushed, and
elementary functions within `ULPS` units in the last place.  So a claim that holds of enclosures
holds of the original runtime in every batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

UNIT = 2.0**-24
"""Half a unit in the last place of float32, relative."""
ULPS = 4
ROUNDING = (
    "float32 with sums in any order, with or without fused multiplication, and elementary "
    f"functions within {ULPS} units in the last place"
)
_TINY = 2.0**-125
_LARGEST = 3.4e38
_SLACK = 1.0 + 1e-9  # covers the rounding of the float64 arithmetic here


class Unbounded(Exception):
    """The step uses an operation for which there are no enclosures."""


@dataclass(frozen=True, slots=True)
class Form:
    """All values `centre + generators . e + r` with |e| <= 1 and |r| <= radius: (B, *shape),
    (B, G, *shape) and (B, *shape)."""

    centre: np.ndarray
    generators: np.ndarray
    radius: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        return np.asarray((np.abs(self.generators).sum(axis=1) + self.radius) * _SLACK)

    @property
    def low(self) -> np.ndarray:
        return np.asarray(self.centre - self.spread - 1e-15 * np.abs(self.centre))

    @property
    def high(self) -> np.ndarray:
        return np.asarray(self.centre + self.spread + 1e-15 * np.abs(self.centre))

    @property
    def magnitude(self) -> np.ndarray:
        return np.asarray((np.abs(self.centre) + self.spread) * _SLACK)


Value = Form | np.ndarray
"""A form, or an array that is the same for all rows (no batch axis)."""


def box(low: np.ndarray, high: np.ndarray) -> Form:
    """Boxes (B, n) as forms with one generator for each coordinate."""
    centre = (low + high) / 2
    radius = np.maximum(high - centre, centre - low) * _SLACK
    rows, width = centre.shape
    generators = np.zeros((rows, width, width))
    generators[:, np.arange(width), np.arange(width)] = radius
    return Form(centre, generators, np.abs(centre) * 1e-15)


def points(values: np.ndarray, generators: int) -> Form:
    """Exact values (B, *shape)."""
    values = np.asarray(values, np.float64)
    empty = np.zeros((len(values), generators, *values.shape[1:]))
    return Form(values, empty, np.zeros_like(values))


def rounded(form: Form, factor: float = 1.0) -> Form:
    """The form after one rounding to float32, or after an operation with `factor` times that."""
    size = form.magnitude
    noise = _kept(size, factor * UNIT * size * (1 + 1e-6) + _TINY)
    return Form(form.centre, form.generators, form.radius * _SLACK + noise)


def _kept(size: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The rounding of values of a size; no bound where they may overflow."""
    return np.where(size <= _LARGEST, noise, np.inf)


def linear(x: Form, weight: np.ndarray, bias: np.ndarray | None) -> Form:
    """`x @ weight.T + bias` over the last axis."""
    weight = weight.astype(np.float64)
    transposed = weight.T
    centre = x.centre @ transposed
    size = x.magnitude @ np.abs(transposed)
    if bias is not None:
        centre = centre + bias
        size = size + np.abs(bias)
    terms = weight.shape[1] + 2
    noise = terms * UNIT / (1 - terms * UNIT) * size * (1 + 1e-6) + terms * _TINY
    noise = _kept(size, noise)
    radius = (x.radius @ np.abs(transposed)) * _SLACK + noise
    return Form(centre, x.generators @ transposed, radius)


def add(a: Value, b: Value, sign: float = 1.0) -> Value:
    match a, b:
        case (np.ndarray(), np.ndarray()):
            return np.asarray(a + sign * b)
        case (Form(), Form()):
            return rounded(
                Form(
                    a.centre + sign * b.centre,
                    a.generators + sign * b.generators,
                    a.radius + b.radius,
                )
            )
        case (Form(), np.ndarray()):
            return rounded(Form(a.centre + sign * b, a.generators, a.radius + 0 * b))
        case (np.ndarray(), Form()):
            return rounded(Form(a + sign * b.centre, sign * b.generators, b.radius + 0 * a))
    raise AssertionError


def multiply(a: Value, b: Value) -> Value:
    match a, b:
        case (np.ndarray(), np.ndarray()):
            return np.asarray(a * b)
        case (Form(), np.ndarray()):
            return rounded(Form(a.centre * b, a.generators * b, a.radius * np.abs(b)))
        case (np.ndarray(), Form()):
            return multiply(b, a)
        case (Form(), Form()):
            centre = a.centre * b.centre
            generators = a.centre[:, None] * b.generators + b.centre[:, None] * a.generators
            radius = np.abs(a.centre) * b.radius + np.abs(b.centre) * a.radius + a.spread * b.spread
            return rounded(Form(centre, generators, radius), factor=2.0)
    raise AssertionError


def scaled(x: Form, slope: np.ndarray, low: np.ndarray, high: np.ndarray) -> Form:
    """`slope * x` plus anything between `low` and `high`."""
    middle = (low + high) / 2
    radius = slope * x.radius + np.maximum(high - middle, middle - low)
    noise = 1e-14 * (np.abs(middle) + slope * x.magnitude)
    return Form(slope * x.centre + middle, slope[:, None] * x.generators, radius * _SLACK + noise)


def relu(x: Form) -> Form:
    low, high = x.low, x.high
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, high / (high - low)))
    slope = np.clip(np.nan_to_num(slope, nan=1.0), 0.0, 1.0)
    # relu(z) - slope * z is convex: greatest at an end, least at 0 or at the nearer end.
    ends = np.maximum(np.maximum(low, 0) - slope * low, np.maximum(high, 0) - slope * high)
    inside = (low < 0) & (high > 0)
    least = np.where(
        inside,
        0.0,
        np.minimum(np.maximum(low, 0) - slope * low, np.maximum(high, 0) - slope * high),
    )
    return scaled(x, slope, least, ends)


def sigmoidal(x: Form, function: Callable[..., Any], derivative: Callable[..., Any]) -> Form:
    """An increasing function whose slope is greatest at 0 and falls off on both sides."""
    low, high = x.low, x.high
    slope = np.minimum(derivative(low), derivative(high)) * (1 - 1e-9)
    slope = np.maximum(slope - 1e-15, 0.0)
    left, right = function(low) - slope * low, function(high) - slope * high
    noise = 1e-15 * (1 + slope * x.magnitude)
    result = scaled(x, slope, left - noise, right + noise)
    value = np.maximum(np.abs(function(low)), np.abs(function(high)))
    error = 2 * ULPS * UNIT * value * (1 + 1e-6) + _TINY
    return Form(result.centre, result.generators, result.radius + error)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def tanh_form(x: Form) -> Form:
    return sigmoidal(x, np.tanh, lambda z: 1 - np.tanh(z) ** 2)


def sigmoid_form(x: Form) -> Form:
    form = sigmoidal(x, sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z)))
    # Near 0 the float64 formula above is accurate only to a unit of 1, not of its value.
    return Form(form.centre, form.generators, form.radius + 1e-15)


def within(x: Form, low: float | None, high: float | None) -> Form:
    """Clipped to an interval."""
    result = x
    if low is not None:
        result = _shifted(relu(_shifted(result, -low)), low)
    if high is not None:
        negative = Form(high - result.centre, -result.generators, result.radius)
        kept = relu(negative)
        result = Form(high - kept.centre, -kept.generators, kept.radius)
    return result


def _shifted(x: Form, by: float) -> Form:
    centre = x.centre + by
    return Form(centre, x.generators, x.radius + 1e-15 * (np.abs(centre) + abs(by)))


def maximum(a: Form, b: Form, sign: float = 1.0) -> Form:
    """max(a, b) = b + relu(a - b); the minimum with `sign` -1."""
    exact = Form(
        sign * (a.centre - b.centre), sign * (a.generators - b.generators), a.radius + b.radius
    )
    size = 1e-15 * (a.magnitude + b.magnitude)
    part = relu(Form(exact.centre, exact.generators, exact.radius + size))
    return Form(
        b.centre + sign * part.centre,
        b.generators + sign * part.generators,
        b.radius + part.radius + size,
    )


def concatenated(parts: list[Value], axis: int) -> Form:
    forms = _aligned(parts)
    rank = forms[0].centre.ndim
    place = axis if axis >= 0 else rank + axis
    return Form(
        np.concatenate([f.centre for f in forms], axis=place),
        np.concatenate([f.generators for f in forms], axis=place + 1),
        np.concatenate([f.radius for f in forms], axis=place),
    )


def _aligned(parts: list[Value]) -> list[Form]:
    """Constants spread over the batch of the forms beside them."""
    model = next(part for part in parts if isinstance(part, Form))
    rows, count = model.generators.shape[:2]
    forms: list[Form] = []
    for part in parts:
        if isinstance(part, Form):
            forms.append(part)
        else:
            shape = (rows, *part.shape[part.ndim - model.centre.ndim + 1 :])
            forms.append(points(np.broadcast_to(part, shape), count))
    return forms


def mapped(x: Form, function: Callable[[np.ndarray], np.ndarray]) -> Form:
    """A rearrangement of entries that keeps the leading axis, applied to all parts."""
    rows, count = x.generators.shape[:2]
    flat = x.generators.reshape(rows * count, *x.generators.shape[2:])
    generators = function(flat)
    return Form(
        function(x.centre),
        generators.reshape(rows, count, *generators.shape[1:]),
        function(x.radius),
    )


Constants = Mapping[str, Any]
