"""The operator's endpoints over real HTTP, for tests."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from fsserver.policy.service import Address
from fsserver.transport.ops.endpoints import Operations
from fsserver.transport.ops.readiness import Check, Readiness
from tests.support import wait_until

LISTEN = Address("127.0.0.1", 9090)
VERSION = {"name": "fsserver", "version": "9.9", "policy": "test"}


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.text)


@dataclass(frozen=True)
class Listening:
    """A listener; each `get` is a connection of its own."""

    port: int
    readiness: Readiness

    def get(self, target: str, *, method: str = "GET", host: str | None = None, **headers: str) -> Response:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", f"127.0.0.1:{self.port}" if host is None else host)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            text = answer.read().decode()
            return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)

    def raw(self, request: bytes) -> bytes:
        """The first bytes of what comes back."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=20)) as connection:
            connection.sendall(request)
            return connection.recv(4096)


@contextmanager
def listening(
    checks: Sequence[Check] = (),
    *,
    listen: Address = LISTEN,
    hosts: Collection[str] = (),
    metrics: Callable[[str], tuple[str, bytes]] = lambda accept: ("text/plain", accept.encode()),
) -> Iterator[Listening]:
    """The endpoints on a free port of this machine; ``listen`` is what they believe to be at."""
    readiness = Readiness(checks)
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:

        async def serve() -> None:
            app = Operations(readiness, listen=listen, hosts=hosts, version=VERSION, metrics=metrics)
            server.config.app = app
            await server.serve(sockets=[sock])

        config = uvicorn.Config(lambda: None, lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        wait_until(lambda: server.started, "the endpoints are served")
        try:
            yield Listening(sock.getsockname()[1], readiness)
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
