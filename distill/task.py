"""Tasks: a folder with a network and a `task.toml` that says what it takes and gives.

The table may spell `pack`, `positions` and `decode` as expressions of the language, or in the
words that `distill.phrases` knows.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distill import project
from distill.checkpoints import probed, refuse_unreadable
from distill.fingerprints import fingerprint
from distill.frontends.parameters import orbax_item
from distill.frontends.registry import frontend
from distill.frontends.source import Source
from distill.phrases import Vocabulary, claim_of, condition_of
from dsl import types as t
from dsl.claim import Claim, Recurrence, Runtime, Target
from dsl.domain import Domain
from dsl.errors import DistillError

MODELS = ("model.pt2", "model.onnx", "model.safetensors", "step.pt2")


@dataclass(frozen=True)
class Task:
    """A named target and the folder that it came from."""

    name: str
    suite: str
    folder: Path
    table: Mapping[str, Any]
    domain: Domain
    claim: Claim
    model: Path


def read(folder: Path, name: str | None = None) -> Task:
    """The task in a folder: its task.toml, else a task of its pyproject.toml.  Raises D120 where
    the table lacks something or cannot be read."""
    path = folder / "task.toml"
    if name is not None or not path.is_file():
        return from_table(project.task_table(folder, name), folder)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DistillError("D120", f"task.toml cannot be read: {error}", place=str(path)) from None
    return from_table(table, folder)


def from_table(table: Mapping[str, Any], folder: Path) -> Task:
    """The task that a table describes; files are looked for in `folder`."""
    if not isinstance(table.get("domain"), str):
        raise DistillError("D120", "the task lacks `domain`", place=str(folder))
    domain = Domain(table["domain"])
    constraint = str(table.get("constraint", ""))
    if (condition := condition_of(constraint, domain)) is not None:
        domain = domain.restricted(condition)
    given, output = table.get("input", {}), table.get("output", {})
    model = _model(folder, table)
    claim = claim_of(
        domain,
        pack=str(table.get("pack", "")),
        positions=str(output.get("positions", "all")),
        decode=str(output.get("decode", "value")),
        tie=str(output.get("tie", "")),
        constraint=constraint,
        vocabulary=vocabulary(folder, domain),
        dtype=str(given.get("dtype", "float32")),
        shape=_shape(str(given.get("shape", ""))),
        tolerance=float(table.get("tolerance", 0.0)),
    )
    return Task(
        str(table.get("name", folder.name)),
        str(table.get("suite", folder.resolve().parent.name)),
        folder,
        table,
        domain,
        claim,
        model,
    )


def target(task: Task) -> Target:
    """The task's network with its claim; the traced network where it can be translated."""
    source = _source(task)
    refuse_unreadable(task.model)
    reader = frontend(source)
    before = fingerprint(task.folder, task.model)
    runtime = reader.runtime(source)
    recurrence = _recurrence(task.folder)
    found = Target(
        task.domain,
        _with_tolerance(task, runtime),
        runtime,
        reader.translation(source),
        recurrence,
        before,
    )
    return probed(_reachable(found), task.model)


def load(folder: str | Path) -> Target:
    """The target of a task folder."""
    return target(read(Path(folder)))


