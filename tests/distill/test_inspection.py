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


def following(module: torch.nn.Module, example: torch.Tensor, path: Path, capsys) -> str:
    batch = torch.export.Dim("batch")
    found = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(path))
    assert main(["inspect", str(path), "--json"]) == 0
    command = str(json.loads(capsys.readouterr().out)["next"])
    return command.partition(f"{path} ")[2]


class Tokens(torch.nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed, self.out = torch.nn.Embedding(114, 3), torch.nn.Linear(3, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.embed(x).sum(1))


def test_inspect_suggests_the_tokens_that_the_network_has(tmp_path: Path, capsys) -> None:
    path = tmp_path / "model.pt2"
    few = following(Tokens(2), torch.zeros(2, 2, dtype=torch.int64), path, capsys)
    assert few == "-d 'a: int[0..113], b: int[0..113]'"
    many = following(Tokens(2), torch.zeros(2, 7, dtype=torch.int64), path, capsys)
    assert many == "-d 's: seq(int[0..113], 7)'"


def test_inspect_suggests_a_tolerance_where_there_is_one_output(tmp_path: Path, capsys) -> None:
    module = torch.nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(20.0)
        module.bias.zero_()
    found = following(module, torch.zeros(2, 1), tmp_path / "model.pt2", capsys)
    assert found == "-d 'a: real[-1,1]' --decode 'value +- 0.1'"


def test_inspect_suggests_the_range_of_images_and_of_cut_inputs(tmp_path: Path, capsys) -> None:
    class Cut(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clamp(-3.0, 5.0) * 2

    image = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten())
    path = tmp_path / "model.pt2"
    shown = following(image, torch.zeros(2, 1, 5, 5), path, capsys)
    assert shown == "-d 'x: array(real[0,1], 1x5x5)'"
    assert following(Cut(), torch.zeros(2, 2), path, capsys) == "-d 'a: real[-3,5], b: real[-3,5]'"


def test_inspect_says_what_to_do_with_what_cannot_be_read(tmp_path: Path, capsys) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert main(["inspect", str(tmp_path / "model.onnx")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next    distill explain D010"
    np.savez(tmp_path / "params.npz", w=np.zeros(3))
    assert main(["inspect", str(tmp_path / "params.npz")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next    distill inspect {tmp_path}/params.npz --arch file.py:callable"
