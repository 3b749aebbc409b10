"""A linear term and a few bends: `a . x + b + sum of +- max(0, c . x + d)`.

Bends are added one at a time where they explain most of what is left, and all constants are then
fitted together (Levenberg and Marquardt).  This is a smaller network of the same kind, from a
straight line up to a dozen pieces: size against distance.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Assign, Call, Expr, Literal, Program, Statement
from synth.problem import Problem
from synth.reals.decimals import simplest
from synth.reals.points import Box, box_of, values
from synth.reals.tidying import linear, number

_POINTS = 2500
_COUNTS = (0, 1, 2, 3, 4, 6, 8, 12)
_TRIALS = 600
_STEPS = 40


@dataclass(frozen=True)
class Bends:
    """Weights (d + 1,) of the linear term, constant last; signs (k,) and rows (k, d + 1) of the
    bends, in scaled coordinates."""

    base: np.ndarray
    signs: np.ndarray
    rows: np.ndarray

    def at(self, lifted: np.ndarray) -> np.ndarray:
        return np.asarray(lifted @ self.base + np.maximum(lifted @ self.rows.T, 0) @ self.signs)


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Programs with more and more bends."""
    box = box_of(problem.target)
    if box is None:
        return
    rng = np.random.default_rng([problem.seed, 14])
    points = values(box, _POINTS, rng)
    if points is None:
        return
    lifted = np.concatenate([points.inputs, np.ones((len(points.inputs), 1))], 1)
    wanted = points.raw[:, 0]
    tolerance = problem.target.claim.decode.tolerance
    names = tuple((name, None) for name in problem.target.domain.names)
    width = lifted.shape[1]
    bends = Bends(np.linalg.lstsq(lifted, wanted, rcond=None)[0], np.zeros(0), np.zeros((0, width)))
    tried = 0
    for count in _COUNTS:
        while len(bends.signs) < count:
            bends = fitted(_extended(bends, lifted, wanted, rng), lifted, wanted, problem.deadline)
            tried += _TRIALS
        off = bends.at(lifted) - wanted
        room = max(0.15 * float(np.sqrt((off * off).mean())), 0.1 * tolerance)
        body, result = written(box, bends, room)
        yield Hypothesis(Program("program", names, body, result), "hinges", tried)
        if np.abs(off).max() <= tolerance or time.monotonic() > problem.deadline:
            return


def _extended(
    bends: Bends, lifted: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> Bends:
    """One bend more: of random ones through data points that which explains most of the rest."""
    left = wanted - bends.at(lifted)
    width = lifted.shape[1] - 1
    directions = rng.standard_normal((_TRIALS, width))
    # Half of the trials bend along one or two inputs only.
    keep = rng.random((_TRIALS, width)) < 1.5 / width
    directions[::2] = np.where(keep[::2], directions[::2], 0.0)
    directions[~directions.any(1), 0] = 1.0
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    through = lifted[rng.integers(0, len(lifted), _TRIALS), :-1]
    rows = np.concatenate([directions, -(directions * through).sum(1, keepdims=True)], 1)
    raised = np.maximum(lifted @ rows.T, 0)
    basis, _ = np.linalg.qr(lifted)
    raised = raised - basis @ (basis.T @ raised)
    rest = left - basis @ (basis.T @ left)
    size = np.maximum((raised**2).sum(0), 1e-9)
    along = rest @ raised
    best = int((along**2 / size).argmax())
    factor = float(along[best] / size[best])
    sign = 1.0 if factor >= 0 else -1.0
    return Bends(
        bends.base,
        np.append(bends.signs, sign),
        np.concatenate([bends.rows, rows[best : best + 1] * max(abs(factor), 1e-3)]),
    )


def fitted(bends: Bends, lifted: np.ndarray, wanted: np.ndarray, deadline: float) -> Bends:
    """All constants of least square error, from where they are."""
    width, count = lifted.shape[1], len(bends.signs)
    theta = np.concatenate([bends.base, bends.rows.ravel()])

    def unpacked(at: np.ndarray) -> Bends:
        return Bends(at[:width], bends.signs, at[width:].reshape(count, width))

    off = bends.at(lifted) - wanted
    loss, damping = float(off @ off), 1e-3
    for _ in range(_STEPS):
        current = unpacked(theta)
        live = (lifted @ current.rows.T > 0) * bends.signs
        parts = [lifted, *(live[:, [i]] * lifted for i in range(count))]
        jacobian = np.concatenate(parts, 1)
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ off
        scale = np.diag(np.maximum(np.diag(normal), 1e-9))
        for _ in range(6):
            moved = theta - np.linalg.lstsq(normal + damping * scale, gradient, rcond=None)[0]
            after = unpacked(moved).at(lifted) - wanted
            if float(after @ after) < loss:
                break
            damping *= 5
        else:
            break
        gain = loss - float(after @ after)
        theta, off, loss, damping = moved, after, float(after @ after), max(damping / 8, 1e-9)
        if gain < 1e-6 * loss or time.monotonic() > deadline:
            break
    return unpacked(theta)


def written(box: Box, bends: Bends, room: float) -> tuple[tuple[Statement, ...], Expr]:
    """The bends by name, one a line, and their sum; each constant off by little against `room`."""
    share = room / (1 + len(bends.signs)) ** 0.5
    terms, constant = _rounded(box, bends.base, share)
    body: list[Statement] = []
    signed: list[tuple[str, float]] = []
    for place, (sign, row) in enumerate(zip(bends.signs, bends.rows, strict=True), 1):
        inner_terms, inner = _rounded(box, row, share)
        if not inner_terms:
            constant += float(sign) * max(0.0, inner)
            continue
        raised = Call("max", (Literal(0), linear(inner_terms, inner)))
        body.append(Assign((f"bend_{place}",), (raised,)))
        signed.append((f"bend_{place}", float(sign)))
    total = (*terms, *signed)
    constant = simplest(constant - share / 4, constant + share / 4)
    return tuple(body), linear(total, constant) if total else number(constant)


def _rounded(box: Box, row: np.ndarray, room: float) -> tuple[tuple[tuple[str, float], ...], float]:
    """A row in the domain's units; the constant makes up for the rounding at the middle."""
    weights = row[:-1] / box.half
    share = room / (2 * len(weights))
    terms = []
    middle = float(row[-1])
    for name, weight, half, centre in zip(box.names, weights, box.half, box.middle, strict=True):
        slack = share / float(half)
        value = simplest(float(weight) - slack, float(weight) + slack)
        middle -= value * float(centre)
        if value:
            terms.append((name, value))
    return tuple(terms), simplest(middle - room / 4, middle + room / 4)
