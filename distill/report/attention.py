"""Attention patterns on example inputs, each head with the plainest rule that describes it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from distill.report import drawing as d
from distill.report.account import Account
from distill.report.features import rows_of
from synth.attention.heads import Head, heads_of, rules

_MOST_HEADS = 16
_CELL = 13.0


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
