"""The library: load, compile, search, check."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from distill import emit, pipeline
from distill.task import Task, from_table, read
from distill.task import target as target_of
from dsl.claim import Counterexample, Target, Verdict
from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.evaluate import call
from dsl.parser import parse
from dsl.program import Program


@dataclass(frozen=True)
class Model:
    """A checkpoint on disk, or a network in memory (`runtime` and a name for it)."""

    path: Path | None
    runtime: Any = None
    dtype: str = "float32"

    def task(self, domain: Domain | str | None, options: Mapping[str, str]) -> Task:
        """The task of this file under the options of `compile`."""
        assert self.path is not None
        if self.path.is_dir() and (self.path / "task.toml").is_file() and domain is None:
            return read(self.path)
        if domain is None:
            raise DistillError(
                "D115",
                "no domain is given",
                remedy="say what the inputs are, for example -d 'a: int[0..9], b: int[0..9]'",
            )
        folder, name = (self.path, "") if self.path.is_dir() else (self.path.parent, self.path.name)
        output = {k: options[k] for k in ("positions", "decode", "tie") if options.get(k)}
        table: dict[str, Any] = {"name": self.path.stem, "domain": str(domain), "output": output}
        if name:
            table["model"] = name
        if options.get("pack"):
            table["pack"] = options["pack"]
        table["input"] = {k: options[k] for k in ("dtype", "shape") if options.get(k)}
        return from_table(table, folder)


def load(source: Any, *, dtype: str = "float32") -> Model:
    """A model from a file or folder, a torch module, or a function from batches to outputs."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.exists():
            raise DistillError("D001", f"there is no file {path}", place=str(path), exit_code=4)
        return Model(path)
    if callable(source):
        return Model(None, source, dtype)
    raise DistillError("D002", f"{type(source).__name__} is no model: give a path or a module")


@dataclass(frozen=True)
class Result:
    """A compiled network: the program, its text, the front, the verdict."""

    inner: pipeline.Result
    task: Task | None

    @property
    def program(self) -> Compiled:
        return Compiled(self.inner.program)

    @property
    def source(self) -> str:
        return emit.program_text(self.inner)

    @property
    def front(self) -> tuple[pipeline.Entry, ...]:
        return self.inner.front

    @property
    def verdict(self) -> Verdict:
        return self.inner.verdict

    @property
    def counterexample(self) -> Counterexample | None:
        return self.inner.counterexample

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Writes program.py, certificate.json and summary.txt.  Raises D131 for a network that
        lives in memory only: a certificate must name a file."""
        if self.task is None:
            raise DistillError(
                "D131",
                "a network in memory has no file that a certificate could name",
                remedy="save it with torch.export.save and compile the file",
            )
        return emit.save(self.inner, self.task, Path(folder))

    def __str__(self) -> str:
        return emit.summary(self.inner)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.source)}</pre><pre>{escape(str(self))}</pre>"


@dataclass(frozen=True)
class Compiled:
    """A program that can be called with plain values."""

    program: Program

    def __call__(self, *args: Any) -> Any:
        return call(self.program, *args)


def seconds_of(text: str | float) -> float:
    """`90`, `"90s"`, `"5m"` or `"1h"` in seconds."""
    if isinstance(text, (int, float)):
        return float(text)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    if found is None or float(found[1]) <= 0:
        raise DistillError("D116", f"`{text}` is no time", remedy="write 90s, 5m or 1h")
    return float(found[1]) * {None: 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def target(model: Any, domain: Domain | str | None = None, **options: str) -> tuple[Target, Any]:
    """The target and, for a file, its task."""
    model = model if isinstance(model, Model) else load(model)
    if model.path is not None:
        task = model.task(domain, options)
        return target_of(task), task
    return _in_memory(model, domain, options), None


def _in_memory(model: Model, domain: Domain | str | None, options: Mapping[str, str]) -> Target:
    from distill.oracle import chunked, from_torch
    from distill.phrases import Vocabulary, claim_of

    if domain is None:
        raise DistillError("D115", "no domain is given", remedy="pass a Domain")
    domain = domain if isinstance(domain, Domain) else Domain(domain)
    if getattr(model.runtime, "training", False):
        raise DistillError(
            "D012",
            "the module is in training mode, where dropout and batch norm are random",
            remedy="call module.eval() first",
            exit_code=4,
        )
    is_module = hasattr(model.runtime, "state_dict")
    claim = claim_of(
        domain,
        pack=options.get("pack", ""),
        positions=options.get("positions", "all"),
        decode=options.get("decode", options.get("target", "argmax")),
        tie=options.get("tie", ""),
        constraint="",
        vocabulary=Vocabulary((), None),
        dtype=options.get("dtype", model.dtype),
        shape=None,
        tolerance=0.0,
    )
    if not is_module:
        return Target(domain, claim, chunked(model.runtime))
    from distill.frontends import torch as torch_frontend

    network = torch_frontend.from_module(model.runtime, claim.dtype)
    return Target(domain, claim, from_torch(model.runtime), network)


def compile(  # the name that users expect
    model: Any,
    domain: Domain | str | None = None,
    *,
    time: str | float = "5m",
    seed: int = 0,
    start_from: str | Path | None = None,
    report: pipeline.Report = lambda phase, figures: None,
    **options: str,
) -> Result:
    """The shortest program found that equals the network on the domain, with a verdict."""
    found, task = target(model, domain, **options)
    given: tuple[Program, ...] = ()
    if start_from is not None:
        path = Path(start_from)
        given = (parse(path.read_text(encoding="utf-8"), path.name),)
    inner = pipeline.compile_target(
        found, seconds=seconds_of(time), seed=seed, start_from=given, report=report
    )
    return Result(inner, task)


def search(model: Any, domain: Domain | str | None = None, **options: Any) -> Iterator[Any]:
    """The front of hypotheses, the smallest first."""
    yield from compile(model, domain, **options).front
