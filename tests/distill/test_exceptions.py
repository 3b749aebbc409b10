"""Programs with exceptions: proved, listed, and refused where they are changed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from distill.exceptions import with_exceptions
from distill.pipeline import compile_target
from distill.questions import questions
from dsl.claim import Claim, Decode, Feedback, Proved, Refuted, Target
from dsl.domain import Domain
from dsl.parser import equal_programs, parse, parse_expression
from dsl.printer import to_python
from synth.problem import observe
from verify.enumeration import verify

SIZE = 32
LAW = parse("def program(a, b):\n    return int(a ** 2 < 20 * b)\n")


def target_of(table: np.ndarray) -> Target:
    flat = table.astype(np.float64)

    def answers(packed: np.ndarray) -> np.ndarray:
        rows = packed.astype(np.int64)
        return flat[rows[:, 0], rows[:, 1]][:, None]

    claim = Claim(parse_expression("[a, b]", "pack"), decode=Decode("round"))
    return Target(Domain(f"a: int[0..{SIZE - 1}], b: int[0..{SIZE - 1}]"), claim, answers)


def noisy_table(wrong: int) -> np.ndarray:
    a, b = np.indices((SIZE, SIZE))
    table = a**2 < 20 * b
    cells = np.random.default_rng(0).choice(table.size, wrong, replace=False)
    table.ravel()[cells] ^= True
    return table


def test_the_law_and_its_exceptions_equal_the_network() -> None:
    target = target_of(noisy_table(50))
    found = with_exceptions(target, observe(target, list(target.domain.batches())), LAW)
    assert found is not None
    assert len(found.table) == 50
    verdict = verify(found.program, target, deadline=time.monotonic() + 60, seed=0, evidence={})
    assert isinstance(verdict, Proved)
    assert equal_programs(parse(to_python(found.program)), found.program)


def test_a_missing_exception_is_refuted() -> None:
    target = target_of(noisy_table(50))
    found = with_exceptions(target, observe(target, list(target.domain.batches())), LAW)
    assert found is not None
    ((name, keys),) = found.program.constants
    fewer = replace(found.program, constants=((name, keys[1:]),))
    verdict = verify(fewer, target, deadline=time.monotonic() + 60, seed=0, evidence={})
    assert isinstance(verdict, Refuted)
    assert tuple(verdict.counterexample.inputs.values()) == keys[0]


def test_exceptions_of_a_false_law_take_more_bits_than_those_of_the_true_one() -> None:
    target = target_of(noisy_table(50))
    observations = observe(target, list(target.domain.batches()))
    false = parse("def program(a, b):\n    return int(a ** 2 < 15 * b)\n")
    true_bits, false_bits = (
        found.bits
        for law in (LAW, false)
        if (found := with_exceptions(target, observations, law)) is not None
    )
    assert true_bits < false_bits


def test_compilation_states_both_questions_apart() -> None:
    target = target_of(noisy_table(60))
    result = compile_target(target, seconds=120, only=("inequalities",))
    assert isinstance(result.verdict, Proved)
    assert result.exceptions is not None
    found = questions(result, None, 0.0)["questions"]
    assert found["labelling"]["agreement"]["domain"] == 1 - 60 / SIZE**2
    assert found["network"] | {"bits": 0, "bits_of_labels_counted": 0} == {
        "program": "the program of this certificate",
        "exceptions": 60,
        "agreement": {"domain": 1.0},
        "bits": 0,
        "bits_of_labels_counted": 0,
    }
    assert equal_programs(result.exceptions.law, LAW)


def test_random_labels_are_no_law_with_exceptions() -> None:
    target = target_of(np.random.default_rng(1).random((SIZE, SIZE)) < 0.5)
    result = compile_target(target, seconds=60, only=("constant", "inequalities"))
    assert result.exceptions is None
    assert isinstance(result.verdict, Refuted)


class Counting:
    """From the prompt `a, b, 99` on, greedily: a, a + 1, ..., b, and 10 at the end; where both are
    odd and b is at least 7 the end comes before 5."""

    kept = 1

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.stack([self._after(batch[:, : k + 1]) for k in range(batch.shape[1])], axis=1)

    def begin(self, batch: np.ndarray) -> tuple[np.ndarray, Any]:
        return self._after(batch), batch

    def resume(self, memory: Any, rows: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, Any]:
        return self.begin(np.concatenate([memory[rows], items[:, None]], axis=1))

    def _after(self, batch: np.ndarray) -> np.ndarray:
        a, b, last = batch[:, 0], batch[:, 1] if batch.shape[1] > 1 else batch[:, 0], batch[:, -1]
        following = np.where(last == 99, a, last + 1)
        breaks_off = (a % 2 == 1) & (b % 2 == 1) & (b >= 7) & (last == 4)
        return np.eye(11)[np.where((last == b) | breaks_off | (following > 10), 10, following)]


def counting() -> Target:
    tokens = (*((k, k) for k in range(10)), ("end", 10))
    claim = Claim(
        parse_expression("[a, b, 99]", "pack"),
        "int64",
        decode=Decode("argmax", labels=(*range(10), "end")),
        feedback=Feedback(parse_expression("12", "steps"), "end", tokens),
    )
    return Target(Domain("a: int[0..9], b: int[0..9] where a < b"), claim, Counting())


def test_a_law_whose_answers_are_lists_has_exceptions_too() -> None:
    result = compile_target(counting(), seconds=20)
    assert isinstance(result.verdict, Proved)
    assert result.verdict.evidence["inputs"] == 45
    assert result.exceptions is not None
    text = to_python(result.program)
    assert "range(a, EXCEPTIONS.get((a, b), b + 1))" in text
    assert dict(result.exceptions.table) == {
        (1, 7): (1, 2, 3, 4),
        (1, 9): (1, 2, 3, 4),
        (3, 7): (3, 4),
        (3, 9): (3, 4),
    }
    other = parse(text.replace("(1, 9): 5", "(1, 9): 4"))
    assert not equal_programs(other, result.program)
    verdict = verify(other, counting(), deadline=time.monotonic() + 60, seed=0, evidence={})
    assert isinstance(verdict, Refuted)
    assert verdict.counterexample.inputs == {"a": 1, "b": 9}
