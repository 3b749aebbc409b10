"""Decisions drawn on the domain: curves over one input, maps over two, cuts through more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distill.report import drawing as d
from distill.report.account import Account, sample
from dsl import types as t
from dsl.agreement import equal_rows
from dsl.claim import Refuted
from dsl.evaluate import run_defined

_CELLS = 112
_MOST_VALUES = 256
_SIDE = 270.0
_WIDEST = 64
_MOST_MARKS = 60
_OUTSIDE = (0x88, 0x88, 0x88)


@dataclass(frozen=True, slots=True)
class Axis:
    """One input, or one entry of an array, with the values drawn along it."""

    name: str
    entry: int | None
    values: np.ndarray

    @property
    def label(self) -> str:
        return self.name if self.entry is None else f"{self.name}[{self.entry}]"

    @property
    def numeric(self) -> bool:
        return self.values.dtype.kind in "if"


@dataclass(frozen=True, slots=True)
class Cut:
    """Values of network and program along one axis (n,) or on a plane (rows of `down`, columns
    of `across`); where they agree, and where the domain ends."""

    across: Axis
    down: Axis | None
    rest: Mapping[str, Any]
    network: np.ndarray
    program: np.ndarray
    same: np.ndarray
    inside: np.ndarray


def pictures(account: Account) -> Iterator[d.Picture]:
    """A picture of the domain where it consists of scalars or short arrays."""
    axes = axes_of(account)
    if not axes:
        return
    if len(axes) == 1:
        cut = evaluated(account, axes[0], None, {})
        if cut is not None:
            yield curve(account, cut)
        return
    chosen = axes if len(axes) == 2 else most_influential(account, axes)
    if len(chosen) < 2:
        return
    base = {} if len(axes) == 2 else varied_base(account, chosen[0], chosen[1])
    cut = evaluated(account, chosen[0], chosen[1], base)
    if cut is not None:
        yield from plane(account, cut)


def axes_of(account: Account) -> tuple[Axis, ...]:
    """Every scalar that an input consists of; none where there are sequences, or too many."""
    found: list[Axis] = []
    for name, kind in account.target.domain.fields:
        entries: list[int | None] = [None]
        item = kind
        match kind:
            case t.Tensor(inner, shape):
                entries = list(range(int(np.prod(shape))))
                item = inner
            case t.Seq() | t.Record() | t.Mapping():
                return ()
        values = values_of(item)
        if values is None or len(found) + len(entries) > _WIDEST:
            return ()
        if len(values) > 1:
            found += [Axis(name, entry, values) for entry in entries]
    return tuple(found)


def values_of(kind: t.Type) -> np.ndarray | None:
    match kind:
        case t.Bool():
            return np.array([False, True])
        case t.Int(low, high) if low is not None and high is not None:
            if high - low < _MOST_VALUES:
                return np.arange(low, high + 1)
            return np.unique(np.linspace(low, high, _CELLS).round().astype(np.int64))
        case t.Token(alphabet) if 0 < len(alphabet) <= _MOST_VALUES:
            return np.array(alphabet)
        case t.Real(low, high) if low is not None and high is not None:
            return np.array([low]) if low == high else np.linspace(low, high, _CELLS)
    return None


def most_influential(account: Account, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The two axes whose redrawing changes most decisions."""
    batch = sample(account.target, 256)[0]
    before = account.target.evaluate(batch).values
    rng = np.random.default_rng(5)
    scores = []
    for axis in axes:
        changed = with_axis(batch, axis, rng.choice(axis.values, len(before)))
        after = account.target.evaluate(changed).values
        if after.dtype.kind == "f":
            scores.append(float(np.abs(after - before).mean()))
        else:
            scores.append(float((~equal_rows(before, after)).mean()))
    order = sorted(range(len(axes)), key=lambda i: (-scores[i], i))[:2]
    return tuple(axes[i] for i in sorted(order))


def with_axis(batch: Mapping[str, np.ndarray], axis: Axis, values: np.ndarray) -> dict[str, Any]:
    columns = {name: np.array(column) for name, column in batch.items()}
    column = columns[axis.name]
    if axis.entry is None:
        columns[axis.name] = values.astype(column.dtype)
    else:
        column.reshape(len(column), -1)[:, axis.entry] = values
    return columns


