"""Proof by branch and bound: programs against networks on boxes of real numbers or of integers.

The verdict is Proved where every part of the box is; else how much of its volume is proven, how
much is refuted (the two differ everywhere there), and how much is open, with the regions.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl.agreement import agreeing, counterexample
from dsl.claim import LATER, Counterexample, Proved, Refuted, Target, Tested, Unknown, Verdict
from dsl.printer import to_python
from dsl.program import Program
from verify import divided
from verify.boxes import Confirm, Goal, Outcome, Regions
from verify.branching import explore
from verify.comparison import Comparison, compared, packed_shape
from verify.forms import Untranslatable
from verify.vectors import box_of

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
    largest: float | None = None


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
    half = min(deadline, time.monotonic() + 0.5 * max(0.0, deadline - time.monotonic()))
    outcome = _explored(comparison, program, target, half, seed, "decide")
    table = evidence_of(outcome, comparison)
    example = _example(outcome, comparison, program, target)
    if example is not None:
        return Refuted(METHOD, example, len(outcome.counterexamples), None, table)
    if outcome.exhausted:
        return Proved(METHOD, str(target.domain), comparison.arithmetic, table)
    return Unknown(
        f"time is up with {outcome.open:.3g} of the volume open",
        outcome.proven,
        outcome.refuted,
        table,
    )


def coverage(
    program: Program, target: Target, deadline: float, *, seed: int = 0, enough: float = 1.0
) -> Coverage | None:
    """How much of the domain's volume is proven equal, refuted and open by the deadline, or when
    `enough` is proven; None where the program or the network is beyond this method."""
    try:
        comparison = compared(program, target)
    except Untranslatable:
        return None
    return _covered(comparison, program, target, deadline, seed, enough)


def applies(target: Target) -> bool:
    """Is the domain a box of numbers, and is there a translation of the network?"""
    if box_of(target.domain) is None or target.claim.feedback is not None:
        return False
    return not target.claim.closed_loop and target.network(packed_shape(target)) is not None


def reason(program: Program, target: Target) -> str | None:
    """Why the method does not apply, in words; None where it does."""
    try:
        compared(program, target)
    except Untranslatable as error:
        return str(error)
    return None


def _covered(
    comparison: Comparison,
    program: Program,
    target: Target,
    deadline: float,
    seed: int,
    enough: float,
) -> Coverage:
    now = time.monotonic()
    valued = target.claim.decode.rule == "value"
    until = now + (0.7 if valued else 1.0) * max(0.0, deadline - now)
    outcome = _explored(comparison, program, target, until, seed, "cover", enough)
    table = evidence_of(outcome, comparison)
    largest = None
    if valued and enough == 1.0:
        largest = farthest(program, target, deadline, seed=seed)
        table["largest_difference"] = largest
    return Coverage(
        outcome.proven,
        outcome.refuted,
        outcome.open,
        _example(outcome, comparison, program, target),
        comparison.arithmetic,
        table,
        largest,
    )


def _explored(
    comparison: Comparison,
    program: Program,
    target: Target,
    deadline: float,
    seed: int,
    goal: Goal,
    enough: float = 1.0,
) -> Outcome:
    confirm = _confirmed_by(comparison, program, target)
    if target.workers is None or (goal == "cover" and target.workers.count == 1):
        return explore(
            comparison.problem,
            comparison.box.low,
            comparison.box.high,
            deadline=deadline,
            goal=goal,
            confirm=confirm,
            seed=seed,
            enough=enough,
        )

    def spread(shares: Iterable[Any]) -> Iterator[divided.Found]:
        items = (share if share is LATER else (program, share) for share in shares)
        return target.spread(searched, items)

    return divided.explore(
        comparison.problem,
        comparison.box.low,
        comparison.box.high,
        spread,
        deadline=deadline,
        goal=goal,
        confirm=confirm,
        seed=seed,
        enough=enough,
    )


def _confirmed_by(comparison: Comparison, program: Program, target: Target) -> Confirm:
    def confirm(points: np.ndarray) -> np.ndarray:
        batch = comparison.box.batch(points, target.domain)
        inside = target.domain.satisfied(batch)
        values = target.evaluate(batch).values
        return np.asarray(inside & ~agreeing(program, batch, values, target.claim.decode))

    return confirm


def searched(target: Target, item: tuple[Program, divided.Share]) -> divided.Found:
    """One share of the boxes on which a program is compared with the target's network."""
    program, share = item
    comparison = _comparison(program, target)
    return divided.searched(share, comparison.problem, _confirmed_by(comparison, program, target))


