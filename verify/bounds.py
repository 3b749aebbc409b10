"""Sound linear bounds of a graph over batches of boxes, by backward substitution (CROWN).

A bound of a row `a . z` is carried backwards through the graph as `a_k . z_k + ... + c`.  At each
node the float64 error of the step and the runtime's own rounding are taken off `c` at once, as
|a| times what one entry of the node may be off by; so the bounds hold in exact arithmetic and for
every runtime within the graph's noise (see verify.graph).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from verify.graph import TINY, Affine, Function, Graph, Input, Product, accumulated
from verify.relaxations import FUNCTIONS, UNIT, Band, product_planes, product_range
from verify.zonotopes import Symbols, Zonotope

_ROUNDED = 0.25
"""Forms of which more than this share is rounding are bounded backwards too."""
CHUNK_ENTRIES = 1 << 15
"""Rows are carried backwards in chunks of about this many entries, to stay in the cache."""


class OutOfTime(Exception):
    """The deadline passed while bounds were computed; nothing is known of the batch."""


@dataclass(frozen=True, slots=True)
class Slopes:
    """A function node's two lines as middle and half difference, (B, n) each.

    For a row a: the lower line is `a * middle - |a| * half`, plus `a * offset - |a| * loss`.
    """

    middle: np.ndarray
    half: np.ndarray
    offset: np.ndarray
    loss: np.ndarray
    gap: np.ndarray


@dataclass(frozen=True, slots=True)
class PairSlopes:
    """The same for a product: slopes of either side."""

    left: np.ndarray
    right: np.ndarray
    offset: np.ndarray
    loss: np.ndarray


@dataclass
class Ranges:
    """Bounds of every node on a batch of boxes, and what backward substitution needs of them."""

    graph: Graph
    box_low: np.ndarray
    box_high: np.ndarray
    low: list[np.ndarray] = field(default_factory=list)
    high: list[np.ndarray] = field(default_factory=list)
    deadline: float = math.inf
    symbols: Symbols | None = None
    forms: dict[int, Zonotope] = field(default_factory=dict)
    bands: dict[int, Band] = field(default_factory=dict)
    slopes: dict[int, Slopes | PairSlopes] = field(default_factory=dict)
    noise: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def boxes(self) -> int:
        return len(self.box_low)

    def size(self, node: int) -> np.ndarray:
        """The greatest magnitude of each entry."""
        return np.asarray(np.maximum(np.abs(self.low[node]), np.abs(self.high[node])))


@dataclass(frozen=True, slots=True)
class Linear:
    """`coefficients . x + constant`, (P, d) and (P,): a lower bound of P rows on their boxes.

    `constant` already allows for the rounding of evaluating the bound at any point of the box.
    """

    coefficients: np.ndarray
    constant: np.ndarray


def ranges(
    graph: Graph,
    low: np.ndarray,
    high: np.ndarray,
    known: dict[int, tuple[np.ndarray, np.ndarray]] | None = None,
    *,
    refine: bool = True,
    forward: bool = False,
    deadline: float = math.inf,
) -> Ranges:
    """Bounds of all nodes on boxes (B, d); `known` has bounds that hold already (of parents).

    With `forward`, linear forms are carried along (see verify.zonotopes); with `refine`, what a
    relaxation depends on is bounded by backward substitution.

    Where a function has no bounds, on a pole, they are infinite or not a number, and so is all
    that depends on them: neither is ever below 0, so nothing is proven by them.  Raises
    OutOfTime after the deadline.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        symbols = Symbols(len(low)) if forward else None
        state = Ranges(graph, low, high, deadline=deadline, symbols=symbols)
        return _ranges(state, known, refine)


def _ranges(
    result: Ranges, known: dict[int, tuple[np.ndarray, np.ndarray]] | None, refine: bool
) -> Ranges:
    graph, low, high = result.graph, result.box_low, result.box_high
    for number, node in enumerate(graph.nodes):
        match node:
            case Input():
                bottom, top = low, high
            case Affine():
                bottom, top = _affine_range(result, number, node)
            case Function():
                bottom, top = _function_range(result, number, node)
            case Product():
                bottom, top = _product_range(result, number, node)
            case _:
                assert_never(node)
        result.low.append(bottom)
        result.high.append(top)
        if known is not None and number in known:
            _intersect(result, number, *known[number])
        if result.symbols is not None and graph.inner[number]:
            _carry(result, result.symbols, number)
        if graph.tight[number] and not graph.simple[number]:
            if refine:
                _refine(result, number)
            elif result.symbols is not None:
                form = result.forms[number]
                # What is rounded adds up in a form, and may cancel in a row carried backwards.
                _refine(result, number, form.rest > _ROUNDED * form.reach)
    return result


