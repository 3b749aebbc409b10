"""Does every network below a folder load, and give the outputs that were saved with it?

`python -m benchmarks.acceptance FOLDER` asks that of every task; with `--files`, of every file of a
model
by itself whether it loads and is translated, or with which message it is refused, as a table.
Anything else ends in a traceback.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from distill import task
from distill.frontends import exported, pt2, registry
from distill.frontends.source import Source
from dsl.errors import DistillError


def main(root: Path) -> int:
    """Prints one line for each task; returns 1 if a network differs from its saved outputs."""
    failed = 0
    for path in sorted(root.rglob("task.toml")):
        folder = path.parent
        try:
            target = task.load(folder)
            error = _difference(target, folder)
        except DistillError as refusal:
            print(f"refused  {folder.name}: {refusal.code} {refusal.finding}")
            continue
        if error is not None and error > 1e-4:
            failed += 1
            print(f"DIFFERS  {folder.name}: {error:.2e}")
        else:
            print(f"ok       {folder.name}" + ("" if error is None else f" {error:.1e}"))
    return 1 if failed else 0


def _difference(target: task.Target, folder: Path) -> float | None:
    """The largest relative difference from samples.npz; None where there is nothing to compare."""
    path = folder / "samples.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as samples:
        if "lengths" in samples.files:
            return None
        outputs = samples["outputs"].astype(np.float64)
        ours = target.runtime(samples["inputs"].astype(target.claim.dtype)).astype(np.float64)
    return float(
        np.abs(ours.reshape(outputs.shape) - outputs).max() / max(1, np.abs(outputs).max())
    )


_SUFFIXES = (
    *(".pt2", ".onnx", ".safetensors", ".npz", ".pt", ".pth", ".ckpt", ".nnet", ".tflite"),
    *(".msgpack", ".eqx", ".jax", ".pkl", ".joblib"),
)


def files(root: Path) -> int:
    """Prints how many files of each name load, and how those that do not are refused."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted(root.rglob("*")):
        if path.suffix in _SUFFIXES and path.name != "samples.npz":
            counts[path.name if path.suffix != ".onnx" else "*.onnx", _outcome(path)] += 1
    for (name, outcome), count in sorted(counts.items()):
        print(f"{count:5}  {name:<30} {outcome}")
    return 0


def _outcome(path: Path) -> str:
    """What happens when a file is read by itself, and translated for rows as it declares them."""
    source = Source(path.parent, path)
    try:
        registry.frontend(source).runtime(source)
    except DistillError as error:
        return f"refused: {error.code} {error.finding}".replace(path.name, "...")
    try:
        if path.name == "step.pt2":
            exported.step_program(pt2.graph(path))
            return "loads, translated (a step)"
        axes, _ = registry.declared(source)
        if axes is None or None in axes:
            return "loads; rows of any length"
        registry.required(source, tuple(axis or 0 for axis in axes))
    except DistillError as error:
        return f"loads, not translated: {error.code}"
    return "loads, translated"


if __name__ == "__main__":
    sys.exit(files(Path(sys.argv[2])) if sys.argv[1] == "--files" else main(Path(sys.argv[1])))
