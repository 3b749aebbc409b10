"""Claims on sequences proved up to a length, with the length said."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from dsl.claim import Claim, Decode, Feedback, Proved, Refuted, Target
from dsl.domain import Domain
from dsl.forcing import agrees_by_forcing, is_causal
from dsl.generation import has_long_answers
from dsl.parser import parse, parse_expression
from dsl.reachable import evenly, levels, sample, structured
from tests.loops import brackets
from verify.lengths import agreement, nearly_all, verify
from verify.sampling import matching

LANGUAGE = (
    'def program(s):\n    return ["a <eos>" if p.count("a") == p.count("b") else "b" '
    "for p in [s[:k] for k in range(len(s) + 1)]]\n"
)


def pairs(longest: int, wrong_from: int = 10**6) -> Target:
    """A network for (ab)*: after an a only b, after a b an a or the end; from some length on it
    also allows an a after an a."""

    def runtime(packed: np.ndarray) -> np.ndarray:
        depth = np.cumsum(packed == 0, 1) - np.cumsum(packed == 1, 1)
        odd = (depth > 0) & ~(np.arange(packed.shape[1]) >= wrong_from)
        return np.stack([np.where(odd, -1.0, 1.0), np.where(depth > 0, 1.0, -1.0), -depth + 0.5], 2)

    return brackets(runtime, longest)


def verdict_on(target, text, seconds=20.0, evidence=None):
    deadline = time.monotonic() + seconds
    return verify(parse(text), target, deadline=deadline, seed=0, evidence=evidence or {})


def test_a_closed_loop_is_walked_through_what_the_network_allows():
    found = {
        length: [words.items for words in batches] for length, batches in levels(pairs(6), 100)
    }
    assert ["".join(row) for row in found[4][0]] == ["abab"]
    assert sorted(found) == list(range(7))
    for batch in sample(pairs(30), 40, np.random.default_rng(0)):
        assert all("".join(row) == ("ab" * 15)[: len(row)] for row in batch["s"])


def test_a_proof_to_the_last_length_is_of_the_whole_domain():
    verdict = verdict_on(pairs(12), LANGUAGE)
    assert isinstance(verdict, Proved)
    assert verdict.evidence["longest"] == 12 and verdict.evidence["whole"]
    assert verdict.proven_domain == 's: seq(tokens("ab"), 0..12) (closed loop)'


def test_a_network_that_errs_late_is_refuted_on_its_shortest_error():
    verdict = verdict_on(pairs(12, wrong_from=5), LANGUAGE)
    assert isinstance(verdict, Refuted)
    assert len(verdict.counterexample.inputs["s"]) == 5


def test_few_exceptions_are_listed_with_both_values():
    def runtime(packed: np.ndarray) -> np.ndarray:
        sums = packed.sum(1, keepdims=True)
        odd = (packed[:, :1] == 1) & (sums == packed.shape[1]) & (packed.shape[1] == 7)
        return sums - odd

    target = replace(counting(60), runtime=runtime)
    verdict = verdict_on(target, "def program(s):\n    return sum(s)\n", seconds=4.0)
    assert isinstance(verdict, Refuted)
    only = {"inputs": {"s": [1] * 7}, "program": 7, "network": 6}
    assert verdict.evidence["exceptions"] == [only]
    assert verdict.found == 1 and verdict.evidence["longest"] > 7


def counting(longest: int) -> Target:
    """How many ones, of any bits up to a length that cannot be enumerated."""
    return Target(
        Domain(f"s: seq(int[0..1], 1..{longest})"),
        Claim(parse_expression("s", "pack"), "float32", decode=Decode("round")),
        lambda packed: packed.sum(1, keepdims=True),
    )


def test_a_proof_that_stops_names_the_length_and_what_was_sampled_beyond():
    verdict = verdict_on(counting(60), "def program(s):\n    return sum(s)\n", seconds=4.0)
    assert isinstance(verdict, Proved)
    longest = verdict.evidence["longest"]
    assert 8 <= longest < 60 and not verdict.evidence["whole"]
    expected = f"s: seq(int[0..1], 1..60) where len(s) <= {longest}"
    assert verdict.proven_domain == expected
    assert verdict.evidence["beyond"]["samples"] > 100
    again = verdict_on(counting(60), "def program(s):\n    return sum(s)\n", 30.0, verdict.evidence)
    assert isinstance(again, Proved)
    assert again.evidence["digest"] == verdict.evidence["digest"]


def test_an_error_beyond_the_enumerated_lengths_refutes():
    text = "def program(s):\n    return sum(s) if len(s) < 40 else 0\n"
    assert isinstance(verdict_on(counting(60), text, seconds=4.0), Refuted)


def test_of_a_refuted_program_the_lengths_on_which_it_is_right_are_told():
    target = replace(counting(60), domain=Domain("s: seq(int[0..1], 1..60)"))
    text = "def program(s):\n    return sum(s) if len(s) < 7 else 0\n"
    table = agreement(parse(text), target, deadline=time.monotonic() + 3, seed=0)
    assert table["agrees_up_to_length"] == 6
    assert table["exceptions"][0]["inputs"] == {"s": [0, 0, 0, 0, 0, 0, 1]}


def test_of_a_refuted_program_the_share_of_longer_inputs_is_told_all_lengths_alike():
    target = replace(counting(60), domain=Domain("s: seq(int[0..1], 1..60)"))
    text = "def program(s):\n    return sum(s) if len(s) < 31 else 0\n"
    table = agreement(parse(text), target, deadline=time.monotonic() + 4, seed=0)
    beyond = table["beyond"]
    assert beyond["longer_than"] == table["agrees_up_to_length"] < 31
    assert set(beyond["lengths"]) <= {str(length) for length in range(31, 61)}
    expected = 30 / (60 - beyond["longer_than"])
    assert abs(beyond["disagreements"] / beyond["samples"] - expected) < 0.08
    assert beyond["nearly_all"]["length"] == 30
    assert beyond["nearly_all"]["disagreements"] == 0


def test_nearly_all_is_up_to_the_greatest_length_with_one_error_in_a_thousand():
    asked = {3: 2000, 7: 1000, 8: 1000, 12: 10}
    assert nearly_all(asked, {}) == {"length": 12, "samples": 4010, "disagreements": 0}
    assert nearly_all(asked, {3: 2, 7: 1, 8: 1, 12: 9}) == {
        "length": 8,
        "samples": 4000,
        "disagreements": 4,
    }
    assert nearly_all(asked, {3: 3, 7: 9}) == {}


def test_inputs_are_drawn_of_every_length_alike():
    lengths = [
        len(row) for b in evenly(counting(60), 600, 9, np.random.default_rng(0)) for row in b["s"]
    ]
    assert min(lengths) == 10 and max(lengths) == 60
    assert abs(np.mean(lengths) - 35) < 2
    for batch in evenly(pairs(30), 80, 9, np.random.default_rng(0)):
        assert 10 <= batch["s"].shape[1] <= 30
        assert all("".join(row) == ("ab" * 15)[: len(row)] for row in batch["s"])


def echo(longest: int, broken: bool = False) -> Target:
    """A causal network that repeats its prompt, item by item, after the mark 3 and ends with 4."""

    def runtime(packed: np.ndarray) -> np.ndarray:
        rows, width = packed.shape
        wanted = np.zeros((rows, width), int)
        for row in range(rows):
            mark = int(np.argmax(packed[row] == 3))
            for k in range(mark, width):
                at = 1 + k - mark
                wanted[row, k] = packed[row, at] if at < mark else 4
                if broken and k > mark:
                    wanted[row, k] = packed[row, k]
        return np.eye(5)[wanted]

    return Target(
        Domain(f"s: seq(int[0..2], 1..{longest})"),
        Claim(
            parse_expression("[2] + s + [3]", "pack"),
            "int64",
            decode=Decode("argmax", labels=(0, 1, 2, 3, "end")),
            feedback=Feedback(
                parse_expression("20", "steps"),
                "end",
                ((0, 0), (1, 1), (2, 2), (3, 3), ("end", 4)),
            ),
        ),
        runtime,
    )


def test_one_pass_confirms_a_greedy_answer_and_only_the_right_one():
    target = echo(5)
    rng = np.random.default_rng(1)
    assert is_causal(target, rng)
    batch = {"s": rng.integers(0, 3, (50, 4))}
    assert agrees_by_forcing(target, batch, batch["s"]).all()
    changed = batch["s"].copy()
    changed[:25, 3] = (changed[:25, 3] + 1) % 3
    assert agrees_by_forcing(target, batch, changed).tolist() == [False] * 25 + [True] * 25
    assert not agrees_by_forcing(target, batch, batch["s"][:, :3]).any()
    right = parse("def program(s):\n    return s\n")
    wrong = parse("def program(s):\n    return s[::-1]\n")
    assert matching(right, target, batch, True).all()
    slowly = matching(wrong, target, batch, False)
    assert (matching(wrong, target, batch, True) == slowly).all()


def test_structured_inputs_are_members_that_chance_would_not_give():
    domain = Domain("s: seq(int[0..30], 12) where s[0] < 20")
    batches = structured(domain, 400, np.random.default_rng(0))
    rows = np.concatenate([batch["s"] for batch in batches])
    assert (rows[:, 0] < 20).all()
    assert (rows == rows[:, ::-1]).all(1).mean() > 0.1
    assert (np.diff(rows, axis=1) >= 0).all(1).mean() > 0.05


def test_long_greedy_answers_are_told_from_short_ones():
    target = pairs(6)
    steps = parse_expression("len(s) + 40", "steps")
    long = replace(target.claim, closed_loop=False, feedback=Feedback(steps))
    short = replace(long, feedback=Feedback(parse_expression("len(s)", "steps")))
    assert has_long_answers(replace(target, claim=long))
    assert not has_long_answers(replace(target, claim=short))
    assert not has_long_answers(target)
