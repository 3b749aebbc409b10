"""A limit ends what does not end by itself, and nothing else."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dsl.limits import Limit, TimeIsUp, Whole


def _for_ever() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        if number < 0:
            yield number


def test_a_generator_that_never_yields_is_cut() -> None:
    started = time.monotonic()
    with Limit(started + 0.2) as limit:
        next(_for_ever())
    assert limit.passed
    assert 0.2 <= time.monotonic() - started < 1.0


def test_what_ends_in_time_is_left_alone() -> None:
    with Limit(time.monotonic() + 0.05) as limit:
        found = sum(range(100))
    time.sleep(0.1)
    assert found == 4950
    assert not limit.passed


def test_a_limit_that_has_passed_cuts_at_once() -> None:
    steps = 0
    with Limit(time.monotonic() - 1) as limit:
        for steps in range(10**9):
            np.sqrt(steps)
    assert limit.passed
    assert steps < 10**6


def test_an_infinite_limit_never_cuts() -> None:
    with Limit(float("inf")) as limit:
        time.sleep(0.01)
    assert not limit.passed


def test_the_inner_of_two_limits_cuts_only_its_own_block() -> None:
    reached = []
    started = time.monotonic()
    with Limit(started + 0.5) as outer:
        with Limit(started + 0.1) as inner:
            next(_for_ever())
        reached.append(time.monotonic() - started)
        next(_for_ever())
    assert inner.passed
    assert outer.passed
    assert 0.1 <= reached[0] < 0.45
    assert time.monotonic() - started < 1.5


def test_the_outer_limit_cuts_through_the_inner_one() -> None:
    started = time.monotonic()
    with Limit(started + 0.1) as outer:
        with Limit(started + 60) as inner:
            next(_for_ever())
        raise AssertionError("the outer block went on")
    assert outer.passed
    assert not inner.passed


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), Limit(time.monotonic() + 60):
        raise ZeroDivisionError


def test_handlers_of_errors_do_not_swallow_the_cut() -> None:
    went_on = False
    with Limit(time.monotonic() + 0.1) as limit:
        with contextlib.suppress(Exception):
            next(_for_ever())
        went_on = True
    assert limit.passed
    assert not went_on


def test_code_that_swallows_the_cut_is_cut_again() -> None:
    swallowed = 0
    with Limit(time.monotonic() + 0.05) as limit:
        for _ in range(2):
            try:
                next(_for_ever())
            except TimeIsUp:
                swallowed += 1
                if swallowed == 2:
                    raise
    assert limit.passed


def test_a_block_whose_cut_was_swallowed_is_marked() -> None:
    with Limit(time.monotonic() + 0.05) as limit:
        try:
            next(_for_ever())
        except BaseException:
            answer = "proved"
    assert answer == "proved"
    assert limit.passed


def test_what_must_stay_whole_is_not_cut() -> None:
    done = False
    with Limit(time.monotonic() + 0.05) as limit:
        with Whole():
            time.sleep(0.2)
            done = True
        next(_for_ever())
    assert done
    assert limit.passed


def test_an_alarm_that_was_set_before_still_rings() -> None:
    rung: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    try:
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with Limit(started + 0.05) as limit:
            next(_for_ever())
        assert limit.passed
        assert not rung
        time.sleep(0.3)
        assert len(rung) == 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_in_other_threads_nothing_is_cut() -> None:
    seen: list[bool] = []

    def work() -> None:
        with Limit(time.monotonic() + 0.01) as limit:
            time.sleep(0.05)
        seen.append(limit.passed)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
