"""The inputs for which a target speaks, when its own network decides which they are.

In a closed loop each item of a sequence is among the labels that the network gives after the items
before it; such inputs are found by walking, and every prefix of one is one.  Greedy answers of many
steps are costly, so most samples of them are short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from dsl import types as t
from dsl.claim import Batch, Evaluation, Target
from dsl.domain import Domain, Shape
from dsl.errors import DistillError
from dsl.prefixes import KEPT, Prefixes, Resumable, begun, continued, is_resumable

_SPAN = 24
_WALKS = 192
_FIRST, _LENGTHS, _SHORT = 64, 6, 10
_LONG_ANSWER = 16
_WORDS = 8192


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


def alphabet(kind: t.Seq) -> np.ndarray:
    """The items of a sequence of tokens or bounded integers."""
    match kind.item:
        case t.Token(items) if items:
            return np.array(items)
        case t.Int(low, high) if low is not None and high is not None:
            return np.arange(low, high + 1)
    raise DistillError("D113", "a closed loop needs a finite alphabet")


@dataclass(frozen=True, slots=True)
class Words:
    """Inputs of a closed loop, of one length: items (B, L), the network's values after every prefix
    as numbers (B, L + 1) of `kinds`, the least margins of these, and what goes on from there."""

    items: np.ndarray
    codes: np.ndarray
    kinds: np.ndarray
    margins: np.ndarray
    prefixes: Prefixes | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def evaluation(self) -> Evaluation:
        """What `Target.evaluate` gives for these words, up to the rounding of sums."""
        return Evaluation(self.kinds[self.codes], self.margins)


@dataclass
class Walk:
    """A closed loop, walked item by item.  `ids` are the items as they are packed, where packing
    appends them to what it makes of the empty sequence and the network can be continued; else
    every word is read from its start."""

    target: Target
    name: str
    alphabet: np.ndarray
    ids: np.ndarray | None
    kinds: list[str] = field(default_factory=list)

    def start(self, count: int = 1) -> Words:
        """The empty word, so many times."""
        items = np.zeros((count, 0), self.alphabet.dtype)
        if self.ids is None:
            return self._read(items)
        prefixes = begun(self.target, self.target.pack({self.name: items}))
        return self._words(items, prefixes.last.values[:, None], prefixes.last.margins, prefixes)

    def longer(self, words: Words, rows: np.ndarray, choice: np.ndarray) -> Words:
        """Some words, each with one item more: the numbers of the words and of the items."""
        items = np.concatenate([words.items[rows], self.alphabet[choice][:, None]], axis=1)
        if self.ids is None:
            return self._read(items)
        if words.prefixes is None:
            prefixes = begun(self.target, self.target.pack({self.name: items}))
        else:
            prefixes = continued(self.target, words.prefixes, rows, self.ids[choice])
        codes = self._numbered(prefixes.last.values[:, None])
        codes = np.concatenate([words.codes[rows], codes], axis=1)
        margins = np.minimum(words.margins[rows], prefixes.last.margins)
        return Words(items, codes, np.array(self.kinds), margins, prefixes)

    def allowed(self, words: Words) -> np.ndarray:
        """(B, alphabet): which items may follow, by the last of a word's values."""
        items = self.alphabet.tolist()
        table = [[str(x) in text.split(" ") for x in items] for text in words.kinds.tolist()]
        return np.asarray(np.array(table, bool).reshape(-1, len(items))[words.codes[:, -1]])

    def _read(self, items: np.ndarray) -> Words:
        found = self.target.evaluate({self.name: items})
        values = found.values if found.values.ndim > 1 else found.values[:, None]
        return self._words(items, values, found.margins, None)

    def _words(
        self, items: np.ndarray, values: np.ndarray, margins: np.ndarray, prefixes: Prefixes | None
    ) -> Words:
        return Words(items, self._numbered(values), np.array(self.kinds), margins, prefixes)

    def _numbered(self, values: np.ndarray) -> np.ndarray:
        """The numbers of values in `kinds`, which grows by those that are new."""
        found, codes = np.unique(values.astype(str), return_inverse=True)
        self.kinds += [text for text in found.tolist() if text not in self.kinds]
        numbers = np.array([self.kinds.index(text) for text in found.tolist()], np.int32)
        return np.asarray(numbers[codes.reshape(values.shape)])


def walk(target: Target) -> Walk:
    """The walk through a target that is a closed loop."""
    name, kind = loop_sequence(target.domain)
    items = alphabet(kind)
    return Walk(target, name, items, _appended(target, name, items))


