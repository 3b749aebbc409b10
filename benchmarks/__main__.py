"""`python -m benchmarks suite PATH --time SECONDS --jobs N --json OUT`."""

import sys

from benchmarks.suite import main

if len(sys.argv) < 2 or sys.argv[1] != "suite":
    print(__doc__)
    sys.exit(2)
sys.exit(main(sys.argv[2:]))
