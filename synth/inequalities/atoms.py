"""Which tests and residues tell the labels apart: a beam over sets of features.

Two signals: the labels in each group of cells with equal features take few bits; and, with one
variable held fixed (*conditional invariance*), the tests make the label constant along the others.
What is left then is a function of that variable, explained by its residues and thresholds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dsl.program import Call, Literal
from synth.code_length import log2_factorials
from synth.inequalities.cells import Cells, group_bits
from synth.inequalities.forms import (
    MIXED,
    Feature,
    Form,
    Residue,
    forms,
    joint_residues,
    residues,
    spread,
)

_BINS = 32
_ALIKE = 0.97
_CONSTANT_BITS = 12.0
_GROUPS = 4096
_COARSE = {sign * factor for factor in MIXED[::3] for sign in (1, -1)}


@dataclass(frozen=True, slots=True)
class Order:
    """The cells in the order of a form's keys: `cells` (N,), the distinct `keys` (K,), and how many
    cells have at most each key, `ends` (K,)."""

    cells: np.ndarray
    keys: np.ndarray
    ends: np.ndarray

    def mistakes(self, without: np.ndarray, within: np.ndarray) -> np.ndarray:
        """The mistakes (K + 1,) when the test holds for the first 0, 1, ..., K keys, given where a
        test that fails, and one that holds, is a mistake."""
        change = within.astype(np.int32) - without
        running = np.cumsum(change[self.cells])[self.ends - 1]
        return np.asarray(np.concatenate([[0], running]) + int(without.sum()))


def order_of(form: Form) -> Order:
    cells = np.argsort(form.keys, kind="stable")
    ordered = form.keys[cells]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))
    return Order(cells.astype(np.int32), ordered[ends - 1], ends)


@dataclass(frozen=True, slots=True)
class Library:
    """All forms with their orders, the cells' places in `_BINS` quantiles (F, N), and all
    residues; `coarse` numbers the forms that growth looks at, which has no eye for fine factors."""

    forms: tuple[Form, ...]
    orders: tuple[Order, ...]
    places: np.ndarray
    edges: np.ndarray
    coarse: tuple[int, ...]
    residues: tuple[Residue, ...]
    joint: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class State:
    """A set of features; `codes` numbers their joint values, `bits` is the length of the features
    and of the labels given them (and the held variable)."""

    features: tuple[Feature, ...]
    codes: np.ndarray
    bits: float


def library_of(cells: Cells) -> Library:
    every = forms(cells)
    count = len(cells)
    orders = tuple(order_of(form) for form in every)
    places = np.empty((len(every), count), np.uint8)
    edges = np.full((len(every), _BINS), np.inf)
    for number, order in enumerate(orders):
        bounds = np.linspace(0, count - 1, _BINS).astype(int)
        cuts = np.unique(np.searchsorted(order.ends, bounds, side="right"))
        if len(order.keys) <= _BINS:
            cuts = np.arange(len(order.keys))
        edges[number, : len(cuts)] = order.keys[cuts]
        rank = np.repeat(np.arange(len(order.keys)), np.diff(order.ends, prepend=0))
        place = np.searchsorted(cuts, rank, side="right") - 1
        places[number, order.cells] = np.maximum(place, 0)
    return Library(
        tuple(every),
        orders,
        places,
        edges,
        tuple(i for i, form in enumerate(every) if form.mixed is None or form.mixed[1] in _COARSE),
        tuple(residues(cells)),
        tuple(joint_residues(cells)),
    )


def grown(
    cells: Cells,
    library: Library,
    held: int | None,
    *,
    width: int,
    depth: int,
    deadline: float,
) -> tuple[list[State], int]:
    """States by bits, the shortest first, and the number of features tried; `held` is the axis
    whose value is known in every group."""
    first = np.zeros(len(cells), np.int64)
    if held is not None:
        first = compressed(cells.columns[held] - cells.axes[held].low)
    counted = list(library.joint)
    counted += [spread(residue, cells) for residue in library.residues if residue.axis != held]
    start = State((), first, group_bits(first, cells.labels))
    beam, every, tried = [start], [start], 0
    for _ in range(depth):
        candidates: list[State] = []
        for state in beam:
            if time.monotonic() > deadline:
                break
            candidates += _extended(cells, library, state, counted, held, 4 * width)
            tried += len(library.coarse) * _BINS + len(counted)
        shorter = min(state.bits for state in beam)
        beam = _distinct(
            sorted((c for c in candidates if c.bits < shorter), key=lambda s: s.bits), width
        )
        if not beam:
            break
        every += beam
    return sorted(every, key=lambda state: state.bits), tried


def _extended(
    cells: Cells,
    library: Library,
    state: State,
    counted: list[Feature],
    held: int | None,
    most: int,
) -> list[State]:
    """The state with one more feature, for the best features."""
    groups = int(state.codes.max()) + 1
    have = sum(feature.bits for feature in state.features)
    found: list[tuple[float, int, int]] = []
    lengths, cuts = _threshold_lengths(library, state.codes, cells.labels, groups)
    for number in library.coarse:
        form = library.forms[number]
        if form.axes != (held,):
            found.append((float(lengths[number]) + form.bits + _CONSTANT_BITS, number, -1))
    for number, feature in enumerate(counted):
        if groups * feature.arity <= _GROUPS:
            bits = group_bits(state.codes * feature.arity + feature.codes, cells.labels)
            found.append((bits + feature.bits, -1, number))
    found.sort(key=lambda item: item[0])
    states = []
    for bits, form_number, feature_number in found[:most]:
        if form_number < 0:
            feature = counted[feature_number]
        else:
            form = library.forms[form_number]
            cut = float(library.edges[form_number, cuts[form_number] + 1])
            feature = rough_test(form, cut)
        codes = compressed(state.codes * feature.arity + feature.codes)
        states.append(State((*state.features, feature), codes, have + bits))
    return states


def rough_test(form: Form, cut: float) -> Feature:
    """The test `key < cut`; its constant is found later."""
    codes = (form.keys < cut).astype(np.int64)
    return Feature(form.left, codes, 2, form.bits + _CONSTANT_BITS, form.axes, form, Fraction(0))


def _threshold_lengths(
    library: Library, codes: np.ndarray, labels: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each form, the bits of the labels with its best threshold, and which that is."""
    base = (codes * 2 + labels) * _BINS
    most = int(np.bincount(codes).max()) + 1
    factorials = log2_factorials(1 << most.bit_length()).astype(np.float32)
    ranks = np.log2(np.arange(1, len(factorials) + 2, dtype=np.float32))
    lengths = np.full(len(library.forms), np.inf)
    cuts = np.zeros(len(library.forms), np.int64)
    for number in library.coarse:
        counts = np.bincount(base + library.places[number], minlength=groups * 2 * _BINS)
        left = counts.reshape(groups, 2, _BINS).cumsum(2)
        right = left[:, :, -1:] - left
        bits = np.zeros(_BINS, np.float32)
        for side in (left, right):
            total = side[:, 0] + side[:, 1]
            part = factorials[total] - factorials[side[:, 0]] - factorials[side[:, 1]]
            bits += (part + ranks[total]).sum(0)
        usable = np.isfinite(library.edges[number, 1:])
        bits = np.where(usable, bits[:-1], np.inf)
        cuts[number] = bits.argmin()
        lengths[number] = bits[cuts[number]]
    return lengths, cuts


