"""What a network's activations hold at the places where it answers.

A quantity that a transformer works with is usually written into its residual stream, from which it
can be read off linearly.  What the item and its index alone explain says nothing: that is in the
embedding.  The score is `synth.statistics.decodability` of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dsl.claim import Target
from dsl.decoding import selected
from dsl.networks import trace
from dsl.program import Expr
from synth.attention.grid import Grid, sequence_name, unpadded
from synth.attention.settings import Setting
from synth.attention.solver import Feature
from synth.problem import Observations
from synth.statistics import Basis, decodability, orthonormal

_PLACES = 2500
_WIDEST = 64
_KINDS = 24
_JOINT = 1e-3
_AS_WELL = 0.02


@dataclass(frozen=True, slots=True)
class Reading:
    """How well a feature can be read off linearly, 0 to 1, and the first layer that holds it so."""

    expr: Expr
    score: float
    layer: str


def readings(
    target: Target, setting: Setting, places: Grid, features: list[Feature]
) -> list[Reading]:
    """What the layers of a network hold of some features, the clearest first, the shortest of
    equals; empty for a network that was not translated."""
    rows = np.linspace(0, places.count - 1, min(places.count, _PLACES)).astype(int)
    plain = _explained(setting, places, rows)
    bases = [
        Basis(name, left[:, strength > _JOINT])
        for name, values in activations(target, setting).items()
        for left, strength in [_rest(values[rows], plain)]
        if (strength > _JOINT).any()
    ]
    if not bases:
        return []
    shortest = sorted(features, key=lambda f: f.size)
    found = [_read(f, f.values[rows], bases, plain) for f in shortest]
    return sorted(found, key=lambda reading: -round(reading.score, 2))


def activations(target: Target, setting: Setting) -> dict[str, np.ndarray]:
    """Each layer's values at the places of a setting, (places, width)."""
    parts = [dict(_at_places(target, setting, group)) for group in unpadded(setting.sample)]
    widths = {
        name: {part[name].shape[1] if name in part else 0 for part in parts} for name in parts[0]
    }
    return {
        name: np.concatenate([part[name] for part in parts])
        for name, found in widths.items()
        if len(found) == 1
    }


def _at_places(
    target: Target, setting: Setting, group: Observations
) -> Iterator[tuple[str, np.ndarray]]:
    """The layers of inputs of one length; of prefixes, those that a causal network has there."""
    batch: Mapping[str, np.ndarray] = group.inputs
    if setting.outer is not None:
        name = sequence_name(target.domain.types)
        if name is None:
            return
        batch = {name: group.inputs[setting.names.s.name]}
    packed = target.pack(batch)
    network = target.network(packed.shape[1:])
    if network is None or packed.ndim != 2:
        return
    count = 1 if setting.view.whole else group.values.shape[1]
    for name, value in trace(network, packed).items():
        if value.dtype.kind != "f" or value.ndim < 3:
            continue
        if value.shape[-2] != packed.shape[1] or value.size != packed.size * value.shape[-1]:
            continue
        here = selected(target.claim, value.reshape(*packed.shape, -1), batch)
        here = here[:, None] if here.ndim == 2 else here
        if here.shape[1] >= count:
            # What stands before the answers are marks of the start.
            yield name, here[:, here.shape[1] - count :].reshape(-1, here.shape[-1])


def _explained(setting: Setting, places: Grid, rows: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span the functions of the item and those of the index."""
    columns = [] if setting.view.whole else [places.column(v) for v in setting.names.loops[0]]
    tests = [c[rows, None] == np.unique(c)[:_KINDS] for c in columns if c is not None]
    if not tests:
        return np.empty((len(rows), 0))
    table = np.concatenate(tests, 1).astype(np.float64)
    return orthonormal(table, table.shape[1])


def _rest(values: np.ndarray, plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns of what a layer holds beyond `plain`, and how much of each is beyond."""
    vectors = orthonormal(values, min(_WIDEST, len(values) // 8))
    left, strength, _ = np.linalg.svd(vectors - plain @ (plain.T @ vectors), full_matrices=False)
    return left, strength


def _read(feature: Feature, values: np.ndarray, bases: list[Basis], plain: np.ndarray) -> Reading:
    """A feature in the layer that holds it first; of one that is no number, the mean of the tests
    for its values."""
    if values.dtype.kind in "US":
        columns = (values == np.unique(values)[:_KINDS, None]).astype(np.float64)
    else:
        columns = values[None].astype(np.float64)
    columns -= columns.mean(1, keepdims=True)
    rest = columns - (columns @ plain) @ plain.T
    size = np.einsum("ij,ij->i", columns, columns)
    joint = np.einsum("ij,ij->i", rest, rest) > _JOINT * size
    scores = [np.where(joint, decodability(rest, (basis,)), 0.0).mean() for basis in bases]
    first = next(k for k, score in enumerate(scores) if score >= max(scores) - _AS_WELL)
    return Reading(feature.expr, float(scores[first]), bases[first].name)
