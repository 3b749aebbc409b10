"""Results do not depend on where the work is done."""

from __future__ import annotations

import concurrent.futures
import time
from typing import Any

import pytest

from distill import execution, task
from distill.certificate import verdict_table
from dsl.claim import Proved, Refuted, Target
from dsl.errors import DistillError
from dsl.parser import parse
from tests.distill.networks import affine
from verify import enumeration

RIGHT = parse("def program(a, b, c):\n    return int(a + 2 * b - c > 3)\n")
WRONG = parse("def program(a, b, c):\n    return int(a + 2 * b - c > 3 or c == 59)\n")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> task.Task:
    return task.read(affine(tmp_path_factory.mktemp("task") / "affine"))


@pytest.fixture(scope="module")
def opened(described: task.Task) -> Target:
    return task.target(described)


def verdicts(target: Target, pool: Any) -> list[dict[str, Any]]:
    from dataclasses import replace

    found = []
    for program in (RIGHT, WRONG):
        verdict = enumeration.verify(
            program,
            replace(target, workers=pool),
            deadline=time.monotonic() + 100,
            seed=0,
            evidence={},
        )
        assert isinstance(verdict, (Proved, Refuted))
        found.append(verdict_table(verdict))
    return found


def test_one_two_and_eight_workers_give_the_same_verdicts(
    described: task.Task, opened: Target
) -> None:
    recipe = execution.recipe_of(described, opened)
    alone = verdicts(opened, None)
    assert alone[0]["kind"] == "PROVED"
    assert alone[0]["evidence"]["inputs"] == 61**3
    assert alone[1]["counterexample"]["inputs"] == {"a": 0, "b": 0, "c": 59}
    assert verdicts(opened, execution.Serial()) == alone
    for count in (2, 8):
        with concurrent.futures.ThreadPoolExecutor(count) as threads:
            assert verdicts(opened, execution.Pooled(threads, recipe, count)) == alone
    with execution.workers(described, opened, jobs=2) as processes:
        assert verdicts(opened, processes) == alone


def test_a_local_dask_cluster_gives_the_same_verdicts(described: task.Task, opened: Target) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        with distributed.Client(address) as client:
            pool = execution.Pooled(
                client.get_executor(), execution.recipe_of(described, opened), 2
            )
            assert verdicts(opened, pool) == verdicts(opened, None)


def test_a_worker_refuses_another_model(described: task.Task, opened: Target) -> None:
    recipe = execution.recipe_of(described, opened)
    changed = execution.Recipe(recipe.folder, recipe.table, "0" * 64)
    with pytest.raises(DistillError) as raised:
        execution.work(changed, enumeration.compared, None)
    assert raised.value.code == "D134"


def test_a_worker_opens_the_model_once(
    described: task.Task, opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = []
    monkeypatch.setattr(
        execution.Recipe, "target", lambda self: opens.append(self.digest) or opened
    )
    execution._OPENED.clear()
    recipe = execution.recipe_of(described, opened)
    found = [execution.work(recipe, lambda target, item: item + 1, item) for item in range(5)]
    execution._OPENED.clear()
    assert found == [1, 2, 3, 4, 5]
    assert len(opens) == 1


def test_results_keep_the_order_of_the_items_and_progress_is_told(
    described: task.Task, opened: Target
) -> None:
    told: list[Any] = []

    def slow_first(target: Target, item: int) -> int:
        time.sleep(0.05 if item % 4 == 0 else 0.0)
        return item

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        pool = execution.Pooled(
            threads,
            execution.recipe_of(described, opened),
            4,
            lambda name, figures: told.append((name, figures["done"], figures["total"])),
        )
        assert list(pool.run(opened, slow_first, range(20), 20)) == list(range(20))
    assert told[0] == ("work", 1, 20)
    assert told[-1] == ("work", 20, 20)


def test_a_network_in_memory_cannot_be_sent_to_workers(opened: Target) -> None:
    with pytest.raises(DistillError) as raised, execution.workers(None, opened, jobs=2):
        pass
    assert raised.value.code == "D133"


@pytest.mark.parametrize(("jobs", "executor"), [(0, None), (1, "ray://x"), (1, "dask://")])
def test_workers_that_make_no_sense_are_refused(
    described: task.Task, opened: Target, jobs: int, executor: str | None
) -> None:
    with (
        pytest.raises(DistillError) as raised,
        execution.workers(described, opened, jobs=jobs, executor=executor),
    ):
        pass
    assert raised.value.code == "D135"


def test_an_item_is_known_by_its_content(described: task.Task, opened: Target) -> None:
    recipe = execution.recipe_of(described, opened)
    block, other = enumeration.blocks_of(opened.domain)[:2]
    keys = {
        execution.item_digest(recipe, enumeration.compared, enumeration.Item(program, b, 0.0))
        for program in (RIGHT, WRONG)
        for b in (block, other)
    }
    assert len(keys) == 4
    again = execution.item_digest(recipe, enumeration.compared, enumeration.Item(RIGHT, block, 0.0))
    assert again in keys
