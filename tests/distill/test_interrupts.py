"""Ctrl-C and spent memory, in the middle of real work."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from distill.certificate import sealed
from dsl.parser import parse
from tests.errors.networks import comparing

SECONDS = 2.0
"""Of the processor's time: the machine that runs the tests may be busy with other things."""
BOX = ", ".join(f"x{i}: real[-1,1]" for i in range(6))
ZERO = f"def program({', '.join(f'x{i}' for i in range(6))}):\n    return 0\n"


def dense(path: Path, hidden: int, lead: float) -> Path:
    """Six inputs, two hidden layers, and two outputs, the first of which is ahead."""
    rng = np.random.default_rng(1)
    sizes = (6, hidden, hidden, 2)
    nodes, tensors, last = [], [], "inputs"
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        bias = rng.normal(size=fan_out) + (np.array([lead, 0.0]) if fan_out == 2 else 0.0)
        for name, array in (("w", rng.normal(size=(fan_in, fan_out))), ("b", bias)):
            tensors.append(numpy_helper.from_array(array.astype(np.float32), f"{name}{number}"))
        names = [last, f"w{number}", f"b{number}"]
        nodes.append(helper.make_node("Gemm", names, [f"sum{number}"]))
        nodes.append(helper.make_node("Relu", [f"sum{number}"], [f"unit{number}"]))
        last = f"unit{number}"
    nodes[-1] = helper.make_node("Identity", ["sum2"], ["logits"])
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        tensors,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, str(path))
    return path


def interrupted(command: list[str], *, until: str, wait: float) -> tuple[int, float]:
    """The exit code of a command that gets SIGINT some time after a line with a text was seen (an
    empty one: after it was started), and the processor's time that it took from then on."""
    run = subprocess.Popen(
        [sys.executable, "-m", "distill", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    if until:
        next(line for line in run.stderr if until in line)
    begun = spent(run.pid)
    while spent(run.pid) < begun + wait:
        assert not ended(run.pid), "the command was over before it could be interrupted"
        time.sleep(0.05)
    begun = spent(run.pid)
    run.send_signal(signal.SIGINT)
    run.stderr.read()
    _, status, usage = os.wait4(run.pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime - begun


def ended(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def spent(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def highest(process: int) -> int:
    """The most memory that a process has held so far, in kilobytes; that of its parent, which
    `ru_maxrss` would count before the program is loaded, left aside."""
    status = Path(f"/proc/{process}/status").read_text()
    return next((int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line), 0)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@needs_proc
@pytest.mark.parametrize("phase", ["enumeration", "smt", "branch_and_bound", "search"])
def test_an_interrupt_ends_a_compilation_within_two_seconds(tmp_path: Path, phase: str) -> None:
    start, domain, until, wait = ZERO, BOX, f'"method": "{phase}"', 0.5
    match phase:
        case "enumeration":
            model = comparing(tmp_path / "model.onnx")
            domain = "a: int[0..5999], b: int[0..5999]"
            start = "def program(a, b):\n    return int(a >= b)\n"
        case "smt":
            model = dense(tmp_path / "model.onnx", 12, 120.0)
        case "branch_and_bound":
            model = dense(tmp_path / "model.onnx", 40, -14.0)
        case _:
            model, until, wait = dense(tmp_path / "model.onnx", 12, 0.0), '"proposer"', 1.0
    (tmp_path / "start.py").write_text(start)
    out = tmp_path / "out"
    command = ["compile", str(model), "-d", domain, "--out", str(out), "--time", "120s"]
    command += ["--json-events", "--start-from", str(tmp_path / "start.py")]
    code, seconds = interrupted(command, until=until, wait=wait)
    assert code == 130
    assert seconds < SECONDS
    for path in out.glob("*.py"):
        assert parse(path.read_text())
    if phase == "search":
        assert json.loads((out / "certificate.json").read_text())["verdict"]["kind"] != "PROVED"


@needs_proc
@pytest.mark.parametrize("independent", [(), ("--independent",)], ids=["", "independent"])
def test_an_interrupt_ends_a_check_within_two_seconds(
    tmp_path: Path, independent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill import cli

    comparing(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    small = ["-d", "a: int[0..9], b: int[0..9]"]
    assert cli.main(["compile", "model.onnx", *small, "--out", "out", "--quiet"]) == 0
    path = tmp_path / "out" / "certificate.json"
    content = json.loads(path.read_text())
    content["task"]["domain"] = "a: int[0..5999], b: int[0..5999]"
    path.write_text(json.dumps(sealed(content)))
    code, seconds = interrupted(["check", "out", *independent], until="", wait=1.5)
    assert code == 130
    assert seconds < SECONDS


@needs_proc
def test_memory_that_is_given_is_not_exceeded(tmp_path: Path) -> None:
    """A domain whose observations alone take more than is left: no verdict, and no kill."""
    model = comparing(tmp_path / "model.onnx")
    command = ["compile", str(model), "-d", "a: int[0..1499], b: int[0..1499]", "--quiet"]
    command += ["--out", str(tmp_path / "out"), "--time", "60s", "--memory", "260M"]
    run = subprocess.Popen(
        [sys.executable, "-m", "distill", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.stdout is not None
    peak = 0
    while not ended(run.pid):
        peak = max(peak, highest(run.pid))
        time.sleep(0.01)
    output = run.stdout.read()
    assert run.wait() == 3, output
    assert "UNKNOWN" in output
    assert "memory" in output
    assert "Traceback" not in output
    assert 0 < peak < 600 * 1024  # kilobytes, libraries included
