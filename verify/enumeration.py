"""Proof by enumeration: every input of a finite domain, in the original runtime.

Floating point makes a network's value depend, in the last bits, on how many inputs are run at
once.  So inputs that are decided within that noise, and every input of a small domain, are run
again by themselves: what then differs has no value that a program could equal, and is no proof.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsl.agreement import agreeing, beyond, counterexample
from dsl.claim import Counterexample, Evaluation, Proved, Refuted, Target, Unknown, Verdict
from dsl.domain import BLOCK, Domain, Shape
from dsl.generation import within_reach
from dsl.limits import Limit
from dsl.prefixes import CLOSE, is_resumable
from dsl.program import Program
from dsl.reachable import sample

MOST = 40_000_000
"""Domains with more inputs than this are left to other methods."""
_NEAR_TIES = 20
_KEPT = 64
_ALONE = 2048
"""Domains of so few inputs are run again one by one; so are as many near-ties of a block."""
_COMPANIES = ((128, 1), (512, 5))
"""Where near-ties are the rule: of each block so many rows, spread evenly, in runs of so many rows
each; the others in runs of `_OTHERS`."""
_OTHERS = 512
_AUDITED = 16
"""So many inputs of a batch are read again where prefixes were shared."""
_UNITS = 16
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Block:
    """The inputs of one shape with numbers `start` to `stop`, before `where`."""

    shape: Shape
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Item:
    """One unit of work: a program to be compared with the network on a block.  `every`: all inputs
    are run again by themselves, not only those within `noise`."""

    program: Program
    block: Block
    noise: float
    every: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What one batch showed.  Rows are numbers within the batch; of those that are wrong, near a
    tie or unsettled the first few are kept.  `broken`: an output was not a number."""

    inputs: int
    digest: bytes = b""
    broken: bool = False
    wrong: int = 0
    wrong_rows: tuple[int, ...] = ()
    margin: float = float("inf")
    closest: int = 0
    near: int = 0
    near_rows: tuple[tuple[int, float], ...] = ()
    again: int = 0
    unsettled: int = 0
    unsettled_rows: tuple[int, ...] = ()


@dataclass
class Ledger:
    """What has been seen so far, batch by batch in the order of the domain."""

    digest: Any = field(default_factory=hashlib.sha256)
    inputs: int = 0
    wrong: int = 0
    margin: float = float("inf")
    closest: dict[str, Any] = field(default_factory=dict)
    near: list[dict[str, Any]] = field(default_factory=list)
    near_count: int = 0
    found: list[tuple[dict[str, np.ndarray], int]] = field(default_factory=list)
    again: int = 0
    unsettled: list[dict[str, Any]] = field(default_factory=list)
    unsettled_count: int = 0


def blocks_of(domain: Domain) -> tuple[Block, ...]:
    """The whole domain in blocks, the shortest shapes first."""
    found = []
    for shape in domain.shapes():
        size = domain.shape_size(shape)
        assert size is not None, "only finite domains are enumerated"
        found += [Block(shape, i, min(i + BLOCK, size)) for i in range(0, size, BLOCK)]
    return tuple(found)


def rows_of(domain: Domain, block: Block) -> dict[str, np.ndarray]:
    """The inputs of a block that satisfy the domain's condition."""
    batch = domain.block(block.shape, block.start, block.stop)
    return batch if domain.where is None else domain.kept(batch)


def compared(target: Target, item: Item) -> Tally:
    """Program and network on one block."""
    batch = rows_of(target.domain, item.block)
    return tally(item.program, target, batch, item.noise, every=item.every)


def tally(
    program: Program,
    target: Target,
    batch: dict[str, np.ndarray],
    noise: float,
    *,
    every: bool = False,
    shared: Evaluation | None = None,
) -> Tally:
    """Program and network on one batch.  `shared` is what the network answers, where prefixes that
    the inputs share were read once: some of the inputs are then read again, each by itself."""
    count = len(next(iter(batch.values())))
    if count == 0:
        return Tally(0)
    evaluation = target.evaluate(batch) if shared is None else shared
    margins = evaluation.margins
    closest = int(np.argmin(margins))  # NaN counts as the least
    if np.isnan(margins[closest]):
        return Tally(count, broken=True)
    same = agreeing(program, batch, evaluation.values, target.claim.decode)
    wrong = np.flatnonzero(~same)
    near = np.flatnonzero(margins <= noise) if margins[closest] <= noise else _NONE
    again = near
    if shared is not None:
        audited = np.linspace(0, count - 1, min(count, _AUDITED)).astype(int)
        again = np.union1d(near, audited)
    doubtful = np.flatnonzero(same) if every else again[same[again]]
    unsettled = _unsettled(program, target, batch, doubtful)
    return Tally(
        count,
        hashlib.sha256(canonical(evaluation.values)).digest(),
        False,
        len(wrong),
        tuple(wrong[:_KEPT].tolist()),
        float(margins[closest]),
        closest,
        len(near),
        tuple((int(row), float(margins[row])) for row in near[:_NEAR_TIES]),
        len(doubtful),
        len(unsettled),
        tuple(unsettled[:_NEAR_TIES]),
    )


