"""Finite machines learned from black boxes, and their programs."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from dsl.evaluate import run
from synth.recurrent.automata import Automaton, by_suffixes, covering, learned, roughly_learned
from synth.recurrent.tabulation import tabulated
from synth.recurrent.traces import Channel, Teacher
from tests.synth.test_recurrent import teacher_of

BITS = (Channel("x", 0, 1),)


def modulo_three(state: int, x: int) -> tuple[int, int]:
    return int((state + x) % 3 == 0), (state + x) % 3


def no_three_ones(state: int, x: int) -> tuple[int, int]:
    after = 3 if state == 3 else (state + 1 if x else 0)
    return int(after < 3), after


def astray(state: object, x: int) -> tuple[int, object]:
    """Modulo three, but for one word of six symbols."""
    word = (*(state or ()), x)
    return int((sum(word) % 3 == 0) != (word == (1, 0, 1, 1, 0, 1))), word


def all_words(length: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=length)))[:, :, None]


def learn(teacher: Teacher) -> Automaton:
    found = learned(teacher, np.random.default_rng(0), time.monotonic() + 60)
    assert found is not None
    return found


@pytest.mark.parametrize(("rule", "states"), [(modulo_three, 3), (no_three_ones, 4)])
def test_the_smallest_machine_is_learned(rule, states):
    found = learn(teacher_of(rule, BITS))
    assert len(found) == states and found.complete


def test_a_machine_follows_its_teacher_where_that_leaves_its_rule():
    teacher = teacher_of(astray, BITS)
    found = learn(teacher)
    words = all_words(8)
    assert (found.run(words[:, :, 0])[0] == teacher.run(words)[0]).all()
    assert len(found) > 3


def test_all_words_and_suffixes_give_the_same_machine():
    teacher = teacher_of(no_three_ones, BITS)
    one = covering(teacher, 8, time.monotonic() + 60)
    other = by_suffixes(teacher, np.random.default_rng(0), time.monotonic() + 60)
    assert one is not None and other is not None and len(one) == len(other) == 4
    words = all_words(8)[:, :, 0]
    assert (one.run(words)[0] == other.run(words)[0]).all()


def test_a_machine_is_written_as_a_table_that_answers_alike():
    teacher = teacher_of(astray, BITS)
    program = tabulated(learn(teacher), teacher, (("x", None),), "f")
    assert program is not None
    words = all_words(8)
    assert (run(program, {"x": words[:, :, 0]}) == teacher.run(words)[0]).all()


def lost(state: object, x: int) -> tuple[int, object]:
    """Modulo three, but chaos after six equal symbols in a row."""
    word = (*(state or ()), x)
    if any(len(set(word[k : k + 6])) == 1 for k in range(len(word) - 5)):
        return pow(7, sum(k * y for k, y in enumerate(word, 3)) + len(word), 1009) % 3, word
    return int(sum(word) % 3), word


def test_a_rule_is_learned_though_the_network_loses_it_on_some_long_words():
    teacher = teacher_of(lost, (Channel("x", 0, 9),))
    rng = np.random.default_rng(0)
    assert learned(teacher, rng, time.monotonic() + 5) is None
    found = roughly_learned(teacher, rng, time.monotonic() + 5)
    assert found is not None
    words = np.random.default_rng(1).integers(0, 10, (500, 8))
    assert (found.run(words)[0] == np.cumsum(words, axis=1) % 3).mean() > 0.99


def test_short_words_alone_make_no_machine_that_fails_on_most_long_ones():
    teacher = teacher_of(lambda state, x: (int(state >= 5), state + 1), BITS, length=40)
    assert roughly_learned(teacher, np.random.default_rng(0), time.monotonic() + 20) is not None
    teacher = teacher_of(lambda state, x: (int(state >= 20), state + 1), BITS, length=40)
    assert roughly_learned(teacher, np.random.default_rng(0), time.monotonic() + 20) is None


def test_nothing_is_learned_when_time_is_up():
    teacher = teacher_of(modulo_three, BITS)
    assert learned(teacher, np.random.default_rng(0), time.monotonic() - 1) is None
