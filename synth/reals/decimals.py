"""Numbers with few digits."""

from __future__ import annotations

import math


def simplest(low: float, high: float) -> float:
    """The decimal with the fewest digits in [low, high], the nearest to the middle of them."""
    if low > high:
        low, high = high, low
    if low <= 0 <= high:
        return 0.0
    middle = (low + high) / 2
    size = math.floor(math.log10(max(abs(low), abs(high))))
    for places in range(-size, -size + 17):
        if places <= 0:
            step = 10.0**-places
            found = round(middle / step) * step
        else:
            found = round(middle, places)
        if low <= found <= high:
            return float(found)
    return middle


def digits(value: float) -> int:
    """The significant digits of a number as it is written."""
    text = repr(float(value)).split("e")[0].replace("-", "").replace(".", "").strip("0")
    return max(len(text), 1)
