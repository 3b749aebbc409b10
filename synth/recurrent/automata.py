"""Finite machines learned from a network that answers questions about words.

Where all words up to a length can be asked, the machine is the smallest that agrees on every one
of them (a cover automaton: Campeanu, Santean and Yu 2001); else it is learned from a table of
access words and suffixes (L*: Angluin 1987, with the counterexamples of Rivest and Schapire 1993).
A machine follows the network, not the language that the network was taught.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synth.recurrent.traces import Teacher, Words

STATES = 400
"""Larger machines are not learned."""
_ALL = 1 << 17
_SUFFIXES = 64
_ALPHABET = 64
_TESTS = 4096
_NEARLY = 0.9
_FREE = 40
"""Random words are this long where the domain sets no limit."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """`moves` (S, A): the state after each symbol; state 0 is the first.  `answers` are those of
    moves (S, A), or of states (S,) where only whole words are answered.  `access` is a shortest
    word to each state, symbols by number.  `complete`: agrees on all words up to `reach`."""

    moves: np.ndarray
    answers: np.ndarray
    access: tuple[tuple[int, ...], ...]
    reach: int
    complete: bool
    asked: int

    def __len__(self) -> int:
        return len(self.moves)

    @property
    def every_step(self) -> bool:
        return self.answers.ndim == 2

    def run(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Answers of words of symbol numbers (B, L), as a teacher's, and states (B, L + 1)."""
        states = np.zeros((len(numbers), numbers.shape[1] + 1), np.int64)
        for t in range(numbers.shape[1]):
            states[:, t + 1] = self.moves[states[:, t], numbers[:, t]]
        if self.every_step:
            return self.answers[states[:, :-1], numbers], states
        return self.answers[states], states


def learned(
    teacher: Teacher,
    rng: np.random.Generator,
    deadline: float,
    known: Sequence[np.ndarray] = (),
) -> Automaton | None:
    """A machine that agrees with all words that were tried, those `known` (B, L) among them; None
    where none of a few hundred states was found in time."""
    if teacher.alphabet > _ALPHABET:
        return None
    longest = teacher.longest or teacher.reach
    depth = _depth(teacher, longest)
    found = covering(teacher, depth, deadline) if depth >= 2 else None
    if found is None or depth == longest:
        return found
    if counterexample(found, teacher, rng, known) is None:
        return found
    return by_suffixes(teacher, rng, deadline, known)


def roughly_learned(
    teacher: Teacher, rng: np.random.Generator, deadline: float
) -> Automaton | None:
    """The machine of all short words, if it is right on nearly all long random ones: to follow a
    network's errors on the others may take any number of states."""
    longest = teacher.longest or teacher.reach
    depth = _depth(teacher, longest) if teacher.alphabet <= _ALPHABET else 0
    found = covering(teacher, depth, deadline) if depth >= 2 else None
    if found is None:
        return None
    numbers = rng.integers(0, teacher.alphabet, (_TESTS, longest or _FREE))
    right = found.run(numbers)[0] == teacher.run(teacher.symbols()[numbers])[0]
    return found if right.all(axis=1).mean() > _NEARLY else None


def numbers_of(teacher: Teacher, words: Words) -> np.ndarray:
    """Words of symbols (B, L, k) as words of symbol numbers (B, L)."""
    numbers = np.zeros(words.shape[:2], np.int64)
    for k, channel in enumerate(teacher.channels):
        numbers = numbers * channel.count + words[:, :, k] - channel.low
    return numbers


