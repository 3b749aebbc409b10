"""The direction along which a network decides: from its gradients, then fitted to its labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from dsl.claim import Target

_STEP = 0.1
_POINTS = 32
_FLAT = 0.02
_ROUNDS = 60
_PENALTY = 1e-3


@dataclass(frozen=True, slots=True)
class Interval:
    """Scores in `low`..`high` (both excluded) have one label; `agreement` is the share of labels
    that the better way round gives, `inside` the label within."""

    low: float
    high: float
    inside: bool
    agreement: float

    def label(self, scores: np.ndarray) -> np.ndarray:
        within = (scores > self.low) & (scores < self.high)
        return within if self.inside else ~within


def best_interval(scores: np.ndarray, labels: np.ndarray) -> Interval:
    """The interval with the most labels right: the greatest sum of consecutive +1 and -1 in the
    order of scores (Kadane), for both labels; an end may be infinite."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order].astype(np.float64)
    steps = np.where(labels[order], 1, -1)
    ties = np.append(ordered[1:] != ordered[:-1], True)
    running = np.concatenate([[0], np.cumsum(steps)])
    usable = np.concatenate([[True], ties])
    best: Interval | None = None
    for inside in (True, False):
        sums = running if inside else -running
        least = np.minimum.accumulate(np.where(usable, sums, np.inf))
        gains = np.where(usable, sums - least, -np.inf)
        last = int(gains.argmax())
        first = int(np.flatnonzero((sums[: last + 1] == least[last]) & usable[: last + 1])[0])
        low = -np.inf if first == 0 else (ordered[first - 1] + ordered[first]) / 2
        high = np.inf if last == len(ordered) else (ordered[last - 1] + ordered[last]) / 2
        wrong = int((~labels if inside else labels).sum())
        agreement = (float(gains[last]) + wrong) / len(labels)
        if best is None or agreement > best.agreement:
            best = Interval(float(low), float(high), inside, agreement)
    assert best is not None
    return best


def principal_gradients(
    target: Target, name: str, vectors: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient outer product of the raw outputs' difference (last less first) over some of the
    vectors: its directions (k, d) and their shares, the largest first; by finite differences."""
    live = np.flatnonzero(vectors.std(0) > _FLAT)
    gradients = np.zeros((min(_POINTS, len(vectors)), vectors.shape[1]))
    for row, i in enumerate(rng.choice(len(vectors), len(gradients), replace=False)):
        centre = vectors[i].astype(np.float64)
        steps = np.where(centre[live] > vectors[:, live].mean(0), -_STEP, _STEP)
        points = np.repeat(centre[None], len(live) + 1, 0)
        points[np.arange(len(live)), live] += steps
        raw = np.asarray(target.raw({name: points}), np.float64).reshape(len(points), -1)
        difference = raw[:, -1] - (raw[:, 0] if raw.shape[1] > 1 else 0)
        gradients[row, live] = (difference[:-1] - difference[-1]) / steps
    _, strength, directions = np.linalg.svd(gradients, full_matrices=False)
    shares = strength**2 / max(float((strength**2).sum()), 1e-30)
    return directions, shares


def fitted(
    vectors: np.ndarray, labels: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, Interval]:
    """The direction near `start` whose scores tell the labels best by an interval or a bound.

    Logistic models of `score` and of `b - (score - c)**2`, either way round, by L-BFGS.
    """
    scores = vectors @ start.astype(np.float32)
    spread, middle = float(scores.std()) or 1.0, float(np.median(scores))
    best: tuple[np.ndarray, Interval] | None = None
    for inside in (True, False):
        for curved in (True, False):
            if not curved and not inside:
                continue
            wanted = labels if inside else ~labels
            scale = 1.5 / spread
            first = np.concatenate([start * scale, [1.0, middle * scale]])
            some = partial(_loss, vectors=vectors[::4], wanted=wanted[::4], curved=curved)
            trial = minimised(some, first, _ROUNDS // 2)
            if some(trial)[0] < 0.5:
                every = partial(_loss, vectors=vectors, wanted=wanted, curved=curved)
                trial = minimised(every, trial, _ROUNDS)
            weights = trial[:-2]
            interval = best_interval(vectors @ weights.astype(np.float32), labels)
            if best is None or interval.agreement > best[1].agreement:
                best = weights, interval
    assert best is not None
    return best


def minimised(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]], first: np.ndarray, rounds: int
) -> np.ndarray:
    """Where a loss, given with its gradient, is least; by L-BFGS from a first guess."""
    from scipy.optimize import minimize

    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": rounds})
    return np.asarray(found.x)


def _loss(
    parameters: np.ndarray, vectors: np.ndarray, wanted: np.ndarray, curved: bool
) -> tuple[float, np.ndarray]:
    """The mean logistic loss with a penalty on the weights, and its gradient."""
    weights = parameters[:-2].astype(np.float32)
    height, centre = parameters[-2:]
    sign = np.where(wanted, np.float32(1), np.float32(-1))
    offset = vectors @ weights - np.float32(centre)
    margin = sign * ((height - offset**2) if curved else offset)
    loss = float(np.logaddexp(0, -margin).mean()) + _PENALTY * float(weights @ weights) / 2
    pull = -sign / (1 + np.exp(np.clip(margin, -30, 30))) / len(vectors)
    slope = (pull * (-2 * offset if curved else 1)).astype(np.float32)
    gradient = np.empty(len(parameters))
    gradient[:-2] = slope @ vectors + _PENALTY * weights
    gradient[-2] = pull.sum() if curved else 0.0
    gradient[-1] = -slope.sum()
    return loss, gradient
