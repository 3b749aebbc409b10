"""Random inputs: they may refute, never prove."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsl.agreement import agreeing, counterexample
from dsl.claim import Refuted, Target, Tested, Unknown, Verdict
from dsl.program import Program

SAMPLES = 100_000
CONFIDENCE = 0.99


def upper_bound(wrong: int, samples: int, confidence: float = CONFIDENCE) -> float:
    """The Clopper-Pearson upper bound of a rate of which `wrong` of `samples` were seen."""
    if samples == 0 or wrong >= samples:
        return 1.0
    if wrong == 0:
        return float(1.0 - (1.0 - confidence) ** (1.0 / samples))
    from scipy.stats import beta

    return float(beta.ppf(confidence, wrong + 1, samples - wrong))


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
    samples: int = SAMPLES,
) -> Verdict | None:
    """Tested with a bound, or Refuted; never Proved."""
    rng = np.random.default_rng([seed, 0x5A])
    seen = wrong = 0
    first: tuple[dict[str, np.ndarray], int] | None = None
    block = 2048
    while seen < samples and time.monotonic() < deadline:
        before = seen
        for batch in target.domain.sample(min(block, samples - seen), rng):
            evaluation = target.evaluate(batch)
            same = agreeing(program, batch, evaluation.values, target.claim.decode)
            seen += len(same)
            wrong += int((~same).sum())
            if first is None and not same.all():
                first = (batch, int(np.flatnonzero(~same)[0]))
            if time.monotonic() > deadline:
                break
        if seen == before:
            return Unknown("no input that satisfies the domain's condition was found")
        block = min(block * 2, 16_384)
    if first is not None:
        example = counterexample(program, target, *first)
        if example is not None:
            return Refuted("sampling", example, wrong, wrong / seen, {"samples": seen})
    if seen == 0:
        return Unknown("no time to test")
    return Tested(seen, upper_bound(wrong, seen), {"samples": seen, "disagreements": wrong})
