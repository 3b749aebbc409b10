"""Proof by enumeration: every input of a finite domain, in the original runtime."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsl.agreement import agreeing, counterexample
from dsl.claim import Counterexample, Proved, Refuted, Target, Unknown, Verdict
from dsl.domain import BLOCK, Domain, Shape
from dsl.program import Program

MOST = 40_000_000
"""Domains with more inputs than this are left to other methods."""
_NEAR_TIES = 20
_KEPT = 64


@dataclass(frozen=True, slots=True)
class Block:
    """The inputs of one shape with numbers `start` to `stop`, before `where`."""

    shape: Shape
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Item:
    """One unit of work: a program to be compared with the network on a block."""

    program: Program
    block: Block
    noise: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What one block showed.  Rows are numbers within the block, those that violate `where` left
    out; `wrong_rows` and `near` are the first few."""

    inputs: int
    digest: bytes
    broken: bool
    wrong: int
    wrong_rows: tuple[int, ...]
    margin: float
    closest: int
    near_count: int
    near: tuple[tuple[int, float], ...]


@dataclass
class Ledger:
    """What has been seen so far, block by block in the order of the domain."""

    digest: Any = field(default_factory=hashlib.sha256)
    inputs: int = 0
    wrong: int = 0
    margin: float = float("inf")
    closest: dict[str, Any] = field(default_factory=dict)
    near: list[dict[str, Any]] = field(default_factory=list)
    near_count: int = 0
    found: list[tuple[dict[str, np.ndarray], int]] = field(default_factory=list)


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
    count = len(next(iter(batch.values())))
    if count == 0:
        return Tally(0, b"", False, 0, (), float("inf"), 0, 0, ())
    evaluation = target.evaluate(batch)
    margins = evaluation.margins
    if np.isnan(margins).any():
        return Tally(count, b"", True, 0, (), float("nan"), 0, 0, ())
    same = agreeing(item.program, batch, evaluation.values, target.claim.decode)
    wrong, near = np.flatnonzero(~same), np.flatnonzero(margins <= item.noise)
    closest = int(np.argmin(margins))
    return Tally(
        count,
        hashlib.sha256(canonical_bytes(evaluation.values)).digest(),
        False,
        len(wrong),
        tuple(wrong[:_KEPT].tolist()),
        float(margins[closest]),
        closest,
        len(near),
        tuple((int(row), float(margins[row])) for row in near[:_NEAR_TIES]),
    )


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
    noise = measured_noise(target, seed)
    ledger = Ledger()
    blocks = blocks_of(domain)
    items = (Item(program, block, noise) for block in blocks)
    results = target.spread(compared, items, total=len(blocks))
    for block in blocks:
        if time.monotonic() > deadline:
            return _unfinished(ledger, size)
        tally = next(results)
        if tally.broken:
            return Unknown("the network gives values that are not finite")
        _add(ledger, block, tally, domain)
    if ledger.inputs == 0:
        return Unknown("no input satisfies the domain's condition: nothing to prove")
    if ledger.wrong:
        example = smallest(program, target, ledger.found)
        if example is None:
            return Unknown(
                f"{ledger.wrong} disagreements vanish when the input is run alone (near-ties)",
                proven_fraction=1 - ledger.wrong / ledger.inputs,
                evidence=_evidence(ledger, noise),
            )
        return Refuted(
            "enumeration",
            example,
            ledger.wrong,
            ledger.wrong / ledger.inputs,
            _evidence(ledger, noise),
        )
    return Proved(
        "enumeration",
        str(domain),
        f"as computed by the original runtime ({target.claim.dtype} inputs, blocks of {BLOCK})",
        _evidence(ledger, noise),
    )


def canonical_bytes(values: np.ndarray) -> bytes:
    """Decoded values in a form that does not depend on storage: for the digest."""
    if values.dtype.kind in "iub":
        return np.ascontiguousarray(values.astype(np.int64)).tobytes()
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values.astype(np.float64)).tobytes()
    return repr(values.tolist()).encode()


def measured_noise(target: Target, seed: int) -> float:
    """The largest change of a raw output when the same inputs are run in another batch size: how
    much the runtime's own rounding varies.  Decisions with less margin are listed."""
    largest = 0.0
    for batch in target.domain.sample(64, np.random.default_rng(seed))[:8]:
        rows = min(len(next(iter(batch.values()))), 16)
        if rows == 0:
            continue
        together = np.asarray(target.raw(batch), np.float64)
        for row in range(rows):
            alone = {name: column[row : row + 1] for name, column in batch.items()}
            single = np.asarray(target.raw(alone), np.float64)[0]
            if single.shape == together[row].shape and single.size:
                largest = max(largest, float(np.abs(single - together[row]).max()))
    return 4 * largest


def smallest(
    program: Program, target: Target, found: list[tuple[dict[str, np.ndarray], int]]
) -> Counterexample | None:
    """The first of the disagreements, in the order of the domain, that can be replayed."""
    for batch, row in found:
        example = counterexample(program, target, batch, row)
        if example is not None:
            return example
    return None


def _add(ledger: Ledger, block: Block, tally: Tally, domain: Domain) -> None:
    ledger.inputs += tally.inputs
    ledger.digest.update(tally.digest)
    ledger.wrong += tally.wrong
    ledger.near_count += tally.near_count
    wrong = tally.wrong_rows[: max(0, _KEPT - len(ledger.found))]
    near = tally.near[: max(0, _NEAR_TIES - len(ledger.near))]
    closer = tally.inputs > 0 and tally.margin < ledger.margin
    if not (wrong or near or closer):
        return
    batch = rows_of(domain, block)
    for row in wrong:
        one = {name: column[row : row + 1].copy() for name, column in batch.items()}
        ledger.found.append((one, 0))
    if closer:
        ledger.margin, ledger.closest = tally.margin, domain.row(batch, tally.closest)
    for row, margin in near:
        ledger.near.append({"inputs": domain.row(batch, row), "margin": margin})


def _evidence(ledger: Ledger, noise: float) -> dict[str, Any]:
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
