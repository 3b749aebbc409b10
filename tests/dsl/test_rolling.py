"""Loops and layers over sequences, rolled up to their step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.frontends.torch import from_module
from dsl import networks
from dsl.program import Variable
from dsl.rolling import Rolled, rolled, written_out
from dsl.unrolling import unrolled
from tests.verify.recurrent.networks import forgetful_parity
from verify.recurrent.claims import rolled_layers, same_step


class Layer(torch.nn.Module):
    """A recurrent layer, read at every step or at the last."""

    def __init__(self, kind: str, *, last: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = getattr(torch.nn, kind)(1, 4, batch_first=True)
        self.score = torch.nn.Linear(4, 2)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.layer(x)[0]
        return self.score(state[:, -1]) if self.last else self.score(state)


class Loop(torch.nn.Module):
    """A loop written by hand; with `changing` the third step uses other weights."""

    def __init__(self, *, changing: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.step = torch.nn.Linear(4, 3)
        self.other = torch.nn.Linear(4, 3)
        self.score = torch.nn.Linear(3, 1)
        self.changing = changing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(x.shape[0], 3)
        rows = []
        for t in range(x.shape[1]):
            step = self.other if self.changing and t == 2 else self.step
            h = torch.tanh(step(torch.cat([h, x[:, t]], -1)))
            rows.append(self.score(h))
        return torch.stack(rows, 1)


def carried(found: Rolled, x: np.ndarray) -> np.ndarray:
    """The step carried out over a batch of sequences."""
    state = np.repeat(found.start[None], len(x), axis=0).astype(np.float32)
    rows = []
    answer = found.step.result.args[0].name
    for t in range(x.shape[1]):
        step = replace(found.step, result=Variable("after"))
        values = networks.trace(step, x[:, t], state)
        rows.append(values[answer])
        state = values["after"]
    return np.stack(rows, 1) if found.every_step else rows[-1]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_layers_become_steps_that_compute_the_same(kind, last):
    module = Layer(kind, last=last)
    network = from_module(module, "float32")((7, 1))
    found = rolled_layers(network, (7, 1))
    assert found is not None and found.every_step is not last
    x = np.random.default_rng(0).normal(size=(5, 7, 1)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(carried(found, x), wanted, atol=1e-6)


class Turned(torch.nn.Module):
    """A layer read with time before and behind other axes, as exporters write it."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.RNN(1, 4, batch_first=True)
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.layer(x)[0][:, None]
        turned = state.permute(self.order)
        return torch.relu(turned.reshape(turned.shape[0], x.shape[1], 4))


def test_axes_of_one_entry_may_come_and_go_beside_that_of_time():
    module = Turned((0, 2, 1, 3))
    network = from_module(module, "float32")((7, 1))
    assert any(call.values[0].primitive == "transpose" for call in network.body)
    found = rolled_layers(network, (7, 1))
    assert found is not None
    x = np.random.default_rng(0).normal(size=(5, 7, 1)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(carried(found, x), wanted, atol=1e-6)


def test_time_that_changes_places_with_items_is_left_alone():
    network = from_module(Turned((0, 3, 1, 2)), "float32")((7, 1))
    assert rolled_layers(network, (7, 1)) is None


def test_a_loop_by_hand_is_rolled_up_the_same_for_every_length():
    translate = from_module(Loop(), "float32")
    short, long = rolled(translate((5, 1)), (5, 1)), rolled(translate((9, 1)), (9, 1))
    assert short is not None and long is not None
    assert same_step(short, long)
    assert len(short.start) == 3


def test_a_loop_whose_weights_change_on_the_way_is_not_rolled_up():
    assert rolled(from_module(Loop(changing=True), "float32")((6, 1)), (6, 1)) is None


def test_a_step_that_is_written_out_is_found_again():
    step = forgetful_parity()
    network = written_out(step, 6, (1,))
    short, long = rolled(network, (6, 1)), rolled(written_out(step, 9, (1,)), (9, 1))
    assert short is not None and long is not None
    assert same_step(short, long)
    x = np.random.default_rng(0).integers(0, 2, (20, 6, 1)).astype(np.float32)
    np.testing.assert_array_equal(carried(short, x), networks.run(network, x))


def test_a_layer_read_backwards_is_left_alone():
    module = torch.nn.GRU(1, 3, batch_first=True, bidirectional=True)

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)[0]

    network = from_module(Both(), "float32")((4, 1))
    if network is not None:
        assert unrolled(network, (4, 1)) is None
