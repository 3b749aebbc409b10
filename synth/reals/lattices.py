"""Piecewise-linear outputs: as a greatest of leasts of few affine functions, or piece by piece.

A continuous piecewise-linear function is max over pieces i of min { l_j : l_j >= l_i where i is
active } (Tarela and Martinez 1999).  The affine functions come from local fits of the network; the
sets from comparing them at the points at which each is active.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsl.claim import Hypothesis
from dsl.evaluate import run
from dsl.program import Assign, Call, Expr, Program, Statement, Variable, walk
from synth.problem import Problem
from synth.reals.decimals import simplest
from synth.reals.points import Box, box_of, drawn
from synth.reals.tidying import linear

_MOST_INPUTS = 8
_MOST_PIECES = 40
_CENTRES = 1500
_POINTS = 20_000
_ROUNDS = 4
_STEP = 2e-3


@dataclass(frozen=True)
class Pieces:
    """Affine functions (K, d + 1) of scaled inputs, constants last; the points (N, d) at which
    they are active, the values there (N,), and the number of the active one."""

    functions: np.ndarray
    inputs: np.ndarray
    wanted: np.ndarray
    active: np.ndarray


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """The lattice form, where the network is piecewise linear with few pieces."""
    box = box_of(problem.target)
    if box is None or problem.target.claim.decode.rule != "value":
        return
    if len(box.names) > _MOST_INPUTS:
        return
    rng = np.random.default_rng([problem.seed, 13])
    tolerance = problem.target.claim.decode.tolerance
    names = tuple((name, None) for name in problem.target.domain.names)
    known = [box.scaled(o.inputs) for o in problem.observations if len(o) == 1]
    for _ in range(_ROUNDS):
        found = pieces_of(box, rng, tolerance, near(known, box, rng))
        if found is None or time.monotonic() > problem.deadline:
            return
        sets = lattice(found)
        for share in (0.02, 0.5):
            body, result = _written(box, found, sets, share * tolerance)
            program = Program("program", names, body, result)
            yield Hypothesis(program, "lattices", len(found.functions))
        missed = _missed(program, box, rng, tolerance)
        if not len(missed):
            return
        known.append(missed[:_CENTRES])


def _missed(program: Program, box: Box, rng: np.random.Generator, tolerance: float) -> np.ndarray:
    """Fresh points at which a program is off."""
    inputs = drawn(box, 5 * _POINTS, rng)
    off = np.abs(run(program, box.batch(inputs)) - box.raw(inputs)[:, 0])
    return inputs[off > max(tolerance, 1e-4 * float(off.max()))]


def near(known: list[np.ndarray], box: Box, rng: np.random.Generator) -> np.ndarray:
    """Points around some that are known to be wrong."""
    if not known:
        return np.zeros((0, len(box.names)))
    wrong = np.concatenate(known)
    centres = np.repeat(wrong, max(1, _POINTS // (4 * len(wrong))), axis=0)
    spread = rng.choice([0.003, 0.03], (len(centres), 1))
    return np.clip(centres + spread * rng.standard_normal(centres.shape), -1, 1)


def pieces_of(
    box: Box, rng: np.random.Generator, tolerance: float, extra: np.ndarray
) -> Pieces | None:
    """The affine functions that the network is locally; None where it is curved, where they are
    too many, or where they leave much unexplained."""
    inputs = np.concatenate([drawn(box, _POINTS, rng), extra])
    if (raw := box.raw(inputs)).shape[1] != 1:
        return None
    wanted = raw[:, 0]
    noise = 2e-6 * max(1.0, float(np.abs(wanted).max()))
    close = max(tolerance, 4 * noise)
    lifted = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
    functions = np.zeros((0, inputs.shape[1] + 1))
    missed = np.arange(len(inputs))
    for _ in range(_ROUNDS):
        centres = missed[:_CENTRES]
        slopes, bend = _local(box, inputs[centres], wanted[centres])
        smooth = bend <= noise
        if not len(functions) and smooth.mean() < 0.5:
            return None
        fresh = _distinct(
            inputs[centres[smooth]], wanted[centres[smooth]], slopes[smooth], tolerance
        )
        functions = np.concatenate([functions, fresh])
        if not len(functions) or len(functions) > _MOST_PIECES:
            return None
        off = np.abs(lifted @ functions.T - wanted[:, None])
        missed = np.flatnonzero(off.min(1) > close)
        if len(missed) <= inputs.shape[1]:
            break
    good = off.min(1) <= close
    if good.mean() < 0.97:
        return None
    return Pieces(functions, inputs[good], wanted[good], off[good].argmin(1))


def _local(box: Box, inputs: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (n, d) by central differences, and how far the network is from affine there:
    opposite steps change an affine function by opposite amounts."""
    width = inputs.shape[1]
    offsets = np.concatenate([np.eye(width), -np.eye(width)]) * _STEP
    moved = np.stack([box.raw(inputs + offset)[:, 0] for offset in offsets])
    slopes = (moved[:width] - moved[width:]).T / (2 * _STEP)
    return slopes, np.abs(moved[:width] + moved[width:] - 2 * wanted).max(0)


