"""Half-spaces that separate two sets of points with few errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STEPS = 12
_ROWS = 12_000


@dataclass(frozen=True)
class Cut:
    """The half-space `weights @ x > threshold`, in scaled coordinates."""

    weights: np.ndarray
    threshold: float

    def holds(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(inputs @ self.weights > self.threshold)


def errors(cut: Cut, inputs: np.ndarray, side: np.ndarray) -> int:
    return int((cut.holds(inputs) != side).sum())


def threshold_of(projection: np.ndarray, side: np.ndarray) -> tuple[float, float, int]:
    """The interval of thresholds with the fewest errors for `projection > threshold`, and those."""
    order = np.argsort(projection, kind="stable")
    ordered, wanted = projection[order], side[order]
    # wrong[i]: errors with the first i points below the threshold.
    wrong = np.concatenate([[0], np.cumsum(wanted)]) + np.concatenate(
        [np.cumsum(~wanted[::-1])[::-1], [0]]
    )
    usable = np.ones(len(wrong), bool)
    usable[1:-1] = ordered[1:] > ordered[:-1]
    wrong = np.where(usable, wrong, len(wrong))
    place = int(wrong.argmin())
    margin = 1e-3 + 0.01 * float(np.ptp(ordered))
    low = ordered[place - 1] if place > 0 else ordered[0] - margin
    high = ordered[place] if place < len(ordered) else ordered[-1] + margin
    return float(low), float(high), int(wrong[place])


def thresholded(weights: np.ndarray, inputs: np.ndarray, side: np.ndarray) -> tuple[Cut, int]:
    """The best threshold for a direction, and its errors."""
    low, high, wrong = threshold_of(inputs @ weights, side)
    return Cut(weights, (low + high) / 2), wrong


def separating(
    inputs: np.ndarray, side: np.ndarray, start: Cut | None = None, seed: int = 0
) -> tuple[Cut, int]:
    """A half-space for the points of which `side` holds, and its errors.

    Logistic regression (Newton's method), then again with the points that lie far on the wrong
    side left out, which comes close to the least number of errors (a ramp loss).
    """
    rows = np.arange(len(inputs))
    if len(rows) > _ROWS:
        rows = np.random.default_rng(seed).choice(rows, _ROWS, replace=False)
    points = np.concatenate([inputs[rows], np.ones((len(rows), 1))], 1)
    wanted = side[rows].astype(np.float64)
    best: tuple[Cut, int] | None = None
    if start is not None:
        best = start, errors(start, inputs, side)
    theta = np.zeros(points.shape[1])
    if start is not None and np.linalg.norm(start.weights) > 0:
        theta = np.append(start.weights, -start.threshold)
        theta *= 4.0 / max(1e-9, float(np.abs(points @ theta).mean()))
    weight = np.ones(len(rows))
    for _ in range(4):
        theta = _newton(points, wanted, weight, theta)
        direction = theta[:-1]
        if np.linalg.norm(direction) == 0:
            break
        found = thresholded(direction / np.abs(direction).max(), inputs, side)
        if best is None or found[1] < best[1]:
            best = found
        signed = (points @ theta) * (2 * wanted - 1)
        scale = max(1e-9, float(np.abs(points @ theta).mean()))
        weight = np.where(signed < -0.3 * scale, 0.02, 1.0)
    if best is None:
        best = thresholded(np.eye(inputs.shape[1])[0], inputs, side)
    return best


def _newton(
    points: np.ndarray, wanted: np.ndarray, weight: np.ndarray, theta: np.ndarray
) -> np.ndarray:
    ridge = 1e-5 * float(weight.sum()) * np.eye(points.shape[1])
    ridge[-1, -1] *= 1e-3

    def loss(at: np.ndarray) -> float:
        score = points @ at
        return float(
            (weight * (np.logaddexp(0, score) - wanted * score)).sum() + 0.5 * at @ ridge @ at
        )

    current = loss(theta)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(points @ theta, -40, 40)))
        gradient = points.T @ (weight * (chance - wanted)) + ridge @ theta
        curvature = (points * (weight * chance * (1 - chance))[:, None]).T @ points + ridge
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(theta)), gradient)
        size = 1.0
        while size > 1e-3:
            after = loss(theta - size * step)
            if after < current:
                break
            size /= 2
        else:
            return theta
        theta = theta - size * step
        if current - after < 1e-6 * abs(current):
            return theta
        current = after
    return theta


def axis_cuts(inputs: np.ndarray, side: np.ndarray) -> list[tuple[Cut, int]]:
    """For each input the best threshold, in both directions."""
    found = []
    for i in range(inputs.shape[1]):
        for sign in (1.0, -1.0):
            weights = np.zeros(inputs.shape[1])
            weights[i] = sign
            found.append(thresholded(weights, inputs, side))
    return found
