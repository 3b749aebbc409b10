"""One wrong input per case: the exact message and the exit code."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill import cli
from tests.errors.networks import comparing, saved

DOMAIN = "a: int[0..9], b: int[0..9]"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any) -> Run:
    """The command, in this process and in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its program and its certificate; compiled once."""
    folder = tmp_path_factory.mktemp("finished")
    comparing(folder / "model.onnx")
    model, out = str(folder / "model.onnx"), str(folder)
    assert cli.main(["compile", model, "-d", DOMAIN, "--out", out, "--quiet"]) == 0
    return folder


@pytest.fixture
def compiled(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, called out."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_a_missing_file(run: Run) -> None:
    code, out, err = run("compile", "nowhere.onnx", "-d", DOMAIN, "--quiet")
    assert (code, out) == (4, "")
    assert err == "error[D001]: there is no file nowhere.onnx\n  --> nowhere.onnx\n"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_a_pickle_that_wants_to_run_code(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(pickle.dumps(Bomb()))
    code, _, err = run("compile", "model.pt2", "-d", DOMAIN, "--dtype", "float32", "--quiet")
    assert code == 4
    assert err == (
        "error[D015]: model.pt2 is a pickle that wants to run code\n"
        "  --> model.pt2\n"
        "  = it asks for pathlib.Path.touch, pathlib.PosixPath\n"
        "  = help: save the network with torch.export.save\n"
    )
    assert not (tmp_path / "exploded").exists()


def test_weights_without_an_architecture(run: Run, tmp_path: Path) -> None:
    import torch

    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "model.pt")
    code, _, err = run("compile", "model.pt", "-d", DOMAIN, "--quiet")
    assert code == 4
    assert err == (
        "error[D016]: model.pt holds weights without an architecture\n"
        "  --> model.pt\n"
        "  = 1 tensors: weight\n"
        "  = help: name it: --arch file.py:callable\n"
    )


def test_a_domain_that_is_too_large_to_count_is_tested_only(run: Run, tmp_path: Path) -> None:
    comparing(tmp_path / "model.onnx", 1.0)
    large = "a: int[0..99999], b: int[0..99999]"
    arguments = ("compile", "model.onnx", "-d", large, "--time", "4s", "--quiet", "--json")
    code, out, _ = run(*arguments)
    verdict = json.loads(out)["verdict"]
    assert verdict["kind"] in ("TESTED", "UNKNOWN", "REFUTED", "PROVED")
    assert verdict["method"] != "enumeration"
    assert code == {"PROVED": 0, "REFUTED": 1}.get(verdict["kind"], 3)


def test_inputs_of_another_shape(run: Run, tmp_path: Path) -> None:
    comparing(tmp_path / "model.onnx")
    code, out, err = run("compile", "model.onnx", "-d", DOMAIN, "--pack", "[a, b, a]", "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith(
        "error[D013]: model.onnx does not take inputs of shape (3,) and type float32\n"
        "  --> model.onnx\n"
    )
    assert err.endswith("  = help: say how inputs are packed with --pack, --dtype and --shape\n")


def test_weights_that_are_not_numbers(run: Run, tmp_path: Path) -> None:
    weights = np.array([[1.0, np.nan], [1.0, 1.0]], np.float32)
    saved(tmp_path / "model.onnx", weights, np.zeros(2, np.float32))
    code, out, err = run("compile", "model.onnx", "-d", DOMAIN, "--quiet")
    assert (code, out) == (4, "")
    assert err == (
        "error[D014]: model.onnx gives NaN on each of 16 inputs\n"
        "  --> model.onnx\n"
        "  = tensors with NaN or infinity: weight\n"
        "  = help: train it again, or look at its weights: distill inspect model.onnx\n"
    )


def test_a_module_in_training_mode() -> None:
    from distill.api import Model, compile
    from dsl.errors import DistillError

    class Training:
        training = True

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            return batch

    with pytest.raises(DistillError) as caught:
        compile(Model(None, Training()), DOMAIN)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "error[D012]: the module is in training mode, where dropout and batch norm are random\n"
        "  = help: call module.eval() first"
    )


def test_ties_are_listed_and_go_to_the_lowest_index(run: Run, tmp_path: Path) -> None:
    weights = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    saved(tmp_path / "model.onnx", weights, np.zeros(2, np.float32))
    code, out, _ = run("compile", "model.onnx", "-d", DOMAIN, "--out", "out", "--quiet", "--json")
    evidence = json.loads(out)["verdict"]["evidence"]
    assert code == 0
    assert evidence["near_ties"] == 10
    assert evidence["near_tie_inputs"][0] == {"inputs": {"a": 0, "b": 0}, "margin": 0.0}
    assert "near-ties 10: decided within float noise" in (tmp_path / "out/summary.txt").read_text()


def test_time_that_is_up_before_anything_is_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparing(tmp_path / "model.onnx")
    # The cheapest proposers are asked even then, and find something: here is one that does not.
    monkeypatch.setattr("synth.proposers.PROPOSERS", (("formulas", "synth.reals.formulas"),))
    code, out, err = run("compile", "model.onnx", "-d", DOMAIN, "--time", "0.000000001s", "--quiet")
    assert (code, out) == (3, "")
    assert err == (
        "error[D301]: no hypothesis was found in the time given\n"
        "  = help: give more time with --time, or more memory with --memory\n"
    )


def test_a_time_that_is_none(run: Run) -> None:
    code, _, err = run("compile", "model.onnx", "-d", DOMAIN, "--time", "soon", "--quiet")
    assert code == 2
    assert err == "error[D116]: `soon` is no time\n  = help: write 90s, 5m or 1h\n"


def test_a_missing_extra(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparing(tmp_path / "model.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    code, _, err = run("compile", "model.onnx", "-d", DOMAIN, "--quiet")
    assert code == 4
    assert err == (
        "error[D011]: reading model.onnx needs onnxruntime\n"
        "  = help: pip install 'distillc[onnx]'\n"
    )


DAMAGE: list[tuple[str, Callable[[str], str], str]] = [
    ("half", lambda text: text[: len(text) // 2], "it is not JSON"),
    ("a number", lambda text: text.replace('"inputs": 100', '"inputs": 101'), "its digest does"),
    ("schema", lambda text: text.replace('"schema": 1', '"schema": 9'), "its schema is 9, not 1"),
    ("field", lambda text: text.replace('"tool"', '"tooth"'), "unknown field `tooth`"),
    ("list", lambda text: "[]", "it is not an object"),
    ("deep", lambda text: "[" * 100_000, "it is not JSON"),
]


@pytest.mark.parametrize(("name", "damage", "finding"), DAMAGE, ids=[name for name, *_ in DAMAGE])
def test_a_damaged_certificate(
    run: Run, tmp_path: Path, compiled: Path, name: str, damage: Callable[[str], str], finding: str
) -> None:
    path = compiled / "certificate.json"
    path.write_text(damage(path.read_text()))
    code, out, err = run("check", "out")
    assert code == 5
    assert err.startswith(f"error[D210]: the certificate is damaged: {finding}")
    assert err.endswith(
        f"  --> {Path('out/certificate.json')}\n  = help: run distill compile again\n"
    )
    assert out.startswith("checked 1 certificate: 0 hold, 0 broken, 1 stale, 0 unknown")


def resealed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The certificate with another content and a digest that fits it."""
    from distill.certificate import sealed

    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(sealed(content)))


