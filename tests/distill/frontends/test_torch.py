"""PyTorch networks translate, and the translation computes what PyTorch computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distill.frontends import exported, pt2
from distill.frontends import torch as front
from dsl import networks, passes
from dsl.errors import DistillError


class Rebuilt(nn.Module):
    """A function of the input, with a module inside it so that it has weights."""

    def __init__(self, function, *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(x, *self.parts)


def attended(x, attention):
    return attention(x, x, x, need_weights=False)[0]


def reals(*shape: int) -> torch.Tensor:
    return torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))


def tokens(length: int, count: int) -> torch.Tensor:
    return torch.randint(count, (5, length), generator=torch.Generator().manual_seed(1))


ENCODER = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
CNN = nn.Sequential(
    *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.SiLU(), nn.AdaptiveAvgPool2d(1)),
    *(nn.Flatten(), nn.Linear(4, 3)),
)
EMBEDDED = nn.Sequential(nn.Embedding(7, 6), nn.LayerNorm(6), nn.Linear(6, 5), nn.GELU())
NETWORKS = {
    "mlp": (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), reals(4)),
    "cnn": (CNN, reals(2, 9, 9)),
    "lstm": (Rebuilt(lambda x, m: m(x)[0], nn.LSTM(3, 4, 2, batch_first=True)), reals(6, 3)),
    "two ways": (
        Rebuilt(
            lambda x, m: m(x)[1][1].transpose(0, 1),
            nn.LSTM(3, 4, bidirectional=True, batch_first=True),
        ),
        reals(6, 3),
    ),
    "gru": (Rebuilt(lambda x, m: m(x)[1][0], nn.GRU(3, 4, batch_first=True)), reals(6, 3)),
    "time first": (
        Rebuilt(lambda x, m: m(x.transpose(0, 1))[0][-1], nn.RNN(3, 4, nonlinearity="relu")),
        reals(6, 3),
    ),
    "cells": (Rebuilt(lambda x, m: m(x[:, 1], m(x[:, 0])), nn.GRUCell(3, 4)), reals(2, 3)),
    "lstm cell": (Rebuilt(lambda x, m: m(x)[0] + m(x)[1], nn.LSTMCell(3, 4)), reals(3)),
    "encoder": (nn.Sequential(nn.Embedding(7, 8), ENCODER), tokens(6, 7)),
    "merged batch": (
        Rebuilt(attended, nn.MultiheadAttention(8, 2, batch_first=True)),
        reals(5, 8),
    ),
    "embedded": (EMBEDDED, tokens(6, 7)),
    "dropout": (nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.ELU()), reals(4)),
    "group norm": (nn.Sequential(nn.GroupNorm(2, 4), nn.Hardswish()), reals(4, 3)),
    "instance norm": (nn.Sequential(nn.InstanceNorm1d(4, affine=True), nn.Mish()), reals(4, 6)),
    "one dimension": (
        nn.Sequential(nn.Conv1d(2, 4, 3, dilation=2), nn.AvgPool1d(2), nn.PReLU(4), nn.CELU()),
        reals(2, 12),
    ),
    "causal": (
        Rebuilt(lambda x: nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)),
        reals(2, 5, 4),
    ),
    "masked": (
        Rebuilt(
            lambda x: (
                (x @ x.transpose(1, 2))
                .masked_fill(torch.triu(torch.ones(5, 5, dtype=torch.bool), 1), -1e9)
                .softmax(-1)
            )
        ),
        reals(5, 4),
    ),
    "einsum": (
        Rebuilt(
            lambda x, m: torch.einsum("bqd,hdk->bhqk", x, m.weight.view(2, 4, 3)), nn.Linear(4, 6)
        ),
        reals(5, 4),
    ),
    "choices": (
        Rebuilt(lambda x: torch.where(x > 0, x.clamp(max=1.0), x.abs().sqrt() - 2 * x)),
        reals(4),
    ),
    "last tokens": (Rebuilt(lambda x, m: m(x[:, -1]), nn.Linear(3, 2)), reals(4, 3)),
    "chosen rows": (
        Rebuilt(lambda x: x[torch.arange(x.shape[0]), x[:, :, 0].argmax(1)]),
        reals(4, 3),
    ),
    "positions": (
        Rebuilt(
            lambda x, m, p: m(x) + p(torch.arange(x.shape[1])),
            nn.Embedding(7, 4),
            nn.Embedding(9, 4),
        ),
        tokens(6, 7),
    ),
    "variance": (Rebuilt(lambda x: (x - x.mean(-1, keepdim=True)) / x.std(-1)[:, None]), reals(6)),
    "largest": (Rebuilt(lambda x: x.max(-1).values + x.max(-1).indices), reals(6)),
    "one hot": (
        Rebuilt(lambda x, m: m(nn.functional.one_hot(x, 7).float().flatten(1)), nn.Linear(28, 3)),
        tokens(4, 7),
    ),
    "remainders": (Rebuilt(lambda x: (x * 5 + 3) % 7 - x // 2), tokens(4, 7)),
    "cumulated": (Rebuilt(lambda x: x.cumsum(1).flip(1).roll(1, 1)), reals(4)),
    "split": (
        Rebuilt(lambda x: torch.cat([a * b for a, b in zip(x.chunk(2, 1), x.split(2, 1))], 1)),
        reals(4),
    ),
    "loop": (
        Rebuilt(
            lambda x, m: stepped(x, m),
            nn.Linear(5, 3),
        ),
        reals(4, 2),
    ),
}


def stepped(x, m):
    state, outputs = x.new_zeros(x.shape[0], 3), []
    for step in range(x.shape[1]):
        state = torch.relu(m(torch.cat([x[:, step], state], -1)))
        outputs.append(state)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_translation_computes_what_torch_computes(name: str) -> None:
    module, x = NETWORKS[name]
    module.eval()
    graph = front.graph_of_module(module, tuple(x.shape[1:]), str(x.dtype).removeprefix("torch."))
    program = exported.program(graph, tuple(x.shape[1:]))
    with torch.no_grad():
        expected = module(x).numpy()
    found = networks.run(program, x.numpy())
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)
    kinds = networks.shapes(program, tuple(x.shape[1:]))
    assert all(kind.shape[0] == -1 for kind in kinds.values())


def test_weights_keep_their_names_and_are_shared() -> None:
    shared = nn.Linear(4, 4)
    module = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 2)).eval()
    program = exported.program(front.graph_of_module(module, (4,), "float32"), (4,))
    names = list(networks.parameters(program))
    assert len(names) == 4  # the shared layer's once
    assert set(names) <= set(module.state_dict())
    used = [call.args[1] for _, call in networks.bindings(program) if call.primitive == "linear"]
    assert used[0] == used[1] != used[2]


def saved(module: nn.Module, x: torch.Tensor, path: Path) -> Path:
    batch = torch.export.Dim("batch")
    found = torch.export.export(module.eval(), (x,), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(path))
    return path


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "encoder", "positions", "split"])
def test_an_archive_read_without_torch_is_the_program_that_torch_reads(
    name: str, tmp_path: Path
) -> None:
    module, x = NETWORKS[name]
    path = saved(module, x, tmp_path / "model.pt2")
    ours = exported.program(pt2.read(path), tuple(x.shape[1:]))
    theirs = exported.program(front.graph_of(front.exported(path), "model"), tuple(x.shape[1:]))
    assert passes.numbered(ours) == passes.numbered(theirs)
    assert passes.numbered(ours).digest == passes.numbered(theirs).digest


def test_reading_an_archive_imports_no_torch(tmp_path: Path) -> None:
    module, x = NETWORKS["mlp"]
    path = saved(module, x, tmp_path / "model.pt2")
    code = (
        "import sys; from pathlib import Path; from distill.frontends.pt2 import from_pt2\n"
        f"print(len(from_pt2(Path({str(path)!r}))((4,)).body), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False"]


def test_all_operations_without_translation_are_listed_with_their_lines() -> None:
    module = Rebuilt(lambda x: torch.fft.rfft(x).real + torch.cdist(x[None], x[None])[0][:, :3])
    graph = front.graph_of_module(module.eval(), (4,), "float32")
    with pytest.raises(DistillError) as caught:
        exported.program(graph, (4,))
    assert caught.value.code == "D020"
    assert "aten.fft_rfft.default x1 (test_torch.py:" in caught.value.notes[0]
    assert "aten.cdist.default x1" in caught.value.notes[0]


def test_a_network_that_mixes_rows_is_no_translation_of_rows() -> None:
    module = Rebuilt(lambda x: x.sum())
    graph = front.graph_of_module(module.eval(), (4,), "float32")
    with pytest.raises(DistillError, match="not supported"):
        exported.program(graph, (4,))


def test_a_shape_that_the_network_does_not_take_is_refused(tmp_path: Path) -> None:
    module, x = NETWORKS["mlp"]
    path = saved(module, x, tmp_path / "model.pt2")
    with pytest.raises(DistillError, match=r"takes rows of shape \(4\), not \(5,\)"):
        exported.program(pt2.read(path), (5,))
    assert pt2.from_pt2(path)((5,)) is None


def test_double_precision_widens_weights_and_inputs() -> None:
    module, x = NETWORKS["mlp"]
    program = exported.program(front.graph_of_module(module.eval(), (4,), "float32"), (4,))
    with torch.no_grad():
        expected = module.double()(x.double()).numpy()
    module.float()
    found = networks.run(program, x.numpy(), dtype=np.float64)
    assert found.dtype == np.float64
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-12)
