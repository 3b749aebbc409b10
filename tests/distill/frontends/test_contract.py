"""What every front end promises, on one network of each format.

The translation computes what the format's own runtime does, each row by itself whatever the number
of rows; weights keep the names that the file has for them, and a weight that is used twice is one.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill.frontends import registry
from distill.frontends.registry import FRONTENDS
from distill.frontends.source import Source
from dsl import networks
from dsl.errors import DistillError
from dsl.program import Program

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(7, 3)).astype(np.float32)
WEIGHTS = {
    "first.weight": RNG.normal(size=(4, 3)).astype(np.float32),
    "first.bias": RNG.normal(size=4).astype(np.float32),
    "second.weight": RNG.normal(size=(4, 4)).astype(np.float32),
    "second.bias": RNG.normal(size=4).astype(np.float32),
}


class Network(torch.nn.Module):
    """Its second layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.second(torch.relu(self.first(x)))))


def module() -> Network:
    built = Network()
    built.load_state_dict({name: torch.tensor(array) for name, array in WEIGHTS.items()})
    return built.eval()


def network(w: Any, x: Any) -> Any:
    import jax

    hidden = jax.nn.relu(x @ w["first.weight"].T + w["first.bias"])
    hidden = jax.nn.relu(hidden @ w["second.weight"].T + w["second.bias"])
    return hidden @ w["second.weight"].T + w["second.bias"]


@dataclass(frozen=True)
class Example:
    """A model as a file, rows for it, and the names of its weights; `sizes` is how many numbers
    the program's weights have, each counted once."""

    source: Source
    rows: np.ndarray
    names: frozenset[str] | None = None
    sizes: int | None = None


def of(path: Path, arch: str = "") -> Source:
    return Source(path.parent, path, arch)


SIZES = sum(array.size for array in WEIGHTS.values())


