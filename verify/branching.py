"""Branch and bound over boxes: where no violation takes place, where one surely does, what is left.

Boxes are taken in batches, the most promising first.  A box is proven where linear bounds exclude
every violation; otherwise it is cut down to where one is still possible, attacked at the points
that the bounds point at, and halved across the input that the bounds lose most by.
"""

from __future__ import annotations

import math
import time

import numpy as np

from verify.bounds import Linear, OutOfTime, Ranges, entry_bounds, lower_values, ranges
from verify.boxes import (
    Confirm,
    Goal,
    OpenBox,
    Outcome,
    Search,
    outcome,
    push,
    reopen,
    satisfied,
    stuck,
    taken,
)
from verify.halving import blame_of, curved_weights, excess_of, parts_of, splittable, worst_pairs
from verify.shares import refuted_of, unproven_of
from verify.violations import Pairs, Problem, Weighing, clipped, weighed

BATCH = 256
_BATCH_ENTRIES = 1_500_000
_FORM_ENTRIES = 1 << 23
"""Linear forms of a batch are carried forwards where no node's have more entries than this."""
_GRACE = 0.5


def explore(
    problem: Problem,
    low: np.ndarray,
    high: np.ndarray,
    *,
    deadline: float,
    goal: Goal = "cover",
    confirm: Confirm | None = None,
    seed: int = 0,
    most_boxes: int | None = None,
    enough: float = 1.0,
) -> Outcome:
    """Searches the box from `low` to `high` (d,) until it is decided or time is up.

    With the goal "decide", it ends at the first confirmed counterexample; else when `enough` of the
    volume is proven.
    """
    started = time.monotonic()
    search = begun(problem, low, high, goal, confirm, seed, deadline)
    advance(search, deadline, most_boxes, enough)
    return outcome(search, time.monotonic() - started)


def begun(
    problem: Problem,
    low: np.ndarray,
    high: np.ndarray,
    goal: Goal,
    confirm: Confirm | None,
    seed: int,
    deadline: float,
) -> Search:
    """A search of one whole box, after the first attack."""
    unit = np.where(problem.whole, high - low + 1.0, high - low)
    search = Search(problem, goal, confirm or _by_float64(problem), unit)
    push(search, low[None], high[None], np.array([np.inf]), None)
    if problem.violations:
        _attack(search, low, high, np.random.default_rng(seed), deadline)
    return search


def advance(
    search: Search, deadline: float, most_boxes: int | None = None, enough: float = 1.0
) -> None:
    """Goes on until everything is decided, the time is up, or so many boxes were looked at."""
    rounds = 0
    while time.monotonic() < deadline and not stuck(search):
        if most_boxes is not None and search.boxes >= most_boxes:
            break
        if not _round(search, deadline):
            break
        rounds += 1
        if rounds % 8 == 0 and satisfied(search, enough):
            break


def _by_float64(problem: Problem) -> Confirm:
    return lambda points: problem.degree(points) >= 0


