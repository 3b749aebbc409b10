"""What a checkpoint is, told from its bytes before any framework reads it.

Nothing is unpickled here: the names that a pickle would call are read off its opcodes.
"""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np

from dsl.claim import Target
from dsl.errors import DistillError

_HARMLESS = ("torch", "collections", "numpy", "_codecs", "__builtin__ set", "builtins set")
_PROBES = 16


def refuse_unreadable(path: Path) -> None:
    """Raises D015 for a pickle that passes for an exported program.  Files of weights are left to
    their reader, which takes them without running anything (distill.frontends.weights)."""
    if path.suffix not in (".pt2", ".pkl", ".pickle"):
        return
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError:
        return
    if start[:1] == b"\x80":
        raise _pickle(path, path.read_bytes())


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


def _pickle(path: Path, body: bytes) -> DistillError:
    names = called_names(body, foreign=True) or called_names(body)
    listed = ", ".join(name.replace(" ", ".") for name in names[:6]) or "nothing"
    return DistillError(
        "D015",
        f"{path.name} is a pickle that wants to run code",
        place=str(path),
        notes=(f"it asks for {listed}",),
        remedy="save the network with torch.export.save",
        exit_code=4,
    )


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
