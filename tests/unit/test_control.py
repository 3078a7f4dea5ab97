"""What a running call is told at its checkpoints: to stop, to be in time, to let briefer calls go first."""

from __future__ import annotations

import threading
import time

import pytest

from fsserver.errors import Cancelled, TimeLimit
from fsserver.tools.control import Control, Precedence, Turn

BRIEF_S = 5.0
"""Long enough that no busy machine makes a call long by itself, nor a wait look short."""


@pytest.fixture(autouse=True)
def _slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsserver.tools.control.BRIEF_S", BRIEF_S)


def long_turn(precedence: Precedence) -> Turn:
    """The turn of a call that began too long ago to be brief."""
    turn = Turn(precedence)
    turn.began -= 2 * BRIEF_S
    return turn


def goes_on(turn: Turn) -> bool:
    """Whether its next checkpoint lets it go on at once."""
    started = time.monotonic()
    Control(turn=turn).checkpoint()
    return time.monotonic() - started < BRIEF_S / 2


def test_a_checkpoint_ends_a_cancelled_call() -> None:
    control = Control()
    control.checkpoint()
    control.cancelled.set()
    with pytest.raises(Cancelled):
        control.checkpoint()


def test_a_checkpoint_ends_a_call_past_its_deadline() -> None:
    with pytest.raises(TimeLimit):
        Control(deadline=time.monotonic() - 1).checkpoint()


def test_a_long_call_waits_at_its_checkpoint_until_a_brief_one_is_over() -> None:
    precedence = Precedence()
    order: list[str] = []
    waiting = threading.Event()

    def take_long() -> None:
        with long_turn(precedence) as turn:
            waiting.set()
            Control(turn=turn).checkpoint()
            order.append("long")

    with Turn(precedence) as brief:
        thread = threading.Thread(target=take_long)
        thread.start()
        assert waiting.wait(5)
        assert goes_on(brief)  # it waits neither for itself nor for the long one
        thread.join(0.05)
        assert thread.is_alive()
        order.append("brief")
    thread.join(5)
    assert order == ["brief", "long"]


def test_a_long_call_goes_on_where_only_long_ones_run() -> None:
    precedence = Precedence()
    with long_turn(precedence) as one, long_turn(precedence) as other:
        assert goes_on(one)
        assert goes_on(other)


def test_a_call_that_hangs_holds_nobody_up_once_it_is_no_longer_brief() -> None:
    precedence = Precedence()
    with long_turn(precedence), long_turn(precedence) as turn:  # the first comes to no checkpoint
        assert goes_on(turn)


def test_a_long_call_makes_a_step_for_each_of_many_brief_ones() -> None:
    precedence = Precedence()
    stop = threading.Event()

    def brief_ones() -> None:
        while not stop.is_set():
            with Turn(precedence):
                pass

    thread = threading.Thread(target=brief_ones)
    thread.start()
    try:
        with long_turn(precedence) as turn:
            assert all(goes_on(turn) for _ in range(100))
    finally:
        stop.set()
        thread.join(5)
