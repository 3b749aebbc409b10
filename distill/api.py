"""The library: load, compile, search, check."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill import emit, pipeline, project
from distill.checkpoints import refuse_unreadable
from distill.durations import Budget, seconds_of
from distill.entries import Entry
from distill.frontends.parameters import orbax_item
from distill.frontends.registry import declared
from distill.frontends.source import Source
from distill.journal import Journal, key_of
from distill.questions import asking_time, questions
from distill.sources import text_of
from distill.state import Report
from distill.task import Task, from_table, read
from distill.task import target as target_of
from dsl.claim import Counterexample, Hypothesis, Target, Verdict
from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.evaluate import call
from dsl.program import Program
from dsl.typecheck import typed
from synth.problem import DataSet


@dataclass(frozen=True)
class Model:
    """A checkpoint on disk, or a network in memory (`runtime` and a name for it)."""

    path: Path | None
    runtime: Any = None
    dtype: str = "float32"
    name: str | None = None  # of a task in the folder's pyproject.toml
    arch: str = ""  # of a file of weights

    def task(self, domain: Domain | str | None, options: Mapping[str, str]) -> Task:
        """The task of this file under the options of `compile`."""
        assert self.path is not None
        described = self.name is not None or (self.path / "task.toml").is_file()
        if self.path.is_dir() and domain is None and (described or project.tasks(self.path)):
            return read(self.path, self.name)
        if domain is None:
            raise DistillError(
                "D115",
                "no domain is given",
                remedy="say what the inputs are, for example -d 'a: int[0..9], b: int[0..9]'",
            )
        folder, name = self.path.parent, self.path.name
        if self.path.is_dir() and orbax_item(self.path) is None:
            folder, name = self.path, ""
        output = {k: options[k] for k in ("positions", "decode", "tie") if options.get(k)}
        output.setdefault("decode", "argmax")
        table: dict[str, Any] = {"name": self.path.stem, "domain": str(domain), "output": output}
        if name:
            table["model"] = name
        for option, value in (("pack", ""), ("arch", self.arch)):
            if options.get(option, value):
                table[option] = options.get(option, value)
        table["input"] = {k: options[k] for k in ("dtype", "shape") if options.get(k)}
        if "dtype" not in table["input"]:
            refuse_unreadable(self.path)
            source = Source(folder, self.path, str(table.get("arch", "")))
            table["input"]["dtype"] = declared(source)[1] if name else "float32"
        return from_table(table, folder)


def load(source: Any, *, dtype: str = "float32", params: str | Path | None = None) -> Model:
    """A model from a file or folder, the name of a task in ./pyproject.toml, a torch module, a
    scikit-learn perceptron, a function from batches to outputs, a pair of a JAX function and its
    parameters, or `module:function` with parameters in a file."""
    from distill.frontends import memory

    if isinstance(source, (str, Path)):
        path = Path(source)
        if isinstance(source, str) and ":" in source and not path.exists():
            if params is not None:
                return Model(Path(params), dtype=dtype, arch=source)
            return Model(None, memory.function(source), dtype)
        if not path.exists() and str(source) in project.tasks(Path()):
            return Model(Path(), name=str(source))
        if not path.exists():
            raise DistillError("D001", f"there is no file {path}", place=str(path), exit_code=4)
        return Model(path)
    if memory.is_network(source):
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
    def front(self) -> tuple[Entry, ...]:
        return self.inner.front

    @property
    def verdict(self) -> Verdict:
        return self.inner.verdict

    @property
    def counterexample(self) -> Counterexample | None:
        return self.inner.counterexample

    def save(self, folder: str | Path, *, until: float = math.inf) -> tuple[Path, ...]:
        """Writes program.py, certificate.json, summary.txt and report.html, in which only what is
        drawn by `until` (a value of time.monotonic()) is shown.  Raises D131 for a network that
        lives in memory only: a certificate must name a file."""
        if self.task is None:
            raise DistillError(
                "D131",
                "a network in memory has no file that a certificate could name",
                remedy="save it with torch.export.save and compile the file",
            )
        from distill.report.account import from_result
        from distill.report.page import write

        folder = Path(folder)
        written = emit.save(self.inner, self.task, folder)
        account = from_result(self.inner, self.task.name, (f"distill check {folder}",))
        return (*written, write(account, folder / "report.html", until=until))

    def __str__(self) -> str:
        return emit.summary(self.inner)

    def _repr_html_(self) -> str:
        from distill.notebook import result_html

        return result_html(self)


@dataclass(frozen=True)
class Compiled:
    """A program that can be called with plain values."""

    program: Program

    def __call__(self, *args: Any) -> Any:
        return call(self.program, *args)


def target(model: Any, domain: Domain | str | None = None, **options: str) -> tuple[Target, Any]:
    """The target and, for a file, its task."""
    model = model if isinstance(model, Model) else load(model)
    if model.path is not None:
        task = model.task(domain, options)
        return target_of(task), task
    return _in_memory(model, domain, options), None


def _in_memory(model: Model, domain: Domain | str | None, options: Mapping[str, str]) -> Target:
    from distill.frontends import memory
    from distill.phrases import Vocabulary, claim_of

    if domain is None:
        raise DistillError("D115", "no domain is given", remedy="pass a Domain")
    domain = domain if isinstance(domain, Domain) else Domain(domain)
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
    runtime, network = memory.read(model.runtime, claim.dtype)
    return Target(domain, claim, runtime, network)


def compile(  # the name that users expect
    model: Any,
    domain: Domain | str | None = None,
    *,
    time: str | float = "5m",
    seed: int = 0,
    start_from: str | Path | None = None,
    jobs: int = 1,
    executor: Any = None,
    report: Report = lambda phase, figures: None,
    journal: Journal | None = None,
    data: str | Path | None = None,
    **options: str,
) -> Result:
    """The shortest program found that equals the network on the domain, with a verdict.

    With `data`, a file or folder of inputs (or one that the task names), programs are measured on
    its held-out part, and learn from the rest.

    A `journal` (see `distill.journal`) keeps the best so far on disk, and starts the run with what
    an earlier one of the same claim left.

    `time` is from the call to the last figure of the result; what loading takes up to a small part
    of what may be late (`durations.tolerance`) does not count.

    `jobs` processes share the heavy loops, or those of `executor`: a `concurrent.futures.Executor`
    or the text `dask://host:port`.  The result does not depend on them.
    """
    from distill.execution import workers

    budget = Budget(clock.monotonic(), seconds_of(time))
    found, task = target(model, domain, **options)
    given: tuple[Hypothesis, ...] = ()
    if start_from is not None:
        path = Path(start_from)
        given = (Hypothesis(typed(text_of(path), found.domain, path.name), "given"),)
    if journal is not None:
        journal.begin(key_of(found, seed))
        given += journal.hypotheses()
        report = _both(report, journal)
    supplied = _supplied(found, task, data)
    left = budget.after_loading(clock.monotonic())
    asking = 0.0 if supplied is None else asking_time(left)
    end = clock.monotonic() + left
    with workers(task, found, jobs=jobs, executor=executor, report=report) as pool:
        inner = pipeline.compile_target(
            replace(found, workers=pool),
            seconds=left - asking,
            seed=seed,
            start_from=given,
            report=report,
            data=supplied,
        )
    inner = replace(inner, target=found, statistics=questions(inner, supplied, end))
    return Result(inner, task)


def _supplied(found: Target, task: Task | None, data: str | Path | None) -> DataSet | None:
    """The data set that was given, or that the task names."""
    from distill import datasets

    if data is not None:
        return datasets.read(Path(data), found.domain)
    return None if task is None else datasets.of_task(dict(task.table), task.folder, found.domain)


def _both(one: Report, other: Report) -> Report:
    def report(phase: str, figures: Mapping[str, Any]) -> None:
        one(phase, figures)
        other(phase, figures)

    return report


def search(model: Any, domain: Domain | str | None = None, **options: Any) -> Iterator[Any]:
    """The front of hypotheses, the smallest first."""
    yield from compile(model, domain, **options).front
