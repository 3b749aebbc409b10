"""From a target to a proven program: observe, propose, refute, and propose again."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from distill.exceptions import with_words
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
from dsl.parser import equal_programs, parse
from dsl.printer import to_python
from dsl.program import Call, Constant, Expr, Literal, Program, Variable, size
from dsl.reachable import sample, structured
from synth.problem import Observations, Problem, observe
from synth.proposers import proposers
from verify import sampling
from verify.methods import methods

Report = Callable[[str, Mapping[str, Any]], None]
"""Called with a phase and its figures, for progress displays and journals."""

COMPLETE_ENTRIES = 3_000_000
"""Domains whose inputs and outputs have at most this many entries are observed in full."""
_SAMPLE = 20_000
_SHORT = 15
_ROUNDS = 8
_EXCEPTIONS = 40


@dataclass(frozen=True)
class Entry:
    """A hypothesis with its size in nodes and how often it disagrees with what was observed."""

    hypothesis: Hypothesis
    size: int
    disagreement: float
    bits: float
    verdict: Verdict | None = None

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

    def problem(self, share: float) -> Problem:
        left = self.deadline - time.monotonic()
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
    data: Mapping[str, Any] | None = None,
) -> Result:
    """The smallest program that is proved equal to the target; else the best that was found.

    Never takes much longer than `seconds`; an interrupt ends it early with the best so far.
    """
    started = time.monotonic()
    search = Search(target, started + seconds, seed, report, started=started)
    search.observations, search.complete = observed(target, seed, started + 0.25 * seconds)
    if not search.observations or not sum(len(o) for o in search.observations):
        raise DistillError(
            "D112",
            f"no input satisfies `{target.domain}`",
            remedy="relax the condition after `where`",
        )
    report("observed", {"inputs": _count(search), "complete": search.complete})
    try:
        for given in start_from:
            consider(search, given)
        for name, propose in proposers(only):
            if finished(search):
                break
            report("proposer", {"name": name})
            _run(search, propose, data or {})
    except KeyboardInterrupt:
        report("interrupted", {})
    return conclusion(search)


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
    if small and not target.claim.closed_loop:
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
    for share in (512, count - 512):
        if share <= 0 or (result and time.monotonic() > deadline):
            continue
        batches = sample(target, share, rng)
        if not target.claim.closed_loop and target.claim.feedback is None:
            batches += structured(domain, share // 4, rng)
        for batch in batches:
            result += observe(target, [batch])
            if time.monotonic() > deadline:
                break
    return tuple(result), False


def finished(search: Search) -> bool:
    """Is the time up, or is there a proved program with little left to gain?"""
    now = time.monotonic()
    if now >= search.deadline:
        return True
    if search.proved is None:
        return False
    spent = search.proved_at - search.started
    if search.proved.size <= _SHORT:
        return True
    return now - search.proved_at > max(5.0, spent)


def _run(search: Search, propose: Any, data: Mapping[str, Any]) -> None:
    """One proposer, again and again while counterexamples tell it something new."""
    for _ in range(_ROUNDS):
        known = len(search.counterexamples)
        problem = replace(search.problem(0.6), data=dict(data))
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
    bits = code_length(nodes, wrong, total, _outcomes(search))
    entry = Entry(hypothesis, nodes, wrong / total, bits)
    if 0 < wrong <= _EXCEPTIONS and search.complete:
        patched = with_exceptions(search, program)
        if patched is not None:
            consider(search, replace(hypothesis, program=patched))
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


def with_exceptions(search: Search, program: Program) -> Program | None:
    """The program with the inputs on which it is wrong looked up in a table; None where inputs
    cannot be keys."""
    names = search.target.domain.names
    table: dict[Any, Any] = {}
    for o in search.observations:
        if o.values.ndim != 1 or any(o.inputs[name].ndim != 1 for name in names):
            return None
        same = agreeing(program, o.inputs, o.values, search.target.claim.decode)
        for row in np.flatnonzero(~same):
            key = tuple(o.inputs[name][row].item() for name in names)
            table[key if len(key) > 1 else key[0]] = o.values[row : row + 1].tolist()[0]
    if program.body or any(isinstance(value, list) for value in table.values()):
        return None
    variables = tuple(Variable(name) for name in names)
    key_expr: Expr = Call("tuple", variables) if len(names) > 1 else variables[0]
    if len(table) == 1:
        ((key, value),) = table.items()
        parts = key if isinstance(key, tuple) else (key,)
        tests = [Call("eq", (v, Literal(k))) for v, k in zip(variables, parts, strict=True)]
        test = functools.reduce(lambda a, b: Call("and", (a, b)), tests)
        return replace(program, result=Call("ite", (test, Literal(value), program.result)))
    return replace(
        program,
        result=Call("get", (Constant("EXCEPTIONS"), key_expr, program.result)),
        constants=(*program.constants, ("EXCEPTIONS", table)),
    )


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
    search.observations = (*search.observations, *observe(search.target, [batch]))


def conclusion(search: Search) -> Result:
    """The result of a search as it stands; verifies the best if nobody has."""
    if not search.entries:
        raise DistillError(
            "D301",
            "no hypothesis was found in the time given",
            remedy="give more time with --time",
            exit_code=3,
        )
    best = best_entry(search.entries)
    if best.verdict is None:
        verdict = sampling.verify(
            best.program,
            search.target,
            deadline=time.monotonic() + 2,
            seed=search.seed + 1,
            evidence={},
            samples=20_000,
        )
        best = replace(best, verdict=verdict or Unknown("not verified"))
    assert best.verdict is not None
    return Result(
        search.target,
        best,
        front(search.entries),
        best.verdict,
        time.monotonic() - search.started,
        search.tried,
        _count(search),
        search.complete,
    )


_RANK = {Proved: 0, Tested: 1, Unknown: 2, Refuted: 3}


def best_entry(entries: list[Entry]) -> Entry:
    """The smallest proved program; else the smallest of those without known disagreement; else
    the one of least code length."""

    def key(entry: Entry) -> tuple[float, ...]:
        rank = 3 if entry.verdict is None else _RANK[type(entry.verdict)]
        return (rank, entry.bits, entry.size)

    return min(entries, key=key)


def front(entries: list[Entry]) -> tuple[Entry, ...]:
    """The entries that no other beats in both size and disagreement, the smallest first."""
    ordered = sorted(entries, key=lambda e: (e.size, e.disagreement))
    kept: list[Entry] = []
    for entry in ordered:
        refuted = isinstance(entry.verdict, Refuted)
        wrong = max(entry.disagreement, 1e-12) if refuted else entry.disagreement
        if not kept or wrong < kept[-1].disagreement:
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


def _outcomes(search: Search) -> int:
    first = search.observations[0].values
    return int(min(len(np.unique(first.reshape(len(first), -1)[:2000])), 1000))


def _count(search: Search) -> int:
    return sum(len(observations) for observations in search.observations)
