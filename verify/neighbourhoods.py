"""Neighbourhoods of inputs on which a network's decision provably stays what it is.

Each is an L-infinity ball cut off at the domain's bounds.  Linear bounds of the logits' differences
(see verify.bounds) hold for every point of it, in exact arithmetic and for every runtime within the
graph's noise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dsl import types as t
from dsl.claim import Target
from dsl.primitives import tensor as intervals
from dsl.program import Assign, Call, Constant, Expr, Literal, Program, Variable
from verify.bounds import Ranges, entry_bounds, lower_values, ranges
from verify.forms import Form, Rows, Untranslatable
from verify.graph import Affine, Builder, Graph, Input, Node
from verify.lowering import View, lowered
from verify.rounding import UNITS, Unbounded, precision, refuse_overflow

_BATCH = 8
_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class Margins:
    """A network as a graph whose node `rows` has, for class k and rival j, z_k - z_j as entry
    `k * classes + j`."""

    graph: Graph
    rows: int
    classes: int


def margins_of(target: Target) -> Margins:
    """Raises Untranslatable where the network or its packing has no linear bounds."""
    ((name, kind),) = target.domain.fields
    decode = target.claim.decode
    if not isinstance(kind, t.Tensor) or decode.rule != "argmax" or decode.labels is not None:
        raise Untranslatable("only the argmax of one array has neighbourhoods here")
    size = int(np.prod(kind.shape))
    numbered = np.arange(size, dtype=np.float64).reshape(1, *kind.shape)
    packed = target.pack({name: numbered})
    if not np.array_equal(packed.ravel(), np.arange(size)):
        raise Untranslatable("a packing that changes the order of entries")
    network = target.network(packed.shape[1:])
    if network is None or target.claim.dtype not in UNITS:
        raise Untranslatable("a network that no front end translates")
    item = kind.item
    if not isinstance(item, t.Real) or item.low is None or item.high is None:
        raise Untranslatable("only arrays of bounded numbers have neighbourhoods here")
    whole = intervals.Box(*(np.full(packed.shape, float(end)) for end in (item.low, item.high)))
    try:
        unit = UNITS[precision(network, target.claim.dtype)]
        refuse_overflow(network, whole, target.claim.dtype)
    except Unbounded as reason:
        raise Untranslatable(str(reason)) from None
    builder = Builder()
    source = builder.cast(builder.input(size), unit)
    view = View(source, np.arange(size).reshape(packed.shape[1:]))
    found = lowered(network, view, builder, unit)
    places = found.places.ravel().tolist()
    rows = Rows(builder)
    forms = []
    for k in places:
        for j in places:
            terms = ((((found.node, k)), Fraction(1)), ((found.node, j), Fraction(-1)))
            kept = terms if k != j else ()
            sizes = tuple((atom, abs(factor)) for atom, factor in kept)
            forms.append(Form(Fraction(0 if k != j else 1), tuple(sorted(kept)), sizes))
    node = rows.node(forms)
    return Margins(builder.graph(), node, len(places))


def steady(
    margins: Margins,
    low: np.ndarray,
    high: np.ndarray,
    labels: np.ndarray,
    deadline: float,
) -> np.ndarray:
    """For boxes (B, d), whether the network provably gives each one's label everywhere on it;
    False for boxes that time did not allow.  Each box is tried with bounds that cost more and
    lose less until they suffice: intervals do for two fifths, and few need the last."""
    result = np.zeros(len(low), bool)
    for start in range(0, len(low), _BATCH):
        left = np.arange(start, min(start + _BATCH, len(low)))
        for bounded in (_by_intervals, tightened, ranges):
            if not len(left) or time.monotonic() > deadline:
                break
            state = bounded(margins.graph, low[left], high[left])
            result[left] = _leads(margins, state, labels[left])
            left = left[~result[left]]
    return result


def _leads(margins: Margins, state: Ranges, labels: np.ndarray) -> np.ndarray:
    """For each box of the bounds, whether its label's logit is above all others on all of it."""
    boxes = np.arange(len(labels))
    holds = np.ones(len(boxes), bool)
    for rival in range(margins.classes):
        other = np.flatnonzero(labels != rival)
        if not len(other):
            continue
        entries = labels[other] * margins.classes + rival
        linear = entry_bounds(state, margins.rows, boxes[other], entries, 1.0)
        least = lower_values(linear, state.box_low[other], state.box_high[other])
        holds[other] &= least > 0
    return holds


def _by_intervals(graph: Graph, low: np.ndarray, high: np.ndarray) -> Ranges:
    return ranges(graph, low, high, refine=False)


