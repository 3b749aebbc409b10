"""From inputs to packed arrays, and from raw outputs to the values that are claimed."""

from __future__ import annotations

import itertools

import numpy as np

from dsl.claim import Batch, Claim, Decode, Evaluation
from dsl.errors import DistillError
from dsl.evaluate import run
from dsl.primitives.base import Undefined
from dsl.program import Expr, Program

_FEW = 16
_EXACT = 2.0**53
"""Integers below this are held by float64, in which all but argmax and argmin is decided."""


def packed(claim: Claim, batch: Batch) -> np.ndarray:
    """The network's input for a batch, (B, ...), in the claim's dtype and shape."""
    exact = values_of(claim.pack, batch, "pack")
    array = exact.astype(claim.dtype)
    if array.dtype.kind in "iu" and exact.dtype.kind in "iu" and not _same_numbers(exact, array):
        raise DistillError(
            "D113",
            f"`pack` gives numbers that {claim.dtype} cannot hold",
            remedy="give the dtype that the network takes, or a domain that fits it",
        )
    return array if claim.shape is None else array.reshape(len(array), *claim.shape)


def _same_numbers(exact: np.ndarray, array: np.ndarray) -> bool:
    if np.can_cast(exact.dtype, array.dtype, "safe"):
        return True
    return bool((exact == array).all())


def values_of(expr: Expr, batch: Batch, what: str) -> np.ndarray:
    """An expression of a claim on every row; `what` names it in errors."""
    inputs = tuple((name, None) for name in batch)
    try:
        return run(Program(what, inputs, (), expr), batch)
    except Undefined as undefined:
        raise DistillError(
            "D113", f"`{what}` has no value on some inputs: {undefined.reason}"
        ) from None


def selected(claim: Claim, raw: np.ndarray, batch: Batch) -> np.ndarray:
    """The entries of the raw outputs at the claimed positions."""
    match claim.positions:
        case None:
            return raw
        case (start, stop):
            first, last = _place(start, batch, raw), _place(stop, batch, raw)
            return raw[:, first:last]
        case expr:
            return raw[:, _place(expr, batch, raw)]


def _place(expr: Expr, batch: Batch, raw: np.ndarray) -> int:
    places = np.unique(values_of(expr, batch, "positions"))
    if len(places) != 1:
        raise DistillError("D113", "`positions` differs between inputs of one length")
    place = int(places[0])
    if not -raw.shape[1] <= place <= raw.shape[1]:
        raise DistillError("D113", f"position {place} is outside the {raw.shape[1]} outputs")
    return place


def decoded(decode: Decode, raw: np.ndarray) -> Evaluation:
    """Values and margins of raw outputs; a margin is NaN where an output is not a number."""
    raw = np.asarray(raw)
    exact = raw.dtype.kind not in "iu" or bool((np.abs(raw.astype(np.float64)) < _EXACT).all())
    match decode.rule:
        case "argmax" | "argmin":
            values, margins = _extreme(decode, raw)
        case "threshold":
            values, margins = _sides(decode, raw)
        case "round":
            values, margins = _nearest(raw)
            if values.shape[-1] == 1 and values.ndim > 1:
                values = values[..., 0]
        case "value":
            values = raw.astype(np.float64)
            margins = np.where(np.isfinite(values), np.inf, np.nan)
            if values.ndim > 1 and values.shape[-1] == 1:
                values = values[..., 0]
    if not exact and decode.rule in ("threshold", "round", "value"):
        margins = np.where(np.abs(raw.astype(np.float64)) < _EXACT, margins, np.nan)
    return Evaluation(values, _least(margins))


