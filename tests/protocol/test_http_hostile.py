"""Requests over HTTP that no client of good will sends: what they reach, and what they cost the others."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.protocol.client import MODERN, envelope
from tests.protocol.http_client import HttpClient
from tests.protocol.http_server import Server, served_http

POLICY = """
version: 1
roots:
  work: {{path: {base}/work}}
commands:
  sleep: {{exec: /usr/bin/sleep, args: any, background: true}}
principals:
  - {{when: {{token: one}}}}
  - {{when: {{token: other}}}}
server: {{transport: http, listen: "127.0.0.1:0", auth: {{tokens: {base}/tokens/file}}}}
audit: {{sinks: [{{dir: {base}/audit}}]}}
limits: {{calls: {{concurrency: 32}}}}
sandbox: {{accept_uid0: true}}
"""

FIELDS = (
    "Host: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n"
    f"MCP-Protocol-Version: {MODERN}\r\nTransfer-Encoding: chunked\r\n"
)
WAIT_S = 20.0


@dataclass
class Serving:
    server: Server
    tokens: dict[str, str]

    def client(self, who: str) -> HttpClient:
        return HttpClient(self.server.url, token=self.tokens[who])

    def connect(self) -> socket.socket:
        return socket.create_connection((self.server.host, self.server.port), timeout=WAIT_S)

    def status(self, request: bytes) -> int:
        """Of the answer to these bytes."""
        with closing(self.connect()) as connection:
            connection.sendall(request)
            return int(connection.makefile("rb").readline().split()[1])


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base: Path = tmp_path_factory.mktemp("hostile").resolve()
    for directory in ("work", "tokens", "audit"):
        (base / directory).mkdir()
    tokens = {}
    for name in ("one", "other"):
        command = [sys.executable, "-m", "fsserver", "token", "new", name, "--file", str(base / "tokens/file")]
        tokens[name] = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    with served_http(POLICY.format(base=base), base) as server:
        yield Serving(server, tokens)


def chunked(method: str, params: Mapping[str, object], *, name: str = "", head: str = "", tail: str = "") -> bytes:
    """A request without a length, with more header fields, and with fields behind its body."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": envelope()}})
    routed = f"Mcp-Method: {method}\r\n" + (f"Mcp-Name: {name}\r\n" if name else "")
    return f"POST /mcp HTTP/1.1\r\n{FIELDS}{routed}{head}\r\n{len(body):x}\r\n{body}\r\n0\r\n{tail}\r\n".encode()


@pytest.mark.claim("C10")
def test_a_token_behind_the_body_is_none(serving: Serving) -> None:
    token = f"Authorization: Bearer {serving.tokens['one']}\r\n"
    assert serving.status(chunked("tools/list", {}, head=token)) == 200
    assert serving.status(chunked("tools/list", {}, tail=token)) == 401
    assert serving.status(chunked("tools/list", {}, head=token, tail=token)) == 200  # and no second one either


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"NONSENSE\r\n\r\n", id="no-http"),
        pytest.param(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", id="upgrade"
        ),
    ],
)
def test_what_somebody_without_a_token_has_written_to_the_log_is_bounded(
    serving: Serving, request_bytes: bytes
) -> None:
    before = len(serving.server.lines)
    for _ in range(60):
        assert serving.status(request_bytes) in (400, 401, 415)
    assert serving.client("one").call("list_allowed_directories")["content"]
    assert len(serving.server.lines) - before <= 2 * 21


def test_calls_that_wait_take_no_room_from_the_bodies_of_others(serving: Serving) -> None:
    one = serving.client("one")
    handle = one.call("start_process", {"command": "sleep", "args": ["60"]})["structuredContent"]["handle"]
    wait = {"name": "read_process", "arguments": {"handle": handle, "wait": 60}}
    token = f"Authorization: Bearer {serving.tokens['one']}\r\n"
    with ExitStack() as held:
        for _ in range(20):
            connection = held.enter_context(closing(serving.connect()))
            connection.sendall(chunked("tools/call", wait, name="read_process", head=token))
        for who in ("other", "one"):
            assert serving.client(who).call("list_allowed_directories")["content"]
    one.call("stop_process", {"handle": handle})