def _affine_range(state: Ranges, number: int, node: Affine) -> tuple[np.ndarray, np.ndarray]:
    middle = np.broadcast_to(node.bias, (state.boxes, node.size))
    spread = np.zeros((state.boxes, node.size))
    size = np.broadcast_to(np.abs(node.bias), (state.boxes, node.size))
    count = 3
    for source, m in node.terms:
        low, high = state.low[source], state.high[source]
        centre, radius = (low + high) / 2, (high - low) / 2
        radius = radius + 2 * UNIT * (np.abs(centre) + radius)
        reach = state.size(source)
        if m is None:
            middle, spread, size = middle + centre, spread + radius, size + reach
            count += 1
        else:
            middle = middle + m.applied(centre)
            spread = spread + np.asarray(radius @ m.magnitudes)
            size = size + np.asarray(reach @ m.magnitudes)
            count += m.shape[1]
    # Rounding: of these sums, of a row carried backwards through the node, of the runtime.
    slack = (3 * accumulated(count + 8, UNIT) + node.noise) * size * (1.0 + 1e-9)
    if node.noise:
        slack = slack + count * TINY
    if node.absolute is not None:
        slack = slack + node.absolute
    for source, m in node.sizes:
        slack = slack + np.asarray(state.size(source) @ m.magnitudes) * (1.0 + 1e-9)
    carried = accumulated(node.size + 8, UNIT) * (size + np.abs(middle) + spread)
    state.noise[number] = (slack + carried) * (1.0 + 1e-9) + 1e-300
    return middle - spread - slack, middle + spread + slack


def _function_range(state: Ranges, number: int, node: Function) -> tuple[np.ndarray, np.ndarray]:
    low, high = state.low[node.source], state.high[node.source]
    function = FUNCTIONS[node.name]
    lines = function.lines(low, high, node.parameter)
    bottom, top = function.range(low, high, node.parameter)
    reach = np.maximum(np.abs(bottom), np.abs(top))
    noise = node.noise * reach
    if node.noise:
        noise = noise + TINY
    steep = np.maximum(np.abs(lines.low_slope), np.abs(lines.high_slope))
    middle = (lines.low_slope + lines.high_slope) / 2
    half = (lines.high_slope - lines.low_slope) / 2
    offset = (lines.low + lines.high) / 2
    loss = (lines.high - lines.low) / 2
    size = np.maximum(np.abs(low), np.abs(high))
    # A carried row is rounded three times here, and its offsets are summed over the node.
    carried = 8 * UNIT * (steep + np.abs(half)) * size
    carried += accumulated(node.size + 8, UNIT) * (np.abs(offset) + np.abs(loss))
    gap = np.maximum(
        lines.high - lines.low + (lines.high_slope - lines.low_slope) * low,
        lines.high - lines.low + (lines.high_slope - lines.low_slope) * high,
    )
    state.slopes[number] = Slopes(middle, half, offset, loss + carried + noise, gap)
    if state.symbols is not None:
        state.bands[number] = function.band(lines, low, high)
        state.noise[number] = noise
    return bottom - noise, top + noise


def _product_range(state: Ranges, number: int, node: Product) -> tuple[np.ndarray, np.ndarray]:
    sides = (
        state.low[node.left],
        state.high[node.left],
        state.low[node.right],
        state.high[node.right],
    )
    planes = product_planes(*sides)
    bottom, top = product_range(*sides)
    noise = node.noise * np.maximum(np.abs(bottom), np.abs(top))
    if node.noise:
        noise = noise + TINY
    offset, loss = (planes.low + planes.high) / 2, (planes.high - planes.low) / 2
    reach = np.abs(planes.left) * state.size(node.left)
    reach = reach + np.abs(planes.right) * state.size(node.right)
    carried = 8 * UNIT * reach
    carried += accumulated(node.size + 8, UNIT) * (np.abs(offset) + np.abs(loss))
    state.slopes[number] = PairSlopes(planes.left, planes.right, offset, loss + carried + noise)
    return bottom - noise, top + noise


def _carry(state: Ranges, symbols: Symbols, number: int) -> None:
    """The node as a linear form of the symbols, and the bounds of that."""
    node, forms = state.graph.nodes[number], state.forms
    match node:
        case Input():
            form = symbols.inputs(state.box_low, state.box_high)
        case Affine(terms=terms):
            form = symbols.affine(node, [forms[s] for s, _ in terms], state.noise[number])
        case Function(source=source):
            band = state.bands[number]
            sides = [(band.slope, forms[source])]
            form = symbols.enclosed(sides, band.offset, band.loss, state.noise[number])
        case Product(left=left, right=right):
            pair = state.slopes[number]
            assert isinstance(pair, PairSlopes)
            sides = [(pair.left, forms[left]), (pair.right, forms[right])]
            form = symbols.enclosed(sides, pair.offset, pair.loss)
        case _:
            assert_never(node)
    forms[number] = form
    _intersect(state, number, *form.ends)


def _intersect(state: Ranges, number: int, low: np.ndarray, high: np.ndarray) -> None:
    """Both bounds hold; where rounding makes them cross, their hull is taken."""
    bottom = np.fmax(state.low[number], low)
    top = np.fmin(state.high[number], high)
    state.low[number], state.high[number] = np.fmin(bottom, top), np.fmax(bottom, top)


