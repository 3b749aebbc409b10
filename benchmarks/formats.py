"""Formats against architectures: loads, translation error, time.

`python -m benchmarks.formats` builds each small network in each framework, translates it, compares
with the framework's own runtime on random rows, and prints the table of docs/formats.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dsl import networks
from dsl.errors import DistillError
from dsl.program import Program

Cell = tuple[Callable[[], Program], Callable[[np.ndarray], np.ndarray]]


def torch_networks() -> dict[str, tuple[Any, np.ndarray]]:
    """Modules and rows for them."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Last(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer, self.head = layer, nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(x)[0][:, -1])

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Linear(4 + 8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state = torch.zeros(x.shape[0], 8)
            for place in range(x.shape[1]):
                state = torch.tanh(self.step(torch.cat([x[:, place], state], -1)))
            return state

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = nn.Embedding(11, 8), nn.LayerNorm(8)
            self.joint, self.out = nn.Linear(8, 24), nn.Linear(8, 11)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.embed(x)
            q, k, v = self.joint(self.norm(h)).chunk(3, -1)
            scores = (q @ k.transpose(1, 2)) / 8**0.5
            ahead = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
            mixed = scores.masked_fill(ahead, -1e9).softmax(-1) @ v
            return self.out(nn.functional.gelu(h + mixed))

    class Quantised(nn.Module):
        """Two layers of whole numbers of eight bits."""

        def __init__(self) -> None:
            super().__init__()
            for name, shape in (("first", (16, 4)), ("second", (3, 16))):
                weight = torch.randint(-127, 128, shape, dtype=torch.int32)
                self.register_buffer(name, weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = torch.clamp(torch.round(x * 32), -128, 127).to(torch.int32)
            h = torch.relu((q @ self.first.T).float() / 256)
            h = torch.clamp(torch.round(h), -128, 127).to(torch.int32)
            return (h @ self.second.T).float() / 1024

    rng = np.random.default_rng(0)
    sequence = rng.normal(size=(64, 6, 4)).astype(np.float32)
    cnn = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        nn.Linear(36, 3),
    )
    return {
        "MLP": (
            nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)),
            rng.normal(size=(64, 4)).astype(np.float32),
        ),
        "CNN": (cnn, rng.normal(size=(64, 1, 8, 8)).astype(np.float32)),
        "RNN": (Last(nn.RNN(4, 8, batch_first=True)), sequence),
        "GRU": (Last(nn.GRU(4, 8, batch_first=True)), sequence),
        "LSTM": (Last(nn.LSTM(4, 8, batch_first=True)), sequence),
        "hand loop": (Loop(), sequence),
        "transformer": (Transformer(), rng.integers(0, 11, (64, 6))),
        "quantised MLP": (Quantised(), rng.normal(size=(64, 4)).astype(np.float32)),
    }


def through_pt2(module: Any, x: np.ndarray, folder: Path) -> Cell:
    import torch

    from distill import oracle
    from distill.frontends import exported, pt2

    path, batch = folder / "model.pt2", torch.export.Dim("batch")
    example = torch.from_numpy(x[:2])
    found = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(path))
    return lambda: exported.program(pt2.read(path), x.shape[1:]), oracle.from_pt2(path)


def through_memory(module: Any, x: np.ndarray, folder: Path) -> Cell:
    from distill import oracle
    from distill.frontends import exported
    from distill.frontends import torch as front

    def built() -> Program:
        graph = front.graph_of_module(module, x.shape[1:], x.dtype.name)
        return exported.program(graph, x.shape[1:])

    return built, oracle.from_torch(module)


def through_onnx(module: Any, x: np.ndarray, folder: Path) -> Cell:
    import torch

    from distill import oracle
    from distill.frontends import onnx, onnx_package

    path = folder / "model.onnx"
    torch.onnx.export(
        module,
        (torch.from_numpy(x[:2]),),
        str(path),
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        dynamo=False,
    )
    built = onnx_package.read(path)
    return lambda: onnx.program(built, path.name, x.shape[1:]), oracle.from_onnx(path)


