"""Proof by dependence: each answer hangs on few items of the sequence, whatever the others are.

The program is read to see which items the answer at a place looks at; the network's outputs there
are bounded, by interval arithmetic, for each choice of these items and all choices of the others
at once.  Where the decision is certain for every choice, a domain of 10**18 inputs is settled by a
few thousand boxes.  (Attention to places far away must have vanished in the bounds: it has in
compiled transformers, and in trained ones whose heads are hard.)
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl import types as t
from dsl.claim import Claim, Proved, Target, Unknown, Verdict
from dsl.decoding import selected
from dsl.evaluate import run
from dsl.primitives.base import Undefined
from dsl.primitives.tensor import Box
from dsl.program import Call, Comprehension, Expr, Literal, Program, Variable, children, walk
from verify.enumeration import MOST
from verify.rounding import Unbounded, rounded

_BOXES = 400_000
_BLOCK = 512


@dataclass(frozen=True)
class Reads:
    """The items that a per-position program reads: at the position itself, if `own`, and at the
    places that expressions over the index and the length give."""

    element: Expr
    index: str | None
    own: bool
    places: tuple[Expr, ...]


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proved where every box is decided, else Unknown with the share that is; None where program
    or network are of another kind, or plain enumeration reaches everything."""
    domain, claim = target.domain, target.claim
    sequences = [(name, kind) for name, kind in domain.fields if isinstance(kind, t.Seq)]
    if len(sequences) != 1 or len(domain.fields) != 1 or domain.where is not None:
        return None
    name, kind = sequences[0]
    if kind.high is None or (domain.raw_size or 0) <= MOST:
        return None
    if not answers_at_all_places(claim, name):
        return None
    reads = reads_of(program, name)
    if reads is None:
        return None
    digest, decided, boxes, margin = hashlib.sha256(), 0, 0, float("inf")
    for length in range(max(kind.low, 1), kind.high + 1):
        table = packings(target, name, length)
        network = target.network(table.packed.shape[1:]) if table is not None else None
        if table is None or network is None:
            return None
        for position in range(length):
            places = _places(reads, position, length)
            if places is None or boxes + len(table.items) ** len(places) > _BOXES:
                return None
            for cells in _blocks(len(table.items), places):
                if time.monotonic() > deadline:
                    return Unknown(f"time is up after {boxes} boxes")
                try:
                    margins, values = _margins(
                        program, target, network, table, position, places, cells
                    )
                except Unbounded as reason:
                    return Unknown(f"no bound of the runtime's rounding: {reason}")
                if margins is None:
                    return None
                boxes += len(cells)
                decided += int((margins > 0).sum())
                margin = min(margin, float(margins.min()))
                digest.update(repr(values.tolist()).encode())
    table_of: dict[str, Any] = {
        "kind": "dependence",
        "boxes": boxes,
        "decided": decided,
        "smallest_margin": margin,
        "digest": digest.hexdigest(),
    }
    if decided < boxes:
        return Unknown(
            f"{boxes - decided} of {boxes} boxes are not decided by interval bounds",
            evidence=table_of,
        )
    return Proved(
        "dependence",
        str(domain),
        "the stored weights, by outward rounded intervals that hold for every float32 runtime, "
        f"sums in any order; the smallest margin is {margin:.3g} beyond all rounding",
        table_of,
    )


def reads_of(program: Program, name: str) -> Reads | None:
    """What a program `[... for i, c in enumerate(s)]` reads; None for other programs."""
    if program.body or not isinstance(program.result, Comprehension):
        return None
    loop = program.result
    index: str | None
    item: str | None
    if loop.condition is not None:
        return None
    s = Variable(name)
    match loop.source:
        case Variable(source) if source == name and len(loop.targets) == 1:
            index, item = None, loop.targets[0]
        case Call("enumerate", (Variable(source),)) if source == name and len(loop.targets) == 2:
            index, item = loop.targets
        case Call("range", (Call("len", (Variable(source),)),)) if source == name:
            index, item = loop.targets[0], None
        case _:
            return None
    places: list[Expr] = []
    stack = [loop.element]
    own = False
    while stack:
        match stack.pop():
            case Call("len", (Variable(source),)) if source == name:
                continue
            case Call("index", (Variable(source), place)) if source == name:
                bound = {index, name}
                uses = {node.name for node in walk(place) if isinstance(node, Variable)}
                if not uses <= bound or not _only_length(place, s):
                    return None
                places.append(place)
            case Variable(used) if used == name:
                return None
            case Variable(used):
                own |= used == item
            case Comprehension():
                return None
            case expr:
                stack.extend(children(expr))
    return Reads(loop.element, index, own, tuple(dict.fromkeys(places)))


def _only_length(expr: Expr, s: Variable) -> bool:
    match expr:
        case Call("len", (inner,)) if inner == s:
            return True
        case Variable():
            return expr != s
        case Comprehension():
            return False
        case _:
            return all(_only_length(child, s) for child in children(expr))