_LAST: dict[tuple[str, str], Comparison] = {}


def _comparison(program: Program, target: Target) -> Comparison:
    """As `compared`, kept from one share to the next."""
    key = (to_python(program), f"{target.fingerprint} {target.claim} {target.domain}")
    found = _LAST.get(key)
    if found is None:
        found = compared(program, target)
        _LAST.clear()
        _LAST[key] = found
    return found


def _example(
    outcome: Outcome, comparison: Comparison, program: Program, target: Target
) -> Counterexample | None:
    """A counterexample that can be replayed when it is run alone."""
    for point in outcome.counterexamples[:16]:
        batch = comparison.box.batch(point[None], target.domain)
        example = counterexample(program, target, batch, 0)
        if example is not None:
            return example
    return None


def farthest(program: Program, target: Target, deadline: float, *, seed: int = 0) -> float | None:
    """A proven bound of |program - network| on the whole domain, at most a quarter above what
    was seen where time allows; None where none was proven."""
    from dsl.evaluate import run_defined

    rng = np.random.default_rng(seed)
    seen = 0.0
    for batch in target.domain.sample(4096, rng):
        ours, defined = run_defined(program, batch)
        theirs = target.evaluate(batch).values
        if ours.shape != theirs.shape or not defined.all():
            return None
        seen = max(seen, float(np.abs(ours.astype(float) - theirs).max(initial=0.0)))
    tolerance = max(seen, target.claim.decode.tolerance) * 1.25 + 1e-9
    for attempt in range(12):
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        wider = replace(target.claim.decode, tolerance=tolerance)
        relaxed = replace(target, claim=replace(target.claim, decode=wider))
        until = time.monotonic() + left * (0.5 if attempt < 6 else 1.0)
        comparison = compared(program, relaxed)
        outcome = _explored(comparison, program, relaxed, until, seed, "decide")
        if outcome.exhausted and not len(outcome.counterexamples):
            return tolerance
        tolerance *= 1.5
    return None


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


def is_partial(recorded: Mapping[str, Any]) -> bool:
    """Is a recorded verdict one about fractions of a volume?  Its claim is what is proven."""
    table = recorded.get("evidence", {})
    return recorded.get("kind") != "PROVED" and table.get("kind") == METHOD and "proven" in table


def established_again(
    recorded: Mapping[str, Any], program: Program, target: Target, deadline: float
) -> Unknown | None:
    """The fractions measured anew, if as much is proven as was recorded (less a hundredth, since
    clocks differ); None if not by the deadline."""
    wanted = float(recorded["evidence"]["proven"]) - 0.01
    found = coverage(program, target, deadline, enough=wanted)
    if found is None or found.proven < wanted:
        return None
    reason = "proven on a part of the volume, as recorded"
    return Unknown(reason, found.proven, found.refuted, found.evidence)


def with_coverage(verdict: Verdict, found: Coverage, target: Target) -> Verdict:
    """A verdict with what is proven of the domain's volume all the same."""
    match verdict:
        case Proved():
            return verdict
        case Refuted():
            return replace(verdict, evidence={**verdict.evidence, **found.evidence})
        case Unknown() | Tested():
            if found.evidence["exhausted"] and found.counterexample is not None:
                return Refuted(METHOD, found.counterexample, 1, None, found.evidence)
            if found.evidence["exhausted"] and found.refuted == 0:
                return Proved(METHOD, str(target.domain), found.arithmetic, found.evidence)
            reason = verdict.reason if isinstance(verdict, Unknown) else "not all is proven"
            table = {**verdict.evidence, **found.evidence}
            return Unknown(reason, found.proven, found.refuted, table)
