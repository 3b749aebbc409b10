"""Certificates established again: is the model the same, the program the same, the claim true?"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distill import light
from distill.certificate import Certificate, read
from distill.checkpoints import refuse_unreadable
from distill.fingerprints import fingerprint, tensors
from distill.frontends.parameters import orbax_item
from distill.sources import text_of
from distill.task import Task, from_table
from distill.task import target as target_of
from dsl.claim import Counterexample, Proved, Refuted, Target, Unknown, Verdict
from dsl.domain import BLOCK
from dsl.errors import DistillError, Place
from dsl.program import Program
from dsl.typecheck import typed
from verify import branch_and_bound, checker, sampling
from verify.methods import methods
from verify.rounding import Unbounded

USAGE, STALE = 2, 5

State = Literal["holds", "broken", "stale", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What a check found; `error` says why a claim does not hold."""

    path: Path
    state: State
    verdict: Verdict | None
    error: DistillError | None = None
    seconds: float = 0.0

    def raise_if_broken(self) -> None:
        if self.error is not None:
            raise self.error


def check(path: str | Path, *, seconds: float = 300.0, independent: bool = False) -> Finding:
    """Establishes the claim of a certificate again, from the model and the program's text.

    `independent`: by the small checker of verify.checker, which shares neither parser, evaluator
    nor method with the compiler.
    """
    started = time.monotonic()
    path = Path(path)
    if path.is_dir():
        path = path / "certificate.json"
    try:
        certificate = read(path)
        text = text_of(certificate.program_path, "D211")
        task = _task(certificate)
        program = typed(text, task.domain, certificate.program_path.name)
    except DistillError as unread:
        if unread.exit_code == USAGE and path.is_file():
            # What the user named is there; what it holds cannot be used.
            unread.exit_code = STALE
        return Finding(path, "stale", None, unread, time.monotonic() - started)
    try:
        return _established(certificate, program, text, task, started, seconds, independent)
    except DistillError as unreadable:
        return Finding(path, "unknown", None, unreadable, time.monotonic() - started)


def _established(
    certificate: Certificate,
    program: Program,
    text: str,
    task: Task,
    started: float,
    seconds: float,
    independent: bool,
) -> Finding:
    changed = _changed(certificate, task)
    if hashlib.sha256(text.encode()).hexdigest() != certificate.content["program"]["sha256"]:
        changed = [*changed, f"text of {certificate.program_path.name}"]
    recorded, deadline = certificate.content["verdict"], time.monotonic() + seconds
    if branch_and_bound.is_partial(recorded) and not changed and not independent:
        again = branch_and_bound.established_again(recorded, program, target_of(task), deadline)
        if again is not None:
            return Finding(certificate.path, "holds", again, None, time.monotonic() - started)

    def verdict_on(target: Target) -> Verdict:
        if independent:
            return rechecked(text, target, recorded, deadline)
        evidence, method = recorded.get("evidence", {}), str(recorded.get("method", ""))
        return verdict_of(program, target, method, deadline, evidence)

    verdict = _without_framework(task, text, recorded, deadline) or verdict_on(target_of(task))
    state, error = _judged(certificate, verdict, changed)
    return Finding(certificate.path, state, verdict, error, time.monotonic() - started)


def _without_framework(
    task: Task, text: str, recorded: Mapping[str, Any], deadline: float
) -> Proved | None:
    """What NumPy and the small checker establish of an exported network whose decisions are out of
    the reach of rounding; None where the original runtime must be asked, as for counterexamples."""
    refuse_unreadable(task.model)
    found = light.target(task, recorded)
    if found is None:
        return None
    target, off = found
    try:
        verdict = rechecked(text, target, recorded, deadline, alone=0)
    except Unbounded:
        return None
    # Both outputs of a decision may be off.
    clear = verdict.evidence.get("smallest_margin", 0.0) > 2 * off.most
    return verdict if isinstance(verdict, Proved) and clear else None


def rechecked(
    text: str,
    target: Target,
    recorded: Mapping[str, Any],
    deadline: float,
    *,
    alone: int = checker.ALONE,
) -> Verdict:
    """The verdict of the small checker on recorded evidence: what is proved, and in which
    arithmetic, is what the checker has established, not what the certificate says."""
    evidence = recorded.get("evidence", {})
    try:
        outcome = checker.recheck(text, target, evidence, deadline=deadline, alone=alone)
    except checker.Refused as refusal:
        return Unknown(f"the independent checker refuses: {refusal}")
    if outcome.state == "broken" and outcome.counterexample is not None:
        inputs, ours, theirs = outcome.counterexample
        ours = None if ours is checker.NoValue else ours
        example = Counterexample(dict(inputs), ours, theirs)
        share = outcome.wrong / outcome.inputs
        return Refuted("independent", example, outcome.wrong, share)
    if outcome.state != "holds":
        return Unknown(outcome.reason)
    if recorded.get("kind") != "PROVED":
        return Unknown("nothing was proved that could be established again")
    return Proved(
        str(recorded.get("method", "")),
        outcome.domain,
        f"established by {outcome.reason}, from the recorded regions alone"
        if outcome.reason
        else f"as computed input by input, in blocks of {BLOCK}; near-ties also one by one",
        {
            "kind": evidence.get("kind"),
            "inputs": outcome.inputs,
            "digest": outcome.digest,
            "smallest_margin": outcome.margin,
        },
    )


