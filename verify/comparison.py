"""A program and a network in one graph, and in which ways the claim may fail.

For every piece of the program (see verify.pieces) the network must decode to the piece's value
wherever the piece's conditions hold; each way in which it may not is a violation.  Conditions and
claims are closed and the runtime's rounding counts as possible, so ties count as failures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dsl.claim import Decode, Target
from dsl.primitives import tensor as intervals
from dsl.program import Literal, Program
from verify.bounds import ranges
from verify.forms import Form, Rows, Untranslatable, Value, folded, number
from verify.graph import Builder
from verify.lowering import View, lowered, monotone_source
from verify.pieces import Piece, Translator, pieces, translator
from verify.rounding import UNITS, Unbounded, precision, refuse_overflow, rounded
from verify.vectors import Box, box_of
from verify.violations import Problem

_SOFTMAX_SLACK = Fraction(1, 2**17)
_TILES, _CHUNK = 4096, 256
_OVERLAP = 1e-9
"""By so much of a side the parts of a box overlap, so that rounding leaves no gap."""
"""Scores further apart than this stay apart and in order through a float32 softmax."""
_SAMPLES = 1024
_NEGLIGIBLE = 1e-4
"""A proof in real arithmetic stands where the runtime's rounding is so small beside the greatest
margin: then it may decide otherwise only next to a tie."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is to be shown on `box`; `arithmetic` says for which network it then holds."""

    problem: Problem
    box: Box
    arithmetic: str


def compared(program: Program, target: Target, *, exact: bool = False) -> Comparison:
    """The comparison of a program with a network; raises Untranslatable.

    `exact`: the network is the real function of its stored weights, and nothing rounds.
    """
    box = box_of(target.domain)
    if box is None:
        raise Untranslatable("a domain that is no box of numbers")
    if target.claim.closed_loop or target.claim.feedback is not None:
        raise Untranslatable("a claim about generated sequences")
    builder = Builder()
    builder.input(len(box.low))
    translate = translator(builder, box)
    unit, name = (0.0, "") if exact else _rounding(target)
    outputs, slack = network_outputs(target, translate, unit)
    parts = pieces(program, translate)
    inside = _domain_conditions(target, translate)
    violations: list[tuple[int, ...]] = []
    for piece in parts:
        for failure in failures(piece, target.claim.decode, outputs, translate.rows, slack):
            for condition in inside:
                violations.append(tuple(sorted({*piece.rows, *failure, *condition})))
    rows = translate.rows.node()
    doubt = 2.0 * float(slack)
    problem = Problem(builder.graph(), rows, tuple(dict.fromkeys(violations)), box.whole, doubt)
    arithmetic = (
        "real numbers, weights as stored"
        if exact
        else f"{name} rounded to nearest, sums of products in any order, functions "
        "within 16 rounding units; inputs rounded once, the program in float64"
    )
    return Comparison(problem, box, arithmetic)


def _rounding(target: Target) -> tuple[float, str]:
    """The rounding unit of a network's runtime, and the name of its numbers."""
    network = target.network(packed_shape(target))
    if network is None:
        raise Untranslatable("a network that has no translation")
    try:
        name = precision(network, target.claim.dtype)
    except Unbounded as reason:
        raise Untranslatable(str(reason)) from None
    return UNITS[name], name


def network_outputs(
    target: Target, translate: Translator, unit: float
) -> tuple[tuple[Form, ...], Fraction]:
    """The network's selected outputs as forms, and the margin within which decisions are open."""
    shape = packed_shape(target)
    network = target.network(shape)
    if network is None:
        raise Untranslatable("a network that has no translation")
    slack = Fraction(0)
    if target.claim.decode.rule in ("argmax", "argmin"):
        network, through_softmax = monotone_source(network)
        slack = _SOFTMAX_SLACK if through_softmax else slack
    source = packed_view(target, translate, shape, unit)
    if unit:
        _refuse_overflow(target, network, translate, source)
    view = lowered(network, source, translate.rows.builder, unit)
    places = view.places
    match target.claim.positions:
        case None:
            pass
        case Literal(int() as place):
            places = places[place]
        case _:
            raise Untranslatable("positions that are no number")
    if places.ndim > 1 and places.size != places.shape[-1]:
        raise Untranslatable("outputs at several positions")
    one = Fraction(1)
    forms = []
    for place in places.ravel().tolist():
        atom = (view.node, place)
        forms.append(Form(Fraction(0), ((atom, one),), (((atom), one),)))
    return tuple(forms), slack


