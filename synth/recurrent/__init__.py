"""Recurrent networks as state machines and integer programs."""
