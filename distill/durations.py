"""Times and sizes of memory as users write them."""

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


def bytes_of(text: str) -> int:
    """`500M` or `4G` in bytes.  Raises D141 for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])i?B?", text.strip(), re.IGNORECASE)
    if found is None or float(found[1]) <= 0:
        raise DistillError("D141", f"`{text}` is no size of memory", remedy="write 500M or 4G")
    return int(float(found[1]) * {"M": 2**20, "G": 2**30}[found[2].upper()])
