"""Tensor primitives that work on each entry alone; their arguments broadcast."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from dsl.primitives.base import Undefined
from dsl.primitives.tensor.base import (
    Box,
    TensorPrimitive,
    each,
    either,
    hull,
    is_object,
    registered,
    widened,
)


class _Arithmetic(TensorPrimitive):
    """An operation of two numbers; `function` is NumPy's."""

    function: ClassVar[Any]

    def numpy(self, *args: Any, **options: Any) -> Any:
        return type(self).function(*args)


class Add(_Arithmetic):
    """The sum of `a` and `b`."""

    name, function = "add", np.add

    def bounds(self, *args: Box, **options: Any) -> Box:
        a, b = args
        return widened(a.low + b.low, a.high + b.high)


class Sub(_Arithmetic):
    """The difference `a - b`."""

    name, function = "sub", np.subtract

    def bounds(self, *args: Box, **options: Any) -> Box:
        a, b = args
        return widened(a.low - b.high, a.high - b.low)


class Mul(_Arithmetic):
    """The product of `a` and `b`."""

    name, function = "mul", np.multiply

    def bounds(self, *args: Box, **options: Any) -> Box:
        a, b = args
        with np.errstate(invalid="ignore"):
            return hull(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)


class Div(_Arithmetic):
    """The quotient of `a` by `b`, a real number also for integers."""

    name, function = "div", np.true_divide

    def bounds(self, *args: Box, **options: Any) -> Box:
        a, b = args
        with np.errstate(divide="ignore", invalid="ignore"):
            found = hull(a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high)
        through = (b.low <= 0) & (b.high >= 0)
        return Box(np.where(through, -np.inf, found.low), np.where(through, np.inf, found.high))


class Mod(_Arithmetic):
    """The remainder of `a` by `b`, with the sign of `b`."""

    name, function = "mod", np.mod

    def bounds(self, *args: Box, **options: Any) -> Box:
        a, b = args
        whole = np.maximum(np.abs(b.low), np.abs(b.high))
        low = np.where(b.low < 0, -whole, 0.0)
        same = (a.low >= 0) & (a.high < b.low)  # nothing is taken off
        shape = np.broadcast_shapes(a.shape, b.shape)
        if a.is_point and b.is_point:
            with np.errstate(divide="ignore", invalid="ignore"):
                exact = np.mod(a.low, b.low)
            return hull(exact)
        high = np.where(b.high > 0, whole, 0.0)
        return Box(
            np.broadcast_to(np.where(same, a.low, low), shape),
            np.broadcast_to(np.where(same, a.high, high), shape),
        )


class Pow(TensorPrimitive):
    """`a` to the power `b`."""

    name = "pow"

    def numpy(self, *args: Any, **options: Any) -> Any:
        a, b = args
        if is_object(a) and np.ndim(b) == 0 and float(b) == int(b):
            return a ** int(b)
        return np.power(a, b)

    def bounds(self, *args: Box, **options: Any) -> Box:
        a, b = args
        if not b.is_point:
            with np.errstate(all="ignore"):
                found = hull(
                    *(np.power(x, y) for x in (a.low, a.high) for y in (b.low, b.high)), ulps=8
                )
            unsafe = a.low <= 0
            return Box(np.where(unsafe, -np.inf, found.low), np.where(unsafe, np.inf, found.high))
        exponent = b.low
        with np.errstate(all="ignore"):
            found = hull(np.power(a.low, exponent), np.power(a.high, exponent), ulps=8)
        through = (a.low < 0) & (a.high > 0)
        even = (exponent > 0) & (np.mod(exponent, 2) == 0)
        low = np.where(through & even, 0.0, found.low)
        broken = np.mod(exponent, 1) != 0  # of negative numbers there is no such power
        unknown = ((a.low < 0) & broken) | ((a.low <= 0) & (a.high >= 0) & (exponent < 0))
        return Box(np.where(unknown, -np.inf, low), np.where(unknown, np.inf, found.high))


