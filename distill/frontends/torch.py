"""PyTorch: exported programs (`.pt2`) and modules in memory, read by torch itself.

`torch.export` with the empty decomposition table keeps linear, normalisation, attention and
recurrent layers as single nodes; `distill.frontends.aten` has a rule for each operation.
`distill.frontends.pt2` reads most files without torch; what it leaves comes here.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import math
import operator
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends.archives import BROKEN
from distill.frontends.exported import Graph, Input, program
from distill.frontends.graph import Missing, Node, Ref
from dsl.claim import Translation
from dsl.errors import DistillError
from dsl.program import Program

_LARGEST = 1 << 31


def exported(path: Path) -> Any:
    """The exported program in a file.  Raises D010 where it cannot be read."""
    import pickle

    import torch

    logger = logging.getLogger("torch.export")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)  # it prints tracebacks of its own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.export.load(_for_cpu(path))
    except (*BROKEN, AssertionError, pickle.UnpicklingError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DistillError(
            "D010",
            f"{path.name} is not a readable torch.export program",
            place=str(path),
            notes=(line[:200],),
            remedy="save it again with torch.export.save",
            exit_code=4,
        ) from None
    finally:
        logger.setLevel(level)
    _refuse_what_varies(loaded, path)
    return loaded


_RANDOM = frozenset(
    {
        "bernoulli",
        "multinomial",
        "normal",
        "poisson",
        "rand",
        "rand_like",
        "randint",
        "randint_like",
        "randn",
        "randn_like",
        "randperm",
        "uniform",
    }
)
_VIEWS = frozenset(
    {
        "alias",
        "detach",
        "expand",
        "permute",
        "select",
        "slice",
        "squeeze",
        "t",
        "transpose",
        "unsqueeze",
        "view",
    }
)
_DROPOUT = frozenset({"dropout", "native_dropout", "alpha_dropout", "feature_dropout"})


def _refuse_what_varies(loaded: Any, path: Path) -> None:
    """Raises D022 for a network whose outputs are no function of its input."""
    signature = loaded.graph_signature
    kept = {**signature.inputs_to_buffers, **signature.inputs_to_parameters}
    reasons = [f"it changes {name}" for name in signature.buffers_to_mutate.values()]
    for node in loaded.graph.nodes:
        if node.op != "call_function":
            continue
        name = _operation(node)
        if name.endswith("_") and (changed := kept.get(_viewed(node.args[0]).name)):
            reasons.append(f"it changes {changed}")
        name = name.removesuffix("_")
        if name in _RANDOM or (name in _DROPOUT and True in node.args[1:]):
            reasons.append(f"{node.target} draws random numbers")
    if reasons:
        raise DistillError(
            "D022",
            f"{path.name} does not always give the same output for the same input",
            place=str(path),
            notes=tuple(dict.fromkeys(reasons))[:8],
            remedy="export the module in evaluation mode, without state of its own",
            exit_code=4,
        )


def _operation(node: Any) -> str:
    """An operation's name without namespace and overload."""
    return str(node.target).removeprefix("aten.").partition(".")[0]


def _viewed(node: Any) -> Any:
    """The value of which a node is a view."""
    while node.op == "call_function" and _operation(node) in _VIEWS:
        node = node.args[0]
    return node


def _for_cpu(path: Path) -> Any:
    """The archive; a copy in memory that names the CPU where it was saved on another device."""
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > _LARGEST:
            raise ValueError("it unpacks to more than 2 GiB")
        tables = [info for info in archive.infolist() if info.filename.endswith(".json")]
        if not any(_elsewhere(archive.read(info)) for info in tables):
            return str(path)
        copy = io.BytesIO()
        with zipfile.ZipFile(copy, "w") as target:
            for info in archive.infolist():
                content = archive.read(info)
                if info in tables:
                    content = json.dumps(_moved(json.loads(content))).encode()
                target.writestr(info.filename, content)
    copy.seek(0)
    return copy


def _elsewhere(content: bytes) -> bool:
    return re.search(rb'"type":\s*"(cuda|mps|xpu|hip)"', content) is not None


