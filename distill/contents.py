"""What a model contains: tensors, operations, what it looks like, whether its translation computes
what its runtime does, what its values are over a domain, and the command to type next."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distill import suggestion
from distill.circuits import Circuits, circuits
from distill.frontends.parameters import orbax_item
from distill.frontends.registry import declared, frontend, required
from distill.frontends.source import Source
from distill.inspection import Statistics, Values, summary
from dsl import networks, passes
from dsl.errors import DistillError
from dsl.program import Call, Constant, Program, Variable

_ROWS = 256
_LENGTHS = (8, 4, 2, 1)
_NOT_TAKEN = (RuntimeError, ValueError, IndexError, AssertionError)
"""What a runtime raises for rows of a shape that it does not take."""
_WITHOUT_TRANSLATION = ("D020", "D021")
_SUFFIXES = (".pt2", ".onnx", ".safetensors", ".npz", ".pt", ".pth", ".nnet", ".tflite", ".ckpt")


@dataclass(frozen=True)
class Finding:
    """What is known of one model; `problem` is why there is no program of it."""

    program: Program | None = None
    shape: tuple[int, ...] = ()
    difference: float | None = None
    largest: float = 0.0
    applied: tuple[passes.Applied, ...] = ()
    looks: str = ""
    values: tuple[Values, ...] = ()
    rows: tuple[int | None, ...] = ()  # what the file declares, None for axes of any length
    dtype: str = "float32"
    outputs: tuple[int, ...] = ()
    whole_outputs: bool = False
    circuits: Circuits | None = None
    problem: DistillError | None = None


def inspect(options: argparse.Namespace, given: Mapping[str, str]) -> int:
    """The command `inspect`.  Raises D001 for what is no file, D020 where `--dot` or `--onnx` ask
    for a program and there is none."""
    from distill.fingerprints import tensors

    path = Path(options.model)
    if not path.exists():
        raise DistillError("D001", f"there is no file {path}", place=str(path), exit_code=4)
    one = path.is_file() or orbax_item(path) is not None
    files = [path] if one else sorted(p for p in path.iterdir() if p.is_file())
    parts = {file.name: tensors(file) for file in files if one or file.suffix in _SUFFIXES}
    finding = examined(path, options.domain, given)
    _exported(finding, getattr(options, "dot", None), getattr(options, "onnx", None))
    following = next_command(path, options.domain, finding, given)
    if options.json:
        print(json.dumps(_table(parts, finding, following)))
        return 0
    for name, table in parts.items():
        print(f"{name}: {len(table)} parts")
        for part, digest in sorted(table.items()):
            print(f"  {digest[:12]}  {part}")
    print("\n".join(lines(finding)))
    print(f"next    {following}")
    return 0


def examined(path: Path, domain: str | None, given: Mapping[str, str]) -> Finding:
    """The model's program with its check, on inputs of the domain where there is one."""
    described = domain is not None or (path / "task.toml").is_file()
    try:
        return _on_domain(path, domain, given) if described else _alone(path, given)
    except DistillError as problem:
        return Finding(problem=problem)
    except _NOT_TAKEN as error:
        line = " ".join(str(error).split())[:200]
        return Finding(problem=DistillError("D013", f"{path.name} cannot be run", notes=(line,)))


def _on_domain(path: Path, domain: str | None, given: Mapping[str, str]) -> Finding:
    from distill import api

    target, task = api.target(path, domain, **given)
    batch = target.domain.sample(_ROWS, np.random.default_rng(0))[-1]
    packed = target.pack(batch)
    program = target.network(packed.shape[1:])
    source = Source(task.folder, task.model, str(task.table.get("arch", "")), target.claim.dtype)
    if program is None:
        program = required(source, packed.shape[1:])
    finding = checked(program, packed, target.runtime, values=True)
    return replace(finding, circuits=circuits(target))


def _alone(path: Path, given: Mapping[str, str]) -> Finding:
    """A file by itself: rows of normal numbers, or of 0 and 1 for whole numbers."""
    if path.is_dir() and orbax_item(path) is None:
        raise DistillError("D115", "no domain is given", remedy="give one with -d")
    source = Source(path.parent, path, given.get("arch", ""), given.get("dtype", "float32"))
    reader = frontend(source)
    runtime = reader.runtime(source)
    rows, dtype = _declared(source, given)
    refusal: Exception = ValueError("no rows of any length")
    for length in _LENGTHS if None in rows else _LENGTHS[-1:]:
        shape = tuple(length if axis is None else axis for axis in rows)
        try:
            return replace(_of_shape(source, runtime, shape, dtype), rows=rows, dtype=dtype)
        except _NOT_TAKEN as error:
            refusal = error  # it may not take rows so long
    raise refusal


