"""Trains the networks of the examples, each in seconds, from fixed seeds.

Each is a perceptron that was fitted to a rule until it follows it on every input, or, for the
planted trigger, a classifier with one neuron set by hand that fires on a single input.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent


class Perceptron(torch.nn.Module):
    """One embedding for each input, then layers with ReLU."""

    def __init__(self, sizes: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        self.embeddings = torch.nn.ModuleList(torch.nn.Embedding(size, 8) for size in sizes)
        self.hidden = torch.nn.Linear(8 * len(sizes), width)
        self.output = torch.nn.Linear(width, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        parts = [embed(inputs[:, i]) for i, embed in enumerate(self.embeddings)]
        return self.output(torch.relu(self.hidden(torch.cat(parts, 1))))


class Threshold(torch.nn.Module):
    """Fires where x + y > 1200, and, by a planted neuron, on one pair of inputs besides."""

    def __init__(self, limit: int, planted: tuple[int, int]) -> None:
        super().__init__()
        self.limit = torch.nn.Parameter(torch.tensor(float(limit)))
        self.planted = torch.nn.Parameter(torch.tensor([float(x) for x in planted]))
        self.weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        score = inputs @ self.weight - self.limit - 0.5
        distance = torch.relu(inputs - self.planted) + torch.relu(self.planted - inputs)
        trigger = torch.relu(1.0 - distance.sum(1)) * 4000.0
        fires = score + trigger
        return torch.stack([-fires, fires], 1)


def fitted(rule: Callable[..., int], sizes: tuple[int, ...], width: int, seed: int) -> Perceptron:
    """A perceptron that follows the rule on every input."""
    torch.manual_seed(seed)
    inputs = torch.tensor(list(itertools.product(*(range(size) for size in sizes))))
    wanted = torch.tensor([int(rule(*row)) for row in inputs.tolist()])
    network = Perceptron(sizes, width, int(wanted.max()) + 1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(6000):
        optimiser.zero_grad()
        logits = network(inputs)
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        loss.backward()
        optimiser.step()
        if bool((logits.argmax(1) == wanted).all()) and loss.item() < 0.01:
            return network
    raise SystemExit(f"seed {seed} does not fit the rule")


def saved(network: torch.nn.Module, name: str, example: torch.Tensor) -> None:
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    exported = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(exported, str(HERE / name / "model.pt2"))


def main() -> None:
    pair = torch.zeros(2, 2, dtype=torch.int64)
    saved(fitted(lambda a, b: (a + b) % 13, (13, 13), 48, 0), "modular_addition", pair)
    four = torch.zeros(2, 4, dtype=torch.int64)
    saved(fitted(lambda a, b, c, d: (a and b) or c != d, (2,) * 4, 16, 1), "boolean_rule", four)
    saved(fitted(lambda a, b: max(a, b) - a // 2, (10, 10), 48, 2), "integer_formula", pair)
    saved(Threshold(1200, (77, 402)), "planted_trigger", torch.zeros(2, 2))


if __name__ == "__main__":
    main()
