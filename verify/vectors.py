"""Domains of numbers as boxes of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dsl import types as t
from dsl.domain import Domain
from verify.forms import Form, Value, number


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """A domain as a box of vectors: each input takes some entries, in order."""

    low: np.ndarray
    high: np.ndarray
    whole: np.ndarray
    places: tuple[tuple[str, tuple[int, ...], int], ...]

    def batch(self, points: np.ndarray, domain: Domain) -> dict[str, np.ndarray]:
        """Points (B, d) as inputs of the domain."""
        result = {}
        for name, shape, start in self.places:
            count = int(np.prod(shape, dtype=int))
            column = points[:, start : start + count].reshape(len(points), *shape)
            kind = domain.types[name]
            item = kind.item if isinstance(kind, t.Tensor) else kind
            if not isinstance(item, t.Real):
                column = np.round(column).astype(bool if isinstance(item, t.Bool) else np.int64)
            result[name] = column
        return result

    def scope(self) -> dict[str, Value]:
        """The inputs as values."""
        return {name: self._value(shape, start) for name, shape, start in self.places}

    def _value(self, shape: tuple[int, ...], start: int) -> Value:
        if shape:
            inner = int(np.prod(shape[1:], dtype=int))
            return tuple(self._value(shape[1:], start + i * inner) for i in range(shape[0]))
        if self.low[start] == self.high[start]:
            return number(float(self.low[start]))
        one = Fraction(1)
        atom = (0, start)
        return Form(Fraction(0), ((atom, one),), ((atom, one),), 0, bool(self.whole[start]))


def box_of(domain: Domain) -> Box | None:
    """The domain's inputs as a box; None where they are not bounded numbers."""
    low: list[float] = []
    high: list[float] = []
    whole: list[bool] = []
    places = []
    for name, kind in domain.fields:
        shape: tuple[int, ...] = ()
        item: t.Type = kind
        if isinstance(kind, t.Tensor):
            item, shape = kind.item, kind.shape
        match item:
            case t.Real(float() | int() as bottom, float() | int() as top):
                limits = (float(bottom), float(top), False)
            case t.Int(int() as bottom, int() as top) if max(abs(bottom), abs(top)) < 2**50:
                limits = (float(bottom), float(top), True)
            case t.Bool():
                limits = (0.0, 1.0, True)
            case _:
                return None
        places.append((name, shape, len(low)))
        count = int(np.prod(shape, dtype=int))
        for column, limit in zip((low, high, whole), limits, strict=True):
            column.extend([limit] * count)  # type: ignore[attr-defined]
    return Box(np.array(low), np.array(high), np.array(whole, bool), tuple(places))
