"""Long words on which a network that seemed right may fail: loops of symbols, and long stretches.

A proof that ends at some length says nothing of longer words.  A network that forgets slowly, or
counts without end, betrays it on words that go round one loop again and again.
"""

from __future__ import annotations

import itertools
import time

import numpy as np

from dsl.agreement import counterexample, equal_rows
from dsl.claim import Counterexample, Target
from dsl.evaluate import run_defined
from dsl.program import Program
from verify.recurrent.claims import Comparison

_LENGTHS = (64, 400)
_WORDS = 1500
_LOOP, _LEAD = 5, 3
_STRETCHES = (0.5, 0.8, 0.95, 0.99)


def looping_words(size: int, length: int, seed: int) -> np.ndarray:
    """Words (n, length) of symbol numbers: a short beginning and a loop of few symbols, in the
    order of their lengths, then random words, most of which repeat symbols for long."""
    words: list[tuple[int, ...]] = []
    for lead, loop in itertools.product(range(_LEAD + 1), range(1, _LOOP + 1)):
        if len(words) + size ** (lead + loop) > _WORDS:
            continue
        for word in itertools.product(range(size), repeat=lead + loop):
            turns = -(-(length - lead) // loop)
            words.append((*word[:lead], *word[lead:] * max(0, turns))[:length])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, size, (_WORDS // 4, length))
    repeats = rng.random(drawn.shape) < rng.choice(_STRETCHES, (len(drawn), 1))
    for t in range(1, length):
        drawn[:, t] = np.where(repeats[:, t], drawn[:, t - 1], drawn[:, t])
    return np.concatenate([np.array(words, np.int64).reshape(-1, length), drawn])


def long_difference(
    program: Program, target: Target, compared: Comparison, *, seed: int, deadline: float
) -> Counterexample | None:
    """The shortest beginning of the words tried on which program and original runtime differ."""
    for length in _LENGTHS:
        words = looping_words(len(compared.alphabet), length, seed)
        if time.monotonic() > deadline:
            return None
        ends = _first_differences(program, target, compared, words)
        for row in np.argsort(ends, kind="stable")[:4].tolist():
            if ends[row] > length:
                break
            example = _shortest(program, target, compared, words[row], int(ends[row]))
            if example is not None:
                return example
    return None


def _first_differences(
    program: Program, target: Target, compared: Comparison, words: np.ndarray
) -> np.ndarray:
    """After how many symbols the answers first differ, as far as one run of whole words tells;
    beyond the length where they do not."""
    batch = compared.alphabet.words(words)
    theirs = target.evaluate(batch)
    ours, defined = run_defined(program, batch)
    rows, length = words.shape
    if compared.at_end:
        differ = ~equal_rows(ours, theirs.values, target.claim.decode.tolerance) | ~defined
        return np.where(differ, length, length + 1)
    flat = equal_rows(
        ours.reshape(rows * length, *ours.shape[2:]),
        theirs.values.reshape(rows * length, *theirs.values.shape[2:]),
        target.claim.decode.tolerance,
    )
    differ = ~flat.reshape(rows, length) & defined[:, None]
    return np.where(differ.any(axis=1), differ.argmax(axis=1) + 1, length + 1)


def _shortest(
    program: Program, target: Target, compared: Comparison, word: np.ndarray, end: int
) -> Counterexample | None:
    """The first beginning of a word that can be replayed as a difference."""
    first = max(compared.shortest, 1) if compared.at_end else end
    for length in range(first, end + 1):
        example = counterexample(program, target, compared.alphabet.words(word[None, :length]), 0)
        if example is not None:
            return example
    return None