def _appended(target: Target, name: str, items: np.ndarray) -> np.ndarray | None:
    """The packed form of each item, if a word is packed as the empty one with its items appended
    and the network can be continued; None elsewhere."""
    if not is_resumable(target) or target.claim.positions is not None:
        return None
    pairs = np.stack(np.meshgrid(items, items, indexing="ij"), -1).reshape(-1, 2)
    empty = target.pack({name: pairs[:1, :0]})
    ids = target.pack({name: items[:, None]})[:, -1]
    both = np.stack(np.meshgrid(ids, ids, indexing="ij"), -1).reshape(-1, 2)
    expected = np.concatenate([np.repeat(empty, len(both), axis=0), both], axis=1)
    return ids if np.array_equal(target.pack({name: pairs}), expected) else None


def levels(target: Target, most: int) -> Iterator[tuple[int, Iterator[Words]]]:
    """All inputs of a closed loop by length, the shortest first, until a level has more than
    `most`: lengths with blocks of words, which are read as they are asked for, each level in full.
    A prefix that several words share is read once."""
    _, kind = loop_sequence(target.domain)
    walked = walk(target)
    blocks: list[Words] = [walked.start()]
    level: Iterator[Words] = iter(blocks)
    length = 0
    while kind.high is None or length <= kind.high:
        found: list[Words] = []
        if length >= kind.low:
            yield length, _noted(level, found)
        else:
            found += level
        may = [walked.allowed(words) for words in found]
        if not 0 < sum(int(each.sum()) for each in may) <= most:
            return
        level = _longer(walked, found, may)
        length += 1


def _noted(level: Iterator[Words], found: list[Words]) -> Iterator[Words]:
    for words in level:
        found.append(words)
        yield words


def _longer(walked: Walk, blocks: list[Words], may: list[np.ndarray]) -> Iterator[Words]:
    """The words that are longer by one; what is kept for them is dropped where it is too much."""
    runtime = walked.target.runtime
    width = runtime.kept if isinstance(runtime, Resumable) else 0
    total = 0
    for words, each in zip(blocks, may, strict=True):
        at, choice = np.nonzero(each)
        for k in range(0, len(at), _WORDS):
            grown = walked.longer(words, at[k : k + _WORDS], choice[k : k + _WORDS])
            total += width * (grown.items.size + 2 * len(grown))
            yield grown if total <= KEPT else replace(grown, prefixes=None)


def evenly(
    target: Target, count: int, longer_than: int, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """About `count` random inputs of a target with one sequence, every length above one as likely
    as another; of a closed loop walks, which may end early."""
    domain = target.domain
    name, kind = loop_sequence(domain)
    low = max(kind.low, longer_than + 1)
    high = low + _SPAN if kind.high is None else kind.high
    lengths = rng.integers(low, high + 1, count)
    if target.claim.closed_loop:
        return [b for b in _walks(target, lengths, rng) if b[name].shape[1] >= low]
    found = []
    for length, share in zip(*np.unique(lengths, return_counts=True), strict=True):
        batch = domain.sample_shape(Shape(((name, int(length)),)), int(share), rng)
        if batch is not None and rows_of(batch):
            found.append(batch)
    return found


def _walked(target: Target, count: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Different random walks, half of them short, the others of a few lengths, the greatest among
    them, where a network may leave its rule.  Some hundreds at a time at most: the answers on a
    walk cover all its prefixes; of few, none is long."""
    _, kind = loop_sequence(target.domain)
    high = kind.low + _SPAN if kind.high is None else kind.high
    walks = min(count, _WALKS)
    # Few lengths, so that walks can be run together.
    most = high if count > _FIRST else min(high, kind.low + _SPAN)
    spans = np.unique([*rng.integers(kind.low, most + 1, _LENGTHS - 1), most])
    wanted = rng.choice(spans, walks)
    short = rng.random(walks) < 0.5
    few = min(high, kind.low + _SHORT)
    wanted[short] = rng.integers(kind.low, few + 1, walks)[short]
    return _walks(target, wanted, rng)


def _walks(
    target: Target, wanted: np.ndarray, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Different random walks of some lengths, uniform over what may follow; a walk ends where
    nothing may."""
    name, kind = loop_sequence(target.domain)
    walked = walk(target)
    words = walked.start(len(wanted))
    ended: list[np.ndarray] = []
    for length in range(int(wanted.max(initial=0)) + 1):
        may = walked.allowed(words)
        stays = (wanted > length) & may.any(1)
        ended += list(words.items[~stays])
        at = np.flatnonzero(stays)
        if not len(at):
            break
        choice = np.where(may, rng.random(may.shape), -1.0).argmax(1)
        words, wanted = walked.longer(words, at, choice[at]), wanted[at]
    by_length: dict[int, list[np.ndarray]] = {}
    for row in ended:
        if len(row) >= kind.low:
            by_length.setdefault(len(row), []).append(row)
    return [
        {
            name: np.unique(
                np.array(found, walked.alphabet.dtype).reshape(len(found), length), axis=0
            )
        }
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
