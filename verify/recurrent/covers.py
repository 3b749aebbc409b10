"""Regions in bases in which a network forgets, and covers of what it reaches by many small ones.

Few networks contract as boxes see it.  Near a visited state they do in a quadratic form: how much
a small difference there changes all later answers, the Lyapunov form of the Jacobians along words.
Boxes in a basis of it are grown as in `induction`; where they grow too wide, the reachable states
are covered by boxes of the cells of a grid, each the hull of the images that fall into its cell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np

from verify.recurrent.enclosures import Form
from verify.recurrent.exploration import program_moves
from verify.recurrent.induction import (
    NEIGHBOURS,
    Regions,
    Setting,
    Work,
    carried,
    closed,
    divided,
    first_key,
    nearest,
    passes,
    selected,
    widest,
    words_of_period,
)
from verify.recurrent.machines import distinct_rows

_WORDS, _LENGTH, _TAIL = 200, 240, 40
_RUNS = (0.0, 0.5, 0.8, 0.95, 0.99)
"""How likely a word repeats its last symbol."""
_STEP = 1e-6
_DECAY = 0.95
"""How fast a difference must shrink to count for little."""
_FLOORS = (1e-3, 1e-8)
"""The least eigenvalue of a form, as a part of the greatest."""
_GROWN_PARTS, _PARTS = 3000, 8000
_CERTAIN_PARTS = 40_000
_CELLS = 3000
_MOST_WORDS = 64
_ROWS = 4096
_SHARE = 0.5
_WIDTHS, _PERIODS, _SIZES = (0.06, 0.03, 1.0), (4, 3, 6), (0.3, 0.1)
_FACES = 0.25
"""Faces of boxes lie on a grid that is finer than that of cells by this."""


@dataclass(frozen=True, slots=True)
class Visits:
    """Program states (n, s) and hidden states (n, h) of sampled words, and the quadratic form
    (n, h, h) that measures what a small difference at each does to later answers."""

    states: np.ndarray
    hidden: np.ndarray
    form: np.ndarray


def visits(setting: Setting, seed: int) -> Visits:
    """What random words lead to, many of which repeat symbols for long."""
    rng = np.random.default_rng(seed)
    machine, network, size = setting.machine, setting.network, len(setting.alphabet)
    symbols = rng.integers(0, size, (_WORDS, _LENGTH))
    repeats = rng.random(symbols.shape) < rng.choice(_RUNS, (_WORDS, 1))
    for t in range(1, _LENGTH):
        symbols[:, t] = np.where(repeats[:, t], symbols[:, t - 1], symbols[:, t])
    state = np.repeat(first_key(machine, 0)[None], _WORDS, axis=0)
    hidden = np.repeat(network.start[None], _WORDS, axis=0)
    width = hidden.shape[1]
    small = np.repeat(_STEP * np.eye(width)[None], _WORDS, axis=0)
    states, clouds, steps, answers = [state], [hidden], [], []
    for t in range(_LENGTH):
        after, _, kind_of = program_moves(machine, setting.alphabet, state)
        state = after[kind_of * size + symbols[:, t]]
        raw, form = network.step(symbols[:, t], Form(hidden, small, np.zeros_like(hidden)))
        steps.append(form.generators / _STEP)  # (B, from, to)
        answers.append(raw.generators.reshape(_WORDS, width, -1) / _STEP)
        hidden = form.centre
        states.append(state)
        clouds.append(hidden)
    least = np.eye(width) * 1e-6
    quadratic = np.repeat(least[None], _WORDS, axis=0)
    forms = [quadratic]
    for step, answer in zip(reversed(steps), reversed(answers)):
        later = step @ quadratic @ np.swapaxes(step, 1, 2)
        quadratic = answer @ np.swapaxes(answer, 1, 2) + later / _DECAY**2 + least
        forms.append(quadratic)
    forms.reverse()
    kept = [t for t in range(_LENGTH - _TAIL) if t < 2 * _TAIL or t % 5 == 0]
    return Visits(
        *(np.concatenate([column[t] for t in kept]) for column in (states, clouds, forms))
    )


def begun(seen: Visits, period: int, share: float, floor: float) -> Regions:
    """Boxes around the visited states, in bases of their forms, each no wider to begin with than a
    share of the whole."""
    first, kind = distinct_rows(seen.states)
    size = share * float(np.abs(seen.hidden - seen.hidden.mean(axis=0)).max(initial=0.0))
    keys, boxes = [], []
    for i, place in enumerate(first):
        rows = np.flatnonzero(kind == i)
        for part in divided(seen.hidden[rows], size):
            keys.append(seen.states[place])
            boxes.append(_box(seen.hidden[rows[part]], seen.form[rows[part]].mean(axis=0), floor))
    centre, vectors, radius = (np.stack(column) for column in zip(*boxes, strict=True))
    return Regions(period, 0, np.stack(keys), centre, vectors, radius)


def _box(
    cloud: np.ndarray, form: np.ndarray, floor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, vectors and radius of a box around a cloud: in coordinates in which the form is a sum
    of squares, along the principal axes of the cloud."""
    sizes, axes = np.linalg.eigh(form)
    roots = np.sqrt(np.maximum(sizes, floor * sizes.max()))
    scaled = (cloud - cloud.mean(axis=0)) @ (axes * roots)
    _, turn = np.linalg.eigh(scaled.T @ scaled + 1e-14 * np.eye(len(form)))
    vectors = (axes / roots) @ turn
    turned = scaled @ turn
    low, high = turned.min(axis=0), turned.max(axis=0)
    spread = (high - low) / 2
    centre = cloud.mean(axis=0) + vectors @ ((low + high) / 2)
    return centre, vectors, 1.05 * spread + 1e-4 * float(spread.max()) + 1e-6