def _distinct(
    inputs: np.ndarray, wanted: np.ndarray, slopes: np.ndarray, tolerance: float
) -> np.ndarray:
    """The affine functions of local fits, each refitted on all points at which it is right."""
    lifted = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
    slack = max(0.3 * tolerance, 1e-5 * float(np.abs(wanted).max(initial=0.0)))
    left = np.ones(len(inputs), bool)
    functions: list[np.ndarray] = []
    spread = 0.02 * max(1e-6, float(np.abs(slopes).max(initial=0.0)))
    while left.any() and len(functions) <= _MOST_PIECES:
        first = int(np.flatnonzero(left)[0])
        alike = left & (np.abs(slopes - slopes[first]).max(1) <= spread)
        guess = np.append(slopes[first], wanted[first] - slopes[first] @ inputs[first])
        for _ in range(3):
            close = alike & (np.abs(lifted @ guess - wanted) <= 20 * slack)
            if close.sum() <= inputs.shape[1] + 1:
                break
            guess = np.linalg.lstsq(lifted[close], wanted[close], rcond=None)[0]
        close = left & (np.abs(lifted @ guess - wanted) <= slack)
        close[first] = True
        if alike.sum() > inputs.shape[1] + 1:
            functions.append(guess)
        left &= ~close
    return np.array(functions).reshape(len(functions), inputs.shape[1] + 1)


def lattice(pieces: Pieces) -> tuple[tuple[int, ...], ...]:
    """Sets of functions: the greatest over the sets of the least in each, without idle sets."""
    lifted = np.concatenate([pieces.inputs, np.ones((len(pieces.inputs), 1))], 1)
    values = lifted @ pieces.functions.T
    # Where two functions nearly agree, which one is above cannot be told.
    slack = 2e-5 * max(1.0, float(np.abs(values).max()))
    gaps = np.abs(values - values[np.arange(len(values)), pieces.active][:, None])
    clear = ((gaps > slack) | (gaps == 0)).all(1)
    values, wanted = values[clear], pieces.wanted[clear]
    active = pieces.active[clear]
    above = values >= values[np.arange(len(values)), active][:, None]
    sets = [frozenset(np.flatnonzero(row).tolist()) for row in np.unique(above, axis=0)]
    chosen = [s for s in sets if not any(other < s for other in sets)]
    chosen.sort(key=lambda s: (-len(s), sorted(s)))
    limit = float(np.abs(_value(values, chosen) - wanted).max()) * 1.0001 + 1e-9
    for idle in tuple(chosen):
        rest = [s for s in chosen if s != idle]
        if rest and np.abs(_value(values, rest) - wanted).max() <= limit:
            chosen = rest
    for place, members in enumerate(chosen):
        others = chosen[:place] + chosen[place + 1 :]
        for member in sorted(members):
            fewer = members - {member}
            if fewer and np.abs(_value(values, [*others, fewer]) - wanted).max() <= limit:
                members = fewer
        chosen[place] = members
    return tuple(tuple(sorted(s)) for s in dict.fromkeys(chosen))


def _value(values: np.ndarray, sets: list[frozenset[int]]) -> np.ndarray:
    return np.max([values[:, sorted(s)].min(1) for s in sets], axis=0)


def _written(
    box: Box, pieces: Pieces, sets: tuple[tuple[int, ...], ...], room: float
) -> tuple[tuple[Statement, ...], Expr]:
    """`return max(min(a, b), c)`, with each affine function named if it is used twice."""
    used = [i for s in sets for i in s]
    exprs = {i: _affine(box, pieces.functions[i], room) for i in dict.fromkeys(used)}
    body: list[Statement] = []
    terms: dict[int, Expr] = {}
    letters = iter(f"plane_{n}" for n in range(1, 1 + len(exprs)))
    for i, expr in exprs.items():
        long = sum(1 for _ in walk(expr)) > 3
        if long and (used.count(i) > 1 or len(exprs) > 3):
            name = next(letters)
            body.append(Assign((name,), (expr,)))
            terms[i] = Variable(name)
        else:
            terms[i] = expr
    parts = [_extreme("min", [terms[i] for i in s]) for s in sets]
    return tuple(body), _extreme("max", parts)


def _extreme(name: str, parts: list[Expr]) -> Expr:
    return parts[0] if len(parts) == 1 else Call(name, tuple(parts))


def _affine(box: Box, function: np.ndarray, room: float) -> Expr:
    """An affine function in the domain's units; each constant off by at most `room` in effect."""
    weights = function[:-1] / box.half
    constant = float(function[-1] - weights @ box.middle)
    share = room / (len(weights) + 1)
    terms = []
    for i, name in enumerate(box.names):
        largest = abs(float(box.middle[i])) + float(box.half[i])
        slack = share / largest
        value = simplest(float(weights[i]) - slack, float(weights[i]) + slack)
        if value:
            terms.append((name, value))
    return linear(tuple(terms), simplest(constant - share, constant + share))
