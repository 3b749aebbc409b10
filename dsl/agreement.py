"""Where a program and a network give the same value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsl.claim import Counterexample, Decode, Target
from dsl.evaluate import run_defined, run_within
from dsl.program import Program


def equal_rows(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """For each row, whether the values are the same: of one shape, each entry equal, or within
    `tolerance` where they are real.  NaN equals nothing."""
    rows = len(theirs)
    if ours.shape != theirs.shape:
        if ours.dtype == object or theirs.dtype == object:
            pairs = zip(ours.tolist(), theirs.tolist(), strict=True)
            return np.array([_listed(a) == _listed(b) for a, b in pairs], bool)
        return np.zeros(rows, bool)
    if tolerance > 0 and ours.dtype.kind in "iufb" and theirs.dtype.kind in "iufb":
        same = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) <= tolerance
    elif {ours.dtype.kind, theirs.dtype.kind} in ({"i", "f"}, {"u", "f"}):
        same = _equal_numbers(ours, theirs)
    elif "U" in (ours.dtype.kind, theirs.dtype.kind) and ours.dtype.kind != theirs.dtype.kind:
        same = np.asarray(ours.astype(object) == theirs.astype(object), bool)
    else:
        same = np.asarray(ours == theirs, bool)
    if same.dtype == object or ours.dtype == object or theirs.dtype == object:
        pairs = zip(ours.reshape(rows, -1).tolist(), theirs.reshape(rows, -1).tolist(), strict=True)
        return np.array([_listed(a) == _listed(b) for a, b in pairs], bool)
    return same if same.ndim == 1 else np.asarray(same.reshape(rows, -1).all(axis=1))


def _equal_numbers(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Integers against reals, exactly: float64 has no room for some integers above 2**53."""
    whole = ours if ours.dtype.kind in "iu" else theirs
    same = np.asarray(ours == theirs, bool)
    large = np.abs(whole.astype(np.float64)) > 2.0**53
    if not (same & large).any():
        return same
    exact = np.asarray(ours.astype(object) == theirs.astype(object), bool)
    return np.where(large, exact, same)


def agreeing(
    program: Program, batch: Mapping[str, np.ndarray], theirs: np.ndarray, decode: Decode
) -> np.ndarray:
    """The rows on which the program is defined and equals the network's decoded values."""
    ours, defined = run_defined(program, batch)
    return np.asarray(equal_rows(ours, theirs, decode.tolerance) & defined)


def beyond(program: Program, single: Mapping[str, np.ndarray]) -> str:
    """Why a program may have a value in Python, but none here, on a batch of one row; empty where
    it has one here, or where Python raises."""
    return run_within(program, single).reason


def counterexample(
    program: Program, target: Target, batch: Mapping[str, np.ndarray], row: int
) -> Counterexample | None:
    """The disagreement on one row, replayed in the original runtime by itself; None if there is
    none when it is run alone, or the program's value is beyond the language."""
    single = {name: np.asarray(column)[row : row + 1] for name, column in batch.items()}
    found = run_within(program, single)
    if found.reason:
        return None
    ours, defined = found.results, found.defined
    evaluation = target.evaluate(single)
    decided = not np.isnan(evaluation.margins[0])
    same = equal_rows(ours, evaluation.values, target.claim.decode.tolerance)[0]
    if same and defined[0] and decided:
        return None
    return Counterexample(
        target.domain.row(dict(single), 0),
        _listed(ours[0]) if defined[0] else None,
        _listed(evaluation.values[0]) if decided else None,
        float(evaluation.margins[0]),
    )


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]
    return value
