"""What a checkpoint is, told from its bytes before any framework reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.frontends import pickles
from dsl.claim import Target
from dsl.errors import DistillError

_PROBES = 16


def refuse_unreadable(path: Path) -> None:
    """Raises D015 for a pickle that passes for an exported program.  Other pickles are left to
    their readers, which take them without running anything."""
    if path.suffix != ".pt2":
        return
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError:
        return
    if start[:1] == b"\x80":
        raise pickles.refused(path, path.read_bytes())


def probed(found: Target, path: Path) -> Target:
    """The target, unless its network takes none of a few inputs (D013), or answers each of them
    with NaN (D014)."""
    seen = 0
    refusal = ""
    for batch in found.domain.sample(_PROBES, np.random.default_rng(0)):
        shape = found.pack(batch).shape[1:]
        try:
            raw = np.asarray(found.raw(batch))
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            # Some lengths may be refused; the target is restricted to those that are taken.
            refusal = " ".join(str(error).split())
            continue
        if raw.dtype.kind != "f" or not np.isnan(raw.reshape(len(raw), -1)).any(axis=1).all():
            return found
        seen += len(raw)
    if seen == 0 and not refusal:
        return found
    if seen == 0:
        raise DistillError(
            "D013",
            f"{path.name} does not take inputs of shape {shape} and type {found.claim.dtype}",
            place=str(path),
            notes=(refusal[:200],),
            remedy="say how inputs are packed with --pack, --dtype and --shape",
        )
    bad = ", ".join(not_finite(path)[:6])
    raise DistillError(
        "D014",
        f"{path.name} gives NaN on each of {seen} inputs",
        place=str(path),
        notes=(f"tensors with NaN or infinity: {bad}",) if bad else (),
        remedy=f"train it again, or look at its weights: distill inspect {path.name}",
        exit_code=4,
    )


def not_finite(path: Path) -> list[str]:
    """The names of tensors that hold NaN or infinite numbers, where the format can be read."""
    if path.suffix == ".onnx":
        import onnx
        from onnx import numpy_helper

        arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    else:
        return []
    return sorted(
        name for name, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()
    )
