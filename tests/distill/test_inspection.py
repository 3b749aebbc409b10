"""`distill inspect`: what a model contains, and files for viewers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.cli import main
from distill.frontends import exported, pt2
from dsl import networks


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    batch = torch.export.Dim("batch")
    found = torch.export.export(module.eval(), (torch.zeros(2, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(tmp_path / "model.pt2"))
    return tmp_path / "model.pt2"


def test_inspect_says_what_a_model_is_and_what_to_type(model: Path, capsys) -> None:
    assert main(["inspect", str(model)]) == 0
    text = capsys.readouterr().out
    assert "looks   a perceptron: 5-3" in text
    assert "program 3 operations, 33 weights, input [batch, 2]" in text
    assert "linear x2, relu x1" in text
    assert "check   largest difference from the runtime" in text
    assert f"next    distill compile {model} -d 'a: real[-1,1], b: real[-1,1]'" in text


def test_inspect_with_a_domain_shows_the_values_of_the_network(model: Path, capsys) -> None:
    arguments = ["inspect", str(model), "-d", "a: int[0..3], b: int[0..3]", "--dtype", "float32"]
    assert main([*arguments, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["difference"] < 1e-5
    assert set(table["values"]) >= {"linear", "relu", "linear_1"}
    assert table["next"].startswith("distill compile")


def test_the_graph_is_written_for_graphviz(model: Path, tmp_path: Path, capsys) -> None:
    assert main(["inspect", str(model), "--dot", str(tmp_path / "g.dot")]) == 0
    text = (tmp_path / "g.dot").read_text(encoding="utf-8")
    assert text.startswith("digraph") and '"linear" -> "relu"' in text


def test_the_network_written_as_onnx_computes_the_same(model: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert main(["inspect", str(model), "--onnx", str(tmp_path / "g.onnx")]) == 0
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "g.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    program = exported.program(pt2.read(model), (2,))
    assert np.allclose(found, networks.run(program, x), atol=1e-6)


def test_inspect_lists_all_that_cannot_be_translated(tmp_path: Path, capsys) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.sort(x).values + torch.erfinv(x)

    found = torch.export.export(Odd().eval(), (torch.zeros(2, 2),))
    torch.export.save(found, str(tmp_path / "odd.pt2"))
    assert main(["inspect", str(tmp_path / "odd.pt2")]) == 0
    text = capsys.readouterr().out
    assert "2 operations of odd.pt2 are not supported" in text
    assert "aten.sort.default x1 (test_inspection.py:" in text
    assert "aten.erfinv.default x1 (test_inspection.py:" in text
