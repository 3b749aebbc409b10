"""Kills a compilation at random points, and resumes it.

`python -m benchmarks.kills [--points 100] [--seed 0]`: a run is started in a process of its own and
killed with SIGKILL after a random part of the time that an uninterrupted run takes. Then every file
that lies there must be whole (the journal's lines, the best so far, program and certificate), the
run is started again in the same folder, and its program must be that of the uninterrupted run.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
DOMAIN = "a: int[0..23], b: int[0..23]"


def network(path: Path) -> None:
    """`max(a, b) - a > 3`, from four hidden units: a few seconds of search."""
    hidden = np.array([[1, -1, 1, 0], [-1, 1, 0, 1]], np.float32)
    output = np.array([[0, 0], [-1, 1], [0, 0], [0, 0]], np.float32)
    tensors = {"w": hidden, "b": np.zeros(4, np.float32), "v": output}
    tensors["c"] = np.array([3.5, -3.5], np.float32)
    nodes = [
        helper.make_node("Gemm", ["inputs", "w", "b"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["units"]),
        helper.make_node("Gemm", ["units", "v", "c"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, str(path))


def started(model: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "distill", "compile", str(model), "-d", DOMAIN]
    command += ["--out", str(out), "--time", "120s", "--quiet"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=subprocess.PIPE, cwd=ROOT)


def damage(out: Path) -> list[str]:
    """What is wrong with the files that a killed run left."""
    from distill.certificate import read
    from dsl.errors import DistillError
    from dsl.parser import parse

    found = []
    for name in ("best_so_far.py", "program.py"):
        path = out / name
        if path.exists():
            try:
                parse(path.read_text(encoding="utf-8"))
            except DistillError as error:
                found.append(f"{name}: {error.finding}")
    if (out / "certificate.json").exists():
        try:
            read(out / "certificate.json")
        except DistillError as error:
            found.append(f"certificate.json: {error.finding}")
    return found


def body(out: Path) -> str:
    return (out / "program.py").read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        model, whole = Path(folder) / "model.onnx", Path(folder) / "whole"
        network(model)
        begun = time.monotonic()
        if started(model, whole).wait() != 0:
            print("the uninterrupted run did not prove its program")
            return 1
        length = time.monotonic() - begun
        expected = body(whole)
        print(f"uninterrupted: {length:.1f} s, {expected.splitlines()[-1].strip()}")
        lost = same = with_best = killed = 0
        for point in range(options.points):
            out = Path(folder) / f"run{point}"
            run = started(model, out)
            time.sleep(rng.uniform(0.05, 1.0) * length)
            killed += run.poll() is None
            run.send_signal(signal.SIGKILL)
            run.wait()
            wrong = damage(out) if out.exists() else []
            with_best += (out / "best_so_far.py").exists()
            lost += bool(wrong)
            code = started(model, out).wait()
            again = code == 0 and body(out) == expected
            same += again
            for text in wrong:
                print(f"  point {point}: {text}")
            if not again:
                print(f"  point {point}: the resumed run ended with {code}")
            shutil.rmtree(out, ignore_errors=True)
    print(
        f"{options.points} runs, {killed} killed while at work, {with_best} with a best so far on "
        f"disk, {lost} with a damaged file, {same} resumed to the same program"
    )
    return 0 if lost == 0 and same == options.points else 1


if __name__ == "__main__":
    sys.exit(main())
