"""Where the heads of a network over a sequence look, how much hangs on them, and what its layers
hold: hypotheses about a network before any program is searched."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl.claim import Target
from dsl.passes import canonical
from dsl.printer import expression
from dsl.reachable import sample, structured
from synth.attention.aggregates import features_of_places
from synth.attention.grid import grid, sampled, sequence_name
from synth.attention.heads import heads_of, reliance, rules
from synth.attention.reading import Reading, readings
from synth.attention.settings import Setting, settings
from synth.problem import Observations, Problem, observe

_INPUTS, _ENTRIES, _REACH = 512, 2000, 16
_PROBED = 16
_SECONDS = 5.0
_MOST, _CLEAR = 8, 0.9


@dataclass(frozen=True, slots=True)
class Look:
    """A head: `sharpness` is its mean greatest weight, `share` what of its weight goes where `rule`
    says, `relied` the share of answers that change when its part is held at its mean."""

    name: str
    sharpness: float
    rule: str
    share: float
    relied: float


@dataclass(frozen=True, slots=True)
class Circuits:
    """The heads in their order, what is relied on those of a layer together where it has several,
    and the features that can be read off some layer."""

    looks: tuple[Look, ...]
    layers: tuple[tuple[str, float], ...]
    held: tuple[Reading, ...]

    def lines(self) -> list[str]:
        """For people."""
        found = []
        for look in self.looks:
            rule = f"{look.rule}: {look.share:.0%}" if look.share > 0.5 else "no plain rule"
            found.append(
                f"head    {look.name}: greatest weight {look.sharpness:.2f}, {rule}; "
                f"held at its mean, {look.relied:.0%} of the answers change"
            )
        for layer, relied in self.layers:
            found.append(f"heads   all of {layer}: {relied:.0%} of the answers change")
        for reading in self.held:
            found.append(
                f"holds   {expression(reading.expr)}: {reading.score:.2f}, {reading.layer}"
            )
        return found

    def table(self) -> dict[str, Any]:
        """For programs."""
        return {
            "heads": [[x.name, x.sharpness, x.rule, x.share, x.relied] for x in self.looks],
            "layers": [list(layer) for layer in self.layers],
            "holds": [[expression(r.expr), r.score, r.layer] for r in self.held],
        }


def circuits(target: Target, seed: int = 0) -> Circuits | None:
    """What is seen on random inputs; None for a network without heads, or of other inputs than one
    sequence."""
    name = sequence_name(target.domain.types)
    if name is None:
        return None
    rng = np.random.default_rng(seed)
    batches = sample(target, _INPUTS, rng)
    if not target.claim.closed_loop and target.claim.feedback is None:
        # What chance hardly ever gives: palindromes, sorted and periodic sequences.
        batches += structured(target.domain, _INPUTS, rng)
    problem = Problem(target, observe(target, batches), False, time.monotonic() + _SECONDS, seed)
    drawn = sampled(problem, _ENTRIES, (), _REACH)
    looks, layers = _looks(
        target, max(drawn.groups, key=lambda g: len(g) * min(g.inputs[name].shape[1], 3))
    )
    setting = next(settings(drawn, target.domain.types, name), None)
    held = _held(problem, setting) if setting is not None and looks else ()
    return Circuits(looks, layers, held) if looks else None


def _held(problem: Problem, setting: Setting) -> tuple[Reading, ...]:
    """The features that are clear in some layer."""
    places = grid(setting.sample, setting.kinds, setting.view)
    features = features_of_places(setting, places, set(), problem.deadline)
    found = readings(problem.target, setting, places, features)
    return tuple(reading for reading in found[:_MOST] if reading.score >= _CLEAR)


def _looks(
    target: Target, group: Observations
) -> tuple[tuple[Look, ...], tuple[tuple[str, float], ...]]:
    """The heads on inputs of one length, in the network's canonical form, and their layers."""
    packed = target.pack(group.inputs)
    translated = target.network(packed.shape[1:]) if packed.ndim > 1 else None
    if translated is None:
        return (), ()
    network, _ = canonical(translated, packed[:_PROBED])
    heads = heads_of(network, packed)
    layers = [list(part) for _, part in itertools.groupby(heads, key=lambda head: head.made)]
    several = [layer for layer in layers if len(layer) > 1]
    groups = [*([head] for head in heads), *several]
    relied = reliance(network, groups, target.claim, packed, group.inputs)
    tokens = packed if packed.ndim == 2 and packed.dtype.kind in "iu" else None
    looks = tuple(
        Look(head.name, head.sharpness, best.words, best.share, share)
        for head, share in zip(heads, relied[: len(heads)], strict=True)
        for best in rules(head.weights, tokens)[:1]
    )
    together = zip(several, relied[len(heads) :], strict=True)
    return looks, tuple((layer[0].made, share) for layer, share in together)
