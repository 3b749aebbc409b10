"""Pickles, read without running them.

The names that a pickle wants are read off its opcodes; what it holds is made of NumPy's arrays and
of bags of attributes in the place of objects.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from distill.frontends.archives import BROKEN
from dsl.errors import DistillError

_HARMLESS = ("torch", "collections", "numpy", "_codecs", "__builtin__ set", "builtins set")
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")


class Bag:
    """The attributes of an object of a class that is not loaded."""

    wanted = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)
        else:
            self.state = state


def read(path: Path, inert: tuple[str, ...]) -> Any:
    """What a pickle holds, with bags in the place of objects from the modules `inert`; arrays of
    joblib, which lie between the opcodes, included.  Raises D015 where it wants other names."""
    content = path.read_bytes()
    reader = _Reader(io.BytesIO(content), inert)
    try:
        return reader.load()
    except _Foreign:
        raise refused(path, content, inert) from None
    except (*BROKEN, pickle.UnpicklingError, AssertionError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise DistillError(
            "D010",
            f"{path.name} is not a readable pickle",
            place=str(path),
            notes=(f"{type(error).__name__}: {line}"[:200],),
            exit_code=4,
        ) from None


class _Foreign(pickle.UnpicklingError):
    """A pickle wants a name that is not let in."""


def _empty(*_: Any) -> np.ndarray:
    """What the state of a pickled array is put into; its shape comes with the state."""
    return np.empty(0)


class _Reader(pickle._Unpickler):  # the one in Python: what it does can be followed
    stack: list[Any]

    def __init__(self, file: io.BytesIO, inert: tuple[str, ...]) -> None:
        super().__init__(file)
        self.file, self.inert = file, inert

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "numpy", "ndarray":
                return np.ndarray
            case "numpy", "dtype":
                return np.dtype
            case place, "_reconstruct" if place in _MULTIARRAY:
                return _empty
            case place, "scalar" if place in _MULTIARRAY:
                return _scalar
        if not module.startswith(self.inert):
            raise _Foreign(f"{module}.{name}")
        return type(name, (Bag,), {"wanted": f"{module}.{name}"})

    def load_build(self) -> None:
        super().load_build()  # type: ignore[misc]
        found = self.stack[-1]
        if isinstance(found, Bag) and found.wanted.endswith(".NumpyArrayWrapper"):
            self.stack[-1] = self.following(vars(found))

    def following(self, said: dict[str, Any]) -> np.ndarray:
        """The array that joblib wrote behind its description."""
        dtype, shape = said["dtype"], tuple(int(n) for n in said["shape"])
        if not isinstance(dtype, np.dtype) or dtype.hasobject:
            raise ValueError("an array of objects")
        if said.get("numpy_array_alignment_bytes") is not None:
            self.file.read(self.file.read(1)[0])
        size = dtype.itemsize
        for axis in shape:
            size *= axis
        content = self.file.read(size)
        flat = np.frombuffer(content, dtype)
        return flat.reshape(shape, order=str(said["order"]))  # type: ignore[call-overload]

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
    }


def _scalar(dtype: Any, content: Any = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ValueError("a number that is an object")
    return np.frombuffer(content, dtype)[0]


def called_names(body: bytes, *, foreign: bool = False) -> list[str]:
    """The globals that a pickle names; with `foreign`, only those that no checkpoint needs."""
    names: list[str] = []
    pushed: list[str] = []
    memo: dict[int, str] = {}
    try:
        for opcode, argument, _ in pickletools.genops(body):
            match opcode.name:
                case "GLOBAL" | "INST":
                    names.append(str(argument))
                    pushed.append("?")
                case "STACK_GLOBAL" if len(pushed) >= 2:
                    names.append(" ".join(pushed[-2:]))
                    pushed.append("?")
                case "MEMOIZE" if pushed:
                    memo[len(memo)] = pushed[-1]
                case "BINPUT" | "LONG_BINPUT" if pushed:
                    memo[int(str(argument))] = pushed[-1]
                case "BINGET" | "LONG_BINGET":
                    pushed.append(memo.get(int(str(argument)), "?"))
                case _ if opcode.stack_after:
                    pushed.append(argument if isinstance(argument, str) else "?")
    except (ValueError, IndexError, EOFError):
        names.append("(damaged)")
    found = sorted(set(names))
    return [name for name in found if not name.startswith(_HARMLESS)] if foreign else found


def refused(path: Path, body: bytes, inert: tuple[str, ...] = ()) -> DistillError:
    """D015: a pickle that wants other names than those that are let in."""
    names = called_names(body, foreign=True) or called_names(body)
    names = [name for name in names if not name.startswith(inert)] or names
    listed = ", ".join(name.replace(" ", ".") for name in names[:6]) or "nothing"
    return DistillError(
        "D015",
        f"{path.name} is a pickle that wants to run code",
        place=str(path),
        notes=(f"it asks for {listed}",),
        remedy="save the network with torch.export.save",
        exit_code=4,
    )
