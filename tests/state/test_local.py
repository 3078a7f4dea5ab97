"""What one process keeps for itself: exact enough, never more than allowed, and bounded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.errors import SharedStateError
from fsserver.policy.service import Rate, SharedRules
from fsserver.state import local
from fsserver.state.local import SLICES, LocalState, Window
from fsserver.state.opening import open_state
from fsserver.state.shared import Held, digest


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    amount=st.integers(1, 8),
    per_s=st.integers(1, 60),
    steps=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=60),
)
def test_never_more_than_the_amount_in_any_time_of_that_length(amount: int, per_s: int, steps: list[float]) -> None:
    clock = Clock()
    state, rate = LocalState(clock=clock), Rate(amount, per_s)
    taken: list[float] = []
    for step in steps:
        clock.now += step
        wait_s = state.take("k", rate)
        if wait_s == 0:
            taken.append(clock.now)
        else:
            # Refused only while that many were taken, and free again no later than a slice after the oldest ends.
            newest = taken[-amount:]
            assert len(newest) == amount
            assert clock.now < newest[0] + per_s + per_s / SLICES + 1e-6
            assert 0 < wait_s <= per_s + per_s / SLICES + 1e-6
    for first in range(len(taken) - amount):
        assert taken[first + amount] - taken[first] >= per_s - 1e-6


@given(uses=st.lists(st.tuples(st.floats(0, 5, allow_nan=False), st.integers(0, 2000)), max_size=40))
def test_after_the_wait_something_is_left(uses: list[tuple[float, int]]) -> None:
    clock = Clock()
    state, rate = LocalState(clock=clock), Rate(1000, 10)
    for step, amount in uses:
        clock.now += step
        state.use("k", rate, amount)
    wait_s = state.used_up("k", rate)
    clock.now += wait_s + 1e-6
    assert state.used_up("k", rate) == 0


def test_what_is_beyond_the_rate_has_to_become_free_first() -> None:
    clock = Clock()
    state, rate = LocalState(clock=clock), Rate(1000, 10)
    state.use("k", rate, 600)
    clock.now += 5
    assert state.used_up("k", rate) == 0
    state.use("k", rate, 5000)
    assert state.used_up("k", rate) == pytest.approx(10, abs=0.1)


def test_window_needs_no_more_memory_for_more_use() -> None:
    window, now = Window(Rate(10**9, 60)), 0.0
    for _ in range(20_000):
        now += 0.01
        window.add(1, now)
    assert len(window._slices) <= SLICES + 1


def test_windows_in_which_nothing_is_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SWEEP", 10)
    clock = Clock()
    state = LocalState(clock=clock)
    for number in range(500):
        clock.now += 1
        state.take(str(number), Rate(5, 2))
    assert len(state._windows) < 30


def test_key_is_spent_once_until_its_time_is_over() -> None:
    clock = Clock()
    state = LocalState(clock=clock)
    assert state.spend("k", 10)
    assert not state.spend("k", 10)
    clock.now += 9.9
    assert not state.spend("k", 10)
    clock.now += 0.2
    assert state.spend("k", 10)


def test_spent_keys_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_SPENT", 3)
    clock = Clock()
    state = LocalState(clock=clock)
    assert all(state.spend(str(number), 10) for number in range(3))
    with pytest.raises(SharedStateError):
        state.spend("one more", 10)
    assert not state.spend("1", 10)
    clock.now += 11
    assert state.spend("one more", 10)


def test_policy_without_redis_shares_with_nobody() -> None:
    state = open_state(SharedRules(), "host:run")
    assert (state.shared, state.replica, state.status().ok) == (False, "host:run", True)
    held = Held("h", ("alice", "s"))
    state.announce([held], 60)
    assert state.find(held) is None
    state.forget([held])
    state.close()


@pytest.mark.parametrize("other", [("ab", "c"), ("a", "b", "c"), ("a", "b,c"), ("a",), ("a", 'b", "c')])
def test_digests_of_other_texts_are_others(other: tuple[str, ...]) -> None:
    of: Callable[..., str] = digest
    assert of(*other) != of("a", "bc")


def test_nothing_that_only_a_service_needs_is_loaded_for_one_client() -> None:
    libraries = ("redis", "limits", "prometheus_client", "httptools", "jwt", "opentelemetry.sdk", "requests")
    show = "from fsserver.server.lazy import put_off; put_off('mcp', 'mcp.server')\n"  # as the server does
    show += "import sys, fsserver.app.stdio, fsserver.tools.gate, fsserver.tools.commands.host, fsserver.server.files\n"
    show += "from fsserver.state.opening import open_state; from fsserver.policy.service import SharedRules\n"
    show += f"open_state(SharedRules(), 'one'); print([name for name in {libraries} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