class _Monotone(TensorPrimitive):
    """A function of one number that never falls."""

    ulps: ClassVar[int] = 8
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    def bounds(self, *args: Box, **options: Any) -> Box:
        with np.errstate(all="ignore"):
            low, high = (np.asarray(self.numpy(x, **options)) for x in (args[0].low, args[0].high))
        found = widened(low, high, ulps=self.ulps)
        least, most = self.range
        return Box(np.maximum(found.low, least), np.minimum(found.high, most))


def _real(name: str, *arrays: Any) -> None:
    if is_object(*arrays):
        raise Undefined(f"{name} of exact numbers has no exact value")


class Neg(TensorPrimitive):
    """The negative of `x`."""

    name = "neg"

    def numpy(self, *args: Any, **options: Any) -> Any:
        return np.negative(args[0])

    def bounds(self, *args: Box, **options: Any) -> Box:
        return Box(-args[0].high, -args[0].low)


class Abs(TensorPrimitive):
    """The absolute value of `x`."""

    name = "abs"

    def numpy(self, *args: Any, **options: Any) -> Any:
        if is_object(args[0]):
            return each(lambda x: either(x >= 0, x, -x), args[0])
        return np.abs(args[0])

    def bounds(self, *args: Box, **options: Any) -> Box:
        a = args[0]
        ends = np.abs(a.low), np.abs(a.high)
        low = np.where((a.low <= 0) & (a.high >= 0), 0.0, np.minimum(*ends))
        return Box(low, np.maximum(*ends))


class Maximum(TensorPrimitive):
    """The greater of `a` and `b`."""

    name = "maximum"

    def numpy(self, *args: Any, **options: Any) -> Any:
        if is_object(*args):
            return each(lambda a, b: either(a >= b, a, b), *args)
        return np.maximum(*args)

    def bounds(self, *args: Box, **options: Any) -> Box:
        a, b = args
        return Box(np.maximum(a.low, b.low), np.maximum(a.high, b.high))


class Minimum(TensorPrimitive):
    """The lesser of `a` and `b`."""

    name = "minimum"

    def numpy(self, *args: Any, **options: Any) -> Any:
        if is_object(*args):
            return each(lambda a, b: either(a <= b, a, b), *args)
        return np.minimum(*args)

    def bounds(self, *args: Box, **options: Any) -> Box:
        a, b = args
        return Box(np.minimum(a.low, b.low), np.minimum(a.high, b.high))


class Relu(TensorPrimitive):
    """`x` where it is positive, else 0."""

    name = "relu"

    def numpy(self, *args: Any, **options: Any) -> Any:
        x = args[0]
        if is_object(x):
            return each(lambda v: either(v > 0, v, v * 0), x)
        return np.maximum(x, np.zeros((), np.asarray(x).dtype))

    def bounds(self, *args: Box, **options: Any) -> Box:
        return Box(np.maximum(args[0].low, 0.0), np.maximum(args[0].high, 0.0))


class LeakyRelu(TensorPrimitive):
    """`x` where it is positive, else `slope * x`."""

    name = "leaky_relu"

    def numpy(self, *args: Any, slope: float = 0.01, **options: Any) -> Any:
        x = args[0]
        if is_object(x):
            return each(lambda v: either(v > 0, v, v * slope), x)
        return np.where(x > 0, x, x * np.asarray(slope, np.asarray(x).dtype))

    def bounds(self, *args: Box, slope: float = 0.01, **options: Any) -> Box:
        a = args[0]
        ends = [np.where(x > 0, x, x * slope) for x in (a.low, a.high)]
        if slope >= 0:
            return widened(*ends, ulps=2)
        found = hull(*ends, ulps=2)
        return Box(np.where((a.low <= 0) & (a.high >= 0), 0.0, found.low), found.high)


class Tanh(_Monotone):
    """The hyperbolic tangent."""

    name, range = "tanh", (-1.0, 1.0)

    def numpy(self, *args: Any, **options: Any) -> Any:
        _real("tanh", *args)
        return np.tanh(args[0])


class Sigmoid(_Monotone):
    """`1 / (1 + exp(-x))`."""

    name, range = "sigmoid", (0.0, 1.0)

    def numpy(self, *args: Any, **options: Any) -> Any:
        _real("sigmoid", *args)
        from scipy.special import expit

        return expit(args[0])


