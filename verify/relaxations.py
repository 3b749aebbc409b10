"""Lines that enclose functions of one variable, and planes that enclose products, on intervals.

Slopes are chosen for tightness, and any choice is sound: the offsets are then made large enough.
For a function with |f''| <= c on [l, u], g(x) = f(x) - s x stays within c h^2 / 8 of its linear
interpolation between points h apart, so its extremes are those at the points, give or take that.
Functions of the mathematical library are taken to be exact within `LIBRARY` (relative, float64).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import erf as _erf
from scipy.special import expit as _expit

UNIT = 2.0**-53
LIBRARY = 16 * UNIT
_POINTS = 17


@dataclass(frozen=True, slots=True)
class Lines:
    """`low_slope * x + low <= f(x) <= high_slope * x + high`, entry by entry, (B, n) each."""

    low_slope: np.ndarray
    low: np.ndarray
    high_slope: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True)
class Band:
    """`|f(x) - slope * x - offset| <= loss`, entry by entry, (B, n) each."""

    slope: np.ndarray
    offset: np.ndarray
    loss: np.ndarray


class Relaxed(ABC):
    """A function of one variable with all that its bounds need."""

    name: ClassVar[str]

    @abstractmethod
    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        """The function itself, in float64."""

    @abstractmethod
    def lines(self, low: np.ndarray, high: np.ndarray, parameter: float) -> Lines:
        """A line below and one above on each interval."""

    @abstractmethod
    def range(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the function on intervals."""

    def band(self, lines: Lines, low: np.ndarray, high: np.ndarray) -> Band:
        """The function between two parallel lines, from a line below it and one above."""
        slope, half = (
            (lines.low_slope + lines.high_slope) / 2,
            (lines.high_slope - lines.low_slope) / 2,
        )
        apart = np.maximum(half * low, half * high)
        size = (np.abs(slope) + np.abs(half)) * np.maximum(np.abs(low), np.abs(high))
        loss = (lines.high - lines.low) / 2 + apart
        loss += 8 * UNIT * (size + np.abs(lines.high) + np.abs(lines.low))
        return Band(slope, (lines.low + lines.high) / 2, loss)


