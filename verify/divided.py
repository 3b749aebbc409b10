"""Branch and bound in parts that workers search at the same time.

The search begins in one place.  Then the most promising open boxes are dealt out in shares, a fixed
number of which are away at any time: each is searched for a while, what is still open comes back,
and the next is dealt.  What is dealt depends on the search and the order of the shares alone, so
that a decision is the same for any number of workers, and none of them waits for the slowest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsl.claim import LATER
from verify.boxes import (
    Confirm,
    Goal,
    OpenBox,
    Outcome,
    Search,
    outcome,
    reopen,
    satisfied,
    stuck,
    taken,
)
from verify.branching import advance, begun
from verify.violations import Problem

FIRST = 256
"""Boxes that are looked at before any is dealt out."""
_SHARES = 32
_DEALT = 128
_LEAST = 256
_MOST = 8192


@dataclass(frozen=True, eq=False)
class Boxes:
    """Open boxes, (n, d) each, and (n,) each their orders and the shares of their volumes not yet
    proven, and refuted."""

    low: np.ndarray
    high: np.ndarray
    order: np.ndarray
    unproven: np.ndarray
    refuted: np.ndarray

    @staticmethod
    def of(boxes: list[OpenBox], dimension: int) -> Boxes:
        return Boxes(
            np.array([box.low for box in boxes]).reshape(-1, dimension),
            np.array([box.high for box in boxes]).reshape(-1, dimension),
            *(
                np.array([getattr(b, name) for b in boxes])
                for name in ("order", "unproven", "refuted")
            ),
        )

    def reopened(self, search: Search) -> None:
        """Puts the boxes into the heap of a search."""
        columns = (self.order, search.volume(self.low, self.high), self.unproven, self.refuted)
        rows = zip(*(column.tolist() for column in columns), self.low, self.high, strict=True)
        for order, volume, unproven, refuted, low, high in rows:
            number = next(search.counter)
            reopen(search, OpenBox(order, number, low, high, None, volume, unproven, refuted))


@dataclass(frozen=True, eq=False)
class Share:
    """Open boxes, to be searched until `most` were looked at or the clock (`time.time()`, which
    machines share) shows `until`."""

    goal: Goal
    unit: np.ndarray
    boxes: Boxes
    most: int
    until: float


@dataclass(frozen=True, eq=False)
class Found:
    """What the search of a share gave; `left` are the boxes that are still open."""

    proven: float
    refuted: float
    boxes: int
    points: tuple[np.ndarray, ...]
    kept: dict[str, list[np.ndarray]]
    complete: bool
    left: Boxes


def explore(
    problem: Problem,
    low: np.ndarray,
    high: np.ndarray,
    spread: Callable[[Iterable[Any]], Iterator[Found]],
    *,
    deadline: float,
    goal: Goal,
    confirm: Confirm,
    seed: int = 0,
    enough: float = 1.0,
) -> Outcome:
    """As `branching.explore`, with shares of the work going through `spread`."""
    started = time.monotonic()
    search = begun(problem, low, high, goal, confirm, seed, deadline)
    advance(search, deadline, FIRST, enough)
    dealer = _Dealer(search, deadline, enough)
    for found in spread(dealer):
        dealer.absorb(found)
        if dealer.satisfied():
            break
    dealer.recall()
    return outcome(search, time.monotonic() - started)


def searched(share: Share, problem: Problem, confirm: Confirm) -> Found:
    """Searches the boxes of a share."""
    search = Search(problem, share.goal, confirm, share.unit)
    share.boxes.reopened(search)
    advance(search, time.monotonic() + share.until - time.time(), share.most)
    return Found(
        search.proven,
        search.refuted,
        search.boxes,
        tuple(search.found),
        search.kept,
        search.complete,
        Boxes.of(search.heap, len(share.unit)),
    )


@dataclass
class _Dealer:
    """Deals the shares of a search, in order.  `away` are the boxes of those not yet absorbed, each
    with what is open of them; those at its end are still `waiting` to be fetched."""

    search: Search
    deadline: float
    enough: float
    away: deque[tuple[list[OpenBox], float]] = field(default_factory=deque)
    waiting: deque[Share] = field(default_factory=deque)
    dealt: int = 0

    def __iter__(self) -> Iterator[Any]:
        """Shares, LATER where the next depends on those that are away."""
        self._deal()
        while self.away:
            yield self.waiting.popleft() if self.waiting else LATER

    def absorb(self, found: Found) -> None:
        """Takes in what the first share that is away has given, and deals again."""
        search = self.search
        self.away.popleft()
        search.proven += found.proven
        search.refuted += found.refuted
        search.boxes += found.boxes
        search.found += found.points
        search.complete &= found.complete
        for kind, parts in found.kept.items():
            search.keep(kind, parts)
        found.left.reopened(search)
        self._deal()

    def recall(self) -> None:
        """Opens again what is away: nothing is known of it."""
        for boxes, _ in self.away:
            for box in boxes:
                reopen(self.search, box)
        self.away.clear()

    def satisfied(self) -> bool:
        """Has the search found what was asked for, whatever is away?"""
        search = self.search
        if search.goal == "decide":
            return bool(search.found)
        return satisfied(search, self.enough, sum(open_ for _, open_ in self.away))

    def _deal(self) -> None:
        """The first boxes of the heap, taken out of it, as shares of equal promise."""
        free = _SHARES - len(self.away)
        boxes: list[OpenBox] = []
        if time.monotonic() < self.deadline and not self.satisfied():
            while len(boxes) < free * _DEALT and not stuck(self.search):
                boxes.append(taken(self.search))
        until = time.time() + self.deadline - time.monotonic()
        for first in range(min(free, len(boxes))):
            own = boxes[first::free]
            most = min(_LEAST << min(self.dealt // _SHARES, 16), _MOST)
            search = self.search
            held = Boxes.of(own, len(search.unit))
            self.waiting.append(Share(search.goal, search.unit, held, most, until))
            self.away.append((own, sum(box.open_inside for box in own)))
            self.dealt += 1