class Exp(_Monotone):
    """The exponential."""

    name, range = "exp", (0.0, math.inf)

    def numpy(self, *args: Any, **options: Any) -> Any:
        _real("exp", *args)
        with np.errstate(over="ignore"):
            return np.exp(args[0])


class Log(_Monotone):
    """The natural logarithm; of 0 it is minus infinity, of negative numbers not a number."""

    name = "log"

    def numpy(self, *args: Any, **options: Any) -> Any:
        _real("log", *args)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(args[0])


class Sqrt(_Monotone):
    """The square root."""

    name = "sqrt"

    def numpy(self, *args: Any, **options: Any) -> Any:
        _real("sqrt", *args)
        with np.errstate(invalid="ignore"):
            return np.sqrt(args[0])


class Erf(_Monotone):
    """The error function."""

    name, range = "erf", (-1.0, 1.0)

    def numpy(self, *args: Any, **options: Any) -> Any:
        _real("erf", *args)
        from scipy.special import erf

        return erf(args[0])


class Softplus(_Monotone):
    """`log(1 + exp(beta * x)) / beta`."""

    name, range, ulps = "softplus", (0.0, math.inf), 16

    def numpy(self, *args: Any, beta: float = 1.0, **options: Any) -> Any:
        _real("softplus", *args)
        scale = np.asarray(beta, np.asarray(args[0]).dtype)
        return np.logaddexp(args[0] * scale, np.zeros_like(scale)) / scale


class Floor(_Monotone):
    """The greatest whole number that is not above `x`."""

    name = "floor"

    def numpy(self, *args: Any, **options: Any) -> Any:
        return each(math.floor, args[0]) if is_object(args[0]) else np.floor(args[0])

    def bounds(self, *args: Box, **options: Any) -> Box:
        return Box(np.floor(args[0].low), np.floor(args[0].high))


class Round(_Monotone):
    """The nearest whole number; of two, the even one."""

    name = "round"

    def numpy(self, *args: Any, **options: Any) -> Any:
        return each(round, args[0]) if is_object(args[0]) else np.round(args[0])

    def bounds(self, *args: Box, **options: Any) -> Box:
        return Box(np.round(args[0].low), np.round(args[0].high))


class Sign(_Monotone):
    """-1, 0 or 1."""

    name = "sign"

    def numpy(self, *args: Any, **options: Any) -> Any:
        if is_object(args[0]):
            return each(lambda x: either(x > 0, 1, either(x < 0, -1, 0)), args[0])
        return np.sign(args[0])

    def bounds(self, *args: Box, **options: Any) -> Box:
        return Box(np.sign(args[0].low), np.sign(args[0].high))


class Clip(_Monotone):
    """`x`, but not below `low` nor above `high`; None is no bound."""

    name = "clip"

    def numpy(
        self, *args: Any, low: float | None = None, high: float | None = None, **options: Any
    ) -> Any:
        x = args[0]
        if is_object(x):
            if low is not None:
                x = each(lambda v: either(v >= low, v, low), x)
            if high is not None:
                x = each(lambda v: either(v <= high, v, high), x)
            return x
        if low is not None:
            x = np.maximum(x, np.asarray(low, np.asarray(x).dtype))
        if high is not None:
            x = np.minimum(x, np.asarray(high, np.asarray(x).dtype))
        return x


class _Valley(TensorPrimitive):
    """A function that falls until somewhere in `bottom` and rises from there."""

    bottom: ClassVar[tuple[float, float]]
    least: ClassVar[float]

    def bounds(self, *args: Box, **options: Any) -> Box:
        a = args[0]
        with np.errstate(all="ignore"):
            ends = [np.asarray(self.numpy(x, **options)) for x in (a.low, a.high)]
        ends = [np.where(np.isneginf(x), 0.0, end) for x, end in zip((a.low, a.high), ends)]
        found = hull(*ends, ulps=64)
        within = (a.low <= self.bottom[1]) & (a.high >= self.bottom[0])
        return Box(np.where(within, self.least, found.low), found.high)


