"""One typed, printable, parseable language for networks and for their distillations."""

import sys

# A decision list of a few thousand lines is one deep expression; comparing two of them recurses.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))
