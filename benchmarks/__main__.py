"""`python -m benchmarks suite PATH ...`, `control PATH ...`, `deadlines PATH ...`,
`labelling ...` or `compression TABLE.npy ...`."""

import importlib
import sys

_NAMES = ("suite", "labelling", "compression", "control", "deadlines")

if len(sys.argv) < 2 or sys.argv[1] not in _NAMES:
    print(__doc__)
    sys.exit(2)
sys.exit(importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:]))
