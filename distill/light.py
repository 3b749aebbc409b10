"""Exported networks evaluated without their framework, where no decision is close.

A `.pt2` file is translated and run by NumPy in float64, which starts in milliseconds.  How far the
original runtime may be from that is bounded operation by operation (see verify.rounding), for every
input; what is found counts only where every decision has a margin beyond.  All else is left to the
runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.task import Task
from dsl import networks
from dsl.claim import Target
from dsl.primitives.tensor import Box
from verify.rounding import Unbounded, rounded


@dataclass
class Off:
    """How far the runtime may have been from what was computed, so far."""

    most: float = 0.0


def target(task: Task, recorded: Mapping[str, Any]) -> tuple[Target, Off] | None:
    """The target with NumPy as its runtime, and how far the original one is from it; None where
    the claim is of another kind, or the network is not translated.  Evaluation raises Unbounded
    where no bound is known."""
    from distill.frontends import haiku, pt2

    exact = task.claim.decode.rule != "value" and task.claim.feedback is None
    plain = task.model.suffix == ".pt2" and not haiku.is_haiku_folder(task.folder)
    whole = recorded.get("proven_domain") == str(task.domain)
    if not (exact and plain and whole and recorded.get("method") == "enumeration"):
        return None
    translate = pt2.from_pt2(task.model)
    off = Off()

    def run(batch: np.ndarray) -> np.ndarray:
        network = translate(batch.shape[1:])
        if network is None:
            raise Unbounded("a network that is not translated")
        exact = np.asarray(batch, np.float64)
        found = rounded(network, Box(exact, exact), batch.dtype.name, exact_input=True)
        off.most = max(off.most, float(found.error.max(initial=0.0)))
        return networks.run(network, batch, dtype=np.float64)

    return Target(task.domain, task.claim, run, translate), off
