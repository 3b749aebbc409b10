"""Makes the network of this example: `a >= 2 * b`, by hand, as an ONNX file without training."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model(slope: float = 2.0) -> onnx.ModelProto:
    """Two logits, +-(a - slope * b + 0.5), from a batch of pairs."""
    weights = np.array([[-1.0, 1.0], [slope, -slope]], np.float32)
    shift = np.array([-0.5, 0.5], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["inputs", "weight", "bias"], ["logits"])],
        "rule",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weights, "weight"), numpy_helper.from_array(shift, "bias")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets, producer_name="example")


if __name__ == "__main__":
    onnx.save(model(*map(float, sys.argv[1:])), str(Path(__file__).parent / "rule" / "model.onnx"))
