"""What a tensor primitive is: one operation on whole arrays, with every meaning that it has.

Axis 0 of a value that depends on an input is the batch; constants have no batch axis, or one of
a single entry.  Options are keyword arguments: the static attributes of a `Call`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from dsl import types as t
from dsl.primitives.base import TypeMismatch, Undefined


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """All arrays between `low` and `high` (float64, of one shape); truth values are 0 and 1."""

    low: np.ndarray
    high: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.low.shape)

    @property
    def is_point(self) -> bool:
        return bool(np.array_equal(self.low, self.high))


def point(array: Any) -> Box:
    """The box that holds one array."""
    exact = np.asarray(array).astype(np.float64)
    return Box(exact, exact)


def widened(low: np.ndarray, high: np.ndarray, *, ulps: int = 1) -> Box:
    """The box from `low` to `high` with room for `ulps` roundings; what is not a number is any."""
    slack = 2.3e-16 * (ulps - 1)
    low = np.nextafter(low - slack * np.abs(low), -np.inf)
    high = np.nextafter(high + slack * np.abs(high), np.inf)
    return Box(np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high))


def hull(*parts: np.ndarray, ulps: int = 1) -> Box:
    """The least box around arrays, for operations whose extremes lie among them."""
    stacked = np.stack(np.broadcast_arrays(*parts))
    unknown = np.isnan(stacked).any(axis=0)
    found = widened(stacked.min(axis=0), stacked.max(axis=0), ulps=ulps)
    return Box(np.where(unknown, -np.inf, found.low), np.where(unknown, np.inf, found.high))


class TensorPrimitive:
    """One operation.  Subclasses are stateless; `registry` holds one instance of each.

    numpy: arrays in, one array out; works on float32, float64 and, where NumPy can, on object
    arrays such as fractions and Z3 terms.
    bounds: boxes in, a box of all that real arithmetic can give out; None with the reason in
    `no_bounds`.
    """

    name: ClassVar[str]
    no_bounds: ClassVar[str] = ""

    def numpy(self, *args: Any, **options: Any) -> Any:
        raise Undefined(f"{self.name} has no batched meaning")

    def bounds(self, *args: Box, **options: Any) -> Box:
        raise Undefined(self.no_bounds or f"{self.name} has no interval meaning")

    def type(self, *args: t.Tensor, **options: Any) -> t.Tensor:
        """The item and shape of the result; a batch axis is -1.  Raises TypeMismatch.

        By what `numpy` gives for two and for three rows, so that there is one rule, not two.
        """
        two, three = (self._blank(args, options, rows) for rows in (2, 3))
        axes = zip(two.shape, three.shape, strict=True)
        return t.Tensor(item_of(two.dtype), tuple(a if a == b else -1 for a, b in axes))

    def _blank(self, args: tuple[t.Tensor, ...], options: dict[str, Any], rows: int) -> np.ndarray:
        arrays = [
            np.zeros([rows if axis == -1 else axis for axis in arg.shape], dtype_of(arg.item))
            for arg in args
        ]
        try:
            with np.errstate(all="ignore"):
                return np.asarray(self.numpy(*arrays, **options))
        except (ValueError, IndexError, TypeError) as error:
            shapes = ", ".join(str(arg) for arg in args)
            raise TypeMismatch(f"{self.name} cannot take {shapes}: {error}") from None

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        """Multiplications and additions for one row, given shapes without the batch axis."""
        return float(np.prod(result, dtype=np.float64))


P = TypeVar("P", bound=type[TensorPrimitive])


def registered(*classes: type[TensorPrimitive]) -> dict[str, TensorPrimitive]:
    """An instance of each class by name; refuses names given twice and missing meanings."""
    found: dict[str, TensorPrimitive] = {}
    for cls in classes:
        if cls.name in found:
            raise ValueError(f"two tensor primitives are called {cls.name}")
        if not (cls.__doc__ or "").strip():
            raise ValueError(f"{cls.name} has no docstring")
        if cls.numpy is TensorPrimitive.numpy:
            raise ValueError(f"{cls.name} has no batched meaning")
        if cls.bounds is TensorPrimitive.bounds and not cls.no_bounds:
            raise ValueError(f"{cls.name} has neither bounds nor a reason for their absence")
        found[cls.name] = cls()
    return found


def item_of(dtype: Any) -> t.Type:
    match np.dtype(dtype).kind:
        case "b":
            return t.Bool()
        case "i" | "u":
            return t.Int()
        case _:
            return t.Real()


def dtype_of(item: t.Type) -> Any:
    match item:
        case t.Bool():
            return np.bool_
        case t.Int():
            return np.int64
        case _:
            return np.float32


def is_object(*arrays: Any) -> bool:
    return any(np.asarray(array).dtype.kind == "O" for array in arrays)


def each(function: Callable[..., Any], *arrays: Any) -> np.ndarray:
    """A function of Python values on the entries of object arrays."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), object)


def either(condition: Any, a: Any, b: Any) -> Any:
    """`a` if the condition holds, else `b`; for Z3 conditions the term that says so."""
    if isinstance(condition, (bool, np.bool_)):
        return a if condition else b
    import z3

    return z3.If(condition, a, b)