class Relu(Relaxed):
    """max(x, 0): the chord above; below, x or 0, whichever leaves the smaller area."""

    name = "relu"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.maximum(x, 0.0))

    def lines(self, low: np.ndarray, high: np.ndarray, parameter: float) -> Lines:
        on, off = low >= 0, high <= 0
        crossing = ~(on | off)
        width = np.where(crossing, high - low, 1.0)
        slope = np.where(crossing, np.where(crossing, high, 0.0) / width, on.astype(np.float64))
        # Any slope in [0, 1] is sound with an offset that covers both ends.
        offset = np.maximum(-slope * low, (1.0 - slope) * high) * (1.0 + 8 * UNIT)
        below = np.where(crossing, (high > -low).astype(np.float64), on.astype(np.float64))
        zero = np.zeros_like(slope)
        return Lines(below, zero, slope, np.where(crossing, np.maximum(offset, 0.0), 0.0))

    def band(self, lines: Lines, low: np.ndarray, high: np.ndarray) -> Band:
        # A line through 0 with a slope in [0, 1] is nowhere above.
        return Band(lines.high_slope, lines.high / 2, lines.high / 2)

    def range(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.maximum(low, 0.0), np.maximum(high, 0.0)


class Smooth(Relaxed):
    """A function with two derivatives."""

    @abstractmethod
    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        """The first derivative."""

    @abstractmethod
    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        """An upper bound of |f''| on the interval."""

    def lines(self, low: np.ndarray, high: np.ndarray, parameter: float) -> Lines:
        width = high - low
        fraction = np.linspace(0.0, 1.0, _POINTS).reshape(-1, *([1] * low.ndim))
        points = low + width * fraction
        points = np.minimum(points, high)
        points[-1] = high
        heights = self.value(points, parameter)
        chord = (heights[-1] - heights[0]) / np.where(width > 0, width, 1.0)
        chord = np.where(width > 0, chord, self.slope(low, parameter))
        size = np.maximum(np.abs(low), np.abs(high))
        step = width / (_POINTS - 1) * (1.0 + 64 * UNIT) + 8 * UNIT * size
        curvature = self.curvature(low, high, parameter)
        bulge = curvature * step * step / 8.0

        def offsets(slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            gaps = heights - slope * points
            reach = np.abs(heights).max(0) + np.abs(slope) * size
            slack = bulge * (1.0 + 1e-9) + (LIBRARY + 64 * UNIT) * reach + 1e-300
            return gaps.min(0) - slack, gaps.max(0) + slack

        best: Lines | None = None
        middle = self.slope(low + width / 2, parameter)
        score_low = score_high = None
        for slope in (chord, middle, *self.tangents(low, high, points, heights, parameter)):
            below, above = offsets(slope)
            # The area between a line and the chord, up to the width: what tightness means here.
            loss_low = chord * (low + high) / 2 - (slope * (low + high) / 2 + below)
            loss_high = slope * (low + high) / 2 + above - chord * (low + high) / 2
            if best is None:
                best = Lines(slope, below, slope, above)
                score_low, score_high = loss_low, loss_high
                continue
            assert score_low is not None and score_high is not None
            take_low, take_high = loss_low < score_low, loss_high < score_high
            best = Lines(
                np.where(take_low, slope, best.low_slope),
                np.where(take_low, below, best.low),
                np.where(take_high, slope, best.high_slope),
                np.where(take_high, above, best.high),
            )
            score_low = np.where(take_low, loss_low, score_low)
            score_high = np.where(take_high, loss_high, score_high)
        assert best is not None
        if np.isfinite(curvature).all():
            return best
        bottom, top = self.steep(low, high, parameter)
        bent, zero = ~np.isfinite(curvature), np.zeros_like(low)
        return Lines(
            np.where(bent, zero, best.low_slope),
            np.where(bent, bottom, best.low),
            np.where(bent, zero, best.high_slope),
            np.where(bent, top, best.high),
        )

    def steep(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bounds where the curvature has none."""
        return np.full(low.shape, -np.inf), np.full(low.shape, np.inf)

    def tangents(
        self,
        low: np.ndarray,
        high: np.ndarray,
        points: np.ndarray,
        heights: np.ndarray,
        parameter: float,
    ) -> tuple[np.ndarray, ...]:
        """Slopes of the lines from either end that just touch the graph from above and below."""
        span = np.where(points[1:] > low, points[1:] - low, 1.0)
        from_low = np.where(points[1:] > low, (heights[1:] - heights[0]) / span, 0.0)
        span = np.where(high > points[:-1], high - points[:-1], 1.0)
        from_high = np.where(high > points[:-1], (heights[-1] - heights[:-1]) / span, 0.0)
        return from_low.max(0), from_low.min(0), from_high.max(0), from_high.min(0)

    def range(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(invalid="ignore"):
            lines = self.lines(low, high, parameter)
        ends = (lines.low_slope * low + lines.low, lines.low_slope * high + lines.low)
        tops = (lines.high_slope * low + lines.high, lines.high_slope * high + lines.high)
        bottom, top = np.minimum(*ends), np.maximum(*tops)
        return bottom - 8 * UNIT * np.abs(bottom), top + 8 * UNIT * np.abs(top)


class Monotone(Smooth):
    """A smooth function that never falls."""

    def range(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        bottom, top = self.value(low, parameter), self.value(high, parameter)
        return bottom - LIBRARY * np.abs(bottom) - 1e-300, top + LIBRARY * np.abs(top) + 1e-300


def _nearest(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The least |x| on the interval."""
    return np.asarray(np.maximum(np.maximum(low, -high), 0.0))


class Tanh(Monotone):
    name = "tanh"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.tanh(x))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(1.0 - np.tanh(x) ** 2)

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        # |f''| = 2 |t| (1 - t^2) is at most 0.7699, and at most 8 exp(-2 |x|).
        return np.minimum(0.77, 8.0 * np.exp(-2.0 * _nearest(low, high)) * (1.0 + 1e-9))


class Sigmoid(Monotone):
    name = "sigmoid"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(_expit(x))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(_expit(x) * _expit(-x))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        # |f''| = s (1 - s) |1 - 2 s| is at most 0.0963, and at most exp(-|x|).
        return np.asarray(np.minimum(0.0963, np.exp(-_nearest(low, high)) * (1.0 + 1e-9)))


class Exp(Monotone):
    name = "exp"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.exp(np.minimum(x, 709.0)))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return self.value(x, parameter)

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        return np.where(high <= 700.0, self.value(high, parameter) * (1.0 + 1e-9), np.inf)

    def range(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        bottom, top = Monotone.range(self, low, high, parameter)
        return bottom, np.where(high <= 700.0, top, np.inf)

    def steep(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.range(low, high, parameter)


class Softplus(Monotone):
    name = "softplus"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.logaddexp(0.0, x))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(_expit(x))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.minimum(0.25, np.exp(-_nearest(low, high)) * (1.0 + 1e-9)))


class Erf(Monotone):
    name = "erf"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(_erf(x))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(2.0 / math.sqrt(math.pi) * np.exp(-x * x))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        return np.full(low.shape, 0.968)


class Gelu(Smooth):
    """x Phi(x), with the error function."""

    name = "gelu"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        return np.asarray(0.5 * (1.0 + _erf(x / math.sqrt(2.0))) + x * density)

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        # |f''| = phi(x) |2 - x^2| is greatest at 0, where it is 0.79789.
        return np.full(low.shape, 0.798)


class GeluTanh(Smooth):
    """The GELU's approximation by tanh."""

    name = "gelu_tanh"
    _C: ClassVar[float] = math.sqrt(2.0 / math.pi)

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return 0.5 * x * (1.0 + np.tanh(self._C * (x + 0.044715 * x**3)))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        t = np.tanh(self._C * (x + 0.044715 * x**3))
        return np.asarray(
            0.5 * (1 + t) + 0.5 * x * (1 - t * t) * self._C * (1 + 3 * 0.044715 * x * x)
        )

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        # |f''| is greatest at 0, where it is sqrt(2 / pi) = 0.79789.
        return np.full(low.shape, 0.8)


class Silu(Smooth):
    name = "silu"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(x * _expit(x))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        s = _expit(x)
        return np.asarray(s * (1.0 + x * (1.0 - s)))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        return np.full(low.shape, 0.5)


class Sin(Smooth):
    name = "sin"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.sin(x))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.cos(x))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        return np.ones(low.shape)

    def range(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        bottom, top = Smooth.range(self, low, high, parameter)
        return np.maximum(bottom, -1.0), np.minimum(top, 1.0)


class Cos(Sin):
    name = "cos"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.cos(x))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(-np.sin(x))


