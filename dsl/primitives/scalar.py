"""Primitives on numbers, truth values and tokens."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from dsl import types as t
from dsl.primitives.base import (
    EITHER,
    FALSE,
    TRUE,
    Beyond,
    Interval,
    Number,
    Primitive,
    TypeMismatch,
    Undefined,
    as_number,
    exact_float,
    is_integral,
    joined,
    magnitude,
    narrowed,
    numeric,
    outward,
    registered,
    widened,
)


def _z3() -> Any:
    import z3

    return z3


def _number(term: Any) -> Any:
    """A Z3 truth value as 0 or 1; other terms as they are."""
    z3 = _z3()
    return z3.If(term, z3.IntVal(1), z3.IntVal(0)) if z3.is_bool(term) else term


def _corners(operation: Callable[[Any, Any], Number], a: Interval, b: Interval) -> Interval:
    ends = [operation(x, y) for x, y in itertools.product((a.low, a.high), (b.low, b.high))]
    # 0 * inf is NaN: such a corner says nothing.
    if any(isinstance(end, float) and math.isnan(end) for end in ends):
        return Interval(-math.inf, math.inf)
    return outward(min(ends), max(ends))


class Add(Primitive):
    """The sum of `a` and `b`; of two sequences, `a` followed by `b`."""

    name, infix, precedence = "add", "+", 10
    examples = {"2 + 3": 5, "True + True": 2}

    def type(self, *args: t.Type) -> t.Type:
        match args:
            case (t.Seq(a), t.Seq(b)):
                return t.Seq(joined(a, b))
        return numeric("+", *args)

    def value(self, *args: Any) -> Any:
        return args[0] + args[1]

    def numpy(self, *args: Any) -> Any:
        return widened(np.add, lambda a, b: a + b, *args)

    def smt(self, *args: Any) -> Any:
        return _number(args[0]) + _number(args[1])

    def bounds(self, *args: Interval) -> Interval:
        a, b = args
        return outward(a.low + b.low, a.high + b.high)


class Sub(Primitive):
    """The difference `a - b`."""

    name, infix, precedence = "sub", "-", 10
    examples = {"2 - 3": -1}

    def type(self, *args: t.Type) -> t.Type:
        return numeric("-", *args)

    def value(self, *args: Any) -> Any:
        return args[0] - args[1]

    def numpy(self, *args: Any) -> Any:
        return widened(np.subtract, lambda a, b: a + b, *args)

    def smt(self, *args: Any) -> Any:
        return _number(args[0]) - _number(args[1])

    def bounds(self, *args: Interval) -> Interval:
        a, b = args
        return outward(a.low - b.high, a.high - b.low)


class Mul(Primitive):
    """The product of `a` and `b`; of a sequence and a count, the sequence repeated."""

    name, infix, precedence = "mul", "*", 11
    examples = {"2 * 3": 6}

    def type(self, *args: t.Type) -> t.Type:
        match args:
            case (t.Seq(a), t.Int() | t.Bool()):
                return t.Seq(a)
        return numeric("*", *args)

    def value(self, *args: Any) -> Any:
        return args[0] * args[1]

    def numpy(self, *args: Any) -> Any:
        return widened(np.multiply, lambda a, b: a * b, *args)

    def smt(self, *args: Any) -> Any:
        return _number(args[0]) * _number(args[1])

    def bounds(self, *args: Interval) -> Interval:
        return _corners(operator.mul, *args)


class _Division(Primitive):
    precedence = 11
    undefined = "the divisor is 0"
    integral: ClassVar[bool] = True

    def type(self, *args: t.Type) -> t.Type:
        return numeric(self.infix, *args)

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        return np.asarray(args[1] == 0)

    def divisor(self, b: np.ndarray) -> np.ndarray:
        """`b` with 1 in place of 0: such rows are undefined and masked."""
        b = as_number(b)
        return np.where(b == 0, np.ones((), b.dtype if b.dtype != object else np.int64), b)


class FloorDiv(_Division):
    """The quotient `a // b`, rounded down."""

    name, infix = "floordiv", "//"
    examples = {"7 // 2": 3, "-7 // 2": -4, "7 // -2": -4}

    def value(self, *args: Any) -> Any:
        return args[0] // args[1]

    def numpy(self, *args: Any) -> Any:
        return widened(np.floor_divide, lambda a, b: a, args[0], self.divisor(args[1]))

    def smt(self, *args: Any) -> Any:
        a, b = (_number(term) for term in args)
        z3 = _z3()
        if not (z3.is_int(a) and z3.is_int(b)):
            return z3.ToReal(z3.ToInt(a / b))
        # SMT-LIB division rounds so that the remainder is never negative; Python's rounds down.
        return z3.If(b > 0, a / b, (-a) / (-b))

    def bounds(self, *args: Interval) -> Interval:
        a, b = args
        if 0 in b:
            raise Undefined("the divisor may be 0")
        corners = _corners(operator.truediv, a, b) if _has_float(a, b) else None
        if corners is not None:
            return Interval(_floor(corners.low), _floor(corners.high))
        ends = [x // y for x, y in itertools.product((a.low, a.high), (b.low, b.high))]
        return Interval(min(ends), max(ends))


class Mod(_Division):
    """The remainder of `a` by `m`, with the sign of `m`."""

    name, infix = "mod", "%"
    examples = {"7 % 3": 1, "7 % -3": -2, "-7 % 3": 2}

    def value(self, *args: Any) -> Any:
        return args[0] % args[1]

    def numpy(self, *args: Any) -> Any:
        return widened(np.mod, lambda a, b: b, args[0], self.divisor(args[1]))

    def smt(self, *args: Any) -> Any:
        a, m = (_number(term) for term in args)
        z3 = _z3()
        if not (z3.is_int(a) and z3.is_int(m)):
            return a - m * z3.ToReal(z3.ToInt(a / m))
        remainder = a % m  # SMT-LIB: never negative
        return z3.If(z3.And(m < 0, remainder != 0), remainder + m, remainder)

    def bounds(self, *args: Interval) -> Interval:
        a, m = args
        if 0 in m:
            raise Undefined("the divisor may be 0")
        whole = not _has_float(a, m)
        if whole and m.low == m.high and a.low // m.low == a.high // m.low:
            ends = (a.low % m.low, a.high % m.low)
            return Interval(min(ends), max(ends))
        if not whole:
            # A tiny negative number leaves the divisor itself, as floats round.
            return outward(0.0, m.high) if m.low > 0 else outward(m.low, 0.0)
        return Interval(0, m.high - 1) if m.low > 0 else Interval(m.low + 1, 0)


class TrueDiv(_Division):
    """The quotient `a / b`, a real number."""

    name, infix = "truediv", "/"
    examples = {"7 / 2": 3.5}

    def type(self, *args: t.Type) -> t.Type:
        numeric("/", *args)
        return t.Real()

    def value(self, *args: Any) -> Any:
        return args[0] / args[1]

    def numpy(self, *args: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.asarray(
                np.true_divide(exact_float(as_number(args[0])), exact_float(self.divisor(args[1])))
            )

    def smt(self, *args: Any) -> Any:
        z3 = _z3()
        a, b = (_number(term) for term in args)
        return (z3.ToReal(a) if z3.is_int(a) else a) / (z3.ToReal(b) if z3.is_int(b) else b)

    def bounds(self, *args: Interval) -> Interval:
        if 0 in args[1]:
            raise Undefined("the divisor may be 0")
        return _corners(operator.truediv, *args)


def exactly(function: Callable[..., float], *args: np.ndarray) -> np.ndarray:
    """A function of Python's on each entry.  NumPy's own vectors differ from it in the last bit,
    and one bit decides a comparison."""
    arrays = np.broadcast_arrays(*args)
    columns = (array.ravel().tolist() for array in arrays)
    values = np.fromiter(map(function, *columns), np.float64, arrays[0].size)
    return values.reshape(arrays[0].shape)


def _power(a: float, b: float) -> float:
    """`a ** b`; NaN where Python raises or answers with a complex number."""
    try:
        result = a**b
    except (OverflowError, ZeroDivisionError):
        return math.nan
    return result if isinstance(result, float) else math.nan


def _complex(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where `a ** b` is a complex number in Python."""
    return np.asarray((a < 0) & np.isfinite(a) & np.isfinite(b) & (b != np.floor(b)))


