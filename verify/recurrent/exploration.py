"""The product of a program's states and regions of hidden space, length by length.

Every reachable pair (program state, hidden state) lies in one of a level's boxes.  Boxes of one
program state whose centres fall into one cell of a grid are replaced by their hull, so that a level
stays small whatever the number of words; a coarser grid is faster, a finer one proves more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dsl.claim import Decode
from dsl.primitives.base import Undefined
from verify.recurrent.enclosures import Form
from verify.recurrent.machines import Alphabet, Machine, distinct_rows
from verify.recurrent.regions import Basis

Enclosed = Callable[[np.ndarray, Form], tuple[Form, Form]]
"""One step of the network: numbers of symbols (B,) and an enclosure of states (B, h) to enclosures
of raw outputs (B, *y) and of next states (B, h)."""

_CHUNK = 1 << 15


@dataclass(frozen=True, slots=True)
class Network:
    """A recurrent network for enclosures: its step and its first state (h,), to within
    `uncertainty`."""

    step: Enclosed
    start: np.ndarray
    uncertainty: float = 0.0


@dataclass(frozen=True, slots=True)
class Level:
    """Pairs after some number of symbols: program states (n, k) and boxes (n, h) in a basis."""

    states: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True, slots=True)
class Moves:
    """Which pair of a level and which symbol lead to which pair of the next, sorted by `child`;
    `suspect` marks those at which the answers may differ."""

    parent: np.ndarray
    symbol: np.ndarray
    child: np.ndarray
    suspect: np.ndarray


@dataclass
class Exploration:
    """What has been established: apart from words through suspect moves, the answers agree on
    every word of up to `proven` symbols.  `words[t]` counts the words of each pair."""

    proven: int = 0
    pairs: int = 0
    widest: int = 0
    margin: float = float("inf")
    reason: str = ""
    levels: list[Level] = field(default_factory=list)
    moves: list[Moves] = field(default_factory=list)
    words: list[np.ndarray] = field(default_factory=list)
    suspected: float = 0.0
    """How many words lead through suspect moves, each counted where it is first suspected or
    again."""


def start_level(machine: Machine, network: Network, basis: Basis) -> Level:
    first = np.array([machine.first], np.int64).reshape(1, len(machine.first))
    low, high = basis.box_of(network.start.astype(np.float64)[None], network.uncertainty)
    return Level(first, low, high)


def explore(
    machine: Machine,
    network: Network,
    alphabet: Alphabet,
    decode: Decode,
    basis: Basis,
    *,
    steps: int,
    asked: Callable[[int], bool],
    grid: float,
    most: int,
    suspects: float,
    deadline: float,
) -> Exploration:
    """Carries all pairs through `steps` symbols; answers are compared after those numbers of
    symbols that are `asked` for.  Stops where more than `most` pairs meet one level, where more
    than `suspects` words are suspected, or at the deadline; `reason` says so."""
    result = Exploration(levels=[start_level(machine, network, basis)], words=[np.ones(1)])
    for length in range(1, steps + 1):
        level = result.levels[-1]
        if len(level) * len(alphabet) > most:
            result.reason = f"{len(level) * len(alphabet)} pairs after {length} symbols"
            return result
        try:
            images = _images(
                machine, network, alphabet, decode, basis, level, asked(length), grid, deadline
            )
        except Undefined as undefined:
            result.reason = f"the program has no value on some word: {undefined.reason}"
            return result
        if images is None:
            result.reason = "time is up"
            return result
        following, moves, slack = images
        if not np.isfinite(following.low).all() or not np.isfinite(following.high).all():
            result.reason = "the enclosures are not finite"
            return result
        _recorded(result, following, moves, slack)
        if result.suspected > suspects:
            result.reason = f"more than {suspects:.0f} words may be answered differently"
            return result
        result.proven = length
    return result


def _recorded(result: Exploration, following: Level, moves: Moves, slack: float) -> None:
    before = result.words[-1]
    counts = np.bincount(moves.child, before[moves.parent], minlength=len(following))
    result.levels.append(following)
    result.moves.append(moves)
    result.words.append(counts)
    result.suspected += float(before[moves.parent[moves.suspect]].sum())
    result.margin = min(result.margin, slack)
    result.pairs += len(moves.child)
    result.widest = max(result.widest, len(following))


def _images(
    machine: Machine,
    network: Network,
    alphabet: Alphabet,
    decode: Decode,
    basis: Basis,
    level: Level,
    asked: bool,
    grid: float,
    deadline: float,
) -> tuple[Level, Moves, float] | None:
    """The next level, how it is reached, and the least slack of all moves that are safe; None if
    time is up."""
    size = len(alphabet)
    after, answers, kind_of = program_moves(machine, alphabet, level.states)
    low, high, slack, states = [], [], [], []
    rows = max(1, _CHUNK // size)
    for begin in range(0, len(level), rows):
        if time.monotonic() > deadline:
            return None
        parents = np.repeat(np.arange(begin, min(begin + rows, len(level))), size)
        symbols = np.tile(np.arange(size), len(parents) // size)
        places = kind_of[parents] * size + symbols
        regions = basis.form(level.low[parents], level.high[parents])
        raw, hidden = network.step(symbols, regions)
        below, above = basis.box(hidden)
        low.append(below)
        high.append(above)
        states.append(after[places])
        slack.append(
            slacks(decode, answers[places], raw) if asked else np.full(len(parents), np.inf)
        )
    whole = Level(np.concatenate(states), np.concatenate(low), np.concatenate(high))
    margins = np.concatenate(slack)
    following, child = merged(whole, grid)
    order = np.argsort(child, kind="stable")
    suspect = ~(margins > 0)
    safe = margins[~suspect]
    moves = Moves(
        (order // size).astype(np.int32),
        (order % size).astype(np.int32),
        child[order].astype(np.int32),
        suspect[order],
    )
    return following, moves, float(safe.min(initial=np.inf))


def program_moves(
    machine: Machine, alphabet: Alphabet, states: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Next states and answers of every distinct state and every symbol, in that order, and which
    distinct state each of `states` is."""
    kinds, kind_of = distinct_rows(states)
    pairs = np.repeat(states[kinds], len(alphabet), axis=0)
    columns = tuple(np.tile(column, len(kinds)) for column in alphabet.symbols)
    after, answers = machine.advance(pairs, columns)
    return after, np.broadcast_to(answers, (len(pairs), *answers.shape[1:])), kind_of


