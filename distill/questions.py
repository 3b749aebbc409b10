"""Two questions kept apart: what a network was taught, and what it does.

The *labelling* is a program that may fail on some inputs: its agreement with the network is stated
on the data, off the data and off the distribution.  The *network* is what is proved: a program with
exceptions, or the neighbourhoods of inputs on which labelling and network provably agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from distill.durations import tolerance
from distill.entries import Entry
from distill.pipeline import Result
from dsl.agreement import agreeing
from dsl.claim import Target
from dsl.limits import Limit
from dsl.program import Program
from synth.problem import DataSet
from verify.forms import Untranslatable

BALLS, RADIUS = 200, 1 / 255
_CHUNK = 2000
_NOISE = (0.02, 0.1)
_ROWS = 2000
_SECONDS, _SHARE = 240.0, 0.4
_LAWS = 3


def asking_time(seconds: float) -> float:
    """What is kept for the questions of the time of a run on a data set."""
    return min(_SHARE * seconds, _SECONDS)


def questions(
    result: Result, data: DataSet | None, deadline: float, *, seed: int = 0
) -> dict[str, Any]:
    """The answers to both questions, as JSON for the certificate; empty where they are the same
    because the program is exact and has no exceptions, or where there was no time for them."""
    if result.exceptions is not None:
        return {"questions": _with_exceptions(result)}
    if data is None or result.best.disagreement == 0:
        return {}
    laws = sorted(
        (e for e in result.front if e.hypothesis.proposer == "templates"),
        key=lambda e: e.disagreement,
    )
    named = [e for e in laws if e.named]
    learned = [e for e in laws if e not in named]
    chosen = [*learned[:1], *named[:1]] or [result.best]
    held: dict[int, np.ndarray] = {}
    answers: list[dict[str, Any]] = []
    with Limit(deadline + 0.1 * tolerance(deadline - time.monotonic())):
        for entry in chosen:
            answers.append(_on_data(result.target, entry, data, seed))
        for entry, answer in zip(chosen, answers, strict=True):
            balls = neighbourhoods(result.target, entry.program, data, deadline, held)
            answer["neighbourhoods"] = balls
    if not answers:
        return {}
    return {"questions": {"labelling": answers[0], "others": answers[1:]}}


def _template(entry: Entry) -> str:
    return str(entry.hypothesis.evidence.get("template", ""))


def _with_exceptions(result: Result) -> dict[str, Any]:
    from dsl.printer import to_python

    found = result.exceptions
    assert found is not None
    return {
        "labelling": {
            "program": to_python(found.law),
            "agreement": {"domain": found.agreement},
            "constants": result.best.hypothesis.evidence.get("constants", []),
        },
        "network": {
            "program": "the program of this certificate",
            "exceptions": len(found.table),
            "agreement": {"domain": 1.0},
            "bits": round(found.bits, 1),
            "bits_of_labels_counted": round(found.plain_bits, 1),
        },
    }


def _on_data(target: Target, entry: Entry, data: DataSet, seed: int) -> dict[str, Any]:
    from dsl.printer import to_python

    program = entry.program
    (name,) = target.domain.names
    agreement = {
        label: _agreement(target, program, name, rows)
        for label, rows in _situations(target, data, seed)
    }
    return {
        "program": to_python(program),
        "template": _template(entry),
        "agreement": agreement,
    }


def _agreement(target: Target, program: Program, name: str, rows: np.ndarray) -> float:
    same = 0
    for start in range(0, len(rows), _CHUNK):
        batch = {name: rows[start : start + _CHUNK]}
        values = target.evaluate(batch).values
        same += int(agreeing(program, batch, values, target.claim.decode).sum())
    return same / len(rows)


def _situations(target: Target, data: DataSet, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """On the data, off the data, off the distribution: a name and inputs."""
    rng = np.random.default_rng([seed, 0x0D])
    rows = data.parts[data.observed]
    yield f"data: {data.observed} ({len(rows)})", rows
    for name, other in data.others.items():
        yield f"data: {name} (first {min(len(other), _ROWS)})", other[:_ROWS]
    some = rows[:_ROWS]
    low, high = some.min(), some.max()
    for noise in _NOISE:
        moved = some + rng.uniform(-noise, noise, some.shape) * (high - low)
        yield f"noise +-{noise:g}", np.clip(moved, low, high)
    side = int(np.sqrt(some[0].size))
    if side * side == some[0].size:
        for pixels in (1, 2):
            yield f"shift by {pixels} right", _shifted(some, side, 2, pixels)
            yield f"shift by {pixels} down", _shifted(some, side, 1, pixels)
    batches = target.domain.sample(_ROWS, rng)
    yield "the domain, uniformly", np.concatenate([b[target.domain.names[0]] for b in batches])


def _shifted(rows: np.ndarray, side: int, axis: int, pixels: int) -> np.ndarray:
    """Square images moved by some pixels; what comes in is the least value."""
    images = np.roll(rows.reshape(len(rows), side, side), pixels, axis).copy()
    edge: list[Any] = [slice(None)] * 3
    edge[axis] = slice(0, pixels)
    images[tuple(edge)] = rows.min()
    return images.reshape(rows.shape)


def neighbourhoods(
    target: Target,
    program: Program,
    data: DataSet,
    deadline: float,
    held: dict[int, np.ndarray],
    *,
    count: int = BALLS,
    radius: float = RADIUS,
) -> dict[str, Any]:
    """Balls around observed inputs on which program and network provably give one value.

    Inputs are tried in order until `count` balls are certified.  `held` keeps by first input what
    was found of the network alone, for the next program.
    """
    from verify.neighbourhoods import margins_of, settled, steady

    try:
        margins = margins_of(target)
    except (Untranslatable, ValueError) as reason:
        return {"radius": radius, "certified": 0, "reason": str(reason)}
    (name,) = target.domain.names
    rows = data.parts[data.observed][: 4 * count].reshape(-1, _width(data))
    shaped = data.parts[data.observed][: 4 * count]
    values = target.evaluate({name: shaped}).values
    same = agreeing(program, {name: shaped}, values, target.claim.decode)
    least, most = float(rows.min()), float(rows.max())
    certified: list[int] = []
    tried = network_steady = program_settled = 0
    for start in range(0, len(rows), 16):
        if len(certified) >= count:
            break
        part = slice(start, start + 16)
        low = np.maximum(rows[part] - radius, least)
        high = np.minimum(rows[part] + radius, most)
        firm = settled(program, low, high, values[part])
        if firm is None:
            return {"radius": radius, "certified": 0, "reason": "no linear score in the program"}
        if start not in held:
            labels = values[part].astype(np.int64)
            with Limit(deadline) as limit:
                held[start] = steady(margins, low, high, labels, deadline)
            if limit.passed:
                break
        constant = held[start]
        tried += len(low)
        network_steady += int(constant.sum())
        program_settled += int((firm & same[part]).sum())
        certified += (start + np.flatnonzero(constant & firm & same[part])).tolist()
    certified = certified[:count]
    return {
        "radius": radius,
        "tried": tried,
        "certified": len(certified),
        "network_constant": network_steady,
        "program_constant_and_equal": program_settled,
        "inputs": certified,
    }


def _width(data: DataSet) -> int:
    return int(data.parts[data.observed][0].size)


def lines(statistics: Mapping[str, Any], percent: Callable[[float], str]) -> list[str]:
    """The answers as text for the summary."""
    found = statistics.get("questions")
    if not found:
        return []
    result = ["", "what the network was taught (the labelling program), and how far it agrees"]
    for answer in (found["labelling"], *found.get("others", ())):
        if answer.get("template"):
            result.append(f"  template {answer['template']}")
        for label, share in answer["agreement"].items():
            result.append(f"  {label:<34} {percent(share):>8}")
        balls = answer.get("neighbourhoods")
        if balls and "tried" in balls:
            result.append(
                f"  {balls['certified']} balls of radius {balls['radius']:.4f} certified "
                f"({balls['tried']} tried; network constant on {balls['network_constant']}, "
                f"program constant and equal on {balls['program_constant_and_equal']})"
            )
        elif balls:
            result.append(f"  no neighbourhood certified: {balls['reason']}")
    network = found.get("network")
    if network:
        result.append(
            f"what it does: the same with {network['exceptions']} exceptions listed, "
            f"{network['bits']:.0f} bits in all (the labels counted: "
            f"{network['bits_of_labels_counted']:.0f})"
        )
    return result
