"""Trains the networks of the examples, each in seconds, from fixed seeds.

Each is a perceptron that was fitted to a rule until it follows it on every input; for the planted
trigger, a classifier with one neuron set by hand that fires on a single input; for binary addition,
a recurrent network that was taught until it adds numbers of 400 digits without a mistake.
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


class Adder(torch.nn.Module):
    """Reads two numbers digit by digit, the lowest first, and gives the digits of their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.RNN(2, 2, batch_first=True)
        self.digit = torch.nn.Linear(2, 1)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return self.digit(self.layer(pairs)[0])

    def noisy(self, pairs: torch.Tensor, sigma: float) -> torch.Tensor:
        """The digits where noise is added to the state before each step."""
        layer, state, states = self.layer, torch.zeros(len(pairs), 2), []
        given = pairs @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0
        for t in range(pairs.shape[1]):
            before = state + sigma * torch.randn_like(state)
            state = torch.tanh(given[:, t] + before @ layer.weight_hh_l0.T)
            states.append(state)
        return self.digit(torch.stack(states, 1))


def pairs_of_digits(count: int, length: int, repeated: float) -> torch.Tensor:
    """Random pairs of numbers; every second keeps its pair of digits with a probability: a carry
    that lives on over many digits is rare among random numbers."""
    pairs = torch.randint(0, 2, (count, length, 2))
    kept = (torch.rand(count, length) < repeated) & (torch.arange(count) % 2 == 0)[:, None]
    for t in range(2, length):
        pairs[:, t] = torch.where(kept[:, t, None], pairs[:, t - 1], pairs[:, t])
    return pairs


def digits_of_sums(pairs: torch.Tensor) -> torch.Tensor:
    carry, digits = torch.zeros(len(pairs), dtype=torch.int64), []
    for t in range(pairs.shape[1]):
        total = pairs[:, t].sum(1) + carry
        digits.append(total % 2)
        carry = total // 2
    return torch.stack(digits, 1)


def taught(
    network: Adder, lengths: Callable[[float], int], *, repeated: float, rate: float
) -> None:
    """Trained with noise on numbers of the lengths, as a function of the share that is done."""
    steps = 3000
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, rate / 20)
    for step in range(steps):
        pairs = pairs_of_digits(64, lengths(step / steps), repeated)
        raw = network.noisy(pairs.float(), 0.03 * min(1.0, 2 * step / steps))[..., 0]
        loss = ((raw - digits_of_sums(pairs)) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()


def adds(network: Adder, length: int) -> bool:
    pairs = pairs_of_digits(1000, length, 0.95)
    with torch.no_grad():
        digits = network(pairs.float())[..., 0].round()
    return bool((digits == digits_of_sums(pairs)).all())


def adder(seeds: int) -> Adder:
    """The first network that makes no mistake in numbers of 400 digits: short numbers teach it to
    add, and long ones, with long carries, not to forget."""
    for seed in range(seeds):
        torch.manual_seed(seed)
        network = Adder()
        taught(network, lambda done: 3 + min(5, int(10 * done)), repeated=0.0, rate=0.03)
        if adds(network, 4):
            taught(network, lambda _: 4 + int(torch.randint(36, (1,))), repeated=0.9, rate=0.01)
            if adds(network, 400):
                return network
    raise SystemExit(f"none of {seeds} seeds adds")


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


def saved_for_any_length(network: torch.nn.Module, name: str, example: torch.Tensor) -> None:
    """As ONNX, where layers are kept; torch.export would fix the length of the sequence."""
    free = {0: "batch", 1: "length"}
    torch.onnx.export(
        network.eval(),
        (example,),
        str(HERE / name / "model.onnx"),
        input_names=["pairs"],
        output_names=["digits"],
        dynamic_axes={"pairs": free, "digits": free},
        dynamo=False,
    )


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
    saved_for_any_length(adder(8), "binary_addition", torch.zeros(2, 9, 2))
    saved(Threshold(1200, (77, 402)), "planted_trigger", torch.zeros(2, 2))


if __name__ == "__main__":
    main()
