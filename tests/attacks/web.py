"""A real service over HTTP, and a client that writes what an attack wants to its socket. Every wait is bounded."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psutil

from fsserver.transport.auth.token_file import add_token
from tests.protocol.client import MODERN, envelope
from tests.protocol.http_server import Server, served_http

WAIT_S: Final = 20.0
HEADER_S: Final = 2
BODY_S: Final = 2
STREAMS: Final = 32
PRINCIPALS: Final = ("ada", "bob", "cleo", "dan", "eve")

POLICY: Final = """
version: 1
roots: {{work: {{path: {base}/work, mode: rw, operations: {{delete: ask}}}}}}
commands: {{sleep: {{exec: /usr/bin/sleep, args: any}}}}
principals: [{principals}]
server:
  transport: http
  listen: 127.0.0.1:0
  ops: 127.0.0.1:0
  origins: ["https://app.example.org"]
  auth: {{tokens: {base}/tokens/file}}
  limits: {{header_time: {header}s, body_time: {body}s, streams: {streams}}}
approvals: {{via: [elicitation], timeout: 60s, on_unavailable: deny}}
audit: {{sinks: [{{dir: {base}/audit}}]}}
sandbox: {{accept_uid0: true}}
"""

TEXT: Final = "what is in the file\n"


def message(method: str, params: Mapping[str, Any] | None = None, identifier: Any = 1) -> bytes:
    """A request; with ``identifier`` None a notification."""
    fields: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if identifier is not None:
        fields["id"] = identifier
    if params is not None:
        fields["params"] = params
    return json.dumps(fields).encode()


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for each, value in self.headers if each == name), None)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> dict[str, Any]:
        """Of a call that went well."""
        assert self.status == 200, self
        result: dict[str, Any] = self.json()["result"]
        return result


class Wire:
    """One connection."""

    def __init__(self, address: tuple[str, int], timeout_s: float = WAIT_S) -> None:
        self.socket = socket.create_connection(address, timeout_s)
        self._read = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """All of it, unless the server hangs up."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def answer(self, method: str = "POST") -> Answer:
        """The next one; interim answers are left out."""
        while True:
            head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(head[0].split()[1])
            if status != 100:
                break
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:-2])]
        answer = Answer(status, headers, b"")
        if method != "HEAD":
            answer.body = self._body(answer)
        return answer

    def _body(self, answer: Answer) -> bytes:
        if answer.header("transfer-encoding") != "chunked":
            return self._exactly(int(answer.header("content-length") or 0))
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size + 2)[:-2]
        self._until(b"\r\n")
        return body

    def event(self) -> Any:
        """The next message of a stream of events whose head was read by `head`."""
        while True:
            size = int(self._until(b"\r\n"), 16)
            block = self._exactly(size + 2)[:-2]
            data = [line.removeprefix(b"data: ") for line in block.split(b"\r\n") if line.startswith(b"data: ")]
            if data:
                return json.loads(data[0])

    def head(self) -> bytes:
        return self._until(b"\r\n\r\n")

    def ends(self) -> bytes:
        """What comes before the server hangs up."""
        with suppress(ConnectionResetError):
            while self._more():
                pass
        return bytes(self._read)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._read:
            if not self._more():
                raise ConnectionError(f"the server hung up after {bytes(self._read)!r}")
        end = self._read.index(mark) + len(mark)
        found = bytes(self._read[:end])
        del self._read[:end]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            if not self._more():
                raise ConnectionError(f"the server hung up after {bytes(self._read[:200])!r}")
        found = bytes(self._read[:size])
        del self._read[:size]
        return found

    def _more(self) -> bool:
        data = self.socket.recv(65536)
        self._read += data
        return bool(data)


