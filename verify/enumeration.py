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
from dsl.domain import BLOCK
from dsl.program import Program
from dsl.reachable import sample

MOST = 40_000_000
"""Domains with more inputs than this are left to other methods."""
_NEAR_TIES = 20
_KEPT = 64


@dataclass
class Ledger:
    """What has been seen so far."""

    digest: Any = field(default_factory=hashlib.sha256)
    inputs: int = 0
    wrong: int = 0
    margin: float = float("inf")
    closest: dict[str, Any] = field(default_factory=dict)
    near: list[dict[str, Any]] = field(default_factory=list)
    near_count: int = 0
    found: list[tuple[dict[str, np.ndarray], int]] = field(default_factory=list)


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
    for batch in domain.batches(BLOCK):
        if time.monotonic() > deadline:
            return _unfinished(ledger, size)
        evaluation = target.evaluate(batch)
        if np.isnan(evaluation.margins).any():
            return Unknown("the network gives values that are not finite")
        ledger.digest.update(canonical_bytes(evaluation.values))
        same = agreeing(program, batch, evaluation.values, target.claim.decode)
        note(ledger, target, batch, same, evaluation.margins, noise)
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
                f"{ledger.wrong} disagreements vanish when the input is run alone (near-ties)",
                proven_fraction=1 - ledger.wrong / ledger.inputs,
                evidence=evidence,
            )
        return Refuted(method, example, ledger.wrong, ledger.wrong / ledger.inputs, evidence)
    return Proved(
        method,
        str(target.domain),
        f"as computed by the original runtime ({target.claim.dtype} inputs, blocks of {BLOCK})",
        evidence,
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
    for batch in sample(target, 64, np.random.default_rng(seed))[:8]:
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


def note(
    ledger: Ledger,
    target: Target,
    batch: dict[str, np.ndarray],
    same: np.ndarray,
    margins: np.ndarray,
    noise: float,
) -> None:
    ledger.inputs += len(same)
    ledger.wrong += int((~same).sum())
    for row in np.flatnonzero(~same)[: max(0, _KEPT - len(ledger.found))]:
        one = {name: column[row : row + 1].copy() for name, column in batch.items()}
        ledger.found.append((one, 0))
    if len(margins):
        row = int(np.argmin(margins))
        if margins[row] < ledger.margin:
            ledger.margin = float(margins[row])
            ledger.closest = target.domain.row(batch, row)
    near = np.flatnonzero(margins <= noise)
    ledger.near_count += len(near)
    for row in near[: max(0, _NEAR_TIES - len(ledger.near))]:
        ledger.near.append(
            {"inputs": target.domain.row(batch, int(row)), "margin": float(margins[row])}
        )


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