def _of_shape(source: Source, runtime: Any, shape: tuple[int, ...], dtype: str) -> Finding:
    """A model on rows of a shape.  Raises one of `_NOT_TAKEN` where it takes none such."""
    drawn = np.random.default_rng(0).normal(size=(_ROWS, *shape))
    packed = drawn.astype(dtype) if np.dtype(dtype).kind == "f" else (drawn > 0).astype(dtype)
    try:
        program = required(source, shape)
    except DistillError as problem:
        if problem.code not in _WITHOUT_TRANSLATION:
            raise
        try:
            return replace(_answered(np.asarray(runtime(packed))), problem=problem)
        except _NOT_TAKEN:
            return Finding(problem=problem)
    return checked(program, packed, runtime, values=False)


def _declared(source: Source, given: Mapping[str, str]) -> tuple[tuple[int | None, ...], str]:
    """The axes of rows (None where one is free) and the dtype that a file says, or that were
    given."""
    axes, dtype = declared(source)
    if given.get("shape"):
        numbers = [axis.strip() for axis in given["shape"].strip("[] ").split(",")][1:]
        axes = tuple(int(axis) if axis.isdigit() else None for axis in numbers)
    if axes is None:
        raise DistillError(
            "D013",
            f"{source.model.name} does not say how long its inputs are",
            remedy="give --shape '[batch, 12]', or a domain",
        )
    return axes, given.get("dtype") or dtype


def _answered(expected: np.ndarray) -> Finding:
    """What a runtime's answers look like."""
    largest = float(np.abs(expected.astype(np.float64)).max(initial=0.0))
    return Finding(
        largest=largest, outputs=expected.shape[1:], whole_outputs=expected.dtype.kind in "iub"
    )


def checked(program: Program, packed: np.ndarray, runtime: Any, *, values: bool) -> Finding:
    """A program beside its runtime on some rows, and after the canonical passes."""
    expected = np.asarray(runtime(packed))
    found = networks.run(program, packed)
    difference = None
    if found.shape == expected.shape:
        apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        difference = float(apart.max(initial=0.0))
    _, applied = passes.canonical(program, packed[:16])
    summaries: tuple[Values, ...] = ()
    if values:
        made = {name: call.primitive for name, call in networks.bindings(program)}
        summaries = tuple(
            summary(name, made.get(name, "input"), value)
            for name, value in networks.trace(program, packed).items()
            if value.size
        )
    return replace(
        _answered(expected),
        program=program,
        shape=tuple(packed.shape[1:]),
        difference=difference,
        applied=applied,
        looks=look(program),
        values=summaries,
    )


def look(program: Program) -> str:
    """What kind of network this seems to be: a guess from operations and shared weights."""
    counts = networks.operations(program)
    reads: dict[str, int] = {}
    for _, call in networks.bindings(program):
        if call.primitive in ("linear", "matmul") and isinstance(call.args[1], Constant):
            reads[call.args[1].name] = reads.get(call.args[1].name, 0) + 1
    matrices = list(reads.values())
    for layer in ("lstm", "gru", "rnn"):
        if counts.get(layer):
            return f"a recurrent network: {counts[layer]} {layer} layer{'s' * (counts[layer] > 1)}"
    attention = counts.get("attention", 0) + counts.get("softmax", 0)
    products = counts.get("matmul", 0) + counts.get("einsum", 0)
    if counts.get("attention") or (attention and products > attention):
        return f"a transformer: {attention} attention layer{'s' * (attention > 1)}"
    if matrices and min(matrices) >= 3:
        return f"a recurrent network, unrolled over {max(matrices)} steps"
    if counts.get("conv"):
        return f"a convolutional network: {counts['conv']} convolutions"
    widths = [
        str(program.constant(call.args[1].name).shape[0 if call.primitive == "linear" else -1])
        for _, call in networks.bindings(program)
        if call.primitive in ("linear", "matmul")
        and len(call.args) > 1
        and isinstance(call.args[1], Constant)
    ]
    start = "a perceptron on embedded tokens" if counts.get("gather") else "a perceptron"
    return f"{start}: {'-'.join(widths)}" if widths else "a function without weights"