class Gelu(_Valley):
    """`x` times the normal distribution function of `x`; `approximate="tanh"` is the usual one."""

    name, bottom, least = "gelu", (-0.76, -0.745), -0.1701

    def numpy(self, *args: Any, approximate: str = "none", **options: Any) -> Any:
        x = args[0]
        _real("gelu", x)
        kind = np.asarray(x).dtype.type
        if approximate == "tanh":
            inner = kind(math.sqrt(2 / math.pi)) * (x + kind(0.044715) * x * x * x)
            return kind(0.5) * x * (kind(1) + np.tanh(inner))
        from scipy.special import erf

        return kind(0.5) * x * (kind(1) + erf(x * kind(math.sqrt(0.5))))


class Silu(_Valley):
    """`x * sigmoid(x)`."""

    name, bottom, least = "silu", (-1.28, -1.277), -0.27847

    def numpy(self, *args: Any, **options: Any) -> Any:
        _real("silu", *args)
        from scipy.special import expit

        return args[0] * expit(args[0])


class _Wave(TensorPrimitive):
    """A sine; `phase` (in quarters of a turn) is where it has its greatest value."""

    function: ClassVar[Any]
    phase: ClassVar[int]

    def numpy(self, *args: Any, **options: Any) -> Any:
        _real(self.name, *args)
        return type(self).function(args[0])

    def bounds(self, *args: Box, **options: Any) -> Box:
        a = args[0]
        with np.errstate(all="ignore"):
            found = hull(type(self).function(a.low), type(self).function(a.high), ulps=8)

        def holds(turn: float) -> np.ndarray:
            # Is there a whole k with low <= (k + turn) * 2 pi <= high?  Rounded outward.
            slack = 1e-12 * (1 + np.abs(a.low) + np.abs(a.high))
            first = np.ceil((a.low - slack) / (2 * math.pi) - turn)
            return np.asarray((first + turn) * 2 * math.pi <= a.high + slack)

        low = np.where(holds(self.phase / 4 + 0.5), -1.0, np.maximum(found.low, -1.0))
        high = np.where(holds(self.phase / 4), 1.0, np.minimum(found.high, 1.0))
        wide = ~np.isfinite(a.low) | ~np.isfinite(a.high)
        return Box(np.where(wide, -1.0, low), np.where(wide, 1.0, high))


class Sin(_Wave):
    """The sine."""

    name, function, phase = "sin", np.sin, 1


class Cos(_Wave):
    """The cosine."""

    name, function, phase = "cos", np.cos, 0


class Where(TensorPrimitive):
    """`a` where the condition holds, else `b`."""

    name = "where"

    def numpy(self, *args: Any, **options: Any) -> Any:
        condition, a, b = args
        return each(either, *args) if is_object(condition) else np.where(condition, a, b)

    def bounds(self, *args: Box, **options: Any) -> Box:
        condition, a, b = args
        truth = _certain(condition)
        never, always = truth.high == 0, truth.low == 1
        low = np.where(never, b.low, np.where(always, a.low, np.minimum(a.low, b.low)))
        high = np.where(never, b.high, np.where(always, a.high, np.maximum(a.high, b.high)))
        return Box(low, high)


def _truth(always: np.ndarray, never: np.ndarray) -> Box:
    return Box(np.where(always, 1.0, 0.0), np.where(never, 0.0, 1.0))


class _Comparison(TensorPrimitive):
    """A comparison of two numbers."""

    function: ClassVar[Any]
    always: ClassVar[Any]  # where it holds for all of two boxes
    never: ClassVar[Any]

    def numpy(self, *args: Any, **options: Any) -> Any:
        if is_object(*args):
            return np.asarray(type(self).function(*args, dtype=object))
        return type(self).function(*args)

    def bounds(self, *args: Box, **options: Any) -> Box:
        return _truth(type(self).always(*args), type(self).never(*args))


def _apart(a: Box, b: Box) -> np.ndarray:
    return (a.high < b.low) | (a.low > b.high)


def _equal_points(a: Box, b: Box) -> np.ndarray:
    return (a.low == a.high) & (b.low == b.high) & (a.low == b.low)


class Less(_Comparison):
    """Is `a` less than `b`?"""

    name, function = "lt", np.less
    always = staticmethod(lambda a, b: a.high < b.low)
    never = staticmethod(lambda a, b: a.low >= b.high)


class LessEqual(_Comparison):
    """Is `a` at most `b`?"""

    name, function = "le", np.less_equal
    always = staticmethod(lambda a, b: a.high <= b.low)
    never = staticmethod(lambda a, b: a.low > b.high)


