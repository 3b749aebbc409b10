"""Files of parameters without a network: trees of arrays."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import archives, safetensors
from distill.frontends.archives import BROKEN
from dsl.errors import DistillError

_LARGEST = 1 << 31


def tree(path: Path) -> Any:
    """The parameters in `.npz` or `.safetensors` (names split at `/`), Flax's `.msgpack`, or an
    Orbax folder.  Raises D010 for what is damaged, D018 for other files."""
    if path.is_dir():
        return _orbax(path)
    try:
        match path.suffix:
            case ".npz":
                return nested(archives.arrays(path))
            case ".safetensors":
                return nested(safetensors.read(path))
            case ".msgpack":
                return _msgpack(path)
    except ValueError as error:
        raise damaged(path, "file of parameters", error) from None
    raise DistillError(
        "D018",
        f"parameters of kind {path.suffix or 'without a suffix'} cannot be read: {path.name}",
        remedy="save them as .npz, .safetensors, .msgpack or with orbax",
        exit_code=4,
    )


def nested(arrays: Mapping[str, np.ndarray]) -> Any:
    """`{"a/w": ...}` as `{"a": {"w": ...}}`."""
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        place = found
        for folder in folders:
            inner = place.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{folder} is an array and a folder of arrays")
            place = inner
        place[leaf] = array
    return found


def flat(found: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """`{"a": {"w": ...}}` as `{"a/w": ...}`; lists count from 0."""
    return dict(_flat(found, prefix))


def _flat(found: Any, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    match found:
        case Mapping():
            items = [(str(key), value) for key, value in found.items()]
        case list() | tuple():
            items = [(str(place), value) for place, value in enumerate(found)]
        case None:
            return
        case _:
            yield prefix, np.asarray(found)
            return
    for key, value in items:
        yield from _flat(value, f"{prefix}/{key}" if prefix else key)


def _msgpack(path: Path) -> Any:
    """Flax's serialisation: nested maps with arrays as extension 1 (shape, dtype, bytes)."""
    try:
        import msgpack
    except ImportError:
        raise missing(path, "msgpack", "flax") from None

    def extension(code: int, data: bytes) -> Any:
        if code not in (1, 3):
            raise ValueError(f"an extension of kind {code}")
        shape, dtype, content = msgpack.unpackb(data, raw=False)
        array = np.frombuffer(content, np.dtype(dtype)).reshape([int(axis) for axis in shape])
        return array if code == 1 else array[()]

    try:
        content = path.read_bytes()
        return msgpack.unpackb(content, ext_hook=extension, raw=False)
    except (*BROKEN, msgpack.exceptions.UnpackException, msgpack.exceptions.ExtraData) as error:
        raise damaged(path, "msgpack file", error) from None


def orbax_item(folder: Path) -> Path | None:
    """Where an Orbax checkpoint's arrays lie: the folder itself, its only item, or that of its
    last step; None where this is no such checkpoint."""
    if not folder.is_dir():
        return None
    if (folder / "_METADATA").is_file():
        return folder
    try:
        inner = [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return None
    steps = sorted((p for p in inner if p.name.isdigit()), key=lambda p: int(p.name))
    if steps:
        return orbax_item(steps[-1])
    items = [path for path in inner if (path / "_METADATA").is_file()]
    is_step = (folder / "_CHECKPOINT_METADATA").is_file()
    return items[0] if is_step and len(items) == 1 else None


def _orbax(folder: Path) -> Any:
    """The arrays of an Orbax checkpoint, as NumPy's, wherever they were saved."""
    item = orbax_item(folder)
    if item is None:
        raise DistillError(
            "D018",
            f"{folder.name} is a folder, and no Orbax checkpoint",
            place=str(folder),
            exit_code=4,
        )
    try:
        import jax
        import orbax.checkpoint as ocp
    except ImportError:
        raise missing(folder, "orbax-checkpoint", "flax") from None
    from etils.epath import Path as OrbaxPath

    reader: Any = ocp.PyTreeCheckpointer()
    place = OrbaxPath(str(item.resolve()))
    logger = logging.getLogger("absl")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)  # it warns of what older checkpoints lack
        described = reader.metadata(place).item_metadata.tree
        leaves = jax.tree_util.tree_leaves(described)
        size = sum(int(np.prod(leaf.shape, dtype=object)) for leaf in leaves)
        if size * 4 > _LARGEST:
            raise ValueError("it unpacks to more than 2 GiB")
        wanted = jax.tree_util.tree_map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), described
        )
        return reader.restore(place, restore_args=wanted)
    except BROKEN as error:
        raise damaged(folder, "Orbax checkpoint", error) from None
    finally:
        logger.setLevel(level)


def missing(path: Path, package: str, extra: str) -> DistillError:
    """D011: a package that is not installed."""
    return DistillError(
        "D011",
        f"reading {path.name} needs {package}",
        remedy=f"pip install 'distillc[{extra}]'",
        exit_code=4,
    )


def damaged(path: Path, kind: str, error: BaseException) -> DistillError:
    """D010: what is no whole file of its kind."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return DistillError(
        "D010",
        f"{path.name} is not a readable {kind}",
        place=str(path),
        notes=(f"{type(error).__name__}: {line}"[:200],),
        exit_code=4,
    )
