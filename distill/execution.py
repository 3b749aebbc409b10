"""Where work items run: in this process, in a pool of processes, or on a Dask cluster.

An item is plain data; the function that works on it gets the target besides.  A worker opens the
target once, from the files that the task names, and refuses a model with another fingerprint.
Results come back in the order of the items, so that nothing depends on how many workers there are.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.task import Task
from dsl.claim import LATER, Target
from dsl.errors import DistillError

Report = Callable[[str, Mapping[str, Any]], None]
_AHEAD = 3
"""Items in flight for each worker: enough to keep it busy, few enough to stop soon."""
_LARGE = 500_000
"""Inputs from which on workers open the model at once, while this process does something else."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a worker opens the target: the task's folder and table; the model's fingerprint."""

    folder: str
    table: str
    fingerprint: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(
            repr((self.folder, self.table, self.fingerprint)).encode()
        ).hexdigest()

    def target(self) -> Target:
        """Raises D134 where the worker sees another model than the one that asked."""
        from distill.task import from_table, target

        found = target(from_table(json.loads(self.table), Path(self.folder)))
        if found.fingerprint != self.fingerprint:
            raise DistillError(
                "D134",
                "a worker found another model than the one that is being compiled",
                place=self.folder,
                remedy="give all workers the same files under the same path",
                exit_code=4,
            )
        return found


def recipe_of(task: Task, target: Target) -> Recipe:
    return Recipe(str(task.folder.resolve()), json.dumps(dict(task.table)), target.fingerprint)


_OPENED: dict[str, Target] = {}
_OPENING = threading.Lock()
"""Torch reads one exported program at a time; the threads of a Dask worker wait for the first."""


def work(recipe: Recipe, function: Callable[[Target, Any], Any], item: Any) -> Any:
    """One item, in a worker: the target is opened by the first and kept for the others."""
    key = recipe.digest
    with _OPENING:
        if key not in _OPENED:
            from distill.oracle import always_single_thread

            always_single_thread()
            _OPENED.clear()
            _OPENED[key] = recipe.target()
        target = _OPENED[key]
    return function(target, item)


def item_digest(recipe: Recipe, function: Callable[..., Any], item: Any) -> str:
    """What an item asks for, by content: the key under which its result may be kept."""
    name = f"{function.__module__}.{function.__qualname__}"
    return hashlib.sha256(f"{recipe.digest} {name} {item!r}".encode()).hexdigest()


@dataclass
class Serial:
    """Items one after the other, in this process."""

    report: Report = lambda name, figures: None
    count: int = 1

    def run(
        self,
        target: Target,
        function: Callable[[Target, Any], Any],
        items: Iterable[Any],
        total: int | None = None,
    ) -> Iterator[Any]:
        for done, item in enumerate(items, 1):
            yield function(target, item)
            self.report("work", {"done": done, "total": total})


@dataclass
class Pooled:
    """Items on an executor, a few for each worker at a time, results in the order of the items."""

    executor: concurrent.futures.Executor
    recipe: Recipe
    count: int
    report: Report = lambda name, figures: None
    moved: int = field(default=0)

    def run(
        self,
        target: Target,
        function: Callable[[Target, Any], Any],
        items: Iterable[Any],
        total: int | None = None,
    ) -> Iterator[Any]:
        waiting: deque[concurrent.futures.Future[Any]] = deque()
        remaining = iter(items)
        done = 0
        try:
            while True:
                while len(waiting) < _AHEAD * self.count:
                    item = next(remaining, self)
                    if item is self or item is LATER:
                        break
                    waiting.append(self.executor.submit(work, self.recipe, function, item))
                if not waiting:
                    return
                yield waiting.popleft().result()
                done += 1
                self.report("work", {"done": done, "total": total})
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def workers(
    task: Task | None,
    target: Target,
    *,
    jobs: int = 1,
    executor: str | concurrent.futures.Executor | None = None,
    report: Report = lambda name, figures: None,
) -> Iterator[Serial | Pooled]:
    """The workers that a user asks for, closed at the end.

    `executor` is an Executor, or `dask://host:port`; without one, `jobs` processes are spawned.
    Raises D133 where a network in memory would have to be sent to another process.
    """
    if jobs < 1:
        raise DistillError("D135", f"{jobs} is no number of workers", remedy="give 1 or more")
    if executor is None and jobs == 1:
        yield Serial(report)
        return
    if task is None:
        raise DistillError(
            "D133",
            "a network in memory cannot be opened by other processes",
            remedy="save it with torch.export.save and compile the file, or use one worker",
        )
    recipe = recipe_of(task, target)
    if isinstance(executor, str):
        with _dask(executor) as (pool, count):
            yield Pooled(pool, recipe, count, report)
        return
    if executor is not None:
        count = int(getattr(executor, "_max_workers", jobs))
        yield Pooled(executor, recipe, count, report)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_deaf
    )
    try:
        size = target.domain.raw_size
        if size is None or size > _LARGE:
            for _ in range(jobs):
                pool.submit(work, recipe, _opened, None)
        yield Pooled(pool, recipe, jobs, report)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _opened(target: Target, item: None) -> None:
    """An item that only opens the model."""


def _deaf() -> None:
    """Ctrl-C ends the command, which ends its workers; they do not answer it themselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _dask(address: str) -> Iterator[tuple[concurrent.futures.Executor, int]]:
    """A cluster's executor and its number of threads of work."""
    scheme, _, place = address.partition("://")
    if scheme != "dask" or not place:
        raise DistillError(
            "D135", f"`{address}` is no executor", remedy="write dask://host:port, or use --jobs"
        )
    try:
        import distributed
    except ImportError:
        raise DistillError(
            "D011", "a Dask cluster needs distributed", remedy="pip install 'distillc[dask]'"
        ) from None
    try:
        client: Any = distributed.Client(f"tcp://{place}", timeout="10s")  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as error:
        raise DistillError(
            "D136",
            f"there is no Dask scheduler at {place}",
            notes=(str(error)[:200],),
            remedy="start one with `dask scheduler`, and workers with `dask worker`",
            exit_code=3,
        ) from None
    try:
        count = max(1, sum(client.nthreads().values()))
        yield client.get_executor(), count
    finally:
        client.close()