def _attack(
    search: Search, low: np.ndarray, high: np.ndarray, rng: np.random.Generator, deadline: float
) -> None:
    """Random points, the best of them climbed by the signs of gradients."""
    problem = search.problem
    size = sum(node.size for node in problem.graph.nodes)
    count = max(32, min(2048, 4 * _BATCH_ENTRIES // size))
    points = low + (high - low) * rng.random((count, len(low)))
    if problem.whole.any():
        points = np.where(problem.whole, np.round(points), points)
    degrees = problem.degree(points)
    _try(search, points[degrees >= 0][:64])
    if search.goal == "cover" or search.found:
        return
    best = points[np.argsort(-degrees)[:32]]
    width = (high - low) / 4
    for _ in range(24):
        if time.monotonic() > deadline:
            return
        gradient = _gradient(problem, best)
        moved = np.clip(best + width * np.sign(gradient), low, high)
        better = problem.degree(moved) > problem.degree(best)
        best = np.where(better[:, None], moved, best)
        width = width * 0.8
    _try(search, best[problem.degree(best) >= 0])


def _gradient(problem: Problem, points: np.ndarray) -> np.ndarray:
    """The gradient of the least row of the nearest violation at each point."""
    nearest = problem.degrees(points).argmax(1)
    rows = values_of(problem, points)
    members = problem.padded[nearest]
    row = members[np.arange(len(points)), np.take_along_axis(rows, members, 1).argmin(1)]
    state = ranges(problem.graph, points, points, refine=False)
    return entry_bounds(state, problem.rows, np.arange(len(points)), row, 1.0).coefficients


def values_of(problem: Problem, points: np.ndarray) -> np.ndarray:
    from verify.graph import values

    return values(problem.graph, points)[problem.rows]


def _try(search: Search, points: np.ndarray) -> None:
    if len(points) and len(search.found) < 64:
        true = points[search.confirm(points)]
        if len(true):
            search.found.append(true)


def _round(search: Search, deadline: float) -> bool:
    """One batch of boxes, or none if there is no time to finish it; says which."""
    size = sum(node.size for node in search.problem.graph.nodes)
    most = max(1, min(BATCH, _BATCH_ENTRIES // size, len(search.heap)))
    batch = [taken(search) for _ in range(most)]
    try:
        # A round that has begun may take a little longer than there is.
        _examine(search, batch, max(deadline, time.monotonic()) + _GRACE)
    except OutOfTime:
        for box in batch:
            reopen(search, box)
        return False
    search.boxes += len(batch)
    return True


def _examine(search: Search, batch: list[OpenBox], deadline: float) -> None:
    """Bounds, exclusion, clipping, attack, refutation, halving."""
    problem = search.problem
    low, high = np.stack([b.low for b in batch]), np.stack([b.high for b in batch])
    # Many boxes with bounds that are a little wider are worth more than few.
    forward = len(batch) * problem.graph.form_entries <= _FORM_ENTRIES
    state = ranges(
        problem.graph,
        low,
        high,
        _known(search, batch),
        refine=not forward,
        forward=forward,
        deadline=deadline,
    )
    pairs = surviving(state, problem)
    state.deadline = math.inf
    pair_low, pair_high, feasible = clipped(pairs, low[pairs.box], high[pairs.box], problem.whole)
    pairs = pairs.kept(feasible)
    pair_low, pair_high = pair_low[feasible], pair_high[feasible]
    weighing = weighed(pairs, pair_low, pair_high)
    alive = ~(weighing.bound < 0)
    pairs, pair_low, pair_high = pairs.kept(alive), pair_low[alive], pair_high[alive]
    weighing = Weighing(weighing.weights[alive], weighing.bound[alive], weighing.point[alive])
    live = np.unique(pairs.box)
    dead = np.ones(len(batch), bool)
    dead[live] = False
    search.record("proven", low[dead], high[dead])
    if not len(live):
        return
    new_low, new_high = _hull(pairs, pair_low, pair_high, low, high)
    _slabs(search, low[live], high[live], new_low[live], new_high[live])
    centre = (new_low[live] + new_high[live]) / 2
    if problem.whole.any():
        centre = np.where(problem.whole, np.floor(centre), centre)
    degrees = problem.degree(centre)
    _try(search, centre[degrees >= 0][:16])
    if search.goal == "decide":
        reached = problem.degree(weighing.point) >= 0
        _try(search, weighing.point[reached][:16])
        if search.found:
            return
    wrong = _wrong(search, state, live, centre, degrees)
    surely = np.zeros(len(batch), bool)
    surely[wrong.box] = (lower_rows(wrong, low, high) > problem.doubt).all(1)
    search.record("refuted", new_low[surely], new_high[surely])
    open_ = live[~surely[live]]
    if len(open_):
        _halve(search, state, pairs, weighing, wrong, open_, new_low, new_high)


def surviving(state: Ranges, problem: Problem) -> Pairs:
    """The violations that the bounds of single rows do not exclude, with those bounds."""
    possible = ~(state.high[problem.rows] < 0)
    live = _live(problem, possible)
    needed = (live.astype(np.float64) @ problem.member) > 0
    box, row = np.nonzero(needed)
    size = len(problem.whole)
    coefficients = np.zeros((*possible.shape, size))
    constants = np.full(possible.shape, np.inf)
    if len(box):
        linear = entry_bounds(state, problem.rows, box, row, -1.0)
        greatest = -lower_values(linear, state.box_low[box], state.box_high[box])
        possible[box, row] &= ~(greatest < 0)
        coefficients[box, row] = -linear.coefficients
        constants[box, row] = -linear.constant
        live &= _live(problem, possible)
    pair_box, violation = np.nonzero(live)
    rows = problem.padded[violation]
    index = pair_box[:, None]
    return Pairs(pair_box, violation, coefficients[index, rows], constants[index, rows])


def _live(problem: Problem, possible: np.ndarray) -> np.ndarray:
    """The violations all of whose rows are possible, (B, violations)."""
    excluded = (~possible).astype(np.float64) @ problem.member.T
    return np.asarray(excluded == 0)


def _hull(
    pairs: Pairs,
    pair_low: np.ndarray,
    pair_high: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """For each box the least box that holds what is left of it for any of its pairs."""
    new_low, new_high = np.full_like(low, np.inf), np.full_like(high, -np.inf)
    np.minimum.at(new_low, pairs.box, pair_low)
    np.maximum.at(new_high, pairs.box, pair_high)
    return np.maximum(new_low, low), np.minimum(new_high, high)


def _slabs(
    search: Search,
    low: np.ndarray,
    high: np.ndarray,
    new_low: np.ndarray,
    new_high: np.ndarray,
) -> None:
    """Records as proven what was cut off, as boxes that do not overlap."""
    step = np.where(search.problem.whole, 1.0, 0.0)
    low, high = low.copy(), high.copy()
    for i in range(low.shape[1]):
        cut = new_low[:, i] > low[:, i]
        if cut.any():
            part = high[cut].copy()
            part[:, i] = new_low[cut, i] - step[i]
            search.record("proven", low[cut].copy(), part)
            low[cut, i] = new_low[cut, i]
        cut = new_high[:, i] < high[:, i]
        if cut.any():
            part = low[cut].copy()
            part[:, i] = new_high[cut, i] + step[i]
            search.record("proven", part, high[cut].copy())
            high[cut, i] = new_high[cut, i]


def _wrong(
    search: Search, state: Ranges, live: np.ndarray, centre: np.ndarray, degrees: np.ndarray
) -> Pairs:
    """For the boxes `live` in whose centre a violation takes place, that violation with lower
    bounds of its rows."""
    problem = search.problem
    candidates = np.flatnonzero(degrees > problem.doubt)
    if search.goal == "decide":
        candidates = candidates[:0]
    violation = problem.degrees(centre[candidates]).argmax(1)
    rows = problem.padded[violation]
    box = np.repeat(live[candidates], rows.shape[1])
    if not len(box):
        empty = np.zeros((0, rows.shape[1]))
        return Pairs(live[:0], violation, np.zeros((*empty.shape, centre.shape[1])), empty)
    linear = entry_bounds(state, problem.rows, box, rows.ravel(), 1.0)
    coefficients = linear.coefficients.reshape(*rows.shape, -1)
    return Pairs(live[candidates], violation, coefficients, linear.constant.reshape(rows.shape))


def lower_rows(pairs: Pairs, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The least value of each row's lower bound on its box, (P, K)."""
    count, width, size = pairs.coefficients.shape
    box = np.repeat(pairs.box, width)
    linear = Linear(pairs.coefficients.reshape(-1, size), pairs.constants.ravel())
    return lower_values(linear, low[box], high[box]).reshape(count, width)


def _halve(
    search: Search,
    state: Ranges,
    pairs: Pairs,
    weighing: Weighing,
    wrong: Pairs,
    boxes: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> None:
    """Splits the boxes; each across the input that its worst pair loses most by, and its halves
    again while nothing could be proven of them yet."""
    problem = search.problem
    worst = worst_pairs(pairs.box, weighing.bound, boxes)
    weights = curved_weights(problem, pairs, weighing, worst)
    score = blame_of(state, problem, pairs, weights, worst, low[boxes], high[boxes])
    low, high = low[boxes], high[boxes]
    can = splittable(search, score, low, high).any(1)
    if not can.all():
        search.complete = False
        _points(search, low[~can], high[~can])
    rows = np.flatnonzero(can)
    if not len(rows):
        return
    inherited = _packed(state, boxes[rows])
    # The rows' sum at its greatest, in the units of the scores: what halving has to take away.
    excess = np.where(can, excess_of(pairs, weights, worst, low, high), 0.0)
    part = parts_of(search, rows, low[rows], high[rows], score[rows], excess[rows])
    source = inherited[np.searchsorted(rows, part.rows)]
    if search.goal == "decide":
        push(search, part.low, part.high, weighing.bound[worst[part.rows]], source)
        return
    unproven, ease = unproven_of(search, pairs, weighing, boxes[part.rows], part.low, part.high)
    refuted = refuted_of(search, wrong, boxes[part.rows], part.low, part.high)
    refuted = np.minimum(refuted, unproven)
    done = unproven <= 0
    search.record("proven", part.low[done], part.high[done])
    share = unproven - refuted
    order = search.volume(part.low, part.high) * share * np.maximum(ease, 1.0 - share)
    kept = ~done
    push(
        search,
        part.low[kept],
        part.high[kept],
        order[kept],
        source[kept],
        unproven[kept],
        refuted[kept],
    )


def _points(search: Search, low: np.ndarray, high: np.ndarray) -> None:
    """Boxes of a single point are decided by trying it; narrower than floats can split, they
    stay open, which is what a box that never comes back amounts to."""
    single = (low == high).all(1) & search.problem.whole.all()
    points = low[single]
    if len(points):
        wrong = search.confirm(points)
        search.record("refuted", points[wrong], points[wrong])
        search.record("proven", points[~wrong], points[~wrong])
        if wrong.any() and len(search.found) < 64:
            search.found.append(points[wrong])
    for row in np.flatnonzero(~single):
        volume = float(search.volume(low[row], high[row]))
        reopen(search, OpenBox(math.inf, next(search.counter), low[row], high[row], None, volume))


def _packed(state: Ranges, boxes: np.ndarray) -> np.ndarray:
    """The bounds that children inherit, one row for each box, in float32 rounded outward."""
    parts = []
    for number, tight in enumerate(state.graph.tight):
        if tight and not state.graph.simple[number]:
            low = state.low[number][boxes].astype(np.float32)
            high = state.high[number][boxes].astype(np.float32)
            parts += [
                np.nextafter(low, -np.float32(np.inf)),
                np.nextafter(high, np.float32(np.inf)),
            ]
    return np.concatenate(parts, 1) if parts else np.zeros((len(boxes), 0), np.float32)


def _known(search: Search, batch: list[OpenBox]) -> dict[int, tuple[np.ndarray, np.ndarray]] | None:
    """The inherited bounds of a batch, by node; infinite where a box has none."""
    graph = search.problem.graph
    nodes = [n for n, tight in enumerate(graph.tight) if tight and not graph.simple[n]]
    if not nodes:
        return None
    width = sum(graph.nodes[n].size for n in nodes)
    rows = np.empty((len(batch), 2 * width), np.float32)
    fresh = np.concatenate(
        [np.repeat([-np.inf, np.inf], graph.nodes[n].size).astype(np.float32) for n in nodes]
    )
    for i, box in enumerate(batch):
        rows[i] = fresh if box.inherited is None else box.inherited[0][box.inherited[1]]
    result = {}
    start = 0
    for n in nodes:
        size = graph.nodes[n].size
        part = rows[:, start : start + 2 * size].astype(np.float64)
        result[n] = (part[:, :size], part[:, size:])
        start += 2 * size
    return result
