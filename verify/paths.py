"""Proof over the paths of a loop: what a head gathers along a word is a sum over its steps, and so
is the length of a path.

The program is a loop whose state takes few values: all words that bring it to one state are paths
of a graph.  For each place, item there and state, shortest and longest paths bound what the one
attention of the network can gather; from there its outputs are bounded by intervals.  Where the
program's answer leads for every state, all words are settled: a running sum of 20 items, 10**20
words, by some thousand boxes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl import types as t
from dsl.claim import Proved, Target, Unknown, Verdict
from dsl.decoding import selected
from dsl.networks import bindings
from dsl.passes import PASSES, canonical, with_folded_constants, with_merged_affine_maps
from dsl.primitives.base import Undefined
from dsl.primitives.tensor import Box
from dsl.primitives.tensor.linear import bilinear
from dsl.program import Program, Variable
from verify.dependence import Packings, answers_at_all_places, leads, packings
from verify.enumeration import MOST
from verify.recurrent.machines import Machine, distinct_rows, machine_of, product
from verify.rounding import Unbounded, rounded

_STEPS = 100_000
"""At most so many steps of the loop from one place to the next."""
_BLOCK = 256
_ROOM = 1e-11
"""Covers the float64 rounding of one operation, relatively to what it gives."""
_LEAST = 1e-6
"""A margin below this decides nothing: it is more than the passes change in the last bits."""
_EXACT = tuple(
    pair for pair in PASSES if pair[1] not in (with_folded_constants, with_merged_affine_maps)
)
"""Passes after which a network is the same function of real numbers."""


@dataclass(frozen=True)
class Steps:
    """All steps of a loop at one place: from which state, with which item, to which state of the
    next place, in the order of the latter; `starts` is where each of these begins."""

    source: np.ndarray
    item: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class Levels:
    """The states that words of each length lead to, and the steps from one length to the next."""

    states: tuple[np.ndarray, ...]
    steps: tuple[Steps, ...]


@dataclass(frozen=True)
class Head:
    """The one attention of a network, for words of one length: boxes of the rows of its arguments,
    (place, item, heads, width), that hold whatever the other items are."""

    network: Program
    name: str
    query: Box
    key: Box
    value: Box
    scale: float


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proved where every box is decided, else Unknown; None where program or network are of another
    kind, or plain enumeration reaches everything."""
    domain, claim = target.domain, target.claim
    machine = machine_of(program, domain.names)
    if machine is None or machine.final or len(domain.fields) != 1 or domain.where is not None:
        return None
    ((name, kind),) = domain.fields
    if not isinstance(kind, t.Seq) or kind.high is None or (domain.raw_size or 0) <= MOST:
        return None
    if not answers_at_all_places(claim, name):
        return None
    digest, boxes, smallest = hashlib.sha256(), 0, float("inf")
    try:
        for length in range(max(kind.low, 1), kind.high + 1):
            table = packings(target, name, length)
            if table is None or not np.array_equal(table.owner, np.arange(length)):
                return None
            original = target.network((length,))
            head = None if original is None else _head(original, table, claim.dtype)
            levels = _levels(machine, table.items, length)
            if original is None or head is None or levels is None:
                return None
            error = _rounding(original, table, claim.dtype)
            for margins, answers in _margins(target, head, table, machine, levels, error, deadline):
                boxes += len(margins)
                smallest = min(smallest, float(margins.min()))
                if smallest <= _LEAST:
                    return Unknown(f"a box is not decided by interval bounds, after {boxes}")
                digest.update(repr(answers.tolist()).encode())
    except (Unbounded, Undefined) as reason:
        return Unknown(f"no bound of the network: {reason}")
    except TimeoutError:
        return Unknown(f"time is up after {boxes} boxes")
    return Proved(
        "paths",
        str(domain),
        "the stored weights, by intervals that hold for every float32 runtime, sums in any order; "
        f"the smallest margin is {smallest:.3g} beyond all rounding",
        {
            "kind": "paths",
            "boxes": boxes,
            "smallest_margin": smallest,
            "digest": digest.hexdigest(),
        },
    )


