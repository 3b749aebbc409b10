"""Spectra along tokens, template images, and tables: what weights and constants look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from distill.report import drawing as d
from distill.report.account import Account, sample
from dsl import types as t
from dsl.program import Assign, Call, Constant, Program, Variable

_FEWEST_TOKENS = 7
_MOST_TOKENS = 400
_STRONG = 0.75


def pictures(account: Account) -> Iterator[d.Picture]:
    """Spectra for whole-number inputs; images for arrays."""
    yield from embeddings(account)
    yield from outputs(account)
    yield from templates(account)


def embeddings(account: Account) -> Iterator[d.Picture]:
    """The power spectrum of every table that is looked up by an input."""
    batch = sample(account.target, 4)[0]
    network = account.target.network(account.target.pack(batch).shape[1:])
    if network is None:
        return
    for name, table in looked_up(network)[:3]:
        size = _alphabet(account)
        rows = table[: size or len(table)]
        if _FEWEST_TOKENS <= len(rows) <= _MOST_TOKENS:
            powers = spectrum(rows)
            yield _drawn(f"Spectrum of {name}", powers, f"the rows of {name}, {len(rows)} tokens")


def looked_up(network: Program) -> list[tuple[str, np.ndarray]]:
    """The two-dimensional constants that a gather reads by rows."""
    tables = dict(network.constants)
    found = []
    for statement in network.body:
        if not isinstance(statement, Assign):
            continue
        for value in statement.values:
            match value:
                case Call("gather", (Constant(name), Variable()), _):
                    table = np.asarray(tables[name])
                    if table.ndim == 2:
                        found.append((name, table))
    return found


def _alphabet(account: Account) -> int | None:
    """How many values each input has, where all have the same."""
    sizes = {
        kind.high - kind.low + 1
        for _, kind in account.target.domain.fields
        if isinstance(kind, t.Int) and kind.low is not None and kind.high is not None
    }
    return sizes.pop() if len(sizes) == 1 else None


def outputs(account: Account) -> Iterator[d.Picture]:
    """The power spectrum of the raw outputs along each of two whole-number inputs, where the
    network itself could not be looked into."""
    fields = account.target.domain.fields
    if len(fields) != 2 or not all(isinstance(kind, t.Int) for _, kind in fields):
        return
    shape = account.target.pack(sample(account.target, 4)[0]).shape[1:]
    if account.target.network(shape) is not None:
        return
    size = _alphabet(account)
    if size is None or not _FEWEST_TOKENS <= size <= _MOST_TOKENS:
        return
    name, kind = fields[0]
    other = fields[1][0]
    assert isinstance(kind, t.Int) and kind.low is not None
    rng = np.random.default_rng(3)
    powers = np.zeros(size // 2)
    for fixed in rng.integers(0, size, 6).tolist():
        values = kind.low + np.arange(size)
        batch = {name: values, other: np.full(size, kind.low + fixed)}
        if not account.target.domain.satisfied(batch).all():
            return
        raw = np.asarray(account.target.raw(batch), np.float64).reshape(size, -1)
        powers += spectrum(raw) / 6
    yield _drawn(
        "Spectrum of the outputs", powers, f"the raw outputs as {name} runs through {size} values"
    )


def spectrum(rows: np.ndarray) -> np.ndarray:
    """The share of variance at each frequency from 1 up, along the first axis."""
    centred = rows.astype(np.float64) - rows.mean(0)
    power = np.abs(np.fft.rfft(centred, axis=0)) ** 2
    power[1 : (len(rows) + 1) // 2] *= 2
    total = power.sum()
    return np.asarray(power.sum(1)[1 : len(rows) // 2 + 1] / (total if total > 0 else 1.0))


def _drawn(title: str, powers: np.ndarray, what: str) -> d.Picture:
    order = np.argsort(-powers, kind="stable")
    needed = int(np.searchsorted(np.cumsum(powers[order]), _STRONG)) + 1
    even = needed > 0.4 * len(powers)
    strong = set() if even else {int(i) for i in order[:needed]}
    listed = ", ".join(str(i + 1) for i in sorted(strong))
    words = (
        "No few frequencies stand out."
        if even
        else f"Frequenc{'ies' if len(strong) > 1 else 'y'} {d.clipped(listed, 60)} carry "
        f"{100 * powers[sorted(strong)].sum():.0f} % of the variance."
    )
    alternative = f"Power spectrum of {what}. {words}"
    labels = [str(i + 1) for i in range(len(powers))]
    return d.Picture(
        title,
        d.bars(powers.tolist(), labels, "frequency", alternative, strong),
        f"Share of variance by frequency, of {what}. {words}",
        alternative,
    )


def templates(account: Account) -> Iterator[d.Picture]:
    """Images in the program's constants, and what the network itself looks for in an image: the
    correlation of its output with every pixel over random images."""
    images = [
        (name, shape_of(kind))
        for name, kind in account.target.domain.fields
        if isinstance(kind, t.Tensor)
    ]
    for name, shape in images:
        if shape is None:
            continue
        panels = [
            (key, np.asarray(value, np.float64).reshape(shape))
            for key, value in account.program.constants
            if not isinstance(value, Mapping) and _entries(value) == shape[0] * shape[1]
        ]
        looked_for = correlation(account, name)
        if looked_for is not None:
            panels.append((f"what the network looks for in {name}", looked_for.reshape(shape)))
        if panels:
            yield _images(panels)


def shape_of(kind: t.Tensor) -> tuple[int, int] | None:
    """Height and width of an array that may be an image: two axes, or a square number."""
    axes = [axis for axis in kind.shape if axis > 1]
    if len(axes) == 2:
        return axes[0], axes[1]
    if len(axes) == 1 and axes[0] >= 16:
        side = round(axes[0] ** 0.5)
        return (side, side) if side * side == axes[0] else None
    return None


def correlation(account: Account, name: str) -> np.ndarray | None:
    """The correlation of the first output's distance from the others with every pixel."""
    batch = sample(account.target, 3000)[0]
    raw = np.asarray(account.target.raw(batch), np.float64)
    raw = raw.reshape(len(raw), -1)
    score = raw[:, 0] if raw.shape[1] == 1 else raw.max(1) - np.median(raw, axis=1)
    if raw.shape[1] == 2:
        score = raw[:, 1] - raw[:, 0]
    pixels = np.asarray(batch[name], np.float64).reshape(len(raw), -1)
    if score.std() == 0:
        return None
    centred = pixels - pixels.mean(0)
    spread = centred.std(0)
    return np.asarray(
        (centred * (score - score.mean())[:, None]).mean(0)
        / (np.where(spread > 0, spread, 1) * score.std())
    )


def _entries(value: Any) -> int:
    return int(np.asarray(value).size) if isinstance(value, (tuple, list, np.ndarray)) else 0


def _images(panels: list[tuple[str, np.ndarray]]) -> d.Picture:
    side, gap = 190.0, 24.0
    parts = []
    for i, (name, values) in enumerate(panels[:4]):
        x = i * (side + gap)
        parts.append(d.text(x, 12, d.clipped(name, 36), "title"))
        parts.append(
            d.image(d.scaled(values), x, 20, side, side * values.shape[0] / values.shape[1])
        )
    height = 26 + side * max(v.shape[0] / v.shape[1] for _, v in panels[:4])
    names = ", ".join(name for name, _ in panels[:4])
    alternative = f"Images: {names}."
    return d.Picture(
        "Templates",
        d.drawing(min(len(panels), 4) * (side + gap), height, parts, alternative),
        "Dark blue is the least value, yellow the greatest. What the network looks for is the "
        "correlation of its output with each pixel over random images.",
        alternative,
    )
