"""Programs for recurrent networks, from what they answer and keep in mind."""

from __future__ import annotations

import time

import numpy as np

from dsl.evaluate import run
from dsl.printer import to_python
from dsl.program import Call, Literal, Variable
from synth.recurrent.bank import Bank, leaf
from synth.recurrent.columns import Column
from synth.recurrent.emission import tidy, to_program
from synth.recurrent.maps import cheapest
from synth.recurrent.search import _grows, candidates
from synth.recurrent.teaching import words_of
from synth.recurrent.traces import Channel, Teacher, observed, sampled_words


def teacher_of(function, channels, length=8):
    """A black box that answers every step with function(state, symbol) -> (answer, state)."""

    def run_words(words):
        answers = np.zeros(words.shape[:2], np.int64)
        for row, word in enumerate(words.tolist()):
            state = 0
            for i, symbol in enumerate(word):
                answers[row, i], state = function(state, *symbol)
        return answers, None

    return Teacher(channels, length, length, True, run_words)


def best_text(teacher, words=300, seed=0):
    rng = np.random.default_rng(seed)
    traces = observed(teacher, sampled_words(teacher, words, 8, rng))
    found = list(candidates(teacher, traces, deadline=time.monotonic() + 30, enough=4))
    names = tuple((c.name, None) for c in teacher.channels)
    program = to_program(found[-1].machine, teacher, names, "f")
    fresh = np.stack([rng.integers(c.low, c.high + 1, (200, 8)) for c in teacher.channels], 2)
    values = run(program, {c.name: fresh[:, :, i] for i, c in enumerate(teacher.channels)})
    assert (values == teacher.run(fresh)[0]).all()
    return to_python(program)


def test_of_sequences_that_are_not_equally_long_the_common_part_is_a_word():
    bits = (Channel("a", 0, 1), Channel("b", 0, 1))
    batch = {"a": np.array([[1, 0, 1]]), "b": np.array([[0, 1]])}
    assert words_of(bits, batch).tolist() == [[[1, 0], [0, 1]]]


def test_addition_in_base_four_keeps_the_carry():
    digits = (Channel("a", 0, 3), Channel("b", 0, 3))
    text = best_text(teacher_of(lambda s, a, b: ((s + a + b) % 4, (s + a + b) // 4), digits))
    assert "% 4" in text and "// 4" in text
    assert text.count("\n") == 8


def test_a_counter_modulo_five_is_one_line_of_state():
    text = best_text(teacher_of(lambda s, x: ((s + x) % 5,) * 2, (Channel("x", 0, 4),)))
    assert "answer = (answer + x_t) % 5" in text


def test_a_network_without_memory_becomes_a_comprehension():
    bits = (Channel("a", 0, 1), Channel("b", 0, 1))
    text = best_text(teacher_of(lambda s, a, b: (a & b, 0), bits))
    assert "for a_t, b_t in zip(a, b)]" in text


def test_the_absolute_difference_of_neighbours_is_found_on_a_large_alphabet():
    text = best_text(teacher_of(lambda s, x: (abs(s - x), x), (Channel("x", -100, 99),)))
    assert "abs(previous - x_t)" in text


def test_a_delay_of_four_steps_on_a_large_alphabet_is_a_chain_of_variables():
    def delayed(state, x):
        first, *rest = state or (0, 0, 0, 0)
        return first, (*rest, x)

    text = best_text(teacher_of(delayed, (Channel("x", -100, 99),)))
    assert text.count("previous") >= 4
    assert text.count("\n") == 13


def test_a_map_that_needs_a_condition_is_covered():
    rng = np.random.default_rng(1)
    s, x = rng.integers(-5, 6, 120), rng.integers(0, 2, 120)
    leaves = [leaf(Variable("s"), s, truth=False), leaf(Variable("x"), x, truth=False)]
    leaves += [leaf(Literal(c), np.full(120, c), truth=False) for c in (0, 1)]
    wanted = np.where(s < 0, s, s + 2 * x - 1)
    found = cheapest(Bank(leaves, (2, 3)), wanted, truth=False)
    assert found is not None


def test_sums_are_written_without_brackets_and_positive_terms_first():
    a, b, c = Variable("a"), Variable("b"), Variable("c")
    nested = Call("sub", (Call("sub", (c, b)), Call("sub", (b, a))))
    assert tidy(nested) == Call("sub", (Call("add", (c, a)), Call("mul", (Literal(2), b))))


def test_one_answer_for_a_whole_word_comes_from_its_prefixes():
    def run_words(words):
        sums = np.cumsum(words[:, :, 0], axis=1) % 3
        return np.concatenate([np.zeros((len(words), 1), np.int64), sums == 2], axis=1), None

    teacher = Teacher((Channel("x", 0, 1),), 0, 8, False, run_words)
    traces = observed(teacher, sampled_words(teacher, 256, 8, np.random.default_rng(0)))
    found = list(candidates(teacher, traces, deadline=time.monotonic() + 30, enough=4))
    program = to_program(found[-1].machine, teacher, (("x", None),), "f")
    word = np.array([[1, 0, 1, 1, 1, 0, 1, 0]])
    assert bool(run(program, {"x": word})[0])
    assert not bool(run(program, {"x": word[:, :6]})[0])


def test_a_machine_for_words_of_any_length_keeps_nothing_that_grows():
    bits = np.random.default_rng(0).integers(0, 2, (50, 24))
    assert _grows(Column(np.cumsum(bits, axis=1), "count", 1.0))
    assert not _grows(Column(np.cumsum(bits, axis=1) % 3, "residue", 1.0))