def taught(found: Automaton, teacher: Teacher) -> Teacher:
    """The machine in the place of the network: it answers at once, and its hidden state is the
    number of its state."""

    def run(words: Words) -> tuple[np.ndarray, np.ndarray | None]:
        answers, states = found.run(numbers_of(teacher, words))
        return answers, states[:, :, None]

    def advance(symbols: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number = numbers_of(teacher, symbols[:, None])[:, 0]
        state = states[:, 0].astype(np.int64)
        after = found.moves[state, number]
        answer = found.answers[state, number] if found.every_step else found.answers[after]
        return answer, after[:, None]

    return Teacher(
        teacher.channels,
        teacher.shortest,
        teacher.longest,
        teacher.every_step,
        run,
        advance,
        teacher.labels,
    )


def covering(teacher: Teacher, depth: int, deadline: float) -> Automaton | None:
    """The smallest machine that agrees on all words of up to `depth` symbols."""
    size = teacher.alphabet
    numbers = _all_words(size, depth)
    answers = teacher.run(teacher.symbols()[numbers])[0]
    shift = 0 if teacher.every_step else 1
    kinds = _kinds(answers, size, depth, shift)
    access: list[tuple[int, ...]] = [()]
    places = [0]
    moves: list[list[int]] = []
    while len(moves) < len(access):
        word, place = access[len(moves)], places[len(moves)]
        row = []
        for symbol in range(size):
            length, child = len(word) + 1, place * size + symbol
            if length > depth:
                row.append(0)
                continue
            left = depth - length
            state = next(
                (
                    s
                    for s, (w, p) in enumerate(zip(access, places))
                    if kinds[len(w)][left][p] == kinds[length][left][child]
                ),
                None,
            )
            if state is None:
                state = len(access)
                access.append((*word, symbol))
                places.append(child)
            row.append(state)
        moves.append(row)
        if len(access) > STATES or time.monotonic() > deadline:
            return None
    outputs = [_outputs(answers, word, size, depth, shift) for word in access]
    return Automaton(
        np.array(moves, np.int64),
        np.array(outputs, np.int64),
        tuple(access),
        depth,
        True,
        len(numbers),
    )


def counterexample(
    found: Automaton,
    teacher: Teacher,
    rng: np.random.Generator,
    known: Sequence[np.ndarray] = (),
) -> np.ndarray | None:
    """A word of symbol numbers, cut off where machine and network first differ: one of those
    known, or the shortest of thousands of random ones; None if there is none among them."""
    for words in known:
        word = _first_difference(found, teacher, words)
        if word is not None:
            return word
    length = teacher.longest or teacher.reach or _FREE
    numbers = rng.integers(0, teacher.alphabet, (_TESTS, length))
    few = rng.integers(0, teacher.alphabet, (_TESTS, 1))
    often = rng.random((_TESTS, length)) < rng.random((_TESTS, 1))
    numbers = np.where(often & (np.arange(_TESTS) % 2 == 0)[:, None], few, numbers)
    return _first_difference(found, teacher, numbers)


def _first_difference(found: Automaton, teacher: Teacher, numbers: np.ndarray) -> np.ndarray | None:
    """The shortest beginning of a word at which machine and network differ."""
    theirs = teacher.run(teacher.symbols()[numbers])[0]
    differ = found.run(numbers)[0] != theirs
    if not teacher.every_step:
        differ[:, : teacher.shortest] = False
    rows = np.flatnonzero(differ.any(axis=1))
    if not len(rows):
        return None
    ends = differ[rows].argmax(axis=1)
    best = int(rows[ends.argmin()])
    return numbers[best, : int(ends.min()) + (1 if teacher.every_step else 0)]


def by_suffixes(
    teacher: Teacher,
    rng: np.random.Generator,
    deadline: float,
    known: Sequence[np.ndarray] = (),
    *,
    rounds: int = 60,
) -> Automaton | None:
    """The machine of a table of access words and suffixes, grown by counterexamples."""
    suffixes = [word for length in (1, 2) for word in _all_words(teacher.alphabet, length).tolist()]
    tails = [tuple(word) for word in suffixes[:_SUFFIXES]]
    found: Automaton | None = None
    asked = 0
    for _ in range(rounds):
        found = _closed(teacher, tails, asked, deadline)
        if found is None:
            return None
        asked = found.asked
        word = counterexample(found, teacher, rng, known)
        if word is None:
            return found
        asked += _TESTS
        tail = _telling(found, teacher, word)
        if tail is None or tail in tails:
            return None
        tails.append(tail)
    return None


def _closed(
    teacher: Teacher, tails: list[tuple[int, ...]], asked: int, deadline: float
) -> Automaton | None:
    """The machine whose states are the access words that the suffixes tell apart."""
    size, reach = teacher.alphabet, teacher.longest or teacher.reach
    access: list[tuple[int, ...]] = [()]
    rows = [_row(teacher, access[0], tails, reach)]
    moves: list[list[int]] = []
    outputs: list[object] = []
    while len(moves) < len(access):
        word = access[len(moves)]
        row = []
        for symbol in range(size):
            longer = (*word, symbol)
            theirs = _row(teacher, longer, tails, reach)
            asked += len(tails)
            state = next((s for s, mine in enumerate(rows) if _alike(mine, theirs)), None)
            if state is None:
                state = len(access)
                access.append(longer)
                rows.append(theirs)
            row.append(state)
        moves.append(row)
        outputs.append(_answered(teacher, word))
        if len(access) > STATES or time.monotonic() > deadline:
            return None
    return Automaton(
        np.array(moves, np.int64), np.array(outputs, np.int64), tuple(access), 0, False, asked
    )


_UNASKED = np.iinfo(np.int64).min


def _row(
    teacher: Teacher, word: tuple[int, ...], tails: list[tuple[int, ...]], reach: int | None
) -> np.ndarray:
    """The answers after a word and each suffix; unasked where that is too long for the network."""
    answers = np.full(len(tails) + 1, _UNASKED)
    by_length: dict[int, list[int]] = {}
    for i, tail in enumerate(tails):
        if reach is None or len(word) + len(tail) <= reach:
            by_length.setdefault(len(tail), []).append(i)
    symbols = teacher.symbols()
    for places in by_length.values():
        words = np.array([(*word, *tails[i]) for i in places], np.int64)
        answers[places] = teacher.run(symbols[words])[0][:, -1]
    if not teacher.every_step:
        answers[-1] = _answered(teacher, word)
    return answers


def _alike(mine: np.ndarray, theirs: np.ndarray) -> bool:
    known = (mine != _UNASKED) & (theirs != _UNASKED)
    return bool((mine[known] == theirs[known]).all())


def _answered(teacher: Teacher, word: tuple[int, ...]) -> np.ndarray | int:
    """The answers to every next symbol, or that to the word itself."""
    symbols = teacher.symbols()
    if teacher.every_step:
        reach = teacher.longest or teacher.reach
        if reach is not None and len(word) >= reach:
            return np.zeros(len(symbols), np.int64)
        words = np.array([(*word, a) for a in range(len(symbols))], np.int64)
        return np.asarray(teacher.run(symbols[words])[0][:, -1])
    numbers = np.array([word], np.int64).reshape(1, len(word))
    return int(teacher.run(symbols[numbers])[0][0, -1])


def _telling(found: Automaton, teacher: Teacher, word: np.ndarray) -> tuple[int, ...] | None:
    """A suffix of a counterexample that tells two words apart which the machine takes to one
    state (Rivest and Schapire 1993)."""
    symbols = teacher.symbols()
    states = found.run(word[None])[1][0]

    def answer(cut: int) -> int:
        numbers = np.array([*found.access[states[cut]], *word[cut:].tolist()], np.int64)
        return int(teacher.run(symbols[numbers[None]])[0][0, -1])

    low, high, wanted = 0, len(word) - (1 if teacher.every_step else 0), answer(0)
    if answer(high) == wanted:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if answer(middle) == wanted:
            low = middle
        else:
            high = middle
    return tuple(word[high:].tolist())


def _depth(teacher: Teacher, longest: int | None) -> int:
    """The greatest length of which all words are few enough to be asked."""
    depth = 1
    while teacher.alphabet ** (depth + 1) * (depth + 1) <= _ALL and depth + 1 <= (longest or 14):
        depth += 1
    return depth if longest is None else min(depth, longest)


def _all_words(size: int, depth: int) -> np.ndarray:
    """All words of symbol numbers of one length, in lexicographic order."""
    index = np.arange(size**depth)
    return np.stack([index // size ** (depth - 1 - i) % size for i in range(depth)], axis=1)


def _kinds(answers: np.ndarray, size: int, depth: int, shift: int) -> list[list[np.ndarray]]:
    """`kinds[n][k][i]`: what all continuations of up to k symbols of the i-th word of n symbols
    are answered, as a number that is the same for words that are alike."""
    kinds: list[list[np.ndarray]] = [[] for _ in range(depth + 1)]
    for k in range(depth + 1):
        rows: list[np.ndarray] = []
        for n in range(depth - k + 1):
            own = [_at(answers, n, size, depth, shift)] if shift else []
            if k > 0:
                own += [
                    part[symbol::size]
                    for symbol in range(size)
                    for part in (
                        [kinds[n + 1][k - 1]]
                        if shift
                        else [kinds[n + 1][k - 1], _at(answers, n + 1, size, depth, shift)]
                    )
                ]
            rows.append(np.stack(own, axis=1) if own else np.zeros((size**n, 1), np.int64))
        codes = np.unique(np.concatenate(rows), axis=0, return_inverse=True)[1].reshape(-1)
        for n, part in enumerate(np.split(codes, np.cumsum([len(row) for row in rows])[:-1])):
            kinds[n].append(part)
    return kinds


def _at(answers: np.ndarray, n: int, size: int, depth: int, shift: int) -> np.ndarray:
    """The answers to all words of n symbols, in order."""
    if n == 0 and not shift:
        return np.zeros(1, np.int64)
    return np.asarray(answers[:: size ** (depth - n), n - 1 + shift], np.int64)


def _outputs(
    answers: np.ndarray, word: tuple[int, ...], size: int, depth: int, shift: int
) -> np.ndarray | int:
    place = 0
    for symbol in word:
        place = place * size + symbol
    if shift:
        return int(_at(answers, len(word), size, depth, shift)[place])
    if len(word) >= depth:
        return np.zeros(size, np.int64)
    following = _at(answers, len(word) + 1, size, depth, shift)
    return following[place * size : (place + 1) * size]
