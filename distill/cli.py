"""The command line.  Results on stdout, progress and diagnostics on stderr.

Exit codes: 0 the claim holds; 1 a counterexample; 2 usage; 3 no verdict within the budget; 4 model
unreadable; 5 certificate stale or corrupt; 70 internal error; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BROKEN, USAGE, UNDECIDED, INTERRUPTED, INTERNAL = 1, 2, 3, 130, 70


def command() -> int:
    """`main` for the console: an error of our own ends with its traceback, a word on what to do
    with it, and exit code 70."""
    sys.excepthook = _internal
    return main()


def _internal(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    sys.__excepthook__(kind, error, trace)
    print(
        "internal error: this is a defect of distill; please report the lines above",
        file=sys.stderr,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERNAL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    from dsl.errors import DistillError

    options = _parser().parse_args(arguments)
    if getattr(options, "params", None):
        # The file is the model, for a certificate names it; the function is its architecture.
        options.arch, options.model = options.model, options.params
    if not hasattr(options, "run"):
        _parser().print_help()
        return USAGE
    try:
        return int(options.run(options))
    except DistillError as error:
        _diagnose(error, options)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except MemoryError:
        print("UNKNOWN  the memory that was given is spent", file=sys.stderr)
        return UNDECIDED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _diagnose(error: Any, options: argparse.Namespace) -> None:
    if getattr(options, "json", False):
        table = {
            "error": error.code,
            "finding": error.finding,
            "place": str(error.place or ""),
            "notes": list(error.notes),
            "help": error.remedy,
        }
        print(json.dumps(table))
    print(error, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="distill",
        description="A compiler from trained networks to short, readable, proven Python programs.",
    )
    parser.add_argument("--version", action="version", version="distill 0.1.0")
    commands = parser.add_subparsers(metavar="COMMAND")
    _compile_command(commands)
    _check_command(commands)
    inspect = _command(commands, "inspect", "what a model contains and the next command", _inspect)
    _model_options(inspect)
    inspect.add_argument("--dot", metavar="FILE", help="write the network's graph for Graphviz")
    inspect.add_argument("--onnx", metavar="FILE", help="write the network as ONNX, for viewers")
    search = _command(commands, "search", "the ranked hypotheses for a model", _search)
    _model_options(search)
    _budget_options(search)
    search.add_argument(
        "--hypothesis",
        action="append",
        default=[],
        metavar="TEXT",
        help="a program of your own: an expression such as 'a + b', or a file; may be repeated",
    )
    _diff_command(commands)
    report = _command(commands, "report", "write report.html for a certificate", _report)
    report.add_argument("certificate", metavar="CERTIFICATE")
    report.add_argument("--out", metavar="FILE", help="default: report.html beside it")
    _verify_command(commands)
    explain = _command(commands, "explain", "what an error code or a certificate says", _explain)
    explain.add_argument("subject", metavar="CODE|CERTIFICATE")
    init = _command(commands, "init", "write a task.toml beside a model", _init)
    init.add_argument("model", metavar="MODEL")
    init.add_argument("-d", "--domain", default="")
    _command(commands, "doctor", "what is installed, and what is missing", _doctor)
    return parser


def _command(
    commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run)
    return parser


def _compile_command(commands: Any) -> None:
    parser = _command(commands, "compile", "distil a network and prove the program", _compile)
    _model_options(parser)
    _budget_options(parser)
    parser.add_argument("--data", metavar="PATH", help="inputs to measure on: IDX, npy, npz, csv")
    parser.add_argument("--jobs", type=int, default=1, help="processes for the heavy loops")
    parser.add_argument("--executor", metavar="ADDRESS", help="a cluster: dask://host:port")
    parser.add_argument("--memory", metavar="SIZE", help="the most memory: 500M, 4G")
    parser.add_argument(
        "--out", metavar="FOLDER", help="where to write (default: the model's name)"
    )


def _diff_command(commands: Any) -> None:
    parser = _command(commands, "diff", "are two programs or two checkpoints equal?", _diff)
    parser.add_argument("first", metavar="A", help="a program.py, a checkpoint, or a task's folder")
    parser.add_argument("second", metavar="B")
    _claim_options(parser)
    _time_options(parser)


def _verify_command(commands: Any) -> None:
    parser = _command(commands, "verify", "decide VNN-LIB properties of a network", _verify)
    parser.add_argument("model", metavar="MODEL", help="model.onnx or model.pt2, or its folder")
    parser.add_argument("properties", nargs="+", metavar="PROPERTY.vnnlib")
    parser.add_argument("--time", default="5m", help="for each property (default 5m)")
    parser.add_argument("--seed", type=int, default=0)


def _verify(options: argparse.Namespace) -> int:
    from distill import properties
    from distill.durations import seconds_of

    seconds = seconds_of(options.time)
    codes = []
    rows = []
    for name in options.properties:
        (decision,) = properties.decisions(options.model, [name], seconds=seconds)
        codes.append(properties.EXIT_CODES[decision.answer])
        rows.append(properties.table(name, decision))
        if not options.json:
            print(properties.line(name, decision), flush=True)
    if options.json:
        print(json.dumps(rows))
    return 1 if 1 in codes else max(codes)


def _check_command(commands: Any) -> None:
    parser = _command(commands, "check", "establish certificates again", _check)
    parser.add_argument("paths", nargs="*", default=["."], metavar="PATH")
    parser.add_argument("--time", default="5m", help="for each certificate (default 5m)")
    parser.add_argument("--memory", metavar="SIZE", help="the most memory: 500M, 4G")
    parser.add_argument(
        "--independent", action="store_true", help="by the small checker of verify/checker.py alone"
    )
    parser.add_argument(
        "--output-format",
        choices=("text", "json", "sarif", "junit", "github"),
        help="what is printed (default text)",
    )


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a checkpoint, or a folder with task.toml")
    _claim_options(parser)
    parser.add_argument(
        "--params", metavar="FILE", help="of MODEL module:name; the same as FILE --arch MODEL"
    )


def _claim_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--domain", help="the inputs, such as 'a: int[0..9], b: int[0..9]'")
    parser.add_argument("--pack", help="how inputs are packed, such as '[a, b, 113]'")
    parser.add_argument("--positions", help="which outputs count: all, last, -1, 9..13")
    parser.add_argument("--decode", help="argmax, argmin, threshold(0.5), round, value +- 0.01")
    parser.add_argument("--dtype", help="of the network's input: float32, int64, ...")
    parser.add_argument("--shape", help="of the network's input: '[batch, 1, 28, 28]'")
    parser.add_argument("--arch", help="of a file of weights: file.py:name or module:name")


def _time_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--time", default="5m", help="the budget: 90s, 5m, 1h (default 5m)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json-events", action="store_true", help="progress as JSON lines")


def _budget_options(parser: argparse.ArgumentParser) -> None:
    _time_options(parser)
    parser.add_argument("--start-from", metavar="PROGRAM", help="a program.py to try first")


def _given(options: argparse.Namespace) -> dict[str, str]:
    names = ("pack", "positions", "decode", "dtype", "shape", "arch")
    return {name: getattr(options, name) for name in names if getattr(options, name, None)}


def _compile(options: argparse.Namespace) -> int:
    from distill import journal
    from distill.durations import Budget, seconds_of
    from distill.progress import opened

    seconds = seconds_of(options.time)
    budget = Budget(time.monotonic(), seconds)
    _limit_memory(options.memory)
    folder = Path(options.out or _name_of(Path(options.model)))
    with (
        journal.opened(folder) as kept,
        opened(quiet=options.quiet, json_events=options.json_events) as progress,
    ):
        progress("started", {"model": options.model, "budget": seconds})
        from distill import api, emit
        from distill.certificate import verdict_table
        from dsl.claim import Proved, Refuted, Tested, Unknown

        result = api.compile(
            options.model,
            options.domain,
            time=seconds,
            seed=options.seed,
            start_from=options.start_from,
            jobs=options.jobs,
            executor=options.executor,
            report=progress,
            journal=kept,
            data=options.data,
            **_given(options),
        )
        progress("writing", {"folder": str(folder)})
        written = result.save(folder, until=budget.report)
        kept.finish()
    if options.json:
        table = {
            "verdict": verdict_table(result.verdict),
            "program": result.source,
            "nodes": result.inner.best.size,
            "seconds": round(result.inner.seconds, 3),
            "files": [str(path) for path in written],
        }
        print(json.dumps(table))
    else:
        print("\n".join(emit.front_lines(result.front, result.inner.best)))
        print()
        print(result.source[result.source.index("def ") :] if options.quiet else result.source)
        print(emit.sentence(result.verdict))
        print("wrote   " + "  ".join(str(path) for path in written))
    if kept.interrupted:
        return INTERRUPTED
    match result.verdict:
        case Proved():
            return 0
        case Refuted():
            return BROKEN
        case Tested() | Unknown():
            return UNDECIDED


def _limit_memory(text: str | None) -> None:
    """Lets allocations beyond a size fail, so that the run ends with what it has."""
    if not text:
        return
    import resource

    from distill.durations import bytes_of

    size = bytes_of(text)
    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _name_of(path: Path) -> str:
    """Where a model's program goes: never into a checkpoint that is a folder itself."""
    if not path.is_dir():
        return path.stem
    from distill.frontends.parameters import orbax_item

    name = path.resolve().name
    return name if orbax_item(path) is None else f"{name}_program"


