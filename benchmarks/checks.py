"""How fast many certificates are checked, and that no framework is imported for it.

`python -m benchmarks.checks [--count 200]`: certificates by enumeration, half over `.onnx`, half
over `.pt2`, copied from two that are compiled first; then one `distill check` over all, on one
core. Prints seconds of processor and wall time, and whether torch or jax was imported.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (ROOT / "examples" / "ci" / "rule", ROOT / "examples" / "modular_addition")


def compiled(source: Path, folder: Path) -> None:
    """The network, its program and certificate in one folder."""
    shutil.copytree(source, folder)
    command = [sys.executable, "-m", "distill", "compile", str(folder), "--out", str(folder)]
    subprocess.run([*command, "--quiet"], check=True, capture_output=True, cwd=ROOT)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--independent", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for number, source in enumerate(SOURCES):
            first = folder / str(number)
            compiled(source, first)
            for copy in range(1, options.count // len(SOURCES)):
                shutil.copytree(first, folder / f"{number}_{copy}")
        command = [sys.executable, "-X", "importtime", "-m", "distill", "check", str(folder)]
        command += ["--independent"] if options.independent else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
        )
        wall = time.monotonic() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    imported = {
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    heavy = sorted({"torch", "jax"} & imported)
    print(done.stdout.strip())
    print(
        f"{spent:.1f} s of processor time, {wall:.1f} s wall; imported: {heavy or 'no framework'}"
    )
    return 0 if done.returncode == 0 and not heavy and spent < 60 else 1


if __name__ == "__main__":
    sys.exit(main())