def to_pt2(folder: Path) -> Example:
    batch, path = torch.export.Dim("batch"), folder / "model.pt2"
    found = torch.export.export(module(), (torch.zeros(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(path))
    return Example(of(path), ROWS, frozenset(WEIGHTS), SIZES)


def to_onnx(folder: Path) -> Example:
    onnx = pytest.importorskip("onnx")
    kind, node = onnx.TensorProto.FLOAT, onnx.helper.make_node
    layer = ["second.weight", "second.bias"]
    graph = onnx.helper.make_graph(
        [
            node("Gemm", ["x", "first.weight", "first.bias"], ["a"], transB=1),
            node("Relu", ["a"], ["b"]),
            node("Gemm", ["b", *layer], ["c"], transB=1),
            node("Relu", ["c"], ["d"]),
            node("Gemm", ["d", *layer], ["y"], transB=1),
        ],
        "graph",
        [onnx.helper.make_tensor_value_info("x", kind, ["n", 3])],
        [onnx.helper.make_tensor_value_info("y", kind, ["n", 4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return Example(of(folder / "model.onnx"), ROWS, frozenset(WEIGHTS), SIZES)


def to_jax(folder: Path) -> Example:
    import jax
    import jax.numpy as jnp
    from jax import export

    held = jax.tree_util.tree_map(jnp.asarray, WEIGHTS)
    shape = jax.ShapeDtypeStruct(export.symbolic_shape("batch, 3"), np.float32)
    content = export.export(jax.jit(lambda x: network(held, x)))(shape).serialize()
    (folder / "model.jax").write_bytes(content)
    return Example(of(folder / "model.jax"), ROWS, None, SIZES)  # a module has no names


TORCH = "from tests.distill.frontends.test_contract import Network as build\n"
JAX = "from tests.distill.frontends.test_contract import network as build\n"


def to_weights(folder: Path) -> Example:
    (folder / "arch.py").write_text(TORCH, encoding="utf-8")
    torch.save(module().state_dict(), folder / "weights.pt")
    return Example(of(folder / "weights.pt", "arch.py:build"), ROWS, frozenset(WEIGHTS), SIZES)


def to_jax_weights(folder: Path) -> Example:
    (folder / "arch.py").write_text(JAX, encoding="utf-8")
    np.savez(folder / "weights.npz", **WEIGHTS)
    return Example(of(folder / "weights.npz", "arch.py:build"), ROWS, frozenset(WEIGHTS), SIZES)


def to_sklearn(folder: Path) -> Example:
    kinds = pytest.importorskip("sklearn.neural_network")
    model = kinds.MLPRegressor(hidden_layer_sizes=(4,), max_iter=1, solver="lbfgs", random_state=0)
    model.fit(ROWS, ROWS[:, :2])
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    names = frozenset({"coefs_.0", "coefs_.1", "intercepts_.0", "intercepts_.1"})
    return Example(of(folder / "model.pkl"), ROWS.astype(np.float64), names, 3 * 4 + 4 + 4 * 2 + 2)


def to_nnet(folder: Path) -> Example:
    lines = [
        "// one layer",
        "1,3,2,3,",
        "3,2,",
        "0,",
        "-9,-9,-9,",
        "9,9,9,",
        "0,0,0,0,",
        "1,1,1,1,",
    ]
    lines += ["1.0,2.0,3.0,", "0.5,0.25,0.125,", "1.0,", "-1.0,"]
    (folder / "model.nnet").write_text("\n".join(lines) + "\n", encoding="ascii")
    return Example(of(folder / "model.nnet"), ROWS)


def to_quantised(folder: Path) -> Example:
    layer = {
        **{"W0": np.array([[2, -3, 1]], np.int8), "b0": np.array([5], np.int32)},
        **{"x0_scale": np.array([0.5]), "x0_zp": np.array([-1]), "w0_scale": np.array([0.25])},
        **{"y0_scale": np.array([0.5]), "y0_zp": np.array([3])},
    }
    np.savez(folder / "weights.npz", **layer)
    rows = RNG.integers(-128, 128, (7, 3)).astype(np.int8)
    return Example(of(folder / "weights.npz"), rows)


def to_gpt2(folder: Path) -> Example:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=7, n_positions=6, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained(str(folder))
    names = frozenset({"transformer.wte.weight", "transformer.h.0.mlp.c_fc.bias"})
    return Example(of(folder / "model.safetensors"), RNG.integers(0, 7, (7, 5)), names)


def to_haiku(folder: Path) -> Example:
    width, tokens, length = 4, 5, 6
    arrays = {
        "token_embed/embeddings": (tokens, width),
        "pos_embed/embeddings": (length, width),
        "unembed": (width, 3),
    }
    layer = "transformer/layer_0"
    for part in ("query", "key", "value", "linear"):
        arrays |= {f"{layer}/attn/{part}/w": (width, width), f"{layer}/attn/{part}/b": (width,)}
    arrays |= {f"{layer}/mlp/linear_1/w": (width, 8), f"{layer}/mlp/linear_1/b": (8,)}
    arrays |= {f"{layer}/mlp/linear_2/w": (8, width), f"{layer}/mlp/linear_2/b": (width,)}
    np.savez(folder / "weights.npz", **{name: RNG.normal(size=n) for name, n in arrays.items()})
    config = {"num_heads": 2, "num_layers": 1, "causal": True}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Example(
        of(folder / "weights.npz"), RNG.integers(0, tokens, (7, length)), frozenset(arrays)
    )


EXAMPLES: dict[str, tuple[str, Callable[[Path], Example]]] = {
    "pt2": ("pt2", to_pt2),
    "onnx": ("onnx", to_onnx),
    "jax.export": ("jax.export", to_jax),
    "weights for torch": ("weights", to_weights),
    "weights for jax": ("weights", to_jax_weights),
    "sklearn": ("sklearn", to_sklearn),
    "nnet": ("nnet", to_nnet),
    "quantised": ("quantised", to_quantised),
    "gpt2": ("gpt2", to_gpt2),
    "haiku": ("haiku", to_haiku),
}


def test_every_front_end_is_held_to_the_contract() -> None:
    assert {reader for reader, _ in EXAMPLES.values()} == {reader.name for reader in FRONTENDS}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_front_end_keeps_its_contract(name: str, tmp_path: Path) -> None:
    expected_reader, build = EXAMPLES[name]
    example = build(tmp_path)
    reader = registry.frontend(example.source)
    assert reader.name == expected_reader
    runtime, program = reader.runtime(example.source), required(example)
    answers = runtime(example.rows)
    largest = max(1.0, float(np.abs(answers).max()))
    # As the runtime, to rounding; for one row as for many.
    found = networks.run(program, example.rows)
    assert found.shape == answers.shape
    assert np.abs(found - answers).max() <= 2e-6 * largest
    for row in range(len(example.rows)):
        alone = networks.run(program, example.rows[row : row + 1])
        assert np.abs(alone - runtime(example.rows[row : row + 1])).max() <= 2e-6 * largest
        assert np.abs(alone[0] - answers[row]).max() <= 2e-6 * largest
    # The batch axis is the first of every value that depends on the input, and free.
    kinds = networks.shapes(program, example.rows.shape[1:])
    assert all(kind.shape[0] == -1 for kind in kinds.values())
    weights = networks.parameters(program)
    assert example.names is None or example.names <= set(weights)
    if example.sizes is not None:
        assert sum(array.size for array in weights.values() if array.ndim) == example.sizes


def required(example: Example) -> Program:
    return registry.required(example.source, example.rows.shape[1:])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_front_end_refuses_rows_that_the_network_does_not_take(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name][1](tmp_path)
    with pytest.raises(DistillError) as caught:
        registry.required(example.source, (*example.rows.shape[1:], 9))
    assert caught.value.code in ("D013", "D020", "D021")
    assert caught.value.exit_code in (2, 4)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_front_end_refuses_a_file_that_was_cut_off(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name][1](tmp_path)
    path = example.source.model
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(DistillError) as caught:
        registry.frontend(example.source).runtime(example.source)(example.rows)
    assert caught.value.code in ("D010", "D013", "D015", "D016")
