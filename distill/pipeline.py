"""From a target to a proven program: observe, propose, refute, and propose again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from distill.entries import Entry, best_entry, code_length, front, real_code_length
from distill.exceptional_words import with_observed, with_words
from distill.exceptions import Exceptions, with_exceptions
from distill.measuring import (
    distances,
    measured,
    measuring_time,
    with_fractions,
    with_front_fractions,
)
from distill.observation import observed, observed_data
from distill.state import Report, Search
from dsl import types as t
from dsl.agreement import agreeing
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
from dsl.errors import DistillError
from dsl.limits import Whole
from dsl.parser import equal_programs, parse
from dsl.printer import to_python
from dsl.program import Program, size
from dsl.tidying import tidied
from synth.problem import DataSet, Proposer, observe
from synth.proposers import proposers
from verify import lengths, sampling
from verify.methods import methods

_SHORT, _LONG = 15, 60
_AGREEMENT = 5.0
_ROUNDS = 8
_EXCEPTIONS = 40
_RESERVED, _TABLE = 0.3, 0.15
_LAWS = 4
_WORTH = 0.9
_LONGER, _MUCH_LONGER = 0.1, 0.3


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

    Takes no longer than `seconds` and a part of what may be late (`durations.tolerance`), but for
    single calls into libraries; an interrupt ends it early with the best so far.
    """
    started = time.monotonic()
    report = whole(report)
    kept = measuring_time(target, seconds)
    search = Search(
        target, started + seconds - kept, seed, report, started=started, end=started + seconds
    )
    report("observing", {})
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
    report("observed", {"inputs": search.count, "complete": search.complete})
    if any(True for _, propose in _tables(only) for _ in propose(search.problem(1.0))):
        search.reserved = max(search.reserved, _TABLE * seconds)
    try:
        for given in start_from:
            consider(search, given)
        for name, propose in proposers(only):
            if finished(search) and search.entries:
                break
            report("proposer", {"name": name})
            known = len(search.entries)
            _run(search, propose, data)
            if len(search.entries) > known:
                with search.entering():
                    _except(search)
        _last_resort(search, only)
    except KeyboardInterrupt:
        report("interrupted", {})
        if not search.entries:
            raise
        return conclusion(search, unverified="interrupted")
    except MemoryError:
        report("memory", {})
        return conclusion(search, unverified="the memory that was given is spent")
    return conclusion(search, started + seconds)


def _tables(only: tuple[str, ...]) -> Iterator[tuple[str, Proposer]]:
    """The table of all values, where it is asked for."""
    return proposers(("table",)) if not only or "table" in only else iter(())


def _last_resort(search: Search, only: tuple[str, ...]) -> None:
    """The table of all values, in the time that was kept for it, where nothing else is proved."""
    search.reserved = 0.0
    if search.proved is not None or (finished(search) and search.entries):
        return
    for name, propose in _tables(only):
        for hypothesis in propose(search.problem(1.0)):
            search.report("proposer", {"name": name})
            consider(search, hypothesis)


def whole(report: Report) -> Report:
    """A report that is never cut: what it writes is whole."""

    def written(phase: str, figures: Mapping[str, Any]) -> None:
        with Whole():
            report(phase, figures)

    return written


def search_target(target: Target, **options: Any) -> Iterator[Entry]:
    """The hypotheses of `compile_target`, best first."""
    yield from compile_target(target, **options).front


def finished(search: Search) -> bool:
    """Is the time up, or is there a proved program with little left to gain?"""
    return time.monotonic() >= _ending(search)


def _ending(search: Search) -> float:
    """When the search ends as things stand: the longer a proved program is, the longer goes the
    search for a shorter one."""
    if search.proved is None:
        return search.until
    if search.proved.size <= _SHORT:
        return search.proved_at
    share = _LONGER if search.proved.size <= _LONG else _MUCH_LONGER
    spent = search.proved_at - search.started
    more = max(5.0, spent, share * (search.until - search.started))
    return min(search.until, search.proved_at + more)


def _run(search: Search, propose: Any, data: DataSet | None) -> None:
    """One proposer, again and again while counterexamples tell it something new."""
    for _ in range(_ROUNDS):
        known = len(search.counterexamples)
        problem = replace(search.problem(0.6), data=data)
        problem = replace(problem, deadline=min(problem.deadline, _ending(search)))
        hypotheses = iter(propose(problem))
        while (hypothesis := search.following(hypotheses, problem)) is not None:
            search.tried += hypothesis.tried
            plain = tidied(hypothesis.program, search.target.domain)
            consider(search, replace(hypothesis, program=plain))
            if finished(search) or time.monotonic() > problem.deadline:
                break
        if finished(search) or len(search.counterexamples) == known:
            return


def consider(search: Search, hypothesis: Hypothesis) -> None:
    """Measures a hypothesis, on its text as it would be written, and verifies it if it agrees;
    forgets one for which there is no time."""
    with search.entering():
        _entered(search, hypothesis)


