"""Canonical passes: what they make plainer, and that they change nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from distill.frontends import operators as o
from distill.frontends.building import Builder, Value
from dsl import networks, passes
from dsl.program import Program

RNG = np.random.default_rng(3)
X = RNG.normal(size=(7, 4)).astype(np.float32)
SEQUENCE = RNG.normal(size=(7, 5, 6)).astype(np.float32)


def weight(b: Builder, name: str, *shape: int) -> Value:
    return b.constant(RNG.normal(size=shape).astype(np.float32), name)


def number(b: Builder, value: float) -> Value:
    return b.constant(np.asarray(value, np.float32))


def operations(network: Program, *packed: np.ndarray) -> dict[str, int]:
    """What is left after all passes, which may change nothing."""
    found, record = passes.canonical(network, *packed)
    assert passes.largest_difference(network, found, *packed) < 1e-5
    assert all(applied.difference < 1e-5 for applied in record)
    assert networks.run(found, packed[0][:1]).shape[0] == 1
    return networks.operations(found)


def test_a_product_and_a_sum_are_one_linear_map() -> None:
    b = Builder()
    y = o.matmul(b, b.input("x", (4,), np.float32), weight(b, "w", 4, 3))
    assert operations(b.finished(b.elementwise("add", y, weight(b, "b", 3))), X) == {"linear": 1}


def test_two_linear_maps_in_a_row_are_one_where_that_is_no_larger() -> None:
    b = Builder()
    x = b.input("x", (4,), np.float32)
    wide = o.linear(b, x, weight(b, "w", 9, 4), weight(b, "b", 9))
    assert operations(b.finished(o.linear(b, wide, weight(b, "v", 2, 9), None)), X) == {"linear": 1}
    b = Builder()
    x = b.input("x", (4,), np.float32)
    narrow = o.linear(b, x, weight(b, "w", 1, 4), None)
    assert operations(b.finished(o.linear(b, narrow, weight(b, "v", 5, 1), None)), X) == {
        "linear": 2
    }


def test_a_product_with_a_one_hot_vector_is_a_row() -> None:
    b = Builder()
    x = b.input("x", (5,), np.int64)
    row = b.constant(np.arange(6))
    hot = b.cast(b.elementwise("eq", b.unsqueeze(x, -1), row), np.float32)
    network = b.finished(o.linear(b, hot, weight(b, "w", 3, 6), None))
    assert operations(network, RNG.integers(0, 6, (7, 5))) == {"gather": 1}


def test_what_gives_its_argument_back_is_left_out() -> None:
    b = Builder()
    x = b.input("x", (4,), np.float32)
    y = b.elementwise("mul", b.elementwise("add", x, number(b, 0.0)), number(b, 1.0))
    b.elementwise("tanh", y)  # nothing needs it
    y = b.transpose(
        b.transpose(b.reshape(b.reshape(y, (1, 2, 2)), (1, 2, 2)), (0, 2, 1)), (0, 2, 1)
    )
    assert operations(b.finished(b.elementwise("relu", y)), X) == {"reshape": 1, "relu": 1}


def test_normalisation_written_out_is_recognised() -> None:
    b = Builder()
    x = b.input("x", (5, 6), np.float32)
    middle = b.elementwise("sub", x, b.reduce("mean", x, [-1], keepdims=True))
    square = b.elementwise("mul", middle, middle)
    spread = b.elementwise("add", b.reduce("mean", square, [-1], keepdims=True), number(b, 1e-5))
    network = b.finished(b.elementwise("div", middle, b.elementwise("sqrt", spread)))
    assert operations(network, SEQUENCE) == {"layer_norm": 1}


@pytest.mark.parametrize("mask", ["none", "causal", "other"])
def test_attention_written_as_products_is_recognised(mask: str) -> None:
    b = Builder()
    x = b.input("x", (5, 6), np.float32)
    scores = o.matmul(b, x, b.transpose(x, (0, 2, 1)))
    scores = b.elementwise("div", scores, number(b, 2.0))
    if mask != "none":
        hidden = ~np.tri(5, dtype=bool) if mask == "causal" else np.eye(5, dtype=bool)
        scores = b.elementwise("where", b.constant(hidden), number(b, -1e9), scores)
    network = b.finished(o.matmul(b, b.along("softmax", scores, -1), x))
    found, _ = passes.canonical(network, SEQUENCE)
    ((_, call),) = networks.bindings(found)
    assert call.primitive == "attention"
    assert call.option("scale") == 0.5
    assert bool(call.option("causal")) == (mask == "causal")
    assert passes.largest_difference(network, found, SEQUENCE) < 1e-5


def test_attention_written_as_sums_of_products_is_recognised() -> None:
    b = Builder()
    x = b.input("x", (5, 6), np.float32)
    query, key, value = (
        o.einsum(b, "bpd,hde->bphe", [x, weight(b, name, 2, 6, 3)]) for name in "qkv"
    )
    scores = o.einsum(b, "bqhe,bkhe->bhqk", [query, key])
    mixed = [b.along("softmax", scores, -1), value, weight(b, "o", 2, 3, 6)]
    network = b.finished(o.einsum(b, "bhqk,bkhe,hed->bqd", mixed))
    found = operations(network, SEQUENCE)
    assert found["attention"] == 1 and found["linear"] == 4
    assert "einsum" not in found and "softmax" not in found


def test_a_soft_mask_is_no_mask() -> None:
    b = Builder()
    x = b.input("x", (5, 6), np.float32)
    scores = o.matmul(b, x, b.transpose(x, (0, 2, 1)))
    scores = b.elementwise("where", b.constant(np.eye(5, dtype=bool)), number(b, -2.0), scores)
    network = b.finished(o.matmul(b, b.along("softmax", scores, -1), x))
    assert "attention" not in operations(network, SEQUENCE)


def test_numbered_networks_are_equal_whatever_their_names() -> None:
    def built(hint: str) -> Program:
        b = Builder(hint)
        return b.finished(b.elementwise("relu", b.input(hint, (4,), np.float32)))

    assert built("a") != built("b")
    assert passes.numbered(built("a")) == passes.numbered(built("b"))