def _unsettled(
    program: Program, target: Target, batch: dict[str, np.ndarray], rows: np.ndarray
) -> list[int]:
    """The rows on which the program is wrong when they are run again in other company: one by one,
    and some of them so where they are many."""
    found: list[int] = []
    for chosen in _runs(rows):
        few = {name: column[chosen] for name, column in batch.items()}
        evaluation = target.evaluate(few)
        same = agreeing(program, few, evaluation.values, target.claim.decode)
        same &= ~np.isnan(evaluation.margins)
        found += chosen[~same].tolist()
    return found


def _runs(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in the companies in which they are run again."""
    if len(rows) <= _ALONE:
        yield from rows[:, None]
        return
    for count, size in _COMPANIES:
        at = np.linspace(0, len(rows) - 1, count).astype(int)
        few = rows[at]
        yield from (few[k : k + size] for k in range(0, len(few), size))
        rows = np.delete(rows, at)
    yield from (rows[k : k + _OTHERS] for k in range(0, len(rows), _OTHERS))


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Compares program and network on all inputs; None where they are too many to count."""
    domain = target.domain
    size = domain.raw_size
    if size is None or size > MOST or target.claim.closed_loop:
        return None
    if not within_reach(target, size):
        return None
    noise = measured_noise(target, seed)
    ledger = Ledger()
    blocks = blocks_of(domain)
    items = (Item(program, block, noise, size <= _ALONE) for block in blocks)
    results = target.spread(compared, items, total=len(blocks))
    for block in blocks:
        with Limit(deadline) as limit:
            seen = next(results)
        if limit.passed:
            return _unfinished(ledger, size)
        if seen.broken:
            return Unknown("the network gives values that are not finite")
        note(ledger, domain, seen, functools.partial(rows_of, domain, block))
    return conclusion(ledger, program, target, "enumeration", ledger_evidence(ledger, noise))


def conclusion(
    ledger: Ledger, program: Program, target: Target, method: str, evidence: dict[str, Any]
) -> Verdict:
    """What follows when all that the ledger counts was compared."""
    if ledger.inputs == 0:
        return Unknown("no input satisfies the domain's condition: nothing to prove")
    if ledger.wrong:
        example = smallest(program, target, ledger.found)
        if example is None:
            return Unknown(
                unconfirmed(program, ledger),
                proven_fraction=1 - ledger.wrong / ledger.inputs,
                evidence=evidence,
            )
        return Refuted(method, example, ledger.wrong, ledger.wrong / ledger.inputs, evidence)
    if ledger.unsettled_count:
        return Unknown(
            f"{ledger.unsettled_count} inputs get another value when they are run alone: "
            "the network's own rounding decides them",
            proven_fraction=1 - ledger.unsettled_count / ledger.inputs,
            evidence=evidence,
        )
    return Proved(method, str(target.domain), arithmetic(target, ledger.near_count), evidence)


def unconfirmed(program: Program, ledger: Ledger) -> str:
    """Why none of the disagreements is a counterexample."""
    for batch, _ in ledger.found:
        if reason := beyond(program, batch):
            inputs = ", ".join(f"{name}={column[0]}" for name, column in batch.items())
            return f"the program's value on {inputs} is beyond the language: {reason}"
    return f"{ledger.wrong} disagreements vanish when the input is run alone (near-ties)"


def arithmetic(target: Target, near: int = 0) -> str:
    """What was computed, where `near` decisions were within the noise: a claim about other batch
    sizes would need a margin above it."""
    again = "one by one" if near <= _ALONE else "in smaller runs, some of them one by one"
    goes_on = target.claim.feedback is not None or target.claim.closed_loop
    kept = ""
    if goes_on and is_resumable(target):
        kept = f"; read item by item, decisions within {CLOSE:g} of the largest output as a whole"
    return (
        f"as computed by the original runtime from {target.claim.dtype} inputs, in the order of "
        f"the domain in blocks of {BLOCK}; decisions within the float noise also {again}{kept}"
    )


def canonical(values: np.ndarray) -> bytes | memoryview:
    """Decoded values in a form that does not depend on storage: for the digest.  Whole numbers that
    all fit are bytes: to hash eight times as much would take longer than a small network."""
    if values.dtype.kind in "iub":
        low, high = values.min(initial=0), values.max(initial=0)
        return np.ascontiguousarray(values, np.int8 if -128 <= low <= high < 128 else np.int64).data
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values, np.float64).data
    return repr(values.tolist()).encode()


