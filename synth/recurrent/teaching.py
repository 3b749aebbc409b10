"""A target as a teacher: its network asked word by word, through its step where there is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsl import types as t
from dsl.claim import Target
from dsl.decoding import decoded
from synth.recurrent.traces import Channel, Teacher, Words

_REACH = 24


def channels_of(target: Target) -> tuple[Channel, ...] | None:
    """The sequences that the target reads side by side; None if it reads anything else."""
    channels: list[Channel] = []
    spans = set()
    for name, kind in target.domain.types.items():
        if not isinstance(kind, t.Seq):
            return None
        match kind.item:
            case t.Int(low, high) if low is not None and high is not None:
                channels.append(Channel(name, low, high))
            case t.Bool():
                channels.append(Channel(name, 0, 1))
            case t.Token(alphabet) if alphabet:
                channels.append(Channel(name, 0, len(alphabet) - 1, alphabet))
            case _:
                return None
        spans.add((kind.low, kind.high))
    return tuple(channels) if channels and len(spans) == 1 else None


def teacher_of(target: Target, rng: np.random.Generator) -> Teacher | None:
    """The target as a teacher; None where it is not a function of one word, read from left to
    right, with one answer per symbol or one per word."""
    channels = channels_of(target)
    if channels is None or target.claim.feedback is not None or target.claim.closed_loop:
        return None
    kind = next(iter(target.domain.types.values()))
    assert isinstance(kind, t.Seq)
    longest = kind.high if kind.high is not None else max(kind.low, _REACH)
    if longest < 2 or target.domain.where is not None:
        return None
    words = np.stack([rng.integers(c.low, c.high + 1, (64, longest)) for c in channels], axis=2)
    values = target.evaluate(batch_of(channels, words)).values
    if values.ndim > 2 or values.dtype.kind not in "biuUO":
        return None
    every_step = values.ndim == 2 and values.shape[1] == longest
    if values.ndim == 2 and not every_step:
        return None
    if not every_step and kind.low > 1:
        return None
    labels = _labels(target, channels, kind, values, rng)
    shape = (channels, kind.low, kind.high, every_step)
    stepped = _by_step(target, shape, labels, longest)
    if stepped is not None and _agree(stepped, target, words, values, labels):
        return stepped
    blind = _by_words(target, shape, labels, longest)
    return blind if not every_step or _causal(blind, words, rng) else None


def batch_of(channels: Sequence[Channel], words: Words) -> dict[str, np.ndarray]:
    """Words as a batch of the domain."""
    columns = {}
    for k, channel in enumerate(channels):
        column = words[:, :, k]
        columns[channel.name] = np.array(channel.tokens)[column] if channel.tokens else column
    return columns


def words_of(channels: Sequence[Channel], batch: dict[str, np.ndarray]) -> Words:
    """A batch of the domain as words: of sequences that are not equally long, what all have."""
    columns = []
    for channel in channels:
        column = np.asarray(batch[channel.name])
        if channel.tokens:
            order = {token: i for i, token in enumerate(channel.tokens)}
            flat = [order[token] for token in column.ravel().tolist()]
            column = np.array(flat, np.int64).reshape(column.shape)
        columns.append(column.astype(np.int64))
    common = min(column.shape[1] for column in columns)
    return np.stack([column[:, :common] for column in columns], axis=2)


def _labels(
    target: Target,
    channels: Sequence[Channel],
    kind: t.Seq,
    values: np.ndarray,
    rng: np.random.Generator,
) -> tuple[object, ...] | None:
    if values.dtype.kind == "b":
        return (False, True)
    if values.dtype.kind in "iu":
        return None
    seen = set(values.ravel().tolist())
    for batch in target.domain.sample(256, rng):
        seen |= set(np.asarray(target.evaluate(batch).values).ravel().tolist())
    return tuple(sorted(seen, key=repr))


def _numbers(values: np.ndarray, labels: tuple[object, ...] | None) -> np.ndarray:
    """The values as integers: themselves, or their places among the labels (-1 for others)."""
    if labels is None or labels == (False, True):
        return values.astype(np.int64)
    order = {label: i for i, label in enumerate(labels)}
    flat = [order.get(value, -1) for value in values.ravel().tolist()]
    return np.array(flat, np.int64).reshape(values.shape)


Shape = tuple[tuple[Channel, ...], int, "int | None", bool]


def _by_step(
    target: Target, shape: Shape, labels: tuple[object, ...] | None, longest: int
) -> Teacher | None:
    channels, low, high, every_step = shape
    recurrence = target.recurrence
    if recurrence is None:
        return None

    def packed(symbols: np.ndarray) -> np.ndarray:
        words = np.repeat(symbols[:, None], longest, axis=1)
        return target.pack(batch_of(channels, words))[:, 0]

    def advance(symbols: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raw, after = recurrence.step(packed(symbols), states.astype(recurrence.start.dtype))
        return _numbers(decoded(target.claim.decode, raw).values, labels), after

    def run(words: Words) -> tuple[np.ndarray, np.ndarray | None]:
        states = np.repeat(recurrence.start[None], len(words), axis=0)
        hidden, answers = [states], []
        if not every_step:
            answers.append(_empty(target, channels, low, labels, len(words)))
        for i in range(words.shape[1]):
            answer, states = advance(words[:, i], states)
            answers.append(answer)
            hidden.append(states)
        return np.stack(answers, axis=1), np.stack(hidden, axis=1)

    return Teacher(channels, low, high, every_step, run, advance, labels)


def _empty(
    target: Target,
    channels: Sequence[Channel],
    low: int,
    labels: tuple[object, ...] | None,
    rows: int,
) -> np.ndarray:
    """The answer to the empty word; 0 where it is not in the domain."""
    if low > 0:
        return np.zeros(rows, np.int64)
    word = np.zeros((1, 0, len(channels)), np.int64)
    value = _numbers(target.evaluate(batch_of(channels, word)).values, labels)
    return np.repeat(value, rows)


def _by_words(
    target: Target, shape: Shape, labels: tuple[object, ...] | None, longest: int
) -> Teacher:
    channels, low, high, every_step = shape

    def run(words: Words) -> tuple[np.ndarray, np.ndarray | None]:
        length = words.shape[1]
        if every_step:
            fill = np.repeat(words[:, -1:], max(0, longest - length), axis=1)
            full = np.concatenate([words, fill], axis=1) if low == high else words
            values = target.evaluate(batch_of(channels, full)).values
            return _numbers(values, labels)[:, :length], None
        columns = []
        for end in range(length + 1):
            if end < low:
                columns.append(np.zeros(len(words), np.int64))
                continue
            values = target.evaluate(batch_of(channels, words[:, :end])).values
            columns.append(_numbers(values, labels))
        return np.stack(columns, axis=1), None

    return Teacher(channels, low, high, every_step, run, None, labels, longest)


def _agree(
    teacher: Teacher,
    target: Target,
    words: Words,
    values: np.ndarray,
    labels: tuple[object, ...] | None,
) -> bool:
    """Does the step give what the whole network gives?  Rounding noise is forgiven."""
    answers, _ = teacher.run(words)
    mine = answers if teacher.every_step else answers[:, -1]
    return bool((mine == _numbers(values, labels)).mean() > 0.99)


def _causal(teacher: Teacher, words: Words, rng: np.random.Generator) -> bool:
    """Are answers independent of the symbols that follow, and of how many there are?"""
    half = words.shape[1] // 2
    other = words.copy()
    for k, channel in enumerate(teacher.channels):
        other[:, half:, k] = rng.integers(channel.low, channel.high + 1, other[:, half:, k].shape)
    first, second = teacher.run(words)[0], teacher.run(other)[0]
    alone = teacher.run(words[:, :half])[0] if half >= teacher.shortest else second
    same = (first[:, :half] == second[:, :half]) & (first[:, :half] == alone[:, :half])
    return bool(same.all())