def _task(certificate: Certificate) -> Task:
    folder = certificate.model_folder
    table = certificate.content["task"]
    model = folder / str(table.get("model", ""))
    if not model.is_file() and orbax_item(model) is None:
        raise DistillError(
            "D212",
            f"the model {table.get('model')} is not in {folder}",
            place=str(certificate.path),
            exit_code=5,
        )
    return from_table(table, folder)


def _changed(certificate: Certificate, task: Task) -> list[str]:
    """The tensors that are not what they were; empty where the fingerprints agree."""
    recorded = certificate.content["model"]
    if fingerprint(task.folder, task.model) == recorded["fingerprint"]:
        return []
    before, now = recorded.get("tensors", {}), tensors(task.model)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return sorted(names) or ["a file beside the model"]


def verdict_of(
    program: Program, target: Target, method: str, deadline: float, evidence: dict[str, Any]
) -> Verdict:
    """The verdict of the recorded method, or of the first that applies."""
    undecided: Verdict | None = None
    names = (method,) if any(method == name for name, _ in methods_names()) else ()
    for _, verify in methods(names):
        verdict = verify(program, target, deadline=deadline, seed=7, evidence=evidence)
        if isinstance(verdict, (Proved, Refuted)):
            return verdict
        undecided = verdict or undecided
    tested = sampling.verify(program, target, deadline=deadline, seed=7, evidence={})
    return (
        tested
        if isinstance(tested, Refuted) or (undecided is None and tested)
        else (undecided or Unknown("no method applies"))
    )


def methods_names() -> tuple[tuple[str, str], ...]:
    from verify.methods import METHODS

    return METHODS


def _judged(
    certificate: Certificate, verdict: Verdict, changed: list[str]
) -> tuple[State, DistillError | None]:
    recorded = certificate.content["verdict"]
    notes: tuple[str, ...] = ()
    if changed:
        listed = ", ".join(changed[:4]) + (", ..." if len(changed) > 4 else "")
        total = len(certificate.content["model"].get("tensors", {}))
        notes = (f"changed since the certificate: {listed} ({len(changed)} of {total} parts)",)
    match verdict:
        case Refuted(_, example, found, share, _):
            inputs = ", ".join(f"{k}={v!r}" for k, v in example.inputs.items())
            part = "" if share is None else f"; {100 * share:.3g} % of the domain"
            error = DistillError(
                "D201",
                "the program disagrees with the model",
                place=Place(str(certificate.program_path)),
                notes=(
                    f"input    {inputs}        (the first of {found} found{part})",
                    f"program  {example.program_value!r}",
                    f"model    {example.network_value!r}   (replayed in the original runtime)",
                    *notes,
                ),
                remedy=(
                    f"distill compile {certificate.model_folder} "
                    f"--start-from {certificate.program_path}"
                ),
                exit_code=1,
            )
            return "broken", error
        case Proved() if changed or _differs(recorded, verdict):
            return "stale", DistillError(
                "D213",
                "the claim holds, but not of what the certificate recorded",
                place=str(certificate.path),
                notes=notes,
                remedy="run distill compile again to renew the certificate",
                exit_code=5,
            )
        case Proved():
            return "holds", None
    reason = verdict.reason if isinstance(verdict, Unknown) else "only tested"
    if recorded.get("kind") == "PROVED":
        finding = f"the claim could not be established again: {reason}"
    else:
        finding = f"nothing is proved of this program: {reason}"
    return "unknown", DistillError(
        "D202", finding, place=str(certificate.path), notes=notes, exit_code=3
    )


def _differs(recorded: dict[str, Any], verdict: Proved) -> bool:
    """Is another domain proved, or do the network's own values differ from those that were
    enumerated?"""
    if recorded.get("kind") == "PROVED" and recorded.get("proven_domain") != verdict.proven_domain:
        return True
    before = recorded.get("evidence", {}).get("digest")
    now = verdict.evidence.get("digest")
    return before is not None and now is not None and before != now
