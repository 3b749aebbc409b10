"""Bounds carried forwards: nodes as linear forms in symbols that stand for any number in [-1, 1].

The inputs have one symbol each, and so has every entry of a function or product that its lines
do not follow exactly.  All nodes share the symbols, so that what is lost in one place may cancel
later.  One product of matrices for each node bounds all of its entries at once: many times
cheaper than backward substitution, and on small boxes nearly as tight.

Spreads are held in float32; what that rounds, and the runtime's own rounding, goes into `rest`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from verify.graph import TINY, Affine, accumulated
from verify.relaxations import UNIT

SINGLE = 2.0**-24
_ROOM = 1.0 + 1e-9
"""Covers the float64 arithmetic of sums of magnitudes."""


@dataclass(frozen=True, slots=True)
class Zonotope:
    """On box b entry i is within `rest[b, i]` of `centre[b, i] + sum of spread[s, i] * symbol s`,
    over the symbols s of that box; (B, n), (S, n) and (B, n).  `reach` bounds the sum."""

    centre: np.ndarray
    spread: np.ndarray
    rest: np.ndarray
    reach: np.ndarray

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of every entry, (B, n) each."""
        radius = (self.reach + self.rest) * _ROOM + 4 * UNIT * np.abs(self.centre)
        return self.centre - radius, self.centre + radius


@dataclass
class Symbols:
    """The symbols in the order in which they came up; `owner` are the boxes that they belong to.
    A node that was made before a symbol does not depend on it."""

    boxes: int
    owner: np.ndarray = field(default_factory=lambda: np.zeros(0, np.intp))

    def inputs(self, low: np.ndarray, high: np.ndarray) -> Zonotope:
        """The boxes (B, d) themselves."""
        middle = low + (high - low) / 2
        radius = np.maximum(high - middle, middle - low) * (1.0 + 4 * UNIT)
        nothing = np.zeros((0, low.shape[1]), np.float32)
        return self._with(middle, nothing, np.full_like(middle, TINY), radius)

    def affine(self, node: Affine, sources: list[Zonotope], noise: np.ndarray) -> Zonotope:
        """An affine node that may be off by `noise`."""
        count = sum(1 if m is None else m.shape[1] for _, m in node.terms) + 8
        single, double = accumulated(count, SINGLE), 4 * accumulated(count, UNIT)
        centre = np.broadcast_to(node.bias, noise.shape)
        rest = noise + double * np.abs(node.bias) + TINY
        spreads = [np.zeros((0, node.size), np.float32)]
        for (_, m), form in zip(node.terms, sources, strict=True):
            off = form.rest + single * form.reach + double * np.abs(form.centre)
            centre = centre + (form.centre if m is None else m.applied(form.centre))
            rest = rest + (off if m is None else np.asarray(off @ m.magnitudes))
            rest = rest + TINY * form.reach.sum(1, keepdims=True)
            spreads.append(form.spread if m is None else form.spread @ m.single)
        return self._form(centre, _added(spreads), rest * _ROOM)

    def enclosed(
        self,
        terms: list[tuple[np.ndarray, Zonotope]],
        offset: np.ndarray,
        loss: np.ndarray,
        noise: np.ndarray | float = 0.0,
    ) -> Zonotope:
        """`sum of slope * source + offset`, give or take `loss`, for which there are new symbols,
        and `noise`, for which there are none."""
        centre = offset
        rest = noise + 8 * UNIT * np.abs(offset) + TINY
        spreads = []
        for slope, source in terms:
            size = np.abs(slope)
            centre = centre + slope * source.centre
            rest = rest + size * (source.rest + 4 * SINGLE * source.reach) + TINY * source.reach
            rest = rest + 8 * UNIT * size * np.abs(source.centre)
            owner = self.owner[: len(source.spread)]
            spreads.append(source.spread * slope.astype(np.float32)[owner])
        return self._with(centre, _added(spreads), rest * _ROOM, loss)

    def _with(
        self, centre: np.ndarray, spread: np.ndarray, rest: np.ndarray, loss: np.ndarray
    ) -> Zonotope:
        """A form with a new symbol for every entry that has a loss."""
        box, entry = np.nonzero(loss)
        place = np.arange(len(self.owner), len(self.owner) + len(box))
        self.owner = np.concatenate([self.owner, box])
        whole = np.zeros((len(self.owner), centre.shape[1]), np.float32)
        whole[: len(spread)] = spread
        whole[place, entry] = loss[box, entry] * (1.0 + 2 * SINGLE)
        return self._form(centre, whole, rest)

    def _form(self, centre: np.ndarray, spread: np.ndarray, rest: np.ndarray) -> Zonotope:
        count = len(spread)
        owner = self.owner[:count]
        ones = np.ones(count, np.float32)
        sums = csr_array((ones, (owner, np.arange(count))), shape=(self.boxes, count))
        most = int(np.bincount(owner, minlength=1).max())
        reach = np.asarray(sums @ np.abs(spread), np.float64)
        reach = reach * (1.0 + accumulated(most + 4, SINGLE)) + TINY
        return Zonotope(centre, spread, rest, reach)


def _added(spreads: list[np.ndarray]) -> np.ndarray:
    """The sum of spreads, of which the shorter lack the later symbols."""
    total = max(spreads, key=len)
    shorter = [spread for spread in spreads if spread is not total and len(spread)]
    if shorter:
        total = total.copy()
    for spread in shorter:
        total[: len(spread)] += spread
    return total
