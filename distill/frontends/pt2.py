"""`.pt2` files without torch: the archive holds the graph as JSON and the weights as raw bytes.

For the schema versions that are known.  Graphs that change arrays in place, hold subgraphs or
pickled weights are left to torch, which can write them without.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import exported
from distill.frontends.exported import Graph, Input
from distill.frontends.graph import Missing, Node, Ref
from dsl.claim import Recurrence, Translation
from dsl.errors import DistillError

_MAJOR_VERSIONS = frozenset({8})
_LARGEST = 1 << 31
_LARGEST_MODEL = 1 << 28
_DTYPES: Mapping[int, str] = {
    **{1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32"},
    **{8: "float64", 12: "bool", 13: "bfloat16", 28: "uint16"},
}


class Unknown(Exception):
    """The archive is whole, but of a kind that only torch can read."""


def from_pt2(path: Path) -> Translation:
    """The network for each input shape, translated when it is first asked for; None where it
    cannot be."""
    return exported.translation(lambda: graph(path))


def with_program(recurrence: Recurrence, path: Path) -> Recurrence:
    """A recurrence with the program of its step, where that can be translated."""
    try:
        whole = graph(path)
        found = exported.step_program(whole)
    except DistillError:
        return recurrence
    if whole.half:
        return recurrence
    return Recurrence(recurrence.step, recurrence.start, found)


def graph(path: Path) -> Graph:
    """The graph in a file, read without torch where that is possible.  Raises D001, D010."""
    try:
        return read(path)
    except Unknown:
        from distill.frontends import torch

        return torch.graph_of(torch.exported(path), path.name)


def read(path: Path) -> Graph:
    """The graph in a file of a known schema version.  Raises Unknown for others, D001 and D010
    for what is no whole archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _graph(archive, path.name)
    except FileNotFoundError:
        raise DistillError(
            "D001", f"there is no file {path}", place=str(path), exit_code=4
        ) from None
    except (
        *(zipfile.BadZipFile, ValueError, KeyError, TypeError, IndexError, AttributeError),
        *(OSError, EOFError, RuntimeError, RecursionError, OverflowError),
    ) as error:
        raise DistillError(
            "D010",
            f"{path.name} is not a readable torch.export program",
            place=str(path),
            notes=(f"{type(error).__name__}: {error}"[:200],),
            remedy="save it again with torch.export.save",
            exit_code=4,
        ) from None


def _graph(archive: zipfile.ZipFile, model: str) -> Graph:
    if sum(info.file_size for info in archive.infolist()) > _LARGEST:
        raise ValueError("it unpacks to more than 2 GiB")
    names = archive.namelist()
    found = [name for name in names if name.endswith("models/model.json")]
    if len(found) != 1:
        raise Unknown
    root = found[0].removesuffix("models/model.json")
    byteorder = f"{root}byteorder"
    if byteorder in names and archive.read(byteorder).strip() != b"little":
        raise Unknown
    if archive.getinfo(found[0]).file_size > _LARGEST_MODEL:
        raise ValueError("its graph is longer than 256 MiB")
    table = json.loads(archive.read(found[0]))
    if table["schema_version"]["major"] not in _MAJOR_VERSIONS:
        raise Unknown
    module = table["graph_module"]
    nodes = [part for node in module["graph"]["nodes"] for part in _nodes(node)]
    inputs, weights = _inputs(archive, root, module)
    outputs = tuple(
        _argument(spec["user_output"]["arg"])
        for spec in module["signature"]["output_specs"]
        if "user_output" in spec
    )
    metas = module["graph"]["tensor_values"].values()
    half = any(_DTYPES.get(meta["dtype"]) in ("float16", "bfloat16") for meta in metas)
    return Graph(model, tuple(nodes), tuple(inputs), weights, outputs, half)


def _nodes(node: Mapping[str, Any]) -> list[Node]:
    """A node as plain data; one more for each of several outputs."""
    target = str(node["target"])
    target = target.removeprefix("torch.ops.").removeprefix("_")
    base = target.split(".")[1] if target.startswith("aten.") else ""
    if target.startswith("higher_order") or (base.endswith("_") and not base.endswith("__")):
        raise Unknown
    args = tuple(_argument(given["arg"]) for given in node["inputs"] if given.get("kind", 1) != 2)
    kwargs = {
        given["name"]: _argument(given["arg"])
        for given in node["inputs"]
        if given.get("kind", 1) == 2
    }
    source = _source(node.get("metadata", {}).get("stack_trace", ""))
    names = [_named(output) for output in node["outputs"]]
    if len(names) == 1 and isinstance(names[0], str):
        return [Node(names[0], target, args, kwargs, source)]
    if len(names) == 1 and isinstance(names[0], list):
        names = names[0]
    joint = f"{base or target}:{names[0] if names else node.get('name')}"
    parts = [
        Node(name, "operator.getitem", (Ref(joint), place))
        for place, name in enumerate(names)
        if isinstance(name, str)
    ]
    return [Node(joint, target, args, kwargs, source), *parts]


