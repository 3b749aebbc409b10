"""Causal networks continued item by item: what was computed for a prefix is kept and shared.

A network that reads from left to right computes for each item keys and values that no later item
changes.  A runtime that gives them back (`Resumable`) reads one more item at the cost of one, and
all continuations of a prefix share it.  Its sums are split in another way than those of the whole
input at once, so decisions that are close are made again from the whole input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dsl.claim import Claim, Evaluation, Target
from dsl.decoding import decoded

CLOSE = 1e-4
"""Decisions with a margin of less than this share of the largest output are close."""
KEPT = 1 << 28
"""At most so many numbers are kept for the prefixes of one batch."""


@runtime_checkable
class Resumable(Protocol):
    """The runtime of a causal network, which can go on where it was."""

    kept: int
    """How many numbers are kept for each item."""
    longest: int
    """So many items are the longest input."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Raw outputs (B, L, ...) for packed inputs (B, L)."""

    def begin(self, batch: np.ndarray) -> tuple[np.ndarray, Any]:
        """The raw outputs at the last place (B, ...), and what is kept."""

    def resume(self, memory: Any, rows: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, Any]:
        """The same after one more item each, for a choice of the rows that were kept; the memory
        itself stays as it is."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Packed inputs (B, L) of one length, and what the network decides at their last place."""

    sequence: np.ndarray
    last: Evaluation
    memory: Any = None

    def __len__(self) -> int:
        return len(self.sequence)


def begun(target: Target, sequence: np.ndarray) -> Prefixes:
    """Some packed inputs of one length as prefixes."""
    runtime = target.runtime
    if not isinstance(runtime, Resumable) or not _fits(runtime, sequence):
        return Prefixes(sequence, decoded(target.claim.decode, runtime(sequence)[:, -1]))
    raw, memory = runtime.begin(sequence)
    return Prefixes(sequence, _decided(target, sequence, raw), memory)


def continued(target: Target, before: Prefixes, rows: np.ndarray, items: np.ndarray) -> Prefixes:
    """A choice of the prefixes, any of them several times, with one packed item more each."""
    longer = items.astype(before.sequence.dtype)[:, None]
    sequence = np.concatenate([before.sequence[rows], longer], axis=1)
    runtime = target.runtime
    if before.memory is None or not isinstance(runtime, Resumable) or not _fits(runtime, sequence):
        return begun(target, sequence)
    raw, memory = runtime.resume(before.memory, rows, items)
    return Prefixes(sequence, _decided(target, sequence, raw), memory)


def room(target: Target, sequence: np.ndarray) -> float:
    """How many items more than packed inputs of this length the network can read."""
    runtime = target.runtime
    return runtime.longest - sequence.shape[1] if isinstance(runtime, Resumable) else math.inf


def is_resumable(target: Target) -> bool:
    """Does its network read rows of tokens, of any length, that it can continue?"""
    return isinstance(target.runtime, Resumable) and not is_fixed(target.claim)


def is_fixed(claim: Claim) -> bool:
    """Does the network take inputs of one width only?"""
    return claim.shape is not None and claim.shape[0] > 0


def _fits(runtime: Resumable, sequence: np.ndarray) -> bool:
    return sequence.size * runtime.kept <= KEPT


def _decided(target: Target, sequence: np.ndarray, raw: np.ndarray) -> Evaluation:
    """Decisions on raw outputs at the last place; the close ones from the whole input."""
    found = decoded(target.claim.decode, raw)
    largest = np.abs(raw.astype(np.float64)).reshape(len(raw), -1).max(1, initial=0.0)
    close = np.flatnonzero(~(found.margins > CLOSE * largest))
    if not len(close):
        return found
    again = decoded(target.claim.decode, target.runtime(sequence[close])[:, -1])
    values, margins = found.values.copy(), found.margins.copy()
    values[close], margins[close] = again.values, again.margins
    return Evaluation(values, margins)