@dataclass
class Web:
    """A service with one file, whose clients are asked before they delete it.

    Attributes:
        tokens: by principal.
    """

    server: Server
    base: Path
    tokens: Mapping[str, str]

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.server.process.pid)

    def wire(self) -> Wire:
        return Wire((self.server.host, self.server.port))

    def fields(self, who: str | None = "ada", *, session: str | None = None, host: str | None = None) -> str:
        """Header lines, each with its end."""
        lines = [
            f"Host: {host or f'{self.server.host}:{self.server.port}'}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
        ]
        if who is not None:
            lines.append(f"Authorization: Bearer {self.tokens[who]}")
        if session is not None:
            lines.append(f"Mcp-Session-Id: {session}")
        return "".join(f"{line}\r\n" for line in lines)

    def post(
        self, body: bytes, *, fields: str | None = None, more: str = "", target: str | None = None, length: str = ""
    ) -> bytes:
        """A whole request; with ``length`` it says that instead of how long its body is."""
        first = f"POST {target or self.server.path} HTTP/1.1\r\n"
        size = length or f"Content-Length: {len(body)}\r\n"
        return (first + (self.fields() if fields is None else fields) + more + size + "\r\n").encode("latin-1") + body

    def modern(self, tool: str, arguments: Mapping[str, Any], who: str = "ada", identifier: Any = 1) -> bytes:
        """A call that stands for itself."""
        params = {"name": tool, "arguments": arguments, "_meta": envelope()}
        more = f"MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
        return self.post(message("tools/call", params, identifier), fields=self.fields(who), more=more)

    def call(self, tool: str, arguments: Mapping[str, Any], *, who: str, session: str, identifier: Any = 1) -> bytes:
        """A call in a session."""
        body = message("tools/call", {"name": tool, "arguments": arguments}, identifier)
        return self.post(body, fields=self.fields(who, session=session))

    def read(self, who: str = "ada") -> bytes:
        return self.modern("read_text_file", {"path": f"{self.base}/work/a.txt"}, who)

    def asked(self, request: bytes) -> Answer:
        """What is answered on a connection of its own."""
        with self.wire() as wire:
            wire.send(request)
            return wire.answer()

    def asked_of(self, port: int, target: str) -> Answer:
        """What another listener of the service answers."""
        with Wire((self.server.host, port)) as wire:
            wire.send(f"GET {target} HTTP/1.1\r\nHost: {self.server.host}:{port}\r\n\r\n".encode())
            return wire.answer()

    def session(self, who: str, capabilities: Mapping[str, Any] | None = None, name: str = "attacks") -> str:
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities or {},
            "clientInfo": {"name": name, "version": "1"},
        }
        answer = self.asked(self.post(message("initialize", params), fields=self.fields(who)))
        session = answer.header("mcp-session-id")
        assert session is not None, answer
        return session

    def end(self, who: str | None, session: str) -> int:
        """The status of ending a session, and what waits in it."""
        return self.asked(f"DELETE /mcp HTTP/1.1\r\n{self.fields(who, session=session)}\r\n".encode()).status

    def works(self, who: str = "bob") -> None:
        """Raises AssertionError: an honest call does not."""
        answer = self.asked(self.read(who))
        assert answer.result["content"][0]["text"] == TEXT

    def records(self, event: str) -> list[dict[str, Any]]:
        (log,) = (self.base / "audit").glob("*.jsonl")
        lines = log.read_bytes().split(b"\n")[:-1]
        return [record for line in lines if (record := json.loads(line))["event"] == event]

    @contextmanager
    def undisturbed(self, who: str = "bob", *, within_s: float = 5.0) -> Iterator[Honest]:
        """While the block runs, somebody's calls all succeed, each in that time. On this machine most take 5 ms."""
        honest = Honest(self, who)
        honest.thread.start()
        try:
            yield honest
        finally:
            honest.stop.set()
            honest.thread.join(WAIT_S)
        assert not honest.failures, honest.failures[:3]
        assert honest.times, "not one call was made"
        assert max(honest.times) < within_s


@dataclass
class Honest:
    """Somebody who calls all the time, on one connection after the other."""

    web: Web
    who: str
    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while True:
            started = time.perf_counter()
            try:
                self.web.works(self.who)
            except (AssertionError, OSError) as error:
                self.failures.append(repr(error))
            self.times.append(time.perf_counter() - started)
            if self.stop.wait(0.01):
                return


@contextmanager
def web(base: Path, principals: Sequence[str] = PRINCIPALS) -> Iterator[Web]:
    for directory in ("work", "tokens", "audit"):
        (base / directory).mkdir()
    (base / "work/a.txt").write_text(TEXT)
    tokens = {who: add_token(str(base / "tokens/file"), who, None)[0] for who in principals}
    entries = ", ".join(f"{{when: {{token: {who}}}}}" for who in principals)
    policy = POLICY.format(base=base, principals=entries, header=HEADER_S, body=BODY_S, streams=STREAMS)
    with served_http(policy, base, env={"HOME": os.environ["HOME"]}) as server:
        yield Web(server, base, tokens)
        assert "Traceback" not in server.stderr
        assert server.stop() == 0
