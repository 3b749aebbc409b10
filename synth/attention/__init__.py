"""Programs that select and aggregate: transformers over sequences, in Python's words."""
