"""What the original runtime answers: one pass, or greedy generation, decoded."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsl.claim import Batch, Claim, Evaluation, Feedback, Target
from dsl.decoding import decoded, packed, values_of
from dsl.errors import DistillError
from dsl.prefixes import begun, continued, is_fixed, is_resumable, room
from dsl.program import Expr

_FEW = 16
_LONG = 32
_ENDED = 0.2
_MANY, _TIMES = 2048, 12
_BLOCK = 256
"""So many prompts are answered together, and what is kept for them is forgotten then."""


def evaluated(target: Target, batch: Batch) -> Evaluation:
    """Decoded values of the original runtime on a batch, with margins."""
    if target.claim.feedback is not None:
        return _generated(target, target.claim.feedback, batch)
    raw = np.asarray(target.raw(batch))
    rows = len(next(iter(batch.values())))
    if raw.ndim == 0 or len(raw) != rows:
        raise DistillError(
            "D113",
            f"the network gives outputs of shape {raw.shape} for {rows} inputs",
            remedy="the first axis of its output must be that of the batch",
        )
    return decoded(target.claim.decode, raw)


def _generated(target: Target, feedback: Feedback, batch: Batch) -> Evaluation:
    """Greedy generation: each decoded entry is the next token of the input."""
    steps = step_count(feedback, batch)
    if is_fixed(target.claim):
        return _filled_in(target, feedback, batch, steps)
    sequence = packed(target.claim, batch)
    blocks = range(0, max(len(sequence), 1), _BLOCK)
    parts = [_answers(target, feedback, sequence[k : k + _BLOCK], steps) for k in blocks]
    width = max(table.shape[1] for table, _ in parts)
    tables = [_widened(table, width, feedback.until) for table, _ in parts]
    margins = np.concatenate([margins for _, margins in parts])
    return Evaluation(_until(np.concatenate(tables), feedback.until), margins)


def _answers(
    target: Target, feedback: Feedback, sequence: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy answers to packed prompts, (B, steps) at most, filled up with the end mark; and the
    least margin of the decisions in each.  What has not ended when the network can read no more is
    the answer."""
    rows = len(sequence)
    steps = int(min(steps, room(target, sequence) + 1))
    tokens = dict(feedback.tokens)
    columns: list[np.ndarray] = []
    margins = np.full(rows, np.inf)
    if steps == 0:
        return np.zeros((rows, 0), np.int64), margins
    running = np.arange(rows)
    ended = np.zeros(rows, bool)
    prefixes = begun(target, sequence)
    while True:
        values = prefixes.last.values
        alive = ~ended[running]
        least = np.minimum(margins[running], prefixes.last.margins)
        margins[running] = np.where(alive, least, margins[running])
        column = np.full(rows, feedback.until, values.dtype) if len(running) < rows else values
        column[running] = values
        columns.append(column)
        if feedback.until is not None:
            ended[running] |= np.asarray(values == feedback.until)
        if len(columns) == steps or ended.all():
            return np.stack(columns, 1), margins
        # What has ended runs along until it is a good part: to leave it out copies the others.
        going = np.arange(len(running))
        if ended[running].mean() > _ENDED:
            going = np.flatnonzero(~ended[running])
        prefixes = continued(target, prefixes, going, token_ids(values[going], tokens))
        running = running[going]


def _widened(table: np.ndarray, width: int, until: Any) -> np.ndarray:
    """A table of answers with more end marks."""
    if table.shape[1] == width:
        return table
    marks = np.full((len(table), width - table.shape[1]), until, table.dtype)
    return np.concatenate([table, marks], axis=1)


def _filled_in(target: Target, feedback: Feedback, batch: Batch, steps: int) -> Evaluation:
    """Greedy generation into an input of a fixed width."""
    claim = target.claim
    sequence = packed(claim, batch)
    rows, width = sequence.shape[:2]
    start = generation_start(claim, batch)
    answers: list[np.ndarray] = []
    margins = np.full(rows, np.inf)
    alive = np.ones(rows, bool)
    for step in range(steps):
        place = start + step
        one = decoded(claim.decode, target.runtime(sequence)[:, place])
        margins = np.where(alive, np.minimum(margins, one.margins), margins)
        answers.append(one.values)
        if feedback.until is not None:
            alive = alive & np.asarray(one.values != feedback.until)
            if not alive.any():
                break
        following = token_ids(one.values, dict(feedback.tokens)).astype(sequence.dtype)
        if place + 1 < width:
            sequence = sequence.copy()
            sequence[:, place + 1] = following
    table = np.stack(answers, 1) if answers else np.zeros((rows, 0), np.int64)
    return Evaluation(_until(table, feedback.until), margins)


def _start(claim: Claim) -> Expr:
    positions = claim.positions
    if positions is None:
        raise DistillError("D113", "greedy answers into a fixed width need `positions`")
    return positions[0] if isinstance(positions, tuple) else positions


def step_count(feedback: Feedback, batch: Batch) -> int:
    """The most tokens that may be generated for a batch."""
    return int(values_of(feedback.steps, batch, "steps").max(initial=0))


def has_long_answers(target: Target) -> bool:
    """May a greedy answer take dozens of passes?"""
    feedback = target.claim.feedback
    if feedback is None:
        return False
    batches = target.domain.sample(_FEW, np.random.default_rng(0))
    return max((step_count(feedback, batch) for batch in batches), default=0) > _LONG


def within_reach(target: Target, count: int) -> bool:
    """Can so many inputs be answered?  Not thousands of them where each answer takes dozens of
    passes; ten times as many where passes go on from what was kept."""
    most = _MANY * (_TIMES if is_resumable(target) else 1)
    return count <= most or not has_long_answers(target)


def generation_start(claim: Claim, batch: Batch) -> int:
    """The position whose output is the first answer, in inputs of a fixed width."""
    return int(values_of(_start(claim), batch, "positions").max())


def token_ids(values: np.ndarray, tokens: dict[Any, int]) -> np.ndarray:
    """The token ids of decoded values, in the shape of the values."""
    if not tokens:
        return values.astype(np.int64)
    flat = [tokens[value] for value in values.ravel().tolist()]
    return np.array(flat, np.int64).reshape(values.shape)


def _until(table: np.ndarray, until: Any) -> np.ndarray:
    """Answers up to the end mark: a matrix where all are of one length, else tuples."""
    if until is None or not table.shape[1]:
        return table
    ended = np.asarray(table == until)
    lengths = np.where(ended.any(1), ended.argmax(1), table.shape[1])
    if len(np.unique(lengths)) == 1:
        return np.asarray(table[:, : int(lengths[0])])
    result = np.empty(len(table), object)
    for row in range(len(table)):
        result[row] = tuple(table[row, : lengths[row]].tolist())
    return result
