"""The servers that these tests talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.client import Client
from tests.protocol.http_server import Server, served_http

StartFixture = Callable[..., Client]


@pytest.fixture
def start() -> Iterator[StartFixture]:
    """Starts servers whose tools misbehave on request (`tests.protocol.fixture_server`), and ends them."""
    with ExitStack() as stack:

        def start(concurrency: int = 16, **descriptors: Any) -> Client:
            client = Client(["-m", "tests.protocol.fixture_server", str(concurrency)], **descriptors)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(start: StartFixture) -> Client:
    """The same, one of them, initialized."""
    client = start()
    client.open()
    return client


@pytest.fixture(scope="module")
def one_server() -> Iterator[Client]:
    """One for all tests of a module that ask for it, initialized: it has to outlive each of them."""
    with Client(["-m", "tests.protocol.fixture_server"]) as client:
        client.open()
        yield client
        assert client.unexpected == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory for the real server to serve."""
    directory = tmp_path / "root"
    directory.mkdir()
    (directory / "a.txt").write_text("one\ntwo\n")
    return directory


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts the real server, as a client does: ``serve(*arguments)`` is ``fsserver serve *arguments``."""
    with ExitStack() as stack:

        def serve(*arguments: str | Path) -> Client:
            argv = ["-m", "fsserver", "serve", *map(str, arguments)]
            return stack.enter_context(Client(argv, env={"XDG_STATE_HOME": str(tmp_path / "state")}))

        yield serve


@pytest.fixture
def serve_http(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts the real server over HTTP: ``serve_http(policy)``, see `tests.protocol.http_server.served_http`."""
    with ExitStack() as stack:

        def serve_http(policy: str, **more: Any) -> Server:
            return stack.enter_context(served_http(policy, tmp_path, **more))

        yield serve_http
