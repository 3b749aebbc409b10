"""Damaged model files: no traceback, no hang, no flood of memory.

`python -m benchmarks.corruption --count 500` builds a small network, saves it in every format,
damages each file in seeded ways (flipped bits, truncation, swapped blocks, runs of zeros, of the
zip's and folder's own members) and reads each in a process of its own, under limits of time and
memory.  Prints a table; exits 1 if a reader does anything but load or refuse.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
import zipfile
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
    torch.save(module, folder / "module.pt")
    torch.jit.trace(module, torch.zeros(2, 3)).save(str(folder / "script.pt"))
    arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    _onnx(arrays, folder / "model.onnx")
    _safetensors(arrays, folder / "weights.safetensors")
    layer = {"W0": np.array([[1, 2, 3]], np.int8), "b0": np.zeros(1, np.int32)}
    scales = {f"{part}0_scale": np.array([0.5]) for part in "xwy"}
    zeros = {f"{part}0_zp": np.array([0]) for part in "xy"}
    np.savez(folder / "quantised.npz", **layer, **scales, **zeros)
    _nnet(arrays, folder / "model.nnet")
    _jax(arrays, folder)
    _estimators(folder)
    _gpt2(folder / "gpt2")
    names = (
        *("model.pt2", "model.onnx", "weights.safetensors", "weights.pt", "module.pt"),
        *("script.pt", "quantised.npz", "model.nnet", "model.jax", "params.npz", "params.msgpack"),
        *("model.eqx", "orbax", "gpt2", "model.pkl", "model.joblib"),
    )
    return {name: folder / name for name in names}


def _jax(arrays: dict[str, np.ndarray], folder: Path) -> None:
    """The network as jax.export, Flax, Equinox and Orbax save it, with its architecture."""
    import equinox
    import jax
    import orbax.checkpoint as ocp
    from flax import serialization
    from jax import export

    named = {"in": arrays["0.weight"], "out": arrays["2.weight"]}

    def network(x: Any) -> Any:
        return jax.nn.relu(x @ named["in"].T) @ named["out"].T

    shape = jax.ShapeDtypeStruct(export.symbolic_shape("batch, 3"), np.float32)
    content = export.export(jax.jit(network))(shape).serialize()
    (folder / "model.jax").write_bytes(content)
    np.savez(folder / "params.npz", **named)
    (folder / "params.msgpack").write_bytes(serialization.to_bytes(named))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "orbax", named)
    mlp = equinox.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
    equinox.tree_serialise_leaves(folder / "model.eqx", mlp)
    (folder / "architecture.py").write_text(_CODE, encoding="utf-8")


ARCHITECTURES = {
    **dict.fromkeys(("params.npz", "params.msgpack", "orbax"), "architecture.py:network"),
    "model.eqx": "architecture.py:rows",
}
_CODE = """
import equinox
import jax

def network(params, x):
    return jax.nn.relu(x @ params["in"].T) @ params["out"].T

def rows():
    return equinox.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
"""


def _estimators(folder: Path) -> None:
    import pickle

    import joblib
    from sklearn.neural_network import MLPRegressor

    x = np.random.default_rng(0).normal(size=(20, 3))
    model = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=5).fit(x, x[:, :2])
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    joblib.dump(model, folder / "model.joblib")


def _gpt2(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=7, n_positions=6, n_embd=8, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(str(folder))


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


def damage(path: Path, target: Path, rng: np.random.Generator) -> None:
    """Writes a damaged copy of a file, or of a folder with one of its files damaged or away."""
    if path.is_file():
        target.write_bytes(damaged(path.read_bytes(), path, rng))
        return
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(path, target)
    files = sorted(file for file in target.rglob("*") if file.is_file())
    first, second = (files[int(i)] for i in rng.integers(0, len(files), 2))
    content = first.read_bytes()
    match rng.integers(6):
        case 0:
            first.unlink()
        case 1:
            first.write_bytes(second.read_bytes())
            second.write_bytes(content)
        case _ if content:
            first.write_bytes(damaged(content, first, rng))


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


def read(path: Path, arch: str) -> str:
    """What happens when a file is read: `loads`, or the code of the refusal."""
    from distill.fingerprints import fingerprint
    from distill.frontends import registry, weights
    from distill.frontends.source import Source
    from dsl.errors import DistillError

    source = Source(path.parent, path, arch)
    if path.is_dir() and not arch:
        source = Source(path, path / "model.safetensors")
    try:
        fingerprint(source.folder, source.model)
        reader = registry.frontend(source)
        if path.suffix in (".pt", ".safetensors"):
            weights.network(path, "")
        elif path.suffix in (".onnx", ".jax") or source.folder == path:
            reader.runtime(source)
        registry.required(source, (6,) if source.folder == path else (3,))
    except DistillError as error:
        return "loads" if error.code == "D016" else error.code
    return "loads"


def _worker(connection: Any, intact: Path, arch: str) -> None:
    """Reads files one after the other, within a limit of memory."""
    import torch.export.pt2_archive

    assert torch.zeros(1).sum() == 0
    connection.send(read(intact, arch))  # what the frameworks take is no part of the limits
    used = _used()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    while (path := connection.recv()) is not None:
        try:
            connection.send(read(Path(path), arch))
        except BaseException as error:
            connection.send(f"{type(error).__name__}: {error}"[:160])


def _used() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmSize:"):
            return int(line.split()[1]) * 1024
    return 0


def outcomes(path: Path, count: int, folder: Path) -> tuple[dict[str, int], float, list[str]]:
    """How often each outcome was seen, the longest time, and what must not happen."""
    context = get_context("spawn")
    arch = ARCHITECTURES.get(path.name, "")
    counts: dict[str, int] = {}
    longest, wrong = 0.0, []
    here, there, process = None, None, None
    target = folder / f"damaged{path.suffix}"
    for seed in range(count):
        if process is None or not process.is_alive():
            here, there = context.Pipe()
            process = context.Process(target=_worker, args=(there, path, arch), daemon=True)
            process.start()
            there.close()
            if not here.poll(300):
                raise RuntimeError("the reader does not start")
            if (first := here.recv()) not in ("loads", "D020", "D021"):
                raise RuntimeError(f"{path.name} does not load before it is damaged: {first}")
        damage(path, target, np.random.default_rng(seed))
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
