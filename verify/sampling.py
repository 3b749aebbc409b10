"""Random inputs: they may refute, never prove."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsl.agreement import agreeing, counterexample
from dsl.claim import Refuted, Target, Tested, Unknown, Verdict
from dsl.evaluate import run_defined
from dsl.forcing import agrees_by_forcing, is_causal
from dsl.program import Program
from dsl.reachable import sample, structured

SAMPLES = 100_000
CONFIDENCE = 0.99
_STRUCTURED = 1024


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
    forcing = target.claim.feedback is not None and is_causal(target, rng)
    seen = wrong = 0
    first = _structured_refutation(program, target, rng)
    block = 2048 if target.claim.feedback is None else 256
    while first is None and seen < samples and time.monotonic() < deadline:
        before = seen
        for batch in sample(target, min(block, samples - seen), rng):
            same = matching(program, target, batch, forcing)
            seen += len(same)
            wrong += int((~same).sum())
            if first is None and not same.all():
                first = (batch, int(np.flatnonzero(~same)[0]))
            if time.monotonic() > deadline:
                break
        if seen == before:
            return Unknown("no input that satisfies the domain's condition was found")
        block = min(block * 2, 16_384 if target.claim.feedback is None else 512)
    if first is not None:
        example = counterexample(program, target, *first)
        if example is not None:
            share = wrong / seen if seen else None
            return Refuted("sampling", example, max(wrong, 1), share, {"samples": seen})
    if seen == 0:
        return Unknown("no time to test")
    return Tested(seen, upper_bound(wrong, seen), {"samples": seen, "disagreements": wrong})


def _structured_refutation(
    program: Program, target: Target, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], int] | None:
    """A disagreement among inputs with structure, which uniform ones hardly ever have."""
    if target.claim.closed_loop or target.claim.feedback is not None:
        return None
    for batch in structured(target.domain, _STRUCTURED, rng):
        same = matching(program, target, batch, False)
        if not same.all():
            return batch, int(np.flatnonzero(~same)[0])
    return None


def matching(
    program: Program, target: Target, batch: Mapping[str, np.ndarray], forcing: bool
) -> np.ndarray:
    """The rows on which the program gives the network's value.  With `forcing`, answers of many
    steps are confirmed in one pass where they can be."""
    if not forcing:
        evaluation = target.evaluate(batch)
        same = agreeing(program, batch, evaluation.values, target.claim.decode)
        # Where an output is not a number, there is no value to agree with.
        return same & ~np.isnan(evaluation.margins)
    ours, defined = run_defined(program, batch)
    same = np.zeros(len(ours), bool)
    if ours.ndim == 2 or ours.dtype == object:
        same = agrees_by_forcing(target, batch, ours) & defined
    left = np.flatnonzero(~same)
    if len(left):
        rest = {name: column[left] for name, column in batch.items()}
        values = target.evaluate(rest).values
        same[left] = agreeing(program, rest, values, target.claim.decode)
    return same
