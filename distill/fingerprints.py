"""What a checkpoint contains, by content: a digest for each tensor and one for all.

Two files with the same weights and structure have one fingerprint, whatever their dates and
compression.  No model is built and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from pathlib import Path

from distill.frontends.archives import BROKEN
from dsl.errors import DistillError

_LARGEST_HEADER = 1 << 26
_LARGEST = 1 << 31
_BLOCK = 1 << 20


def fingerprint(folder: Path, model: Path) -> str:
    """The SHA-256 of all tensors and of the structure of a model and its side files."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors(model).items()):
        digest.update(f"{name}={value}\n".encode())
    for name in ("config.json", "vocab.json", "weights.npz", "step.pt2", "start.npy"):
        path = folder / name
        if path.is_file() and path != model:
            for part, value in sorted(tensors(path).items()):
                digest.update(f"{name}/{part}={value}\n".encode())
    return digest.hexdigest()


def tensors(path: Path) -> dict[str, str]:
    """A digest of each named part of a file: tensors where the format names them."""
    try:
        if path.is_dir():
            return _folder(path)
        if zipfile.is_zipfile(path):
            return _archive(path)
        if path.suffix == ".safetensors":
            return _safetensors(path)
        if path.suffix == ".onnx":
            return _onnx(path)
        return {"content": _digest(path.read_bytes())}
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        raise DistillError(
            "D001",
            f"{path.name} cannot be read: {error.strerror}",
            place=str(path),
            exit_code=4,
        ) from None
    except BROKEN as error:
        raise DistillError(
            "D010", f"{path.name} is damaged: {error}", place=str(path), exit_code=4
        ) from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _archive(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    names: dict[str, str] = {}
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > _LARGEST:
            raise ValueError("it unpacks to more than 2 GiB")
        for info in archive.infolist():
            entry = info.filename.split("/", 1)[-1]
            if entry.endswith(("byteorder", "version", ".data/serialization_id")):
                continue
            if entry.endswith("weights_config.json"):
                names |= _weight_names(archive.read(info))
            digest = hashlib.sha256()
            with archive.open(info) as member:
                while block := member.read(_BLOCK):
                    digest.update(block)
            found[entry] = digest.hexdigest()[:32]
    return {
        next((name for place, name in names.items() if entry.endswith("/" + place)), entry): value
        for entry, value in found.items()
    }


def _weight_names(content: bytes) -> dict[str, str]:
    """File names of weights in an exported program, with the parameters' own names."""
    try:
        table = json.loads(content)
        config = table.get("config", {})
        return {str(entry["path_name"]): str(name) for name, entry in config.items()}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return {}


def _safetensors(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(len(content), _LARGEST_HEADER):
        raise ValueError("its header is longer than the file")
    header = json.loads(content[8 : 8 + length])
    start = 8 + length
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        low, high = entry["data_offsets"]
        kind = f"{entry['dtype']}{entry['shape']}".encode()
        found[name] = _digest(kind + content[start + low : start + high])
    return found


def _onnx(path: Path) -> dict[str, str]:
    """A digest of each weight and of the graph; weights in files beside the model are digested
    as if they lay in it."""
    from distill.frontends import onnx_package

    try:
        model = onnx_package.read(path)
    except DistillError:
        return {"content": _digest(path.read_bytes())}
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")  # where it lies is no part of it
    found = {str(t.name): _digest(t.SerializeToString()) for t in model.graph.initializer}
    del model.graph.initializer[:]
    found["graph"] = _digest(model.graph.SerializeToString())
    return found


def _folder(path: Path) -> dict[str, str]:
    """A digest of each file in a checkpoint that is a folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): _digest(file.read_bytes()) for file in files}