def _refine(state: Ranges, number: int, among: np.ndarray | bool = True) -> None:
    """Backward substitution for the entries, `among` some, on whose range a relaxation depends."""
    low, high = state.low[number], state.high[number]
    if state.graph.relu_only[number]:
        box, entry = np.nonzero((low < 0) & (high > 0) & among)
    else:
        box, entry = np.nonzero((high > low) & among)
    if not len(box):
        return
    bottom, top = low.copy(), high.copy()
    for sign, bound in ((1.0, bottom), (-1.0, top)):
        linear = entry_bounds(state, number, box, entry, sign)
        least = lower_values(linear, state.box_low[box], state.box_high[box])
        bound[box, entry] = sign * least
    _intersect(state, number, bottom, top)


def entry_bounds(
    state: Ranges,
    number: int,
    box: np.ndarray,
    entry: np.ndarray,
    sign: float,
    losses: dict[int, np.ndarray] | None = None,
) -> Linear:
    """Linear lower bounds of `sign * z[entry]` of a node on the boxes `box`, (P,) pairs."""
    width = max((node.size for node in state.graph.nodes[: number + 1]), default=1)
    chunk = max(16, CHUNK_ENTRIES // max(width, 1))
    parts = []
    for i in range(0, len(box), chunk):
        if time.monotonic() > state.deadline:
            raise OutOfTime
        here = slice(i, i + chunk)
        parts.append(_entry_chunk(state, number, box[here], entry[here], sign, losses))
    if len(parts) == 1:
        return parts[0]
    return Linear(
        np.concatenate([part.coefficients for part in parts]),
        np.concatenate([part.constant for part in parts]),
    )


def _entry_chunk(
    state: Ranges,
    number: int,
    box: np.ndarray,
    entry: np.ndarray,
    sign: float,
    losses: dict[int, np.ndarray] | None,
) -> Linear:
    node = state.graph.nodes[number]
    pending: dict[int, np.ndarray] = {}
    if isinstance(node, Affine):
        constant = sign * node.bias[entry] - state.noise[number][box, entry]
        for source, m in node.terms:
            if m is None:
                rows = _units(entry, state.graph.nodes[source].size, sign)
            else:
                rows = sign * m.picked(entry)
            pending[source] = pending[source] + rows if source in pending else rows
    else:
        constant = np.zeros(len(box))
        pending[number] = _units(entry, node.size, sign)
    return backward(state, pending, constant, box, losses)


def _units(entry: np.ndarray, size: int, sign: float) -> np.ndarray:
    rows = np.zeros((len(entry), size))
    rows[np.arange(len(entry)), entry] = sign
    return rows


def backward(
    state: Ranges,
    pending: dict[int, np.ndarray],
    constant: np.ndarray,
    box: np.ndarray,
    losses: dict[int, np.ndarray] | None = None,
) -> Linear:
    """Lower bounds of `sum of pending[k] . z_k + constant`, one row for each entry of `box`.

    With `losses`, what each function node takes off the bound is kept by node, (P, n).
    """
    graph = state.graph
    drift = np.abs(constant)

    def add(target: int, rows: np.ndarray) -> None:
        pending[target] = pending[target] + rows if target in pending else rows

    while True:
        number = max(pending)
        node = graph.nodes[number]
        rows = pending.pop(number)
        match node:
            case Input():
                break
            case Affine(terms=terms, bias=bias):
                constant = constant + rows @ bias
                constant -= np.einsum("pn,pn->p", np.abs(rows), state.noise[number][box])
                for source, m in terms:
                    add(source, rows if m is None else m.pulled(rows))
            case Function(source=source):
                slopes = state.slopes[number]
                assert isinstance(slopes, Slopes)
                size = np.abs(rows)
                constant = constant + np.einsum("pn,pn->p", rows, slopes.offset[box])
                constant -= np.einsum("pn,pn->p", size, slopes.loss[box])
                if losses is not None:
                    losses[number] = size * slopes.gap[box]
                rows = rows * slopes.middle[box]
                size *= slopes.half[box]
                rows -= size
                add(source, rows)
            case Product(left=left, right=right):
                pair = state.slopes[number]
                assert isinstance(pair, PairSlopes)
                size = np.abs(rows)
                constant = constant + np.einsum("pn,pn->p", rows, pair.offset[box])
                constant -= np.einsum("pn,pn->p", size, pair.loss[box])
                add(left, rows * pair.left[box])
                add(right, rows * pair.right[box])
            case _:
                assert_never(node)
        drift += np.abs(constant)
        if not pending:
            rows = np.zeros((len(box), state.box_low.shape[1]))
            break
    reach = np.maximum(np.abs(state.box_low), np.abs(state.box_high))[box]
    total = np.einsum("pd,pd->p", np.abs(rows), reach) + np.abs(constant)
    slack = accumulated(state.box_low.shape[1] + 16, UNIT) * total + 8 * UNIT * drift
    return Linear(rows, constant - slack - 1e-300)


def lower_values(linear: Linear, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The least value of each linear function on its box (P, d)."""
    a = linear.coefficients
    ends = np.einsum("pd,pd->p", np.maximum(a, 0.0), low)
    ends += np.einsum("pd,pd->p", np.minimum(a, 0.0), high)
    return np.asarray(ends + linear.constant)
