"""Threads that run blocking calls for the event loop.

Not an executor, for three reasons. The threads of an executor are joined when the interpreter ends, so one that hangs
in the kernel, on a dead network mount say, would keep the process alive; these are daemon threads. Handing a call over
and back is cheaper here. And many short calls at once run one after the other in one thread instead of sixteen that
take the interpreter's lock from each other: a further thread helps only when no thread has begun a call for `STALL_S`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from fsserver.transport.posting import post

T = TypeVar("T")

STALL_S: Final = 0.001
"""A call that takes longer than this is slow: the next one gets another thread."""


class _Job:
    __slots__ = ("error", "function", "future", "result")

    def __init__(self, function: Callable[[], object], future: asyncio.Future[Any]) -> None:
        self.function = function
        self.future = future
        self.result: object = None
        self.error: BaseException | None = None


class _Thread:
    """One thread's place: `wake` is locked while it sleeps, ``since`` is when it began its call."""

    __slots__ = ("since", "wake")

    def __init__(self) -> None:
        self.wake = threading.Lock()
        self.wake.acquire()
        self.since = time.monotonic()


class Workers:
    """At most ``threads`` calls run at once; more wait in order. Threads start when they are first needed."""

    def __init__(self, threads: int) -> None:
        self._limit = threads
        self._mutex = threading.Lock()  # over the three below
        self._jobs: deque[_Job] = deque()
        self._awake: list[_Thread] = []
        self._asleep: list[_Thread] = []
        self._done: deque[_Job] = deque()
        self._collecting = False
        self._watching = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """``function()``, in a thread. Raises what it raises; or RuntimeError where no thread can be had, and then it
        is not called.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future = self._loop.create_future()
        job = _Job(function, future)
        with self._mutex:
            self._jobs.append(job)
        try:
            self._help()
        except RuntimeError:
            self._jobs.remove(job)  # nobody is awake to have taken it
            raise
        return cast("T", await future)

    def _help(self) -> None:
        """If calls wait, wake or start a thread, unless one of those awake has just begun a call. Look again soon."""
        assert self._loop is not None
        now = time.monotonic()
        with self._mutex:
            room = bool(self._asleep) or len(self._awake) < self._limit
            if not self._jobs or not room:
                return
            progress = any(now - thread.since < STALL_S for thread in self._awake)
            if not progress:
                self._rouse(now)
            left = len(self._jobs) > (0 if progress else 1)
        if left and not self._watching:
            self._watching = True
            self._loop.call_later(STALL_S, self._watch)

    def _rouse(self, now: float) -> None:
        """Raises RuntimeError: none can be started, and none is awake. Those who are take what waits, only later."""
        if self._asleep:
            thread = self._asleep.pop()
            thread.wake.release()
        else:
            thread = _Thread()
            try:
                threading.Thread(target=self._work, args=(thread,), daemon=True).start()
            except RuntimeError:
                if self._awake:
                    return
                raise
        thread.since = now
        self._awake.append(thread)

    def _watch(self) -> None:
        self._watching = False  # before the results are read: one that comes later wakes the loop, or is watched again
        self._collect()
        self._help()

    def _work(self, thread: _Thread) -> None:
        while True:
            with self._mutex:
                job = self._jobs.popleft() if self._jobs else None
                if job is None:
                    self._awake.remove(thread)
                    self._asleep.append(thread)
                else:
                    thread.since = time.monotonic()
            if self._done and (job is None or not self._watching):
                self._hand_over()
            if job is None:
                thread.wake.acquire()
                continue
            try:
                job.result = job.function()
            except BaseException as error:  # noqa: BLE001 - raised again where the call is awaited
                job.error = error
            self._done.append(job)

    def _hand_over(self) -> None:
        """Wake the loop for results. A thread that goes on with the next call leaves them to the watch, if one is due.

        A loop that wakes for each of many short calls takes the interpreter's lock from the thread that runs them.
        """
        if not self._collecting:
            self._collecting = True
            assert self._loop is not None
            post(self._loop, self._collect)

    def _collect(self) -> None:
        self._collecting = False  # before the results are read, for the same reason
        while self._done:
            job = self._done.popleft()
            if job.future.cancelled():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