class Greater(_Comparison):
    """Is `a` greater than `b`?"""

    name, function = "gt", np.greater
    always = staticmethod(lambda a, b: a.low > b.high)
    never = staticmethod(lambda a, b: a.high <= b.low)


class GreaterEqual(_Comparison):
    """Is `a` at least `b`?"""

    name, function = "ge", np.greater_equal
    always = staticmethod(lambda a, b: a.low >= b.high)
    never = staticmethod(lambda a, b: a.high < b.low)


class Equal(_Comparison):
    """Is `a` equal to `b`?"""

    name, function = "eq", np.equal
    always = staticmethod(_equal_points)
    never = staticmethod(_apart)


class NotEqual(_Comparison):
    """Is `a` different from `b`?"""

    name, function = "ne", np.not_equal
    always = staticmethod(_apart)
    never = staticmethod(_equal_points)


class Not(TensorPrimitive):
    """Does `x` not hold?"""

    name = "not"

    def numpy(self, *args: Any, **options: Any) -> Any:
        if is_object(args[0]):
            return each(lambda x: either(x, False, True), args[0])
        return np.logical_not(args[0])

    def bounds(self, *args: Box, **options: Any) -> Box:
        a = args[0]
        zero = (a.low == 0) & (a.high == 0)
        return _truth(zero, (a.low > 0) | (a.high < 0))


class And(TensorPrimitive):
    """Do `a` and `b` both hold?"""

    name = "and"

    def numpy(self, *args: Any, **options: Any) -> Any:
        if is_object(*args):
            return each(lambda a, b: either(a, b, False), *args)
        return np.logical_and(*args)

    def bounds(self, *args: Box, **options: Any) -> Box:
        truths = [_certain(arg) for arg in args]
        return Box(
            np.minimum(*(truth.low for truth in truths)),
            np.minimum(*(truth.high for truth in truths)),
        )


class Or(TensorPrimitive):
    """Does `a` or `b` hold?"""

    name = "or"

    def numpy(self, *args: Any, **options: Any) -> Any:
        if is_object(*args):
            return each(lambda a, b: either(a, True, b), *args)
        return np.logical_or(*args)

    def bounds(self, *args: Box, **options: Any) -> Box:
        truths = [_certain(arg) for arg in args]
        return Box(
            np.maximum(*(truth.low for truth in truths)),
            np.maximum(*(truth.high for truth in truths)),
        )


def _certain(a: Box) -> Box:
    """Numbers as truth values."""
    return _truth((a.low > 0) | (a.high < 0), (a.low == 0) & (a.high == 0))


class Cast(TensorPrimitive):
    """`x` in another dtype; a real number becomes the whole number next to it towards 0."""

    name = "cast"

    def numpy(self, *args: Any, dtype: str = "float32", **options: Any) -> Any:
        x = np.asarray(args[0])
        if x.dtype != object:
            return x.astype(dtype)
        if np.dtype(dtype).kind in "iu":
            return each(lambda v: either(v, 1, 0) if _is_truth(v) else math.trunc(v), x)
        if np.dtype(dtype).kind == "b":
            return each(lambda v: v if _is_truth(v) else v != 0, x)
        return each(lambda v: either(v, 1, 0) if _is_truth(v) else v, x)

    def bounds(self, *args: Box, dtype: str = "float32", **options: Any) -> Box:
        a = args[0]
        match np.dtype(dtype).kind:
            case "i" | "u":
                return Box(np.trunc(a.low), np.trunc(a.high))
            case "b":
                return _certain(a)
            case _:
                return a


def _is_truth(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_)) or type(value).__name__ == "BoolRef"


ELEMENTWISE = registered(
    *(Add, Sub, Mul, Div, Mod, Pow, Neg, Abs, Maximum, Minimum, Relu, LeakyRelu, Tanh, Sigmoid),
    *(Exp, Log, Sqrt, Erf, Gelu, Silu, Softplus, Sin, Cos, Floor, Round, Sign, Clip, Where),
    *(Less, LessEqual, Greater, GreaterEqual, Equal, NotEqual, Not, And, Or, Cast),
)