def _distinct(states: Iterable[State], width: int) -> list[State]:
    """The first states, no two with the same forms or with nearly the same last test."""
    kept: list[State] = []
    for state in states:
        if not any(_alike(state, other) for other in kept):
            kept.append(state)
        if len(kept) == width:
            break
    return kept


def _alike(state: State, other: State) -> bool:
    one, rest = state.features[-1], {feature.expr for feature in state.features[:-1]}
    two, others = other.features[-1], {feature.expr for feature in other.features[:-1]}
    if rest | {one.expr} == others | {two.expr}:
        return True
    if rest != others or one.arity != two.arity:
        return False
    share = float((one.codes == two.codes).mean())
    return share > _ALIKE or (one.arity == 2 and share < 1 - _ALIKE)


def explained(
    cells: Cells, library: Library, state: State, held: int, *, width: int = 6, depth: int = 3
) -> list[tuple[Feature, ...]]:
    """Features of the held variable that stand in for its value, with those of the state: the
    sets of fewest bits."""
    axis, count = cells.axes[held], cells.axes[held].high - cells.axes[held].low + 1
    pattern = np.zeros(len(cells), np.int64)
    for feature in state.features:
        pattern = compressed(pattern * feature.arity + feature.codes)
    patterns = int(pattern.max()) + 1
    row = cells.columns[held] - axis.low
    weights = np.zeros((count, patterns * 2))
    np.add.at(weights, (row, pattern * 2 + cells.labels), 1)
    unary = [r for r in library.residues if r.axis == held]
    unary += _steps(axis.expr, axis.values, held)
    values = np.array([residue.values for residue in unary])
    beam: list[tuple[float, tuple[int, ...], np.ndarray]] = [
        (_row_bits(weights, np.zeros((1, count), np.int64))[0], (), np.zeros(count, np.int64))
    ]
    best = list(beam)
    for _ in range(depth):
        grown_rows: list[tuple[float, tuple[int, ...], np.ndarray]] = []
        for _, chosen, codes in beam:
            have = sum(unary[i].bits for i in chosen)
            joint = codes * 16 + values
            lengths = _row_bits(weights, joint)
            for i in np.argsort(lengths, kind="stable")[: 2 * width]:
                bits = float(lengths[i]) + have + unary[i].bits
                grown_rows.append((bits, (*chosen, int(i)), compressed(joint[i])))
        shortest = min(item[0] for item in beam)
        grown_rows = [item for item in grown_rows if item[0] < shortest]
        seen: dict[bytes, tuple[float, tuple[int, ...], np.ndarray]] = {}
        for item in sorted(grown_rows, key=lambda item: item[0]):
            seen.setdefault(_partition(item[2]), item)
        beam = list(seen.values())[:width]
        if not beam:
            break
        best += beam
    best.sort(key=lambda item: item[0])
    return [
        (*(_as_feature(unary[i], cells, held) for i in chosen), *state.features)
        for _, chosen, _ in best[:width]
        if chosen or state.features
    ]


