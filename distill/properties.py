"""`distill verify MODEL PROPERTY.vnnlib`: can the unsafe cases of a property be satisfied?"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from verify.properties import Decision, decided
from verify.vnnlib import Property, parsed

EXIT_CODES = {"unsat": 0, "sat": 1, "unknown": 3}


def decisions(
    model: str | Path, properties: Sequence[str | Path], *, seconds: float = 300.0, seed: int = 0
) -> list[Decision]:
    """What each property of a model comes to, in `seconds` each."""
    path, runtime, translation = loaded(Path(model))
    found = []
    for name in properties:
        stated = read(Path(name))
        shape = input_shape(path, stated.inputs)
        network = translation(shape)
        if network is None:
            raise DistillError(
                "D142", f"{path.name} has no translation for inputs of shape {shape}", exit_code=4
            )
        deadline = time.monotonic() + seconds
        try:
            found.append(decided(stated, network, shape, runtime, deadline=deadline, seed=seed))
        except ValueError as error:
            raise DistillError(
                "D142", f"{Path(name).name} cannot be decided for {path.name}: {error}", exit_code=4
            ) from None
    return found


def read(path: Path) -> Property:
    """The property of a file, which may be compressed with gzip."""
    import gzip

    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise DistillError("D140", f"{path} cannot be read: {error}", place=str(path)) from None
    return parsed(text, path.name)


def loaded(path: Path) -> tuple[Path, Runtime, Translation]:
    """A model's file, its original runtime and its translation."""
    from distill import oracle
    from distill.frontends import onnx as onnx_frontend
    from distill.frontends import pt2

    if path.is_dir():
        found = [path / name for name in ("model.onnx", "model.pt2") if (path / name).is_file()]
        if not found:
            raise DistillError("D001", f"there is no model.onnx or model.pt2 in {path}")
        path = found[0]
    if not path.is_file():
        raise DistillError("D001", f"there is no file {path}", place=str(path), exit_code=4)
    match path.suffix:
        case ".onnx":
            return path, oracle.from_onnx(path), onnx_frontend.from_onnx(path)
        case ".pt2":
            return path, oracle.from_pt2(path), pt2.from_pt2(path)
    raise DistillError("D142", f"{path.name} is neither .onnx nor .pt2", exit_code=4)


def input_shape(path: Path, inputs: int) -> tuple[int, ...]:
    """The shape of the model's input without its batch axis; a free axis takes what is left."""
    axes = _onnx_axes(path) if path.suffix == ".onnx" else _pt2_axes(path)
    known = math.prod(axis for axis in axes if axis > 0)
    free = [i for i, axis in enumerate(axes) if axis <= 0]
    if len(free) == 1 and known and inputs % known == 0:
        axes[free[0]] = inputs // known
    if math.prod(axes) != inputs:
        raise DistillError(
            "D142", f"a property of {inputs} inputs, but {path.name} takes {axes}", exit_code=4
        )
    return tuple(axes)


def _onnx_axes(path: Path) -> list[int]:
    from distill.frontends import onnx_package

    graph = onnx_package.read(path).graph
    held = {tensor.name for tensor in graph.initializer}
    value = next(value for value in graph.input if value.name not in held)
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim][1:]


def _pt2_axes(path: Path) -> list[int]:
    import torch

    program = torch.export.load(str(path))
    names = program.graph_signature.user_inputs
    node: Any = next(n for n in program.graph.nodes if n.name == names[0])
    return [axis if isinstance(axis, int) else 0 for axis in node.meta["val"].shape[1:]]


def line(name: str, decision: Decision) -> str:
    """A decision in one line, and a second one with the input where there is one."""
    text = f"{decision.answer.upper():<8} {name}   {decision.seconds:.2f}s, {decision.boxes} boxes"
    if decision.answer == "sat":
        inputs = ", ".join(f"{x!r}" for x in decision.inputs)
        outputs = ", ".join(f"{float(np.float32(y)):.7g}" for y in decision.outputs)
        text += f"\n         inputs [{inputs}]\n         outputs [{outputs}]   (original runtime)"
    elif decision.answer == "unknown":
        text += f", {100 * decision.open:.3g} % of the volume open"
    return text


def table(name: str, decision: Decision) -> dict[str, Any]:
    return {
        "property": name,
        "answer": decision.answer,
        "seconds": round(decision.seconds, 4),
        "boxes": decision.boxes,
        "open": decision.open,
        "inputs": list(decision.inputs),
        "outputs": list(decision.outputs),
        "arithmetic": decision.arithmetic,
    }
