"""`python -m distill`."""

import sys

from distill.cli import command

sys.exit(command())
