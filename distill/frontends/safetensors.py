"""Safetensors files, read without a framework: a JSON header, then raw arrays."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np

from dsl.errors import DistillError

_LARGEST_HEADER = 1 << 26
_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"},
    **{"I8": "i1", "U8": "u1", "BOOL": "?", "U16": "<u2", "U32": "<u4", "U64": "<u8"},
}


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; bfloat16 as float32.  Raises D001 and D010."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DistillError(
            "D001", f"{path.name} cannot be read: {error.strerror}", place=str(path), exit_code=4
        ) from None
    try:
        return _arrays(content)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DistillError(
            "D010",
            f"{path.name} is no whole safetensors file",
            place=str(path),
            notes=(f"{error}"[:200],),
            exit_code=4,
        ) from None


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(len(content) - 8, _LARGEST_HEADER):
        raise ValueError("its header is longer than the file")
    header = json.loads(content[8 : 8 + length].decode("utf-8"))
    data = memoryview(content)[8 + length :]
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        low, high = (int(offset) for offset in entry["data_offsets"])
        shape = tuple(int(axis) for axis in entry["shape"])
        if not 0 <= low <= high <= len(data) or any(axis < 0 for axis in shape):
            raise ValueError(f"{name} lies outside the file")
        found[str(name)] = _array(bytes(data[low:high]), str(entry["dtype"]), shape)
    return found


def _array(raw: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "BF16":
        if len(raw) != 2 * math.prod(shape):
            raise ValueError("an array is longer or shorter than its shape")
        wide = np.frombuffer(raw, "<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(shape)
    if dtype not in _DTYPES:
        raise ValueError(f"arrays of {dtype} are not known")
    kind = np.dtype(_DTYPES[dtype])
    if len(raw) != kind.itemsize * math.prod(shape):
        raise ValueError("an array is longer or shorter than its shape")
    return np.frombuffer(raw, kind).reshape(shape)
