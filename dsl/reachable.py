"""The inputs for which a target speaks, when its own network decides which they are.

In a closed loop each item of a sequence is among the labels that the network gives after the items
before it; such inputs are found by walking, and every prefix of one is one.  Greedy answers of many
steps are costly, so most samples of them are short.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsl import types as t
from dsl.claim import Batch, Target
from dsl.domain import Domain, Shape
from dsl.errors import DistillError

_SPAN = 24
_WALKS = 192
_FIRST, _LENGTHS, _SHORT = 64, 6, 10
_LONG_ANSWER = 16


def sample(target: Target, count: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """About `count` random inputs of the target, one batch for each shape."""
    if target.claim.closed_loop:
        return _walked(target, count, rng)
    if target.claim.feedback is not None:
        return _mostly_short(target.domain, count, rng)
    return target.domain.sample(count, rng)


def loop_sequence(domain: Domain) -> tuple[str, t.Seq]:
    """The sequence of a closed loop.  Raises D113 where there is not exactly one."""
    found = [(n, k) for n, k in domain.fields if isinstance(k, t.Seq)]
    if len(found) != 1 or len(domain.fields) != 1:
        raise DistillError("D113", "a closed loop needs a domain of one sequence")
    return found[0]


def allowed(target: Target, values: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Which items (columns) may follow: those among the last set of each row of decoded values."""
    last = values[:, -1] if values.ndim > 1 else values
    sets, codes = np.unique(last.astype(str), return_inverse=True)
    table = np.array(
        [[str(x) in text.split(" ") for x in items.tolist()] for text in sets.tolist()]
    )
    return np.asarray(table[codes.reshape(-1)], bool).reshape(len(last), len(items))


def alphabet(kind: t.Seq) -> np.ndarray:
    """The items of a sequence of tokens or bounded integers."""
    match kind.item:
        case t.Token(items) if items:
            return np.array(items)
        case t.Int(low, high) if low is not None and high is not None:
            return np.arange(low, high + 1)
    raise DistillError("D113", "a closed loop needs a finite alphabet")


def levels(target: Target, most: int) -> Iterator[tuple[int, list[dict[str, np.ndarray]]]]:
    """All inputs of a closed loop by length, the shortest first, until a level has more than
    `most`: lengths with batches.  The next level needs the network's answers on this one."""
    name, kind = loop_sequence(target.domain)
    items = alphabet(kind)
    rows = np.zeros((1, 0), items.dtype)
    length = 0
    while len(rows) and len(rows) <= most and (kind.high is None or length <= kind.high):
        blocks = [{name: rows[k : k + 8192]} for k in range(0, len(rows), 8192)]
        if length >= kind.low:
            yield length, blocks
        grown = []
        for block in blocks:
            may = allowed(target, target.evaluate(block).values, items)
            at, item = np.nonzero(may)
            grown.append(np.concatenate([block[name][at], items[item][:, None]], axis=1))
        rows = np.concatenate(grown)
        length += 1


def _walked(target: Target, count: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Different random walks, uniform over what may follow: half of them short, the others of a
    few lengths, the greatest among them, where a network may leave its rule.  Some hundreds at a
    time at most: the answers on a walk cover all its prefixes; of few, none is long."""
    name, kind = loop_sequence(target.domain)
    items = alphabet(kind)
    high = kind.low + _SPAN if kind.high is None else kind.high
    walks = min(count, _WALKS)
    # Few lengths, so that walks can be run together.
    most = high if count > _FIRST else min(high, kind.low + _SPAN)
    spans = np.unique([*rng.integers(kind.low, most + 1, _LENGTHS - 1), most])
    wanted = rng.choice(spans, walks)
    short = rng.random(walks) < 0.5
    few = min(high, kind.low + _SHORT)
    wanted[short] = rng.integers(kind.low, few + 1, walks)[short]
    rows = np.zeros((walks, 0), items.dtype)
    ended: list[np.ndarray] = []
    for length in range(high + 1):
        done = wanted[: len(rows)] <= length
        ended += list(rows[done])
        rows, wanted = rows[~done], wanted[~done]
        if not len(rows):
            break
        may = allowed(target, target.evaluate({name: rows}).values, items)
        alive = may.any(1)
        ended += list(rows[~alive])
        rows, wanted, may = rows[alive], wanted[alive], may[alive]
        if not len(rows):
            break
        choice = np.where(may, rng.random(may.shape), -1.0).argmax(1)
        rows = np.concatenate([rows, items[choice][:, None]], axis=1)
    by_length: dict[int, list[np.ndarray]] = {}
    for row in ended:
        if len(row) >= kind.low:
            by_length.setdefault(len(row), []).append(row)
    return [
        {name: np.unique(np.array(found, items.dtype).reshape(len(found), length), axis=0)}
        for length, found in sorted(by_length.items())
    ]


def _mostly_short(
    domain: Domain, count: int, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Half within a few items of the least length, most of the rest within two dozen, and a few
    of any length."""
    names = [(name, kind) for name, kind in domain.fields if isinstance(kind, t.Seq)]
    if not names or all(k.high is not None and k.high <= _LONG_ANSWER for _, k in names):
        return domain.sample(count, rng)
    shapes: dict[Shape, int] = {}
    for number in range(count):
        reach = 8 if number % 2 else _SPAN
        if number % 128 == 127:
            reach = 1 << 30
        lengths = []
        for name, kind in names:
            high = kind.low + _SPAN if kind.high is None else kind.high
            lengths.append((name, int(rng.integers(kind.low, min(high, kind.low + reach) + 1))))
        shape = Shape(tuple(lengths))
        shapes[shape] = shapes.get(shape, 0) + 1
    drawn = (
        domain.sample_shape(shape, share, rng)
        for shape, share in sorted(shapes.items(), key=lambda item: item[0].lengths)
    )
    return [batch for batch in drawn if batch is not None]


def rows_of(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def structured(domain: Domain, count: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Inputs that uniform choice hardly ever meets: sequences that read the same backwards, are
    sorted, periodic, or of few different items, a part of them with one item changed.  They are
    members of the domain; nothing is claimed of how likely they are."""
    batches = []
    for shape, share in domain.sampled_shapes(count, rng):
        batch = domain.sample_shape(shape, share, rng)
        if batch is None:
            continue
        for name, kind in domain.fields:
            if isinstance(kind, t.Seq) and batch[name].shape[1] > 1:
                batch[name] = _arranged(batch[name], rng)
        kept = domain.kept(batch)
        if rows_of(kept):
            batches.append(kept)
    return batches


def _arranged(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    result = rows.copy()
    count, length = rows.shape
    how = rng.integers(0, 6, (count,))
    for row in range(count):
        line = rows[row]
        match int(how[row]):
            case 0 | 1:
                half = line[: (length + 1) // 2]
                result[row] = np.concatenate([half, half[: length // 2][::-1]])
            case 2:
                result[row] = np.sort(line)[:: 1 if rng.random() < 0.7 else -1]
            case 3:
                result[row] = np.resize(line[: int(rng.integers(1, 4))], length)
            case _:
                few: np.ndarray = line[: int(rng.integers(1, 4))]
                result[row] = few[rng.integers(0, len(few), length)]
        for _ in range(int(rng.integers(0, 3))):
            result[row, int(rng.integers(length))] = line[int(rng.integers(length))]
    return result
