"""Modules of Flax, Haiku and Equinox in memory, and files of their parameters."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import distill
from distill import cli
from distill.fingerprints import tensors
from distill.frontends import architectures, memory, parameters
from distill.frontends.registry import frontend
from distill.frontends.source import Source
from dsl import networks
from dsl.errors import DistillError

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
W0 = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
W1 = np.random.default_rng(2).normal(size=(4, 2)).astype(np.float32)
B0, B1 = np.arange(4, dtype=np.float32), np.ones(2, np.float32)
EXPECTED = np.maximum(X @ W0 + B0, 0) @ W1 + B1

PLAIN = """
import jax

def network(params, x):
    hidden = jax.nn.relu(x @ params["in"]["w"] + params["in"]["b"])
    return hidden @ params["out"]["w"] + params["out"]["b"]

def layers():
    import numpy as np
    def apply(params, x):
        (w, b), (v, c) = params
        return jax.nn.relu(x @ w + b) @ v + c
    return apply, [(np.zeros((3, 4)), np.zeros(4)), (np.zeros((4, 2)), np.zeros(2))]
"""
LINEN = """
import flax.linen as nn

class Network(nn.Module):
    train: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Dropout(0.5, deterministic=not self.train)(nn.relu(nn.Dense(4, name="in")(x)))
        return nn.Dense(2, name="out")(x)
"""
NNX = """
from flax import nnx

class Network(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.hidden, self.out = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.hidden(x))))

def build():
    model = Network()
    model.eval()
    return model
"""
HAIKU = """
import haiku as hk
import jax

def network(x):
    return hk.Linear(2, name="out")(jax.nn.relu(hk.Linear(4, name="in")(x)))

module = hk.transform(network)
without_rng = hk.without_apply_rng(module)
"""
EQUINOX = """
import equinox
import jax

def build():
    return equinox.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
