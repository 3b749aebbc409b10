"""The tutorial notebook runs from top to bottom, and what it ends cells with shows itself."""

from __future__ import annotations

import ast
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one opened, or runs a script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.feed(text)
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


def shown(source: str, names: dict[str, Any]) -> Any:
    """Runs a cell; the value of its last expression, as a notebook would show it."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "cell", "exec"), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_tutorial_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    pages = []
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            value = shown("".join(cell["source"]), names)
            if hasattr(value, "_repr_html_"):
                pages.append((type(value).__name__, value._repr_html_()))
    kinds = [kind for kind, _ in pages]
    assert kinds == ["Domain", "Statistics", "Result", "Certificate", "Difference"]
    for _, text in pages:
        Balanced(text)
    shows = dict(pages)
    assert "64 inputs" in shows["Domain"]
    assert "<td" in shows["Statistics"] and "relu" in shows["Statistics"]
    assert "PROVED" in shows["Result"] and "PROVED" in shows["Certificate"]
    assert "DIFFERENT  on 8 of 64 inputs" in shows["Difference"]
    assert names["result"].program(3, 3) == 1
