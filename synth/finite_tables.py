"""The table of all values, tried last."""

from synth.tables import propose_table as propose

__all__ = ["propose"]
