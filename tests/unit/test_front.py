"""The thread that reads and makes plain calls: what it has read does not wait for a long call."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from fsserver.server.boundary import Call, Shortcut
from fsserver.server.connection import Connection
from fsserver.transport.dispatch import Dispatcher
from fsserver.transport.front import Front
from fsserver.transport.lines import LineWriter

WAIT_S = 10.0


class Calls:
    """In place of a connection: a call that the front makes ends when it is let go, one that the loop makes at once."""

    def __init__(self) -> None:
        self.begun: defaultdict[object, threading.Event] = defaultdict(threading.Event)
        self.let_go: defaultdict[object, threading.Event] = defaultdict(threading.Event)

    def shortcut(self, params: Mapping[str, Any] | None) -> Shortcut:
        return Shortcut(self._make, waits=False)

    def _make(self, call: Call) -> Mapping[str, Any]:
        self.begun[call.id].set()
        assert self.let_go[call.id].wait(WAIT_S)
        return {}

    async def request(self, call: Call, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        return {}


def lines(*identifiers: int) -> bytes:
    calls = ({"jsonrpc": "2.0", "id": each, "method": "tools/call", "params": {}} for each in identifiers)
    return b"".join(json.dumps(call).encode() + b"\n" for call in calls)


def test_call_behind_a_long_one_is_answered_also_if_both_came_as_the_loop_began_to_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        (source, client), (answers, sink) = os.pipe(), os.pipe()
        add_reader = loop.add_reader

        def meanwhile(descriptor: int, callback: Callable[[], object]) -> None:
            """The call before ends, and two more are read, while the kernel is told what to listen to."""
            if descriptor == source and not calls.let_go[1].is_set():
                os.write(client, lines(2, 3))
                calls.let_go[1].set()
                calls.begun[2].wait(0.2)
            add_reader(descriptor, callback)

        monkeypatch.setattr(loop, "add_reader", meanwhile)
        writer = LineWriter(sink)
        dispatcher = Dispatcher(writer, concurrency=4)
        dispatcher.attach(cast("Connection", calls))
        front = Front(source, dispatcher, writer, on_end=lambda: None)
        front.start()
        os.write(client, lines(1))
        with open(answers, "rb") as received:
            async with asyncio.timeout(WAIT_S / 2):
                first = [json.loads(await asyncio.to_thread(received.readline))["id"] for _ in range(2)]
                calls.let_go[2].set()
                last = json.loads(await asyncio.to_thread(received.readline))["id"]
            front.stop()
            os.close(client)
            for thread in [each for each in threading.enumerate() if each.name == "front"]:
                await asyncio.to_thread(thread.join, WAIT_S)
        os.close(source)
        os.close(sink)
        assert (sorted(first), last) == ([1, 3], 2)

    asyncio.run(run())


def test_where_no_thread_can_begin_reading_goes_on_when_one_can(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls()

    async def run() -> None:
        (source, client), (answers, sink) = os.pipe(), os.pipe()
        refused = threading.Event()
        writer = LineWriter(sink)
        dispatcher = Dispatcher(writer, concurrency=4)
        dispatcher.attach(cast("Connection", calls))
        ended = asyncio.Event()
        front = Front(source, dispatcher, writer, on_end=ended.set)
        with open(answers, "rb") as received:
            with monkeypatch.context() as patch:
                front.start()
                os.write(client, lines(1))
                await asyncio.to_thread(calls.begun[1].wait, WAIT_S)

                def refuse(*_: object) -> None:
                    refused.set()
                    raise RuntimeError("can't start new thread")

                patch.setattr("threading._start_new_thread", refuse)
                os.write(client, lines(2))
                async with asyncio.timeout(WAIT_S / 2):
                    while not refused.is_set():
                        await asyncio.sleep(0.001)
            for each in (1, 2):
                calls.let_go[each].set()
            os.close(client)
            try:
                async with asyncio.timeout(WAIT_S / 2):
                    assert {json.loads(await asyncio.to_thread(received.readline))["id"] for _ in range(2)} == {1, 2}
                    await ended.wait()
            finally:
                front.stop()
                os.close(sink)  # whoever still reads the answers finds their end
        os.close(source)

    asyncio.run(run())
