"""Enumerated certificates are established again without importing torch."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from distill import cli
from distill.fingerprints import tensors

ROOT = Path(__file__).parents[2]
DOMAIN = "a: int[0..20], b: int[0..20]"


def comparing() -> torch.nn.Module:
    """Says 1 where a exceeds b."""
    module = torch.nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
        module.bias.copy_(torch.tensor([0.5, -0.5]))
    return module.eval()


def to_pt2(path: Path) -> None:
    batch = torch.export.Dim("batch")
    found = torch.export.export(comparing(), (torch.zeros(2, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(path))


def to_onnx(path: Path, *, beside: bool = False) -> None:
    onnx = pytest.importorskip("onnx")
    kind = onnx.TensorProto.FLOAT
    weights = {k: v.detach().numpy() for k, v in comparing().state_dict().items()}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], transB=1)],
        "graph",
        [onnx.helper.make_tensor_value_info("x", kind, ["n", 2])],
        [onnx.helper.make_tensor_value_info("y", kind, ["n", 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(model, str(path), **(options if beside else {}))


def compiled(model: Path, out: Path) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        return cli.main(
            [
                *("compile", str(model), "-d", DOMAIN, "--dtype", "float32"),
                *("--decode", "argmax", "--time", "20s", "--quiet", "--out", str(out)),
            ]
        )


@pytest.mark.parametrize(("name", "save"), [("model.pt2", to_pt2), ("model.onnx", to_onnx)])
def test_checking_an_enumerated_certificate_imports_no_torch(
    name: str, save, tmp_path: Path
) -> None:
    save(tmp_path / name)
    assert compiled(tmp_path / name, tmp_path / "out") == 0
    code = (
        "import sys; from distill import cli; "
        f"path = {str(tmp_path / 'out')!r}; "
        "found = [cli.main(['check', path, *more]) for more in ([], ['--independent'])]; "
        "print(found, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[0, 0] False", done.stdout + done.stderr


def test_weights_beside_an_onnx_model_belong_to_its_fingerprint(tmp_path: Path, capsys) -> None:
    model = tmp_path / "model.onnx"
    to_onnx(model)
    alone = tensors(model)
    to_onnx(model, beside=True)
    before = tensors(model)
    assert before["weight"] == alone["weight"]
    assert compiled(model, tmp_path / "out") == 0
    weights = tmp_path / "weights.bin"
    array = np.frombuffer(weights.read_bytes(), np.float32).copy()
    array[np.argmin(array)] *= 1.5
    weights.write_bytes(array.tobytes())
    changed = {name for name, digest in tensors(model).items() if digest != before[name]}
    assert len(changed) == 1 and "graph" not in changed
    capsys.readouterr()
    assert cli.main(["check", str(tmp_path / "out")]) != 0
    assert "disagrees with the model" in capsys.readouterr().err


def test_weights_outside_the_folder_of_an_onnx_model_are_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    inner = tmp_path / "inner"
    inner.mkdir()
    to_onnx(inner / "model.onnx", beside=True)
    (inner / "weights.bin").rename(tmp_path / "weights.bin")
    model = onnx.load(str(inner / "model.onnx"), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    (inner / "model.onnx").write_bytes(model.SerializeToString())
    assert compiled(inner / "model.onnx", tmp_path / "out") == 4
    (inner / "weights.bin").symlink_to(tmp_path / "weights.bin")
    to_link = model.SerializeToString().replace(b"../weights.bin", b"././weights.bin")
    (inner / "model.onnx").write_bytes(to_link)
    assert compiled(inner / "model.onnx", tmp_path / "out") == 4
