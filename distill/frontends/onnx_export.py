"""Networks as ONNX files, for viewers: the operations that both have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from distill.frontends.graph import unsupported
from dsl import networks
from dsl import types as t
from dsl.errors import DistillError
from dsl.program import Call, Constant, Program, Variable

_SAME: Mapping[str, str] = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "mod": "Mod", "pow": "Pow"},
    **{"neg": "Neg", "abs": "Abs", "maximum": "Max", "minimum": "Min", "relu": "Relu"},
    **{"tanh": "Tanh", "sigmoid": "Sigmoid", "exp": "Exp", "log": "Log", "sqrt": "Sqrt"},
    **{"erf": "Erf", "sin": "Sin", "cos": "Cos", "floor": "Floor", "round": "Round"},
    **{"sign": "Sign", "where": "Where", "lt": "Less", "le": "LessOrEqual", "gt": "Greater"},
    **{"ge": "GreaterOrEqual", "eq": "Equal", "not": "Not", "and": "And", "or": "Or"},
    **{"matmul": "MatMul", "gelu": "Gelu"},
}
_OPSET = 20


def to_onnx(program: Program) -> bytes:
    """A model with a free batch axis.  Raises D011 without the onnx package, D020 for operations
    that ONNX lacks."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise DistillError(
            "D011", "writing ONNX needs onnx", remedy="pip install 'distillc[onnx]'", exit_code=4
        ) from None
    kinds = {"bool": TensorProto.BOOL, "int": TensorProto.INT64}
    shapes = networks.shapes(program)

    def declared(name: str) -> Any:
        kind = shapes[name]
        element = kinds.get(str(kind.item), TensorProto.FLOAT)
        return helper.make_tensor_value_info(
            name, element, ["batch" if axis == -1 else axis for axis in kind.shape]
        )

    writer = _Writer()
    for name, call in networks.bindings(program):
        writer.add(name, call, shapes[name])
    if writer.missing:
        raise unsupported(program.name, writer.missing)
    arrays = {**dict(program.constants), **writer.arrays}
    graph = helper.make_graph(
        [
            helper.make_node(op, ins, [out], **attributes)
            for op, ins, out, attributes in writer.nodes
        ],
        program.name,
        [declared(name) for name in program.parameters],
        [declared(item.name) for item in networks.results(program)],
        [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


class _Writer:
    """Nodes as (operation, inputs, output, attributes), and the constants that they need."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.missing: dict[str, list[str]] = {}

    def constant(self, name: str, *numbers: int) -> str:
        self.arrays[name] = np.array(numbers, np.int64)
        return name

    def put(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append((op, inputs, output, attributes))

    def add(self, name: str, call: Call, kind: t.Tensor) -> None:
        args = [arg.name for arg in call.args if isinstance(arg, (Variable, Constant))]
        options = dict(call.options)
        match call.primitive:
            case primitive if primitive in _SAME:
                self.put(_SAME[primitive], args, name, **_kept(options, "approximate"))
            case "ne":
                self.put("Equal", args, f"{name}.equal")
                self.put("Not", [f"{name}.equal"], name)
            case "linear":
                self.put("Transpose", [args[1]], f"{name}.T", perm=[1, 0])
                product = name if len(args) == 2 else f"{name}.product"
                self.put("MatMul", [args[0], f"{name}.T"], product)
                if len(args) > 2:
                    self.put("Add", [product, args[2]], name)
            case "reshape":
                wanted = self.constant(f"{name}.shape", *options["shape"])
                self.put("Reshape", [args[0], wanted], name)
            case "transpose":
                self.put("Transpose", args, name, perm=list(options["axes"]))
            case "concat":
                self.put("Concat", args, name, axis=options["axis"])
            case "slice":
                ends = [
                    self.constant(f"{name}.{part}", options[part])
                    for part in ("start", "stop", "axis", "step")
                ]
                self.put("Slice", [args[0], *ends], name)
            case "gather" if not options.get("along"):
                self.put("Gather", args, name, axis=options["axis"])
            case "cast":
                self.put("Cast", args, name, to=_element(options["dtype"]))
            case "einsum":
                self.put("Einsum", args, name, equation=options["equation"])
            case "softmax" | "log_softmax":
                op = "Softmax" if call.primitive == "softmax" else "LogSoftmax"
                self.put(op, args, name, axis=options["axis"])
            case "sum" | "mean" | "max" | "min" | "prod":
                axes = list(options["axes"])
                keep = int(options.get("keepdims", False))
                op = f"Reduce{call.primitive.capitalize()}"
                wanted = self.constant(f"{name}.axes", *axes)
                self.put(op, [args[0], wanted], name, keepdims=keep)
            case "argmax" | "argmin":
                op = "ArgMax" if call.primitive == "argmax" else "ArgMin"
                keep = int(options.get("keepdims", False))
                self.put(op, args, name, axis=options["axis"], keepdims=keep)
            case "layer_norm" if len(args) > 1 and options.get("centred", True):
                self.put(
                    "LayerNormalization",
                    args,
                    name,
                    axis=-options.get("axes", 1),
                    epsilon=options.get("epsilon", 1e-5),
                )
            case "conv":
                pads = options["padding"]
                self.put(
                    "Conv",
                    args,
                    name,
                    strides=list(options["stride"]),
                    pads=[p for p, _ in pads] + [q for _, q in pads],
                    dilations=list(options["dilation"]),
                    group=options["groups"],
                )
            case "max_pool":
                pads = options.get("padding") or ((0, 0),) * len(options["kernel"])
                self.put(
                    "MaxPool",
                    args,
                    name,
                    kernel_shape=list(options["kernel"]),
                    strides=list(options.get("stride") or options["kernel"]),
                    pads=[p for p, _ in pads] + [q for _, q in pads],
                )
            case other:
                self.missing.setdefault(other, []).append("")


def _kept(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def _element(dtype: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
