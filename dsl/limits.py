"""The end of a computation's time, wherever it is by then.

Loops ask the clock and end with what they have.  What does not ask in time (a block of a slow
network, a proposer that would run for ever) is cut: a signal raises `TimeIsUp` in it as Ctrl-C
raises KeyboardInterrupt, between two instructions of Python.  One call into a library runs to its
end; so does all in a thread that is not the first, and on systems without timers.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any, Final

_AGAIN = 1.0
"""Seconds after which code that swallowed the cut (a destructor, a callback) is cut again."""
_SOON = 0.02
_LEAST = 1e-6
_IMPORTING = "<frozen importlib"
_WEAK = ("weak.py", "weakref.py", "_weakrefset.py")
"""Callbacks of weak references: what they raise is printed and lost."""
_MAKING = frozenset({"__init__", "__del__"})


class TimeIsUp(BaseException):
    """Raised in the block of a limit that has passed; the limit itself catches it."""

    def __init__(self, limit: Limit) -> None:
        super().__init__("the time is up")
        self.limit = limit


class Limit:
    """A block that ends at `until`, a value of time.monotonic().

    `passed` says whether it was to be cut: what such a block gives all the same is not to be
    trusted, for something in it may have swallowed the exception.  Limits may be nested; one that
    has passed cuts its own block only, the innermost first.
    """

    def __init__(self, until: float) -> None:
        self.until: Final = until
        self.passed = False

    def __enter__(self) -> Limit:
        if threading.current_thread() is threading.main_thread():
            _clock.open(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        _clock.close(self)
        return isinstance(error, TimeIsUp) and error.limit is self


class Whole(AbstractContextManager[None]):
    """A block that is never cut: what it does to files is done whole.  It must be short."""

    def __enter__(self) -> None:
        _clock.whole += 1

    def __exit__(self, *raised: Any) -> None:
        _clock.whole -= 1


class _Clock:
    """The open limits of this process, with what the alarm was set to before the first of them."""

    def __init__(self) -> None:
        self.limits: list[Limit] = []
        self.whole = 0
        self.before: Any = None
        self.rest = math.inf

    def open(self, limit: Limit) -> None:
        if not hasattr(signal, "setitimer"):
            return
        if not self.limits:
            self.before = signal.signal(signal.SIGALRM, self.alarm)
            left, _ = signal.getitimer(signal.ITIMER_REAL)
            self.rest = time.monotonic() + left if left else math.inf
        self.limits.append(limit)
        self.arm()

    def close(self, limit: Limit) -> None:
        if limit not in self.limits:
            return
        self.limits.remove(limit)
        if self.limits:
            self.arm()
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)
        if self.rest < math.inf:
            _wake(self.rest - time.monotonic())

    def arm(self) -> None:
        first = min((limit.until for limit in self.limits), default=math.inf)
        if first < math.inf:
            _wake(first - time.monotonic())

    def alarm(self, number: int, frame: FrameType | None) -> None:
        """Cuts the innermost block whose limit has passed, unless it is at something that must not
        be left half done."""
        now = time.monotonic()
        passed = [limit for limit in self.limits if limit.until <= now]
        if not passed:
            self.arm()
            return
        if self.whole or _is_delicate(frame):
            _wake(_SOON)
            return
        _wake(_AGAIN)
        passed[-1].passed = True
        raise TimeIsUp(passed[-1])


def _wake(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, max(seconds, _LEAST))


def _is_delicate(frame: FrameType | None) -> bool:
    """Is a module being imported, an object made or unmade, or a limit opened or closed?"""
    while frame is not None:
        file = frame.f_code.co_filename
        if file == __file__ or file.startswith(_IMPORTING) or file.endswith(_WEAK):
            return True
        if frame.f_code.co_name in _MAKING:
            return True
        frame = frame.f_back
    return False


_clock = _Clock()
