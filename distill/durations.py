"""Times and sizes of memory as users write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

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


_LOADING = 0.2
"""What loading may take of the tolerance before it counts."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`seconds` from `started`, a value of time.monotonic()."""

    started: float
    seconds: float

    def after_loading(self, now: float) -> float:
        """The seconds that are left when the model is loaded: all, but for what loading took
        beyond a part of the tolerance; at least half, for a run that only loads is of no use."""
        late = now - self.started - _LOADING * tolerance(self.seconds)
        return max(self.seconds - max(0.0, late), 0.5 * self.seconds)

    @property
    def report(self) -> float:
        """When the report is to be drawn: a little before the end of the tolerance."""
        return self.started + self.seconds + 0.6 * tolerance(self.seconds)


def tolerance(seconds: float) -> float:
    """By how many seconds a run of `seconds` may be late, from its start to its last file."""
    return max(5.0, 0.1 * seconds)
