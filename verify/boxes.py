"""The open boxes of a branch and bound, the most promising first, and what is known of the rest."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from verify.violations import Problem

_MOST_REGIONS = 20_000
_INHERITED = 120_000
_NEGLIGIBLE = 1e-7
"""Open volume for which it is not worth going on."""

Goal: TypeAlias = Literal["decide", "cover"]
Confirm: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Which of the points (B, d) are true counterexamples, by the original runtime."""


@dataclass(frozen=True, slots=True)
class Regions:
    """Boxes (N, d) each: on `proven` no violation takes place, on `refuted` one does everywhere."""

    proven: tuple[np.ndarray, np.ndarray]
    refuted: tuple[np.ndarray, np.ndarray]
    open: tuple[np.ndarray, np.ndarray]
    complete: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far the search came.  Fractions are of the volume, and add up to at most 1.

    `counterexamples` (N, d) were confirmed.  `exhausted`: no box is open.
    """

    proven: float
    refuted: float
    open: float
    counterexamples: np.ndarray
    exhausted: bool
    boxes: int
    seconds: float
    regions: Regions


@dataclass(order=True, slots=True)
class OpenBox:
    """A box of the heap; `inherited` are bounds of the box that it was cut from, and a row of them.
    `unproven` and `refuted` are the shares of its volume not yet proven, and known to be refuted.
    """

    order: float
    number: int
    low: np.ndarray = field(compare=False)
    high: np.ndarray = field(compare=False)
    inherited: tuple[np.ndarray, int] | None = field(compare=False)
    volume: float = field(default=0.0, compare=False)
    unproven: float = field(default=1.0, compare=False)
    refuted: float = field(default=0.0, compare=False)

    @property
    def proven_inside(self) -> float:
        return self.volume * (1.0 - self.unproven)

    @property
    def open_inside(self) -> float:
        return self.volume * max(0.0, self.unproven - self.refuted)


@dataclass
class Search:
    """The state of a search; `unit` are the widths of the whole box."""

    problem: Problem
    goal: Goal
    confirm: Confirm
    unit: np.ndarray
    heap: list[OpenBox] = field(default_factory=list)
    counter: itertools.count[int] = field(default_factory=itertools.count)
    proven: float = 0.0
    refuted: float = 0.0
    inside: float = 0.0  # proven of the boxes in the heap
    left: float = 0.0  # open of those that can be split
    boxes: int = 0
    found: list[np.ndarray] = field(default_factory=list)
    kept: dict[str, list[np.ndarray]] = field(default_factory=lambda: {"proven": [], "refuted": []})
    complete: bool = True

    def volume(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The share of the whole box, inputs of one value left aside."""
        whole = self.problem.whole
        width = np.where(whole, high - low + 1.0, high - low)
        share = np.where(self.unit > 0, width / np.where(self.unit > 0, self.unit, 1.0), 1.0)
        return np.asarray(share.prod(-1))

    def record(self, kind: Literal["proven", "refuted"], low: np.ndarray, high: np.ndarray) -> None:
        if not len(low):
            return
        total = float(self.volume(low, high).sum())
        if kind == "proven":
            self.proven += total
        else:
            self.refuted += total
        self.keep(kind, [np.stack([low, high], 1)])

    def keep(self, kind: str, parts: list[np.ndarray]) -> None:
        """Regions (n, 2, d) for the certificate, while they are not too many."""
        for part in parts:
            if len(self.kept[kind]) < 4096 and sum(map(len, self.kept[kind])) < _MOST_REGIONS:
                self.kept[kind].append(part)
            else:
                self.complete = False


def stuck(search: Search) -> bool:
    """Is nothing left to do: no box, none that can be split, or a counterexample where one is all
    that is asked for?"""
    if not search.heap or (search.goal == "decide" and search.found):
        return True
    return search.heap[0].order == math.inf


def satisfied(search: Search, enough: float, away: float = 0.0) -> bool:
    """Is as much of the volume proven as was asked for?  `away` is what is open elsewhere."""
    if search.goal == "decide":
        return False
    proven = search.proven + search.inside
    return search.left + away < _NEGLIGIBLE or (enough < 1.0 and proven >= enough)


def outcome(search: Search, seconds: float) -> Outcome:
    dimension = len(search.unit)
    left = [np.stack([box.low, box.high])[None] for box in search.heap[:_MOST_REGIONS]]
    parts = {**search.kept, "open": left}
    boxes = {
        kind: np.concatenate(part) if part else np.zeros((0, 2, dimension))
        for kind, part in parts.items()
    }
    regions = Regions(
        (boxes["proven"][:, 0], boxes["proven"][:, 1]),
        (boxes["refuted"][:, 0], boxes["refuted"][:, 1]),
        (boxes["open"][:, 0], boxes["open"][:, 1]),
        search.complete and len(left) == len(search.heap),
    )
    found = np.concatenate(search.found) if search.found else np.zeros((0, dimension))
    exhausted = not search.heap
    proven, refuted, remaining = search.proven, search.refuted, 0.0
    for box in search.heap:
        proven += box.proven_inside
        refuted += box.volume * box.refuted
        remaining += box.open_inside
    return Outcome(
        min(proven, 1.0),
        min(refuted, 1.0),
        0.0 if exhausted else min(remaining, 1.0),
        found,
        exhausted,
        search.boxes,
        seconds,
        regions,
    )


def push(
    search: Search,
    low: np.ndarray,
    high: np.ndarray,
    order: np.ndarray,
    inherited: np.ndarray | None,
    unproven: np.ndarray | None = None,
    refuted: np.ndarray | None = None,
) -> None:
    """Opens boxes; those of the greatest order are taken first.  `unproven` and `refuted` are the
    shares of each that are not known to be proven, and known to be refuted, already."""
    if len(search.heap) > _INHERITED:
        inherited = None
    volumes = search.volume(low, high).tolist()
    for row in range(len(low)):
        source = None if inherited is None else (inherited, row)
        number = next(search.counter)
        box = OpenBox(-float(order[row]), number, low[row], high[row], source, volumes[row])
        if unproven is not None and refuted is not None:
            box.unproven, box.refuted = float(unproven[row]), float(refuted[row])
        reopen(search, box)


def reopen(search: Search, box: OpenBox) -> None:
    """Puts a box into the heap; one that cannot be split is not left to be done."""
    if box.order < math.inf:
        search.inside += box.proven_inside
        search.left += box.open_inside
    heapq.heappush(search.heap, box)


def taken(search: Search) -> OpenBox:
    """The first box of the heap, taken out of it."""
    box = heapq.heappop(search.heap)
    search.inside -= box.proven_inside
    search.left -= box.open_inside
    return box
