"""What is read off a transformer before any program is searched: its heads, and what it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from distill import api
from distill.circuits import circuits
from distill.cli import main
from dsl.printer import expression
from synth.attention.heads import Head
from tests.transformers import Transformer, trained


def written(model: torch.nn.Module, folder: Path, length: int) -> list[str]:
    """The arguments that name a transformer over the letters a, b, c."""
    batch = torch.export.Dim("batch")
    example = (torch.zeros((2, length + 1), dtype=torch.int64),)
    found = torch.export.export(model, example, dynamic_shapes=({0: batch},))
    torch.export.save(found, str(folder / "model.pt2"))
    domain = f's: seq(tokens("abc"), {length})'
    pack = '[3] + [["a", "b", "c"].index(c) for c in s]'
    return [str(folder / "model.pt2"), "-d", domain, "--pack", pack, "--dtype", "int64"]


def before(words: np.ndarray) -> np.ndarray:
    return np.concatenate([words[:, :1], words[:, :-1]], 1)


@pytest.fixture(scope="module")
def copying(tmp_path_factory) -> list[str]:
    model = trained(before, alphabet="abc", length=6, classes=3, seed=8)
    return written(model, tmp_path_factory.mktemp("copying"), 6)


def test_the_item_before_is_read_off_a_network_that_copies_it(copying, capsys):
    assert main(["inspect", *copying, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    (text, score, layer), *_ = table["holds"]
    assert text == "s[max(i - 1, 0)]" and score > 0.95 and layer in table["values"]
    assert len(table["heads"]) == 2
    # Either head can do without the other; the answers cannot do without both.
    ((_, together),) = table["layers"]
    assert max(relied for *_, relied in table["heads"]) < 0.2 < together
    assert main(["inspect", *copying]) == 0
    text = capsys.readouterr().out
    assert "holds   s[max(i - 1, 0)]: " in text and "held at its mean, " in text


def test_nothing_is_read_off_a_network_that_learned_nothing(tmp_path):
    torch.manual_seed(0)
    path, _, domain, _, pack, _, dtype = written(Transformer(3, 6, 3).eval(), tmp_path, 6)
    target, _ = api.target(Path(path), domain, pack=pack, dtype=dtype)
    found = circuits(target)
    assert found is not None and len(found.looks) == 2
    texts = {expression(reading.expr) for reading in found.held}
    assert not texts & {"s[max(i - 1, 0)]", "s[-1 - i]", "sorted(s)[i]", "s.index(c)"}


def test_a_head_is_held_by_itself():
    value = np.arange(2 * 3 * 4 * 5, dtype=float).reshape(2, 3, 4, 5)
    held = Head("attention", 1, False, np.zeros((2, 4, 4))).held(value)
    assert np.array_equal(held[:, [0, 2]], value[:, [0, 2]])
    assert np.array_equal(held[0, 1], held[1, 1]) and held[0, 1, 0, 0] == value[:, 1, 0, 0].mean()


def test_networks_without_heads_have_none(tmp_path, capsys):
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    found = torch.export.export(module.eval(), (torch.zeros(2, 4),))
    torch.export.save(found, str(tmp_path / "model.pt2"))
    assert main(["inspect", str(tmp_path / "model.pt2"), "-d", "s: seq(int[0..1], 4)"]) == 0
    assert "head " not in capsys.readouterr().out
