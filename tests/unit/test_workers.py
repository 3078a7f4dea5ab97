"""Blocking calls in threads: bounded, never stalled by a slow one, cheap when they are many and short."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from fsserver.transport.workers import Workers
from tests.support import let_no_thread_begin


def run(body: Callable[[Workers], Awaitable[None]], threads: int = 4) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(body(Workers(threads)), 10)

    asyncio.run(bounded())


def test_results_and_exceptions_come_back() -> None:
    async def body(workers: Workers) -> None:
        assert await workers.run(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0)
        assert await workers.run(lambda: 6) == 6

    run(body)


def test_a_call_beside_slow_ones_is_done_at_once_and_no_more_run_than_allowed() -> None:
    async def body(workers: Workers) -> None:
        go = threading.Event()
        slow = [asyncio.create_task(workers.run(go.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        assert await workers.run(threading.active_count) > 1  # the fourth thread takes it
        slow.append(asyncio.create_task(workers.run(go.wait)))
        late = asyncio.create_task(workers.run(lambda: "late"))
        await asyncio.sleep(0.05)
        assert not late.done()
        go.set()
        assert await late == "late"
        assert all(await asyncio.gather(*slow))

    run(body)


def test_calls_that_come_together_all_begin_although_each_waits_for_the_others() -> None:
    async def body(workers: Workers) -> None:
        meeting = threading.Barrier(4)
        await asyncio.gather(*(workers.run(lambda: meeting.wait(5)) for _ in range(4)))

    run(body)


def test_many_short_calls_share_few_threads() -> None:
    async def body(workers: Workers) -> None:
        names = await asyncio.gather(*(workers.run(threading.get_ident) for _ in range(1_000)))
        assert len(set(names)) < 16

    run(body, threads=64)


def test_a_caller_that_stops_waiting_harms_nobody() -> None:
    async def body(workers: Workers) -> None:
        go = threading.Event()
        waiting = asyncio.create_task(workers.run(go.wait))
        await asyncio.sleep(0.01)
        waiting.cancel()
        go.set()
        assert await workers.run(lambda: 1) == 1

    run(body)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_call_that_ends_after_the_session_is_left_alone() -> None:
    go, over = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def slow() -> None:
        threads.append(threading.current_thread())
        over.set()
        go.wait(10)

    async def begin(workers: Workers) -> None:
        task = asyncio.create_task(workers.run(slow))
        while not over.is_set():
            await asyncio.sleep(0)
        task.cancel()

    workers = Workers(1)
    asyncio.run(asyncio.wait_for(begin(workers), 10))
    go.set()
    until = time.monotonic() + 10
    while not workers._asleep and threads[0].is_alive() and time.monotonic() < until:
        os.sched_yield()
    assert threads[0].is_alive()  # it would have died of telling the closed loop


def test_call_that_finds_no_thread_is_refused_and_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    async def body(workers: Workers) -> None:
        with monkeypatch.context() as patch:
            let_no_thread_begin(patch)
            with pytest.raises(RuntimeError):
                await workers.run(lambda: made.append(1))
        await workers.run(lambda: made.append(2))

    run(body)
    assert made == [2]


def test_call_that_finds_no_further_thread_waits_for_one_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(workers: Workers) -> None:
        go, begun = threading.Event(), threading.Event()

        def slow() -> None:
            begun.set()
            go.wait(10)

        first = asyncio.create_task(workers.run(slow))
        while not begun.is_set():
            await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            let_no_thread_begin(patch)
            second = asyncio.create_task(workers.run(lambda: 2))
            await asyncio.sleep(0.01)
            go.set()
            assert await second == 2
        await first

    run(body)
