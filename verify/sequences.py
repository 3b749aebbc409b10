"""Proof for programs that read sequences beside recurrent networks.

All pairs of a program state and a region of hidden space that words of the domain lead to are
carried along, symbol by symbol; the enclosures allow for every rounding of the runtime.  Where
they leave a doubt, the words that lead there are run in the original runtime.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl.agreement import agreeing, counterexample, equal_rows
from dsl.claim import Counterexample, Evaluation, Proved, Refuted, Target, Unknown, Verdict
from dsl.domain import single
from dsl.evaluate import run_defined
from dsl.primitives.base import Undefined
from dsl.program import Program
from verify.enumeration import measured_noise
from verify.recurrent.boxes import Unsupported, Words, proved
from verify.recurrent.claims import Comparison, comparison, packs_items, step_of_forms
from verify.recurrent.enclosures import ROUNDING, Form, Unbounded
from verify.recurrent.exploration import Exploration, explore, suspect_words
from verify.recurrent.machines import distinct_rows
from verify.recurrent.patches import Beginning
from verify.recurrent.regions import Basis, basis_of, residual_basis

PAIRS = 4_000_000
"""More pairs than this in one level are not looked at."""
WORDS = 400_000
"""At most so many doubtful words are run in the original runtime."""
SYMBOLS = 4_000_000
"""At most so many symbols in all."""
_LISTED = 2000
_MANY = 8
_BOXES = 20_000
_REFINED = 9
_ALONE = 2000


@dataclass(frozen=True, slots=True)
class Attempt:
    """A basis and the width of the grid's cells in it."""

    basis: Basis
    grid: float


