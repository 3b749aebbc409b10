"""How far a program that is not proved is from the network, and what is proven of that."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from distill.entries import Entry
from distill.state import Search
from dsl.agreement import agreeing, counterexample
from dsl.claim import Counterexample, Proved, Refuted, Target, Unknown, Verdict
from dsl.evaluate import run_defined
from dsl.program import Program
from verify import branch_and_bound, cells, sampling


def distances(program: Program, search: Search) -> tuple[float, float]:
    """How far a program's real values are from those observed: the root mean square, and at
    most; infinite where it has none."""
    squares, count, largest = 0.0, 0, 0.0
    for o in search.observations:
        ours, defined = run_defined(program, o.inputs)
        if not defined.all() or ours.shape != o.values.shape or ours.dtype.kind not in "iufb":
            return math.inf, math.inf
        off = np.abs(ours.astype(np.float64) - o.values)
        squares, count = squares + float((off * off).sum()), count + off.size
        largest = max(largest, float(off.max(initial=0.0)))
    return math.sqrt(squares / max(count, 1)), largest


def measuring_time(target: Target, seconds: float) -> float:
    """The time kept back to measure how much of a domain of real numbers is proven."""
    if target.domain.raw_size is not None or not branch_and_bound.applies(target):
        return 0.0
    return min(0.3 * seconds, 60.0)


def with_fractions(search: Search, entry: Entry, verdict: Verdict, deadline: float) -> Verdict:
    """The verdict with the proven, refuted and open fractions of the domain's volume, where it is
    a box of real numbers and the network could be translated."""
    if isinstance(verdict, Proved) or not measuring_time(search.target, 1.0):
        return verdict
    search.report("verify", {"method": branch_and_bound.METHOD})
    until = max(deadline, time.monotonic() + 1.0)
    found = branch_and_bound.coverage(entry.program, search.target, until, seed=search.seed)
    if found is None:
        return verdict
    return branch_and_bound.with_coverage(verdict, found, search.target)


def with_front_fractions(
    search: Search, shown: tuple[Entry, ...], best: Entry, deadline: float
) -> tuple[Entry, ...]:
    """The front with proven fractions, each program in an equal share of the time; the last few
    where there is little."""
    if not measuring_time(search.target, 1.0):
        return shown
    others = [n for n, entry in enumerate(shown) if entry.program != best.program]
    result = [best if entry.program == best.program else entry for entry in shown]
    left = max(0.0, deadline - time.monotonic())
    for place in reversed(others[-int(left) :] if left >= 1.0 else []):
        now = time.monotonic()
        if now > deadline - 0.5:
            break
        share = max(1.0, (deadline - now) / (1 + others.index(place)))
        verdict = result[place].verdict or Unknown("not verified")
        fractions = with_fractions(search, result[place], verdict, min(deadline, now + share))
        result[place] = replace(result[place], verdict=fractions)
    return tuple(result)


def measured(search: Search, entry: Entry, deadline: float) -> Verdict:
    """The verdict on a program that nobody verified: on what fraction of the inputs it differs,
    and, for real values on boxes, within which distance of the network it is proven to be."""
    target, program = search.target, entry.program
    verdict: Verdict | None = known_disagreement(search, entry) or sampling.verify(
        program,
        target,
        deadline=time.monotonic() + 2,
        seed=search.seed + 1,
        evidence={},
        samples=20_000,
    )
    verdict = verdict or Unknown("not verified")
    if entry.deviation is None or not math.isfinite(entry.deviation):
        return verdict
    bound = rounded_up(1.1 * entry.deviation)
    decode = replace(target.claim.decode, tolerance=bound)
    target = replace(target, claim=replace(target.claim, decode=decode))
    search.report("verify", {"method": branch_and_bound.METHOD, "within": bound})
    until = time.monotonic() + 0.5 * max(0.0, deadline - time.monotonic())
    table: dict[str, Any] = {"within": bound, "observed_deviation": entry.deviation}
    by_cells = cells.verify(program, target, deadline=until, seed=search.seed, evidence={})
    if isinstance(by_cells, Proved):
        table |= {"within_proven": 1.0, "within_open": 0.0, "within_by": cells.METHOD}
        return replace(verdict, evidence={**verdict.evidence, **table})
    found = branch_and_bound.coverage(program, target, until, seed=search.seed)
    if found is None:
        return verdict
    table |= {"within_proven": found.proven, "within_open": found.open}
    return replace(verdict, evidence={**verdict.evidence, **table})


def rounded_up(value: float) -> float:
    """The least number of two digits that is at least `value`."""
    if value <= 0:
        return 1e-300
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step) * step:.1e}")


def known_disagreement(search: Search, entry: Entry) -> Refuted | None:
    """The first observed input on which a program is wrong, replayed; None where there is none."""
    wrong = 0
    first: Counterexample | None = None
    for o in search.observations:
        same = agreeing(entry.program, o.inputs, o.values, search.target.claim.decode)
        wrong += int((~same).sum())
        if first is None and not same.all():
            row = int(np.flatnonzero(~same)[0])
            first = counterexample(entry.program, search.target, o.inputs, row)
    if first is None:
        return None
    share = wrong / search.count
    return Refuted("observation", first, wrong, share, {"inputs": search.count})