def test_a_certificate_that_reaches_out_of_its_folder(
    run: Run, tmp_path: Path, compiled: Path
) -> None:
    path = compiled / "certificate.json"
    for name in ("../program.py", "/etc/passwd", "a/b", ".."):
        resealed(path, lambda content, name=name: content["program"].update(file=name))  # type: ignore[misc]
        code, _, err = run("check", "out")
        assert code == 5
        assert f"`{name}` leaves the certificate's folder" in err
    resealed(path, lambda content: content["program"].update(file="program.py"))
    resealed(path, lambda content: content["task"].update(model="../../secret.onnx"))
    comparing(tmp_path.parent / "secret.onnx")
    code, _, err = run("check", "out")
    assert code == 5
    assert "lies outside the task's folder" in err or "is not in" in err


def test_a_certificate_with_fields_of_the_wrong_type(
    run: Run, tmp_path: Path, compiled: Path
) -> None:
    path = compiled / "certificate.json"
    changes: list[Callable[[dict[str, Any]], None]] = [
        lambda content: content["task"].update(domain=7),
        lambda content: content["task"].update(input=[]),
        lambda content: content["verdict"].update(evidence=[1]),
        lambda content: content["verdict"].update(kind=["PROVED"]),
        lambda content: content["model"].update(tensors="all"),
        lambda content: content["program"].update(sha256=1),
    ]
    before = path.read_text()
    for change in changes:
        path.write_text(before)
        resealed(path, change)
        code, _, err = run("check", "out")
        assert code == 5, err
        assert err.startswith("error[D"), err