@dataclass
class Outcome:
    """The furthest exploration, and what the original runtime said of the doubtful words."""

    exploration: Exploration
    attempt: Attempt
    checked: int = 0
    wrong: list[dict[str, np.ndarray]] | None = None


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proves or refutes a machine on all words of a bounded length; None for other claims."""
    found = comparison(program, target)
    if found is None or found.longest is None:
        return None
    short = _short_words(program, target, found)
    if short is not None:
        return short
    now = time.monotonic()
    until = min(deadline, now + max(5.0, 0.6 * (deadline - now)))
    try:
        boxed = _boxed(target, found, min(until, now + 5.0 + 0.2 * (until - now)))
        if boxed is not None:
            return boxed
        outcome = _explored(program, target, found, seed, until, found.longest, evidence)
    except Unbounded as reason:
        return Unknown(f"no enclosures of {reason}")
    except Undefined as undefined:
        return Unknown(f"the program has no value on some words: {undefined.reason}")
    return _verdict(program, target, found, outcome)


def _short_words(program: Program, target: Target, found: Comparison) -> Verdict | None:
    """Words of less than two symbols, one by one."""
    for length in range(found.shortest, min(2, (found.longest or 1) + 1)):
        count = len(found.alphabet) if length else 1
        batch = found.alphabet.words(np.arange(count)[:, None][:, :length])
        theirs = target.evaluate(batch)
        same = agreeing(program, batch, theirs.values, target.claim.decode)
        same = same & ~np.isnan(theirs.margins)
        for row in np.flatnonzero(~same)[:4]:
            example = counterexample(program, target, batch, int(row))
            if example is not None:
                return Refuted("sequences", example, int((~same).sum()))
        if not same.all():
            return Unknown("words of a single symbol are near-ties of the runtime")
    return None


def _boxed(target: Target, found: Comparison, deadline: float) -> Proved | None:
    """A proof by affine forms over whole words, where items are numbers and there are many."""
    alphabet, rule = found.alphabet, target.claim.decode.rule
    if rule not in ("round", "value") or len(alphabet) < _MANY or found.exceptions or found.answers:
        return None
    if found.longest is None or not packs_items(found.rolled, target, alphabet):
        return None
    step, boxes, slack = step_of_forms(found.rolled), 0, float("inf")
    lows = tuple(int(column.min()) for column in alphabet.symbols)
    highs = tuple(int(column.max()) for column in alphabet.symbols)
    lengths = range(max(found.shortest, 1), found.longest + 1) if found.at_end else [found.longest]
    for length in lengths:
        try:
            result = proved(
                found.machine,
                step,
                found.network.start,
                found.network.uncertainty,
                Words(length, lows, highs),
                target.claim.decode,
                at_end=found.at_end,
                most=_BOXES,
                deadline=deadline,
            )
        except Unsupported:
            return None
        if result is None:
            return None
        boxes, slack = boxes + result[0], min(slack, result[1])
    evidence = {"kind": "sequences", "boxes": boxes, "smallest_slack": slack}
    return Proved("sequences", str(target.domain), ROUNDING, evidence)


def _explored(
    program: Program,
    target: Target,
    found: Comparison,
    seed: int,
    deadline: float,
    steps: int,
    evidence: Mapping[str, Any],
) -> Outcome:
    """The first attempt that decides everything, or the one that went furthest."""
    best: Outcome | None = None
    for attempt in attempts(found, seed, evidence):
        exploration = explore(
            found.machine,
            found.network,
            found.alphabet,
            target.claim.decode,
            attempt.basis,
            steps=steps,
            asked=found.asked,
            grid=attempt.grid,
            most=PAIRS,
            suspects=min(WORDS, SYMBOLS // steps),
            deadline=deadline,
        )
        outcome = Outcome(exploration, attempt)
        if exploration.proven == steps:
            outcome.checked, outcome.wrong = _asked_of_runtime(
                program, target, found, exploration, deadline
            )
            return outcome
        if best is None or exploration.proven > best.exploration.proven:
            best = outcome
        if time.monotonic() > deadline:
            break
    assert best is not None
    return best


def furthest(
    program: Program, target: Target, found: Comparison, seed: int, deadline: float, steps: int
) -> Outcome:
    """The exploration that goes furthest, with what the runtime says of the doubtful words in it
    and of some of those at which it ended."""
    outcome = _explored(program, target, found, seed, deadline, steps, {})
    if outcome.wrong is None:
        outcome.checked, outcome.wrong = _asked_of_runtime(
            program, target, found, outcome.exploration, deadline
        )
    return outcome


def refutation(
    program: Program,
    target: Target,
    found: Comparison,
    wrong: list[dict[str, np.ndarray]],
    evidence: dict[str, Any],
) -> Verdict:
    """Refuted by the shortest of the words that can be replayed; Unknown if none can."""
    ordered = sorted(wrong, key=lambda word: len(next(iter(word.values()))))
    return _refuted(program, target, found, ordered, evidence)


def attempts(found: Comparison, seed: int, evidence: Mapping[str, Any]) -> Iterator[Attempt]:
    """Bases and grids, coarse ones first; those of a certificate before all others."""
    recorded = evidence.get("basis")
    if recorded is not None:
        basis = basis_of(np.array(recorded, np.float64))
        if basis is not None and len(basis.vectors) == len(found.network.start):
            yield Attempt(basis, float(evidence.get("grid", np.inf)))
    kinds, hidden = observed_states(found, seed)
    bases = [basis_of(residual_basis(kinds, hidden)), basis_of(np.eye(hidden.shape[1]))]
    for level in range(_REFINED + 1):
        for basis in bases:
            if basis is None:
                continue
            spread = float((hidden @ basis.inverse.T).std(axis=0).max(initial=0.0))
            if level == 0:
                yield Attempt(basis, np.inf)
            elif spread > 0:
                yield Attempt(basis, 4 * spread * 4.0**-level)


def observed_states(
    found: Comparison, seed: int, *, words: int = 400, length: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """The program states (by number) and hidden states of random words."""
    rng = np.random.default_rng(seed)
    machine, network, alphabet = found.machine, found.network, found.alphabet
    steps = min(length, found.longest or length)
    chosen = rng.integers(0, len(alphabet), (words, steps))
    state = np.repeat(np.array([machine.first], np.int64).reshape(1, -1), words, axis=0)
    hidden = np.repeat(network.start[None], words, axis=0)
    states, clouds = [], []
    for t in range(steps):
        symbols = chosen[:, t]
        state, _ = machine.advance(state, tuple(c[symbols] for c in alphabet.symbols))
        nothing = np.zeros((words, 1, hidden.shape[1]))
        _, form = network.step(symbols, Form(hidden, nothing, np.zeros_like(hidden)))
        hidden = form.centre
        states.append(state)
        clouds.append(hidden)
    return distinct_rows(np.concatenate(states))[1], np.concatenate(clouds)


def _asked_of_runtime(
    program: Program,
    target: Target,
    found: Comparison,
    exploration: Exploration,
    deadline: float,
) -> tuple[int, list[dict[str, np.ndarray]]]:
    """How many doubtful words were run, and the words of the domain on which program and network
    differ there, one for each doubtful beginning."""
    wrong: list[dict[str, np.ndarray]] = []
    checked = 0
    base = found.base
    noise = measured_noise(target, 0)
    limit = min(WORDS, SYMBOLS // max(1, len(exploration.moves)))
    for words in suspect_words(exploration, limit):
        length = words.shape[1]
        whole = max(length, found.shortest)
        for begin in range(0, len(words), 1 << 14):
            part = words[begin : begin + (1 << 14)]
            fill = np.zeros((len(part), whole - length), np.int64)
            batch = found.alphabet.words(np.concatenate([part, fill], axis=1))
            checked += len(part)
            evaluation = target.evaluate(batch)
            theirs = evaluation.values
            ours, defined = run_defined(base, batch)
            if not found.at_end:
                theirs, ours = theirs[:, length - 1], ours[:, length - 1]
            alike = equal_rows(ours, theirs, target.claim.decode.tolerance)
            differ = ~alike | ~defined | np.isnan(evaluation.margins)
            differ |= _settled_otherwise(target, batch, evaluation, noise, deadline)
            wrong += [
                {name: column[row, :length] for name, column in batch.items()}
                for row in np.flatnonzero(differ)
            ]
    return checked, wrong


def _settled_otherwise(
    target: Target,
    batch: dict[str, np.ndarray],
    evaluation: Evaluation,
    noise: float,
    deadline: float,
) -> np.ndarray:
    """The rows decided within the runtime's noise that get another value when they are run alone;
    so do all that are too many to be asked, or for which there is no time."""
    result = np.zeros(len(evaluation.margins), bool)
    close = np.flatnonzero(evaluation.margins <= noise)
    result[close] = True
    for row in close[:_ALONE].tolist():
        if time.monotonic() > deadline:
            break
        single = {name: column[row : row + 1] for name, column in batch.items()}
        again = target.evaluate(single)
        same = equal_rows(again.values, evaluation.values[row : row + 1])[0]
        result[row] = not same or np.isnan(again.margins[0])
    return result


def _verdict(program: Program, target: Target, found: Comparison, outcome: Outcome) -> Verdict:
    exploration = outcome.exploration
    evidence = {
        "kind": "sequences",
        "basis": outcome.attempt.basis.vectors.tolist(),
        "grid": outcome.attempt.grid,
        "pairs": exploration.pairs,
        "widest_level": exploration.widest,
        "smallest_slack": exploration.margin,
        "doubtful_words": outcome.checked,
        "proven_to_length": exploration.proven,
    }
    if outcome.wrong is None:
        return Unknown(
            f"proven for words of up to {exploration.proven} symbols; then {exploration.reason}",
            evidence=evidence,
        )
    excepted = _exceptions_hold(program, target, found, outcome.wrong)
    if isinstance(excepted, Refuted):
        return excepted
    left = not_covered(outcome.wrong, found)
    if left:
        return _refuted(program, target, found, left, evidence)
    arithmetic = f"{ROUNDING}; doubtful words as computed by the original runtime"
    return Proved("sequences", str(target.domain), arithmetic, evidence)


def _exceptions_hold(
    program: Program, target: Target, found: Comparison, wrong: list[dict[str, np.ndarray]]
) -> Refuted | None:
    """A refutation if an exception of the program is none of the network."""
    answer = wrong_answer(program, target, found)
    if answer is not None:
        return answer
    for word in found.exceptions:
        if not target.domain.contains(**word):
            continue
        example = counterexample(program, target, single(target.domain, dict(word)), 0)
        if example is not None:
            return Refuted("sequences", example)
    return None


def wrong_answer(program: Program, target: Target, found: Comparison) -> Refuted | None:
    """A refutation if the network answers a beginning that the program looks up otherwise."""
    by_length: dict[int, list[Beginning]] = {}
    for word in found.answers:
        if found.longest is None or len(word) <= found.longest:
            by_length.setdefault(len(word), []).append(word)
    for length, words in sorted(by_length.items()):
        if length == 0 or not found.asked(length):
            continue
        fill = np.zeros((len(words), max(0, found.shortest - length)), np.int64)
        batch = found.alphabet.words(np.concatenate([np.array(words, np.int64), fill], axis=1))
        theirs = target.evaluate(batch).values
        if not found.at_end:
            theirs = theirs[:, length - 1]
        wanted = [found.answers[word] for word in words]
        for row in np.flatnonzero([a != b for a, b in zip(theirs.tolist(), wanted)])[:4]:
            example = counterexample(program, target, batch, int(row))
            if example is not None:
                return Refuted("sequences", example)
    return None


def not_covered(
    wrong: list[dict[str, np.ndarray]], found: Comparison
) -> list[dict[str, np.ndarray]]:
    """The differing beginnings that are none of the program's exceptions."""
    symbols = zip(*(column.tolist() for column in found.alphabet.symbols))
    order = {symbol: number for number, symbol in enumerate(symbols)}

    def numbers(word: dict[str, np.ndarray]) -> Beginning:
        columns = (word[name].tolist() for name in found.alphabet.names)
        return tuple(order[symbol] for symbol in zip(*columns))

    left = [word for word in wrong if not found.answers or numbers(word) not in found.answers]
    return [word for word in left if not _covered(word, found)]


