"""A short run of benchmarks/soundness_of_bounds.py: networks of every activation, both precisions."""

from __future__ import annotations

import numpy as np

from benchmarks.soundness_of_bounds import contradicted, outside, random_network


def test_bounds_and_decisions_of_random_networks_are_never_contradicted() -> None:
    activations = set()
    for number in range(40):
        rng = np.random.default_rng([7, number])
        network, inputs = random_network(rng)
        activations |= {s.values[0].primitive for s in network.body if len(s.names) == 1}
        assert outside(network, inputs, 1600, rng) == 0
        if number < 8:
            assert contradicted(network, inputs, 2000, rng) == 0
    assert len(activations) == 9  # eight activations and `linear`