class Pow(Primitive):
    """`a` to the power of `b`; integer powers only for `b >= 0`."""

    name, infix, precedence = "pow", "**", 13
    undefined = "a negative exponent of an integer, a root of a negative number, or over 4096 bits"
    examples = {"2 ** 10": 1024, "(-3) ** 3": -27}

    def type(self, *args: t.Type) -> t.Type:
        kind = numeric("**", *args)
        match args:
            case (t.Int() | t.Bool(), t.Int(high=int(high))) if high < 0:
                raise TypeMismatch(
                    f"an integer to the power of {high} is no integer: divide, or take a real base"
                )
        return kind

    def value(self, *args: Any) -> Any:
        a, b = args
        if isinstance(a, int) and isinstance(b, int):
            if a == 0 and b < 0:
                raise Undefined("0 has no negative power")
            if b < 0 or abs(a).bit_length() * b > 4096:
                raise Beyond("the exponent is negative or the power too large")
            return a**b
        a, b = float(a), float(b)
        if a == 0 and b < 0:
            raise Undefined("0 has no negative power")
        if a < 0 and math.isfinite(a) and math.isfinite(b) and b != math.floor(b):
            raise Beyond("the power is a complex number")
        try:
            return a**b
        except OverflowError:
            raise Undefined("the power is too large for a real number") from None

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        a, b = (as_number(array) for array in args)
        if is_integral(a) and is_integral(b):
            bits = np.frompyfunc(lambda x: int(x).bit_length(), 1, 1)(np.abs(a.astype(object)))
            return np.asarray((b < 0) | (bits * b.astype(object) > 4096), bool)
        a, b = exact_float(a), exact_float(b)
        with np.errstate(all="ignore"):
            overflow = np.isinf(np.power(np.abs(a), b)) & np.isfinite(a) & np.isfinite(b)
        return np.asarray(_complex(a, b) | ((a == 0) & (b < 0)) | overflow)

    def beyond(self, *args: np.ndarray) -> np.ndarray | None:
        a, b = (as_number(array) for array in args)
        if is_integral(a) and is_integral(b):
            return np.asarray((b >= 0) | (a != 0), bool)
        return _complex(exact_float(a), exact_float(b))

    def numpy(self, *args: Any) -> Any:
        a, b = (as_number(array) for array in args)
        if is_integral(a) and is_integral(b):
            exponent = np.clip(b, 0, 4096).astype(np.int64)
            small = magnitude(a).bit_length() * max(magnitude(exponent), 1) < 62
            if small:
                return np.power(a.astype(np.int64), exponent)
            return narrowed(np.asarray(np.power(a.astype(object), exponent.astype(object)), object))
        return exactly(_power, exact_float(a), exact_float(b))

    def smt(self, *args: Any) -> Any:
        z3 = _z3()
        a, b = (_number(term) for term in args)
        exponent = z3.simplify(b)
        if not z3.is_int_value(exponent) or not 0 <= exponent.as_long() <= 16:
            raise Undefined("only constant powers from 0 to 16 have a Z3 meaning")
        power: Any = z3.IntVal(1) if z3.is_int(a) else z3.RealVal(1)
        for _ in range(exponent.as_long()):
            power = power * a
        return power

    def bounds(self, *args: Interval) -> Interval:
        a, b = args
        if b.low != b.high or not isinstance(b.low, int) or b.low < 0:
            raise Undefined("only constant natural powers have an interval meaning")
        ends = [a.low**b.low, a.high**b.low]
        if b.low % 2 == 0 and b.low > 0 and 0 in a:
            ends.append(0)
        return outward(min(ends), max(ends))


