"""From a target to a proven program: observe, propose, refute, and propose again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from distill.exceptional_words import with_observed, with_words
from distill.exceptions import Exceptions, with_exceptions
from dsl import types as t
from dsl.agreement import agreeing, counterexample
from dsl.claim import (
    Counterexample,
    Hypothesis,
    Proved,
    Refuted,
    Target,
    Tested,
    Unknown,
    Verdict,
)
from dsl.decoding import has_long_answers
from dsl.errors import DistillError
from dsl.evaluate import run_defined
from dsl.parser import equal_programs, parse
from dsl.printer import to_python
from dsl.program import Program, size
from dsl.reachable import sample, structured
from synth.problem import DataSet, Observations, Problem, observe
from synth.proposers import proposers
from verify import branch_and_bound, cells, lengths, sampling
from verify.methods import methods

Report = Callable[[str, Mapping[str, Any]], None]
"""Called with a phase and its figures, for progress displays and journals."""

COMPLETE_ENTRIES = 3_000_000
"""Domains whose inputs and outputs have at most this many entries are observed in full."""
_SAMPLE = 20_000
_MANY_ANSWERS = 2000
"""More inputs than this with long greedy answers are not observed in full."""
_SHORT = 15
_AGREEMENT = 5.0
_ROUNDS = 8
_EXCEPTIONS = 40
_RESERVED = 0.3
_VALUES = 400
"""Halving the error of real values is worth this many bits."""
_LAWS = 4
_ROWS = 2000
_WORTH = 0.9


@dataclass(frozen=True)
class Entry:
    """A hypothesis with its size in nodes and how often it disagrees with what was observed.

    `deviation`, where the claim is about real values, is the greatest distance that was observed.
    """

    hypothesis: Hypothesis
    size: int
    disagreement: float
    bits: float
    verdict: Verdict | None = None
    deviation: float | None = None

    @property
    def program(self) -> Program:
        return self.hypothesis.program


@dataclass(frozen=True)
class Result:
    """The best program with its verdict, and the front of all that were not dominated."""

    target: Target
    best: Entry
    front: tuple[Entry, ...]
    verdict: Verdict
    seconds: float
    tried: int
    observed: int
    complete: bool
    statistics: Mapping[str, Any] = field(default_factory=dict)
    exceptions: Exceptions | None = None  # where the best program is a law with exceptions

    @property
    def program(self) -> Program:
        return self.best.program

    @property
    def counterexample(self) -> Counterexample | None:
        return self.verdict.counterexample if isinstance(self.verdict, Refuted) else None


@dataclass
class Search:
    """The state of one run; `entries` only ever grows."""

    target: Target
    deadline: float
    seed: int
    report: Report
    observations: tuple[Observations, ...] = ()
    complete: bool = False
    entries: list[Entry] = field(default_factory=list)
    tried: int = 0
    counterexamples: list[dict[str, np.ndarray]] = field(default_factory=list)
    proved: Entry | None = None
    proved_at: float = math.inf
    started: float = 0.0
    exceptions: Exceptions | None = None
    reserved: float = 0.0  # seconds at the end that are kept for what is proven of the best

    @property
    def until(self) -> float:
        """When the proposers stop."""
        return self.deadline - self.reserved

    def problem(self, share: float) -> Problem:
        left = self.until - time.monotonic()
        deadline = time.monotonic() + max(0.0, left * share)
        return Problem(self.target, self.observations, self.complete, deadline, self.seed)


def compile_target(
    target: Target,
    *,
    seconds: float = 300.0,
    seed: int = 0,
    only: tuple[str, ...] = (),
    start_from: tuple[Hypothesis, ...] = (),
    report: Report = lambda phase, figures: None,
    data: DataSet | None = None,
) -> Result:
    """The smallest program that is proved equal to the target; else the best that was found.

    Never takes much longer than `seconds`; an interrupt ends it early with the best so far.
    """
    started = time.monotonic()
    kept = measuring_time(target, seconds)
    search = Search(target, started + seconds - kept, seed, report, started=started)
    if data is None:
        search.observations, search.complete = observed(target, seed, started + 0.25 * seconds)
    else:
        search.observations = observed_data(target, data)
    if not search.observations or not sum(len(o) for o in search.observations):
        raise DistillError(
            "D112",
            f"no input satisfies `{target.domain}`",
            remedy="relax the condition after `where`",
        )
    if any(isinstance(kind, t.Real) for kind in target.domain.types.values()):
        search.reserved = _RESERVED * seconds
    elif target.claim.closed_loop:
        # Should the best be refuted, it is to be said up to which length it holds.
        search.reserved = _RESERVED * seconds
    report("observed", {"inputs": _count(search), "complete": search.complete})
    try:
        for given in start_from:
            consider(search, given)
        for name, propose in proposers(only):
            if finished(search):
                break
            report("proposer", {"name": name})
            known = len(search.entries)
            _run(search, propose, data)
            if len(search.entries) > known:
                _except(search)
    except KeyboardInterrupt:
        report("interrupted", {})
        if not search.entries:
            raise
        return conclusion(search, unverified="interrupted")
    except MemoryError:
        report("memory", {})
        return conclusion(search, unverified="the memory that was given is spent")
    return conclusion(search, started + seconds)


def search_target(target: Target, **options: Any) -> Iterator[Entry]:
    """The hypotheses of `compile_target`, best first."""
    yield from compile_target(target, **options).front


def observed(target: Target, seed: int, deadline: float) -> tuple[tuple[Observations, ...], bool]:
    """Every input where they are few, else a sample; with the values of the original runtime."""
    domain = target.domain
    rng = np.random.default_rng([seed, 1])
    longest: int = max(
        (kind.high or 1 for kind in domain.types.values() if isinstance(kind, t.Seq)),
        default=1,
    )
    small = domain.raw_size is not None and domain.raw_size * longest <= COMPLETE_ENTRIES
    many = (domain.raw_size or 0) > _MANY_ANSWERS and has_long_answers(target)
    if small and not target.claim.closed_loop and not many:
        batches: list[Observations] = []
        for batch in domain.batches():
            batches += observe(target, [batch])
            if time.monotonic() > deadline:
                break
        else:
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
        for batch in drawn:
            result += observe(target, [batch])
            # Walks are drawn at the cost of running them: all are kept, the longest come last.
            if time.monotonic() > deadline and not target.claim.closed_loop:
                break
    return tuple(result), False


def observed_data(target: Target, data: DataSet) -> tuple[Observations, ...]:
    """The part of a data set on which claims are measured."""
    (name,) = target.domain.names
    rows = data.parts[data.observed]
    batches = [{name: rows[i : i + _ROWS]} for i in range(0, len(rows), _ROWS)]
    return observe(target, batches)


def finished(search: Search) -> bool:
    """Is the time up, or is there a proved program with little left to gain?"""
    now = time.monotonic()
    if now >= search.until:
        return True
    if search.proved is None:
        return False
    spent = search.proved_at - search.started
    if search.proved.size <= _SHORT:
        return True
    return now - search.proved_at > max(5.0, spent)


def _run(search: Search, propose: Any, data: DataSet | None) -> None:
    """One proposer, again and again while counterexamples tell it something new."""
    for _ in range(_ROUNDS):
        known = len(search.counterexamples)
        problem = replace(search.problem(0.6), data=data)
        for hypothesis in propose(problem):
            search.tried += hypothesis.tried
            consider(search, hypothesis)
            if finished(search) or time.monotonic() > problem.deadline:
                break
        if finished(search) or len(search.counterexamples) == known:
            return


def consider(search: Search, hypothesis: Hypothesis) -> None:
    """Measures a hypothesis, on its text as it would be written, and verifies it if it agrees."""
    program = parse(to_python(hypothesis.program))
    if any(equal_programs(program, entry.program) for entry in search.entries):
        return
    hypothesis = replace(hypothesis, program=program)
    wrong = total = 0
    for observations in search.observations:
        same = agreeing(
            program, observations.inputs, observations.values, search.target.claim.decode
        )
        wrong += int((~same).sum())
        total += len(same)
    nodes = size(program)
    entry = Entry(hypothesis, nodes, wrong / total, 0.0)
    if search.target.claim.decode.rule == "value":
        error, deviation = distances(program, search)
        bits = real_code_length(nodes, error, search.target.claim.decode.tolerance)
        entry = replace(entry, bits=bits, deviation=deviation)
    else:
        entry = replace(entry, bits=code_length(nodes, wrong, total, _outcomes(search)))
    if 0 < wrong <= _EXCEPTIONS and search.complete:
        joined = with_exceptions(search.target, search.observations, program)
        whole = joined.program if joined is not None else None
        whole = whole or with_observed(program, search.target, search.observations)
        if whole is not None:
            consider(search, replace(hypothesis, program=whole))
    if wrong == 0 and (search.proved is None or nodes < search.proved.size):
        entry = replace(entry, verdict=_verified(search, hypothesis))
    search.entries.append(entry)
    if isinstance(entry.verdict, Proved):
        search.proved, search.proved_at = entry, time.monotonic()
    if isinstance(entry.verdict, Refuted):
        patched = with_words(program, search.target, entry.verdict)
        if patched is not None:
            consider(search, replace(hypothesis, program=patched))
    best = best_entry(search.entries)
    search.report(
        "hypothesis",
        {"entry": entry, "best": best, "tried": search.tried, "front": front(search.entries)},
    )


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


def _verified(search: Search, hypothesis: Hypothesis) -> Verdict:
    """The verdict of the first method that applies; a counterexample is remembered."""
    target, program = search.target, hypothesis.program
    verdict: Verdict | None = None
    quick = _quick_refutation(search, program)
    if quick is not None:
        verdict = quick
    else:
        undecided: Verdict | None = None
        for name, method in methods():
            search.report("verify", {"method": name})
            verdict = method(
                program,
                target,
                deadline=search.deadline,
                seed=search.seed,
                evidence=hypothesis.evidence,
            )
            if isinstance(verdict, (Proved, Refuted)):
                break
            undecided, verdict = verdict or undecided, None
        if verdict is None:
            verdict = undecided
    if verdict is None or isinstance(verdict, Unknown):
        tested = sampling.verify(
            program,
            target,
            deadline=min(search.deadline, time.monotonic() + 20),
            seed=search.seed + 1,
            evidence={},
        )
        verdict = merged(verdict, tested)
    if isinstance(verdict, Refuted):
        _remember(search, verdict.counterexample)
    return verdict


def _quick_refutation(search: Search, program: Program) -> Refuted | None:
    """A few fresh inputs before any proof is tried; pointless where all were observed."""
    if search.complete:
        return None
    verdict = sampling.verify(
        program,
        search.target,
        deadline=min(search.deadline, time.monotonic() + 5),
        seed=search.seed + len(search.counterexamples),
        evidence={},
        samples=4096,
    )
    return verdict if isinstance(verdict, Refuted) else None


def merged(undecided: Verdict | None, tested: Verdict | None) -> Verdict:
    """What sampling adds to a method that did not decide."""
    if tested is None or isinstance(tested, Unknown):
        return undecided if undecided is not None else Unknown("no method applies")
    if isinstance(undecided, Unknown) and isinstance(tested, Tested):
        if undecided.proven_fraction > 0:
            return replace(undecided, evidence={**undecided.evidence, "tested": tested.samples})
        reason = {"undecided": undecided.reason, **undecided.evidence}
        return replace(tested, evidence={**tested.evidence, **reason})
    return tested


def _remember(search: Search, example: Counterexample) -> None:
    """Adds a counterexample to what is observed, for the proposers to come."""
    from dsl.domain import single

    batch = single(search.target.domain, dict(example.inputs))
    search.counterexamples.append(batch)
    if not search.complete:
        search.observations = (*search.observations, *observe(search.target, [batch]))


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


def conclusion(search: Search, deadline: float = 0.0, *, unverified: str = "") -> Result:
    """The result of a search as it stands; verifies the best if nobody has, and measures how much
    of it is proven until the deadline, unless `unverified` says why there is no time for it."""
    if not search.entries:
        raise DistillError(
            "D301",
            f"no hypothesis was found: {unverified}"
            if unverified
            else "no hypothesis was found in the time given",
            remedy="give more time with --time, or more memory with --memory",
            exit_code=3,
        )
    best = best_entry(search.entries)
    exceptions = search.exceptions
    if exceptions is not None and best.program != exceptions.program:
        exceptions = None
    if best.verdict is None and unverified:
        best = replace(best, verdict=Unknown(unverified))
    if best.verdict is None:
        best = replace(best, verdict=measured(search, best, deadline))
    assert best.verdict is not None
    shown = front(search.entries)
    if not unverified:
        # Most of the time is for the best; the rest of the front shows what size buys.
        until = time.monotonic() + 0.6 * max(0.0, deadline - time.monotonic())
        best = replace(best, verdict=with_fractions(search, best, best.verdict, until))
        shown = with_front_fractions(search, shown, best, deadline)
    if isinstance(best.verdict, Refuted) and not unverified:
        until = max(deadline, time.monotonic() + _AGREEMENT)
        table = lengths.agreement(best.program, search.target, deadline=until, seed=search.seed)
        evidence = {**best.verdict.evidence, **table}
        best = replace(best, verdict=replace(best.verdict, evidence=evidence))
    assert best.verdict is not None
    return Result(
        search.target,
        best,
        shown,
        best.verdict,
        time.monotonic() - search.started,
        search.tried,
        _count(search),
        search.complete,
        exceptions=exceptions,
    )


def measured(search: Search, entry: Entry, deadline: float) -> Verdict:
    """The verdict on a program that nobody verified: on what fraction of the inputs it differs,
    and, for real values on boxes, within which distance of the network it is proven to be."""
    target, program = search.target, entry.program
    verdict: Verdict | None = _known_disagreement(search, entry) or sampling.verify(
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


def _except(search: Search) -> None:
    """Proves and enters the shortest law with its exceptions, where nothing that is proved is
    shorter and the law takes clearly fewer bits than the bare values.  The search goes on: one
    without exceptions may still be found."""
    if not search.complete:
        return
    proved = [e.bits for e in search.entries if isinstance(e.verdict, Proved)]
    limit = min(proved, default=math.inf)
    laws = sorted((e for e in search.entries if e.disagreement > 0), key=lambda e: e.bits)
    found: list[tuple[Exceptions, Entry]] = []
    for law in laws[:_LAWS]:
        joined = with_exceptions(search.target, search.observations, law.program)
        if joined is not None and joined.bits < min(limit, _WORTH * joined.plain_bits):
            found.append((joined, law))
    for joined, law in sorted(found, key=lambda pair: pair[0].bits)[:1]:
        program = parse(to_python(joined.program))
        hypothesis = replace(law.hypothesis, program=program)
        verdict = _verified(search, hypothesis)
        if isinstance(verdict, Proved):
            entry = Entry(hypothesis, size(program), 0.0, joined.bits, verdict)
            search.entries.append(entry)
            search.exceptions = replace(joined, program=program)
            search.report("exceptions", {"law": law, "count": len(joined.table)})


def _known_disagreement(search: Search, entry: Entry) -> Refuted | None:
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
    share = wrong / _count(search)
    return Refuted("observation", first, wrong, share, {"inputs": _count(search)})


_RANK = {Proved: 0, Tested: 1, Unknown: 2, Refuted: 3}


def best_entry(entries: list[Entry]) -> Entry:
    """The smallest proved program; else the smallest of those without known disagreement; else
    the one of least code length."""

    def key(entry: Entry) -> tuple[float, ...]:
        rank = 3 if entry.verdict is None else _RANK[type(entry.verdict)]
        return (rank, entry.bits, entry.size)

    return min(entries, key=key)


def front(entries: list[Entry]) -> tuple[Entry, ...]:
    """The entries that no other beats in both size and disagreement (deviation, where values are
    real), the smallest first."""
    ordered = sorted(entries, key=lambda e: (e.size, e.disagreement, e.deviation or 0.0))
    kept: list[Entry] = []
    for entry in ordered:
        refuted = isinstance(entry.verdict, Refuted)
        wrong = max(entry.disagreement, 1e-12) if refuted else entry.disagreement
        closer = (
            entry.deviation is not None and kept and entry.deviation < (kept[-1].deviation or 0.0)
        )
        if not kept or wrong < kept[-1].disagreement or closer:
            kept.append(replace(entry, disagreement=wrong))
    return tuple(kept)


def code_length(nodes: int, wrong: int, total: int, outcomes: int) -> float:
    """Bits of the program, at six a node, and of its exceptions: which they are, and their
    values (two-part code length, Rissanen 1978)."""
    if wrong == 0:
        return 6.0 * nodes
    where = (
        math.lgamma(total + 1) - math.lgamma(wrong + 1) - math.lgamma(total - wrong + 1)
    ) / math.log(2)
    return 6.0 * nodes + where + wrong * math.log2(max(outcomes, 2)) + math.log2(total + 1)


def real_code_length(nodes: int, error: float, tolerance: float) -> float:
    """Bits of the program and of what it leaves of some values, to within the tolerance."""
    left = error / tolerance if tolerance > 0 else error * 1e6
    return 6.0 * nodes + _VALUES * math.log2(max(left, 1.0))


def _outcomes(search: Search) -> int:
    """How many different values were observed, at most a thousand.  All shapes count: of the
    shortest inputs there may be one."""
    seen: set[Any] = set()
    for o in search.observations:
        values = o.values[:2000]
        if values.ndim == 1 and values.dtype != object:
            seen |= set(np.unique(values).tolist())
        else:
            seen |= {repr(value) for value in values.tolist()}
        if len(seen) >= 1000:
            break
    return min(len(seen), 1000)


def _count(search: Search) -> int:
    return sum(len(observations) for observations in search.observations)
