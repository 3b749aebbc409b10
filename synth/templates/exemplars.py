"""Templates with a name: an example of the data set, or the mean of a label, less an offset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synth.templates.directions import Interval, best_interval
from synth.templates.samples import Samples

_RANKED = 24
_ROWS = 3000
_OFFSETS = tuple(k / 20 for k in range(0, 15))
_FINE = tuple(k / 255 for k in range(-9, 10, 3))


@dataclass(frozen=True, slots=True)
class Named:
    """The template `vector - offset`, with how it decides on the samples."""

    name: str
    vector: np.ndarray
    offset: float
    interval: Interval


def named_templates(
    samples: Samples, weights: np.ndarray, rng: np.random.Generator, most: int
) -> list[Named]:
    """The named vectors whose scores go with the learned score, up to a multiple of the sum."""
    rows = rng.permutation(len(samples.vectors))[:_ROWS]
    vectors, labels = samples.vectors[rows], samples.labels[rows]
    means = np.array([samples.vectors[samples.labels == side].mean(0) for side in (False, True)])
    candidates = np.concatenate([samples.vectors, means.astype(np.float32)])
    total = vectors.sum(1)
    total = (total - total.mean()) / max(float(total.std()), 1e-9)
    goal = _residual(vectors @ weights.astype(np.float32), total)
    likeness = np.zeros(len(candidates))
    for start in range(0, len(candidates), 4000):
        scores = candidates[start : start + 4000] @ vectors.T
        scores -= scores.mean(1, keepdims=True)
        scores -= np.outer(scores @ total / len(total), total)
        norms = np.linalg.norm(scores, axis=1)
        likeness[start : start + 4000] = np.abs(scores @ goal) / np.maximum(norms, 1e-9)
    found: list[Named] = []
    scale = max(float(candidates.max()), 1e-9)
    for i in np.argsort(-likeness, kind="stable")[:_RANKED]:
        found.append(_with_offset(samples, int(i), candidates[i], vectors, labels, scale))
    found.sort(key=lambda named: -named.interval.agreement)
    finest = [_refined(samples, named, scale) for named in found[:most]]
    return sorted(finest, key=lambda named: -named.interval.agreement)


def _residual(scores: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Scores without their mean and what the sum explains, of length 1."""
    scores = scores - scores.mean()
    scores = scores - (scores @ total / len(total)) * total
    return np.asarray(scores / max(float(np.linalg.norm(scores)), 1e-9))


def _with_offset(
    samples: Samples,
    number: int,
    vector: np.ndarray,
    vectors: np.ndarray,
    labels: np.ndarray,
    scale: float,
) -> Named:
    """The offset that decides best on some of the samples."""
    plain, total = vectors @ vector, vectors.sum(1)
    trials = [
        (best_interval(plain - offset * scale * total, labels), offset * scale)
        for offset in _OFFSETS
    ]
    interval, offset = max(trials, key=lambda trial: trial[0].agreement)
    return Named(_name(samples, number), vector, offset, interval)


def _refined(samples: Samples, named: Named, scale: float) -> Named:
    plain, total = samples.vectors @ named.vector, samples.vectors.sum(1)
    trials = []
    for step in _FINE:
        offset = named.offset + step * scale
        trials.append((best_interval(plain - offset * total, samples.labels), offset))
    interval, offset = max(trials, key=lambda trial: trial[0].agreement)
    return Named(named.name, named.vector, offset, interval)


def _name(samples: Samples, number: int) -> str:
    if number >= len(samples.vectors):
        side = samples.kinds[number - len(samples.vectors)]
        return f"MEAN_OF_LABEL_{side}".upper()
    part = samples.parts[int(samples.part[number])]
    letters = "".join(c if c.isalnum() else "_" for c in part).upper() or "DATA"
    return f"{letters}_{int(samples.place[number])}"
