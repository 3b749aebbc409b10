"""Where the network's decision changes, and which way its margin grows there."""

from __future__ import annotations

import numpy as np

from dsl.decoding import decoded
from synth.reals.points import Box, Points

_STEP = 1e-3
_HALVINGS = 18


def boundary(points: Points, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scaled points on the decision boundary (K, d), with unit normals (K, d): the gradient of
    the margin between the two decisions, by central differences."""
    box, codes = points.box, points.codes
    one = rng.integers(0, len(codes), 40 * count)
    # Rare decisions are as interesting as common ones.
    frequent = np.bincount(codes, minlength=len(points.kinds))
    chance = 1.0 / frequent[codes]
    other = rng.choice(len(codes), 40 * count, p=chance / chance.sum())
    differ = np.flatnonzero(codes[one] != codes[other])[:count]
    width = points.inputs.shape[1]
    if not len(differ):
        return np.zeros((0, width)), np.zeros((0, width))
    inside, outside = points.inputs[one[differ]], points.inputs[other[differ]]
    wanted = _answers(box, inside)
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        same = (_answers(box, middle) == wanted)[:, None]
        inside, outside = np.where(same, middle, inside), np.where(same, outside, middle)
    normals = _margin_gradients(box, inside, outside)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    kept = length[:, 0] > 1e-9
    return inside[kept], normals[kept] / length[kept]


def _answers(box: Box, scaled: np.ndarray) -> np.ndarray:
    raw = np.asarray(box.target.raw(box.batch(scaled)))
    return decoded(box.target.claim.decode, raw).values


def _margin_gradients(box: Box, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The gradient of the difference between the two leading outputs at boundary points."""
    rule = box.target.claim.decode.rule
    sign = -1.0 if rule == "argmin" else 1.0
    before, after = sign * box.raw(inside), sign * box.raw(outside)
    count, width = inside.shape
    if rule in ("argmax", "argmin"):
        first, second = before.argmax(1), after.argmax(1)
    else:
        first = np.abs(after - before).argmax(1)
        second = np.full(count, -1)
    steps = np.repeat(np.eye(width) * _STEP, count, axis=0)
    base = np.tile(inside, (width, 1))
    change = sign * (box.raw(base + steps) - box.raw(base - steps)) / (2 * _STEP)
    change = change.reshape(width, count, -1)
    rows = np.arange(count)
    gradient = change[:, rows, first]
    if (second >= 0).all():
        gradient = gradient - change[:, rows, second]
    return np.asarray(gradient.T)
