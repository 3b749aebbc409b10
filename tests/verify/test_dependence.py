"""Answers that hang on few items, proved for all choices of the others at once."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from distill.frontends import haiku
from dsl.claim import Claim, Decode, Proved, Target, Unknown
from dsl.domain import Domain, Shape
from dsl.evaluate import run
from dsl.parser import parse, parse_expression
from verify.dependence import reads_of, verify

torch.set_num_threads(1)

ITEMS, LONGEST = 14, 7


def attending_to_the_previous_item(folder, sharpness: float) -> Target:
    """A compiled transformer: one hard head copies the item before (the first keeps its own)."""
    tokens, places = ITEMS + 1, LONGEST + 1
    width = tokens + places + ITEMS
    weights = {
        "token_embed/embeddings": np.eye(tokens, width),
        "pos_embed/embeddings": np.eye(places, width, k=tokens),
        "unembed": np.eye(width)[:, tokens + places :],
    }
    layer = "transformer/layer_0"
    query = np.zeros((width, places))
    for i in range(1, places):
        query[tokens + i, max(i - 1, 1)] = sharpness * np.sqrt(places)
    key = np.zeros((width, places))
    key[tokens : tokens + places] = np.eye(places)
    value = np.zeros((width, ITEMS))
    value[:ITEMS] = np.eye(ITEMS)
    out = np.zeros((ITEMS, width))
    out[:, tokens + places :] = np.eye(ITEMS)
    for name, matrix in (
        ("attn/query", query),
        ("attn/key", key),
        ("attn/value", value),
        ("attn/linear", out),
        ("mlp/linear_1", np.zeros((width, 1))),
        ("mlp/linear_2", np.zeros((1, width))),
    ):
        weights[f"{layer}/{name}/w"] = matrix
        weights[f"{layer}/{name}/b"] = np.zeros(matrix.shape[1])
    np.savez(folder / "weights.npz", **{k: v.astype(np.float32) for k, v in weights.items()})
    (folder / "config.json").write_text(json.dumps({"num_heads": 1, "num_layers": 1}))
    return Target(
        Domain(f"s: seq(int[0..{ITEMS - 1}], 1..{LONGEST})"),
        Claim(parse_expression(f"[{ITEMS}] + s", "pack"), "int64", decode=Decode("argmax")),
        haiku.runtime(folder),
        haiku.translation(folder),
    )


def program(element: str):
    return parse(f"def program(s):\n    return [{element}]\n")


def verdict_on(target, element):
    return verify(program(element), target, deadline=time.monotonic() + 60, seed=0, evidence={})


PREVIOUS = "s[max(i - 1, 0)] for i in range(len(s))"


def test_a_hundred_million_inputs_are_settled_by_a_few_hundred_boxes(tmp_path):
    target = attending_to_the_previous_item(tmp_path, 30.0)
    verdict = verdict_on(target, PREVIOUS)
    assert isinstance(verdict, Proved)
    assert target.domain.raw_size > 10**8
    assert verdict.evidence["boxes"] == ITEMS * sum(range(1, LONGEST + 1))
    # An independent look: the runtime itself on random inputs.
    for length in (1, 4, 6):
        rng = np.random.default_rng(length)
        batch = target.domain.sample_shape(Shape((("s", length),)), 300, rng)
        assert (target.evaluate(batch).values == run(program(PREVIOUS), batch)).all()


@pytest.mark.parametrize(
    "mutant",
    [
        "s[i - 1] for i in range(len(s))",
        "c for c in s",
        "s[max(i - 1, 0)] + (s[max(i - 1, 0)] == 7) for i in range(len(s))",
        "s[max(i - 2, 0)] for i in range(len(s))",
    ],
)
def test_mutants_of_the_program_are_refused(tmp_path, mutant):
    target = attending_to_the_previous_item(tmp_path, 30.0)
    verdict = verdict_on(target, mutant)
    assert isinstance(verdict, Unknown)
    assert verdict.evidence["decided"] < verdict.evidence["boxes"]


def test_a_soft_head_is_refused(tmp_path):
    assert isinstance(verdict_on(attending_to_the_previous_item(tmp_path, 0.3), PREVIOUS), Unknown)


@pytest.mark.parametrize(
    "element",
    [
        "s.count(c) for c in s",
        "s[c % len(s)] for c in s",
        "sum(s) for c in s",
        "s[i] for i, c in enumerate(s) if c > 0",
    ],
)
def test_programs_that_look_everywhere_are_left_to_other_methods(element):
    assert reads_of(program(element), "s") is None