def _named(output: Mapping[str, Any]) -> Any:
    """The name of an output, a list of names, or None."""
    (kind, value), *_ = output.items()
    match kind:
        case "as_tensor":
            return value["name"]
        case "as_tensors":
            return [item["name"] for item in value]
        case "as_sym_int" | "as_sym_bool" | "as_sym_float":
            return value.get("as_name")
        case _:
            return None


def _argument(argument: Mapping[str, Any]) -> Any:
    (kind, value), *_ = argument.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return Ref(value["name"])
        case "as_tensors":
            return tuple(Ref(item["name"]) for item in value)
        case "as_optional_tensors":
            return tuple(_argument(item) for item in value)
        case "as_optional_tensor":
            return _argument(value)
        case "as_int" | "as_float" | "as_bool" | "as_string":
            return float(value) if kind == "as_float" else value
        case "as_ints" | "as_floats" | "as_bools" | "as_strings":
            return tuple(value)
        case "as_sym_int" | "as_sym_bool" | "as_sym_float":
            return _symbol(value)
        case "as_sym_ints" | "as_sym_bools" | "as_sym_floats":
            return tuple(_symbol(item) for item in value)
        case "as_scalar_type":
            return _dtype(value)
        case "as_device" | "as_layout" | "as_memory_format":
            return None
        case _:
            return Missing()


def _symbol(value: Mapping[str, Any]) -> Any:
    (kind, found), *_ = value.items()
    return Ref(found) if kind == "as_name" else found


def _dtype(code: int) -> np.dtype:
    """A dtype by its number in the schema; half precision is computed in single."""
    if code not in _DTYPES:
        raise Unknown
    name = _DTYPES[code]
    return np.dtype("float32" if name in ("float16", "bfloat16") else name)


def _inputs(
    archive: zipfile.ZipFile, root: str, module: Mapping[str, Any]
) -> tuple[list[Input], dict[str, tuple[str, np.ndarray]]]:
    stored = _stored(archive, f"{root}data/weights/", "model_weights_config.json")
    stored |= _stored(archive, f"{root}data/constants/", "model_constants_config.json")
    metas = module["graph"]["tensor_values"]
    inputs: list[Input] = []
    weights: dict[str, tuple[str, np.ndarray]] = {}
    for spec in module["signature"]["input_specs"]:
        (kind, given), *_ = spec.items()
        match kind:
            case "parameter" | "buffer" | "tensor_constant":
                name = str(given[f"{kind}_name"])
                if name not in stored:
                    raise Unknown
                weights[given["arg"]["name"]] = (name, stored[name])
            case "user_input":
                if "as_tensor" not in given["arg"]:
                    raise Unknown
                name = given["arg"]["as_tensor"]["name"]
                meta = metas[name]
                axes = tuple(axis.get("as_int") for axis in meta["sizes"])
                inputs.append(Input(name, _dtype(meta["dtype"]), axes))
            case _:
                raise Unknown
    return inputs, weights


def _stored(archive: zipfile.ZipFile, folder: str, config: str) -> dict[str, np.ndarray]:
    if folder + config not in archive.namelist():
        return {}
    found = {}
    for name, entry in json.loads(archive.read(folder + config))["config"].items():
        if entry.get("use_pickle"):
            raise Unknown
        raw = archive.read(folder + entry["path_name"])
        found[name] = _array(raw, entry["tensor_meta"])
    return found


def _array(raw: bytes, meta: Mapping[str, Any]) -> np.ndarray:
    """A tensor of a storage: its shape, strides and offset must lie inside."""
    kind = _DTYPES.get(meta["dtype"])
    if kind is None:
        raise Unknown
    dtype = np.dtype("uint16" if kind == "bfloat16" else kind)
    shape = tuple(int(axis["as_int"]) for axis in meta["sizes"])
    strides = tuple(int(axis["as_int"]) for axis in meta["strides"])
    offset = int(meta["storage_offset"]["as_int"])
    if any(n < 0 for n in (*shape, *strides, offset)) or len(shape) != len(strides):
        raise ValueError("a weight of negative shape")
    if math.prod(shape) * dtype.itemsize > _LARGEST:
        raise ValueError("a weight of more than 2 GiB")
    storage = np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], dtype)
    if math.prod(shape) == 0:
        array = np.zeros(shape, dtype)
    else:
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides))
        if last >= len(storage):
            raise ValueError("a weight reaches beyond its bytes")
        steps = tuple(step * dtype.itemsize for step in strides)
        array = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()
    if kind == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if kind == "float16" else array


def _source(trace: str) -> str:
    """`model.py:41`: the innermost line of code that made a node."""
    for line in reversed(trace.splitlines()):
        if line.strip().startswith("File "):
            parts = line.split('"')
            number = line.partition("line ")[2].partition(",")[0]
            return f"{Path(parts[1]).name}:{number}" if len(parts) > 1 else ""
    return ""
