"""Regions of hidden space that a network's step never leaves: proofs for words of any length.

A region is a box in a basis of its own.  Each program state together with the last few symbols has
one or several: a network often keeps more apart than the program does.  It is enough that `period`
steps lead from regions into regions, with the right answers on the way: over several steps a
network contracts that does not over one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl.claim import Decode
from verify.recurrent.enclosures import Form
from verify.recurrent.exploration import Network, program_moves, slacks
from verify.recurrent.machines import Alphabet, Machine, distinct_rows

_ROWS = 1 << 13
_MOST_ROWS = 60_000
_PARTS = 40_000
_KEYS = 3000
_ROUNDS = 30
_WORDS, _LENGTH = 400, 48
_SIZES = (np.inf, 0.1, 0.03)
_SHARE = 0.2
"""Of the time that is left, for one attempt."""
NEIGHBOURS = 8
"""So many regions of a key are looked at, where a proof is checked, for one that holds an image."""
_FAR = 4.0
"""An image that lies so many radii off gets a region of its own."""


@dataclass(frozen=True, slots=True)
class Regions:
    """For each key (program state, then the last `memory` symbols, -1 where there were none) the
    hidden states `centre + vectors @ z` with |z| <= radius; a key may have several regions."""

    period: int
    memory: int
    keys: np.ndarray  # (K, s + memory)
    centre: np.ndarray  # (K, h)
    vectors: np.ndarray  # (K, h, h)
    radius: np.ndarray  # (K, h)

    def evidence(self) -> dict[str, Any]:
        return {
            "kind": "invariant",
            "period": self.period,
            "memory": self.memory,
            "keys": self.keys.tolist(),
            "centre": self.centre.tolist(),
            "vectors": self.vectors.tolist(),
            "radius": self.radius.tolist(),
        }


@dataclass(frozen=True, slots=True)
class Setting:
    """A machine beside a network; `asked` says from which length on answers are compared."""

    machine: Machine
    network: Network
    alphabet: Alphabet
    decode: Decode
    shortest: int


@dataclass(frozen=True, slots=True)
class Passed:
    """One pass over all regions and all words of the period.  `target` and `reach` (n, h) say how
    far parts of regions overshoot the region that they are led to; `unknown` are keys that have no
    region, with boxes of what lies there; `certain` says that every answer is right."""

    target: np.ndarray
    reach: np.ndarray
    unknown: np.ndarray
    low: np.ndarray
    high: np.ndarray
    certain: bool
    parts: int

    @property
    def closed(self) -> bool:
        return self.certain and not len(self.target) and not len(self.unknown)


@dataclass
class Work:
    """Parts of regions still to be carried: which region, which word, and the part of the box
    within [-1, 1] in each coordinate."""

    region: np.ndarray
    word: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def whole(regions: int, words: int, width: int) -> Work:
        """All of every region, through every word."""
        rows = regions * words
        return Work(
            np.repeat(np.arange(regions), words),
            np.tile(np.arange(words), regions),
            np.full((rows, width), -1.0),
            np.full((rows, width), 1.0),
        )

    def pieces(self, count: int) -> Iterator[Work]:
        while len(self.region):
            yield self.take(count)

    def take(self, count: int) -> Work:
        part = self.picked(slice(max(0, len(self.region) - count), None))
        keep = slice(0, max(0, len(self.region) - count))
        self.region, self.word = self.region[keep], self.word[keep]
        self.low, self.high = self.low[keep], self.high[keep]
        return part

    def picked(self, rows: slice | np.ndarray) -> Work:
        return Work(self.region[rows], self.word[rows], self.low[rows], self.high[rows])

    def add(self, other: Work) -> None:
        self.region = np.concatenate([self.region, other.region])
        self.word = np.concatenate([self.word, other.word])
        self.low = np.concatenate([self.low, other.low])
        self.high = np.concatenate([self.high, other.high])

    def halves(self, axis: np.ndarray) -> Work:
        rows = np.arange(len(axis))
        middle = (self.low[rows, axis] + self.high[rows, axis]) / 2
        left, right = self.high.copy(), self.low.copy()
        left[rows, axis] = middle
        right[rows, axis] = middle
        result = Work(self.region, self.word, self.low, left)
        result.add(Work(self.region, self.word, right, self.high))
        return result


def from_evidence(evidence: Mapping[str, Any]) -> Regions:
    """The regions of a certificate.  Raises KeyError or ValueError where it holds none."""
    arrays = {
        name: np.array(evidence[name], np.float64) for name in ("centre", "vectors", "radius")
    }
    keys = np.array(evidence["keys"], np.int64).reshape(len(arrays["centre"]), -1)
    return Regions(int(evidence["period"]), int(evidence["memory"]), keys, **arrays)


def recheck(evidence: Mapping[str, Any], setting: Setting) -> bool:
    """Does the evidence prove the claim for words of any length?  One pass: the first state lies in
    its region, every region is led into regions, and every answer on the way is right."""
    try:
        regions = from_evidence(evidence)
    except (KeyError, ValueError, TypeError):
        return False
    width = len(setting.network.start)
    count = len(regions.keys)
    columns = len(setting.machine.state) + regions.memory
    shapes = (
        regions.keys.shape == (count, columns)
        and regions.centre.shape == (count, width)
        and regions.vectors.shape == (count, width, width)
        and regions.radius.shape == (count, width)
    )
    if not shapes or regions.period < 1 or not count or (regions.radius < 0).any():
        return False
    arrays = (regions.centre, regions.vectors, regions.radius)
    if not all(np.isfinite(array).all() for array in arrays) or regions.memory < 0:
        return False
    if not _holds_start(regions, setting):
        return False
    passed = passes(regions, setting, 4 * _PARTS, np.inf, neighbours=NEIGHBOURS)
    return passed is not None and passed.closed


def first_key(machine: Machine, memory: int) -> np.ndarray:
    return np.array([*machine.first, *([-1] * memory)], np.int64)


def _holds_start(regions: Regions, setting: Setting) -> bool:
    start = setting.network.start[None]
    key = first_key(setting.machine, regions.memory)
    form = Form(
        start, np.zeros((1, 1, start.shape[1])), np.full_like(start, setting.network.uncertainty)
    )
    at, _, reach = _led_to(regions, key[None], form, NEIGHBOURS)
    return bool(at[0] >= 0 and (reach <= regions.radius[at]).all())


def _reach(regions: Regions, target: np.ndarray, hidden: Form) -> np.ndarray:
    """The greatest |z| of enclosures (n, h) in the coordinates of their regions; infinite where
    the basis has no inverse."""
    vectors = regions.vectors[target]
    with np.errstate(all="ignore"):
        try:
            inverse = np.linalg.inv(vectors)
        except np.linalg.LinAlgError:
            return np.full(hidden.centre.shape, np.inf)
        width = vectors.shape[1]
        size = np.abs(vectors) @ np.abs(inverse)
        defect = np.abs(np.eye(width) - vectors @ inverse) + 4e-16 * (width + 2) * size
        defect_norm = defect.sum(axis=2).max(axis=1)
        bad = ~(defect_norm < 1e-6)
        offset = hidden.centre - regions.centre[target]
        middle = np.einsum("nij,nj->ni", inverse, offset)
        turned = np.einsum("nij,ngj->ngi", inverse, hidden.generators)
        rest = np.einsum("nij,nj->ni", np.abs(inverse), hidden.radius)
        whole = np.abs(offset) + hidden.spread + 1e-15 * np.abs(regions.centre[target])
        noise = 1e-14 * (width + 2) * np.einsum("nij,nj->ni", np.abs(inverse), whole)
        norm = np.abs(inverse).sum(axis=2).max(axis=1)
        error = norm * defect_norm / (1 - defect_norm) * 1.01
        noise += (error * whole.max(axis=1))[:, None]
        reach = (np.abs(middle) + np.abs(turned).sum(axis=1) + rest) * (1 + 1e-9) + noise
    reach = np.where(np.isfinite(reach), reach, np.inf)
    reach[bad] = np.inf
    return np.asarray(reach)


def _forms(regions: Regions, work: Work) -> Form:
    """The hidden states of parts of regions, with one generator for each coordinate."""
    middle, half = (work.low + work.high) / 2, (work.high - work.low) / 2
    scaled = regions.vectors[work.region] * regions.radius[work.region][:, None, :]
    centre = regions.centre[work.region] + np.einsum("nij,nj->ni", scaled, middle)
    generators = np.swapaxes(scaled * half[:, None, :], 1, 2) * (1 + 1e-12)
    size = np.abs(regions.centre[work.region]) + np.abs(scaled).sum(axis=2)
    return Form(centre, generators, 1e-14 * (len(regions.centre[0]) + 2) * size)


def promoted(form: Form) -> Form:
    """The form with its radius as generators of their own, so that the next steps keep track."""
    rows, _, width = form.generators.shape
    fresh = np.zeros((rows, width, width))
    fresh[:, np.arange(width), np.arange(width)] = form.radius
    return Form(
        form.centre, np.concatenate([form.generators, fresh], axis=1), np.zeros_like(form.radius)
    )


def passes(
    regions: Regions,
    setting: Setting,
    most: int,
    deadline: float,
    far: float = np.inf,
    neighbours: int = 1,
) -> Passed | None:
    """Carries every region through every word of the period, in parts where the whole is too wide,
    at most `most` parts; None at the deadline.  An image whose centre is `far` radii off
    counts as one of no region; `neighbours` regions are looked at for one that holds an image."""
    words = words_of_period(setting, regions.period)
    count, width = regions.centre.shape
    work = Work.whole(count, len(words), width)
    over: list[tuple[np.ndarray, np.ndarray]] = []
    lost: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    certain, parts = True, len(work.region)
    for part in work.pieces(_ROWS):
        if time.monotonic() > deadline:
            return None
        key, form, slack = carried(regions, setting, part, words)
        at, distance, reach = _led_to(regions, key, form, neighbours)
        known = at >= 0
        finite = np.isfinite(reach).all(axis=1)
        away = known & finite & (distance > far)
        excess = known & (reach > regions.radius[at]).any(axis=1)
        failing = excess | ~(slack > 0)
        split = failing & finite
        if split.any() and parts + split.sum() <= most:
            parts += int(split.sum())
            work.add(part.picked(split).halves(widest(form, part, split)))
            failing &= ~split
        certain &= bool((slack[failing] > 0).all()) and bool(finite.all())
        outside = ~known | (away & failing)
        if outside.any():
            new = selected(form, outside)
            lost.append((key[outside], new.low, new.high))
        excess &= failing & ~away
        over.append((at[excess], reach[excess]))
    none = np.zeros((0, width))
    return Passed(
        np.concatenate([np.zeros(0, np.int64), *(target for target, _ in over)]).astype(np.int64),
        np.concatenate([none, *(reach for _, reach in over)]),
        np.concatenate([regions.keys[:0], *(key for key, _, _ in lost)]),
        np.concatenate([none, *(low for _, low, _ in lost)]),
        np.concatenate([none, *(high for _, _, high in lost)]),
        certain,
        parts,
    )


def words_of_period(setting: Setting, period: int) -> np.ndarray:
    """All words of the period's length, as numbers of symbols."""
    return np.array(list(itertools.product(range(len(setting.alphabet)), repeat=period)), np.int64)


