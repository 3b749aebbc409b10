"""Damaged model files: no traceback, no hang, no flood of memory.

`python -m benchmarks.corruption --count 500` builds a small network, saves it in every format,
damages each file in seeded ways (flipped bits, truncation, swapped blocks, runs of zeros, of the
zip's own members) and reads each in a process of its own, under limits of time and memory.  Prints
a table; exits 1 if a reader does anything but load or refuse.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, MEMORY = 10, 2 << 30


def built(folder: Path) -> dict[str, Path]:
    """One network in every format."""
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    module.eval()
    batch = torch.export.Dim("batch")
    found = torch.export.export(module, (torch.zeros(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(folder / "model.pt2"))
    torch.save(module.state_dict(), folder / "weights.pt")
    torch.jit.trace(module, torch.zeros(2, 3)).save(str(folder / "script.pt"))
    arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    _onnx(arrays, folder / "model.onnx")
    _safetensors(arrays, folder / "weights.safetensors")
    layer = {"W0": np.array([[1, 2, 3]], np.int8), "b0": np.zeros(1, np.int32)}
    scales = {f"{part}0_scale": np.array([0.5]) for part in "xwy"}
    zeros = {f"{part}0_zp": np.array([0]) for part in "xy"}
    np.savez(folder / "quantised.npz", **layer, **scales, **zeros)
    _nnet(arrays, folder / "model.nnet")
    names = (
        *("model.pt2", "model.onnx", "weights.safetensors", "weights.pt", "script.pt"),
        *("quantised.npz", "model.nnet"),
    )
    return {name: folder / name for name in names}


def _onnx(arrays: dict[str, np.ndarray], path: Path) -> None:
    import onnx

    node, kind = onnx.helper.make_node, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            node("Gemm", ["x", "0.weight", "0.bias"], ["a"], transB=1),
            node("Relu", ["a"], ["b"]),
            node("Gemm", ["b", "2.weight", "2.bias"], ["y"], transB=1),
        ],
        "graph",
        [onnx.helper.make_tensor_value_info("x", kind, ["n", 3])],
        [onnx.helper.make_tensor_value_info("y", kind, ["n", 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())


def _safetensors(arrays: dict[str, np.ndarray], path: Path) -> None:
    import json
    import struct

    header: dict[str, Any] = {}
    content = b""
    for name, array in arrays.items():
        ends = [len(content), len(content) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": ends}
        content += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def _nnet(arrays: dict[str, np.ndarray], path: Path) -> None:
    rows = [
        "// a network",
        "2,3,2,8,",
        "3,8,2,",
        "0,",
        "-1,-1,-1,",
        "1,1,1,",
        "0,0,0,0,",
        "1,1,1,1,",
    ]
    for layer in ("0", "2"):
        rows += [",".join(map(str, row)) + "," for row in arrays[f"{layer}.weight"].tolist()]
        rows += [f"{value}," for value in arrays[f"{layer}.bias"].tolist()]
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def damaged(content: bytes, path: Path, rng: np.random.Generator) -> bytes:
    """The file with one kind of damage; of archives also of what lies inside, with right sums."""
    if zipfile.is_zipfile(path) and rng.random() < 0.5:
        return _inside(path, rng)
    array = bytearray(content)
    match rng.integers(4):
        case 0:
            for place in rng.integers(0, len(array), rng.integers(1, 9)):
                array[place] ^= 1 << int(rng.integers(8))
        case 1:
            del array[int(rng.integers(len(array))) :]
        case 2:
            a, b = sorted(int(i) for i in rng.integers(0, len(array), 2))
            array = array[b:] + array[a:b] + array[:a]
        case _:
            a, b = sorted(int(i) for i in rng.integers(0, len(array), 2))
            array[a:b] = bytes(b - a)
    return bytes(array)


def _inside(path: Path, rng: np.random.Generator) -> bytes:
    import io

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    first, second = (names[int(i)] for i in rng.integers(0, len(names), 2))
    match rng.integers(3):
        case 0:
            members[first], members[second] = members[second], members[first]
        case 1:
            part = bytearray(members[first])
            for place in rng.integers(0, max(len(part), 1), 4) if part else ():
                part[place] ^= 1 << int(rng.integers(8))
            members[first] = bytes(part)
        case _:
            members.pop(first)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def read(path: Path) -> str:
    """What happens when a file is read: `loads`, or the code of the refusal."""
    from distill.frontends.registry import required
    from distill.frontends.source import Source
    from dsl.errors import DistillError

    source = Source(path.parent, path, "")
    try:
        if path.suffix == ".pt":
            from distill.frontends import weights

            weights.network(path, "")
        elif path.suffix == ".safetensors":
            from distill.frontends import safetensors

            safetensors.read(path)
        else:
            required(source, (3,))
    except DistillError as error:
        return error.code
    return "loads"


def _worker(connection: Any, reader: Callable[[Path], str]) -> None:
    """Reads files one after the other, within a limit of memory."""
    import torch.export.pt2_archive

    assert torch.zeros(1).sum() == 0  # what torch itself takes is no part of the limits
    used = _used()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    while (path := connection.recv()) is not None:
        try:
            connection.send(reader(Path(path)))
        except BaseException as error:
            connection.send(f"{type(error).__name__}: {error}"[:160])


def _used() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmSize:"):
            return int(line.split()[1]) * 1024
    return 0


def outcomes(path: Path, count: int, folder: Path) -> tuple[dict[str, int], float, list[str]]:
    """How often each outcome was seen, the longest time, and what must not happen."""
    content = path.read_bytes()
    context = get_context("spawn")
    counts: dict[str, int] = {}
    longest, wrong = 0.0, []
    here, there, process = None, None, None
    target = folder / f"damaged{path.suffix}"
    for seed in range(count):
        if process is None or not process.is_alive():
            here, there = context.Pipe()
            process = context.Process(target=_worker, args=(there, read), daemon=True)
            process.start()
            here.send(str(path))
            if not here.poll(120):
                raise RuntimeError("the reader does not start")
            here.recv()
        target.write_bytes(damaged(content, path, np.random.default_rng(seed)))
        started = time.perf_counter()
        assert here is not None
        here.send(str(target))
        try:
            outcome = here.recv() if here.poll(SECONDS) else "hangs"
        except EOFError:
            outcome = "dies"
        longest = max(longest, time.perf_counter() - started)
        if outcome == "hangs":
            process.kill()
            process.join()
        if outcome == "loads" or (len(outcome) == 4 and outcome.startswith("D")):
            counts[outcome] = counts.get(outcome, 0) + 1
        else:
            wrong.append(f"seed {seed}: {outcome}")
    if process is not None and here is not None and process.is_alive():
        here.send(None)
        process.join(10)
    return counts, longest, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        for label, path in built(Path(name)).items():
            if options.only and options.only not in label:
                continue
            counts, longest, wrong = outcomes(path, options.count, Path(name))
            text = ", ".join(f"{key} {value}" for key, value in sorted(counts.items()))
            print(f"{label:<22} {text:<48} longest {longest:.2f} s  wrong {len(wrong)}", flush=True)
            for line in wrong[:5]:
                print(f"    {line}", flush=True)
            failed = failed or bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