def tightened(graph: Graph, low: np.ndarray, high: np.ndarray) -> Ranges:
    """Bounds of all nodes: intervals, and backward substitution for those entries under a ReLU that
    intervals leave undecided where a node mixes more than two entries.  The differences of pools
    mix two: they are many, and intervals serve them well on small boxes."""
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    state = ranges(graph, low, high, refine=False)
    for number, node in enumerate(graph.nodes):
        if not graph.tight[number] or not _mixes(graph, node):
            continue
        bottom, top = state.low[number].copy(), state.high[number].copy()
        box, entry = np.nonzero((bottom < 0) & (top > 0))
        if not len(box):
            continue
        for sign, bound, choose in ((1.0, bottom, np.fmax), (-1.0, top, np.fmin)):
            linear = entry_bounds(state, number, box, entry, sign)
            found = sign * lower_values(linear, low[box], high[box])
            bound[box, entry] = choose(bound[box, entry], found)
        known[number] = np.fmin(bottom, top), np.fmax(bottom, top)
        state = ranges(graph, low, high, known, refine=False)
    return state


def _mixes(graph: Graph, node: Node) -> bool:
    """Does an entry depend on more than two of a source that is not the (rounded) input itself,
    for which intervals are exact?"""
    match node:
        case Affine(terms=terms):
            return any(
                matrix is not None
                and matrix.terms > 2
                and not _is_input(graph.nodes[source], graph)
                for source, matrix in terms
            )
    return False


def _is_input(node: Node, graph: Graph) -> bool:
    match node:
        case Input():
            return True
        case Affine(terms=((source, None),)):
            return isinstance(graph.nodes[source], Input)
    return False


def linear_scores(program: Program) -> dict[str, np.ndarray]:
    """The weights of each score in a program of lines `score = dot(TEMPLATE, x) - c * sum(x)`;
    empty for programs of another form."""
    scores: dict[str, np.ndarray] = {}
    for statement in program.body:
        match statement, program.inputs:
            case Assign((score,), (expr,)), ((name, _),) if score not in scores:
                weights = _weights(expr, name, program)
            case _:
                weights = None
        if weights is None:
            return {}
        scores[score] = weights
    return scores


def _weights(expr: Expr, name: str, program: Program) -> np.ndarray | None:
    match expr:
        case Call("dot", (Constant(table), Variable(x))) if x == name:
            return np.asarray(program.constant(table), np.float64)
        case Call("add" | "sub" as sign, (inner, Call("mul", (Literal(c), Call("sum", (v,)))))):
            weights = _weights(inner, name, program)
            if weights is None or v != Variable(name) or isinstance(c, (str, tuple)) or c is None:
                return None
            return weights + float(c) if sign == "add" else weights - float(c)
    return None


def settled(
    program: Program, low: np.ndarray, high: np.ndarray, values: np.ndarray
) -> np.ndarray | None:
    """For boxes (B, d), whether the program provably gives each one's value everywhere on it; None
    for programs that are not comparisons of linear scores."""
    scores = linear_scores(program)
    bounds = _bounds(program.result)
    if not scores or bounds is None or any(name not in scores for name, _ in bounds):
        return None
    if any(weights.shape != low.shape[1:] for weights in scores.values()):
        return None
    crossed = np.zeros(len(low), bool)
    for name, weights in scores.items():
        positive, negative = np.maximum(weights, 0), np.minimum(weights, 0)
        least = (positive * low + negative * high).sum(1)
        most = (positive * high + negative * low).sum(1)
        slack = _SLACK * (1 + (np.abs(weights) * np.maximum(np.abs(low), np.abs(high))).sum(1))
        for score, bound in bounds:
            if score == name:
                crossed |= (least - slack <= bound) & (bound <= most + slack)
    return ~crossed


def _bounds(result: Expr) -> list[tuple[str, float]] | None:
    """The scores and the numbers with which a result compares them; None where it does anything
    else."""
    match result:
        case Call("int" | "not", (inner,)):
            return _bounds(inner)
        case Call("ite", (test, Literal(), Literal())):
            return _bounds(test)
        case Call("and" | "or", args):
            parts = [_bounds(arg) for arg in args]
            return None if None in parts else [b for part in parts for b in part or ()]
        case Call("lt" | "le" | "gt" | "ge", (Literal(bound), Variable(score))):
            return [(score, float(bound))]  # type: ignore[arg-type]
        case Call("lt" | "le" | "gt" | "ge", (Variable(score), Literal(bound))):
            return [(score, float(bound))]  # type: ignore[arg-type]
    return None