def _led_to(
    regions: Regions, key: np.ndarray, form: Form, neighbours: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each key and enclosure the region that holds it, else the nearest of the key (-1 where
    it has none); how many radii off its centre, and how far the enclosure reaches in it."""
    at, distance = nearest(regions, key, form.centre)
    reach = np.zeros_like(form.centre)
    known = at >= 0
    reach[known] = _reach(regions, at[known], selected(form, known))
    for rank in range(1, neighbours):
        left = np.flatnonzero(known & (reach > regions.radius[at]).any(axis=1))
        if not len(left):
            break
        part = selected(form, left)
        other, offset = nearest(regions, key[left], part.centre, rank)
        near = (other >= 0) & (offset <= 1)
        left, other, part = left[near], other[near], selected(part, near)
        further = _reach(regions, other, part)
        inside = (further <= regions.radius[other]).all(axis=1)
        at[left[inside]], reach[left[inside]] = other[inside], further[inside]
    return at, distance, reach


def widest(form: Form, part: Work, bad: np.ndarray) -> np.ndarray:
    """For each part that is to be split, the coordinate that carries most of its width."""
    width = part.low.shape[1]
    own = np.abs(form.generators[bad][:, :width]).sum(axis=2)
    share = (part.high - part.low)[bad]
    return np.asarray((own + 1e-9 * share).argmax(axis=1))


def carried(
    regions: Regions, setting: Setting, part: Work, words: np.ndarray
) -> tuple[np.ndarray, Form, np.ndarray]:
    """Keys and forms after the words, and the least slack of each on the way."""
    own = len(setting.machine.state)
    key, form = regions.keys[part.region], _forms(regions, part)
    least = np.full(len(key), np.inf)
    begun = (key[:, own:] < 0).all(axis=1) if regions.memory else np.zeros(len(key), bool)
    for t in range(words.shape[1]):
        symbol = words[part.word, t]
        after, answers, kind_of = program_moves(setting.machine, setting.alphabet, key[:, :own])
        place = kind_of * len(setting.alphabet) + symbol
        raw, form = setting.network.step(symbol, form)
        slack = slacks(setting.decode, answers[place], raw)
        # Words shorter than the domain's can only be told by a memory without symbols.
        early = begun & (t + 1 < setting.shortest)
        least = np.minimum(least, np.where(early, np.inf, np.nan_to_num(slack, nan=-np.inf)))
        suffix = np.concatenate([key[:, own:], symbol[:, None]], axis=1)[:, 1:]
        suffix = suffix if regions.memory else key[:, own:]
        key = np.concatenate([after[place], suffix], axis=1)
        form = promoted(form)
    return key, form, least


def selected(form: Form, rows: np.ndarray) -> Form:
    return Form(form.centre[rows], form.generators[rows], form.radius[rows])


def nearest(
    regions: Regions, wanted: np.ndarray, points: np.ndarray, rank: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """For each key and point the region of that key in whose coordinates the point is nearest, or
    at another rank, and how many radii off its centre; -1 where the key has no such region."""
    own = len(regions.keys)
    kind = distinct_rows(np.concatenate([regions.keys, wanted]))[1]
    order = np.argsort(kind[:own], kind="stable")
    begin = np.searchsorted(kind[:own][order], kind[own:], side="left")
    count = np.searchsorted(kind[:own][order], kind[own:], side="right") - begin
    distance = np.full((len(wanted), max(1, int(count.max(initial=0)))), np.inf)
    radius = np.maximum(regions.radius, 1e-300)
    inverse = np.linalg.pinv(regions.vectors)
    for turn in range(int(count.max(initial=0))):
        rows = np.flatnonzero(count > turn)
        place = order[begin[rows] + turn]
        turned = np.einsum("nij,nj->ni", inverse[place], points[rows] - regions.centre[place])
        off = (np.abs(turned) / radius[place]).max(axis=1)
        distance[rows, turn] = np.minimum(np.nan_to_num(off, nan=np.inf), np.finfo(float).max)
    if rank >= distance.shape[1]:
        return np.full(len(wanted), -1), np.full(len(wanted), np.inf)
    ranked = np.argsort(distance, axis=1, kind="stable")[:, rank]
    best = np.where(count > rank, order[np.minimum(begin + ranked, own - 1)], -1)
    return best, np.where(count > rank, distance[np.arange(len(wanted)), ranked], np.inf)


QUICK = ((0, _ROWS),)
THOROUGH = ((_PARTS // 8, 4 * _MOST_ROWS), (_PARTS, 4 * _MOST_ROWS))
"""How many parts of regions, and how many regions with words, an attempt may have."""


def found(
    setting: Setting,
    efforts: tuple[tuple[int, int], ...],
    *,
    seed: int,
    last_start: float,
    deadline: float,
    reasons: list[str],
) -> Regions | None:
    """Regions that prove the claim for words of any length; None where none were found.  No attempt
    is begun after `last_start`."""
    for most, rows in efforts:
        for period, memory, size in _schedule(setting):
            if time.monotonic() > last_start:
                return None
            begun = _sampled(setting, period, memory, size, seed)
            if begun is None or len(begun.keys) * len(setting.alphabet) ** period > rows:
                continue
            far = _FAR if np.isfinite(size) else np.inf
            now = time.monotonic()
            until = now + _SHARE * (deadline - now)
            result, reason = closed(begun, setting, most, until, far)
            reasons.append(f"period {period}, memory {memory}, size {size}: {reason}")
            if result is not None:
                return result
    return None


def _schedule(setting: Setting) -> Iterator[tuple[int, int, float]]:
    """Periods, memories and sizes of regions: without memory first, and the cheapest first."""
    letters = len(setting.alphabet)
    pairs = [(p, m) for p in (1, 2, 3, 4, 6, 8) for m in (0, 1, 2, 3, 4, 6)]
    cost = {pair: letters ** (pair[0] + pair[1]) * pair[0] for pair in pairs}
    for pair in sorted(pairs, key=lambda p: (p[1] > 0, cost[p], p)):
        if cost[pair] > _MOST_ROWS:
            continue
        for size in _SIZES:
            yield (*pair, size)


def _sampled(setting: Setting, period: int, memory: int, share: float, seed: int) -> Regions | None:
    """Regions around what random words lead to, a little wider, none wider than a share of the
    whole to begin with."""
    keys, hidden = _visited(setting, period, memory, seed)
    first, kind = distinct_rows(keys)
    if len(first) > _KEYS or len(first) * len(setting.alphabet) ** period > 4 * _MOST_ROWS:
        return None
    size = share * float(np.abs(hidden - hidden.mean(axis=0)).max(initial=0.0))
    order = np.argsort(kind, kind="stable")
    bounds = np.searchsorted(kind[order], np.arange(len(first) + 1))
    owner: list[int] = []
    clouds: list[np.ndarray] = []
    for i in range(len(first)):
        cloud = hidden[order[bounds[i] : bounds[i + 1]]]
        for part in divided(cloud, size):
            owner.append(i)
            clouds.append(cloud[part])
    if len(owner) > _KEYS or len(owner) * len(setting.alphabet) ** period > 4 * _MOST_ROWS:
        return None
    boxes = [_around(cloud) for cloud in clouds]
    centre, vectors, radius = (np.stack(column) for column in zip(*boxes, strict=True))
    return Regions(period, memory, keys[first][owner], centre, vectors, radius)


def divided(cloud: np.ndarray, size: float) -> list[np.ndarray]:
    """The rows of parts of a cloud of points (n, h) no wider than `size`, cut at widest gaps."""
    done, left = [], [np.arange(len(cloud))]
    while left:
        rows = left.pop()
        part = cloud[rows]
        if len(part) < 2 or np.ptp(part, axis=0).max() <= size:
            done.append(rows)
            continue
        ordered = np.sort(part, axis=0)
        gaps = np.diff(ordered, axis=0)
        at, axis = np.unravel_index(int(gaps.argmax()), gaps.shape)
        below = part[:, axis] <= ordered[at, axis]
        left += [rows[~below], rows[below]]
    return done


def _around(cloud: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, vectors and radius of a box that is a little wider than a cloud."""
    width = cloud.shape[1]
    middle = (cloud.min(axis=0) + cloud.max(axis=0)) / 2
    vectors = np.eye(width)
    if len(cloud) > 2 * width:
        rest = cloud - cloud.mean(axis=0)
        scale = float(np.abs(rest).max(initial=0.0))
        if scale > 1e-6:
            _, vectors = np.linalg.eigh((rest / scale).T @ (rest / scale))
    turned = (cloud - middle) @ vectors
    shift = (turned.min(axis=0) + turned.max(axis=0)) / 2
    spread = (turned.max(axis=0) - turned.min(axis=0)) / 2
    radius = 1.1 * spread + 1e-6 + 0.02 * float(spread.max(initial=0.0))
    return middle + vectors @ shift, vectors, radius


def _visited(
    setting: Setting, period: int, memory: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and hidden states at multiples of the period, the start included."""
    rng = np.random.default_rng(seed)
    machine, network, alphabet = setting.machine, setting.network, setting.alphabet
    size = len(alphabet)
    symbols = rng.integers(0, size, (_WORDS, _LENGTH))
    runs = rng.random(_WORDS) < 0.3
    symbols[runs] = symbols[runs][:, :1]
    key = np.repeat(first_key(machine, memory)[None], _WORDS, axis=0)
    hidden = np.repeat(network.start[None], _WORDS, axis=0)
    own = len(machine.state)
    keys, clouds = [key], [hidden]
    for t in range(_LENGTH):
        symbol = symbols[:, t]
        after, _, kind_of = program_moves(machine, alphabet, key[:, :own])
        state = after[kind_of * size + symbol]
        suffix = np.concatenate([key[:, own:], symbol[:, None]], axis=1)[:, 1:]
        key = np.concatenate([state, suffix if memory else key[:, own:]], axis=1)
        nothing = np.zeros((_WORDS, 1, hidden.shape[1]))
        _, form = network.step(symbol, Form(hidden, nothing, np.zeros_like(hidden)))
        hidden = form.centre
        if (t + 1) % period == 0:
            keys.append(key)
            clouds.append(hidden)
    return np.concatenate(keys), np.concatenate(clouds)


def closed(
    regions: Regions,
    setting: Setting,
    most: int,
    deadline: float,
    far: float,
    overshoot: float = 1.05,
) -> tuple[Regions | None, str]:
    """The regions grown until they are closed, and what stopped that."""
    begun, widest = len(regions.keys), 8 * float(regions.radius.max()) + 1
    for turn in range(_ROUNDS):
        passed = passes(regions, setting, most, deadline, far)
        if passed is None:
            return None, "time is up"
        if passed.closed:
            return (regions, "closed") if _holds_start(regions, setting) else (None, "start")
        if not passed.certain:
            return (
                None,
                f"an answer is not certain on a region of {len(regions.keys)} in round {turn}",
            )
        radius = regions.radius.copy()
        np.maximum.at(radius, passed.target, passed.reach)
        grown = np.where(radius > regions.radius, overshoot * radius + 1e-7, radius)
        if (grown > widest).any():
            return None, "a region grows without end"
        regions = replace(regions, radius=grown)
        if len(passed.unknown):
            regions = _joined(regions, passed)
            if len(regions.keys) > min(_KEYS, 4 * begun + 100):
                return None, "too many regions"
    return None, "the regions keep growing"


def _apart(passed: Passed) -> tuple[np.ndarray, np.ndarray]:
    """The lost boxes grouped by key and by cells of a grid as wide as the widest box of the key."""
    kind = distinct_rows(passed.unknown)[1]
    width = np.zeros(int(kind.max()) + 1)
    np.maximum.at(width, kind, (passed.high - passed.low).max(axis=1))
    middle = (passed.low + passed.high) / 2
    cells = np.floor(middle / np.maximum(width[kind], 1e-3)[:, None])
    cells = np.clip(np.nan_to_num(cells), -(2.0**60), 2.0**60).astype(np.int64)
    return distinct_rows(np.concatenate([kind[:, None], cells], axis=1))


def _joined(regions: Regions, passed: Passed) -> Regions:
    """The regions with boxes for keys that had none."""
    first, kind = _apart(passed)
    count, width = len(first), passed.low.shape[1]
    low, high = np.full((count, width), np.inf), np.full((count, width), -np.inf)
    np.minimum.at(low, kind, passed.low)
    np.maximum.at(high, kind, passed.high)
    centre = (low + high) / 2
    return Regions(
        regions.period,
        regions.memory,
        np.concatenate([regions.keys, passed.unknown[first]]),
        np.concatenate([regions.centre, centre]),
        np.concatenate([regions.vectors, np.repeat(np.eye(width)[None], count, axis=0)]),
        np.concatenate([regions.radius, 1.1 * (high - centre) + 1e-6]),
    )
