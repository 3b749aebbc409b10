"""The heads of a network: where they look, how sharply, by which rule, and what hangs on them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl.claim import Batch, Claim
from dsl.decoding import decoded, selected
from dsl.networks import bindings, results, trace
from dsl.primitives.tensor import TENSOR
from dsl.program import Call, Constant, Program, Variable


@dataclass(frozen=True, slots=True)
class Head:
    """Weights (B, queries, keys) of one head, the `number`-th of what the network made."""

    made: str
    number: int
    alone: bool
    weights: np.ndarray

    @property
    def name(self) -> str:
        return self.made if self.alone else f"{self.made}, head {self.number}"

    @property
    def sharpness(self) -> float:
        """The mean over the queries of the greatest weight: 1 if each looks at one place."""
        return float(self.weights.max(-1).mean())

    def held(self, value: np.ndarray) -> np.ndarray:
        """What its network made, (B, ..., queries, width), with this head's part at its mean."""
        parts = value.reshape(len(value), -1, *value.shape[-2:]).copy()
        parts[:, self.number] = parts[:, self.number].mean(0)
        return parts.reshape(value.shape)


@dataclass(frozen=True, slots=True)
class Rule:
    """How much of a head's weight goes where a rule says."""

    words: str
    share: float


def heads_of(network: Program, packed: np.ndarray) -> list[Head]:
    """Every head: square results of a softmax over keys, and the weights inside attention."""
    values = trace(network, packed)
    found: list[Head] = []
    for name, call in bindings(network):
        weights = weights_of(name, call, values, dict(network.constants))
        if weights is None or weights.ndim < 3 or len(weights) != len(packed):
            continue
        if weights.shape[-1] == weights.shape[-2] > 1:
            flat = weights.reshape(len(weights), -1, *weights.shape[-2:])
            count = flat.shape[1]
            found += [Head(name, i, count == 1, flat[:, i]) for i in range(count)]
    return found


def reliance(
    network: Program, together: list[list[Head]], claim: Claim, packed: np.ndarray, batch: Batch
) -> list[float]:
    """For each group of heads of one layer the share of a batch's answers that change when their
    parts are held at the means over the batch (mean ablation).  Answers are those of one pass, also
    where more follow."""

    def answers(heads: list[Head]) -> np.ndarray:
        def held(value: np.ndarray) -> np.ndarray:
            return functools.reduce(lambda parts, head: head.held(parts), heads, value)

        changed = {head.made: held for head in heads}
        raw = trace(network, packed, changed=changed)[results(network)[0].name]
        if claim.feedback is None:
            raw = selected(claim, raw, batch)
        return decoded(claim.decode, raw).values

    whole = answers([])
    return [float((answers(heads) != whole).mean()) for heads in together]


def weights_of(
    name: str, call: Call, values: Mapping[str, np.ndarray], constants: Mapping[str, Any]
) -> np.ndarray | None:
    """What a call weighs keys by; None where it does not."""
    if call.primitive == "softmax":
        return values[name]
    if call.primitive != "attention":
        return None
    query, key, _, *hidden = (
        np.asarray(
            values[arg.name]
            if isinstance(arg, Variable)
            else constants[arg.name]
            if isinstance(arg, Constant)
            else getattr(arg, "value", 0)
        )
        for arg in call.args
    )
    # Attention to the unit vectors gives the weights themselves.
    unit = np.broadcast_to(
        np.eye(key.shape[-2], dtype=query.dtype), (*key.shape[:-2], key.shape[-2], key.shape[-2])
    )
    return np.asarray(TENSOR["attention"].numpy(query, key, unit, *hidden, **dict(call.options)))


def rules(weights: np.ndarray, tokens: np.ndarray | None) -> list[Rule]:
    """Shares of the weight that plain rules explain, the greatest first; positions without an
    earlier or equal token are left out of the rule that needs one."""
    count = weights.shape[-1]
    query, key = np.mgrid[0:count, 0:count]
    masks = {
        "its own position": query == key,
        "the position before": query == key + 1,
        "two positions before": query == key + 2,
        "the first position": np.broadcast_to(key == 0, (count, count)),
        "the last position": np.broadcast_to(key == count - 1, (count, count)),
        "the next position": query + 1 == key,
    }
    found = [
        _explained(words, weights, np.broadcast_to(m, weights.shape)) for words, m in masks.items()
    ]
    if tokens is not None and tokens.shape[1] == count:
        same = tokens[:, :, None] == tokens[:, None, :]
        found.append(_explained("equal tokens", weights, same))
        earlier = same & (key < query)
        found.append(_explained("equal tokens before it", weights, earlier))
        after = np.zeros_like(same)
        after[:, :, 1:] = earlier[:, :, :-1]
        found.append(_explained("what followed equal tokens", weights, after & (key <= query)))
        for token in np.unique(tokens)[:40].tolist():
            mask = np.broadcast_to((tokens == token)[:, None, :], weights.shape)
            found.append(_explained(f"token {token}", weights, mask))
    return sorted(found, key=lambda rule: -rule.share)


def _explained(words: str, weights: np.ndarray, mask: np.ndarray) -> Rule:
    """The share of weight that goes where a rule says, over the queries that have a choice and to
    which the rule applies; 0 where an even spread would do nearly as well."""
    seen = np.ones(weights.shape, bool)
    if np.triu(weights, 1).max(initial=0) < 1e-6:
        seen = np.tril(seen)
    mask = mask & seen
    applies = mask.any(axis=-1) & (seen.sum(-1) > 1)
    # A rule that holds at few positions explains little, however well it fits there.
    if applies.mean() < 0.3:
        return Rule(words, 0.0)
    share = float(np.where(mask, weights, 0).sum(-1)[applies].mean())
    even = float((mask.sum(-1) / np.maximum(seen.sum(-1), 1))[applies].mean())
    return Rule(words, share if share - even > 0.3 * (1 - even) else 0.0)
