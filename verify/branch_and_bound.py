"""Proof by branch and bound: programs against networks on boxes of real numbers or of integers.

The verdict is Proved where every part of the box is; else how much of its volume is proven, how
much is refuted (the two differ everywhere there), and how much is open, with the regions.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl.agreement import agreeing, counterexample
from dsl.claim import Counterexample, Proved, Refuted, Target, Unknown, Verdict
from dsl.program import Program
from verify.branching import Outcome, Regions, explore
from verify.comparison import Comparison, compared
from verify.pieces import Untranslatable

METHOD = "branch_and_bound"
_RECHECKED = 4000
_FEW = 100_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """Fractions of the domain's volume: `proven` equal, `refuted` everywhere different, `open`.

    `largest` bounds the difference of values everywhere, where the claim is about values.
    """

    proven: float
    refuted: float
    open: float
    counterexample: Counterexample | None
    arithmetic: str
    evidence: Mapping[str, Any]


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proved, Refuted with the fractions in its evidence, or Unknown; None for other domains."""
    size = target.domain.raw_size
    if size is not None and size <= _FEW:
        return None
    if evidence.get("kind") == METHOD and (regions := unpacked(evidence)) is not None:
        again = rechecked(regions, program, target, deadline=deadline)
        if again is not None:
            return again
    try:
        comparison = compared(program, target)
    except Untranslatable:
        return None
    found = _covered(comparison, program, target, deadline, seed)
    if found.counterexample is not None:
        return Refuted(
            METHOD, found.counterexample, 1, found.refuted or None, evidence=found.evidence
        )
    if found.evidence["exhausted"]:
        return Proved(METHOD, str(target.domain), comparison.arithmetic, found.evidence)
    return Unknown(
        f"time is up with {found.open:.3g} of the volume open",
        found.proven,
        found.refuted,
        found.evidence,
    )


def coverage(
    program: Program, target: Target, deadline: float, *, seed: int = 0
) -> Coverage | None:
    """How much of the domain's volume is proven equal, refuted and open by the deadline; None
    where the program or the network is beyond this method."""
    try:
        comparison = compared(program, target)
    except Untranslatable:
        return None
    return _covered(comparison, program, target, deadline, seed)


def reason(program: Program, target: Target) -> str | None:
    """Why the method does not apply, in words; None where it does."""
    try:
        compared(program, target)
    except Untranslatable as error:
        return str(error)
    return None


def _covered(
    comparison: Comparison, program: Program, target: Target, deadline: float, seed: int
) -> Coverage:
    box = comparison.box

    def confirm(points: np.ndarray) -> np.ndarray:
        batch = box.batch(points, target.domain)
        inside = target.domain.satisfied(batch)
        values = target.evaluate(batch).values
        return np.asarray(inside & ~agreeing(program, batch, values, target.claim.decode))

    outcome = explore(
        comparison.problem,
        box.low,
        box.high,
        deadline=deadline,
        goal="cover",
        confirm=confirm,
        seed=seed,
    )
    example = None
    for point in outcome.counterexamples[:16]:
        batch = box.batch(point[None], target.domain)
        example = counterexample(program, target, batch, 0)
        if example is not None:
            break
    table = evidence_of(outcome, comparison)
    return Coverage(
        outcome.proven, outcome.refuted, outcome.open, example, comparison.arithmetic, table
    )


def evidence_of(outcome: Outcome, comparison: Comparison) -> dict[str, Any]:
    """The fractions, and the regions in a compact form (see `unpacked`)."""
    regions = outcome.regions
    return {
        "kind": METHOD,
        "proven": outcome.proven,
        "refuted": outcome.refuted,
        "open": outcome.open,
        "boxes": outcome.boxes,
        "exhausted": outcome.exhausted,
        "arithmetic": comparison.arithmetic,
        "complete": regions.complete,
        "inputs": [[n, list(shape)] for n, shape, _ in comparison.box.places],
        "regions": {kind: _text(*getattr(regions, kind)) for kind in ("proven", "refuted", "open")},
    }


