"""What a primitive is: one operation with every meaning that the language needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from dsl import types as t

Number: TypeAlias = int | float


class Undefined(Exception):
    """The program has no value on some inputs, those that `rows` marks: Python would raise there,
    unless it is the language that ends (Beyond)."""

    def __init__(self, reason: str, rows: np.ndarray | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rows = rows

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.rows)


class Beyond(Undefined):
    """Python may have a value where the language has none: a number or a sequence too large, or of
    a kind that it does not know.  Such an input neither supports a claim nor refutes it."""


class TypeMismatch(Exception):
    """The arguments of a primitive have types for which it has no meaning."""


@dataclass(frozen=True, slots=True)
class Interval:
    """All numbers from `low` to `high`, whole ones if both ends are; truth values are 0 and 1."""

    low: Number
    high: Number

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"empty interval {self.low}..{self.high}")

    def __contains__(self, value: Number) -> bool:
        return self.low <= value <= self.high


FALSE, TRUE, EITHER = Interval(0, 0), Interval(1, 1), Interval(0, 1)


def outward(low: Number, high: Number) -> Interval:
    """The interval widened by one unit in the last place where an end is a float: then the values
    in it may be, and an integer among them was rounded."""
    if not isinstance(low, float) and not isinstance(high, float):
        return Interval(low, high)
    return Interval(
        math.nextafter(_rounded(low), -math.inf), math.nextafter(_rounded(high), math.inf)
    )


def _rounded(end: Number) -> float:
    try:
        return float(end)
    except OverflowError:
        return math.inf if end > 0 else -math.inf


class Primitive:
    """One operation.  Subclasses are stateless; `registry` holds one instance of each.

    `infix` and `precedence` say how it is written between or before its arguments; without them
    it is written as a call of `python`.  `undefined` says, in words, when it has no value; None
    when it is total.

    numpy: arrays of one rank, broadcast against each other, in; one array out.
    value: plain Python values, the reference meaning.
    smt: Z3 terms.  bounds: intervals that hold every value.  Either is None with the reason in
    `no_smt` / `no_bounds`.
    """

    name: ClassVar[str]
    infix: ClassVar[str] = ""
    precedence: ClassVar[int] = 15
    python: ClassVar[str] = ""
    undefined: ClassVar[str | None] = None
    cost: ClassVar[float] = 1.0
    examples: ClassVar[Mapping[str, Any]] = {}
    no_smt: ClassVar[str] = ""
    no_bounds: ClassVar[str] = ""

    def type(self, *args: t.Type) -> t.Type:
        """The type of the result; raises TypeMismatch."""
        raise TypeMismatch(f"{self.name} has no scalar type rule")

    def value(self, *args: Any) -> Any:
        raise Beyond(f"{self.name} has no scalar meaning")

    def numpy(self, *args: Any) -> Any:
        raise Beyond(f"{self.name} has no batched meaning")

    def fails(self, *args: np.ndarray) -> np.ndarray | None:
        """The rows on which the primitive is undefined; None when it is total."""
        return None

    def beyond(self, *args: np.ndarray) -> np.ndarray | None:
        """Those of the rows that fail on which Python has a value; None when there are none."""
        return None

    def smt(self, *args: Any) -> Any:
        raise Undefined(self.no_smt or f"{self.name} has no Z3 meaning")

    def bounds(self, *args: Interval) -> Interval:
        raise Undefined(self.no_bounds or f"{self.name} has no interval meaning")


P = TypeVar("P", bound=type[Primitive])


def registered(*classes: type[Primitive]) -> dict[str, Primitive]:
    """An instance of each class by name; refuses names given twice and missing meanings."""
    found: dict[str, Primitive] = {}
    for cls in classes:
        if cls.name in found:
            raise ValueError(f"two primitives are called {cls.name}")
        if not (cls.__doc__ or "").strip():
            raise ValueError(f"{cls.name} has no docstring")
        for meaning, reason in (("smt", cls.no_smt), ("bounds", cls.no_bounds)):
            if getattr(cls, meaning) is getattr(Primitive, meaning) and not reason:
                raise ValueError(f"{cls.name} has neither {meaning} nor a reason for its absence")
        found[cls.name] = cls()
    return found


# Type rules that many primitives share.


def is_number(kind: t.Type) -> bool:
    return isinstance(kind, (t.Int, t.Real, t.Bool))


def numeric(name: str, *args: t.Type) -> t.Type:
    """Int when all arguments are integers or truth values, Real when one is real."""
    for kind in args:
        if not is_number(kind):
            raise TypeMismatch(f"{name} takes numbers, not {kind}")
    return t.Real() if any(isinstance(kind, t.Real) for kind in args) else t.Int()


def joined(one: t.Type, other: t.Type) -> t.Type:
    """The least type that holds the values of both; raises TypeMismatch."""
    match one, other:
        case (t.Bool(), t.Bool()):
            return one
        case (t.Token(), t.Token()):
            return one if one == other else t.Token()
        case (t.Seq(a), t.Seq(b)):
            return t.Seq(joined(a, b))
        case (t.Record(a), t.Record(b)) if len(a) == len(b):
            return t.Record(tuple(joined(x, y) for x, y in zip(a, b, strict=True)))
        case _ if is_number(one) and is_number(other):
            return numeric("a common type", one, other)
        case _ if one == other:
            return one
    raise TypeMismatch(f"no common type of {one} and {other}")


# Integer arithmetic that never wraps.

_LIMIT = 2**62


def magnitude(array: np.ndarray) -> int:
    """The greatest absolute value of an integer array, 0 when it is empty."""
    if array.size == 0:
        return 0
    if array.dtype == object:
        return max(abs(int(item)) for item in array.flat)
    return max(abs(int(array.max())), abs(int(array.min())))


def as_number(array: np.ndarray) -> np.ndarray:
    """Truth values as the integers 0 and 1; other arrays as they are."""
    return array.astype(np.int64) if array.dtype == bool else array


def is_integral(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub" or (
        array.dtype == object and all(isinstance(item, int) for item in array.flat)
    )


def widened(
    operation: Callable[..., np.ndarray], bound: Callable[..., int], *args: np.ndarray
) -> np.ndarray:
    """`operation` on int64 where `bound` of the magnitudes excludes overflow, else on Python's
    unbounded integers; floats are left alone."""
    arrays = [as_number(np.asarray(array)) for array in args]
    if not all(is_integral(array) for array in arrays):
        with np.errstate(all="ignore"):
            result = operation(*(exact_float(array) for array in arrays))
        return np.asarray(result)
    sizes = [magnitude(array) for array in arrays]
    if bound(*sizes) < _LIMIT and all(size < _LIMIT for size in sizes):
        return np.asarray(operation(*(array.astype(np.int64) for array in arrays)))
    return narrowed(np.asarray(operation(*(array.astype(object) for array in arrays)), object))


def narrowed(array: np.ndarray) -> np.ndarray:
    """An object array of integers as int64 where all of them fit."""
    if array.dtype == object and is_integral(array) and magnitude(array) < _LIMIT:
        return array.astype(np.int64)
    return array


def exact_float(array: np.ndarray) -> np.ndarray:
    """A float64 array; refuses integers that float64 cannot hold exactly."""
    if array.dtype == object and not is_integral(array):
        return array
    if is_integral(array) and magnitude(array) > 2**53:
        large = np.abs(array.astype(object)) > 2**53
        rows = large.reshape(len(array), -1).any(axis=1) if array.ndim else None
        raise Beyond("an integer above 2**53 meets a real number", rows)
    return array.astype(np.float64)
