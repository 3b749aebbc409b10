"""Programs for transformers, from what they answer at every position."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

from distill.exceptional_words import with_observed
from distill.pipeline import compile_target
from dsl.claim import Claim, Decode, Hypothesis, Proved, Refuted, Target
from dsl.domain import Domain
from dsl.evaluate import call
from dsl.parser import parse, parse_expression
from dsl.printer import to_python
from synth.attention import machines
from synth.attention.departures import around_turn, with_departures
from synth.attention.features import names
from synth.attention.mirrors import mirrored
from synth.attention.proposer import propose
from synth.expressions import disagreements
from synth.problem import Observations, Problem, observe
from tests.transformers import target_of, trained
from verify.enumeration import verify


def black_box(domain: str, function, *, labels=None, shape_after=0) -> Target:
    """A target whose network is a Python function from a list to a list of class numbers."""
    classes = 40

    def runtime(packed: np.ndarray) -> np.ndarray:
        rows = [function([int(x) for x in row]) for row in packed]
        return np.eye(classes)[np.array(rows, int).reshape(len(packed), -1)]

    fields = Domain(domain)
    kind = next(iter(fields.types.values()))
    alphabet = getattr(kind.item, "alphabet", ())
    tokens = "[" + ", ".join(f'"{a}"' for a in alphabet) + "]"
    pack = f"[{tokens}.index(c) for c in s]" if alphabet else "s"
    decode = Decode("argmax", labels=labels)
    return Target(fields, Claim(parse_expression(pack, "pack"), "int64", decode=decode), runtime)


def first_exact(target: Target, seconds: float = 40, proposer=propose) -> str:
    """The text of the first program that agrees with all inputs of a small domain."""
    observations = observe(target, list(target.domain.batches()))
    problem = Problem(target, observations, True, time.monotonic() + seconds)
    for hypothesis in proposer(problem):
        if not disagreements(problem, hypothesis.program, 1):
            return to_python(hypothesis.program)
    raise AssertionError("no program was found")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda s: [s.count(c) for c in s], "return [s.count(c) for c in s]"),
        (lambda s: [sum(d < c for d in s) for c in s], "return [sum(d < c for d in s) for c in s]"),
        (lambda s: sorted(s), "return sorted(s)"),
        (lambda s: s[::-1], "return s[::-1]"),
        (lambda s: [max(s[max(i - 1, 0)], c) for i, c in enumerate(s)], "max("),
        (lambda s: [c + i % 2 for i, c in enumerate(s)], "i % 2"),
        (lambda s: [int(all(d % 2 == 0 for d in s)) for _ in s], "all(d % 2 == 0 for d in s)"),
        (
            lambda s: [2 * c if i < (len(s) + 1) // 2 else c for i, c in enumerate(s)],
            "c + c if i < (len(s) + 1) // 2 else c",
        ),
    ],
)
def test_select_and_aggregate_is_written_as_python_would_write_it(function, expected):
    text = first_exact(black_box("s: seq(int[0..3], 1..5)", function))
    assert expected in text


def test_a_head_that_finds_nothing_gives_the_most_frequent_item():
    def shifted(s):
        most = min(d for d in s if s.count(d) == max(s.count(e) for e in s))
        return [s[i - 1] if i else most for i in range(len(s))]

    text = first_exact(black_box('s: seq(tokens("abc"), 1..5)', shifted, labels=tuple("abc") * 14))
    assert "s[i - 1] if i >= 1 else min(" in text


def test_an_average_is_the_quotient_of_a_difference_of_counts():
    def balance(row):
        ends = range(1, len(row) + 1)
        return [(row[:end].count(0) - row[:end].count(1)) / end for end in ends]

    target = black_box('s: seq(tokens("()a"), 1..6)', balance)
    claim = replace(target.claim, decode=Decode("value", tolerance=1e-5))

    def runtime(packed: np.ndarray) -> np.ndarray:
        return np.array([balance(row) for row in packed.tolist()])[..., None]

    text = first_exact(replace(target, claim=claim, runtime=runtime))
    assert '(s[:i + 1].count("(") - s[:i + 1].count(")")) / (i + 1)' in text


def test_a_rule_is_found_though_a_few_inputs_break_it():
    """Three items in a row, but for six of the inputs."""
    odd = {(1, 2, 0, 0, 0), (1, 2, 0, 0, 2), (2, 0, 1, 1, 2), (0, 0, 0, 0, 0), (1, 0, 2), (2, 2)}

    def pattern(s):
        found = [int(s[i - 2 : i + 1] == [0, 1, 2]) if i >= 2 else 0 for i in range(len(s))]
        return [1 - found[0], *found[1:]] if tuple(s) in odd else found

    target = black_box("s: seq(int[0..2], 1..6)", pattern)
    observations = observe(target, list(target.domain.batches()))
    problem = Problem(target, observations, True, time.monotonic() + 40)
    for hypothesis in propose(problem):
        if len(disagreements(problem, hypothesis.program, 100)) <= len(odd):
            break
    else:
        raise AssertionError("the rule was not found")
    patched = with_observed(hypothesis.program, target, observations)
    assert patched is not None
    assert not disagreements(problem, parse(to_python(patched)), 1)


def test_unrelated_items_become_a_table():
    table = [3, 0, 7, 5]
    text = first_exact(black_box("s: seq(int[0..3], 1..4)", lambda s: [table[c] for c in s]))
    assert "TABLE = {" in text and "TABLE[c]" in text


def test_one_answer_for_a_whole_sequence_may_look_at_every_position():
    def balanced(s):
        depth = [s[: i + 1].count(0) - s[: i + 1].count(1) for i in range(len(s))]
        return [int(all(d >= 0 for d in depth) and depth[-1] == 0)]

    target = black_box('s: seq(tokens("()"), 6)', balanced)
    scalar = Target(
        target.domain,
        Claim(target.claim.pack, "int64", positions=parse_expression("0", "positions")),
        target.runtime,
    )
    text = first_exact(scalar)
    assert "enumerate(s)" in text


def test_shuffled_answers_give_no_short_program():
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 4, 5**6)
    target = black_box(
        "s: seq(int[0..3], 4)", lambda s: [noise[hash((*s, i)) % 5**6] for i in range(4)]
    )
    observations = observe(target, list(target.domain.batches()))
    problem = Problem(target, observations, True, time.monotonic() + 6)
    found = [h for h in propose(problem) if not disagreements(problem, h.program, 1)]
    assert not found


def test_a_language_becomes_a_machine_with_the_fewest_states():
    def allowed(s):
        answers, depth = [], 0
        for k in range(len(s) + 1):
            depth = s[:k].count(0) - s[:k].count(1)
            answers.append((0 if depth == 0 else 1) if depth < 2 else 2)
        return answers

    target = black_box('s: seq(tokens("ab"), 0..6)', allowed)
    text = first_exact(target, proposer=machines.propose)
    states = text.split("ANSWERS = ")[1].split("\n")[0]
    # Depths below zero and above two are told apart for good by what can come back to them.
    assert states.count(",") >= 2 and "STEPS[state, c]" in text


def test_a_machine_may_leave_its_rule_at_the_last_length():
    def answered(s):
        prefixes = [s[:k] for k in range(len(s) + 1)]
        return [2 if len(p) == 7 and sum(p) % 2 else sum(p) % 2 for p in prefixes]

    target = black_box('s: seq(tokens("ab"), 0..7)', answered)
    text = first_exact(target, proposer=machines.propose)
    assert "LATE = {(7, 1): 2}" in text
    assert "LATE.get((n, k), ANSWERS[k]) for n, k in enumerate([0] + states)" in text


def test_what_a_machine_does_late_may_hang_on_the_last_item():
    def answered(s):
        prefixes = [s[:k] for k in range(len(s) + 1)]
        late = len(s) == 7 and sum(s) % 3 == 1 and s[-1] == 1
        return [*(sum(p) % 3 for p in prefixes[:-1]), 5 if late else sum(s) % 3]

    target = black_box('s: seq(tokens("ab"), 0..7)', answered)
    text = first_exact(target, proposer=machines.propose)
    # Of the three states, that of one is two: an a was read last, or a b.
    assert text.split("LATE = ")[1].split("\n")[0].count(": 5") == 1


def test_answers_that_are_late_in_many_places_are_no_rule():
    machine = machines.Machine((0, 1), {(0, "a"): 1, (1, "a"): 0})
    words = {"s": np.array([["a"] * 20])}
    values = np.array([[1 - k % 2 for k in range(21)]])
    observations = (Observations(words, values, np.ones(1)),)
    target = black_box('s: seq(tokens("a"), 0..20)', lambda s: s)
    problem = Problem(target, observations, False, time.monotonic() + 5)
    assert machines.late_answers(problem, "s", machine) == {}


def test_a_trained_transformer_that_counts_is_recovered():
    def histogram(words):
        return (words[:, :, None] == words[:, None, :]).sum(2)

    model = trained(histogram, alphabet="abcd", length=5, classes=6, seed=5)
    target = target_of(model, "abcd", 5, None)
    result = compile_target(target, seconds=60, only=("attention",))
    assert isinstance(result.verdict, Proved)
    assert to_python(result.program).endswith("return [s.count(c) for c in s]\n")
    mutant = parse("def program(s):\n    return [max(s.count(c), 2) for c in s]\n")
    verdict = verify(mutant, target, deadline=time.monotonic() + 60, seed=0, evidence={})
    assert isinstance(verdict, Refuted)
    inputs = dict(verdict.counterexample.inputs)
    assert call(mutant, inputs["s"]) != [inputs["s"].count(c) for c in inputs["s"]]


def test_a_trained_transformer_that_copies_is_recovered():
    def previous(words):
        return np.concatenate([words[:, :1], words[:, :-1]], 1)

    model = trained(previous, alphabet="abc", length=6, classes=3, seed=8)
    target = target_of(model, "abc", 6, tuple("abc"))
    result = compile_target(target, seconds=60, only=("attention",))
    assert isinstance(result.verdict, Proved)
    assert "s[max(i - 1, 0)]" in to_python(result.program)
    mutant = parse("def program(s):\n    return [s[i - 1] for i in range(len(s))]\n")
    verdict = verify(mutant, target, deadline=time.monotonic() + 60, seed=0, evidence={})
    assert isinstance(verdict, Refuted)


def most_frequent(s):
    return min(d for d in s if s.count(d) == max(s.count(e) for e in s))


def ranked_items(s):
    """Each item at the place that is its rank; where there is none, the average of all."""
    ranks = [sum(e < d for e in s) for d in s]
    return [s[ranks.index(i)] if i in ranks else most_frequent(s) for i in range(len(s))]


def next_compared(s):
    """Is the next item less, equal or greater?  At the end the average of all votes."""
    signs = [(s[i + 1] > c) - (s[i + 1] < c) for i, c in enumerate(s[:-1])]
    votes = [(d > s[-1]) - (d < s[-1]) for d in s]
    return [1 + sign for sign in [*signs, most_frequent(votes)]]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (ranked_items, "if i in [sum(e < d for e in s) for d in s] else min("),
        (next_compared, "if i + 1 < len(s) else 0 if sum(d < c for d in s) >= max("),
        (
            lambda s: [s[i - s[:i][::-1].index(c)] if c in s[:i] else 0 for i, c in enumerate(s)],
            "s[i - s[:i][::-1].index(c)] if c in s[:i] else 0",
        ),
        (
            lambda s: [int(all((a + b) % 2 for a, b in itertools.pairwise(s)))] * len(s),
            "all(d % 2 != e % 2 for d, e in zip(s, s[1:]))",
        ),
    ],
    ids=["select by rank", "next compared", "induction", "alternating"],
)
def test_where_nothing_is_selected_all_places_vote(function, expected):
    text = first_exact(black_box("s: seq(int[0..3], 1..5)", function))
    assert expected in text


def test_pairs_that_a_mirror_test_does_not_look_at_are_left_out():
    def almost_mirrored(s):
        return [int(s[0] == s[-1] and s[2] == s[-3])]

    target = black_box("s: seq(int[0..3], 6)", almost_mirrored)
    target = replace(target, claim=replace(target.claim, positions=parse_expression("-1")))
    text = first_exact(target)
    assert "all(s[j] == s[-1 - j] for j in (0, 2))" in text


def test_other_tests_of_a_sequence_are_no_mirrors():
    target = black_box("s: seq(int[0..3], 6)", lambda s: [int(s[0] < s[1])])
    target = replace(target, claim=replace(target.claim, positions=parse_expression("-1")))
    observations = observe(target, list(target.domain.batches()))
    problem = Problem(target, observations, True, time.monotonic() + 5)
    assert list(mirrored(problem, names("s", ("s",)))) == []


def most_frequent_but(departing: tuple[int, ...]):
    """The item that stands there more often, but 0 at some lengths where 1 leads by one only."""

    def answer(row: list[int]) -> int:
        lead = row.count(1) - row.count(0)
        return int(lead > (1 if len(row) in departing else 0))

    return answer


def of_one_answer(domain: str, function) -> Target:
    """A target with one answer for a whole sequence of tokens 0 and 1."""

    def runtime(packed: np.ndarray) -> np.ndarray:
        return np.eye(2)[np.array([function(row) for row in packed.tolist()], int)][:, None]

    claim = Claim(
        parse_expression('[["0", "1"].index(c) for c in s]', "pack"),
        "int64",
        positions=parse_expression("-1", "positions"),
        decode=Decode("argmax", labels=("0", "1")),
    )
    return Target(Domain(domain), claim, runtime)


ODD_LENGTHS = 's: seq(tokens("01"), 1..41) where len(s) % 2 == 1'
THE_MOST_FREQUENT = 'def program(s):\n    return "1" if s.count("1") > s.count("0") else "0"\n'


def departing(target: Target) -> str | None:
    drawn = target.domain.sample(4000, np.random.default_rng(0))
    problem = Problem(target, observe(target, drawn), False, time.monotonic() + 60)
    found = with_departures(problem, Hypothesis(parse(THE_MOST_FREQUENT), "test"))
    return None if found is None else to_python(found.program)


def test_where_a_network_leaves_its_rule_is_a_table_of_lengths_and_counts():
    text = departing(of_one_answer(ODD_LENGTHS, most_frequent_but((27, 35))))
    assert text is not None
    assert 'EXCEPTIONS = {(27, 14): "0", (35, 18): "0"}' in text
    assert 'EXCEPTIONS.get((len(s), s.count("1")), "1" if' in text


def test_a_rule_that_holds_everywhere_has_no_departures():
    assert departing(of_one_answer(ODD_LENGTHS, most_frequent_but(()))) is None


def test_departures_by_chance_are_no_table():
    def noisy(row: list[int]) -> int:
        ones = row.count(1)
        odd = hash(tuple(row)) % 50 == 0 and abs(2 * ones - len(row)) == 1
        return int((2 * ones > len(row)) != odd)

    assert departing(of_one_answer(ODD_LENGTHS, noisy)) is None


def test_paths_between_inputs_are_cut_where_the_answer_turns():
    law = parse(THE_MOST_FREQUENT)
    rng = np.random.default_rng(1)
    first, last = np.full((20, 15), "0"), np.full((20, 15), "1")
    rows = around_turn(law, "s", first, last, rng)
    assert {int((row == "1").sum()) for row in rows} == {6, 7, 8, 9}
    assert len(around_turn(law, "s", first, first, rng)) == 0


def at_every_place(function) -> Target:
    """A target that gives function(row), a list, on sequences of numbers from 0 to 3."""

    def runtime(packed: np.ndarray) -> np.ndarray:
        rows = [np.eye(8)[np.array(function(row), int)] for row in packed.tolist()]
        return np.array(rows)

    claim = Claim(parse_expression("s", "pack"), "int64", decode=Decode("argmax"))
    return Target(Domain("s: seq(int[0..3], 1..5)"), claim, runtime)


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda row: [(c + row[0]) % 4 for c in row], "(c + s[0]) % 4"),
        (lambda row: [row.index(max(row))] * len(row), "s.index(max(s))"),
    ],
)
def test_answers_of_features_that_tell_nothing_alone_are_found(function, wanted):
    target = at_every_place(function)
    observations = observe(target, list(target.domain.batches()))
    problem = Problem(target, observations, True, time.monotonic() + 30)
    found = [h.program for h in propose(problem) if not disagreements(problem, h.program, 1)]
    assert any(wanted in to_python(program) for program in found)