def test_a_changed_model(run: Run, tmp_path: Path, compiled: Path) -> None:
    comparing(tmp_path / "out/model.onnx", 1.2)
    code, out, err = run("check", "out")
    assert code == 1
    assert err.startswith(
        "error[D201]: the program disagrees with the model\n  --> out/program.py\n"
    )
    assert "  = input    a=3, b=3        (the first of 8 found; 8 % of the domain)\n" in err
    assert "  = program  1\n  = model    0   (replayed in the original runtime)\n" in err
    assert "changed since the certificate: weight (1 of 3 parts)" in err
    assert out.startswith("checked 1 certificate: 0 hold, 1 broken, 0 stale, 0 unknown")


def test_a_model_that_changed_without_another_answer(
    run: Run, tmp_path: Path, compiled: Path
) -> None:
    comparing(tmp_path / "out/model.onnx", 1.001)
    code, _, err = run("check", "out")
    assert code == 5
    assert err.startswith("error[D213]: the claim holds, but not of what the certificate recorded")


def test_a_changed_program(run: Run, tmp_path: Path, compiled: Path) -> None:
    program = compiled / "program.py"
    program.write_text("def program(a, b):\n    return int(a > b)\n")
    code, _, err = run("check", "out")
    assert code == 1
    assert "= input    a=0, b=0" in err


HOSTILE = [
    "import os\n\ndef program(a, b):\n    return os.system('touch exploded')\n",
    "def program(a, b):\n    return __import__('os')\n",
    "def program(a, b):\n    return a.__class__\n",
    "open('exploded', 'w')\n\ndef program(a, b):\n    return 1\n",
    "def program(a, b=open('exploded', 'w')):\n    return 1\n",
    "@open\ndef program(a, b):\n    return 1\n",
    "def program(a, b):\n    while True:\n        a = 1\n    return a\n",
    "def program(a, b):\n    return eval('1')\n",
    "def program(a, b):\n    return (lambda: 1)()\n",
    "def program(a, b):\n    return f'{a}'\n",
    "def program(a, b):\n    return [1][a].real\n",
    "def program(a, b):\n    return " + "(" * 5000 + "\n",
    "\0",
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:40] for text in HOSTILE])
@pytest.mark.parametrize("arguments", [(), ("--independent",)], ids=["usual", "independent"])
def test_a_program_that_is_no_data_is_never_run(
    run: Run, tmp_path: Path, compiled: Path, text: str, arguments: tuple[str, ...]
) -> None:
    (compiled / "program.py").write_text(text)
    code, _, err = run("check", "out", *arguments)
    assert code == 5, err
    assert err.startswith(("error[D101]", "error[D211]"))
    assert not (tmp_path / "exploded").exists()


BOUNDED = [
    "return 9 ** 9 ** 9",
    "return a ** (10 ** 30)",
    "return len(range(10 ** 12))",
    "return sum([0] * (10 ** 12))",
    "return len([i for i in range(999999) for_i]) if a else 1".replace(" for_i", ""),
    "return 1 // 0",
    "return [1][5]",
    "return 1e308 * 10.0 - 1e308 * 10.0",
]


