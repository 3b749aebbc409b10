"""From inputs to packed arrays, and from raw outputs to the values that are claimed."""

from __future__ import annotations

import itertools

import numpy as np

from dsl.claim import Batch, Claim, Decode, Evaluation
from dsl.errors import DistillError
from dsl.evaluate import run
from dsl.primitives.base import Undefined
from dsl.program import Call, Expr, Literal, Program, Variable

_FEW = 16
_EXACT = 2.0**53
"""Integers below this are held by float64, in which all but argmax and argmin is decided."""


def packed(claim: Claim, batch: Batch) -> np.ndarray:
    """The network's input for a batch, (B, ...), in the claim's dtype and shape."""
    array = _side_by_side(claim, batch)
    if array is not None:
        return array if claim.shape is None else array.reshape(len(array), *claim.shape)
    exact = values_of(claim.pack, batch, "pack")
    array = exact.astype(claim.dtype)
    if array.dtype.kind in "iu" and exact.dtype.kind in "iu" and not _same_numbers(exact, array):
        raise DistillError(
            "D113",
            f"`pack` gives numbers that {claim.dtype} cannot hold",
            remedy="give the dtype that the network takes, or a domain that fits it",
        )
    return array if claim.shape is None else array.reshape(len(array), *claim.shape)


def _side_by_side(claim: Claim, batch: Batch) -> np.ndarray | None:
    """What `[a, b, 113]` packs as floats, column by column; None for another kind of packing."""
    if np.dtype(claim.dtype).kind != "f":
        return None
    match claim.pack:
        case Call("list", args) if args and all(isinstance(a, (Variable, Literal)) for a in args):
            columns = [
                np.asarray(batch[arg.name])
                if isinstance(arg, Variable) and arg.name in batch
                else values_of(arg, batch, "pack")
                for arg in args
            ]
        case _:
            return None
    if any(column.ndim != 1 or column.dtype != np.int64 for column in columns):
        return None
    array = np.empty((len(columns[0]), len(columns)), claim.dtype)
    for place, column in enumerate(columns):
        array[:, place] = column
    return array


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
    # Unsigned and truth values have no negative: the index is that of the raw outputs.
    scores = raw if raw.dtype.kind == "f" else raw.astype(np.float64)
    scores = scores if decode.rule == "argmax" else -scores
    with np.errstate(invalid="ignore"):
        if raw.dtype.kind == "f" and 1 < scores.shape[-1] <= _FEW:
            index, best, second = _leading(scores, decode.tie)
            margins = best.astype(np.float64) - second
            if np.isnan(best).any():
                index = _index(decode, raw)
            return _labelled(decode, index), margins
        index = _index(decode, raw)
        if scores.shape[-1] == 1:
            margins = np.where(np.isnan(scores[..., 0]), np.nan, np.inf)
        else:
            margins = _ahead(scores, index)
    return _labelled(decode, index), margins


def _index(decode: Decode, raw: np.ndarray) -> np.ndarray:
    """The place of the greatest or least entry of the last axis."""
    extreme = np.argmax if decode.rule == "argmax" else np.argmin
    if decode.tie == "high":
        return np.asarray(raw.shape[-1] - 1 - extreme(raw[..., ::-1], axis=-1))
    return np.asarray(extreme(raw, axis=-1))


def _ahead(scores: np.ndarray, index: np.ndarray) -> np.ndarray:
    """How far the entries at `index` of the last axis, the greatest, are ahead of all others; NaN
    where any is NaN, which `index` then points at."""
    rest = scores.reshape(-1, scores.shape[-1]).copy()
    rows, places = np.arange(len(rest)), index.reshape(-1)
    best = rest[rows, places].astype(np.float64)
    rest[rows, places] = -np.inf
    return np.asarray((best - rest.max(axis=-1)).reshape(index.shape))


def _leading(scores: np.ndarray, tie: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The place of the greatest entry of the last axis, that entry and the second greatest, one
    column after the other.  Where any entry is NaN, both are, and the place says nothing."""
    ahead = np.greater if tie == "low" else np.greater_equal
    columns = np.ascontiguousarray(np.moveaxis(scores, -1, 0))
    best, place = columns[0], np.zeros(columns[0].shape, np.int8)
    second = np.full(best.shape, -np.inf, best.dtype)
    for k, column in enumerate(columns[1:], 1):
        np.maximum(second, np.minimum(best, column), out=second)
        # The last column that is ahead of those before it.
        np.maximum(place, ahead(column, best).view(np.int8) * np.int8(k), out=place)
        best = np.maximum(best, column)
    return place.astype(np.int64), best, second


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
