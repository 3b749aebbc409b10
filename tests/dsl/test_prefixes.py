"""Networks that are continued item by item answer as they do when they read all at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from dsl.claim import Claim, Decode, Feedback, Proved, Refuted, Target, Unknown
from dsl.domain import Domain
from dsl.parser import parse, parse_expression
from dsl.prefixes import Resumable, begun, continued
from dsl.reachable import levels, sample
from tests.loops import brackets
from verify.lengths import verify

DEEP = 3


@dataclass
class Depth:
    """Brackets of a depth of at most three, as a causal network that counts what it reads: `tilt`
    is added to what it gives after it has gone on, `forgets` makes it go on from a wrong depth."""

    tilt: float = 0.0
    forgets: bool = False
    closest: float = 0.5
    kept: int = 1
    longest: int = 1000
    read: list[int] = field(default_factory=list)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.read.append(batch.size)
        return self._outputs(np.cumsum((batch == 0) * 1 - (batch == 1), axis=1))

    def begin(self, batch: np.ndarray) -> tuple[np.ndarray, Any]:
        self.read.append(batch.size)
        depth = ((batch == 0) * 1 - (batch == 1)).sum(1)
        return self._outputs(depth), depth

    def resume(self, memory: Any, rows: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, Any]:
        self.read.append(len(rows))
        depth = memory[rows] + (items == 0) * 1 - (items == 1)
        depth = np.where(depth == 2, 1, depth) if self.forgets else depth
        return self._outputs(depth) + self.tilt, depth

    def _outputs(self, depth: np.ndarray) -> np.ndarray:
        return np.stack([DEEP - self.closest - depth, depth - self.closest, 0.5 - depth], -1)


RULE = (
    "ANSWERS = {0: 'a <eos>', 1: 'a b', 2: 'a b', 3: 'b'}\n\n\ndef program(s):\n"
    "    prefixes = [s[:k] for k in range(len(s) + 1)]\n"
    "    return [ANSWERS[p.count('a') - p.count('b')] for p in prefixes]\n"
)


def verdict_on(target: Target, text: str = RULE) -> Any:
    return verify(parse(text), target, deadline=time.monotonic() + 8, seed=0, evidence={})


def plainly(target: Target) -> Target:
    """The same target with a runtime that reads everything from its start."""
    whole = target.runtime
    return replace(target, runtime=lambda batch: whole(batch))


def test_a_network_that_is_continued_is_told_from_others():
    assert isinstance(Depth(), Resumable)
    assert not isinstance(plainly(brackets(Depth())).runtime, Resumable)


def test_words_are_the_same_whether_prefixes_are_shared_or_not():
    shared, alone = brackets(Depth()), plainly(brackets(Depth()))
    for (length, ours), (other, theirs) in zip(
        levels(shared, 300), levels(alone, 300), strict=True
    ):
        assert length == other
        for words, expected in zip(ours, theirs, strict=True):
            assert np.array_equal(words.items, expected.items)
            found, whole = words.evaluation, shared.evaluate({"s": words.items})
            assert np.array_equal(found.values, whole.values)
            assert np.allclose(found.margins, whole.margins)


def test_a_shared_prefix_is_read_once():
    def items_read(target: Target, counter: Depth) -> int:
        for length, blocks in levels(target, 3000):
            for _ in blocks:
                pass
            if length == 14:
                break
        return sum(counter.read)

    shared, alone = Depth(), Depth()
    once = items_read(brackets(shared), shared)
    again = items_read(plainly(brackets(alone)), alone)
    assert 12 * once < again


def test_walks_stay_in_the_language_whichever_way_they_are_read():
    for target in (brackets(Depth()), plainly(brackets(Depth()))):
        for batch in sample(target, 60, np.random.default_rng(1)):
            depth = np.cumsum((batch["s"] == "a") * 1 - (batch["s"] == "b"), axis=1)
            assert ((depth >= 0) & (depth <= DEEP)).all()


def test_a_proof_by_shared_prefixes_is_that_of_the_whole_inputs():
    shared, alone = verdict_on(brackets(Depth(), 12)), verdict_on(plainly(brackets(Depth(), 12)))
    assert isinstance(shared, Proved) and isinstance(alone, Proved)
    for key in ("inputs", "digest", "longest", "disagreements"):
        assert shared.evidence[key] == alone.evidence[key]


def test_a_wrong_program_is_refuted_by_shared_prefixes():
    verdict = verdict_on(brackets(Depth(), 12), RULE.replace("2: 'a b'", "2: 'b'"))
    assert isinstance(verdict, Refuted)
    assert verdict.counterexample.inputs["s"] == ["a", "a"]


def test_a_memory_that_forgets_proves_nothing():
    wrong = RULE.replace("2: 'a b', 3: 'b'", "2: 'a b'")
    for text in (RULE, wrong):
        assert not isinstance(verdict_on(brackets(Depth(forgets=True), 12), text), Proved)


def test_close_decisions_are_made_from_the_whole_input():
    # Gone on with, every output is a little too great; read as a whole, a depth of 3 is the last.
    network = Depth(tilt=2e-5, closest=1e-5)
    target = brackets(network)
    words = np.array([["a", "a", "a"]])
    whole = target.evaluate({"s": words}).values[0, -1]
    before = begun(target, target.pack({"s": words[:, :2]}))
    after = continued(target, before, np.array([0]), np.array([0]))
    assert whole == "b"
    assert after.last.values.tolist() == [whole]


@pytest.mark.parametrize("share", [True, False])
def test_a_greedy_answer_ends_for_each_prompt_where_it_ends(share):
    target = counting(Counting())
    batch = {"a": np.array([0, 3, 8]), "b": np.array([2, 9, 9])}
    found = (target if share else plainly(target)).evaluate(batch)
    assert [list(x) for x in found.values] == [[0, 1, 2], [3, 4, 5, 6, 7, 8, 9], [8, 9]]
    assert found.margins.tolist() == [1.0, 1.0, 1.0]


def test_a_greedy_answer_ends_where_the_network_can_read_no_more():
    batch = {"a": np.array([0, 3, 8]), "b": np.array([2, 9, 9])}
    found = counting(Counting(longest=5)).evaluate(batch)
    assert [list(x) for x in found.values] == [[0, 1, 2], [3, 4, 5], [8, 9]]


def counting(network: Counting) -> Target:
    target = Target(
        Domain("a: int[0..9], b: int[0..9] where a < b"),
        Claim(
            parse_expression("[a, b, 99]", "pack"),
            "int64",
            decode=Decode("argmax", labels=(*range(10), "end")),
            feedback=Feedback(parse_expression("12", "steps"), "end", tuple(enumerate(range(10)))),
        ),
        network,
    )
    return replace(target, claim=replace(target.claim, feedback=_until_end(target)))


def _until_end(target: Target) -> Feedback:
    assert target.claim.feedback is not None
    return replace(target.claim.feedback, tokens=(*target.claim.feedback.tokens, ("end", 10)))


class Counting:
    """From `a, b, 99` on: a, a + 1, ..., b, and then the end mark, 10."""

    kept = 3

    def __init__(self, longest: int = 20) -> None:
        self.longest = longest

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.shape[1] <= self.longest
        following = np.where(batch == 99, batch[:, :1], batch + 1)
        following = np.where(batch == batch[:, 1:2], 10, following)
        following[:, :2] = 0
        following = np.where(following > 10, 10, following)
        return np.eye(11)[following]

    def begin(self, batch: np.ndarray) -> tuple[np.ndarray, Any]:
        return self(batch)[:, -1], batch

    def resume(self, memory: Any, rows: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, Any]:
        return self.begin(np.concatenate([memory[rows], items[:, None]], axis=1))


def test_where_time_is_short_no_length_is_claimed():
    verdict = verify(
        parse(RULE), brackets(Depth(), 12), deadline=time.monotonic(), seed=0, evidence={}
    )
    assert isinstance(verdict, Unknown)
