"""What the values inside a network look like over a domain, and what can be read off them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsl.claim import Batch, Target
from synth.leaves import Inputs

_WIDEST = 96


@dataclass(frozen=True, slots=True)
class Basis:
    """An orthonormal basis (N, d) of a layer's centred activations on N inputs."""

    name: str
    vectors: np.ndarray


def activations(target: Target, batch: Batch) -> dict[str, np.ndarray]:
    """Every layer's values on a batch, (B, features); the raw outputs where the network could not
    be translated."""
    found: dict[str, np.ndarray] = {}
    packed = target.pack(batch)
    network = target.network(packed.shape[1:])
    if network is not None:
        from dsl.networks import trace

        for name, value in trace(network, packed).items():
            if value.ndim >= 2 and value.dtype.kind == "f" and len(value) == _rows(batch):
                found[name] = value.reshape(len(value), -1)
    raw = np.asarray(target.raw(batch), np.float64)
    found["output"] = raw.reshape(len(raw), -1)
    return found


def layers(target: Target, inputs: Inputs) -> tuple[Basis, ...]:
    """A basis for each layer, on rows that may come in batches of several shapes."""
    parts = [activations(target, batch) for batch in inputs.batches]
    names = [
        name
        for name in parts[0]
        if all(name in part and part[name].shape[1] == parts[0][name].shape[1] for part in parts)
    ]
    count = sum(_rows(batch) for batch in inputs.batches)
    bases = []
    for name in names:
        values = np.concatenate([part[name] for part in parts])
        basis = orthonormal(values, min(_WIDEST, count // 4))
        if basis.shape[1]:
            bases.append(Basis(name, basis))
    return tuple(bases)


def orthonormal(values: np.ndarray, most: int) -> np.ndarray:
    """The leading left singular vectors of centred columns, those above rounding noise."""
    values = np.nan_to_num(values - values.mean(0))
    if values.shape[1] > 2048:
        rng = np.random.default_rng(0)
        values = values @ rng.standard_normal((values.shape[1], 1024))
    left, strength, _ = np.linalg.svd(values, full_matrices=False)
    if not len(strength) or strength[0] == 0:
        return np.empty((len(values), 0))
    kept = strength > 1e-5 * strength[0]
    return np.asarray(left[:, kept][:, :most])


def decodability(
    rows: np.ndarray, bases: tuple[Basis, ...], span: np.ndarray | None = None
) -> np.ndarray:
    """How well each row of values (n, N) can be read off linearly from some layer: the greatest
    adjusted R squared, 0 to 1.  Rows within the span of the given ones score 0."""
    count = rows.shape[1]
    scores = np.zeros(len(rows))
    outside = None
    if span is not None and len(span):
        outside = orthonormal(span.T, len(span))
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096].astype(np.float64)
        part -= part.mean(1, keepdims=True)
        norms = np.einsum("ij,ij->i", part, part)
        best = np.zeros(len(part))
        for basis in bases:
            width = basis.vectors.shape[1]
            captured = part @ basis.vectors
            share = np.einsum("ij,ij->i", captured, captured) / np.maximum(norms, 1e-300)
            adjusted = 1 - (1 - share) * (count - 1) / max(count - width - 1, 1)
            best = np.maximum(best, adjusted)
        best[norms < 1e-12] = 0
        if outside is not None:
            inside = part @ outside
            spanned = np.einsum("ij,ij->i", inside, inside) > (1 - 1e-9) * norms
            best[spanned] = 0
        scores[start : start + 4096] = best
    return scores


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))