def _refuse_overflow(target: Target, network: Program, translate: Translator, source: View) -> None:
    try:
        box = box_of(target.domain)
        assert box is not None
        whole = _packed_boxes(translate, source, box.low[None], box.high[None])
        refuse_overflow(network, whole, target.claim.dtype)
    except Unbounded as reason:
        raise Untranslatable(str(reason)) from None


def _packed_boxes(
    translate: Translator, source: View, low: np.ndarray, high: np.ndarray
) -> intervals.Box:
    """What the packed inputs lie between, (B, *shape), where inputs are between ends (B, d)."""
    found = ranges(translate.rows.builder.graph(), low, high, refine=False)
    return intervals.Box(*(ends[source.node][:, source.places] for ends in (found.low, found.high)))


def rounding_of(target: Target, tiles: int = 1) -> float:
    """How far any output of the runtime may be from the real function of the stored weights, on
    the whole domain (without a softmax at the end, where only the order of outputs counts): the
    greatest bound on any of at most so many parts.  Raises Untranslatable where none is known."""
    box = box_of(target.domain)
    network = target.network(packed_shape(target))
    if box is None or network is None:
        raise Untranslatable("a network without a translation, or no box")
    slack = 0.0
    if target.claim.decode.rule in ("argmax", "argmin"):
        network, through_softmax = monotone_source(network)
        slack = float(_SOFTMAX_SLACK) if through_softmax else 0.0
    builder = Builder()
    builder.input(len(box.low))
    translate = translator(builder, box)
    source = packed_view(target, translate, packed_shape(target), 0.0)
    worst = 0.0
    low, high = _tiles(box, tiles)
    try:
        for start in range(0, len(low), _CHUNK):
            part = slice(start, start + _CHUNK)
            packed = _packed_boxes(translate, source, low[part], high[part])
            found = rounded(network, packed, target.claim.dtype)
            worst = max(worst, float(found.error.max(initial=0.0)))
    except Unbounded as reason:
        raise Untranslatable(str(reason)) from None
    return worst + slack


