"""One typed, printable, parseable language for networks and for their distillations."""
