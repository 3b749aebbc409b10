"""Hidden states of recurrent networks: where they lie, and what the program keeps in mind there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from distill.report import drawing as d
from distill.report import machine
from distill.report.account import Account
from distill.report.features import bases, indicators
from dsl import types as t
from dsl.domain import Shape
from synth.statistics import decodability

_WORDS = 160
_MOST_POINTS = 900
_RECURRENT = ("rnn", "gru", "lstm", "scan")


def pictures(account: Account) -> Iterator[d.Picture]:
    """The machine of the program's loop, and the hidden states coloured by its variables."""
    found = machine.machine_of(account.program, account.target.domain)
    if found is not None:
        yield machine.drawn(found)
    observed = hidden_states(account)
    if observed is None:
        return
    states, prefixes = observed
    part = machine.state_program(account.program)
    after = [machine.states_after(account.program, prefix) for prefix in prefixes]
    if part is None or any(rows is None for rows in after):
        yield scatter(states, None, "", "coloured by nothing: the program has no loop")
        return
    kept = np.concatenate([rows for rows in after if rows is not None])
    kinds = len(np.unique(kept, axis=0))
    if kinds <= len(d.PALETTE) and len(part[0]) > 1:
        yield clusters(states, kept, part[0])
        return
    for i, name in enumerate(part[0][:4]):
        yield clusters(states, kept[:, i : i + 1], (name,))


def words_of(account: Account) -> dict[str, np.ndarray] | None:
    """Random words of one length; None where the domain is not made of sequences."""
    domain = account.target.domain
    lengths = []
    for name, kind in domain.fields:
        if not isinstance(kind, t.Seq):
            return None
        high = kind.high if kind.high is not None else kind.low + 12
        lengths.append((name, min(high, max(kind.low, 24))))
    if len({length for _, length in lengths}) != 1 or lengths[0][1] < 2:
        return None
    return domain.sample_shape(Shape(tuple(lengths)), _WORDS, np.random.default_rng(11))


@dataclass(frozen=True, slots=True)
class Steps:
    """Every step of some words: what is read, the state before and after; and the prefixes that
    end with these steps, one batch for each length, in the same order."""

    symbols: np.ndarray
    before: np.ndarray
    after: np.ndarray
    prefixes: tuple[dict[str, np.ndarray], ...]


def steps_of(account: Account) -> Steps | None:
    """The steps of a recurrent network on random words; None for networks of other kinds."""
    batch, recurrence = words_of(account), account.target.recurrence
    if batch is None or recurrence is None:
        return None
    count = next(iter(batch.values())).shape[1]
    packed = account.target.pack(batch)
    if packed.ndim < 2 or packed.shape[1] != count:
        return None
    state = np.repeat(recurrence.start[None], len(packed), axis=0)
    before, after = [], []
    for i in range(count):
        before.append(state)
        _, state = recurrence.step(packed[:, i], state.astype(recurrence.start.dtype))
        after.append(state)
    return Steps(
        np.concatenate([packed[:, i] for i in range(count)]),
        np.concatenate(before),
        np.concatenate(after),
        prefixes_of(batch),
    )


def prefixes_of(batch: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], ...]:
    count = next(iter(batch.values())).shape[1]
    return tuple({n: column[:, : i + 1] for n, column in batch.items()} for i in range(count))


def hidden_states(
    account: Account,
) -> tuple[np.ndarray, tuple[dict[str, np.ndarray], ...]] | None:
    """States (prefixes, width) after every prefix of some words, with the prefixes in the same
    order; None for networks without a hidden state."""
    steps = steps_of(account)
    if steps is not None:
        return steps.after.reshape(len(steps.after), -1), steps.prefixes
    batch = words_of(account)
    if batch is None:
        return None
    packed = account.target.pack(batch)
    network = account.target.network(packed.shape[1:])
    if network is None:
        return None
    from dsl.networks import bindings, trace

    prefixes = prefixes_of(batch)
    recurrent = {name for name, call in bindings(network) if call.primitive in _RECURRENT}
    found = [
        value
        for name, value in trace(network, packed).items()
        if name in recurrent and value.ndim == 3 and value.shape[1] == len(prefixes)
    ]
    if not found:
        return None
    return np.concatenate([found[-1][:, i] for i in range(len(prefixes))]), prefixes


def clusters(states: np.ndarray, kept: np.ndarray, names: tuple[str, ...]) -> d.Picture:
    """The hidden states, coloured by the values of some variables."""
    kinds, codes = np.unique(kept, axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    shown = ", ".join(names)
    rows, weights = indicators(codes if len(names) > 1 else kept[:, 0])
    score = float(decodability(rows, bases({"hidden": states})) @ weights)
    words = (
        f"{shown} can be read off the hidden state linearly: R² = {score:.2f} over "
        f"{len(states)} states."
    )
    labels = [
        ", ".join(f"{n} = {v}" for n, v in zip(names, row, strict=True)) for row in kinds.tolist()
    ]
    return scatter(states, (codes, labels), shown, words)


def scatter(
    states: np.ndarray, colours: tuple[np.ndarray, list[str]] | None, names: str, words: str
) -> d.Picture:
    """Hidden states on their two main axes."""
    centred = np.nan_to_num(states.astype(np.float64) - states.mean(0))
    _, strength, axes = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ axes[:2].T
    if flat.shape[1] < 2:
        flat = np.concatenate([flat, np.zeros((len(flat), 1))], axis=1)
    share = (strength[:2] ** 2).sum() / max((strength**2).sum(), 1e-300)
    side, margin = 300.0, 14.0
    low, high = flat.min(0), flat.max(0)
    span = np.where(high > low, high - low, 1.0)
    spots = margin + (side - 2 * margin) * (flat - low) / span
    chosen = np.unique(np.linspace(0, len(spots) - 1, min(len(spots), _MOST_POINTS)).astype(int))
    total = 1 if colours is None else len(colours[1])
    codes = np.zeros(len(spots), int) if colours is None else colours[0]
    points: dict[tuple[int, int, int], None] = {}
    for i in chosen.tolist():
        points[round(spots[i, 0]), round(side - spots[i, 1]), int(codes[i])] = None
    parts = [d.rectangle(1, 1, side - 2, side - 2, class_="frame")]
    parts += [
        d.circle(x, y, 3.4, class_="point", fill=d.colour_of(code, total)) for x, y, code in points
    ]
    height = side + 8
    if colours is not None:
        step = max(1, -(-total // len(d.PALETTE)))
        key = [(d.colour_of(i, total), colours[1][i]) for i in range(0, total, step)]
        text, extra = d.legend(key, 4, side + 8, side)
        parts.append(text)
        height += extra
    alternative = (
        f"{len(states)} hidden states on their two main axes ({100 * share:.0f} % of the "
        f"variance), coloured by {names or 'nothing'}. {words}"
    )
    return d.Picture(
        f"Hidden states by {names}" if names else "Hidden states",
        d.drawing(side, height, parts, alternative),
        f"Two main axes of the hidden state, {100 * share:.0f} % of its variance. {words}",
        alternative,
    )
