"""Certificates: JSON that says what was proved, of what, and how to establish it again."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsl.claim import Counterexample, Proved, Refuted, Tested, Unknown, Verdict
from dsl.errors import DistillError

SCHEMA = 1
_FIELDS = {
    "schema": int,
    "tool": str,
    "task": dict,
    "model": dict,
    "program": dict,
    "verdict": dict,
    "digest": str,
}
_INNER = {
    "program.file": str,
    "program.sha256": str,
    "model.folder": str,
    "model.fingerprint": str,
    "model.tensors?": dict,
    "task.domain": str,
    "task.model": str,
    "task.name?": str,
    "task.pack?": str,
    "task.constraint?": str,
    "task.input?": dict,
    "task.output?": dict,
    "task.tolerance?": (int, float),
    "verdict.kind": str,
    "verdict.method?": str,
    "verdict.proven_domain?": str,
    "verdict.evidence?": dict,
}
"""The fields within, and their types; those with a question mark may be absent."""
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Certificate:
    """The content of a certificate file and where it lies."""

    path: Path
    content: Mapping[str, Any]

    @property
    def program_path(self) -> Path:
        return _beside(self.path, str(self.content["program"]["file"]))

    def _repr_html_(self) -> str:
        from distill.notebook import certificate_html

        return certificate_html(self.content)

    @property
    def model_folder(self) -> Path:
        return Path(os.path.normpath(self.path.parent / str(self.content["model"]["folder"])))


def verdict_table(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON."""
    match verdict:
        case Proved(method, proven_domain, arithmetic, evidence):
            table: dict[str, Any] = {
                "kind": "PROVED",
                "method": method,
                "proven_domain": proven_domain,
                "arithmetic": arithmetic,
                "evidence": dict(evidence),
            }
        case Refuted(method, example, found, disagreement, evidence):
            table = {
                "kind": "REFUTED",
                "method": method,
                "counterexample": example_table(example),
                "found": found,
                "disagreement": disagreement,
                "evidence": dict(evidence),
            }
        case Tested(samples, bound, evidence):
            table = {
                "kind": "TESTED",
                "method": "sampling",
                "samples": samples,
                "bound": bound,
                "evidence": dict(evidence),
            }
        case Unknown(reason, proven, refuted, evidence):
            table = {
                "kind": "UNKNOWN",
                "method": "",
                "reason": reason,
                "proven_fraction": proven,
                "refuted_fraction": refuted,
                "evidence": dict(evidence),
            }
    cleaned = plain(table)
    assert isinstance(cleaned, dict)
    return cleaned


def verdict_of_table(table: Mapping[str, Any]) -> Verdict:
    """The verdict that a table of `verdict_table` describes."""
    evidence = table.get("evidence", {})
    match table.get("kind"):
        case "PROVED":
            return Proved(
                str(table["method"]),
                str(table["proven_domain"]),
                str(table["arithmetic"]),
                evidence,
            )
        case "REFUTED":
            example = table["counterexample"]
            return Refuted(
                str(table["method"]),
                Counterexample(
                    example["inputs"],
                    example["program"],
                    example["network"],
                    float(example["margin"]),
                ),
                int(table["found"]),
                table["disagreement"],
                evidence,
            )
        case "TESTED":
            return Tested(int(table["samples"]), float(table["bound"]), evidence)
        case _:
            return Unknown(
                str(table.get("reason", "")),
                float(table.get("proven_fraction", 0.0)),
                float(table.get("refuted_fraction", 0.0)),
                evidence,
            )


def example_table(example: Counterexample) -> dict[str, Any]:
    return {
        "inputs": dict(example.inputs),
        "program": example.program_value,
        "network": example.network_value,
        "margin": example.margin,
    }


def plain(value: Any) -> Any:
    """JSON without NumPy values; numbers that are not finite as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its own digest."""
    body = {key: value for key, value in plain(content).items() if key != "digest"}
    return {**body, "digest": digest_of(body)}


def digest_of(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all.  Raises D130 where the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            # Temporary files are private; what is written here is meant to be shared.
            os.chmod(name, 0o666 & ~_umask())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> DistillError:
    return DistillError(
        "D130",
        f"{path.name} cannot be written: {error.strerror}",
        place=str(path),
        remedy="choose another folder with --out",
    )


def read(path: Path) -> Certificate:
    """A certificate that is whole: known schema, no unknown fields, right digest.

    Raises D210 (exit code 5) for anything else.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise _damaged(path, "it is larger than 64 MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DistillError(
            "D001", f"{path.name} cannot be read: {error.strerror}", place=str(path)
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _damaged(path, "it is not an object")
    if content.get("schema") != SCHEMA:
        raise _damaged(path, f"its schema is {content.get('schema')!r}, not {SCHEMA}")
    if unknown := sorted(set(content) - set(_FIELDS)):
        raise _damaged(path, f"unknown field `{unknown[0]}`")
    for name, kind in _FIELDS.items():
        if not isinstance(content.get(name), kind):
            raise _damaged(path, f"field `{name}` is missing or of the wrong type")
    body = {key: value for key, value in content.items() if key != "digest"}
    if digest_of(body) != content["digest"]:
        raise _damaged(path, "its digest does not fit its content")
    for place, kind in _INNER.items():
        table, _, name = place.rstrip("?").partition(".")
        value = content[table].get(name)
        if not (isinstance(value, kind) or (value is None and place.endswith("?"))):
            raise _damaged(path, f"field `{table}.{name}` is missing or of the wrong type")
    return Certificate(path, content)


def _damaged(path: Path, finding: str) -> DistillError:
    return DistillError(
        "D210",
        f"the certificate is damaged: {finding}",
        place=str(path),
        remedy="run distill compile again",
        exit_code=5,
    )


def _beside(path: Path, name: str) -> Path:
    """A file in the certificate's own folder."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise _damaged(path, f"`{name}` leaves the certificate's folder")
    return path.parent / name
