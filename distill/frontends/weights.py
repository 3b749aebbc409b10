"""Files of weights with an architecture, for torch and for JAX; modules that torch pickled whole,
and TorchScript.

Nothing that a file holds is run: pickles are read with torch's weights-only reader, and what else
they want is listed.  The architecture is code of the user's, named on the command line.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import architectures, jax_modules, memory, parameters
from distill.frontends.archives import BROKEN
from distill.frontends.source import Source
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program

_PREFIXES = ("module.", "_orig_mod.")
_PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_LARGEST = 1 << 31


def is_torchscript(path: Path) -> bool:
    """Is this an archive of torch.jit.save?"""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except BROKEN:
        return False


def runtime(source: Source) -> Runtime:
    return read(source)[0]


def translation(source: Source) -> Translation:
    """The network for each input shape; None where it cannot be translated."""
    loaded = functools.cache(lambda: read(source)[1])
    return lambda shape: loaded()(shape)


def read(source: Source) -> tuple[Runtime, Translation]:
    """A file of weights with its architecture, as a network in memory."""
    return memory.read(network(source.model, source.arch), source.dtype)


def program(source: Source, shape: tuple[int, ...]) -> Program:
    """The network for rows of a shape; raises what keeps it from being one."""
    return memory.program(network(source.model, source.arch), shape, source.dtype)


def network(path: Path, arch: str) -> Any:
    """The network in a file, as one in memory, in evaluation mode.  Raises D015 for a pickle that
    wants code, D016 for weights without an architecture, D017 for weights that do not fit it."""
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stamps = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    except OSError as error:
        raise DistillError(
            "D001", f"{path.name} cannot be read: {error.strerror}", place=str(path), exit_code=4
        ) from None
    return _network(path, arch, stamps)


@functools.lru_cache(maxsize=8)
def _network(path: Path, arch: str, stamps: tuple[tuple[str, int, int], ...]) -> Any:
    if path.suffix in _PICKLED:
        return _of_torch(path, arch)
    if not arch and path.suffix != ".eqx":
        raise _bare(path, parameters.flat(parameters.tree(path)))
    if not arch:
        raise _bare(path, {})
    built = architectures.built(arch, path.parent)
    if path.suffix == ".eqx":
        return _equinox(path, built, arch)
    tree = parameters.tree(path)
    arrays = parameters.flat(tree)
    if architectures.is_torch(built):
        return _filled(built, *_without_prefixes(arrays), path, arch)
    pair, problems = jax_modules.fitted(built, tree, arrays)
    if problems:
        raise architectures.misfitting(path.name, arch, problems)
    return pair


def _of_torch(path: Path, arch: str) -> Any:
    """A file that torch wrote."""
    import torch

    if is_torchscript(path):
        _bounded(path)
        try:
            load: Any = torch.jit.load
            return load(str(path), map_location="cpu").eval()
        except BROKEN as error:
            raise _damaged(path, error) from None
    found = _loaded(path)
    if isinstance(found, torch.nn.Module):
        return found.eval()
    tensors, stripped = _without_prefixes(_state(found, path))
    if not arch:
        raise _bare(path, tensors)
    return _filled(architectures.built(arch, path.parent), tensors, stripped, path, arch)


def _bare(path: Path, arrays: Mapping[str, Any]) -> DistillError:
    return DistillError(
        "D016",
        f"{path.name} holds weights without an architecture",
        place=str(path),
        notes=(f"{len(arrays)} tensors: {', '.join(list(arrays)[:6])}",) if arrays else (),
        remedy="name it: --arch file.py:callable",
        exit_code=4,
    )


def _filled(module: Any, arrays: Mapping[str, Any], stripped: str, path: Path, arch: str) -> Any:
    """A torch module with the weights of a file."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise DistillError("D016", f"{arch} gives no torch module", place=str(path))
    problems = architectures.misfits(
        {name: tuple(array.shape) for name, array in arrays.items()},
        {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()},
    )
    if problems:
        notes = (f"the prefix {stripped} was stripped",) if stripped else ()
        raise architectures.misfitting(path.name, arch, problems, *notes)
    module.load_state_dict(
        {
            name: torch.from_numpy(np.array(array)) if isinstance(array, np.ndarray) else array
            for name, array in arrays.items()
        }
    )
    return module.eval()


def _equinox(path: Path, like: Any, arch: str) -> Any:
    """The leaves that Equinox saved one after the other, in the places of a module's."""
    try:
        import equinox
    except ImportError:
        raise parameters.missing(path, "equinox", "equinox") from None
    try:
        return equinox.tree_deserialise_leaves(str(path), like)
    except BROKEN as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "changed" in line:
            raise architectures.misfitting(path.name, arch, (line[:200],)) from None
        raise parameters.damaged(path, "file of Equinox", error) from None


def _loaded(path: Path) -> Any:
    """What a file holds, read without running anything."""
    import pickle

    import torch

    _bounded(path)
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
    except (*BROKEN, AssertionError) as error:
        raise _damaged(path, error) from None


def _bounded(path: Path) -> None:
    """Refuses archives that are damaged or unpack to more than 2 GiB."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _LARGEST:
                raise ValueError("it unpacks to more than 2 GiB")
            broken = archive.testzip()
            if broken is not None:
                raise ValueError(f"{broken} is damaged")
    except BROKEN as error:
        raise _damaged(path, error) from None


def _unsafe(path: Path, error: Exception) -> DistillError:
    import pickle

    import torch

    try:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (*BROKEN, pickle.UnpicklingError):
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


def _state(found: Any, path: Path) -> dict[str, Any]:
    """The tensors of what a file holds, by name."""
    import torch

    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise _damaged(path, ValueError(f"it holds a {type(found).__name__}, no table of tensors"))
    state = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise _damaged(path, ValueError("it holds no tensors"))
    return state


def _without_prefixes(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Tensors by name, without the prefixes that wrappers add, and what was stripped."""
    found = dict(arrays)
    stripped = ""
    while prefix := next(
        (p for p in _PREFIXES if found and all(n.startswith(p) for n in found)), ""
    ):
        found = {name.removeprefix(prefix): array for name, array in found.items()}
        stripped += prefix
    return found, stripped
