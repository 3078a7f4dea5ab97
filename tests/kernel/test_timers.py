"""A timer of the kernel's: it wakes whoever waits for its descriptor, once, and only when its time is over."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from fsserver.kernel.timers import Timer


@pytest.fixture
def timer() -> Iterator[Timer]:
    made = Timer()
    yield made
    made.close()


def over(timer: Timer, within_s: float) -> bool:
    return bool(select.select([timer.descriptor], [], [], within_s)[0])


def test_timer_is_over_after_its_time_and_not_before(timer: Timer) -> None:
    began = time.monotonic()
    timer.start(0.02)
    assert over(timer, 5)
    assert time.monotonic() - began >= 0.02


def test_timer_that_was_not_started_is_never_over(timer: Timer) -> None:
    assert not over(timer, 0)
    timer.clear()


def test_timer_counts_once_and_again_only_when_it_is_started_again(timer: Timer) -> None:
    timer.start(0.001)
    assert over(timer, 5)
    timer.clear()
    assert not over(timer, 0.01)
    timer.start(0.001)
    assert over(timer, 5)


def test_later_start_takes_the_place_of_an_earlier_one(timer: Timer) -> None:
    timer.start(0.001)
    timer.start(60)
    assert not over(timer, 0.02)


def test_closed_timer_can_be_started_without_effect() -> None:
    timer = Timer()
    timer.close()
    timer.start(0.001)
