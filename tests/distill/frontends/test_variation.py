"""Networks whose outputs are no function of their input are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import distill
from distill import oracle
from dsl.claim import Claim, Decode
from dsl.decoding import decoded, packed
from dsl.errors import DistillError
from dsl.parser import parse_expression


class Base(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(2))


class Counting(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.add_(1)
        return self.layer(x) + self.seen


class CountingOnePlace(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen[0].add_(1)
        return self.layer(x) + self.seen


class Noisy(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + torch.rand(2)


class Dropping(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(self.layer(x), 0.5, training=True)


class Steady(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.dropout(self.layer(x), 0.5, training=False)
        return torch.relu_(x) + self.seen


def exported(module: torch.nn.Module, path: Path) -> Path:
    batch = torch.export.Dim("batch", min=1)
    shapes = ({0: batch},)
    program = torch.export.export(module.eval(), (torch.zeros(2, 2),), dynamic_shapes=shapes)
    torch.export.save(program, str(path))
    return path


@pytest.mark.parametrize("kind", [Counting, CountingOnePlace, Noisy, Dropping])
def test_state_and_random_numbers_are_refused(kind: type[Base], tmp_path: Path) -> None:
    with pytest.raises(DistillError) as raised:
        oracle.from_pt2(exported(kind(), tmp_path / "model.pt2"))
    assert raised.value.code == "D022"


def test_operations_in_place_on_values_of_their_own_are_not(tmp_path: Path) -> None:
    runtime = oracle.from_pt2(exported(Steady(), tmp_path / "model.pt2"))
    batch = np.ones((3, 2), np.float32)
    assert np.array_equal(runtime(batch), runtime(batch))


def test_random_operations_of_onnx_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "noisy", [x], [y])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opset), tmp_path / "m.onnx")
    with pytest.raises(DistillError) as raised:
        oracle.from_onnx(tmp_path / "m.onnx")
    assert raised.value.code == "D022"


@pytest.mark.parametrize("rule", ["round", "value", "threshold"])
def test_integers_that_float64_does_not_hold_are_no_numbers(rule: str) -> None:
    raw = np.array([[3], [2**53 + 1], [-(2**60)]])
    found = decoded(Decode(rule), raw)
    assert not np.isnan(found.margins[0]) and np.isnan(found.margins[1:]).all()


def test_pack_does_not_wrap_integers() -> None:
    claim = Claim(parse_expression("[a]"), dtype="int8", decode=Decode("argmax"))
    assert packed(claim, {"a": np.array([-128, 127])}).tolist() == [[-128], [127]]
    with pytest.raises(DistillError) as raised:
        packed(claim, {"a": np.array([128])})
    assert raised.value.code == "D113"


def test_a_token_beyond_the_embedding_is_told(tmp_path: Path) -> None:
    class Lookup(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.table(x).flatten(1)

    batch = torch.export.Dim("batch", min=1, max=64)
    inputs = torch.zeros(2, 2, dtype=torch.int64)
    exported = torch.export.export(Lookup().eval(), (inputs,), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "lookup.pt2")
    with pytest.raises(DistillError) as raised:
        distill.compile(tmp_path / "lookup.pt2", "a: int[0..3], b: int[0..2]", time="5s")
    assert raised.value.code == "D113"
    assert "do not hold" in raised.value.finding
