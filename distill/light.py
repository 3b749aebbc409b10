"""Exported networks evaluated without their framework, where no decision is close.

A `.pt2` file is translated and run by NumPy in float64, which starts in milliseconds.  Its values
are those of the original runtime up to rounding; so what is found counts only where every decision
has a margin far above the difference that rounding makes.  All else is left to the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from distill.task import Task
from dsl import networks
from dsl.claim import Target
from dsl.errors import DistillError

FACTOR = 1000.0
"""A decision is far from a tie when its margin is so many times the measured difference."""
_SAMPLES = 256
_UNITS = 64


def target(task: Task, recorded: Mapping[str, Any]) -> tuple[Target, float] | None:
    """The target with NumPy as its runtime, and the margin that every decision must have; None
    where the claim is of another kind, or the network is not translated."""
    from distill.frontends import haiku, pt2

    exact = task.claim.decode.rule != "value" and task.claim.feedback is None
    plain = task.model.suffix == ".pt2" and not haiku.is_haiku_folder(task.folder)
    whole = recorded.get("proven_domain") == str(task.domain)
    if not (exact and plain and whole and recorded.get("method") == "enumeration"):
        return None
    translate = pt2.from_pt2(task.model)

    def runtime(dtype: Any) -> Callable[[np.ndarray], np.ndarray]:
        def run(batch: np.ndarray) -> np.ndarray:
            network = translate(batch.shape[1:])
            if network is None:
                raise DistillError("D020", "the network is not translated", exit_code=4)
            return networks.run(network, batch, dtype=dtype)

        return run

    found = Target(task.domain, task.claim, runtime(np.float64), translate)
    largest = size = 0.0
    for batch in task.domain.sample(_SAMPLES, np.random.default_rng(0)):
        packed = found.pack(batch)
        if translate(packed.shape[1:]) is None:
            return None
        narrow, wide = runtime(None)(packed), runtime(np.float64)(packed)
        if narrow.dtype == np.float64 or not np.isfinite(wide).all():
            return None
        largest = max(largest, float(np.abs(narrow - wide).max(initial=0.0)))
        size = max(size, float(np.abs(wide).max(initial=0.0)))
    return found, FACTOR * max(largest, _UNITS * float(np.finfo(np.float32).eps) * size / FACTOR)
