"""What a template is learned from: vectors with the network's two labels."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dsl import types as t
from synth.problem import Problem, observe

_CHUNK = 2000
_MOST = 20_000
_NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Samples:
    """Vectors (N, d) float32, whether each has the second of `kinds`, and where each comes from:
    the part of the data set (its number in `parts`) and the place there."""

    name: str
    vectors: np.ndarray
    labels: np.ndarray
    kinds: tuple[object, object]
    parts: tuple[str, ...]
    part: np.ndarray
    place: np.ndarray


def samples_of(problem: Problem) -> Samples | None:
    """The parts of the data set that are not observed, else two thirds of what is observed; None
    where the input is no vector or the labels are not two."""
    fields = problem.target.domain.fields
    if len(fields) != 1:
        return None
    name, kind = fields[0]
    match kind:
        case t.Tensor(t.Real(), (width,)) if width >= _NARROWEST:
            pass
        case _:
            return None
    if any(o.values.ndim != 1 or o.values.dtype.kind not in "iub" for o in problem.observations):
        return None
    others = {} if problem.data is None else problem.data.others
    if others:
        vectors, values, part, place = _labelled(problem, name, others)
        parts = tuple(others)
    else:
        vectors = np.concatenate([o.inputs[name] for o in problem.observations])
        values = np.concatenate([o.values for o in problem.observations])
        kept = np.arange(len(vectors)) % 3 > 0
        vectors, values = vectors[kept], values[kept]
        part, place = np.zeros(len(vectors), np.int64), np.flatnonzero(kept)
        parts = ("data" if problem.data is None else problem.data.observed,)
    kinds = np.unique(values)
    if len(kinds) != 2 or len(values) < 10 * _NARROWEST:
        return None
    first, second = kinds.tolist()
    return Samples(
        name,
        vectors.astype(np.float32),
        values == kinds[1],
        (first, second),
        parts,
        part,
        place,
    )


def _labelled(
    problem: Problem, name: str, parts: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The first `_MOST` vectors of the parts, fewer if time is short, with the network's values."""
    vectors, values, numbers, places = [], [], [], []
    half = time.monotonic() + 0.5 * problem.time_left
    for number, every in enumerate(parts.values()):
        for start in range(0, min(len(every), _MOST), _CHUNK):
            if time.monotonic() > half:
                break
            chunk = every[start : start + _CHUNK]
            (observed,) = observe(problem.target, [{name: chunk}])
            vectors.append(chunk)
            values.append(observed.values)
            numbers.append(np.full(len(chunk), number))
            places.append(np.arange(start, start + len(chunk)))
    return tuple(np.concatenate(p) for p in (vectors, values, numbers, places))  # type: ignore[return-value]
