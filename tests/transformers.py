"""Small transformers trained by the tests: one layer, learned positions, a perceptron."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from distill.oracle import from_torch
from dsl.claim import Claim, Decode, Target
from dsl.domain import Domain
from dsl.parser import parse_expression

torch.set_num_threads(1)


class Transformer(nn.Module):
    """Tokens (B, 1 + L), the first a start mark, to classes at the L positions."""

    def __init__(self, tokens: int, length: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens + 1, width)
        self.places = nn.Parameter(torch.randn(length + 1, width) * 0.3)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.places[: tokens.shape[1]]
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.outer(torch.relu(self.inner(x)))
        return self.head(x)[:, 1:]


def trained(
    task: Callable[[np.ndarray], np.ndarray],
    *,
    alphabet: str,
    length: int,
    classes: int,
    seed: int,
    steps: int = 1500,
) -> Transformer:
    """A transformer trained on all words of a length until it makes no mistake on them."""
    torch.manual_seed(seed)
    count = len(alphabet)
    grids = np.meshgrid(*[np.arange(count)] * length, indexing="ij")
    words = np.stack([grid.ravel() for grid in grids], 1)
    answers = torch.from_numpy(task(words))
    inputs = torch.from_numpy(np.concatenate([np.full((len(words), 1), count), words], 1))
    model = Transformer(count, length, classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        logits = model(inputs)
        loss = nn.functional.cross_entropy(logits.reshape(-1, classes), answers.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if bool((logits.argmax(-1) == answers).all()) and loss.item() < 0.02:
            return model.eval()
    raise AssertionError("the transformer did not learn its task")


def target_of(model: nn.Module, alphabet: str, length: int, labels: tuple | None) -> Target:
    """The claim about a transformer on all words of a length."""
    tokens = "[" + ", ".join(f'"{a}"' for a in alphabet) + "]"
    return Target(
        Domain(f's: seq(tokens("{alphabet}"), {length})'),
        Claim(
            parse_expression(f"[{len(alphabet)}] + [{tokens}.index(c) for c in s]", "pack"),
            dtype="int64",
            decode=Decode("argmax", labels=labels),
        ),
        from_torch(model),
    )
