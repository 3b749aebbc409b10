"""Two labels told by two or three scores: one interval for each, joined by `and` or `or`.

A soft model (the least, or the greatest, of one margin for each score) is fitted from the first
gradient directions on; then each interval is fitted exactly, the others held.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from synth.templates.directions import Interval, best_interval, minimised

_ROUNDS = 60
_PENALTY = 1e-3
_SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Joined:
    """Scores `weights @ x` (k, d), and the interval of each in which it speaks for the second
    label; all must, or where `every` is False any may."""

    weights: np.ndarray
    intervals: tuple[Interval, ...]
    every: bool

    def label(self, vectors: np.ndarray) -> np.ndarray:
        scores = vectors @ self.weights.T.astype(np.float32)
        parts = [i.label(scores[:, k]) for k, i in enumerate(self.intervals)]
        return np.asarray(np.all(parts, 0) if self.every else np.any(parts, 0))

    def agreement(self, vectors: np.ndarray, labels: np.ndarray) -> float:
        return float((self.label(vectors) == labels).mean())


def joined(vectors: np.ndarray, labels: np.ndarray, starts: np.ndarray) -> Joined:
    """The better of `and` and `or` over as many scores as there are starts (k, d)."""
    trials = []
    for every in (True, False):
        wanted = labels if every else ~labels
        weights = _softly(vectors, wanted, starts)
        trials.append(with_intervals(vectors, labels, weights, every))
    return max(trials, key=lambda trial: trial.agreement(vectors, labels))


def with_intervals(
    vectors: np.ndarray, labels: np.ndarray, weights: np.ndarray, every: bool
) -> Joined:
    """The best interval of each score in turn, on the rows that the others leave to it."""
    scores = vectors @ weights.T.astype(np.float32)
    everything = Interval(-np.inf, np.inf, every, 0.0)
    intervals = [everything] * len(weights)
    before = -1.0
    for _ in range(_SWEEPS):
        for k in range(len(weights)):
            others = [
                interval.label(scores[:, j]) for j, interval in enumerate(intervals) if j != k
            ]
            left = np.all(others, 0) if every else ~np.any(others, 0)
            if left.any() and len(set(labels[left].tolist())) == 2:
                intervals[k] = best_interval(scores[left, k], labels[left])
        found = Joined(weights, tuple(intervals), every)
        now = found.agreement(vectors, labels)
        if now <= before:
            break
        before = now
    return replace(found, intervals=tuple(intervals))


def _softly(vectors: np.ndarray, wanted: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Weights (k, d) with which the least of the margins tells the wanted rows from the others:
    each margin is `height - (score - centre)**2`."""
    scores = vectors @ starts.T.astype(np.float32)
    scale = 1.5 / np.maximum(scores.std(0), 1e-9)
    centres = np.median(scores, 0) * scale
    count = len(starts)
    first = np.concatenate([(starts * scale[:, None]).ravel(), np.full(count, 2.0), centres])

    def loss(parameters: np.ndarray, rows: slice) -> tuple[float, np.ndarray]:
        return _loss(parameters, vectors[rows], wanted[rows], count)

    trial = minimised(lambda p: loss(p, slice(None, None, 4)), first, _ROUNDS)
    trial = minimised(lambda p: loss(p, slice(None)), trial, _ROUNDS)
    return np.asarray(trial[: -2 * count].reshape(count, -1))


def _loss(
    parameters: np.ndarray, vectors: np.ndarray, wanted: np.ndarray, count: int
) -> tuple[float, np.ndarray]:
    """The mean logistic loss of the soft least of the margins, with a penalty on the weights."""
    weights = parameters[: -2 * count].reshape(count, -1).astype(np.float32)
    heights, centres = parameters[-2 * count : -count], parameters[-count:]
    offsets = (vectors @ weights.T).astype(np.float64) - centres
    margins = heights - offsets**2
    lowest = margins.min(1, keepdims=True)
    shares = np.exp(-(margins - lowest))
    total = shares.sum(1, keepdims=True)
    least = lowest[:, 0] - np.log(total[:, 0])
    shares /= total
    sign = np.where(wanted, 1.0, -1.0)
    value = float(np.logaddexp(0, -sign * least).mean())
    value += _PENALTY * float((weights.astype(np.float64) ** 2).sum()) / 2
    pull = (-sign / (1 + np.exp(np.clip(sign * least, -30, 30))) / len(vectors))[:, None] * shares
    slope = (-2 * offsets * pull).astype(np.float32)
    gradient = np.empty(len(parameters))
    gradient[: -2 * count] = (slope.T @ vectors + _PENALTY * weights).ravel()
    gradient[-2 * count : -count] = pull.sum(0)
    gradient[-count:] = -slope.sum(0)
    return value, gradient