def _check(options: argparse.Namespace) -> int:
    from distill.durations import seconds_of

    seconds = seconds_of(options.time)
    paths = _found(options.paths)
    _limit_memory(options.memory)
    from distill.checking import check
    from distill.findings import exit_code, written

    started = time.monotonic()
    findings = [check(path, seconds=seconds, independent=options.independent) for path in paths]
    for finding in findings:
        if finding.error is not None:
            print(finding.error, file=sys.stderr)
    form = options.output_format or ("json" if options.json else "text")
    print(written(findings, form, time.monotonic() - started))
    return exit_code(findings)


def _found(paths: Sequence[str]) -> list[Path]:
    """The certificates named, and those below the folders named."""
    from dsl.errors import DistillError

    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            found += sorted(
                p
                for p in path.rglob("certificate.json")
                if not any(part.startswith(".") for part in p.relative_to(path).parts)
            )
        else:
            found.append(path)
    if not found:
        raise DistillError("D214", f"no certificate.json under {', '.join(paths)}")
    return found


def _inspect(options: argparse.Namespace) -> int:
    from distill import contents

    return contents.inspect(options, _given(options))


def _search(options: argparse.Namespace) -> int:
    from distill import workbench

    return workbench.search(options, _given(options))


def _diff(options: argparse.Namespace) -> int:
    from distill import workbench

    options.model = options.first
    return workbench.diff(options, _given(options))


