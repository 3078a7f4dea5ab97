"""One connection of HTTP, over a real socket: who does not read is not waited for."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from fsserver.policy.service import Address
from fsserver.transport.http import answer as answers
from fsserver.transport.http import protocol
from fsserver.transport.http.listening import bind
from fsserver.transport.http.protocol import Bounds
from fsserver.transport.http.service import Listener

SIZE = 64 * 1024 * 1024
WAIT_S = 20.0


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    await answers._whole(send, 200, [], b"x" * SIZE)
    ANSWERED.set()


ANSWERED = asyncio.Event()


async def _asked() -> tuple[Listener, asyncio.StreamReader, asyncio.StreamWriter]:
    """A listener, and a client of it whose answer is on its way."""
    ANSWERED.clear()
    bounds = Bounds(header_bytes=16 * 1024, header_s=10, connections=8)
    listener = Listener(bind(Address("127.0.0.1", 0)), application, bounds)
    await listener.open(None)
    ours = socket.create_connection(listener.socket.getsockname())
    reader, writer = await asyncio.open_connection(sock=ours, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return listener, reader, writer


def test_a_client_that_reads_nothing_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALLED_S", 0.05)

    async def run() -> None:
        listener, _, writer = await _asked()
        async with asyncio.timeout(WAIT_S):
            while not listener.state.connections:
                await asyncio.sleep(0.01)
            while listener.state.connections:
                await asyncio.sleep(0.01)
        listener.close()
        writer.transport.abort()

    asyncio.run(run())


def test_a_large_answer_is_under_way_until_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALLED_S", 5.0)

    async def run() -> None:
        listener, reader, writer = await _asked()
        async with asyncio.timeout(WAIT_S):
            await reader.readuntil(b"\r\n\r\n")
            assert not ANSWERED.is_set()
            assert await reader.readexactly(SIZE) == b"x" * SIZE
            await ANSWERED.wait()
        listener.close()
        writer.transport.abort()

    asyncio.run(run())