def _head(original: Program, table: Packings, dtype: str) -> Head | None:
    """The attention of a network that has one, each place seeing itself and those before."""
    network, _ = canonical(original, table.packed, passes=_EXACT)
    found = [(name, call) for name, call in bindings(network) if call.primitive == "attention"]
    if len(found) != 1:
        return None
    ((name, call),) = found
    arguments = [arg.name for arg in call.args if isinstance(arg, Variable)]
    if len(call.args) != 3 or len(arguments) != 3 or not call.option("causal", False):
        return None
    query, key, value = (_rows(network, argument, table, dtype) for argument in arguments)
    if query is None or key is None or value is None:
        return None
    scale = call.option("scale", None)
    scale = float(query.shape[-1] ** -0.5 if scale is None else scale)
    return Head(network, name, query, key, value, scale)


def _rows(network: Program, name: str, table: Packings, dtype: str) -> Box | None:
    """Boxes of the rows of an array (heads, places, width), each where its own item is given and
    the others are not: (places, items, heads, width)."""
    parts = []
    for place in range(table.length):
        found = rounded(
            replace(network, result=Variable(name)),
            _given(table, place, np.arange(len(table.items))),
            dtype,
            exact_input=True,
        ).box
        if found.low.ndim != 4 or found.shape[2] != table.length:
            return None
        parts.append((found.low[:, :, place], found.high[:, :, place]))
    lows, highs = zip(*parts, strict=True)
    return Box(np.stack(lows), np.stack(highs))


def _given(table: Packings, place: int, items: np.ndarray) -> Box:
    """The packed inputs with given items, by number, at one place."""
    low = np.repeat(table.packed.min(0)[None], len(items), axis=0)
    high = np.repeat(table.packed.max(0)[None], len(items), axis=0)
    low[:, place] = high[:, place] = table.packed[items, place]
    return Box(low, high)


def _rounding(original: Program, table: Packings, dtype: str) -> np.ndarray:
    """How far outputs of the runtime may be from real arithmetic, on any input, (1, ...)."""
    everything = Box(table.packed.min(0)[None], table.packed.max(0)[None])
    whole = np.dtype(dtype).kind in "iu"
    return rounded(original, everything, dtype, exact_input=whole).error


def _levels(machine: Machine, items: np.ndarray, length: int) -> Levels | None:
    """All states at all places; None where there are too many."""
    states = [np.array([machine.first], np.int64).reshape(1, len(machine.first))]
    found: list[Steps] = []
    for _ in range(length):
        source, item = product(len(states[-1]), len(items))
        if len(source) > _STEPS:
            return None
        after, _ = machine.advance(states[-1][source], (items[item],))
        first, number = distinct_rows(after)
        order = np.argsort(number, kind="stable")
        starts = np.searchsorted(number[order], np.arange(len(first)))
        found.append(Steps(source[order], item[order], starts))
        states.append(after[first])
    return Levels(tuple(states), tuple(found))