def merged(level: Level, grid: float) -> tuple[Level, np.ndarray]:
    """The level with boxes of one program state and one cell replaced by their hull, and which
    of the new boxes each of the old ones became a part of."""
    cells = np.zeros((len(level), 0), np.int64)
    if np.isfinite(grid):
        scaled = np.nan_to_num((level.low + level.high) / (2 * grid))
        cells = np.floor(np.clip(scaled, -(2.0**60), 2.0**60)).astype(np.int64)
    first, group = distinct_rows(np.concatenate([level.states, cells], axis=1))
    if len(first) == len(level):
        return Level(level.states[first], level.low[first], level.high[first]), group
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    low = np.minimum.reduceat(level.low[order], starts, axis=0)
    high = np.maximum.reduceat(level.high[order], starts, axis=0)
    return Level(level.states[first], low, high), group


def suspect_words(result: Exploration, limit: int) -> list[np.ndarray]:
    """For each length at which answers may differ, the words (m, length) that lead through its
    suspect moves, at most `limit` of them in all."""
    found: list[np.ndarray] = []
    left = limit
    for length, moves in enumerate(result.moves, 1):
        marked = np.flatnonzero(moves.suspect)
        if not len(marked) or left <= 0:
            continue
        word = moves.symbol[marked][:, None]
        place = moves.parent[marked]
        for earlier in reversed(result.moves[: length - 1]):
            start = np.searchsorted(earlier.child, place, side="left")
            stop = np.searchsorted(earlier.child, place, side="right")
            count = stop - start
            if count.sum() > left:
                keep = np.cumsum(count) <= left
                keep[:1] = True
                word, start, count = word[keep], start[keep], np.minimum(count[keep], left)
            row = np.repeat(np.arange(len(count)), count)
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            index = np.repeat(start, count) + within
            word = np.concatenate([earlier.symbol[index][:, None], word[row]], axis=1)
            place = earlier.parent[index]
        found.append(word[:left])
        left -= len(found[-1])
    return found


def slacks(decode: Decode, answers: np.ndarray, raw: Form) -> np.ndarray:
    """For each row a number that is positive only if every raw output of the enclosure decodes to
    the answer (B,)."""
    rows = len(raw.centre)
    if answers.ndim != 1:
        return np.full(rows, -np.inf)
    match decode.rule:
        case "round" | "value" if raw.centre[0].size == 1:
            low, high = raw.low.reshape(rows), raw.high.reshape(rows)
            if answers.dtype.kind not in "iuf":
                return np.full(rows, -np.inf)
            wanted = answers.astype(np.float64)
            tolerance = 0.5 if decode.rule == "round" else decode.tolerance
            slack = np.minimum(low - (wanted - tolerance), (wanted + tolerance) - high)
            return np.asarray(slack - 2.0**-22 * (1 + np.abs(wanted)))
        case "threshold" if decode.labels is None and raw.centre[0].size == 1:
            if answers.dtype.kind != "b":
                return np.full(rows, -np.inf)
            above = raw.low.reshape(rows) - decode.threshold
            below = decode.threshold - raw.high.reshape(rows)
            return np.where(answers, above, below)
        case "argmax" | "argmin" if raw.centre.ndim == 2:
            return _lead(decode, answers, raw)
    return np.full(rows, -np.inf)


def _lead(decode: Decode, answers: np.ndarray, raw: Form) -> np.ndarray:
    """How far the output that stands for the answer is ahead of all others."""
    rows, width = raw.centre.shape
    index = _places(decode, answers, width)
    known = index >= 0
    place = np.maximum(index, 0)
    sign = 1.0 if decode.rule == "argmax" else -1.0
    here = np.arange(rows)
    centre = sign * (raw.centre[here, place][:, None] - raw.centre)
    generators = raw.generators[here, :, place][:, :, None] - raw.generators
    radius = raw.radius[here, place][:, None] + raw.radius
    size = 1e-15 * (np.abs(raw.centre) + np.abs(raw.centre[here, place])[:, None])
    lead = centre - (np.abs(generators).sum(axis=1) + radius) * (1 + 1e-9) - size
    lead[here, place] = np.inf
    return np.where(known, lead.min(axis=1), -np.inf)


def _places(decode: Decode, answers: np.ndarray, width: int) -> np.ndarray:
    """The output that stands for each answer; -1 where there is not exactly one."""
    if decode.labels is None:
        if answers.dtype.kind not in "iu":
            return np.full(len(answers), -1)
        return np.where((answers >= 0) & (answers < width), answers, -1)
    labels = list(decode.labels)
    places = {
        (type(label), label): i
        for i, label in enumerate(labels)
        if sum(type(label) is type(other) and label == other for other in labels) == 1
    }
    flat = answers.tolist()
    return np.array([places.get((type(value), value), -1) for value in flat], np.int64)
