"""ONNX models translate, and the translation computes what onnxruntime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distill.frontends import onnx as front
from dsl import networks
from dsl.errors import DistillError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

RNG = np.random.default_rng(0)


def model(
    nodes: list[Any],
    shape: tuple[Any, ...],
    weights: dict[str, np.ndarray],
    *,
    dtype: int = onnx.TensorProto.FLOAT,
    output: int = onnx.TensorProto.FLOAT,
    opset: int = 17,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    found.ir_version = 8
    return found


def node(op: str, *inputs: str, to: str | list[str] = "y", **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), [to] if isinstance(to, str) else to, **attributes)


def reals(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def branches() -> Any:
    def one(op: str) -> Any:
        inner = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
        return helper.make_graph([node(op, "x", to="z")], op, [], [inner])

    return node("If", "yes", then_branch=one("Relu"), else_branch=one("Neg"))


LSTM = {"w": reals(2, 12, 4), "r": reals(2, 12, 3), "b": reals(2, 24)}
GRU = {"w": reals(1, 9, 4), "r": reals(1, 9, 3), "b": reals(1, 18)}
SCALES = {
    **{"s": np.float32(0.05), "z": np.uint8(128), "ws": np.float32(0.02), "wz": np.uint8(120)},
    **{"ys": np.float32(0.1), "yz": np.uint8(100)},
}
MODELS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "gemm": (
        model(
            [node("Gemm", "x", "w", "b", to="h", transB=1), node("Relu", "h")],
            ("n", 4),
            {"w": reals(3, 4), "b": reals(3)},
        ),
        (4,),
    ),
    "shape subgraph": (
        model(
            [
                node("Shape", "x", to="shape"),
                node("Gather", "shape", "zero", to="rows"),
                node("Concat", "rows", "rest", to="wanted", axis=0),
                node("Reshape", "x", "wanted"),
            ],
            ("n", 2, 6),
            {"zero": ints(0), "rest": ints(3, 4)},
        ),
        (2, 6),
    ),
    "if": (model([branches()], ("n", 4), {"yes": np.array(True)}), (4,)),
    "conv": (
        model(
            [
                node("Conv", "x", "w", "b", to="c", pads=[1, 1, 1, 1], strides=[2, 2]),
                node("BatchNormalization", "c", "s", "t", "m", "v", to="n"),
                node("MaxPool", "n", to="p", kernel_shape=[2, 2], strides=[1, 1]),
                node("GlobalAveragePool", "p", to="g"),
                node("Flatten", "g"),
            ],
            ("n", 2, 7, 7),
            {
                "w": reals(3, 2, 3, 3),
                "b": reals(3),
                "s": reals(3),
                "t": reals(3),
                "m": reals(3),
                "v": np.abs(reals(3)),
            },
        ),
        (2, 7, 7),
    ),
    "lstm": (
        model(
            [
                node("Transpose", "x", to="t", perm=[1, 0, 2]),
                node(
                    "LSTM",
                    "t",
                    "w",
                    "r",
                    "b",
                    to=["y1", "y2", "c"],
                    hidden_size=3,
                    direction="bidirectional",
                ),
                node("Transpose", "c", to="d", perm=[1, 0, 2]),
                node("Reshape", "d", "shape"),
            ],
            ("n", 5, 4),
            {**LSTM, "shape": ints(0, 6)},
        ),
        (5, 4),
    ),
    **{
        f"gru {before}": (
            model(
                [
                    node("Transpose", "x", to="t", perm=[1, 0, 2]),
                    node(
                        "GRU",
                        "t",
                        "w",
                        "r",
                        "b",
                        to=["s"],
                        hidden_size=3,
                        linear_before_reset=before,
                    ),
                    node("Squeeze", "s", "one", to="q"),
                    node("Transpose", "q", perm=[1, 0, 2]),
                ],
                ("n", 5, 4),
                {**GRU, "one": ints(1)},
            ),
            (5, 4),
        )
        for before in (0, 1)
    },
    "old softmax": (model([node("Softmax", "x", axis=1)], ("n", 2, 3), {}, opset=11), (2, 3)),
    "old slices": (
        model(
            [
                node("Slice", "x", to="s", starts=[1], ends=[9], axes=[1]),
                node("Clip", "s", to="c", min=-0.5, max=0.5),
                node("Unsqueeze", "c", to="u", axes=[1]),
                node("ReduceMean", "u", axes=[2], keepdims=0),
            ],
            ("n", 4),
            {},
            opset=8,
        ),
        (4,),
    ),
    "norm": (
        model(
            [node("LayerNormalization", "x", "w", "b")], ("n", 4), {"w": reals(4), "b": reals(4)}
        ),
        (4,),
    ),
    "split": (
        model(
            [
                node("Split", "x", "sizes", to=["a", "b"], axis=1),
                node("Mul", "a", "b", to="m"),
                node("Pad", "m", "pads"),
            ],
            ("n", 4),
            {"sizes": ints(2, 2), "pads": ints(0, 1, 0, 2)},
        ),
        (4,),
    ),
    "quantised": (
        model(
            [
                node("QuantizeLinear", "x", "s", "z", to="q"),
                node("QLinearMatMul", "q", "s", "z", "w", "ws", "wz", "ys", "yz", to="m"),
                node("DequantizeLinear", "m", "ys", "yz"),
            ],
            ("n", 4),
            {**SCALES, "w": RNG.integers(0, 255, (4, 3)).astype(np.uint8)},
        ),
        (4,),
    ),
    "fixed batch": (
        model(
            [node("MatMul", "x", "w", to="m"), node("Flatten", "m")],
            (1, 1, 1, 4),
            {"w": reals(4, 3)},
        ),
        (1, 1, 4),
    ),
}


def expected(found: Any, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        found.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = [session.run(None, {"x": x[i : i + 1]})[0] for i in range(len(x))]
    return np.concatenate(rows)


@pytest.mark.parametrize("name", MODELS)
def test_a_translation_computes_what_onnxruntime_computes(name: str) -> None:
    found, shape = MODELS[name]
    x = reals(5, *shape)
    program = front.program(found, "model.onnx", shape)
    assert np.allclose(networks.run(program, x), expected(found, x), rtol=1e-5, atol=1e-5)


def test_all_operations_without_translation_are_listed() -> None:
    found = model([node("Det", "x", to="d"), node("NonZero", "d")], ("n", 2, 2), {})
    with pytest.raises(DistillError) as caught:
        front.program(found, "model.onnx", (2, 2))
    assert caught.value.code == "D020"
    assert caught.value.notes == ("Det x1",)


def test_a_shape_that_the_model_does_not_take_is_refused() -> None:
    found, _ = MODELS["gemm"]
    with pytest.raises(DistillError, match=r"takes rows of shape \(4\), not \(5,\)"):
        front.program(found, "model.onnx", (5,))
