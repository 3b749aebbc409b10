"""Attention patterns on example inputs, each head with the plainest rule that describes it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.report import drawing as d
from distill.report.account import Account
from distill.report.features import rows_of
from dsl.program import Call, Constant, Program, Variable

_MOST_HEADS = 16
_CELL = 13.0


@dataclass(frozen=True, slots=True)
class Head:
    """Weights (B, queries, keys) of one head, and what it was called in the network."""

    name: str
    weights: np.ndarray


@dataclass(frozen=True, slots=True)
class Rule:
    """How much of a head's weight goes where a rule says."""

    words: str
    share: float


def pictures(account: Account) -> Iterator[d.Picture]:
    """One picture of all heads on one input; nothing for networks without attention."""
    batch = rows_of(account)
    packed = account.target.pack(batch)
    if packed.ndim < 2:
        return
    network = account.target.network(packed.shape[1:])
    if network is None:
        return
    heads = heads_of(network, packed)
    if not heads:
        return
    tokens = packed if packed.ndim == 2 and packed.dtype.kind in "iu" else None
    row = _most_varied(heads)
    labels = _labels(batch, row, heads[0].weights.shape[-1])
    yield drawn(heads, tokens, row, labels)


def heads_of(network: Program, packed: np.ndarray) -> list[Head]:
    """Every head: square results of a softmax over keys, and the weights inside attention."""
    from dsl.networks import bindings, trace

    values = trace(network, packed)
    found: list[Head] = []
    for name, call in bindings(network):
        weights = weights_of(name, call, values, dict(network.constants))
        if weights is None or weights.ndim < 3 or len(weights) != len(packed):
            continue
        if weights.shape[-1] == weights.shape[-2] > 1:
            flat = weights.reshape(len(weights), -1, *weights.shape[-2:])
            found += [
                Head(f"{name}, head {i}" if flat.shape[1] > 1 else name, flat[:, i])
                for i in range(flat.shape[1])
            ]
    return found


def weights_of(
    name: str, call: Call, values: Mapping[str, np.ndarray], constants: Mapping[str, Any]
) -> np.ndarray | None:
    """What a call weighs keys by; None where it does not."""
    if call.primitive == "softmax":
        return values[name]
    if call.primitive != "attention":
        return None
    from dsl.primitives.tensor import TENSOR

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


def _most_varied(heads: list[Head]) -> int:
    """The input on which the heads' weights are farthest from their means."""
    spread = sum(
        np.abs(head.weights - head.weights.mean(0)).reshape(len(head.weights), -1).sum(1)
        for head in heads
    )
    return int(np.argmax(spread))


def _labels(batch: Mapping[str, np.ndarray], row: int, count: int) -> list[str]:
    for column in batch.values():
        if column.ndim == 2 and 0 <= count - column.shape[1] <= 1:
            # One position more than items: a token that marks the start.
            return ["^"] * (count - column.shape[1]) + [str(x) for x in column[row].tolist()]
    if len(batch) and all(column.ndim == 1 for column in batch.values()) and len(batch) <= count:
        items = [str(column[row].item()) for column in batch.values()]
        return items + [""] * (count - len(items))
    return [str(i) for i in range(count)]


def drawn(heads: list[Head], tokens: np.ndarray | None, row: int, labels: list[str]) -> d.Picture:
    """Heads side by side, queries down, keys across, with the rule that describes each best."""
    shown = sorted(heads, key=lambda head: -float(head.weights.max(-1).mean()))[:_MOST_HEADS]
    shown.sort(key=lambda head: heads.index(head))
    count = heads[0].weights.shape[-1]
    cell = min(_CELL, 170.0 / count)
    margin = 8 + 6.6 * min(max(len(label) for label in labels), 6)
    panel = max(cell * count, 60.0)
    wide, tall = max(margin + panel + 40, 210.0), panel + 66
    columns = max(1, min(len(shown), int(860 // wide)))
    parts, sentences = [], []
    for i, head in enumerate(shown):
        x, y = (i % columns) * wide + margin, (i // columns) * tall + 30
        best = rules(head.weights, tokens)[0]
        words = f"{best.words}: {100 * best.share:.0f} %" if best.share > 0.5 else "no plain rule"
        sentences.append(f"{head.name}: {words}")
        parts.append(d.text(x, y - 18, d.clipped(head.name, 26), "title"))
        parts.append(d.text(x, y - 6, d.clipped(words, 30), "note"))
        parts.append(d.image(d.scaled(head.weights[row], 0.0, 1.0), x, y, panel, panel))
        step = max(1, math.ceil(11 / (panel / count)))
        for j in range(0, count, step):
            spot = (j + 0.5) * panel / count
            label = d.clipped(labels[j], 6)
            parts.append(d.text(x - 4, y + spot + 3, label, "tick end"))
            parts.append(d.text(x + spot, y + panel + 12, label, "tick middle"))
    rows = math.ceil(len(shown) / columns)
    omitted = (
        f" {len(heads) - len(shown)} heads that are less sharp are left out."
        if len(heads) > len(shown)
        else ""
    )
    alternative = "Attention weights on one input. " + ". ".join(sentences) + "." + omitted
    return d.Picture(
        "Attention",
        d.drawing(columns * wide, rows * tall, parts, alternative),
        "Queries down, keys across; yellow is a weight of one, dark blue none. Above each head, "
        "the rule to which most of its weight goes, measured on random inputs." + omitted,
        alternative,
    )
