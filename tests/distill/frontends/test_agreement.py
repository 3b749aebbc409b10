"""One network through three frameworks is one program."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch

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


def through_onnx() -> Program:
    onnx = pytest.importorskip("onnx")
    weights = {name: tensor.detach().numpy() for name, tensor in module().state_dict().items()}
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Gemm", ["x", "0.weight", "0.bias"], ["a"], transB=1),
            node("Relu", ["a"], ["b"]),
            node("Gemm", ["b", "2.weight", "2.bias"], ["y"], transB=1),
        ],
        "graph",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return onnx_front.program(onnx.helper.make_model(graph), "model.onnx", (4,))


def through_jax() -> Program:
    params = {name: tensor.detach().numpy() for name, tensor in module().state_dict().items()}

    def network(params, x):
        hidden = jax.nn.relu(x @ params["0.weight"].T + params["0.bias"])
        return hidden @ params["2.weight"].T + params["2.bias"]

    return jax_front.program(network, params, (4,))


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
