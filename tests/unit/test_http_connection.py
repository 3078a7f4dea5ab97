"""Connections of HTTP, over real sockets: who does not read is not waited for, and there are no more than may be."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from fsserver.policy.service import Address, TlsFiles
from fsserver.transport.http import answer as answers
from fsserver.transport.http import protocol
from fsserver.transport.http.listening import bind, server_context
from fsserver.transport.http.protocol import Bounds
from fsserver.transport.http.service import Listener
from tests.receivers import Authority

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


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


def _listener(connections: int) -> Listener:
    bounds = Bounds(header_bytes=16 * 1024, header_s=10, connections=connections)
    return Listener(bind(Address("127.0.0.1", 0)), application, bounds)


def test_connections_that_begin_no_tls_are_bounded_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("127.0.0.1")

    async def run() -> None:
        listener = _listener(2)
        await listener.open(server_context(TlsFiles(issued.certificate, issued.key)))
        at, accepted = listener.socket.getsockname(), listener.socket.accepted
        with ExitStack() as held:
            for _ in range(12):
                held.enter_context(closing(socket.create_connection(at))).setblocking(False)
            ours = held.enter_context(closing(socket.create_connection(at)))
            ours.setblocking(False)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 1), WAIT_S) == b""
            assert len(accepted) == 4
        await _until(lambda: all(each.fileno() < 0 for each in accepted))
        _, writer = await asyncio.open_connection(*at, ssl=ssl.create_default_context(cafile=authority.file))
        writer.transport.abort()
        listener.close()

    asyncio.run(run())


def test_connections_leave_half_of_the_descriptors_for_work() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run() -> None:
        listener = _listener(1000)
        here = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * here, hard))
        try:
            await listener.open(None)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with ExitStack() as held:
            for _ in range(here + 1):
                ours = held.enter_context(closing(socket.create_connection(listener.socket.getsockname())))
            ours.setblocking(False)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 1), WAIT_S) == b""
            assert len(listener.socket.accepted) == here
        listener.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("first", "statuses"),
    [
        pytest.param(b"", (503, 200), id="that never asked"),
        pytest.param(b"GET / HTTP/1.1\r\n", (503, 200), id="that did not ask to the end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", (503, 200), id="that has its answer"),
        pytest.param(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", (200, 503), id="but not one that is served"),
    ],
)
def test_a_connection_too_many_takes_the_place_of_an_idle_one(first: bytes, statuses: tuple[int, int]) -> None:
    async def run() -> None:
        go_on, begun = asyncio.Event(), asyncio.Event()

        async def answering(scope: Any, _receive: Any, send: Any) -> None:
            begun.set()
            if scope["path"] == "/slow":
                await go_on.wait()
            await answers._whole(send, 200, [], b"")

        listener = Listener(
            bind(Address("127.0.0.1", 0)), answering, Bounds(header_bytes=999, header_s=9, connections=1)
        )
        await listener.open(None)
        clients = [await asyncio.open_connection(*listener.socket.getsockname())]
        clients[0][1].write(first)
        await _until(lambda: len(listener.state.connections) == 1)
        if first.endswith(b"\r\n\r\n"):
            await asyncio.wait_for(begun.wait(), WAIT_S)
        if first.startswith(b"GET / HTTP/1.1\r\nHost"):
            await asyncio.wait_for(clients[0][0].readuntil(b"\r\n\r\n"), WAIT_S)
        clients.append(await asyncio.open_connection(*listener.socket.getsockname()))
        clients[1][1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        heads = [asyncio.ensure_future(reader.readuntil(b"\r\n\r\n")) for reader, _ in clients]
        await asyncio.wait_for(heads[statuses.index(503)], WAIT_S)
        go_on.set()
        said = [await asyncio.wait_for(head, WAIT_S) for head in heads]
        assert tuple(int(head.split()[1]) for head in said) == statuses
        for _, writer in clients:
            writer.transport.abort()
        listener.close()

    asyncio.run(run())


def test_without_descriptors_an_accept_is_told_of_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run() -> None:
        listener = _listener(8)
        await listener.open(None)
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(closing(socket.create_connection(listener.socket.getsockname())))
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                await _until(lambda: bool(caplog.records))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await _until(lambda: len(listener.state.connections) == 3)
        listener.close()

    asyncio.run(run())
    assert ["out of system resource" in each.message for each in caplog.records] == [True]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"NONSENSE\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431, id="headers that are too long"),
        pytest.param(b"", 503, id="a connection too many"),
    ],
)
def test_what_is_refused_before_it_is_a_request_is_counted(sent: bytes, status: int) -> None:
    async def run() -> None:
        counted: list[int] = []
        listener = _listener(1)
        listener.observe = counted.append
        await listener.open(None)
        with ExitStack() as held:
            for _ in range(1 if sent else 2):
                ours = held.enter_context(closing(socket.create_connection(listener.socket.getsockname())))
                ours.sendall(sent)
            await _until(lambda: bool(counted))
            assert counted == [status]
        listener.close()

    asyncio.run(run())