class Power(Smooth):
    """x ** n for a whole number n >= 2, the parameter."""

    name = "power"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(x ** int(parameter))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(parameter * x ** (int(parameter) - 1))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        size = np.maximum(np.abs(low), np.abs(high))
        n = int(parameter)
        return np.asarray(n * (n - 1) * size ** (n - 2) * (1.0 + 1e-9))

    def range(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        ends = self.value(low, parameter), self.value(high, parameter)
        bottom, top = np.minimum(*ends), np.maximum(*ends)
        if int(parameter) % 2 == 0:
            bottom = np.where((low <= 0) & (high >= 0), 0.0, bottom)
        slack = LIBRARY * int(parameter)
        return bottom - slack * np.abs(bottom), top + slack * np.abs(top)


class Reciprocal(Smooth):
    """1 / x where 0 is not in the interval; elsewhere unbounded."""

    name = "reciprocal"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return 1.0 / x

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.asarray(-1.0 / (x * x))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        least = _nearest(low, high)
        with np.errstate(divide="ignore"):
            return np.where(least > 0, 2.0 / least**3 * (1.0 + 1e-9), np.inf)


class Sqrt(Smooth):
    """The square root of max(x, 0)."""

    name = "sqrt"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.sqrt(np.maximum(x, 0.0)))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(0.5 / np.sqrt(np.maximum(x, 1e-300)))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        positive = low > 0
        least = np.where(positive, low, 1.0)
        return np.where(positive, 0.25 * least**-1.5 * (1.0 + 1e-9), np.inf)

    def range(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        bottom, top = self.value(low, parameter), self.value(high, parameter)
        return bottom * (1.0 - LIBRARY), top * (1.0 + LIBRARY)

    def steep(
        self, low: np.ndarray, high: np.ndarray, parameter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.range(low, high, parameter)


class Log(Smooth):
    """The logarithm where x is positive; elsewhere unbounded."""

    name = "log"

    def value(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(np.log(np.maximum(x, 1e-300)))

    def slope(self, x: np.ndarray, parameter: float) -> np.ndarray:
        return np.asarray(1.0 / np.maximum(x, 1e-300))

    def curvature(self, low: np.ndarray, high: np.ndarray, parameter: float) -> np.ndarray:
        positive = low > 0
        return np.where(positive, np.where(positive, low, 1.0) ** -2.0 * (1.0 + 1e-9), np.inf)


FUNCTIONS: dict[str, Relaxed] = {
    cls.name: cls()
    for cls in (
        Relu,
        Tanh,
        Sigmoid,
        Exp,
        Softplus,
        Erf,
        Gelu,
        GeluTanh,
        Silu,
        Sin,
        Cos,
        Power,
        Reciprocal,
        Sqrt,
        Log,
    )
}


@dataclass(frozen=True, slots=True)
class Planes:
    """`left * x + right * y + low <= x y <= left * x + right * y + high` (McCormick, averaged)."""

    left: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray


def product_planes(
    low_x: np.ndarray, high_x: np.ndarray, low_y: np.ndarray, high_y: np.ndarray
) -> Planes:
    """Planes with the slopes of the product at the centre; the remainder is extreme at corners."""
    left, right = (low_y + high_y) / 2, (low_x + high_x) / 2
    corners = [x * y - left * x - right * y for x in (low_x, high_x) for y in (low_y, high_y)]
    size_x = np.maximum(np.abs(low_x), np.abs(high_x))
    size_y = np.maximum(np.abs(low_y), np.abs(high_y))
    slack = 16 * UNIT * (size_x * size_y + np.abs(left) * size_x + np.abs(right) * size_y)
    low = np.minimum.reduce(corners) - slack - 1e-300
    return Planes(left, right, low, np.maximum.reduce(corners) + slack + 1e-300)


def product_range(
    low_x: np.ndarray, high_x: np.ndarray, low_y: np.ndarray, high_y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    corners = [x * y for x in (low_x, high_x) for y in (low_y, high_y)]
    low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)
    return low - 4 * UNIT * np.abs(low) - 1e-300, high + 4 * UNIT * np.abs(high) + 1e-300
