"""Proof by enumeration, length by length, where the whole domain is out of reach.

All inputs up to some length are compared, those of a closed loop found by walking through what the
network itself allows.  What is proved is the claim on these lengths, and it is said so:
`proven_domain` is narrower than the domain.  Where few inputs disagree, enumeration goes on and
lists them as exceptions.  Longer inputs are sampled, and may refute.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl import types as t
from dsl.agreement import counterexample
from dsl.claim import Counterexample, Evaluation, Proved, Refuted, Target, Tested, Unknown, Verdict
from dsl.domain import Domain, Shape
from dsl.forcing import is_causal
from dsl.program import Program
from dsl.reachable import evenly, levels, loop_sequence
from verify import sampling
from verify.enumeration import (
    MOST,
    Ledger,
    conclusion,
    ledger_evidence,
    measured_noise,
    note,
    tally,
)

_SHARE = 0.4
_BEYOND = 20_000
_LEVEL = 2_000_000
_FEW = 0.02
_LISTED = 20
_EVENLY, _DRAWN = 10_000, 512


@dataclass(frozen=True)
class Reach:
    """How far the enumeration went: all lengths up to `longest` were compared in full."""

    ledger: Ledger
    longest: int
    whole: bool
    noise: float
    clean: int = -1  # all inputs up to this length agree


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proved up to a length, Refuted or Unknown; None where there is no sequence whose length
    varies, or where plain enumeration reaches everything."""
    kind = _varying(target)
    if kind is None:
        return None
    wanted = evidence.get("longest") if evidence.get("kind") == "lengths" else None
    limit = deadline if wanted else time.monotonic() + _SHARE * (deadline - time.monotonic())
    reach = _compared(program, target, limit, seed, wanted)
    if isinstance(reach, Unknown):
        return reach
    table = ledger_evidence(reach.ledger, reach.noise)
    table |= {"kind": "lengths", "longest": reach.longest, "whole": reach.whole}
    if reach.ledger.wrong:
        table["exceptions"] = exceptions(program, target, reach.ledger)
    short = reach.longest < kind.low or (wanted is not None and reach.longest < wanted)
    if short and not reach.ledger.wrong:
        return Unknown("time is up before all inputs of the shortest lengths were compared")
    verdict = conclusion(reach.ledger, program, target, "lengths", table)
    if not isinstance(verdict, Proved):
        return verdict
    verdict = replace(verdict, proven_domain=narrowed(target, reach.longest))
    if reach.whole:
        return verdict
    beyond = sampling.verify(
        program,
        target,
        deadline=min(deadline, time.monotonic() + 30),
        seed=seed + 2,
        evidence={},
        samples=_BEYOND,
    )
    if isinstance(beyond, Refuted):
        return beyond
    if isinstance(beyond, Tested):
        table = {"samples": beyond.samples, "bound": beyond.bound}
        verdict = replace(verdict, evidence={**verdict.evidence, "beyond": table})
    longer = _longer(program, target, reach.longest, _until(deadline, 20), seed)
    if longer.first is not None:
        evidence = {"agrees_up_to_length": reach.longest, "beyond": longer.table}
        share = longer.table["disagreements"] / longer.table["samples"]
        return Refuted("lengths", longer.first, longer.table["disagreements"], share, evidence)
    if longer.table:
        verdict = replace(verdict, evidence={**verdict.evidence, "longer": longer.table})
    return verdict


def _until(deadline: float, seconds: float) -> float:
    return min(deadline, time.monotonic() + seconds)


@dataclass(frozen=True)
class Longer:
    """What random inputs beyond a length showed, all lengths alike: the first disagreement in the
    original runtime, and how many there were at which lengths."""

    first: Counterexample | None
    table: dict[str, Any]


def _longer(program: Program, target: Target, longest: int, deadline: float, seed: int) -> Longer:
    rng = np.random.default_rng([seed, 0x10E6])
    forcing = target.claim.feedback is not None and is_causal(target, rng)
    asked: Counter[int] = Counter()
    found: Counter[int] = Counter()
    listed: list[tuple[dict[str, np.ndarray], int]] = []
    _, kind = loop_sequence(target.domain)
    if kind.high is not None and longest >= kind.high:
        return Longer(None, {})
    while asked.total() < _EVENLY and time.monotonic() < deadline:
        before = asked.total()
        # The lengths in the order in which they were drawn would stop at the short ones.
        batches = evenly(target, _DRAWN, longest, rng)
        for k in rng.permutation(len(batches)):
            same = sampling.matching(program, target, batches[k], forcing)
            wrong = np.flatnonzero(~same)
            length = next(iter(batches[k].values())).shape[1]
            asked[length] += len(same)
            if len(wrong):
                found[length] += len(wrong)
                listed += [(batches[k], int(row)) for row in wrong[:2]]
            if time.monotonic() > deadline:
                break
        if asked.total() == before:
            break
    seen, wrong_count = asked.total(), found.total()
    if seen == 0:
        return Longer(None, {})
    examples = (counterexample(program, target, *where) for where in listed[:_LISTED])
    table: dict[str, Any] = {
        "longer_than": longest,
        "samples": seen,
        "disagreements": wrong_count,
        "bound": sampling.upper_bound(wrong_count, seen),
        "lengths": {str(length): found[length] for length in sorted(found)},
        "nearly_all": nearly_all(asked, found),
    }
    return Longer(next((e for e in examples if e is not None), None), table)


