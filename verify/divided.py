"""Branch and bound in parts that workers search at the same time.

The search begins in one place.  Then, in turns, the most promising open boxes are dealt out in a
fixed number of shares, each is searched for a while, and what is still open comes back.  What is
dealt depends on the search alone, so that a decision is the same for any number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from verify.branching import (
    Confirm,
    Goal,
    OpenBox,
    Outcome,
    Search,
    advance,
    begun,
    outcome,
    reopen,
    satisfied,
    stuck,
    taken,
)
from verify.violations import Problem

FIRST = 256
"""Boxes that are looked at before any is dealt out."""
_SHARES = 32
_DEALT = 128
_LEAST = 256
_MOST = 8192


@dataclass(frozen=True, eq=False)
class Share:
    """Open boxes, (n, d) each, with their orders (n,); to be searched until `boxes` were looked at
    or the clock (`time.time()`, which machines share) shows `until`."""

    goal: Goal
    unit: np.ndarray
    low: np.ndarray
    high: np.ndarray
    order: np.ndarray
    boxes: int
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
    left: tuple[OpenBox, ...]


def explore(
    problem: Problem,
    low: np.ndarray,
    high: np.ndarray,
    spread: Callable[[list[Share]], Iterator[Found]],
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
    budget = _LEAST
    while time.monotonic() < deadline and not stuck(search) and not satisfied(search, enough):
        until = time.time() + deadline - time.monotonic()
        for found in spread(_dealt(search, budget, until)):
            _absorb(search, found)
            if goal == "decide" and search.found:
                break
        budget = min(2 * budget, _MOST)
    return outcome(search, time.monotonic() - started)


def searched(share: Share, problem: Problem, confirm: Confirm) -> Found:
    """Searches the boxes of a share."""
    search = Search(problem, share.goal, confirm, share.unit)
    volumes = search.volume(share.low, share.high).tolist()
    for row, order in enumerate(share.order.tolist()):
        number = next(search.counter)
        reopen(search, OpenBox(order, number, share.low[row], share.high[row], None, volumes[row]))
    advance(search, time.monotonic() + share.until - time.time(), share.boxes)
    for box in search.heap:
        box.inherited = None
    return Found(
        search.proven,
        search.refuted,
        search.boxes,
        tuple(search.found),
        search.kept,
        search.complete,
        tuple(search.heap),
    )


def _dealt(search: Search, budget: int, until: float) -> list[Share]:
    """The first boxes of the heap, taken out of it, in shares of equal promise."""
    boxes = [taken(search) for _ in range(min(len(search.heap), _SHARES * _DEALT))]
    shares = []
    for first in range(min(_SHARES, len(boxes))):
        own = boxes[first::_SHARES]
        low, high = np.stack([box.low for box in own]), np.stack([box.high for box in own])
        order = np.array([box.order for box in own])
        shares.append(Share(search.goal, search.unit, low, high, order, budget, until))
    return shares


def _absorb(search: Search, found: Found) -> None:
    search.proven += found.proven
    search.refuted += found.refuted
    search.boxes += found.boxes
    search.found += found.points
    search.complete &= found.complete
    for kind, parts in found.kept.items():
        search.keep(kind, parts)
    for box in found.left:
        box.number = next(search.counter)
        reopen(search, box)