def _text(low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """Boxes (N, d) as text: little-endian float64, lower then upper ends, zlib, base64."""
    both = np.ascontiguousarray(np.stack([low, high], 1).astype("<f8"))
    data = base64.b64encode(zlib.compress(both.tobytes(), 6)).decode()
    return {"count": len(low), "inputs": low.shape[1], "zlib": data}


def _boxes(table: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    count, inputs = int(table["count"]), int(table["inputs"])
    data = zlib.decompress(base64.b64decode(table["zlib"]))
    both = np.frombuffer(data, "<f8").reshape(count, 2, inputs)
    return both[:, 0].astype(np.float64), both[:, 1].astype(np.float64)


def unpacked(evidence: Mapping[str, Any]) -> Regions | None:
    """The regions of an evidence; None where not all of them were kept."""
    if not evidence.get("complete"):
        return None
    try:
        table = evidence["regions"]
        proven, refuted, rest = (_boxes(table[kind]) for kind in ("proven", "refuted", "open"))
    except (KeyError, ValueError, TypeError, zlib.error):
        return None
    return Regions(proven, refuted, rest, True)


def recheck(
    evidence: Mapping[str, Any], program: Program, target: Target, *, deadline: float
) -> Verdict | None:
    """The verdict that the regions of an evidence support by themselves: each is proven anew from
    nothing, and together they fill the box.  None where they do not."""
    regions = unpacked(evidence)
    if regions is None:
        return None
    return rechecked(regions, program, target, deadline=deadline)


def rechecked(
    regions: Regions, program: Program, target: Target, *, deadline: float
) -> Verdict | None:
    try:
        comparison = compared(program, target)
    except Untranslatable:
        return None
    box, (low, high) = comparison.box, regions.proven
    if not fills(low, high, box.low, box.high, box.whole):
        return None
    for start in range(len(low)):
        if time.monotonic() > deadline:
            return None
        outcome = explore(
            comparison.problem,
            low[start],
            high[start],
            deadline=deadline,
            most_boxes=_RECHECKED,
            seed=start,
        )
        if not outcome.exhausted or outcome.refuted > 0:
            return None
    outcome = Outcome(1.0, 0.0, 0.0, np.zeros((0, len(box.low))), True, len(low), 0.0, regions)
    return Proved(
        METHOD, str(target.domain), comparison.arithmetic, evidence_of(outcome, comparison)
    )


def fills(
    low: np.ndarray, high: np.ndarray, whole_low: np.ndarray, whole_high: np.ndarray, whole: Any
) -> bool:
    """Do the boxes (N, d) cover the box?  By dividing it at their faces until each part lies in
    one of them; nothing is said of whether they overlap."""
    step = np.where(whole, 1.0, 0.0)
    stack = [(whole_low, whole_high, np.arange(len(low)))]
    while stack:
        bottom, top, among = stack.pop()
        inside = ((low[among] <= bottom) & (high[among] >= top)).all(1)
        if inside.any():
            continue
        touching = ((low[among] <= top) & (high[among] >= bottom)).all(1)
        among = among[touching]
        if not len(among):
            return False
        # A face that cuts this part: the one nearest to the middle of what is left.
        best: tuple[float, int, float] | None = None
        for i in range(len(bottom)):
            ends = np.concatenate([low[among, i] - step[i], high[among, i]])
            ends = ends[(ends >= bottom[i]) & (ends < top[i])]
            ends = ends[ends > bottom[i]] if not whole[i] else ends
            if len(ends):
                middle = (bottom[i] + top[i]) / 2
                cut = float(ends[np.abs(ends - middle).argmin()])
                off = abs(cut - middle) / max(top[i] - bottom[i], 1e-300)
                if best is None or off < best[0]:
                    best = (off, i, cut)
        if best is None:
            return False
        _, i, cut = best
        left, right = top.copy(), bottom.copy()
        left[i], right[i] = cut, cut + step[i]
        stack.append((bottom, left, among))
        stack.append((right, top, among))
    return True


def with_coverage(verdict: Verdict, found: Coverage) -> Verdict:
    """A verdict with what is proven all the same."""
    match verdict:
        case Refuted():
            return replace(
                verdict,
                disagreement=verdict.disagreement,
                evidence={**verdict.evidence, **found.evidence},
            )
        case Unknown():
            return replace(
                verdict,
                proven_fraction=found.proven,
                refuted_fraction=found.refuted,
                evidence={**verdict.evidence, **found.evidence},
            )
    return verdict
