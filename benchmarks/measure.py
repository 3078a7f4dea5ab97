"""Timing of calls, in interleaved pairs: every sample of one server has its neighbour from the other."""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.compat.wire import Connection, call, encode

Check = Callable[[dict[str, Any]], None]
Timed = Callable[[], float]
"""Do it once; the seconds that it took."""

SEED = 20261129


class WrongAnswerError(Exception):
    """A server answered something else than what is on the disk: not a time, a failure."""


@dataclass(frozen=True, slots=True)
class Job:
    """One call that is timed. ``check`` gets the result and raises `WrongAnswerError`."""

    tool: str
    arguments: Mapping[str, Any]
    check: Check


def result_text(result: dict[str, Any]) -> str:
    """The first text of a result that is no error."""
    if result.get("isError"):
        raise WrongAnswerError(f"an error: {result['content'][0]['text'][:300]}")
    text: str = result["content"][0]["text"]
    return text


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise WrongAnswerError(what)


def exchanged(server: Connection, method: str, params: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    """Seconds from the first byte written to the last byte read of one request, and its result."""
    request_id = server.new_id()
    line = encode(request_id, method, params)
    started = time.perf_counter()
    server.send(line)
    answer = server.line()
    elapsed = time.perf_counter() - started
    message = json.loads(answer)
    expect(message.get("id") == request_id, f"an answer to something else: {answer[:200]!r}")
    expect("result" in message, f"a protocol error: {answer[:300]!r}")
    return elapsed, message["result"]


def timed(server: Connection, job: Job) -> float:
    """Seconds that one call takes; its answer is checked afterwards."""
    elapsed, result = exchanged(server, "tools/call", {"name": job.tool, "arguments": job.arguments})
    job.check(result)
    return elapsed


def paired_p50(servers: Sequence[Connection], jobs: Sequence[Job], calls: int) -> list[float]:
    """The p50 of each server over ``calls`` calls, taken in turn and in changing order.

    Calls that are made often are made a few times before, uncounted: node compiles what it runs often.
    """
    times: list[list[float]] = [[] for _ in servers]
    order = list(range(len(servers)))
    for _ in range(calls // 10):
        for place in order:
            timed(servers[place], jobs[place])
    for _ in range(calls):
        for place in order:
            times[place].append(timed(servers[place], jobs[place]))
        order.reverse()
    return [statistics.median(each) for each in times]


@contextmanager
def one_processor() -> Iterator[None]:
    """What is started in here shares one processor with this thread.

    To wake a process on another one takes as long as much of a small call, longer or shorter for as long as that
    process runs: of two servers that do the same one is then ahead by a half.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pipelined_rate(server: Connection, job: Job, calls: int) -> float:
    """Calls a second when all are written at once, as fast as the server takes them."""
    ids = {server.new_id() for _ in range(calls)}
    lines = b"".join(call(request_id, job.tool, job.arguments) for request_id in sorted(ids))
    started = time.perf_counter()
    server.send(lines)
    answers = [server.line() for _ in range(calls)]
    elapsed = time.perf_counter() - started
    for answer in answers:
        message = json.loads(answer)
        expect("result" in message, f"a protocol error: {answer[:300]!r}")
        job.check(message["result"])
        ids.discard(message["id"])
    expect(not ids, f"{len(ids)} calls of {calls} were not answered")
    return calls / elapsed


def in_turn(subjects: Sequence[Timed], rounds: int, calls: int, period_s: float) -> list[list[float]]:
    """The p50 of each subject in each round. Each is called once in a period, evenly apart, in changing order."""
    order = list(range(len(subjects)))
    shuffle = random.Random(SEED).shuffle
    found: list[list[float]] = [[] for _ in subjects]
    for number in range(rounds + 1):  # the first one warms up
        times: list[list[float]] = [[] for _ in subjects]
        for _ in range(calls):
            shuffle(order)
            for place in order:
                begin = time.perf_counter()
                times[place].append(subjects[place]())
                time.sleep(max(0.0, period_s / len(subjects) - (time.perf_counter() - begin)))
        if number:
            for place, each in enumerate(times):
                found[place].append(statistics.median(each))
    return found


def p50_during(server: Connection, fast: Job, slow: Job, calls: int) -> float:
    """The p50 of ``fast`` over at least ``calls`` calls that began and ended while ``slow`` was running."""
    times, slow_times = beside(server, fast, slow, calls)
    expect(len(times) >= calls, f"only {len(times)} fast calls ended while {len(slow_times)} slow ones ran")
    return statistics.median(times)


def beside(server: Connection, fast: Job, slow: Job, calls: int) -> tuple[list[float], list[float]]:
    """Seconds of each ``fast`` call that began and ended while ``slow`` was running, and of each ``slow`` one.

    The slow call is started anew until there are ``calls`` fast ones, at most ``calls`` times. Fast calls go one after
    the other, as a client's do, and from its beginning to its end.
    """
    times: list[float] = []
    slow_times: list[float] = []
    while len(times) < calls and len(slow_times) < calls:
        slow_id = server.new_id()
        slow_started = time.perf_counter()
        server.send(call(slow_id, slow.tool, slow.arguments))
        early: dict[int, dict[str, Any]] = {}
        slow_arrived = slow_started
        while slow_id not in early:
            fast_id = server.new_id()
            line = call(fast_id, fast.tool, fast.arguments)
            started = time.perf_counter()
            server.send(line)
            result, arrived = _answer(server, fast_id, early)
            fast.check(result)
            slow_arrived = arrived
            expect(arrived - slow_started < server.timeout_s, f"{slow.tool} does not end")
            if slow_id not in early:
                times.append(arrived - started)
        slow.check(early[slow_id])
        slow_times.append(slow_arrived - slow_started)
    return times, slow_times


def _answer(server: Connection, wanted: int, early: dict[int, dict[str, Any]]) -> tuple[dict[str, Any], float]:
    """The result of request ``wanted`` and when it came; answers to other requests are put into ``early``."""
    arrived = time.perf_counter()
    while wanted not in early:
        line = server.line()
        arrived = time.perf_counter()
        message = json.loads(line)
        expect("result" in message, f"a protocol error: {line[:300]!r}")
        early[message["id"]] = message["result"]
    return early[wanted], arrived