def _moved(table: Any) -> Any:
    """A table with every device in it replaced by the CPU."""
    match table:
        case {"type": "cuda" | "mps" | "xpu" | "hip", "index": _}:
            return {**table, "type": "cpu", "index": None}
        case dict():
            return {key: _moved(value) for key, value in table.items()}
        case list():
            return [_moved(value) for value in table]
    return table


def from_module(module: Any, dtype: str) -> Translation:
    """A module in memory, exported anew for each input shape."""

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        try:
            found = graph_of_module(module, shape, dtype)
            return None if found.half else program(found, tuple(shape))
        except DistillError:
            return None

    return network


def graph_of_module(module: Any, shape: tuple[int, ...], dtype: str) -> Graph:
    """The graph of a module in evaluation mode for rows of a shape.  Raises D021 where it cannot
    be exported (its control flow depends on values)."""
    import torch

    example = torch.zeros((1, *shape), dtype=getattr(torch, dtype))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            found = torch.export.export(module, (example,), strict=False)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DistillError(
            "D021",
            f"{type(module).__name__} cannot be exported for rows of shape {shape}",
            notes=(line[:200],),
            remedy="the search goes on from inputs and outputs alone",
            exit_code=4,
        ) from None
    return graph_of(found, type(module).__name__)


def graph_of(found: Any, model: str) -> Graph:
    """An exported program as plain data, with composite operations kept whole."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = found.run_decompositions({})
    signature = found.graph_signature
    stored = {**found.state_dict, **found.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    weights = {node: (name, _array(stored[name])) for node, name in names.items()}
    nodes, inputs, outputs = [], [], ()
    for node in found.graph.nodes:
        match node.op:
            case "placeholder" if node.name not in weights:
                value = node.meta.get("val")
                axes = tuple(n if isinstance(n, int) else None for n in value.shape)
                inputs.append(Input(node.name, _dtype(value.dtype), axes))
            case "call_function":
                nodes.append(
                    Node(
                        node.name,
                        _target(node.target),
                        _plain(node.args),
                        _plain(node.kwargs),
                        _source(node),
                    )
                )
            case "get_attr":
                nodes.append(Node(node.name, f"the graph {node.target}"))
            case "output":
                wanted = set(signature.user_outputs)
                given = [arg for arg in node.args[0] if getattr(arg, "name", arg) in wanted]
                outputs = tuple(_plain(arg) for arg in given)
    half = any(
        getattr(node.meta.get("val"), "dtype", None) in (torch.float16, torch.bfloat16)
        for node in found.graph.nodes
    )
    return Graph(model, tuple(nodes), tuple(inputs), weights, outputs, half)


def _target(target: Any) -> str:
    module = getattr(target, "__module__", "")
    if module in ("_operator", operator.__name__):
        return f"operator.{target.__name__}"
    if module == math.__name__:
        return f"math.{target.__name__}"
    text = str(target)
    if text.startswith("<function"):
        return f"torch.{target.__name__}"
    return text


def _plain(argument: Any) -> Any:
    """An argument of a node with references, dtypes and numbers of ours."""
    import torch

    match argument:
        case torch.fx.Node():
            return Ref(argument.name)
        case torch.dtype():
            return _dtype(argument)
        case tuple() | list():
            return tuple(_plain(item) for item in argument)
        case dict():
            return {key: _plain(item) for key, item in argument.items()}
        case bool() | int() | float() | str() | None:
            return argument
        case torch.SymInt():
            return int(argument)
        case torch.device() | torch.layout() | torch.memory_format():
            return None
        case _:
            return Missing()


def _dtype(dtype: Any) -> np.dtype:
    """A dtype of torch as NumPy's; half precision is computed in single."""
    name = str(dtype).removeprefix("torch.")
    return np.dtype("float32" if name in ("float16", "bfloat16") else name)


def _array(tensor: Any) -> np.ndarray:
    import torch

    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return np.asarray(tensor.detach().cpu().numpy())


def _source(node: Any) -> str:
    """`model.py:41`: the innermost line of the user's code that made a node."""
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    for line in reversed(lines):
        if line.startswith("File "):
            parts = line.split('"')
            number = line.partition("line ")[2].partition(",")[0]
            return f"{Path(parts[1]).name}:{number}"
    return ""
