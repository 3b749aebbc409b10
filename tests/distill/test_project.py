"""Tasks that stand in a pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from distill import api, project
from dsl.errors import DistillError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "modular_addition"
TABLE = """
[tool.distill.models.addition]
model = "model.pt2"
domain = "a: int[0..12], b: int[0..12]"

[tool.distill.models.addition.input]
dtype = "int64"

[tool.distill.models.addition.output]
decode = "argmax"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLE / "model.pt2", tmp_path / "model.pt2")
    (tmp_path / project.FILE).write_text(TABLE, encoding="utf-8")
    return tmp_path


def test_a_task_of_the_project_is_compiled_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = api.compile("addition", time="30s")
    assert result.program(7, 8) == 2


def test_the_only_task_of_a_folder_needs_no_name(folder: Path) -> None:
    target, task = api.target(str(folder))
    assert (task.name, target.domain.raw_size) == ("addition", 169)


def test_several_tasks_are_listed_when_none_is_named(folder: Path) -> None:
    path = folder / project.FILE
    path.write_text(TABLE + TABLE.replace("addition", "other"), encoding="utf-8")
    with pytest.raises(DistillError) as caught:
        api.target(str(folder))
    assert caught.value.finding == "pyproject.toml has several tasks"
    assert caught.value.remedy == "name one of them: addition, other"


def test_a_table_of_the_wrong_form_is_refused(folder: Path) -> None:
    (folder / project.FILE).write_text("[tool.distill]\nmodels = 3\n", encoding="utf-8")
    with pytest.raises(DistillError) as caught:
        project.tasks(folder)
    assert (caught.value.code, caught.value.finding) == (
        "D120",
        "[tool.distill] has the wrong form",
    )
