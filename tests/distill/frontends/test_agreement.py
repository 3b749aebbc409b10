"""One network through three frameworks is one network here, and distils to one program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import export

import distill
from distill.frontends import exported
from distill.frontends import jax as jax_front
from distill.frontends import onnx as onnx_front
from distill.frontends import torch as torch_front
from dsl import networks, passes
from dsl.program import Program

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()


def through_torch() -> Program:
    return exported.program(torch_front.graph_of_module(module(), (4,), "float32"), (4,))


def weights_of(network: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}


def through_onnx() -> Program:
    return onnx_front.program(to_onnx(weights_of(module())), "model.onnx", (4,))


def to_onnx(weights: dict[str, np.ndarray]) -> Any:
    """Two layers with a rectifier between them."""
    onnx = pytest.importorskip("onnx")
    inputs, outputs = weights["0.weight"].shape[1], weights["2.weight"].shape[0]
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Gemm", ["x", "0.weight", "0.bias"], ["a"], transB=1),
            node("Relu", ["a"], ["b"]),
            node("Gemm", ["b", "2.weight", "2.bias"], ["y"], transB=1),
        ],
        "graph",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", inputs])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", outputs])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)


def network(params: Any, x: Any) -> Any:
    hidden = jax.nn.relu(x @ params["0.weight"].T + params["0.bias"])
    return hidden @ params["2.weight"].T + params["2.bias"]


def through_jax() -> Program:
    return jax_front.program(network, weights_of(module()), (4,))


def plain(network: Program) -> tuple[object, list[np.ndarray]]:
    """The operations of the canonical network, and its weights in the order of use."""
    found, _ = passes.canonical(network, X)
    calls = [
        (call.primitive, [type(arg).__name__ for arg in call.args])
        for _, call in networks.bindings(passes.numbered(found))
    ]
    return calls, list(networks.parameters(found).values())


@pytest.mark.parametrize("other", [through_onnx, through_jax])
def test_one_network_through_three_frameworks_is_one_program(other) -> None:
    calls, weights = plain(through_torch())
    same_calls, same_weights = plain(other())
    assert calls == same_calls
    assert sorted(w.shape for w in weights) == sorted(w.shape for w in same_weights)
    assert np.allclose(networks.run(through_torch(), X), networks.run(other(), X), atol=1e-6)


def least() -> torch.nn.Module:
    """min(a, b) of whole numbers that are not negative, as max(a, 0) - max(a - b, 0)."""
    found = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    with torch.no_grad():
        found[0].weight.copy_(torch.tensor([[1.0, 0.0], [1.0, -1.0]]))
        found[2].weight.copy_(torch.tensor([[1.0, -1.0]]))
        found[0].bias.zero_()
        found[2].bias.zero_()
    return found.eval()


def saved(folder: Path) -> dict[str, Path]:
    """One network as torch, ONNX and JAX save it."""
    batch = torch.export.Dim("batch")
    found = torch.export.export(least(), (torch.zeros(2, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(folder / "model.pt2"))
    weights = weights_of(least())
    (folder / "model.onnx").write_bytes(to_onnx(weights).SerializeToString())
    params = jax.tree_util.tree_map(jnp.asarray, weights)
    shape = jax.ShapeDtypeStruct(export.symbolic_shape("batch, 2"), np.float32)
    content = export.export(jax.jit(lambda x: network(params, x)))(shape).serialize()
    (folder / "model.jax").write_bytes(content)
    np.savez(folder / "model.npz", **weights)
    (folder / "arch.py").write_text(
        "import jax\n\ndef network(params, x):\n"
        "    hidden = jax.nn.relu(x @ params['0.weight'].T + params['0.bias'])\n"
        "    return hidden @ params['2.weight'].T + params['2.bias']\n",
        encoding="utf-8",
    )
    return {kind: folder / f"model.{kind}" for kind in ("pt2", "onnx", "jax", "npz")}


def test_one_network_through_three_frameworks_distils_to_one_program_text(tmp_path: Path) -> None:
    texts = {}
    for kind, path in saved(tmp_path).items():
        options = {"arch": "arch.py:network"} if kind == "npz" else {}
        result = distill.compile(
            path, "a: int[0..9], b: int[0..9]", decode="round", time="20s", **options
        )
        assert type(result.verdict).__name__ == "Proved"
        texts[kind] = result.source
    assert "min(a, b)" in texts["pt2"]
    assert len(set(texts.values())) == 1, texts