def vocabulary(folder: Path, domain: Domain) -> Vocabulary:
    """Token ids and output labels from vocab.json or config.json beside the model."""
    for name in ("vocab.json", "config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DistillError("D120", f"{name} cannot be read: {error}", place=str(path)) from None
        if name == "vocab.json":
            tokens = [token for token, _ in sorted(table.items(), key=lambda item: item[1])]
            return Vocabulary(tuple(_typed(token, domain) for token in tokens), None)
        if "input_token_ids" in table:
            labels = table.get("output_values")
            return Vocabulary(
                tuple(table["input_token_ids"]),
                None if labels is None else tuple(labels),
                {key: table[key] for key in ("bos", "pad") if key in table},
            )
    return Vocabulary((), None)


def _typed(token: str, domain: Domain) -> str | int:
    """A token as a number where the domain's items are numbers."""
    items = [k.item if isinstance(k, (t.Seq, t.Tensor)) else k for k in domain.types.values()]
    if all(isinstance(item, t.Int) for item in items) and token.lstrip("-").isdigit():
        return int(token)
    return token


def _shape(text: str) -> tuple[int, ...] | None:
    """`[batch, 1, 28, 28]` without the batch axis; None where an axis is named in words."""
    axes = [axis.strip() for axis in text.strip("[] ").split(",")]
    if len(axes) < 2 or not all(axis.isdigit() for axis in axes[1:]):
        return None
    return tuple(int(axis) for axis in axes[1:])


def _model(folder: Path, table: Mapping[str, Any]) -> Path:
    given = table.get("model")
    names = (str(given),) if given else MODELS
    for name in names:
        path = folder / name
        if path.is_file() or (given and orbax_item(path) is not None):
            if folder.resolve() not in path.resolve().parents:
                raise DistillError("D120", f"{name} lies outside the task's folder")
            return path
    if not given and (quantised := _quantised(folder)) is not None:
        return quantised
    for path in sorted(folder.glob("*.tflite")) if not given else ():
        return path
    raise DistillError(
        "D001",
        f"there is no model in {folder}: none of {', '.join(names)}",
        place=str(folder),
        exit_code=4,
    )


def _quantised(folder: Path) -> Path | None:
    """An archive in the folder that holds the layers of a quantised network."""
    from distill.frontends import quantised

    return next((p for p in sorted(folder.glob("*.npz")) if quantised.is_quantised(p)), None)


def _source(task: Task) -> Source:
    return Source(task.folder, task.model, str(task.table.get("arch", "")), task.claim.dtype)


def _recurrence(folder: Path) -> Recurrence | None:
    from distill import oracle
    from distill.frontends import pt2

    path = folder / "step.pt2"
    if not path.is_file():
        return None
    start = folder / "start.npy"
    first = np.load(start, allow_pickle=False) if start.is_file() else None
    return pt2.with_program(oracle.from_step(path, first), path)


def _with_tolerance(task: Task, runtime: Runtime) -> Claim:
    """For real outputs, a tolerance of a hundred thousandth of their size unless one is given."""
    claim = task.claim
    if claim.decode.rule != "value" or claim.decode.tolerance > 0:
        return claim
    rng = np.random.default_rng(0)
    largest = 0.0
    for batch in task.domain.sample(256, rng)[-4:]:
        bare = Target(task.domain, claim, runtime)
        try:
            largest = max(largest, float(np.abs(bare.raw(batch)).max(initial=0)))
        except (RuntimeError, ValueError, DistillError):
            continue
    tolerance = 1e-5 * 10.0 ** np.ceil(np.log10(max(largest, 1e-3)))
    return replace(claim, decode=replace(claim.decode, tolerance=float(tolerance)))


def _reachable(found: Target) -> Target:
    """The target on the lengths that the network takes: an exported network may refuse the
    shortest sequences, and then the claim is made without them."""
    from dsl.domain import Shape

    sequences = [(n, k) for n, k in found.domain.fields if isinstance(k, t.Seq)]
    if len(sequences) != 1 or found.claim.feedback is not None:
        return found
    name, kind = sequences[0]
    rng = np.random.default_rng(0)
    for low in range(kind.low, min(kind.low + 4, (kind.high or kind.low + 4) + 1)):
        batch = found.domain.sample_shape(Shape(((name, low),)), 2, rng)
        if batch is None:
            continue
        try:
            found.raw(batch)
        except (RuntimeError, ValueError, AssertionError):
            continue
        if low == kind.low:
            return found
        return replace(found, domain=found.domain.restricted(f"len({name}) >= {low}"))
    return found
