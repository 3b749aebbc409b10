"""Data sets on disk: the inputs that a network was made for, as parts with names.

A file, or a folder of files: IDX (`.gz` or not), `.npy`, `.npz`, `.csv`.  Each array with one row
for each input becomes a part; arrays of single numbers (labels) are left out.  Grey values 0..255
become 0..1 where the domain says so.
"""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from dsl import types as t
from dsl.domain import Domain
from dsl.errors import DistillError
from synth.problem import DataSet

_SUFFIXES = (".gz", ".npy", ".npz", ".csv")
_HELD_OUT = ("test", "t10k", "valid", "dev")
_IDX_TYPES = {8: np.uint8, 9: np.int8, 11: np.int16, 12: np.int32, 13: np.float32, 14: np.float64}
_GREYS = 255


def of_task(table: dict[str, Any], folder: Path, domain: Domain) -> DataSet | None:
    """The data set that a task names: its `data`, or the place in a constraint of the form
    `in practice: ... (PATH: ...)`, looked for in the folder and those above it."""
    given = table.get("data")
    if given:
        return read(folder / str(given), domain)
    found = re.match(r"in practice: [^(]*\(([\w./-]+)\s*[:)]", str(table.get("constraint", "")))
    if found is None:
        return None
    parts = Path(found[1]).parts
    for above in (folder.resolve(), *folder.resolve().parents):
        for start in range(len(parts)):
            place = above.joinpath(*parts[start:])
            if place.exists():
                return read(place, domain)
    return None


def read(path: Path, domain: Domain) -> DataSet:
    """The data set of a file or folder, shaped for a domain of one array.  Raises D140."""
    if len(domain.fields) != 1:
        raise _unusable(path, f"the domain has {len(domain.fields)} inputs, a data set only one")
    (name, kind), *_ = domain.fields
    if not isinstance(kind, t.Tensor):
        raise _unusable(path, f"the input {name} is no array")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    arrays: dict[str, np.ndarray] = {}
    for file in files:
        if file.is_file() and (file.suffix in _SUFFIXES or "idx" in file.name):
            arrays.update(_arrays(file))
    parts = {
        part: shaped
        for part, array in arrays.items()
        if (shaped := _shaped(array, kind)) is not None
    }
    if not parts:
        raise _unusable(path, f"no array in it has {math.prod(kind.shape)} numbers for each input")
    return DataSet(parts, _observed(parts))


def _observed(parts: dict[str, np.ndarray]) -> str:
    """The part that is held out by its name, else the smallest."""
    named = [part for part in parts if any(word in part.lower() for word in _HELD_OUT)]
    return min(named or parts, key=lambda part: (len(parts[part]), part))


def _shaped(array: np.ndarray, kind: t.Tensor) -> np.ndarray | None:
    width = math.prod(kind.shape)
    if array.ndim < 2 or array.dtype.kind not in "iufb" or array[0].size != width:
        return None
    values = array.reshape(len(array), *kind.shape).astype(np.float64)
    match kind.item:
        case t.Real(_, high) if array.dtype.kind in "iu" and high == 1 and values.max() > 1:
            values /= _GREYS
    return values


def _arrays(file: Path) -> dict[str, np.ndarray]:
    stem = re.sub(r"[-_.](images|idx\d?|ubyte|gz|npy|npz|csv)", "", file.name)
    try:
        if "idx" in file.name:
            return {stem: _idx(file)}
        if file.suffix == ".npy":
            return {stem: np.load(file, allow_pickle=False)}
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as content:
                return {f"{stem}_{key}": content[key] for key in content.files}
        if file.suffix == ".csv":
            return {stem: np.loadtxt(file, delimiter=",", ndmin=2)}
    except (OSError, ValueError, EOFError) as error:
        raise _unusable(file, str(error)) from None
    return {}


def _idx(file: Path) -> np.ndarray:
    """The array of an IDX file: two zero bytes, a type, the number of axes, their lengths."""
    content = file.read_bytes()
    if file.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise ValueError("it is not an IDX file")
    axes = content[3]
    shape = tuple(np.frombuffer(content, ">i4", axes, 4).tolist())
    dtype = np.dtype(_IDX_TYPES[content[2]]).newbyteorder(">")
    values = np.frombuffer(content, dtype, math.prod(shape), 4 + 4 * axes)
    return values.reshape(shape).astype(dtype.newbyteorder("="))


def _unusable(path: Path, finding: str) -> DistillError:
    return DistillError(
        "D140",
        f"the data set cannot be used: {finding}",
        place=str(path),
        remedy="give IDX, .npy, .npz or .csv with one row for each input",
    )