def measured_noise(target: Target, seed: int) -> float:
    """How much the runtime's own rounding varies: four times the largest change of a raw output
    when the same inputs are run alone, and at least some units in the last place of the largest
    output.  Decisions with less margin are run again and listed."""
    largest = floor = 0.0
    for batch in sample(target, 64, np.random.default_rng(seed))[:8]:
        rows = min(len(next(iter(batch.values()))), 16)
        if rows == 0:
            continue
        raw = np.asarray(target.raw(batch))
        together = raw.astype(np.float64)
        if raw.dtype.kind == "f" and raw.size:
            size = np.abs(together[np.isfinite(together)]).max(initial=0.0)
            floor = max(floor, _UNITS * float(np.finfo(raw.dtype).eps) * float(size))
        for row in range(rows):
            alone = {name: column[row : row + 1] for name, column in batch.items()}
            single = np.asarray(target.raw(alone), np.float64)[0]
            if single.shape == together[row].shape and single.size:
                with np.errstate(invalid="ignore"):
                    change = np.abs(single - together[row])
                largest = max(largest, float(change[np.isfinite(change)].max(initial=0.0)))
    return max(4 * largest, floor)


def smallest(
    program: Program, target: Target, found: list[tuple[dict[str, np.ndarray], int]]
) -> Counterexample | None:
    """The first of the disagreements, in the order of the domain, that can be replayed."""
    for batch, row in found:
        example = counterexample(program, target, batch, row)
        if example is not None:
            return example
    return None


def note(
    ledger: Ledger, domain: Domain, seen: Tally, batch_of: Callable[[], dict[str, np.ndarray]]
) -> None:
    """Enters what a batch showed; `batch_of` gives the batch again, where rows of it are kept."""
    ledger.inputs += seen.inputs
    ledger.digest.update(seen.digest)
    ledger.wrong += seen.wrong
    ledger.near_count += seen.near
    ledger.again += seen.again
    ledger.unsettled_count += seen.unsettled
    wrong = seen.wrong_rows[: max(0, _KEPT - len(ledger.found))]
    near = seen.near_rows[: max(0, _NEAR_TIES - len(ledger.near))]
    unsettled = seen.unsettled_rows[: max(0, _NEAR_TIES - len(ledger.unsettled))]
    closer = seen.inputs > 0 and seen.margin < ledger.margin
    if not (wrong or near or closer or unsettled):
        return
    batch = batch_of()
    for row in wrong:
        one = {name: column[row : row + 1].copy() for name, column in batch.items()}
        ledger.found.append((one, 0))
    if closer:
        ledger.margin, ledger.closest = seen.margin, domain.row(batch, seen.closest)
    for row, margin in near:
        ledger.near.append({"inputs": domain.row(batch, row), "margin": margin})
    ledger.unsettled += [domain.row(batch, row) for row in unsettled]


def ledger_evidence(ledger: Ledger, noise: float) -> dict[str, Any]:
    return {
        "kind": "enumeration",
        "inputs": ledger.inputs,
        "digest": ledger.digest.hexdigest(),
        "disagreements": ledger.wrong,
        "smallest_margin": ledger.margin,
        "closest_input": ledger.closest,
        "float_noise": noise,
        "near_ties": ledger.near_count,
        "near_tie_inputs": ledger.near,
        "run_again": ledger.again,
        "unsettled": ledger.unsettled_count,
        "unsettled_inputs": ledger.unsettled,
    }


def _unfinished(ledger: Ledger, size: int) -> Unknown | Refuted:
    done = ledger.inputs / size
    wrong = ledger.wrong / size
    return Unknown(
        f"time is up after {ledger.inputs:,} of {size:,} inputs".replace(",", " "),
        proven_fraction=done - wrong,
        refuted_fraction=wrong,
        evidence={"kind": "enumeration", "inputs": ledger.inputs, "disagreements": ledger.wrong},
    )
