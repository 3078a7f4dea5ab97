"""What a running call is told at its checkpoints: to stop, to be in time, to let briefer calls go first."""

from __future__ import annotations

import time

import pytest

from fsserver.errors import Cancelled, TimeLimit
from fsserver.tools.control import Control, Precedence, Turn

BRIEF_S = 5.0
"""Long enough that no busy machine makes a call long by itself."""

PAUSE_S = 0.5
"""Long enough that no busy machine makes a checkpoint look like a stop."""


@pytest.fixture(autouse=True)
def _slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"BRIEF_S": BRIEF_S, "PAUSE_S": PAUSE_S, "STEP_S": 0.0}.items():
        monkeypatch.setattr(f"fsserver.tools.control.{name}", seconds)


def long_turn(precedence: Precedence) -> Turn:
    """The turn of a call that began too long ago to be brief."""
    turn = Turn(precedence)
    turn.began -= 2 * BRIEF_S
    return turn


def goes_on(turn: Turn) -> bool:
    """Whether its next checkpoint lets it go on at once."""
    started = time.monotonic()
    Control(turn=turn).checkpoint()
    return time.monotonic() - started < PAUSE_S


def test_a_checkpoint_ends_a_cancelled_call() -> None:
    control = Control()
    control.checkpoint()
    control.cancelled.set()
    with pytest.raises(Cancelled):
        control.checkpoint()


def test_a_checkpoint_ends_a_call_past_its_deadline() -> None:
    with pytest.raises(TimeLimit):
        Control(deadline=time.monotonic() - 1).checkpoint()


def test_a_long_call_stops_at_each_checkpoint_while_a_brief_one_is_under_way() -> None:
    precedence = Precedence()
    with long_turn(precedence) as turn:
        with Turn(precedence) as brief:
            assert not goes_on(turn)
            assert goes_on(brief)  # it waits neither for itself nor for the long one
            assert not goes_on(turn)
        assert goes_on(turn)


def test_a_long_call_that_was_stopped_goes_on_for_a_while_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsserver.tools.control.STEP_S", 60.0)
    precedence = Precedence()
    with long_turn(precedence) as turn, Turn(precedence):
        assert not goes_on(turn)
        assert goes_on(turn)


def test_a_long_call_goes_on_once_the_brief_one_has_become_long() -> None:
    precedence = Precedence()
    with long_turn(precedence) as turn:
        assert goes_on(turn)
        with Turn(precedence) as other:
            other.began -= 2 * BRIEF_S
            assert goes_on(other)
            assert goes_on(turn)


def test_a_long_call_goes_on_where_only_long_ones_run() -> None:
    precedence = Precedence()
    with long_turn(precedence) as one, long_turn(precedence) as other:
        assert goes_on(one)
        assert goes_on(other)


def test_a_call_that_hangs_holds_nobody_up_once_it_is_no_longer_brief() -> None:
    precedence = Precedence()
    with long_turn(precedence), long_turn(precedence) as turn:  # the first comes to no checkpoint
        assert goes_on(turn)