def _steps(expr: object, values: np.ndarray, held: int) -> list[Residue]:
    """The tests `v < c` as residues of arity 2."""
    found = []
    for cut in values[1:]:
        test = Call("lt", (expr, Literal(int(cut))))  # type: ignore[arg-type]
        found.append(Residue(test, (values < cut).astype(np.int64), 2, 24.0, held))
    return found


def _as_feature(residue: Residue, cells: Cells, held: int) -> Feature:
    feature = spread(residue, cells)
    match residue.expr:
        case Call("lt", (expr, Literal(int(cut)))):
            form = Form(expr, None, cells.columns[held].astype(float), 6.0, (held,))
            return replace(feature, form=form, constant=Fraction(cut))
    return feature


def _row_bits(weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """For each row of codes (F, n), the bits of the labels grouped by code and pattern."""
    count = len(codes)
    span = int(codes.max()) + 1
    index = (codes + span * np.arange(count)[:, None]).ravel()
    bits = np.zeros(count)
    table = log2_factorials(1 << int(weights.sum()).bit_length())
    for column in range(0, weights.shape[1], 2):
        parts = [
            np.bincount(index, np.tile(weights[:, column + k], count), count * span).astype(int)
            for k in (0, 1)
        ]
        total = parts[0] + parts[1]
        length = table[total] - table[parts[0]] - table[parts[1]] + np.log2(total + 1.0)
        bits += length.reshape(count, span).sum(1)
    return bits


def compressed(codes: np.ndarray) -> np.ndarray:
    """The codes renumbered from 0 without gaps."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _partition(codes: np.ndarray) -> bytes:
    """The same bytes for codes that part the rows in the same way."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse]).tobytes()
