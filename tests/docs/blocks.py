"""The code blocks of a page of documentation, and how each is run.

A block's language says what it is: `python` is executed, with one set of names for the whole
page; `console` holds commands after `$ ` with what they print; `text` is what the block before it
printed; `toml` and `yaml` are shown. A comment before a block says more:

    <!-- file: NAME -->      the block is the content of a file
    <!-- not run: WHY -->    the block is not run
    <!-- exit: N -->         its last command ends with this exit code
    <!-- slow -->            it is run by `make docs-test` only
    <!-- task: PATH -->      the path stands for the folder of that name in the repository
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SHOWN = {"toml", "yaml", "text", "json", "{toctree}", ""}
_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!-- ([a-z ]+?)(?:: (.*?))? -->\s*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A block with its place, its language, its text, and what the comment before it says."""

    page: Path
    line: int
    language: str
    text: str
    notes: dict[str, str]

    @property
    def slow(self) -> bool:
        return "slow" in self.notes

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        before = text[: match.start()]
        notes: dict[str, str] = {}
        rest = before
        while (comment := _COMMENT.search(rest)) is not None:
            notes[comment[1]] = comment[2] or ""
            rest = rest[: comment.start()]
        found.append(Block(page, before.count("\n") + 1, match[1], match[2], notes))
    return found


def run_page(page: Path, folder: Path, *, slow: bool) -> int:
    """Runs a page's blocks in a folder; how many were run.  Fails with the place of the block."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = None
    count = 0
    with contextlib.chdir(folder):
        for block in blocks(page):
            if "not run" in block.notes or (block.slow and not slow):
                printed = None
                continue
            if "file" in block.notes:
                Path(block.notes["file"]).write_text(block.text, encoding="utf-8")
                continue
            if "task" in block.notes:
                path = Path(block.notes["task"])
                if not path.exists():
                    shutil.copytree(ROOT / path, path)
            match block.language:
                case "python":
                    printed = executed(block, names)
                    count += 1
                case "console":
                    run_console(block, folder)
                    printed = None
                    count += 1
                case "text":
                    if printed is not None:
                        same(block, block.text, printed)
                    printed = None
                case other:
                    assert other in SHOWN, f"{block.place}: nobody runs blocks of {other}"
    return count


def executed(block: Block, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(block.text, block.place, "exec"), names)
    return out.getvalue()


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Commands with what they are said to print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run_console(block: Block, folder: Path) -> None:
    parts = list(commands(block.text))
    assert parts, f"{block.place}: a console block needs a line that begins with `$ `"
    for i, (command, wanted) in enumerate(parts):
        code, printed = run_command(command, folder)
        last = i == len(parts) - 1
        expected = int(block.notes.get("exit", "0")) if last else 0
        assert code == expected, f"{block.place}: `{command}` ended with {code}:\n{printed}"
        if wanted.strip():
            same(block, wanted, printed)


def run_command(command: str, folder: Path) -> tuple[int, str]:
    """Exit code and output. Commands of distill run in this process, others in a shell."""
    words = shlex.split(command)
    if words[0] == "distill" and not set(words) & {"|", "&&", "&"}:
        from distill import cli

        if "2>" in words:
            words = words[: words.index("2>")]
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            try:
                code = cli.main(words[1:])
            except SystemExit as stopped:
                code = int(stopped.code or 0)
        return code, out.getvalue()
    if words[0] == "python":
        command = f"{shlex.quote(sys.executable)} {command.removeprefix('python ')}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=folder, env=environment
    )
    return done.returncode, done.stdout + (done.stderr if done.returncode else "")


def same(block: Block, wanted: str, printed: str) -> None:
    """Is the output what the page says, `...` standing for anything?"""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    equal = doctest.OutputChecker().check_output(wanted, printed, flags)
    assert equal, f"{block.place}: the page says\n{wanted}\nbut it is\n{printed}"
