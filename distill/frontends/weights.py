"""PyTorch files other than exported programs: state dicts with an architecture, modules that were
pickled whole, TorchScript.

Nothing that a file holds is run: pickles are read with torch's weights-only reader, and what else
they want is listed.  The architecture is code of the user's, named on the command line.
"""

from __future__ import annotations

import functools
import importlib.util
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import safetensors
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError

_PREFIXES = ("module.", "_orig_mod.")
_LARGEST = 1 << 31


def is_torchscript(path: Path) -> bool:
    """Is this an archive of torch.jit.save?"""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(("/constants.pkl",)) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def runtime(path: Path, arch: str) -> Runtime:
    from distill import oracle

    return oracle.from_torch(module(path, arch))


def translation(path: Path, arch: str, dtype: str) -> Translation:
    """The network for each input shape; None where it cannot be translated."""
    from distill.frontends import torch as front

    loaded = functools.cache(lambda: front.from_module(module(path, arch), dtype))
    return lambda shape: loaded()(shape)


@functools.lru_cache(maxsize=8)
def module(path: Path, arch: str) -> Any:
    """The module in a file, in evaluation mode.  Raises D015 for a pickle that wants code, D016
    for weights without an architecture, D017 for weights that do not fit it."""
    import torch

    if path.suffix != ".safetensors" and is_torchscript(path):
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise _damaged(path, error) from None
    found = _loaded(path)
    if isinstance(found, torch.nn.Module):
        return found.eval()
    state, stripped = _state(found, path)
    if not arch:
        raise DistillError(
            "D016",
            f"{path.name} holds weights without an architecture",
            place=str(path),
            notes=(f"{len(state)} tensors: {', '.join(list(state)[:6])}",),
            remedy="name it: --arch file.py:callable",
            exit_code=4,
        )
    built = _architecture(arch, path.parent)
    own = built.state_dict()
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is not in the architecture" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        notes = (*problems[:8], *((f"the prefix {stripped} was stripped",) if stripped else ()))
        raise DistillError(
            "D017", f"the weights of {path.name} do not fit {arch}", notes=notes, exit_code=4
        )
    built.load_state_dict(state)
    return built.eval()


def _loaded(path: Path) -> Any:
    """What a file holds, read without running anything."""
    import pickle

    import torch

    if path.suffix == ".safetensors":
        arrays = safetensors.read(path)
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _LARGEST:
                raise _damaged(path, ValueError("it unpacks to more than 2 GiB"))
    stock = [
        kind
        for kind in vars(torch.nn).values()
        if isinstance(kind, type) and issubclass(kind, torch.nn.Module)
    ]
    try:
        with torch.serialization.safe_globals([*stock, set]):
            return torch.load(str(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unsafe(path, error) from None
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, AttributeError, TypeError,
            IndexError, UnicodeDecodeError, MemoryError, AssertionError) as error:  # fmt: skip
        raise _damaged(path, error) from None


def _unsafe(path: Path, error: Exception) -> DistillError:
    import torch

    try:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, AttributeError, IndexError):
        return _damaged(path, error)
    if not wanted:
        return _damaged(path, error)
    return DistillError(
        "D015",
        f"{path.name} is a pickle that wants to run code",
        place=str(path),
        notes=(f"it asks for {', '.join(sorted(wanted)[:8])}",),
        remedy="save the weights alone: torch.save(model.state_dict(), ...), or torch.export",
        exit_code=4,
    )


def _damaged(path: Path, error: Exception) -> DistillError:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DistillError(
        "D010",
        f"{path.name} is not a readable PyTorch file",
        place=str(path),
        notes=(line[:200],),
        exit_code=4,
    )


def _state(found: Any, path: Path) -> tuple[dict[str, Any], str]:
    """Tensors by name, without the prefixes that wrappers add, and what was stripped."""
    import torch

    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise _damaged(path, ValueError(f"it holds a {type(found).__name__}, no table of tensors"))
    state = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise _damaged(path, ValueError("it holds no tensors"))
    stripped = ""
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        stripped += prefix
    return state, stripped


def _architecture(arch: str, folder: Path) -> Any:
    """The module that `file.py:callable` builds; the file is looked for beside the weights too."""
    import torch

    name, _, attribute = arch.rpartition(":")
    paths = [path for path in (Path(name), folder / name) if name and path.is_file()]
    if not paths or not attribute:
        raise DistillError(
            "D016", f"there is no architecture {arch}", remedy="write --arch file.py:callable"
        )
    spec = importlib.util.spec_from_file_location(paths[0].stem, paths[0])
    assert spec is not None and spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    factory = getattr(code, attribute, None)
    built = factory() if callable(factory) else factory
    if not isinstance(built, torch.nn.Module):
        raise DistillError("D016", f"{arch} gives no torch module", place=str(paths[0]))
    return built
