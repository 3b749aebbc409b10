"""Hypotheses with what was measured of them: their code length, the best, and the front."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dsl.claim import Hypothesis, Proved, Refuted, Tested, Unknown, Verdict
from dsl.program import Program

_VALUES = 400
"""Halving the error of real values is worth this many bits."""
_SEEN = 25_000
"""A smaller sample than this, the usual one, is judged as if so many inputs had been seen."""
_RANK = {Proved: 0, Tested: 1, Unknown: 2, Refuted: 3}


@dataclass(frozen=True)
class Entry:
    """A hypothesis with its size in nodes and how often it disagrees with what was observed.

    `deviation`, where the claim is about real values, is the greatest distance that was observed.
    `named` of the nodes are entries of constants that the data set holds: to a reader they are one
    name, so that a program without them is not for that the simpler one.
    """

    hypothesis: Hypothesis
    size: int
    disagreement: float
    bits: float
    verdict: Verdict | None = None
    deviation: float | None = None
    named: int = 0

    @property
    def program(self) -> Program:
        return self.hypothesis.program


def best_entry(entries: list[Entry]) -> Entry:
    """The smallest proved program; else the smallest of those without known disagreement; else
    the one of least code length."""

    def key(entry: Entry) -> tuple[float, ...]:
        rank = 3 if entry.verdict is None else _RANK[type(entry.verdict)]
        return (rank, entry.bits, entry.size)

    return min(entries, key=key)


def front(entries: list[Entry]) -> tuple[Entry, ...]:
    """The entries that no other beats in both size, named entries left out, and disagreement
    (deviation, where values are real), the smallest first."""
    ordered = sorted(entries, key=lambda e: (e.size - e.named, e.disagreement, e.deviation or 0.0))
    kept: list[Entry] = []
    for entry in ordered:
        refuted = isinstance(entry.verdict, Refuted)
        wrong = max(entry.disagreement, 1e-12) if refuted else entry.disagreement
        closer = (
            entry.deviation is not None and kept and entry.deviation < (kept[-1].deviation or 0.0)
        )
        if not kept or wrong < kept[-1].disagreement or closer:
            kept.append(replace(entry, disagreement=wrong))
    return tuple(kept)


def code_length(
    nodes: int, wrong: float, total: float, outcomes: int, *, sampled: bool = False
) -> float:
    """Bits of the program, at six a node, and of its exceptions: which they are, and their
    values (two-part code length, Rissanen 1978)."""
    if wrong == 0:
        return 6.0 * nodes
    if sampled and total < _SEEN:
        wrong, total = wrong * _SEEN / total, _SEEN
    where = (
        math.lgamma(total + 1) - math.lgamma(wrong + 1) - math.lgamma(total - wrong + 1)
    ) / math.log(2)
    return 6.0 * nodes + where + wrong * math.log2(max(outcomes, 2)) + math.log2(total + 1)


def real_code_length(nodes: int, error: float, tolerance: float) -> float:
    """Bits of the program and of what it leaves of some values, to within the tolerance."""
    left = error / tolerance if tolerance > 0 else error * 1e6
    return 6.0 * nodes + _VALUES * math.log2(max(left, 1.0))