def _entered(search: Search, hypothesis: Hypothesis) -> None:
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
    held = hypothesis.evidence.get("held", ())
    named = sum(len(value) - 1 for name, value in program.constants if name in held)
    entry = Entry(hypothesis, nodes, wrong / total, 0.0, named=named)
    if search.target.claim.decode.rule == "value":
        error, deviation = distances(program, search)
        bits = real_code_length(nodes, error, search.target.claim.decode.tolerance)
        entry = replace(entry, bits=bits, deviation=deviation)
    else:
        bits = code_length(nodes, wrong, total, search.outcomes, sampled=not search.complete)
        entry = replace(entry, bits=bits)
    if 0 < wrong <= _EXCEPTIONS and search.complete:
        joined = with_exceptions(search.target, search.observations, program)
        whole = joined.program if joined is not None else None
        whole = whole or with_observed(program, search.target, search.observations)
        if whole is not None:
            _entered(search, replace(hypothesis, program=whole))
    if wrong == 0 and (search.proved is None or nodes < search.proved.size):
        entry = replace(entry, verdict=_verified(search, hypothesis))
    search.entries.append(entry)
    if isinstance(entry.verdict, Proved):
        search.proved, search.proved_at = entry, time.monotonic()
    if isinstance(entry.verdict, Refuted):
        patched = with_words(program, search.target, entry.verdict)
        if patched is not None:
            _entered(search, replace(hypothesis, program=patched))
    best = best_entry(search.entries)
    search.report(
        "hypothesis",
        {"entry": entry, "best": best, "tried": search.tried, "front": front(search.entries)},
    )


def _verified(search: Search, hypothesis: Hypothesis) -> Verdict:
    """The verdict of the first method that applies; a counterexample is remembered."""
    with search.deciding() as limit:
        verdict = _decided(search, hypothesis)
    return Unknown("time is up") if limit.passed else verdict


def _decided(search: Search, hypothesis: Hypothesis) -> Verdict:
    target, program = search.target, hypothesis.program
    verdict: Verdict | None = None
    quick = _quick_refutation(search, program)
    if quick is not None:
        verdict = quick
    else:
        undecided: Verdict | None = None
        for name, method in methods():
            search.report("verify", {"method": name})
            with search.proving() as limit:
                verdict = method(
                    program,
                    target,
                    deadline=search.deadline,
                    seed=search.seed,
                    evidence=hypothesis.evidence,
                )
            if limit.passed:
                undecided, verdict = undecided or Unknown("time is up"), None
                break
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
    search.report("concluding", {})
    best = best_entry(search.entries)
    exceptions = search.exceptions
    if exceptions is not None and best.program != exceptions.program:
        exceptions = None
    if best.verdict is None and unverified:
        best = replace(best, verdict=Unknown(unverified))
    if best.verdict is None:
        with search.closing() as limit:
            best = replace(best, verdict=measured(search, best, deadline))
        if limit.passed:
            best = replace(best, verdict=Unknown("time is up"))
    shown = front(search.entries)
    if not unverified:
        # Most of the time is for the best; the rest of the front shows what size buys.
        with search.closing():
            until = time.monotonic() + 0.6 * max(0.0, deadline - time.monotonic())
            assert best.verdict is not None
            best = replace(best, verdict=with_fractions(search, best, best.verdict, until))
            shown = with_front_fractions(search, shown, best, deadline)
        with search.closing():
            best = with_agreement(search, best)
    assert best.verdict is not None
    return Result(
        search.target,
        best,
        shown,
        best.verdict,
        time.monotonic() - search.started,
        search.tried,
        search.count,
        search.complete,
        exceptions=exceptions,
    )


def with_agreement(search: Search, best: Entry) -> Entry:
    """A refuted program with the length up to which it is right all the same."""
    verdict = best.verdict
    if not isinstance(verdict, Refuted):
        return best
    now = time.monotonic()
    until = max(search.end, min(now + _AGREEMENT, 0.5 * (now + search.closing().until)))
    table = lengths.agreement(best.program, search.target, deadline=until, seed=search.seed)
    return replace(best, verdict=replace(verdict, evidence={**verdict.evidence, **table}))


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
        if joined is not None and joined.listed_bits < min(limit, _WORTH * joined.plain_bits):
            found.append((joined, law))
    for joined, law in sorted(found, key=lambda pair: pair[0].listed_bits)[:1]:
        program = parse(to_python(joined.program))
        hypothesis = replace(law.hypothesis, program=program)
        verdict = _verified(search, hypothesis)
        if isinstance(verdict, Proved):
            entry = Entry(hypothesis, size(program), 0.0, joined.listed_bits, verdict)
            search.entries.append(entry)
            search.exceptions = replace(joined, program=program)
            search.report("exceptions", {"law": law, "count": len(joined.table)})