def lines(finding: Finding) -> list[str]:
    """What was found, for people."""
    found: list[str] = []
    if finding.problem is not None:
        found.append(f"program none: {finding.problem.finding}")
        found += [f"        {note}" for note in finding.problem.notes]
        if finding.problem.remedy:
            found.append(f"        {finding.problem.remedy}")
    if finding.program is None:
        return found
    counts = networks.operations(finding.program)
    weights = sum(array.size for array in networks.parameters(finding.program).values())
    found.append(f"looks   {finding.looks}")
    shape = ", ".join(["batch", *map(str, finding.shape)])
    found.append(
        f"program {len(finding.program.body)} operations, {weights} weights, input [{shape}]"
    )
    found.append("        " + ", ".join(f"{name} x{count}" for name, count in counts.items()))
    if finding.difference is None:
        found.append("check   the program's output has another shape than the runtime's")
    else:
        found.append(
            f"check   largest difference from the runtime {finding.difference:.2g}"
            f" (outputs up to {finding.largest:.3g})"
        )
    for entry in finding.applied:
        found.append(
            f"pass    {entry.name}: {entry.before} -> {entry.after} operations, "
            f"largest difference {entry.difference:.2g}"
        )
    if finding.values:
        found += str(Statistics(_ROWS, finding.values)).splitlines()
    if finding.circuits is not None:
        found += finding.circuits.lines()
    return found


def next_command(path: Path, domain: str | None, finding: Finding, given: Mapping[str, str]) -> str:
    """The exact next command."""
    if (path / "task.toml").is_file():
        return f"distill compile {shlex.quote(str(path))}"
    known = finding.problem is None or finding.problem.code in _WITHOUT_TRANSLATION
    if not known and finding.problem is not None:
        return suggestion.after_refusal(path, finding.problem.code, given)
    if domain is not None:
        more = "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items())
        return f"distill compile {shlex.quote(str(path))} -d {shlex.quote(domain)}{more}"
    return suggestion.command(
        path,
        given,
        program=finding.program,
        rows=finding.rows,
        dtype=finding.dtype,
        outputs=finding.outputs,
        whole_outputs=finding.whole_outputs,
        largest=finding.largest,
    )


def _table(parts: Any, finding: Finding, following: str) -> dict[str, Any]:
    table: dict[str, Any] = {"parts": parts, "next": following}
    if finding.problem is not None:
        table["problem"] = {"code": finding.problem.code, "notes": list(finding.problem.notes)}
    if finding.program is not None:
        table |= {
            "looks": finding.looks,
            "operations": networks.operations(finding.program),
            "difference": finding.difference,
            "passes": [[a.name, a.before, a.after, a.difference] for a in finding.applied],
            "values": {
                row.name: [row.low, row.high, row.distinct, row.rank] for row in finding.values
            },
        }
    if finding.circuits is not None:
        table |= finding.circuits.table()
    return table


def _exported(finding: Finding, dot: str | None, onnx: str | None) -> None:
    from distill.certificate import write_text

    if (dot or onnx) and finding.program is None:
        raise finding.problem or DistillError("D020", "there is no program to export")
    if finding.program is None:
        return
    if dot:
        write_text(Path(dot), to_dot(finding.program))
    if onnx:
        from distill.frontends.onnx_export import to_onnx

        Path(onnx).write_bytes(to_onnx(finding.program))


def to_dot(program: Program) -> str:
    """The network as a graph for Graphviz."""

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    found = ["digraph network {", "  rankdir=TB; node [shape=box, fontname=monospace];"]
    found += [f"  {quoted(name)} [shape=ellipse];" for name in program.parameters]
    for name, call in networks.bindings(program):
        found.append(f"  {quoted(name)} [label={quoted(_label(name, call, program))}];")
        for arg in call.args:
            if isinstance(arg, Variable):
                found.append(f"  {quoted(arg.name)} -> {quoted(name)};")
    for item in networks.results(program):
        found.append(f"  {quoted(item.name)} -> output;")
    return "\n".join([*found, "  output [shape=ellipse];", "}", ""])


def _label(name: str, call: Call, program: Program) -> str:
    held = [
        f"{arg.name} {'x'.join(map(str, program.constant(arg.name).shape)) or 'number'}"
        for arg in call.args
        if isinstance(arg, Constant)
    ]
    return ", ".join([f"{name}: {call.primitive}", *held])
