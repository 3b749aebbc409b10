"""Small ONNX networks for the tests of errors: torch is not needed to read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def saved(path: Path, weights: np.ndarray, bias: np.ndarray, operation: str = "") -> Path:
    """`inputs @ weights + bias`, with one more operation behind it."""
    nodes = [helper.make_node("Gemm", ["inputs", "weight", "bias"], ["sums"])]
    last = "sums"
    if operation:
        nodes.append(helper.make_node(operation, ["sums"], ["changed"]))
        last = "changed"
    nodes.append(helper.make_node("Identity", [last], ["logits"]))
    rows, columns = weights.shape
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", rows])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", columns])],
        [numpy_helper.from_array(weights, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)], producer_name="test"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def comparing(path: Path, slope: float = 1.0) -> Path:
    """Logits of `a >= slope * b`, with a half of margin for whole numbers."""
    weights = np.array([[-1.0, 1.0], [slope, -slope]], np.float32)
    return saved(path, weights, np.array([-0.5, 0.5], np.float32))
