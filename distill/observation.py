"""What is asked of the network before any search: all inputs where they are few, else a sample."""

from __future__ import annotations

import math
import time

import numpy as np

from dsl import types as t
from dsl.claim import Target
from dsl.generation import within_reach
from dsl.limits import Limit
from dsl.reachable import sample, structured
from synth.problem import DataSet, Observations, observe

COMPLETE_ENTRIES = 3_000_000
"""Domains whose inputs and outputs have at most this many entries are observed in full."""
_SAMPLE = 20_000
_ROWS = 2000
_MORE = 1.6


def observed(target: Target, seed: int, deadline: float) -> tuple[tuple[Observations, ...], bool]:
    """Every input where they are few, else a sample; with the values of the original runtime."""
    domain = target.domain
    rng = np.random.default_rng([seed, 1])
    longest: int = max(
        (kind.high or 1 for kind in domain.types.values() if isinstance(kind, t.Seq)),
        default=1,
    )
    small = domain.raw_size is not None and domain.raw_size * longest <= COMPLETE_ENTRIES
    many = not within_reach(target, domain.raw_size or 0)
    if small and not target.claim.closed_loop and not many:
        batches: list[Observations] = []
        until = deadline
        if target.claim.feedback is not None:
            # Which answers are exceptions is known only where all are.
            now = time.monotonic()
            until = now + _MORE * (deadline - now)
        with Limit(until) as limit:
            for batch in domain.batches():
                batches += observe(target, [batch])
        if not limit.passed:
            return tuple(batches), True
    per_row = max(longest, 1)
    count = max(512, min(_SAMPLE, COMPLETE_ENTRIES // (4 * per_row)))
    result: list[Observations] = []
    costly = target.claim.closed_loop or target.claim.feedback is not None
    shares = (64, 128, 320) if costly else (512, count - 512)
    # A few long answers first: they may be all that there is time for.
    for share in (16, *shares) if many else shares:
        if share <= 0 or (result and time.monotonic() > deadline):
            continue
        drawn = sample(target, share, rng)
        if not target.claim.closed_loop and target.claim.feedback is None:
            drawn += structured(domain, share // 4, rng)
        # Walks are drawn at the cost of running them: all are kept, the longest come last.
        kept = not result or target.claim.closed_loop
        with Limit(math.inf if kept else deadline):
            for batch in drawn:
                result += observe(target, [batch])
                if time.monotonic() > deadline and not target.claim.closed_loop:
                    break
    return tuple(result), False


def observed_data(target: Target, data: DataSet) -> tuple[Observations, ...]:
    """The part of a data set on which claims are measured."""
    (name,) = target.domain.names
    rows = data.parts[data.observed]
    batches = [{name: rows[i : i + _ROWS]} for i in range(0, len(rows), _ROWS)]
    return observe(target, batches)