def nearly_all(asked: Mapping[int, int], wrong: Mapping[int, int]) -> dict[str, int]:
    """The greatest length up to which at most one input of a thousand disagrees, how many of them
    were asked for and how many disagree; empty where there is none."""
    found: dict[str, int] = {}
    samples = disagreements = 0
    for length in sorted(asked):
        samples, disagreements = samples + asked[length], disagreements + wrong.get(length, 0)
        if 1000 * disagreements <= samples:
            found = {"length": length, "samples": samples, "disagreements": disagreements}
    return found


def agreement(program: Program, target: Target, *, deadline: float, seed: int) -> dict[str, Any]:
    """For a program that is wrong somewhere: up to which length it is right on all inputs, and
    how many they are, and on how many of the longer ones, all lengths alike; empty where the
    target has no sequence of varying length."""
    if _varying(target) is None or time.monotonic() > deadline:
        return {}
    started = time.monotonic()
    reach = _compared(program, target, started + 0.6 * (deadline - started), seed, None)
    if isinstance(reach, Unknown) or reach.clean < 0:
        return {}
    table: dict[str, Any] = {"agrees_up_to_length": reach.clean}
    if reach.ledger.wrong:
        table["exceptions"] = exceptions(program, target, reach.ledger)
    else:
        table["inputs_compared"] = reach.ledger.inputs
    longer = _longer(program, target, reach.clean, deadline, seed)
    if longer.table:
        table["beyond"] = longer.table
    return table


def exceptions(program: Program, target: Target, ledger: Ledger) -> list[dict[str, Any]]:
    """The first inputs on which the network departs from the program, with both values: where
    there are few of them, the program is the clean rule that the network follows but for these."""
    found = []
    for batch, row in ledger.found[:_LISTED]:
        example = counterexample(program, target, batch, row)
        if example is not None:
            found.append(
                {
                    "inputs": dict(example.inputs),
                    "program": example.program_value,
                    "network": example.network_value,
                }
            )
    return found


def narrowed(target: Target, longest: int) -> str:
    """The domain's text with the proven lengths, and what else restricts it."""
    name, kind = next((n, k) for n, k in target.domain.fields if isinstance(k, t.Seq))
    if kind.high is not None and longest >= kind.high:
        text = str(target.domain)
    else:
        text = str(target.domain.restricted(f"len({name}) <= {longest}"))
    return f"{text} (closed loop)" if target.claim.closed_loop else text


def _varying(target: Target) -> t.Seq | None:
    """The one sequence of the domain, where enumeration needs to go by length."""
    domain = target.domain
    kinds = [kind for _, kind in domain.fields if isinstance(kind, t.Seq)]
    if len(kinds) != 1 or len(domain.fields) != 1 or kinds[0].low == kinds[0].high:
        return None
    size = domain.raw_size
    if not target.claim.closed_loop and size is not None and size <= MOST:
        return None
    return kinds[0]


def _compared(
    program: Program, target: Target, deadline: float, seed: int, wanted: int | None
) -> Reach | Unknown:
    noise = measured_noise(target, seed)
    ledger = Ledger()
    complete, longest, clean = _copy(ledger), -1, -1
    source = _walked(target) if target.claim.closed_loop else _by_length(target.domain)
    for length, batches in source:
        if wanted is not None and length > wanted:
            return Reach(complete, longest, False, noise, clean)
        before, started = ledger.inputs, time.monotonic()
        for batch, shared in batches:
            if time.monotonic() > deadline:
                return Reach(ledger if ledger.wrong else complete, longest, False, noise, clean)
            seen = tally(program, target, batch, noise, shared=shared)
            if seen.broken:
                return Unknown("the network gives values that are not finite")
            note(ledger, target.domain, seen, functools.partial(_same, batch))
        if ledger.wrong > _FEW * ledger.inputs:
            return Reach(ledger, length, False, noise, clean)
        complete, longest = _copy(ledger), length
        clean = clean if ledger.wrong else length
        growth = (ledger.inputs - before) / max(before, 1)
        likely = (time.monotonic() - started) * max(growth, 1.0) * 1.2
        if wanted is None and (time.monotonic() + likely > deadline or ledger.inputs > MOST):
            return Reach(complete, longest, _is_last(target, longest), noise, clean)
    return Reach(complete, longest, _is_last(target, longest), noise, clean)


def _same(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return batch


def _copy(ledger: Ledger) -> Ledger:
    """The ledger as it stands at the end of a length."""
    return replace(
        ledger,
        digest=ledger.digest.copy(),
        near=list(ledger.near),
        unsettled=list(ledger.unsettled),
    )


def _is_last(target: Target, length: int) -> bool:
    _, kind = loop_sequence(target.domain)
    return kind.high is not None and length >= kind.high


_Batches = Iterator[tuple[dict[str, np.ndarray], Evaluation | None]]
"""Inputs, and what the network answers where that is known from walking to them."""


def _walked(target: Target) -> Iterator[tuple[int, _Batches]]:
    name, _ = loop_sequence(target.domain)
    for length, blocks in levels(target, _LEVEL):
        yield (
            length,
            (({name: words.items}, words.evaluation) for words in blocks),
        )


def _by_length(domain: Domain) -> Iterator[tuple[int, _Batches]]:
    name, kind = loop_sequence(domain)
    length = kind.low
    while kind.high is None or length <= kind.high:
        shape = Shape(((name, length),))
        if (domain.shape_size(shape) or MOST + 1) > MOST:
            return
        yield length, ((batch, None) for batch in domain.batches(shapes=(shape,)))
        length += 1