def _report(options: argparse.Namespace) -> int:
    from distill import workbench

    return workbench.report(options.certificate, options.out)


def _explain(options: argparse.Namespace) -> int:
    from distill.explain import explanation

    print(explanation(options.subject))
    return 0


def _init(options: argparse.Namespace) -> int:
    from distill.certificate import write_text
    from distill.frontends.registry import declared
    from distill.frontends.source import Source
    from dsl.domain import Domain
    from dsl.errors import DistillError

    model = Path(options.model)
    if not model.is_file():
        raise DistillError("D001", f"there is no file {model}", place=str(model), exit_code=4)
    path = model.parent / "task.toml"
    if path.exists():
        raise DistillError("D132", f"{path} exists already", place=str(path))
    domain = options.domain or "a: int[0..9], b: int[0..9]"
    Domain(domain)
    _, dtype = declared(Source(model.parent, model))
    write_text(
        path,
        f'name = "{model.stem}"\nmodel = "{model.name}"\ndomain = {json.dumps(domain)}\n\n'
        f'[input]\ndtype = "{dtype}"\n\n[output]\npositions = "all"\ndecode = "argmax"\n',
    )
    print(f"wrote   {path}\nnext    distill compile {model.parent}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from importlib import metadata

    needed = ("numpy", "torch", "jax", "z3-solver", "lark", "networkx", "scipy", "rich")
    extras = {
        "onnx": "onnx",
        "onnxruntime": "onnx",
        "transformers": "huggingface",
        "safetensors": "huggingface",
        "flax": "flax",
        "orbax-checkpoint": "flax",
        "dm-haiku": "haiku",
        "equinox": "equinox",
        "scikit-learn": "sklearn",
        "distributed": "dask",
    }
    rows = []
    for name in (*needed, *extras):
        try:
            rows.append((name, metadata.version(name), ""))
        except metadata.PackageNotFoundError:
            extra = extras.get(name)
            remedy = f"pip install 'distillc[{extra}]'" if extra else "pip install distillc"
            rows.append((name, "missing", remedy))
    if options.json:
        print(json.dumps({name: version for name, version, _ in rows}))
    else:
        for name, version, remedy in rows:
            print(f"{name:<16} {version:<12} {remedy}".rstrip())
    return 0 if all(version != "missing" for name, version, _ in rows if name in needed) else 2


if __name__ == "__main__":
    sys.exit(command())
