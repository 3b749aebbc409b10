"""The state of one run of the compiler."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distill.durations import tolerance
from distill.entries import Entry
from distill.exceptions import Exceptions
from dsl.claim import Hypothesis, Target
from dsl.limits import Limit
from synth.problem import Observations, Problem

_CLOSING = 0.3
_LOOKED_AT = 2000
Report = Callable[[str, Mapping[str, Any]], None]
"""Called with a phase and its figures, for progress displays and journals."""


@dataclass
class Search:
    """The state of one run; `entries` only ever grows.

    Until `deadline` proposers and proofs are to end by themselves; what does not is cut a little
    later (`proving`, `entering`), so that there is time to conclude until `closing`.
    """

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
    end: float = math.inf  # when the time that was asked for is up

    @property
    def until(self) -> float:
        """When the proposers stop."""
        return self.deadline - self.reserved

    def proving(self) -> Limit:
        """The limit of one method of proof."""
        return Limit(self.deadline + self._late(0.1))

    def deciding(self) -> Limit:
        """The limit of all methods and tests of one hypothesis."""
        return Limit(self.deadline + self._late(0.15))

    def entering(self) -> Limit:
        """The limit of all that is done with one hypothesis; there must be one at least."""
        if not self.entries:
            return self.closing()
        return Limit(self.deadline + self._late(0.2))

    def closing(self) -> Limit:
        """The limit of what is measured of the best program at the end."""
        return Limit(self.end + self._late(_CLOSING))

    def _late(self, share: float) -> float:
        return share * tolerance(self.end - self.started)

    def following(self, hypotheses: Iterator[Hypothesis], problem: Problem) -> Hypothesis | None:
        """The next of a proposer's hypotheses; None after the last, and where it is not there by
        the middle between the proposer's deadline and that of all."""
        least = problem.deadline + self._late(0.1)
        with Limit(max(least, 0.5 * (problem.deadline + self.until))):
            return next(hypotheses, None)
        return None

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
        """How many values were observed, roughly; a list counts as one value."""
        rows = max(8, _LOOKED_AT // max(len(self.observations), 1))
        found = {repr(value) for o in self.observations for value in o.values[:rows].tolist()}
        return min(len(found), 1000)
