"""The packages onnx and onnxruntime: whether they are there, and what they raise."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from distill.frontends.archives import BROKEN
from dsl.errors import DistillError


def required(path: Path, *names: str) -> tuple[Any, ...]:
    """Packages by name.  Raises D011 where one that reading a file needs is missing."""
    try:
        return tuple(importlib.import_module(name) for name in names)
    except ImportError as error:
        raise DistillError(
            "D011",
            f"reading {path.name} needs {error.name}",
            remedy="pip install 'distillc[onnx]'",
            exit_code=4,
        ) from None


def broken() -> tuple[type[BaseException], ...]:
    """What parsing, checking and running a damaged model raises."""
    import google.protobuf.message
    import onnx

    parsing = google.protobuf.message.DecodeError, google.protobuf.message.EncodeError
    checking = onnx.checker.ValidationError, onnx.shape_inference.InferenceError
    return (*BROKEN, *parsing, *checking, *of_runtime())


def of_runtime() -> tuple[type[BaseException], ...]:
    """The exceptions of onnxruntime; its classes have no common base but Exception.  None where
    it is not installed."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError:
        return ()
    found = vars(state).values()
    return tuple(kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception))


def unreadable(path: Path, error: BaseException) -> DistillError:
    """D010: what is no model."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DistillError(
        "D010",
        f"{path.name} is not a readable ONNX model",
        place=str(path),
        notes=(line[:200],),
        exit_code=4,
    )


def read(path: Path) -> Any:
    """The model in a file, with the weights that lie beside it.  Raises D010 for what is none,
    D011 without the onnx package."""
    (onnx,) = required(path, "onnx")
    try:
        return onnx.load(str(path))
    except broken() as error:
        raise unreadable(path, error) from None