Attempt = Callable[[float], tuple[Regions | None, str]]
"""Regions, where they are found before a deadline, and what stopped the search."""


def _attempts(setting: Setting, seen: Visits) -> Iterator[tuple[str, Attempt]]:
    """The cheapest first."""
    letters = len(setting.alphabet)
    for floor in _FLOORS:
        for period in (1, 2):
            if letters**period <= _MOST_WORDS:
                whole = begun(seen, period, np.inf, floor)
                yield f"grown, period {period}, floor {floor}", partial(_grown, whole, setting)
    for floor, width, period, size in product(_FLOORS, _WIDTHS, _PERIODS, _SIZES):
        if letters**period <= _MOST_WORDS:
            shapes = begun(seen, period, size, floor)
            name = f"covered, period {period}, floor {floor}, size {size}, width {width}"
            yield name, partial(_covered, shapes, setting, width)


def covered(setting: Setting, *, seed: int, deadline: float, reasons: list[str]) -> Regions | None:
    """Regions that prove the claim for words of any length; None where none were found."""
    for name, attempt in _attempts(setting, visits(setting, seed)):
        now = time.monotonic()
        if now > deadline:
            return None
        found, reason = attempt(now + _SHARE * (deadline - now))
        reasons.append(f"{name}: {reason}")
        if found is not None:
            return found
    return None


def _grown(whole: Regions, setting: Setting, deadline: float) -> tuple[Regions | None, str]:
    return closed(whole, setting, _GROWN_PARTS, deadline, np.inf, overshoot=1.005)


@dataclass
class Cover:
    """Boxes in the bases of `shapes`, by the cell of a grid in which the centres of the images lie
    that they are the hull of.  All faces lie on a grid of their own, so growing ends."""

    shapes: Regions
    width: float
    numbers: dict[tuple[int, ...], int] = field(default_factory=dict)
    shape: list[int] = field(default_factory=list)
    low: list[np.ndarray] = field(default_factory=list)
    high: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.shape)

    def add(self, shape: np.ndarray, low: np.ndarray, high: np.ndarray) -> set[int]:
        """Images (n, h) join the boxes of their cells; the boxes that grew."""
        fine = _FACES * np.minimum(self.width, self.shapes.radius[shape]) + 1e-9
        cells = np.floor((low + high) / 2 / self.width).astype(np.int64)
        first, kind = distinct_rows(np.concatenate([shape[:, None], cells], axis=1))
        least = np.full((len(first), low.shape[1]), np.inf)
        most = -least
        np.minimum.at(least, kind, np.floor(low / fine) * fine)
        np.maximum.at(most, kind, np.ceil(high / fine) * fine)
        grew = set()
        for place, below, above in zip(first, least, most):
            name = (int(shape[place]), *cells[place].tolist())
            number = self.numbers.setdefault(name, len(self))
            if number == len(self):
                self.shape.append(name[0])
                self.low.append(below)
                self.high.append(above)
                grew.add(number)
            elif (below < self.low[number] - 1e-12).any() or (
                above > self.high[number] + 1e-12
            ).any():
                self.low[number] = np.minimum(self.low[number], below)
                self.high[number] = np.maximum(self.high[number], above)
                grew.add(number)
        return grew

    def regions(self, chosen: list[int]) -> Regions:
        shape = np.array(self.shape)[chosen]
        low, high = (
            np.stack([self.low[i] for i in chosen]),
            np.stack([self.high[i] for i in chosen]),
        )
        vectors = self.shapes.vectors[shape]
        centre = np.einsum("nij,nj->ni", vectors, (low + high) / 2)
        return Regions(
            self.shapes.period, 0, self.shapes.keys[shape], centre, vectors, (high - low) / 2 + 1e-9
        )


def _covered(
    shapes: Regions, setting: Setting, width: float, deadline: float
) -> tuple[Regions | None, str]:
    """The boxes of cells that the start leads to, and those that they lead to, until none grows."""
    inverse = np.linalg.inv(shapes.vectors)
    words = words_of_period(setting, shapes.period)
    cover = Cover(shapes, width)

    def joined(key: np.ndarray, form: Form) -> set[int]:
        at, _ = nearest(shapes, key, form.centre)
        if (at < 0).any():
            return set()
        turned = inverse[at]
        centre = np.einsum("nij,nj->ni", turned, form.centre)
        spread = np.abs(np.einsum("nij,ngj->ngi", turned, form.generators)).sum(axis=1)
        spread += np.einsum("nij,nj->ni", np.abs(turned), form.radius) + 1e-9
        return cover.add(at, centre - spread, centre + spread)

    start = setting.network.start[None]
    radius = np.full_like(start, setting.network.uncertainty)
    left = joined(first_key(setting.machine, 0)[None], Form(start, 0 * start[:, None], radius))
    halved = 0
    while left:
        regions = cover.regions(sorted(left))
        left = set()
        work = Work.whole(len(regions.keys), len(words), len(start[0]))
        for part in work.pieces(_ROWS):
            if time.monotonic() > deadline:
                return None, "time is up"
            key, form, slack = carried(regions, setting, part, words)
            doubtful = ~(slack > 0)
            halved += int(doubtful.sum())
            if halved > _PARTS:
                return None, f"answers are not certain on boxes of {len(cover)}"
            if doubtful.any():
                work.add(part.picked(doubtful).halves(widest(form, part, doubtful)))
            left |= joined(key[~doubtful], selected(form, ~doubtful))
            if len(cover) > _CELLS:
                return None, "too many boxes"
    regions = cover.regions(list(range(len(cover))))
    passed = passes(regions, setting, _CERTAIN_PARTS, deadline, neighbours=NEIGHBOURS)
    if passed is None or not passed.closed:
        return None, "the boxes are not closed"
    return regions, "closed"
