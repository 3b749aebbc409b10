"""The state of one run of the compiler."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distill.entries import Entry
from distill.exceptions import Exceptions
from dsl.claim import Target
from synth.problem import Observations, Problem

Report = Callable[[str, Mapping[str, Any]], None]
"""Called with a phase and its figures, for progress displays and journals."""


@dataclass
class Search:
    """The state of one run; `entries` only ever grows."""

    target: Target
    deadline: float
    seed: int
    report: Report
    observations: tuple[Observations, ...] = ()
    complete: bool = False
    entries: list[Entry] = field(default_factory=list)
    tried: int = 0
    counterexamples: list[dict[str, np.ndarray]] = field(default_factory=list)
    proved: Entry | None = None
    proved_at: float = math.inf
    started: float = 0.0
    exceptions: Exceptions | None = None
    reserved: float = 0.0  # seconds at the end that are kept for what is proven of the best

    @property
    def until(self) -> float:
        """When the proposers stop."""
        return self.deadline - self.reserved

    def problem(self, share: float) -> Problem:
        left = self.until - time.monotonic()
        deadline = time.monotonic() + max(0.0, left * share)
        return Problem(self.target, self.observations, self.complete, deadline, self.seed)

    @property
    def count(self) -> int:
        """How many inputs were observed."""
        return sum(len(observations) for observations in self.observations)

    @property
    def outcomes(self) -> int:
        """How many values were observed, roughly."""
        first = self.observations[0].values
        if first.dtype == object:
            return min(len({repr(value) for value in first[:2000].tolist()}), 1000)
        return int(min(len(np.unique(first.reshape(len(first), -1)[:2000])), 1000))