def jax_networks(x: np.ndarray) -> dict[str, tuple[Any, Any]]:
    """The same kinds of networks as functions and parameters of JAX; the layers that JAX itself
    has not are Flax's."""
    import flax.linen
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def loop(params: Any, x: Any) -> Any:
        def step(state: Any, item: Any) -> Any:
            state = jnp.tanh(jnp.concatenate([item, state], -1) @ params[0])
            return state, ()

        return jax.lax.scan(step, jnp.zeros((x.shape[0], 8)), jnp.swapaxes(x, 0, 1))[0]

    def transformer(params: Any, x: Any) -> Any:
        h = params[0][x]
        scores = jnp.einsum("btd,bsd->bts", h @ params[1], h @ params[2])
        seen = jnp.tril(jnp.ones((x.shape[1],) * 2, bool))
        mixed = jax.nn.softmax(jnp.where(seen, scores, -1e9), -1) @ h
        return jax.nn.gelu(h + mixed) @ params[3]

    def recurrent(cell: Any) -> tuple[Any, Any]:
        class Last(flax.linen.Module):
            @flax.linen.compact
            def __call__(self, x: Any) -> Any:
                return flax.linen.Dense(3)(flax.linen.RNN(cell(8))(x)[:, -1])

        module = Last()
        return module.apply, module.init(jax.random.key(0), x[:1])

    def quantised(params: Any, x: Any) -> Any:
        q = jnp.clip(jnp.round(x * 32), -128, 127).astype(jnp.int32)
        h = jax.nn.relu((q @ params[0]).astype(jnp.float32) / 256)
        h = jnp.clip(jnp.round(h), -128, 127).astype(jnp.int32)
        return (h @ params[1]).astype(jnp.float32) / 1024

    found: dict[str, tuple[Any, Any]] = {
        "MLP": (
            lambda p, x: jax.nn.relu(x @ p[0] + p[1]) @ p[2],
            [weights(4, 16), weights(16), weights(16, 3)],
        ),
        "CNN": (
            lambda p, x: jax.nn.relu(
                jax.lax.conv_general_dilated(x, p[0], (1, 1), "VALID")
            ).reshape(x.shape[0], -1),
            [weights(4, 1, 3, 3)],
        ),
        "hand loop": (loop, [weights(12, 8)]),
        "transformer": (
            transformer,
            [weights(11, 8), weights(8, 8), weights(8, 8), weights(8, 11)],
        ),
        "quantised MLP": (
            quantised,
            [rng.integers(-127, 128, shape).astype(np.int32) for shape in ((4, 16), (16, 3))],
        ),
    }
    if x.ndim == 3:
        cells = ("RNN", "SimpleCell"), ("GRU", "GRUCell"), ("LSTM", "LSTMCell")
        found |= {name: recurrent(getattr(flax.linen, cell)) for name, cell in cells}
    return found


def through_jax(name: str, x: np.ndarray) -> Cell:
    from distill.frontends import jax as front

    function, params = jax_networks(x)[name]
    return (
        lambda: front.program(function, params, x.shape[1:], x.dtype.name),
        front.runtime(function, params),
    )


def through_export(name: str, x: np.ndarray, folder: Path) -> Cell:
    import jax
    import jax.numpy as jnp
    from jax import export

    from distill.frontends import stablehlo

    function, params = jax_networks(x)[name]
    params = jax.tree_util.tree_map(jnp.asarray, params)
    rows = ", ".join(["batch", *map(str, x.shape[1:])])
    shape = jax.ShapeDtypeStruct(export.symbolic_shape(rows), x.dtype)
    path = folder / "model.jax"
    path.write_bytes(export.export(jax.jit(lambda x: function(params, x)))(shape).serialize())
    found = stablehlo.read(path)
    return lambda: stablehlo.program(found, path.name, x.shape[1:]), stablehlo.runtime(path)


def measured(cell: Cell, x: np.ndarray) -> str:
    """`1e-07, 12 ms`: the largest difference relative to the largest output, and the time."""
    build, runtime = cell
    started = time.perf_counter()
    try:
        program = build()
    except DistillError as error:
        return error.code
    spent = time.perf_counter() - started
    expected = np.asarray(runtime(x), np.float64)
    found = networks.run(program, x)
    if found.shape != expected.shape:
        return "another shape"
    error = np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1.0)
    return f"{error:.0e}, {1000 * spent:.0f} ms"


def main() -> int:
    warnings.simplefilter("ignore")
    rows = ["| architecture | .pt2 without torch | torch in memory | ONNX | JAX | jax.export |"]
    rows.append("|---|---|---|---|---|---|")
    for name, (module, x) in torch_networks().items():
        module.eval()
        with tempfile.TemporaryDirectory() as folder:
            cells = [
                measured(through(module, x, Path(folder)), x)
                for through in (through_pt2, through_memory, through_onnx)
            ]
            # JAX counts in 32 bits.
            narrow = x.astype(np.int32) if x.dtype == np.int64 else x
            cells.append(measured(through_jax(name, narrow), narrow))
            cells.append(measured(through_export(name, narrow, Path(folder)), narrow))
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