def _nearest(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest integers, x.5 to the lower, and the distance to the next x.5; NaN where a number
    is not finite or beyond 62 bits.  In float64, where `x - 0.5` is exact up to 2**52."""
    exact = raw.astype(np.float64)
    with np.errstate(invalid="ignore"):
        floor = np.floor(exact)
        margins = np.abs(exact - floor - 0.5)
        values = np.where(exact == floor, exact, np.ceil(exact - 0.5))
    held = np.abs(values) < 2.0**62
    return np.where(held, values, 0.0).astype(np.int64), np.where(held, margins, np.nan)


def _least(margins: np.ndarray) -> np.ndarray:
    """The least margin of each row; NaN wins."""
    flat = margins.reshape(len(margins), -1).astype(np.float64, copy=False)
    if flat.shape[1] == 1:
        return np.asarray(flat[:, 0])
    if flat.shape[1] == 0:
        return np.full(len(flat), np.inf)
    return np.asarray(np.where(np.isnan(flat).any(1), np.nan, flat.min(1)))


def _extreme(decode: Decode, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    extreme = np.argmax if decode.rule == "argmax" else np.argmin
    if decode.tie == "high":
        index = raw.shape[-1] - 1 - extreme(raw[..., ::-1], axis=-1)
    else:
        index = extreme(raw, axis=-1)
    # The index is that of the raw outputs; unsigned and truth values have no negative.
    scores = raw if raw.dtype.kind == "f" else raw.astype(np.float64)
    scores = scores if decode.rule == "argmax" else -scores
    with np.errstate(invalid="ignore"):
        if scores.shape[-1] == 1:
            margins = np.where(np.isnan(scores[..., 0]), np.nan, np.inf)
        elif scores.shape[-1] <= _FEW:
            best, second = _leading(scores)
            margins = best.astype(np.float64) - second
        else:
            top = np.partition(scores, -2, axis=-1)[..., -2:].astype(np.float64)
            margins = top[..., 1] - top[..., 0]
            margins = np.where(np.isnan(scores).any(-1), np.nan, margins)
    return _labelled(decode, index), margins


def _leading(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The greatest and the second greatest entry of the last axis, one column after the other;
    NaN where any entry is."""
    first = scores[..., 0]
    best, second = first, np.full(first.shape, -np.inf, first.dtype)
    for k in range(1, scores.shape[-1]):
        column = scores[..., k]
        second = np.maximum(second, np.minimum(best, column))
        best = np.maximum(best, column)
    return best, second


def _labelled(decode: Decode, index: np.ndarray) -> np.ndarray:
    if decode.labels is None:
        return index
    if index.size and int(index.max()) >= len(decode.labels):
        raise DistillError(
            "D113", f"{len(decode.labels)} labels, but output {index.max()} is chosen"
        )
    kinds = {type(label) for label in decode.labels}
    if len(kinds) == 1 and kinds <= {int, float, bool, str}:
        return np.asarray(np.array(decode.labels)[index])
    labels = np.empty(len(decode.labels), object)
    labels[:] = decode.labels
    return np.asarray(labels[index])


def _sides(decode: Decode, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # In float64: float32 would round the threshold first, and the margin would be another one.
    exact = raw.astype(np.float64)
    above = exact > decode.threshold
    margins = np.abs(exact - decode.threshold)
    labels = decode.labels
    if labels is None:
        values = above[..., 0] if raw.ndim > 1 and raw.shape[-1] == 1 else above
        return values, margins
    if len(labels) != raw.shape[-1]:
        raise DistillError("D113", f"{len(labels)} labels for {raw.shape[-1]} outputs")
    names = [str(label) for label in labels]
    if len(names) <= 16:
        weights = 1 << np.arange(len(names))
        sets = np.array(
            [
                " ".join(itertools.compress(names, [code >> i & 1 for i in range(len(names))]))
                for code in range(1 << len(names))
            ]
        )
        return sets[above @ weights], margins
    flat = above.reshape(-1, above.shape[-1])
    texts = np.array([" ".join(itertools.compress(names, row)) for row in flat.tolist()])
    return texts.reshape(above.shape[:-1]), margins