class Neg(Primitive):
    """The negative of `a`."""

    name, infix, precedence = "neg", "-", 12
    examples = {"-(3)": -3}

    def type(self, *args: t.Type) -> t.Type:
        return numeric("-", *args)

    def value(self, *args: Any) -> Any:
        return -args[0]

    def numpy(self, *args: Any) -> Any:
        return widened(np.negative, lambda a: a, *args)

    def smt(self, *args: Any) -> Any:
        return -_number(args[0])

    def bounds(self, *args: Interval) -> Interval:
        return Interval(-args[0].high, -args[0].low)


class Abs(Primitive):
    """The absolute value of `a`."""

    name, python = "abs", "abs"
    examples = {"abs(-3)": 3}

    def type(self, *args: t.Type) -> t.Type:
        return numeric("abs", *args)

    def value(self, *args: Any) -> Any:
        return abs(args[0])

    def numpy(self, *args: Any) -> Any:
        return widened(np.abs, lambda a: a, *args)

    def smt(self, *args: Any) -> Any:
        a = _number(args[0])
        return _z3().If(a >= 0, a, -a)

    def bounds(self, *args: Interval) -> Interval:
        a = args[0]
        ends = (abs(a.low), abs(a.high))
        return Interval(0 if 0 in a else min(ends), max(ends))