def _tiles(box: Box, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most so many parts, (n, d) each, that cover a box, every side in equally many."""
    moving = np.flatnonzero(box.high > box.low)
    per = int(most ** (1 / max(len(moving), 1)) + 1e-9)
    axes = [np.array([0])] * len(box.low)
    for axis in moving:
        axes[axis] = np.arange(per)
    place = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(box.low))
    width = box.high - box.low
    low = np.maximum(box.low + width * (place / per - _OVERLAP), box.low)
    high = np.minimum(box.low + width * ((place + 1) / per + _OVERLAP), box.high)
    return low, high


def blurred(target: Target) -> tuple[float, str]:
    """The runtime's distance from real arithmetic as in `rounding_of`, and, where it is so great
    that a proof in real arithmetic would say little about the runtime, the reason why; else ""."""
    error, blur = _blurred(target, 1)
    return (error, blur) if not blur else _blurred(target, _TILES)


def _blurred(target: Target, tiles: int) -> tuple[float, str]:
    try:
        error = rounding_of(target, tiles)
    except Untranslatable as reason:
        return np.inf, f"how far the runtime is from real arithmetic is not known: {reason}"
    decode = target.claim.decode
    if decode.rule == "value":
        if error <= 0.9 * decode.tolerance:
            return error, ""
        return error, f"the runtime's rounding, up to {error:.2g}, is as large as the tolerance"
    widest = 0.0
    for batch in target.domain.sample(_SAMPLES, np.random.default_rng(0)):
        margins = target.evaluate(batch).margins
        widest = max(widest, float(margins[np.isfinite(margins)].max(initial=0.0)))
    if error <= _NEGLIGIBLE * widest:
        return error, ""
    return error, f"the runtime's rounding, up to {error:.2g}, decides too much"


def packed_shape(target: Target) -> tuple[int, ...]:
    """The shape of the network's input without the batch axis."""
    batch = target.domain.sample(2, np.random.default_rng(0))
    if not batch:
        raise Untranslatable("a domain from which nothing can be drawn")
    return tuple(target.pack(batch[0]).shape[1:])


def packed_view(target: Target, translate: Translator, shape: tuple[int, ...], unit: float) -> View:
    """The packed input as a view of a node, rounded to the input's precision."""
    cases = translate.cases(target.claim.pack)
    if len(cases) != 1 or cases[0][0]:
        raise Untranslatable("a packing with conditions")
    forms = list(_flattened(cases[0][1]))
    node = Rows(translate.rows.builder).node(forms)
    if unit:
        node = translate.rows.builder.cast(node, unit)
    if int(np.prod(shape, dtype=int)) != len(forms):
        raise Untranslatable("a packing of another size")
    return View(node, np.arange(len(forms)).reshape(shape))


def _flattened(value: Value) -> Iterator[Form]:
    match value:
        case tuple():
            for item in value:
                yield from _flattened(item)
        case bool():
            yield number(value)
        case Form():
            yield value
        case _:
            raise Untranslatable("a packing of what is no number")


def _domain_conditions(target: Target, translate: Translator) -> tuple[tuple[int, ...], ...]:
    """The rows that are >= 0 where the domain's condition holds, for each way it may hold."""
    if target.domain.where is None:
        return ((),)
    return tuple(
        tuple(row for _, _, row in conditions)
        for conditions in translate.truth(target.domain.where, True)
    )


def failures(
    piece: Piece, decode: Decode, outputs: tuple[Form, ...], rows: Rows, slack: Fraction
) -> Iterator[tuple[int, ...]]:
    """The ways in which the network may not decode to the piece's value, as rows >= 0."""
    match decode.rule:
        case "argmax" | "argmin":
            yield from _wrong_place(piece.value, decode, outputs, rows, slack)
        case "threshold":
            yield from _wrong_side(piece.value, decode, outputs, rows)
        case "value" | "round":
            values = piece.value if isinstance(piece.value, tuple) else (piece.value,)
            tolerance = Fraction(decode.tolerance)
            if decode.rule == "round":
                known, plain = folded(piece.value)
                if not known or not isinstance(plain, int):
                    raise Untranslatable("a rounded output against what is no whole number")
                tolerance = Fraction(1, 2)
            if len(values) != len(outputs):
                yield ()
                return
            for output, value in zip(outputs, values, strict=True):
                form = number(value) if isinstance(value, bool) else value
                if not isinstance(form, Form):
                    yield ()
                    return
                margin = Form(tolerance)
                yield from _single(output - form - margin, rows)
                yield from _single(form - output - margin, rows)


def _single(form: Form, rows: Rows) -> Iterator[tuple[int, ...]]:
    if form.terms:
        yield (rows.row(form),)
    elif form.constant >= 0:
        yield ()


def _wrong_place(
    value: Value, decode: Decode, outputs: tuple[Form, ...], rows: Rows, slack: Fraction
) -> Iterator[tuple[int, ...]]:
    known, plain = folded(value)
    if not known:
        raise Untranslatable("a decision that is computed")
    labels: tuple[Any, ...] = decode.labels or tuple(range(len(outputs)))
    right = [i for i, label in enumerate(labels) if _same_label(label, plain)]
    sign = 1 if decode.rule == "argmax" else -1
    if not right:
        yield ()
        return
    for other in range(len(outputs)):
        if other in right:
            continue
        gaps = [
            (outputs[other] - outputs[i] if sign > 0 else outputs[i] - outputs[other]) + Form(slack)
            for i in right
        ]
        yield tuple(rows.row(gap) for gap in gaps)


def _same_label(label: Any, value: Any) -> bool:
    if isinstance(label, str) != isinstance(value, str):
        return False
    return bool(label == value)


def _wrong_side(
    value: Value, decode: Decode, outputs: tuple[Form, ...], rows: Rows
) -> Iterator[tuple[int, ...]]:
    threshold = Form(Fraction(decode.threshold))
    if decode.labels is None:
        if len(outputs) != 1:
            raise Untranslatable("several thresholds")
        known, plain = folded(value)
        if not known:
            raise Untranslatable("a decision that is computed")
        if plain not in (True, False):
            yield ()
            return
        sides = [bool(plain)]
    else:
        known, plain = folded(value)
        names = [str(label) for label in decode.labels]
        chosen = set(str(plain).split(" ")) if known else set()
        sides = [name in chosen for name in names]
        if not known or " ".join(n for n, s in zip(names, sides, strict=True) if s) != plain:
            yield ()
            return
    for output, above in zip(outputs, sides, strict=True):
        yield from _single(threshold - output if above else output - threshold, rows)