def _places(reads: Reads, position: int, length: int) -> tuple[int, ...] | None:
    """The items that the answer at a position may look at, in ascending order."""
    found = {position} if reads.own else set()
    for place in reads.places:
        inputs = tuple((n, None) for n in (reads.index or "index", "length"))
        named = _with_length(place)
        batch = {reads.index or "index": np.array([position]), "length": np.array([length])}
        try:
            value = int(run(Program("place", inputs, (), named), batch)[0])
        except Undefined:
            # Python would not get here, or the answer is not defined: either way it is not read.
            continue
        if -length <= value < length:
            found.add(value % length)
    return tuple(sorted(found))


def _with_length(expr: Expr) -> Expr:
    match expr:
        case Call("len", _):
            return Variable("length")
        case Call(primitive, args, options):
            return Call(primitive, tuple(_with_length(arg) for arg in args), options)
        case _:
            return expr


def answers_at_all_places(claim: Claim, name: str) -> bool:
    """Is the claim about all positions at once, of inputs packed item by item?"""
    if claim.feedback is not None or claim.closed_loop or claim.positions is not None:
        return False
    return claim.decode.rule in ("argmax", "argmin") and _itemwise(claim.pack, Variable(name))


def _itemwise(expr: Expr, s: Variable) -> bool:
    """Is each packed entry a function of one item, or of the length alone?"""
    match expr:
        case Variable():
            return expr == s
        case Call("list", args):
            return all(_only_length(arg, s) for arg in args)
        case Call("add", (a, b)):
            return _itemwise(a, s) and _itemwise(b, s)
        case Call("mul", (a, b)):
            return _itemwise(a, s) and _only_length(a, s) and _only_length(b, s)
        case Comprehension(element, (item,), source, None):
            alone = {n.name for n in walk(element) if isinstance(n, Variable)} <= {item}
            return source == s and alone
        case Literal(value):
            return isinstance(value, tuple)
    return False


@dataclass(frozen=True)
class Packings:
    """`packed[a, k]` is entry k where every item is the item number a; `owner[k]` says which
    position of the sequence entry k belongs to (-1: none)."""

    name: str
    length: int
    items: np.ndarray
    packed: np.ndarray
    owner: np.ndarray


def packings(target: Target, name: str, length: int) -> Packings | None:
    kind = target.domain.types[name]
    assert isinstance(kind, t.Seq)
    match kind.item:
        case t.Token(alphabet) if alphabet:
            items = np.array(alphabet)
        case t.Int(low, high) if low is not None and high is not None:
            items = np.arange(low, high + 1)
        case _:
            return None
    constant = np.repeat(items[:, None], length, axis=1)
    packed = target.pack({name: constant})
    owner = np.full(packed.shape[1], -1)
    if packed.ndim != 2 or len(items) < 2:
        return None
    for position in range(length):
        changed = constant.copy()
        changed[:, position] = np.roll(items, 1)
        owner[(target.pack({name: changed}) != packed).any(0)] = position
    return Packings(name, length, items, packed, owner)


def _blocks(count: int, places: tuple[int, ...]) -> Iterator[np.ndarray]:
    """All choices of item numbers for some places, (cells, places), in blocks."""
    choices = itertools.product(range(count), repeat=len(places))
    while block := list(itertools.islice(choices, _BLOCK)):
        yield np.array(block, np.int64).reshape(len(block), len(places))


def _margins(
    program: Program,
    target: Target,
    network: Program,
    table: Packings,
    position: int,
    places: tuple[int, ...],
    cells: np.ndarray,
) -> tuple[np.ndarray | None, np.ndarray]:
    """For each choice, by how much the program's answer is ahead of all others, at least."""
    low = np.repeat(table.packed.min(0)[None], len(cells), axis=0)
    high = np.repeat(table.packed.max(0)[None], len(cells), axis=0)
    inputs = np.repeat(table.items[:1], len(cells) * table.length).reshape(len(cells), -1)
    for k, place in enumerate(places):
        for entry in np.flatnonzero(table.owner == place):
            low[:, entry] = high[:, entry] = table.packed[cells[:, k], entry]
        inputs[:, place] = table.items[cells[:, k]]
    batch = {table.name: inputs}
    wanted = run(program, batch)[:, position]
    claim = target.claim
    # What the runtime may compute: the real values of the box, and its rounding on top.
    whole = np.dtype(claim.dtype).kind in "iu"
    found = rounded(network, Box(low, high), claim.dtype, exact_input=whole)
    ends = (found.box.low - found.error, found.box.high + found.error)
    lows, highs = (selected(claim, np.asarray(x), batch) for x in ends)
    if lows.ndim != 3 or lows.shape[1] != table.length:
        return None, wanted
    lows, highs = lows[:, position], highs[:, position]
    return leads(claim, wanted, lows, highs), wanted


def leads(claim: Claim, wanted: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """By how much the wanted labels (B,) are ahead of all others, at least, for outputs (B, labels)
    within bounds."""
    if claim.decode.rule == "argmin":
        lows, highs = -highs, -lows
    labels = claim.decode.labels or tuple(range(lows.shape[1]))
    is_wanted = np.array([[label == value for label in labels] for value in wanted.tolist()])
    ahead = np.where(is_wanted, lows, -np.inf).max(1)
    behind = np.where(is_wanted, -np.inf, highs).max(1)
    return np.nan_to_num(ahead - behind, nan=-np.inf)
