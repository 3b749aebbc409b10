"""Does every network below a folder load, and give the outputs that were saved with it?"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from distill import task
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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
