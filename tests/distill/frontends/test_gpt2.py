"""Runtimes of the GPT-2 family, that go on where they were."""

from __future__ import annotations

import numpy as np
import pytest

from distill.frontends import gpt2
from dsl.claim import Claim, Decode, Feedback, Target
from dsl.domain import Domain
from dsl.forcing import agrees_by_forcing
from dsl.parser import parse_expression

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")


@pytest.fixture
def runtime() -> gpt2.Resumed:
    config = transformers.GPT2Config(
        vocab_size=7, n_positions=6, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    return gpt2.Resumed(transformers.GPT2LMHeadModel(config).eval())


def talking(runtime: gpt2.Resumed) -> Target:
    """Greedy answers to two tokens, of up to twelve; no output stands for the end."""
    return Target(
        Domain("a: int[0..6], b: int[0..6]"),
        Claim(
            parse_expression("[a, b]", "pack"),
            "int64",
            decode=Decode("argmax", labels=tuple(range(7))),
            feedback=Feedback(parse_expression("12", "steps"), "end", ()),
        ),
        runtime,
    )


def test_an_answer_without_an_end_is_as_long_as_there_are_positions(runtime):
    values = talking(runtime).evaluate({"a": np.arange(5), "b": np.arange(5)}).values
    assert values.shape == (5, 5)


def test_answers_for_which_there_are_no_positions_are_not_confirmed_in_one_pass(runtime):
    target, batch = talking(runtime), {"a": np.arange(5), "b": np.arange(5)}
    longer = np.zeros((5, 11), np.int64)
    assert not agrees_by_forcing(target, batch, longer).any()


def test_rows_are_answered_alike_in_chunks_and_alone(runtime, monkeypatch):
    rows = np.random.default_rng(0).integers(0, 7, (9, 5))
    whole = runtime(rows)
    monkeypatch.setattr(gpt2, "_CHUNK", 10)
    assert np.allclose(runtime(rows), whole, atol=1e-6)