@pytest.mark.parametrize("body", BOUNDED)
@pytest.mark.parametrize("arguments", [(), ("--independent",)], ids=["usual", "independent"])
def test_a_program_without_bounds_is_bounded(
    run: Run, tmp_path: Path, compiled: Path, body: str, arguments: tuple[str, ...]
) -> None:
    text = f"def program(a, b):\n    {body}\n"
    (compiled / "program.py").write_text(text)
    code, _, err = run("check", "out", "--time", "2s", *arguments)
    assert code in (1, 3, 5), err


def test_no_certificate(run: Run) -> None:
    code, _, err = run("check", ".")
    assert (code, err) == (2, "error[D214]: no certificate.json under .\n")


def test_a_model_that_is_gone(run: Run, tmp_path: Path, compiled: Path) -> None:
    (tmp_path / "out/model.onnx").unlink()
    code, _, err = run("check", "out")
    assert code == 5
    assert err.startswith("error[D212]: the model model.onnx is not in ")


def test_a_read_only_folder_is_found_out_before_the_search(run: Run, tmp_path: Path) -> None:
    comparing(tmp_path / "model.onnx")
    (tmp_path / "out").write_text("a file stands where the folder should be")
    code, out, err = run("compile", "model.onnx", "-d", DOMAIN, "--out", "out", "--quiet")
    assert (code, out) == (2, "")
    assert err == (
        "error[D130]: out cannot be written: File exists\n  --> out\n"
        "  = help: choose another folder with --out\n"
    )


def test_two_runs_in_one_folder(run: Run, tmp_path: Path) -> None:
    from distill import journal

    comparing(tmp_path / "model.onnx")
    with journal.opened(tmp_path / "out"):
        code, _, err = run("compile", "model.onnx", "-d", DOMAIN, "--out", "out", "--quiet")
    assert code == 2
    assert err.startswith("error[D139]: another run writes to out (process ")


def test_a_tested_program_is_no_proof(run: Run, tmp_path: Path, compiled: Path) -> None:
    path = compiled / "certificate.json"
    resealed(path, lambda content: content["verdict"].update(kind="TESTED", method="sampling"))
    code, out, _ = run("check", "out", "--independent")
    assert code == 3
    assert "1 unknown" in out


def test_a_size_of_memory_that_is_none(run: Run) -> None:
    code, _, err = run("check", ".", "--memory", "lots")
    assert code == 2
    assert "error[D214]" in err or "error[D135]" in err


def test_a_program_to_start_from_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    comparing(tmp_path / "model.onnx")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe")
    (tmp_path / "power.py").write_text("def program(a, b):\n    return a ** -1\n")
    for name, message in (
        ("nowhere.py", "error[D001]: nowhere.py is not there\n  --> nowhere.py\n"),
        ("bytes.py", "error[D001]: bytes.py is no text in UTF-8: invalid start byte at byte 0\n"),
        ("power.py", "error[D102]: an integer to the power of -1 is no integer"),
    ):
        code, _, err = run("compile", "model.onnx", "-d", DOMAIN, "--start-from", name, "--quiet")
        assert (code, err[: len(message)]) == (2, message)


def test_a_program_whose_types_do_not_fit_is_no_program(run: Run, compiled: Path) -> None:
    text = "def program(a, b):\n    return int(a > b) ** -1\n"
    (compiled / "program.py").write_text(text)
    code, _, err = run("check", "out")
    assert code == 5
    assert err.startswith("error[D102]: an integer to the power of -1 is no integer")
    assert "program.py:2:12" in err


def test_a_condition_that_python_gives_a_value_where_the_language_has_none(
    run: Run, tmp_path: Path
) -> None:
    comparing(tmp_path / "model.onnx")
    domain = "a: int[-3..3], b: int[-3..3] where 2 ** a < b"
    code, _, err = run("compile", "model.onnx", "-d", domain, "--quiet")
    assert code == 2
    assert err.startswith("error[D111]: the condition of `a: int[-3..3], b: int[-3..3] where 2 **")