def _covered(beginning: dict[str, np.ndarray], found: Comparison) -> bool:
    """Are all words of the domain with this beginning among the program's exceptions?"""
    length = len(next(iter(beginning.values())))
    listed = {
        tuple(tuple(word[name]) for name in found.alphabet.names)
        for word in found.exceptions
        if all(
            list(word[name][:length]) == beginning[name].tolist() for name in found.alphabet.names
        )
    }
    if found.at_end:
        own = tuple(tuple(beginning[name].tolist()) for name in found.alphabet.names)
        return own in listed
    if found.shortest != found.longest or found.longest is None:
        return False
    return len(listed) == len(found.alphabet) ** (found.longest - length)


def _refuted(
    program: Program,
    target: Target,
    found: Comparison,
    wrong: list[dict[str, np.ndarray]],
    evidence: dict[str, Any],
) -> Verdict:
    """The first beginning that can be replayed, completed to a word of the domain."""
    for beginning in wrong:
        example = _replayed(program, target, found, beginning)
        if example is None:
            continue
        first = min(len(next(iter(word.values()))) for word in wrong)
        listed = [{k: v.tolist() for k, v in word.items()} for word in wrong[:_LISTED]]
        further = {
            **evidence,
            "proven_to_length": first - 1,
            "differing_beginnings": len(wrong),
            "beginnings": listed,
        }
        share = _share(found, wrong)
        return Refuted("sequences", example, len(wrong), share, further)
    return Unknown(
        f"{len(wrong)} disagreements vanish when the word is run alone (near-ties)",
        evidence=evidence,
    )


def _replayed(
    program: Program, target: Target, found: Comparison, beginning: dict[str, np.ndarray]
) -> Counterexample | None:
    length = len(next(iter(beginning.values())))
    missing = max(0, found.shortest - length)
    batch = {
        name: np.concatenate([column, np.repeat(symbols[:1], missing)])[None]
        for (name, column), symbols in zip(beginning.items(), found.alphabet.symbols)
    }
    return counterexample(program, target, batch, 0)


def _share(found: Comparison, wrong: list[dict[str, np.ndarray]]) -> float | None:
    """The fraction of words of one length that have a differing beginning."""
    if found.shortest != found.longest:
        return None
    size = float(len(found.alphabet))
    seen: set[tuple[Any, ...]] = set()
    total = 0.0
    for word in sorted(wrong, key=lambda w: len(next(iter(w.values())))):
        rows = tuple(zip(*(word[name].tolist() for name in found.alphabet.names)))
        if any(rows[:cut] in seen for cut in range(1, len(rows))):
            continue
        seen.add(rows)
        total += size ** -len(rows)
    return total
