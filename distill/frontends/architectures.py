"""The user's own code that a file of weights goes with, and the two put together.

An architecture is `file.py:name` or `module:name`: a torch module or what builds one, a function
of parameters and a batch, a module of Flax, Haiku or Equinox or what builds one, or what builds a
function with parameters to be replaced.  Naming it on the command line is consent to run it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.frontends import jax_modules
from dsl.errors import DistillError


def named(arch: str, folder: Path) -> Any:
    """What `file.py:name` or `module:name` stands for; the file is looked for in the folder
    too.  Raises D016 where there is none."""
    module, _, attribute = arch.rpartition(":")
    files = [path for path in (Path(module), folder / module) if module and path.is_file()]
    if not module or not attribute:
        raise DistillError(
            "D016", f"there is no architecture {arch}", remedy="write --arch file.py:callable"
        )
    try:
        found = _executed(files[0]) if files else importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise DistillError(
            "D016",
            f"there is no architecture {arch}",
            notes=(str(error)[:200],),
            remedy="write --arch file.py:callable",
        ) from None
    return found


def _executed(path: Path) -> Any:
    name = f"architecture_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    code = importlib.util.module_from_spec(spec)
    sys.modules[name] = code  # dataclasses look themselves up
    spec.loader.exec_module(code)
    return code


def built(arch: str, folder: Path) -> Any:
    """The architecture: what the name stands for, called where it is a factory."""
    found = named(arch, folder)
    return found() if _is_factory(found) else found


def _is_factory(found: Any) -> bool:
    """Is this called without arguments, and no network itself?"""
    if isinstance(found, type):
        return True
    if not callable(found) or is_torch(found) or jax_modules.is_module(found):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return not any(p.default is p.empty and p.kind in kinds for p in parameters)


def is_torch(found: Any) -> bool:
    """Is this a torch module?  Looked up without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(found, torch.nn.Module)


def misfits(
    held: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]]
) -> tuple[str, ...]:
    """How the shapes of weights by name differ from those of an architecture."""
    return (
        *(f"{name} is missing" for name in wanted if name not in held),
        *(f"{name} is not in the architecture" for name in held if name not in wanted),
        *(
            f"{name} is {tuple(held[name])}, not {tuple(shape)}"
            for name, shape in wanted.items()
            if name in held and tuple(held[name]) != tuple(shape)
        ),
    )


def misfitting(file: str, arch: str, problems: Sequence[str], *notes: str) -> DistillError:
    """D017: weights that do not fit, with the first of the reasons."""
    return DistillError(
        "D017",
        f"the weights of {file} do not fit {arch}",
        notes=(*problems[:8], *notes),
        exit_code=4,
    )
