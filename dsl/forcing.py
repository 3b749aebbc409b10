"""Greedy answers confirmed in one pass: the network reads the prompt with the whole answer.

If a causal network, having read the prompt and an answer, decides at every place of the answer for
the item that stands there, then greedy generation gives that answer.  One pass takes the place of
one pass per item.  Decisions close to a tie are left to real generation.
"""

from __future__ import annotations

import math

import numpy as np

from dsl.agreement import equal_rows
from dsl.claim import Batch, Target
from dsl.decoding import decoded
from dsl.generation import generation_start, step_count, token_ids
from dsl.prefixes import room

_CLOSE = 1e-4


def agrees_by_forcing(target: Target, batch: Batch, ours: np.ndarray) -> np.ndarray:
    """The rows whose greedy answer is certainly `ours`; the others need real generation."""
    feedback = target.claim.feedback
    assert feedback is not None
    rows = len(ours)
    sure = np.zeros(rows, bool)
    answers = [tuple(np.asarray(answer).tolist()) for answer in ours]
    prompt = target.pack(batch)
    steps = step_count(feedback, batch)
    fixed = target.claim.shape is not None and target.claim.shape[0] > 0
    start = generation_start(target.claim, batch) if fixed else prompt.shape[1] - 1
    most = math.inf if fixed else room(target, prompt)
    known = dict(feedback.tokens)
    groups: dict[int, list[int]] = {}
    for row, answer in enumerate(answers):
        if all(item in known for item in answer) or not known:
            groups.setdefault(len(answer), []).append(row)
    for length, members in groups.items():
        if length > min(steps, most) or (length < steps and feedback.until is None):
            continue
        expected = np.array([answers[row] for row in members])
        if feedback.until is not None and length < steps:
            marks = np.full((len(members), 1), feedback.until, object)
            expected = np.concatenate(
                [expected.reshape(len(members), length).astype(object), marks], 1
            )
        chosen = prompt[members]
        ids = token_ids(np.array([answers[row] for row in members]), known).reshape(
            len(members), length
        )
        if fixed:
            free = chosen.shape[1] - start - 1
            chosen = chosen.copy()
            chosen[:, start + 1 : start + 1 + min(length, free)] = ids[:, :free]
        else:
            chosen = np.concatenate([chosen, ids.astype(chosen.dtype)], axis=1)
        raw = target.runtime(chosen)[:, start : start + expected.shape[1]]
        if raw.shape[1] != expected.shape[1]:
            continue
        result = decoded(target.claim.decode, raw)
        close = _CLOSE * np.abs(raw).reshape(len(raw), -1).max(1, initial=0)
        sure[members] = equal_rows(expected, result.values) & (result.margins > close)
    return sure


def is_causal(target: Target, rng: np.random.Generator) -> bool:
    """Was no earlier output seen to change with a later token?  (An observation, no proof.)"""
    from dsl.reachable import sample

    for batch in sample(target, 48, rng)[-6:]:
        packed = target.pack(batch)
        if packed.ndim != 2 or packed.shape[1] < 3 or len(packed) < 1:
            continue
        raw = target.runtime(packed)
        if raw.ndim < 3 or raw.shape[1] != packed.shape[1]:
            return False
        cut = packed.shape[1] // 2
        other = packed.copy()
        other[:, cut:] = packed[rng.permutation(len(packed))][:, cut:][:, ::-1]
        change = np.abs(target.runtime(other)[:, :cut] - raw[:, :cut]).max(initial=0)
        if change > _CLOSE * (np.abs(raw).max(initial=0) + 1):
            return False
    return True