def _margins(
    target: Target,
    head: Head,
    table: Packings,
    machine: Machine,
    levels: Levels,
    error: np.ndarray,
    deadline: float,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each place, the last first, each item there and each state before it: by how much the
    program's answer is ahead of all others, at least; and these answers."""
    items = table.items
    for place in reversed(range(table.length)):
        for item in range(len(items)):
            if time.monotonic() > deadline:
                raise TimeoutError
            states = levels.states[place]
            answers = machine.advance(states, (np.repeat(items[item : item + 1], len(states)),))[1]
            mixed = _mixed(head, levels.steps, place, item)
            for start in range(0, len(states), _BLOCK):
                part = slice(start, start + _BLOCK)
                wanted = answers[part]
                box = Box(mixed.low[part], mixed.high[part])
                lows, highs = _outputs(target, head, table, place, item, box, error)
                yield leads(target.claim, wanted, lows, highs), wanted


def _outputs(
    target: Target,
    head: Head,
    table: Packings,
    place: int,
    item: int,
    mixed: Box,
    error: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of what the runtime may give at a place, where the item there and what the head
    gathered are known."""
    claim = target.claim
    rows, heads, width = mixed.shape
    low = np.full((rows, heads, table.length, width), -np.inf)
    high = -low
    low[:, :, place], high[:, :, place] = mixed.low, mixed.high
    found = rounded(
        head.network,
        _given(table, place, np.full(rows, item)),
        claim.dtype,
        exact_input=True,
        known={head.name: Box(low, high)},
    ).box
    batch = {table.name: np.repeat(table.items[:1], rows * table.length).reshape(rows, -1)}
    ends = (selected(claim, x, batch) for x in (found.low - error, found.high + error))
    lows, highs = (np.asarray(x) for x in ends)
    if lows.ndim != 3 or lows.shape[1] != table.length:
        raise Unbounded("outputs of another shape")
    return lows[:, place], highs[:, place]


def _mixed(head: Head, steps: Sequence[Steps], place: int, item: int) -> Box:
    """What the head gathers at a place with a given item there, (states before, heads, width).

    Values are taken from their middle, so that what is not known of the weights counts for less.
    """
    weights = _weights(head, place, item)
    low, high = head.value.low[: place + 1], head.value.high[: place + 1]
    middle = 0.5 * (low.min((0, 1)) + high.max((0, 1)))
    values = _outward(low - middle, high - middle)
    least, most = weights.low[..., None], weights.high[..., None]
    terms = _outward(
        np.minimum(least * values.low, most * values.low),
        np.maximum(least * values.high, most * values.high),
    )
    top = _along(steps[:place], terms, item)
    bottom = _along(steps[:place], Box(least, most), item)
    if not (bottom.low > 0).all():
        raise Unbounded("weights that may all vanish")
    share = _outward(
        np.minimum(top.low / bottom.low, top.low / bottom.high),
        np.maximum(top.high / bottom.low, top.high / bottom.high),
    )
    return _outward(share.low + middle, share.high + middle)


def _weights(head: Head, place: int, item: int) -> Box:
    """The weights of the items at each place up to this one, (places, items, heads), up to a common
    factor."""
    query = Box(head.query.low[place, item], head.query.high[place, item])
    keys = Box(head.key.low[: place + 1], head.key.high[: place + 1])
    scores = bilinear(lambda q, k: np.einsum("hw,pihw->pih", q, k), query, keys, keys.shape[-1])
    scaled = _outward(*np.sort([scores.low * head.scale, scores.high * head.scale], axis=0))
    top = scaled.high.max((0, 1))
    return _outward(np.exp(scaled.low - top), np.exp(scaled.high - top))


def _outward(low: np.ndarray, high: np.ndarray) -> Box:
    room = _ROOM * np.maximum(np.abs(low), np.abs(high)) + 1e-300
    return Box(low - room, high + room)


def _along(steps: Sequence[Steps], terms: Box, item: int) -> Box:
    """Bounds of the sums of terms (places, items, ...) along all paths, for each state after the
    steps, and of a last term of the item given."""
    sums = Box(*np.zeros((2, 1, *terms.shape[2:])))
    for place, step in enumerate(steps):
        low = sums.low[step.source] + terms.low[place, step.item]
        high = sums.high[step.source] + terms.high[place, step.item]
        sums = _outward(
            np.minimum.reduceat(low, step.starts, axis=0),
            np.maximum.reduceat(high, step.starts, axis=0),
        )
    last = len(steps)
    return _outward(sums.low + terms.low[last, item], sums.high + terms.high[last, item])