def _kind(array: np.ndarray) -> str:
    if array.dtype.kind in "US":
        return "text"
    return "other" if array.dtype == object else "number"


class _Comparison(Primitive):
    precedence = 5

    def compare(self, a: Any, b: Any) -> Any:
        return getattr(operator, self.name)(a, b)

    def type(self, *args: t.Type) -> t.Type:
        joined(*args)
        return t.Bool()

    def value(self, *args: Any) -> Any:
        return self.compare(*args)

    def numpy(self, *args: Any) -> Any:
        a, b = args
        if {_kind(a), _kind(b)} == {"text", "number"}:
            return self._unlike(a, b)
        if is_integral(a) != is_integral(b) and "f" in (a.dtype.kind, b.dtype.kind):
            a, b = exact_float(as_number(a)), exact_float(as_number(b))
        try:
            return np.asarray(self.compare(a, b), bool)
        except TypeError:
            raise Beyond(f"{self.infix} between text and numbers") from None

    def _unlike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        raise Beyond(f"{self.infix} between text and numbers")

    def smt(self, *args: Any) -> Any:
        return self.compare(_number(args[0]), _number(args[1]))


class _Order(_Comparison):
    def type(self, *args: t.Type) -> t.Type:
        kind = joined(*args)
        if not isinstance(kind, (t.Bool, t.Int, t.Real, t.Token)):
            raise TypeMismatch(f"{self.infix} takes numbers or tokens, not {kind}")
        return t.Bool()

    def bounds(self, *args: Interval) -> Interval:
        a, b = args
        if self.compare(a.low, b.high) and self.compare(a.high, b.low):
            return TRUE
        if not self.compare(a.low, b.high) and not self.compare(a.high, b.low):
            return FALSE
        return EITHER


class Lt(_Order):
    """Is `a` less than `b`?"""

    name, infix = "lt", "<"
    examples = {"2 < 3": True, "3 < 3": False}


class Le(_Order):
    """Is `a` at most `b`?"""

    name, infix = "le", "<="
    examples = {"3 <= 3": True}


class Gt(_Order):
    """Is `a` greater than `b`?"""

    name, infix = "gt", ">"
    examples = {"3 > 3": False}


class Ge(_Order):
    """Is `a` at least `b`?"""

    name, infix = "ge", ">="
    examples = {"3 >= 3": True}


class Eq(_Comparison):
    """Are `a` and `b` equal?"""

    name, infix = "eq", "=="
    examples = {"3 == 3": True, "'a' == 'b'": False}

    def _unlike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.zeros(np.broadcast_shapes(a.shape, b.shape), bool)

    def bounds(self, *args: Interval) -> Interval:
        a, b = args
        if a.low == a.high == b.low == b.high:
            return TRUE
        return FALSE if a.high < b.low or b.high < a.low else EITHER


class Ne(_Comparison):
    """Do `a` and `b` differ?"""

    name, infix = "ne", "!="
    examples = {"3 != 3": False}

    def _unlike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.ones(np.broadcast_shapes(a.shape, b.shape), bool)

    def bounds(self, *args: Interval) -> Interval:
        equal = Eq().bounds(*args)
        return Interval(1 - equal.high, 1 - equal.low)


def _truth(array: np.ndarray) -> np.ndarray:
    if array.dtype == bool:
        return array
    if array.dtype.kind in "US":
        return np.asarray(array != "")
    if array.dtype == object:
        return np.asarray(np.frompyfunc(bool, 1, 1)(array), bool)
    return np.asarray(array != 0)


