"""A network with all its values on some inputs, and the program's features on the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distill.report import hidden, machine
from distill.report.account import Account
from distill.report.features import Feature, features, rows_of
from dsl.program import Program


@dataclass(frozen=True)
class Look:
    """`values` by binding, each for `rows` inputs; `step` where the network is one step of a
    recurrent one, looked at after every prefix."""

    network: Program
    values: Mapping[str, np.ndarray]
    features: tuple[Feature, ...]
    rows: int
    step: bool


def look_of(account: Account) -> Look | None:
    """The step of a recurrent network, or the whole network; None where it is not translated."""
    from dsl.networks import trace

    recurrence = account.target.recurrence
    steps = hidden.steps_of(account)
    if steps is not None and recurrence is not None and recurrence.program is not None:
        step = recurrence.program
        values = trace(step, steps.symbols, steps.before.astype(recurrence.start.dtype))
        kept = {name: np.asarray(value) for name, value in values.items()}
        return Look(step, kept, _kept_in_mind(account, steps), len(steps.symbols), True)
    batch = rows_of(account)
    packed = account.target.pack(batch)
    network = account.target.network(packed.shape[1:])
    if network is None:
        return None
    kept = {name: np.asarray(value) for name, value in trace(network, packed).items()}
    return Look(network, kept, features(account.program, batch), len(packed), False)


def _kept_in_mind(account: Account, steps: hidden.Steps) -> tuple[Feature, ...]:
    """The variables of the program's loop after every prefix."""
    part = machine.state_program(account.program)
    after = [machine.states_after(account.program, prefix) for prefix in steps.prefixes]
    if part is None or any(rows is None for rows in after):
        return ()
    values = np.concatenate([rows for rows in after if rows is not None])
    found = zip(part[0], values.T, strict=True)
    return tuple(Feature(name, name, column) for name, column in found if np.ptp(column) > 0)
