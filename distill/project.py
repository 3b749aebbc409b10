"""The tasks of a project: `[tool.distill]` in a pyproject.toml.

One task stands in `[tool.distill]` itself, several in `[tool.distill.models.NAME]`; each is the
same table as a task.toml and names its file with `model`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsl.errors import DistillError

FILE = "pyproject.toml"


def tasks(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The tables of a folder's project by name; none where it has no `[tool.distill]`.

    Raises D120 for a file that cannot be read or a table of the wrong form.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DistillError("D120", f"{FILE} cannot be read: {error}", place=str(path)) from None
    table = project.get("tool", {}).get("distill", {})
    models = table.get("models", {}) if isinstance(table, dict) else None
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise DistillError(
            "D120",
            "[tool.distill] has the wrong form",
            place=str(path),
            remedy="write a table [tool.distill.models.NAME] with model and domain for each task",
        )
    found: dict[str, Mapping[str, Any]] = {
        name: {"name": name, **model} for name, model in models.items()
    }
    if "domain" in table:
        single = {key: value for key, value in table.items() if key != "models"}
        name = str(single.get("name", Path(str(single.get("model", folder.name))).stem))
        found[name] = {"name": name, **single}
    return found


def task_table(folder: Path, name: str | None) -> Mapping[str, Any]:
    """The table of the project's task `name`, or of its only one.

    Raises D120 where there is none, or several and no name.
    """
    known = tasks(folder)
    if name is not None and name in known:
        return known[name]
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    listed = ", ".join(sorted(known))
    if known:
        finding = f"{FILE} has no task {name}" if name else f"{FILE} has several tasks"
        raise DistillError(
            "D120", finding, place=str(folder / FILE), remedy=f"name one of them: {listed}"
        )
    raise DistillError(
        "D120",
        f"there is no task.toml in {folder}",
        place=str(folder),
        remedy="write one with distill init, or a table [tool.distill] in pyproject.toml",
    )
