"""Times as users write them."""

from __future__ import annotations

import re

from dsl.errors import DistillError


def seconds_of(text: str | float) -> float:
    """`90`, `"90s"`, `"5m"` or `"1h"` in seconds."""
    if isinstance(text, (int, float)):
        return float(text)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    if found is None or float(found[1]) <= 0:
        raise DistillError("D116", f"`{text}` is no time", remedy="write 90s, 5m or 1h")
    return float(found[1]) * {None: 1, "s": 1, "m": 60, "h": 3600}[found[2]]