"""


def code(text: str, name: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "code.py").write_text(text, encoding="utf-8")
        return architectures.named(f"code.py:{name}", Path(folder))


def agrees(network: Any, *labels: str) -> None:
    runtime, translation = memory.read(network, "float32")
    assert np.allclose(runtime(X), EXPECTED, atol=1e-5)
    program = translation((3,))
    assert program is not None
    assert np.allclose(networks.run(program, X), EXPECTED, atol=1e-5)
    assert set(labels) <= set(networks.parameters(program))


def nested() -> dict[str, Any]:
    return {"in": {"kernel": W0, "bias": B0}, "out": {"kernel": W1, "bias": B1}}


def nnx_module() -> Any:
    nnx = pytest.importorskip("flax.nnx")
    model = code(NNX, "build")()
    for layer, kernel, bias in ((model.hidden, W0, B0), (model.out, W1, B1)):
        layer.kernel.set_value(jnp.asarray(kernel))
        layer.bias.set_value(jnp.asarray(bias))
    assert isinstance(model, nnx.Module)
    return model


def equinox_module() -> Any:
    equinox = pytest.importorskip("equinox")

    def where(mlp: Any) -> Any:
        first, last = mlp.layers
        return first.weight, first.bias, last.weight, last.bias

    arrays = tuple(map(jnp.asarray, (W0.T, B0, W1.T, B1)))
    return equinox.tree_at(where, code(EQUINOX, "build")(), arrays)


def test_linen_modules_translate_with_the_names_of_their_variables() -> None:
    pytest.importorskip("flax")
    network = code(LINEN, "Network")()
    agrees((network, {"params": nested()}), "params/in/kernel", "params/out/bias")
    agrees(network.bind({"params": nested()}), "params/in/kernel")


def test_nnx_modules_translate_with_the_names_of_their_attributes() -> None:
    agrees(nnx_module(), "hidden/kernel", "out/bias")


@pytest.mark.parametrize("name", ["module", "without_rng"])
def test_haiku_functions_translate_with_the_names_of_their_modules(name: str) -> None:
    pytest.importorskip("haiku")
    params = {"in": {"w": W0, "b": B0}, "out": {"w": W1, "b": B1}}
    agrees((code(HAIKU, name), params), "in/w", "out/b")


def test_equinox_modules_take_rows_and_are_mapped_over_the_batch() -> None:
    agrees(equinox_module(), "layers/0/weight", "layers/1/bias")


def test_modules_in_training_mode_are_refused() -> None:
    pytest.importorskip("flax")
    equinox = pytest.importorskip("equinox")
    random = nnx_module()
    random.train()
    key = jax.random.key(0)
    dropout = equinox.nn.Sequential([equinox.nn.Linear(3, 2, key=key), equinox.nn.Dropout(0.5)])
    linen = (code(LINEN, "Network")(train=True), {"params": nested()})
    for network in (random, dropout):
        with pytest.raises(DistillError, match="training mode"):
            memory.read(network, "float32")
    runtime, _ = memory.read(linen, "float32")
    with pytest.raises(DistillError, match="training mode"):
        runtime(X)


def test_a_module_without_parameters_is_refused() -> None:
    pytest.importorskip("flax")
    with pytest.raises(DistillError, match="Network is a network without parameters"):
        distill.compile(code(LINEN, "Network")(), "a: real[0,1]")


FLAT = {"in/kernel": W0, "in/bias": B0, "out/kernel": W1, "out/bias": B1}


def loads(path: Path, arch: str) -> None:
    source = Source(path.parent, path, arch)
    reader = frontend(source)
    assert reader.name == "weights"
    assert np.allclose(reader.runtime(source)(X), EXPECTED, atol=1e-5)
    program = reader.translation(source)((3,))
    assert program is not None
    assert np.allclose(networks.run(program, X), EXPECTED, atol=1e-5)


def test_a_function_of_parameters_and_a_batch_is_an_architecture(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    arrays = {"in/w": W0, "in/b": B0, "out/w": W1, "out/b": B1}
    np.savez(tmp_path / "params.npz", **arrays)
    loads(tmp_path / "params.npz", "plain.py:network")
    pytest.importorskip("safetensors.numpy").save_file(arrays, tmp_path / "p.safetensors")
    loads(tmp_path / "p.safetensors", "plain.py:network")


def test_a_tree_of_parameters_is_filled_from_a_file_by_names(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    names = ("0/0", "0/1", "1/0", "1/1")
    np.savez(tmp_path / "params.npz", **dict(zip(names, (W0, B0, W1, B1))))
    loads(tmp_path / "params.npz", "plain.py:layers")
    np.savez(tmp_path / "other.npz", **dict(zip(names, (W0.T, B0, W1, B1))), more=B1)
    with pytest.raises(DistillError) as caught:
        loads(tmp_path / "other.npz", "plain.py:layers")
    assert caught.value.code == "D017"
    assert caught.value.notes == (
        "more is not in the architecture",
        "0/0 is (4, 3), not (3, 4)",
    )


def test_parameters_of_flax_are_read_from_msgpack(tmp_path: Path) -> None:
    serialization = pytest.importorskip("flax.serialization")
    (tmp_path / "linen.py").write_text(LINEN, encoding="utf-8")
    path = tmp_path / "params.msgpack"
    path.write_bytes(serialization.to_bytes({"params": nested()}))
    loads(path, "linen.py:Network")
    path.write_bytes(serialization.to_bytes(nested()))
    loads(path, "linen.py:Network")


def test_parameters_of_nnx_and_haiku_are_read_from_npz(tmp_path: Path) -> None:
    pytest.importorskip("flax")
    pytest.importorskip("haiku")
    (tmp_path / "attributes.py").write_text(NNX, encoding="utf-8")
    (tmp_path / "transformed.py").write_text(HAIKU, encoding="utf-8")
    arrays = {name.replace("in/", "hidden/"): array for name, array in FLAT.items()}
    np.savez(tmp_path / "nnx.npz", **arrays)
    loads(tmp_path / "nnx.npz", "attributes.py:build")
    np.savez(tmp_path / "haiku.npz", **{"in/w": W0, "in/b": B0, "out/w": W1, "out/b": B1})
    loads(tmp_path / "haiku.npz", "transformed.py:module")


def test_files_of_equinox_are_read(tmp_path: Path) -> None:
    equinox = pytest.importorskip("equinox")
    (tmp_path / "rows.py").write_text(EQUINOX, encoding="utf-8")
    equinox.tree_serialise_leaves(tmp_path / "model.eqx", equinox_module())
    loads(tmp_path / "model.eqx", "rows.py:build")


def test_orbax_checkpoints_are_read_from_the_folder_or_its_last_step(tmp_path: Path) -> None:
    ocp = pytest.importorskip("orbax.checkpoint")
    pytest.importorskip("flax")
    (tmp_path / "linen.py").write_text(LINEN, encoding="utf-8")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "params", nested())
    loads(tmp_path / "params", "linen.py:Network")
    with ocp.CheckpointManager(tmp_path / "steps") as manager:
        for step, factor in ((9, 0), (10, 1)):
            kept = jax.tree_util.tree_map(lambda array, by=factor: array * by, nested())
            manager.save(step, args=ocp.args.StandardSave(kept))
    loads(tmp_path / "steps", "linen.py:Network")
    assert parameters.orbax_item(tmp_path) is None


def test_parameters_alone_ask_for_an_architecture(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", **FLAT)
    with pytest.raises(DistillError) as caught:
        distill.compile(tmp_path / "params.npz", "a: real[0,1]", decode="value +- 0.1")
    assert caught.value.code == "D016"
    assert "in/kernel" in caught.value.notes[0]


def test_the_command_line_takes_a_function_and_its_parameters(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sign.py").write_text(
        "def network(params, x):\n    return x @ params['w']\n", encoding="utf-8"
    )
    np.savez(tmp_path / "params.npz", w=np.array([[0, 1], [0, 2]], np.float32))
    claim = ["-d", "a: int[-2..2], b: int[-2..2]", "--dtype", "float32", "--time", "20s"]
    for model in (
        ["sign.py:network", "--params", "params.npz"],
        ["params.npz", "--arch", "sign.py:network"],
    ):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert cli.main(["compile", *model, *claim, "--quiet", "--out", "found"]) == 0
        assert "PROVED" in printed.getvalue()
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["check", "found"]) == 0


@pytest.mark.parametrize("cell", ["SimpleCell", "GRUCell", "LSTMCell"])
def test_recurrent_layers_of_flax_translate(cell: str) -> None:
    linen = pytest.importorskip("flax.linen")
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    module = linen.RNN(getattr(linen, cell)(4))
    variables = module.init(jax.random.key(0), x)
    runtime, translation = memory.read((module, variables), "float32")
    program = translation((5, 2))
    assert program is not None
    assert np.allclose(networks.run(program, x), runtime(x), atol=1e-5)


def test_an_orbax_checkpoint_is_compiled_and_left_as_it_is(tmp_path: Path, monkeypatch) -> None:
    ocp = pytest.importorskip("orbax.checkpoint")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sign.py").write_text(
        "def network(params, x):\n    return x @ params['w']\n", encoding="utf-8"
    )
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "saved", {"w": np.array([[0, 1], [0, 2]], np.float32)})
    claim = ["-d", "a: int[-2..2], b: int[-2..2]", "--time", "20s", "--quiet"]
    before = tensors(tmp_path / "saved")
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["compile", "saved", "--arch", "sign.py:network", *claim]) == 0
        assert tensors(tmp_path / "saved") == before
        assert cli.main(["check", "saved_program"]) == 0
        assert cli.main(["inspect", "saved", "--arch", "sign.py:network", *claim[:2]]) == 0
