"""Measurements: suites of networks, rates, guidance.  Run with `python -m benchmarks`."""
