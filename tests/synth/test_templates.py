"""Classifiers that look along one direction: the direction, its bounds and its name."""

from __future__ import annotations

import time

import numpy as np

from dsl.claim import Claim, Decode, Target
from dsl.domain import Domain
from dsl.evaluate import run
from dsl.parser import parse_expression
from dsl.program import Program
from synth.problem import DataSet, Problem, observe
from synth.templates.directions import best_interval
from synth.templates.proposer import propose

WIDTH = 36


def problem_with(labels_of: object, vectors: np.ndarray) -> Problem:
    """A problem whose network answers with two logits; half of the vectors are held out."""

    def runtime(packed: np.ndarray) -> np.ndarray:
        logit = labels_of(packed.reshape(len(packed), -1).astype(np.float64))  # type: ignore[operator]
        return np.stack([-logit, logit], 1)

    claim = Claim(parse_expression("x", "pack"), decode=Decode("argmax"))
    target = Target(Domain(f"x: array(real[0,1], {WIDTH})"), claim, runtime)
    half = len(vectors) // 2
    data = DataSet({"train": vectors[:half], "test": vectors[half:]}, "test")
    observations = observe(target, [{"x": data.parts["test"]}])
    return Problem(target, observations, False, time.monotonic() + 60, data=data)


def agreement(program: Program, problem: Problem) -> float:
    (observed,) = problem.observations
    return float((run(program, observed.inputs) == observed.values).mean())


def blobs(count: int) -> np.ndarray:
    """Vectors around six prototypes, as images are around theirs."""
    rng = np.random.default_rng(0)
    prototypes = rng.random((6, WIDTH)) > 0.5
    mixed = 0.7 * prototypes[rng.integers(6, size=count)] + 0.3 * rng.random((count, WIDTH))
    return np.clip(mixed + 0.05 * rng.standard_normal(mixed.shape), 0, 1)


def test_an_interval_along_a_direction_is_found() -> None:
    vectors = blobs(3000)
    weights = np.random.default_rng(1).standard_normal(WIDTH)
    scores = vectors @ weights
    low, high = np.quantile(scores, [0.3, 0.7])
    middle, width = (low + high) / 2, (high - low) / 2
    problem = problem_with(lambda x: width**2 - (x @ weights - middle) ** 2, vectors)
    programs = [hypothesis.program for hypothesis in propose(problem)]
    assert max(agreement(program, problem) for program in programs) > 0.95


def test_two_scores_are_told_apart_where_one_does_not_suffice() -> None:
    vectors = blobs(4000)
    one, other = np.random.default_rng(2).standard_normal((2, WIDTH))
    low, high = np.quantile(vectors @ one, 0.4), np.median(vectors @ other)
    problem = problem_with(lambda x: np.minimum(x @ one - low, high - x @ other), vectors)
    best: dict[int, float] = {}
    for hypothesis in propose(problem):
        scores = len(hypothesis.program.body)
        best[scores] = max(best.get(scores, 0.0), agreement(hypothesis.program, problem))
    assert best[2] > 0.95
    assert best[2] > best[1] + 0.03


def test_an_exemplar_of_the_data_is_named() -> None:
    vectors = blobs(3000)
    template = vectors[123] - 0.4
    bound = np.median(vectors @ template)
    problem = problem_with(lambda x: x @ template - bound, vectors)
    named = [h for h in propose(problem) if h.evidence["template"] == "TRAIN_123"]
    assert agreement(named[0].program, problem) > 0.98


def test_random_labels_yield_no_template() -> None:
    vectors = blobs(1200)

    def noise(x: np.ndarray) -> np.ndarray:
        return np.sin(1e6 * x.sum(1)) + 1e-9

    assert list(propose(problem_with(noise, vectors))) == []


def test_the_best_interval_takes_the_label_inside_or_outside() -> None:
    scores = np.arange(10.0)
    inside = (scores >= 3) & (scores <= 6)
    found = best_interval(scores, inside)
    assert (found.low, found.high, found.inside, found.agreement) == (2.5, 6.5, True, 1.0)
    outside = best_interval(scores, ~inside)
    assert np.array_equal(outside.label(scores), ~inside)


def test_the_best_interval_never_parts_equal_scores() -> None:
    scores = np.array([1.0, 1.0, 2.0, 2.0])
    found = best_interval(scores, np.array([True, False, True, True]))
    assert found.agreement == 0.75