def _either(condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a` where the condition holds, else `b`; neither is converted where that would change it."""
    mixed = is_integral(a) != is_integral(b) and "f" in (a.dtype.kind, b.dtype.kind)
    if _kind(a) != _kind(b) or (mixed and max(_size(a), _size(b)) > 2**53):
        a, b = a.astype(object), b.astype(object)
    return np.where(condition, a, b)


def _size(array: np.ndarray) -> int:
    return magnitude(array) if is_integral(array) else 0


def truths(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The truth of each entry: numbers are true unless 0."""
    return tuple(_truth(array) for array in arrays)


def _smt_truth(term: Any) -> Any:
    return term if _z3().is_bool(term) else term != 0


def _certain(a: Interval) -> bool | None:
    """Whether every member is true, or every one false; None when it depends."""
    if 0 not in a:
        return True
    return False if a.low == a.high == 0 else None


def _tested(name: str, *args: t.Type) -> None:
    for kind in args:
        if not isinstance(kind, (t.Bool, t.Int, t.Real)):
            raise TypeMismatch(f"{name} takes truth values, not {kind}")


class _Logic(Primitive):
    """As in Python the result is one of the operands: `3 and 5` is 5."""

    def type(self, *args: t.Type) -> t.Type:
        _tested(self.infix, *args)
        return joined(*args)


class And(_Logic):
    """Do both hold?  `a` where it is false, else `b`, which need only have a value there."""

    name, infix, precedence = "and", "and", 3
    examples = {"True and False": False}

    def value(self, *args: Any) -> Any:
        return args[0] and args[1]

    def numpy(self, *args: Any) -> Any:
        a, b = args
        if a.dtype == bool and b.dtype == bool:
            return a & b
        return _either(_truth(a), b, a)

    def smt(self, *args: Any) -> Any:
        a, b = args
        if _z3().is_bool(a) and _z3().is_bool(b):
            return _z3().And(a, b)
        return IfThenElse().smt(a, b, a)

    def bounds(self, *args: Interval) -> Interval:
        a, b = args
        match _certain(a):
            case True:
                return b
            case False:
                return a
        return Interval(min(0, b.low), max(0, b.high))


class Or(_Logic):
    """Does one hold?  `a` where it is true, else `b`, which need only have a value there."""

    name, infix, precedence = "or", "or", 2
    examples = {"True or False": True}

    def value(self, *args: Any) -> Any:
        return args[0] or args[1]

    def numpy(self, *args: Any) -> Any:
        a, b = args
        if a.dtype == bool and b.dtype == bool:
            return a | b
        return _either(_truth(a), a, b)

    def smt(self, *args: Any) -> Any:
        a, b = args
        if _z3().is_bool(a) and _z3().is_bool(b):
            return _z3().Or(a, b)
        return IfThenElse().smt(a, a, b)

    def bounds(self, *args: Interval) -> Interval:
        a, b = args
        match _certain(a):
            case True:
                return a
            case False:
                return b
        return Interval(min(a.low, b.low), max(a.high, b.high))


class Not(Primitive):
    """Does `a` not hold?"""

    name, infix, precedence = "not", "not", 4
    examples = {"not True": False}

    def type(self, *args: t.Type) -> t.Type:
        _tested("not", *args)
        return t.Bool()

    def value(self, *args: Any) -> Any:
        return not args[0]

    def numpy(self, *args: Any) -> Any:
        return ~truths(*args)[0]

    def smt(self, *args: Any) -> Any:
        return _z3().Not(_smt_truth(args[0]))

    def bounds(self, *args: Interval) -> Interval:
        side = _certain(args[0])
        return EITHER if side is None else FALSE if side else TRUE


class IfThenElse(Primitive):
    """`a` where `condition` holds, else `b`; only the chosen one needs a value.

    The arguments are (condition, a, b); the text is `a if condition else b`.
    """

    name, precedence = "ite", 1
    examples = {"1 if True else 2": 1}

    def type(self, *args: t.Type) -> t.Type:
        return joined(args[1], args[2])

    def value(self, *args: Any) -> Any:
        return args[1] if args[0] else args[2]

    def numpy(self, *args: Any) -> Any:
        condition, a, b = args
        return _either(_truth(condition), a, b)

    def smt(self, *args: Any) -> Any:
        z3 = _z3()
        condition, a, b = args
        if z3.is_bool(a) != z3.is_bool(b):
            a, b = _number(a), _number(b)
        return z3.If(_smt_truth(condition), a, b)

    def bounds(self, *args: Interval) -> Interval:
        condition, a, b = args
        match _certain(condition):
            case True:
                return a
            case False:
                return b
            case _:
                return Interval(min(a.low, b.low), max(a.high, b.high))


class ToInt(Primitive):
    """The integer of a truth value, or a real number cut off towards 0."""

    name, python = "int", "int"
    undefined = "the argument is not finite"
    examples = {"int(True)": 1, "int(-2.5)": -2}

    def type(self, *args: t.Type) -> t.Type:
        numeric("int", *args)
        return t.Int()

    def value(self, *args: Any) -> Any:
        if isinstance(args[0], float) and not math.isfinite(args[0]):
            raise Undefined("int of a number that is not finite")
        return int(args[0])

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        return ~np.isfinite(args[0]) if args[0].dtype.kind == "f" else None

    def numpy(self, *args: Any) -> Any:
        a = args[0]
        return as_number(a) if is_integral(a) else integers(np.trunc(a))

    def smt(self, *args: Any) -> Any:
        z3 = _z3()
        a = _number(args[0])
        return a if z3.is_int(a) else z3.If(a >= 0, z3.ToInt(a), -z3.ToInt(-a))

    def bounds(self, *args: Interval) -> Interval:
        return Interval(math.trunc(args[0].low), math.trunc(args[0].high))


def integers(array: np.ndarray) -> np.ndarray:
    """Whole floats as exact integers."""
    array = np.where(np.isfinite(array), array, 0.0)
    if array.size == 0 or float(np.abs(array).max()) < 2.0**62:
        return array.astype(np.int64)
    return np.asarray(np.frompyfunc(int, 1, 1)(array), object)


class _Real(Primitive):
    """A real function of one number, monotone on its domain unless `bounds` says otherwise."""

    no_smt = "not a rational function"
    undefined: ClassVar[str | None] = None

    def type(self, *args: t.Type) -> t.Type:
        numeric(self.name, *args)
        return t.Real()

    def value(self, *args: Any) -> Any:
        array = np.asarray(float(args[0]))
        if (failed := self.fails(array)) is not None and bool(failed):
            raise Undefined(f"{self.name} of {args[0]}")
        return float(self.numpy(array))

    def numpy(self, *args: Any) -> Any:
        return exactly(self.one, exact_float(as_number(args[0])))

    @classmethod
    def one(cls, a: float) -> float:
        """The function of one number as Python computes it; NaN where it raises."""
        try:
            return float(getattr(math, cls.name)(a))
        except (ValueError, OverflowError):
            return math.nan

    def bounds(self, *args: Interval) -> Interval:
        low, high = (self.value(float(end)) for end in (args[0].low, args[0].high))
        # Mathematical libraries promise one or two units in the last place.
        for _ in range(3):
            low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
        return Interval(low, high)


class Sqrt(_Real):
    """The square root."""

    name, python = "sqrt", "math.sqrt"
    undefined = "the argument is negative"
    examples = {"math.sqrt(4.0)": 2.0}

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        return np.asarray(args[0] < 0)


class Exp(_Real):
    """The exponential function."""

    name, python = "exp", "math.exp"
    undefined = "the result is too large"
    examples = {"math.exp(0.0)": 1.0}

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        a = exact_float(as_number(args[0]))
        # ln of the greatest float is 709.782712893384 and a bit more.
        return np.asarray(np.isfinite(a) & (a > 709.0) & np.isnan(self.numpy(a)))

    def bounds(self, *args: Interval) -> Interval:
        low, high = (min(float(end), 709.0) for end in (args[0].low, args[0].high))
        if high < args[0].high:
            raise Undefined("the result may be too large")
        return super().bounds(Interval(low, high))


class Log(_Real):
    """The natural logarithm."""

    name, python = "log", "math.log"
    undefined = "the argument is not positive"
    examples = {"math.log(1.0)": 0.0}

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        return np.asarray(args[0] <= 0)


class Tanh(_Real):
    """The hyperbolic tangent."""

    name, python = "tanh", "math.tanh"
    examples = {"math.tanh(0.0)": 0.0}


class _Wave(_Real):
    undefined = "the argument is infinite"

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        return np.asarray(np.isinf(args[0]))

    def bounds(self, *args: Interval) -> Interval:
        return Interval(-1.0, 1.0)


class Sin(_Wave):
    """The sine."""

    name, python = "sin", "math.sin"
    examples = {"math.sin(0.0)": 0.0}


class Cos(_Wave):
    """The cosine."""

    name, python = "cos", "math.cos"
    examples = {"math.cos(0.0)": 1.0}


class _Rounding(Primitive):
    undefined = "the argument is not finite"

    def type(self, *args: t.Type) -> t.Type:
        numeric(self.name, *args)
        return t.Int()

    def value(self, *args: Any) -> Any:
        if isinstance(args[0], float) and not math.isfinite(args[0]):
            raise Undefined(f"{self.name} of a number that is not finite")
        return getattr(math, self.name)(args[0])

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        return ~np.isfinite(args[0]) if args[0].dtype.kind == "f" else None

    def numpy(self, *args: Any) -> Any:
        a = args[0]
        return as_number(a) if is_integral(a) else integers(getattr(np, self.name)(a))

    def bounds(self, *args: Interval) -> Interval:
        return Interval(self.value(args[0].low), self.value(args[0].high))


class Floor(_Rounding):
    """The greatest integer that is at most `a`."""

    name, python = "floor", "math.floor"
    examples = {"math.floor(-2.5)": -3}

    def smt(self, *args: Any) -> Any:
        a = _number(args[0])
        return a if _z3().is_int(a) else _z3().ToInt(a)


class Ceil(_Rounding):
    """The least integer that is at least `a`."""

    name, python = "ceil", "math.ceil"
    examples = {"math.ceil(-2.5)": -2}

    def smt(self, *args: Any) -> Any:
        a = _number(args[0])
        return a if _z3().is_int(a) else -_z3().ToInt(-a)


class IntegerRoot(Primitive):
    """The greatest integer whose square is at most `a`."""

    name, python = "isqrt", "math.isqrt"
    undefined = "the argument is negative"
    examples = {"math.isqrt(24)": 4, "math.isqrt(25)": 5}
    no_smt = "a root has no term in integer arithmetic; such domains are enumerated"

    def type(self, *args: t.Type) -> t.Type:
        if not isinstance(args[0], (t.Int, t.Bool)):
            raise TypeMismatch(f"isqrt takes an integer, not {args[0]}")
        return t.Int()

    def value(self, *args: Any) -> Any:
        if args[0] < 0:
            raise Undefined("isqrt of a negative number")
        return math.isqrt(args[0])

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        return np.less(as_number(args[0]), 0).astype(bool)

    def numpy(self, *args: Any) -> Any:
        a = as_number(args[0])
        if not is_integral(a):
            raise Undefined("isqrt of a number that is not an integer")
        if magnitude(a) >= 2**52:
            root = np.frompyfunc(lambda x: math.isqrt(max(int(x), 0)), 1, 1)
            return narrowed(np.asarray(root(a.astype(object)), object))
        a = np.maximum(a.astype(np.int64), 0)
        root = np.sqrt(a.astype(np.float64)).astype(np.int64)
        root -= root * root > a
        return np.asarray(root + ((root + 1) * (root + 1) <= a))

    def bounds(self, *args: Interval) -> Interval:
        low, high = args[0].low, args[0].high
        if low < 0 or _has_float(args[0]):
            raise Undefined("isqrt takes integers that are not negative")
        return Interval(math.isqrt(int(low)), math.isqrt(int(high)))


def _has_float(*intervals: Interval) -> bool:
    return any(isinstance(end, float) for a in intervals for end in (a.low, a.high))


def _floor(end: Number) -> Number:
    return end if isinstance(end, float) and math.isinf(end) else math.floor(end)


SCALAR = registered(
    Add,
    Sub,
    Mul,
    FloorDiv,
    Mod,
    TrueDiv,
    Pow,
    Neg,
    Abs,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    And,
    Or,
    Not,
    IfThenElse,
    ToInt,
    Sqrt,
    Exp,
    Log,
    Tanh,
    Sin,
    Cos,
    Floor,
    Ceil,
    IntegerRoot,
)
