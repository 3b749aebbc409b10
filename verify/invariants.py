"""Proof for words of any length, or for all words up to a length, and the shortest word beyond.

First regions of hidden space are looked for that the network's step never leaves; they prove the
claim whatever the length.  Where there are none, words are followed as far as the enclosures carry.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsl.agreement import agreeing, counterexample
from dsl.claim import Proved, Refuted, Target, Unknown, Verdict
from dsl.errors import DistillError
from dsl.primitives.base import Undefined
from dsl.program import Program
from dsl.types import Seq
from verify.recurrent.claims import LENGTHS, Comparison, comparison
from verify.recurrent.covers import covered
from verify.recurrent.enclosures import ROUNDING, Unbounded
from verify.recurrent.induction import QUICK, THOROUGH, Regions, Setting, found, from_evidence
from verify.recurrent.induction import recheck as holds
from verify.recurrent.pumping import long_difference
from verify.sequences import furthest, not_covered, refutation, wrong_answer

LONGEST = 400
"""Words are followed to this length where no regions are found."""
_REGIONS, _QUICK, _COVERS = 0.7, 0.25, 0.75
"""Of the time, for regions; of that, for few without parts; of the rest, for covers."""
_WORTH = 12
_SHORT = 7
_FEW = 1024
_LONG = (64, 257, 1031)
_LONG_WORDS = 32


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proves or refutes a machine on words without an upper bound of their length; None for other
    claims, and where less is proved than by running all short words."""
    compared = comparison(program, target)
    if compared is None or compared.longest is not None or compared.exceptions:
        return None
    setting = setting_of(compared, target)
    now = time.monotonic()
    reasons: list[str] = []
    try:
        wrong = wrong_answer(program, target, compared)
        if wrong is not None:
            return wrong
        if evidence.get("kind") == "invariant" and holds(evidence, setting):
            return _proved(program, target, compared, seed, dict(evidence))
        share = 0.1 if compared.answers else _REGIONS
        until = now + share * (deadline - now)
        regions = _regions(setting, seed, until, reasons)
        if regions is not None:
            table = regions.evidence()
            if holds(table, setting):
                return _proved(program, target, compared, seed, table)
        return _as_far_as_it_goes(program, target, compared, seed, deadline, reasons)
    except Unbounded as reason:
        return Unknown(f"no enclosures of {reason}")
    except Undefined as undefined:
        return Unknown(f"the program has no value on some words: {undefined.reason}")


def _regions(setting: Setting, seed: int, deadline: float, reasons: list[str]) -> Regions | None:
    """The cheapest methods first."""
    begun = time.monotonic()
    early = begun + _QUICK * (deadline - begun)
    quick = found(setting, QUICK, seed=seed, last_start=early, deadline=deadline, reasons=reasons)
    if quick is not None:
        return quick
    now = time.monotonic()
    middle = now + _COVERS * (deadline - now)
    cover = covered(setting, seed=seed, deadline=middle, reasons=reasons)
    if cover is not None:
        return cover
    return found(
        setting, THOROUGH, seed=seed, last_start=deadline, deadline=deadline, reasons=reasons
    )


def recheck(
    evidence: Mapping[str, Any], program: Program, target: Target, *, deadline: float
) -> Verdict | None:
    """The verdict that the regions of an evidence support by themselves; None where they do not."""
    compared = comparison(program, target)
    if compared is None or compared.longest is not None or compared.exceptions:
        return None
    try:
        if wrong_answer(program, target, compared) is not None:
            return None
        if not holds(evidence, setting_of(compared, target)):
            return None
    except (Unbounded, Undefined):
        return None
    return _proved(program, target, compared, 7, dict(evidence))


def setting_of(compared: Comparison, target: Target) -> Setting:
    return Setting(
        compared.machine,
        compared.network,
        compared.alphabet,
        target.claim.decode,
        compared.shortest if compared.at_end else 1,
    )


def _proved(
    program: Program, target: Target, compared: Comparison, seed: int, table: dict[str, Any]
) -> Verdict:
    """Proved, unless short or long words show that the network is no such step for them: what it
    does with lengths at which it was not translated is only known from its runtime."""
    rng = np.random.default_rng(seed)
    size = len(compared.alphabet)
    for length in (*range(compared.shortest, _SHORT + 1), *_LONG):
        words = rng.integers(0, size, (_LONG_WORDS, length))
        if size**length <= _FEW:
            words = np.array(list(itertools.product(range(size), repeat=length)), np.int64)
        batch = compared.alphabet.words(words.reshape(-1, length))
        try:
            theirs = target.evaluate(batch)
        except (RuntimeError, ValueError, DistillError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Unknown(f"the runtime takes no words of {length} symbols: {reason}")
        same = agreeing(program, batch, theirs.values, target.claim.decode)
        for row in np.flatnonzero(~same | np.isnan(theirs.margins))[:4].tolist():
            example = counterexample(program, target, batch, row)
            if example is not None:
                return Refuted("invariants", example, int((~same).sum()))
        if not same.all():
            return Unknown(f"words of {length} symbols are near-ties of the runtime")
    arithmetic = (
        f"the network's step, the same at {LENGTHS} symbols, over words of any length, in "
        f"{ROUNDING}; {_LONG_WORDS} words each of {_LONG[0]}, {_LONG[1]} and {_LONG[2]} symbols "
        "as computed by the original runtime"
    )
    regions = from_evidence(table)
    table |= {"regions": len(regions.keys)}
    return Proved("invariants", str(target.domain), arithmetic, table)


def _as_far_as_it_goes(
    program: Program,
    target: Target,
    compared: Comparison,
    seed: int,
    deadline: float,
    reasons: list[str],
) -> Verdict | None:
    further = long_difference(program, target, compared, seed=seed, deadline=deadline)
    until = time.monotonic() + 0.8 * max(0.0, deadline - time.monotonic())
    outcome = furthest(program, target, compared, seed, until, LONGEST)
    evidence = {
        "kind": "sequences",
        "proven_to_length": outcome.exploration.proven,
        "doubtful_words": outcome.checked,
        "no_invariant": reasons[-3:],
        "stopped": outcome.exploration.reason,
    }
    left = not_covered(outcome.wrong or [], compared)
    if left:
        verdict = refutation(program, target, compared, left, evidence)
        if isinstance(verdict, Refuted):
            return verdict
    if outcome.exploration.proven < _WORTH:
        return None
    if further is not None:
        word = {name: list(value) for name, value in further.inputs.items()}
        length = min(map(len, word.values()))
        evidence |= {
            "differs": {"length": length, "inputs": word},
            "stopped": f"the network answers a word of {length} symbols otherwise",
        }
    arithmetic = f"{ROUNDING}; doubtful words as computed by the original runtime"
    domain = up_to(target, outcome.exploration.proven)
    return Proved("invariants", domain, arithmetic, evidence)


def up_to(target: Target, length: int) -> str:
    """The domain cut off at a length, as text."""
    fields = []
    for name, kind in target.domain.fields:
        assert isinstance(kind, Seq)
        fields.append(f"{name}: {Seq(kind.item, kind.low, max(length, kind.low))}")
    return ", ".join(fields)
