"""What a recurrent network was seen to do: sampled sequences, its answers and hidden states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Words = np.ndarray
"""Sequences of symbols, (B, L, channels), int64."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One input per step: an integer from `low` to `high`, or the number of one of `tokens`."""

    name: str
    low: int
    high: int
    tokens: tuple[str, ...] | tuple[int | float, ...] = ()

    @property
    def count(self) -> int:
        return self.high - self.low + 1


@dataclass(frozen=True, slots=True)
class Teacher:
    """A recurrent network as a function of words (B, L, channels), int64.

    `answers` gives one number for every symbol (B, L) where `every_step`, otherwise one for every
    prefix, the empty one included (B, L + 1).  `run` also gives hidden states (B, L + 1, d), or
    None for a black box.  `advance` takes symbols (B, channels) and hidden states (B, d) to answers
    (B,) and next states.  `labels` are the decoded values that the numbers stand for; None where
    the numbers are the values themselves.
    """

    channels: tuple[Channel, ...]
    shortest: int
    longest: int | None
    every_step: bool
    run: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
    advance: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    labels: tuple[object, ...] | None = None
    reach: int | None = None  # words may not be longer than this; None for a step network

    @property
    def alphabet(self) -> int:
        """How many different symbols there are, all channels together."""
        return int(np.prod([channel.count for channel in self.channels], dtype=object))

    def symbols(self) -> np.ndarray:
        """All symbols, (alphabet, channels), in lexicographic order."""
        grids = np.meshgrid(*[np.arange(c.low, c.high + 1) for c in self.channels], indexing="ij")
        return np.stack([grid.ravel() for grid in grids], axis=1)


@dataclass(frozen=True, slots=True)
class Traces:
    """Words (N, L, k), answers (N, L) or (N, L + 1), hidden states (N, L + 1, d)."""

    words: np.ndarray
    answers: np.ndarray
    hidden: np.ndarray | None

    def after(self) -> np.ndarray:
        """The answers after each symbol, (N, L)."""
        return self.answers[:, self.answers.shape[1] - self.words.shape[1] :]


def sampled_words(
    teacher: Teacher, count: int, length: int, rng: np.random.Generator
) -> np.ndarray:
    """Words of one length (N, length, k).  A part of them uses few symbols, so that histories
    meet again although the alphabet may be large; all words where there are no more than asked."""
    channels = teacher.channels
    total = float(teacher.alphabet) ** length
    if total <= count:
        symbols = teacher.symbols()
        numbers = np.arange(int(total))
        digits = [numbers // len(symbols) ** (length - 1 - i) % len(symbols) for i in range(length)]
        return np.asarray(symbols[np.stack(digits, axis=1)])
    drawn = [rng.integers(c.low, c.high + 1, (count, length)) for c in channels]
    part = np.arange(count) % 4
    for k, channel in enumerate(channels):
        if channel.count <= 4:
            biased = rng.random((count, length)) < rng.random((count, 1)) * 0.4
            drawn[k] = np.where((part == 1)[:, None] & biased, drawn[k][:, :1], drawn[k])
            continue
        small = np.clip(rng.integers(-2, 3, (count, length)), channel.low, channel.high)
        if channel.low >= 0:
            small = channel.low + rng.integers(0, min(4, channel.count), (count, length))
        few = rng.integers(channel.low, channel.high + 1, (count, 3))
        few = np.take_along_axis(few, rng.integers(0, 3, (count, length)), axis=1)
        drawn[k] = np.where((part == 1)[:, None], small, drawn[k])
        drawn[k] = np.where((part == 2)[:, None], few, drawn[k])
    return np.stack(drawn, axis=2)


def observed(teacher: Teacher, words: np.ndarray) -> Traces:
    answers, hidden = teacher.run(words)
    return Traces(words, answers, hidden)


def probe_words(teacher: Teacher, depth: int) -> list[np.ndarray]:
    """Continuations to ask for, (length, k), shortest first: all over a few symbols."""
    symbols = _few_symbols(teacher)
    words: list[np.ndarray] = []
    level: list[tuple[int, ...]] = [()]
    for length in range(1, depth + 1):
        level = [(*word, i) for word in level for i in range(len(symbols))]
        if len(level) > 24:
            level = [(i,) * length for i in range(len(symbols))]
        words += [symbols[list(word)] for word in level]
    return words


def _few_symbols(teacher: Teacher) -> np.ndarray:
    if teacher.alphabet <= 4:
        return teacher.symbols()
    zero = [min(max(0, c.low), c.high) for c in teacher.channels]
    one = [min(max(1, c.low), c.high) for c in teacher.channels]
    high = [c.high for c in teacher.channels]
    return np.unique(np.array([zero, one, high]), axis=0)


def probed(teacher: Teacher, traces: Traces, continuation: np.ndarray) -> np.ndarray:
    """The answer after the continuation, for every prefix, (N, L + 1); prefixes that the network
    cannot be run on from there (a black box of bounded length) hold the least integer."""
    count, length, k = traces.words.shape
    extra = len(continuation)
    if teacher.advance is not None and traces.hidden is not None:
        states = traces.hidden.reshape(count * (length + 1), -1)
        answers = np.zeros(len(states), np.int64)
        for symbol in continuation:
            answers, states = teacher.advance(np.tile(symbol, (len(states), 1)), states)
        return answers.reshape(count, length + 1)
    result = np.full((count, length + 1), np.iinfo(np.int64).min)
    for p in range(length + 1):
        if teacher.reach is not None and p + extra > teacher.reach:
            break
        tail = np.broadcast_to(continuation, (count, extra, k))
        word = np.concatenate([traces.words[:, :p], tail], axis=1)
        result[:, p] = teacher.run(word)[0][:, -1]
    return result