def varied_base(account: Account, across: Axis, down: Axis) -> dict[str, Any]:
    """Of a few random inputs, the one through which a coarse plane shows most of the network."""
    batch = sample(account.target, 24)[0]
    coarse = [
        Axis(axis.name, axis.entry, axis.values[:: max(1, len(axis.values) // 10)])
        for axis in (across, down)
    ]
    best, most = {}, -1.0
    for row in range(len(next(iter(batch.values())))):
        base = {name: _rounded(column[row]) for name, column in batch.items()}
        cut = evaluated(account, coarse[0], coarse[1], base)
        if cut is None or not cut.inside.any():
            continue
        values = cut.network[cut.inside]
        if values.dtype.kind == "f":
            variety = float(values.std())
        else:
            _, counts = np.unique(values.astype(str), return_counts=True)
            shares = counts / counts.sum()
            variety = float(-(shares * np.log(shares)).sum())
        if variety > most:
            best, most = base, variety
    return best


def _rounded(value: Any) -> Any:
    return np.round(value, 3) if np.asarray(value).dtype.kind == "f" else value


def evaluated(
    account: Account, across: Axis, down: Axis | None, rest: Mapping[str, Any]
) -> Cut | None:
    """Network and program on a cut; None where answers are not single values."""
    domain = account.target.domain
    shape = (len(across.values),) if down is None else (len(down.values), len(across.values))
    count = int(np.prod(shape))
    template = rest or {name: column[0] for name, column in sample(account.target, 1)[0].items()}
    batch: dict[str, Any] = {
        name: np.repeat(np.asarray(value)[None], count, axis=0) for name, value in template.items()
    }
    batch = with_axis(batch, across, np.tile(across.values, count // len(across.values)))
    if down is not None:
        batch = with_axis(batch, down, np.repeat(down.values, len(across.values)))
    inside = domain.satisfied(batch)
    if not inside.any():
        return None
    kept = {name: column[inside] for name, column in batch.items()}
    answers = account.target.evaluate(kept).values
    if answers.ndim == 2 and answers.shape[1] == 1:
        answers = answers[:, 0]
    if answers.ndim != 1 or answers.dtype == object:
        return None
    ours, defined = run_defined(account.program, kept)
    if ours.ndim == 2 and ours.shape[1] == 1:
        ours = ours[:, 0]
    if ours.ndim != 1:
        return None
    same = equal_rows(ours, answers, account.target.claim.decode.tolerance) & defined
    others = {
        name: value
        for name, value in template.items()
        if name not in (across.name, None if down is None else down.name)
    }
    return Cut(
        across,
        down,
        others,
        _spread(answers, inside, shape),
        _spread(ours, inside, shape),
        _spread(same, inside, shape),
        inside.reshape(shape),
    )


def _spread(values: np.ndarray, inside: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    full = np.zeros(len(inside), values.dtype)
    full[inside] = values
    return full.reshape(shape)


def curve(account: Account, cut: Cut) -> d.Picture:
    """Answers along the only input: a line for numbers, marks for kinds."""
    width, height, left, base = 560.0, 230.0, 60.0, 190.0
    network, program = cut.network, cut.program
    names = None
    if network.dtype.kind not in "iuf":
        names, codes = np.unique(np.concatenate([network, program]), return_inverse=True)
        network, program = np.split(codes, 2)
    spots = np.arange(len(cut.across.values)) if not cut.across.numeric else cut.across.values
    low, high = (float(f(np.concatenate([network, program]))) for f in (np.min, np.max))
    x = _scale(float(spots.min()), float(spots.max()), left, width - 12)
    y = _scale(low, high, base, 14)
    parts = [d.line(left, base, width - 12, base), d.line(left, base, left, 14)]
    if cut.across.numeric:
        for tick in d.ticks(float(spots.min()), float(spots.max()), 8):
            parts.append(d.text(x(tick), base + 14, d.short(tick), "tick middle"))
    levels = (
        enumerate(names) if names is not None else ((v, d.short(v)) for v in d.ticks(low, high))
    )
    parts += [d.text(left - 5, y(float(v)) + 3, w, "tick end") for v, w in levels]
    inside = cut.inside
    parts.append(
        d.path([(x(float(s)), y(float(v))) for s, v in zip(spots[inside], network[inside])])
    )
    for s, v in zip(spots[inside & ~cut.same][:300], program[inside & ~cut.same][:300]):
        parts.append(d.circle(x(float(s)), y(float(v)), 3, class_="dot strong"))
    parts.append(d.text(left, base + 32, cut.across.label, "axis-name"))
    wrong = int((~cut.same & inside).sum())
    words = _agreement(wrong, int(inside.sum()))
    alternative = (
        f"The network's answer for {cut.across.label} from {cut.across.values[0]} to "
        f"{cut.across.values[-1]}. {words}"
    )
    return d.Picture(
        "The answer along the input",
        d.drawing(width, height, parts, alternative),
        f"The network's answer; where the program differs, its own is a dot. {words}",
        alternative,
    )


def plane(account: Account, cut: Cut) -> Iterator[d.Picture]:
    """The network on a plane, and the program beside it where they differ anywhere."""
    assert cut.down is not None
    wrong = int((~cut.same & cut.inside).sum())
    words = _agreement(wrong, int(cut.inside.sum()))
    others = ", ".join(f"{name} = {_value(value)}" for name, value in cut.rest.items())
    where = f" at {d.clipped(others, 160)}" if others else ""
    yield _map("What the network decides", account, cut, cut.network, words, where)
    if wrong:
        yield _map("What the program decides", account, cut, cut.program, words, where)
    if wrong > _MOST_MARKS:
        equal = np.where(cut.same, "equal", "different")
        yield _map("Where they differ", account, replace(cut, network=equal), equal, words, where)


def _value(value: Any) -> str:
    array = np.asarray(value)
    if array.ndim:
        return "[" + ", ".join(d.short(float(v)) for v in array.ravel()[:6]) + ", ...]"
    return d.short(float(array)) if array.dtype.kind == "f" else str(array.item())


def _agreement(wrong: int, total: int) -> str:
    if wrong == 0:
        return f"Network and program agree on all {total} inputs drawn."
    marked = ", outlined in red" if wrong <= _MOST_MARKS else ""
    return f"Network and program differ on {wrong} of the {total} inputs drawn{marked}."


def _map(
    title: str, account: Account, cut: Cut, values: np.ndarray, words: str, where: str
) -> d.Picture:
    assert cut.down is not None
    rows, columns = values.shape
    left, top = 62.0, 16.0
    wide = _SIDE if columns >= 0.4 * rows else _SIDE * 0.5
    tall = _SIDE if rows >= 0.4 * columns else _SIDE * 0.5
    pixels, key = shades(cut.network, values, cut.inside)
    # Real axes grow upwards as in a textbook; whole numbers and tokens read like a table.
    upward = cut.down.values.dtype.kind == "f"
    shown = pixels[::-1] if upward else pixels
    parts = [d.image(shown, left, top, wide, tall)]
    parts.append(d.rectangle(left, top, wide, tall, class_="frame"))
    parts += _marks(cut, left, top, wide, tall, upward)
    parts += _sides(cut, left, top, wide, tall, upward)
    parts += _counterexample(account, cut, left, top, wide, tall, upward)
    text, height = d.legend(key, left, top + tall + 42, wide)
    parts.append(text)
    alternative = (
        f"{title} for {cut.across.label} (across) and {cut.down.label} (down){where}. {words}"
    )
    return d.Picture(
        title,
        d.drawing(left + wide + 14, top + tall + 46 + height, parts, alternative),
        f"{cut.across.label} across, {cut.down.label} {'up' if upward else 'down'}{where}. {words}",
        alternative,
    )


def shades(
    reference: np.ndarray, values: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Colours for the values, on the scale of the reference, and a key for them."""
    if reference.dtype.kind == "f" and len(np.unique(reference)) > len(d.PALETTE):
        low, high = float(reference[inside].min()), float(reference[inside].max())
        pixels = d.scaled(values, low, high)
        ends = d.scaled(np.array([0.0, 0.5, 1.0]), 0, 1).tolist()
        levels = (low, (low + high) / 2, high)
        key = [(_hex(c), d.short(v)) for c, v in zip(ends, levels, strict=True)]
    else:
        kinds = np.unique(np.concatenate([reference[inside], values[inside]]))
        codes = np.searchsorted(kinds, values).clip(0, len(kinds) - 1)
        pixels = d.coloured(codes, len(kinds))
        step = max(1, -(-len(kinds) // len(d.PALETTE)))
        key = [
            (d.colour_of(i, len(kinds)), str(kinds[i].item())) for i in range(0, len(kinds), step)
        ]
    pixels = np.array(pixels)
    pixels[~inside] = _OUTSIDE
    if not inside.all():
        key.append((_hex(list(_OUTSIDE)), "outside the domain"))
    return pixels, key


def _hex(colour: list[int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def _marks(cut: Cut, left: float, top: float, wide: float, tall: float, upward: bool) -> list[str]:
    """Red outlines of the cells on which network and program differ, where they are few."""
    assert cut.down is not None
    rows, columns = cut.same.shape
    found = np.argwhere(~cut.same & cut.inside)
    parts: list[str] = []
    if len(found) > _MOST_MARKS:
        return parts
    for row, column in found.tolist():
        place = rows - 1 - row if upward else row
        words = (
            f"{cut.across.label} = {_value(cut.across.values[column])}, "
            f"{cut.down.label} = {_value(cut.down.values[row])}: network "
            f"{cut.network[row, column]}, program {cut.program[row, column]}"
        )
        parts.append(
            d.rectangle(
                left + wide * column / columns,
                top + tall * place / rows,
                max(wide / columns, 1.5),
                max(tall / rows, 1.5),
                class_="wrong",
                title=words,
            )
        )
    return parts


def _sides(cut: Cut, left: float, top: float, wide: float, tall: float, upward: bool) -> list[str]:
    """Ticks and names of both axes."""
    assert cut.down is not None
    parts = []
    for share, label in _labels(cut.across):
        parts.append(d.text(left + wide * share, top + tall + 13, label, "tick middle"))
    for share, label in _labels(cut.down):
        place = 1 - share if upward else share
        parts.append(d.text(left - 5, top + tall * place + 3, label, "tick end"))
    parts.append(d.text(left + wide / 2, top + tall + 30, cut.across.label, "axis-name middle"))
    parts.append(d.text(left - 5, top - 5, cut.down.label, "axis-name end"))
    return parts


def _labels(axis: Axis) -> list[tuple[float, str]]:
    """Shares of the axis' length with their words."""
    count = len(axis.values)
    if axis.values.dtype.kind == "f":
        low, high = float(axis.values[0]), float(axis.values[-1])
        return [((tick - low) / (high - low), d.short(tick)) for tick in d.ticks(low, high, 4)]
    step = max(1, -(-count // 8))
    return [((i + 0.5) / count, str(axis.values[i].item())) for i in range(0, count, step)]


def _counterexample(
    account: Account, cut: Cut, left: float, top: float, wide: float, tall: float, upward: bool
) -> list[str]:
    """A ring around the counterexample where it lies on the plane."""
    if not isinstance(account.verdict, Refuted) or cut.rest or cut.down is None:
        return []
    inputs = account.verdict.counterexample.inputs
    shares = []
    for axis in (cut.across, cut.down):
        value = inputs.get(axis.name)
        if axis.entry is not None or value is None:
            return []
        if axis.numeric:
            low, high = float(axis.values[0]), float(axis.values[-1])
            shares.append((float(value) - low + 0.0) / (high - low if high > low else 1))
        else:
            shares.append((axis.values.tolist().index(value) + 0.5) / len(axis.values))
    x, y = left + wide * shares[0], top + tall * (1 - shares[1] if upward else shares[1])
    return [d.circle(x, y, 7, class_="wrong", title="the counterexample")]


def _scale(low: float, high: float, start: float, end: float) -> Any:
    span = high - low if high > low else 1.0
    return lambda value: start + (end - start) * (value - low) / span
