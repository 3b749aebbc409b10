"""Archives of NumPy arrays (`.npz`), read without trust: bounded, and whole or refused."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from dsl.errors import DistillError

_LARGEST = 1 << 31
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, TypeError),
    *(RuntimeError, SyntaxError, tokenize.TokenError, MemoryError),
    *(OverflowError, RecursionError, AttributeError, IndexError, struct.error),
)
"""What reading a damaged archive raises, somewhere below."""


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name.  Raises D010 for what is damaged or unpacks to over 2 GiB."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _LARGEST:
                raise ValueError("it unpacks to more than 2 GiB")
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in file.files}
    except BROKEN as error:
        raise DistillError(
            "D010",
            f"{path.name} is not a readable archive of arrays",
            place=str(path),
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None
    return found


def names(path: Path) -> frozenset[str]:
    """The names of the arrays in a file; none where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except BROKEN:
        return frozenset()
