"""The simplest constants that the labels allow, and the interval in which they may lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from synth.inequalities.forms import integer_bits

_SLACKS = (0, 1, 3, 6, 12)
_EDGE = 1e-12


@dataclass(frozen=True, slots=True)
class Cut:
    """A constant, the mistakes with it, and the interval of constants with the fewest mistakes."""

    constant: Fraction
    mistakes: int
    bits: float
    interval: tuple[float, float]


def constant_bits(constant: Fraction) -> float:
    return integer_bits(constant.numerator) + integer_bits(constant.denominator)


def best_cut(
    keys: np.ndarray,
    errors: np.ndarray,
    *,
    whole: bool,
    mistake_bits: float,
) -> Cut | None:
    """The constant of fewest bits, mistakes included.

    `keys` are the distinct sorted keys (K,); `errors` (K + 1,) are the mistakes when the test holds
    for the first 0, 1, ..., K keys.  A whole constant is an integer, else a positive fraction.
    """
    inner = errors[1:-1]
    finite = np.isfinite(keys[1:])
    if not len(inner) or not finite.any():
        return None
    inner = np.where(finite, inner, np.inf)
    place = int(inner.argmin())
    least = float(inner[place])
    interval = _span(keys, inner, place, least)
    spans = dict.fromkeys(_span(keys, inner, place, least + slack) for slack in _SLACKS)
    simplest = simplest_integers if whole else simplest_fractions
    constants = list(dict.fromkeys(constant for span in spans for constant in simplest(*span)))
    if not constants:
        return None
    bounds = np.array([c.numerator / c.denominator for c in constants])
    held = np.searchsorted(keys, bounds if whole else bounds * (1 - 1e-13), side="left")
    wrong = errors[held]
    bits = np.array([constant_bits(constant) for constant in constants]) + mistake_bits * wrong
    best = int(bits.argmin())
    return Cut(constants[best], int(wrong[best]), float(bits[best]), interval)


def _span(keys: np.ndarray, inner: np.ndarray, place: int, most: float) -> tuple[float, float]:
    """The keys between which every cut makes at most so many mistakes."""
    bad = np.flatnonzero(inner > most)
    before, after = bad[bad < place], bad[bad > place]
    low = int(before[-1]) + 1 if len(before) else 0
    high = int(after[0]) if len(after) else len(inner)
    return float(keys[low]), float(keys[min(high, len(keys) - 1)])


def simplest_integers(low: float, high: float) -> Iterator[Fraction]:
    """The roundest integers c with low < c <= high."""
    first, last = math.floor(low) + 1, math.floor(high)
    if first > last:
        return
    if first <= 0 <= last:
        yield Fraction(0)
    step = 1
    while step <= max(abs(first), abs(last)):
        for unit in (5 * step, step):
            multiple = -(-first // unit) * unit
            if multiple <= last:
                yield Fraction(multiple)
        step *= 10


def simplest_fractions(low: float, high: float) -> Iterator[Fraction]:
    """Fractions with small or round terms in (low, high]; both ends are positive."""
    if not math.isfinite(high):
        high = max(2 * low, 1.0) + 1
    low, high = max(low * (1 + _EDGE), 0.0), high * (1 + _EDGE)
    if low >= high:
        return
    yield _stern_brocot(low, high)
    for denominator in (1, 2, 3, 4, 5):
        for top in simplest_integers(low * denominator, high * denominator):
            if top > 0:
                yield top / denominator
    if low > 0:
        for numerator in (1, 2, 3, 4, 5):
            for bottom in simplest_integers(numerator / high * (1 - _EDGE), numerator / low):
                if bottom > 0 and low < numerator / float(bottom) <= high:
                    yield Fraction(numerator) / bottom


def _stern_brocot(low: float, high: float) -> Fraction:
    """The fraction with the least denominator in (low, high]."""
    whole = math.floor(low)
    if whole + 1 <= high:
        return Fraction(whole + 1)
    if low == whole:
        return whole + 1 / Fraction(math.ceil(1 / (high - whole)))
    rest = _mirrored(1 / (high - whole), 1 / (low - whole))
    return whole + 1 / rest


def _mirrored(low: float, high: float) -> Fraction:
    """The fraction with the least denominator in [low, high)."""
    whole = math.ceil(low)
    if whole < high:
        return Fraction(whole)
    base = math.floor(low)
    if base == low:
        return Fraction(base)
    rest = _stern_brocot(1 / (high - base), 1 / (low - base))
    return base + 1 / rest
