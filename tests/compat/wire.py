"""A JSON-RPC client over a server's stdin and stdout: plain pipes, one thread, every wait bounded.

It is no SDK client on purpose: the same few lines drive both servers, so that what is compared or timed is the server.
Messages are one JSON object a line, as the stdio transport of the Model Context Protocol says.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

PROTOCOL = "2025-11-25"
CHUNK = 1 << 20


class WireError(Exception):
    """The server did not answer in time, or ended. There is no use in going on with it."""


class ProtocolError(Exception):
    """The server answered a request with a JSON-RPC error."""


def encode(request_id: int, method: str, params: Mapping[str, Any]) -> bytes:
    """One request as its line on the wire."""
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def call(request_id: int, tool: str, arguments: Mapping[str, Any]) -> bytes:
    """A ``tools/call`` request as its line on the wire."""
    return encode(request_id, "tools/call", {"name": tool, "arguments": arguments})


class Connection:
    """One server process and the pipes to it. A context manager: leaving it ends the process."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout_s: float = 60.0) -> None:
        self.timeout_s = timeout_s
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._poll_out = select.poll()
        self._poll_out.register(self._out, select.POLLIN)
        self._poll_both = select.poll()
        self._poll_both.register(self._out, select.POLLIN)
        self._poll_both.register(self._in, select.POLLOUT)
        self._pieces: list[bytes] = []
        self._lines: list[bytes] = []
        self._next_id = 0
        self._chunk = memoryview(bytearray(CHUNK))

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> int:
        """Close stdin, wait up to five seconds, then kill. Returns the exit status."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait(5)
        self._stderr.close()
        return status

    def stderr(self) -> str:
        """What the server has written to stderr so far."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    def new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def send(self, data: bytes) -> None:
        """Write all of ``data``. Reads meanwhile, so that two full pipes cannot block each other."""
        view = memoryview(data)
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                pass
            except BrokenPipeError as error:
                raise WireError(f"the server closed its stdin: {self.stderr()}") from error
            if not view:
                return
            if not self._poll_both.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise WireError("the server does not read")
            self._receive()

    def line(self, timeout_s: float | None = None) -> bytes:
        """The next line from the server, without its end."""
        if not self._lines:
            deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
            while not self._lines:
                if not self._poll_out.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise WireError(f"no answer in time: {self.stderr()}")
                self._receive()
        return self._lines.pop(0)

    def _receive(self) -> None:
        try:
            # Into the same memory each time: to get as much anew costs more than a small call.
            data = bytes(self._chunk[: os.readv(self._out, [self._chunk])])
        except BlockingIOError:
            return
        if not data:
            raise WireError(f"the server ended: {self.stderr()}")
        if b"\n" not in data:
            self._pieces.append(data)
            return
        *complete, rest = data.split(b"\n")
        complete[0] = b"".join([*self._pieces, complete[0]])
        self._pieces = [rest] if rest else []
        self._lines.extend(complete)

    def request(self, method: str, params: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """Send one request, wait for its answer, return its ``result``. Notifications in between are dropped."""
        request_id = self.new_id()
        self.send(encode(request_id, method, params))
        while True:
            message = json.loads(self.line(timeout_s))
            if message.get("id") != request_id:
                continue
            if "error" in message:
                raise ProtocolError(json.dumps(message["error"], sort_keys=True))
            result: dict[str, Any] = message["result"]
            return result

    def notify(self, method: str) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", "method": method}).encode() + b"\n")

    def handshake(self) -> dict[str, Any]:
        """``initialize`` and ``notifications/initialized``; returns the server's answer."""
        result = self.request(
            "initialize",
            {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}},
        )
        self.notify("notifications/initialized")
        return result

    def call(self, tool: str, arguments: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """Call one tool and return its whole result."""
        return self.request("tools/call", {"name": tool, "arguments": arguments}, timeout_s)
