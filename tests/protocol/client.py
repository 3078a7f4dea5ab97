"""A client that says exactly what a test wants, over any kind of descriptor. Every wait is bounded."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support import REPOSITORY

TIMEOUT_S = 20.0

MODERN = "2026-07-28"
HANDSHAKE_REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
REVISIONS = (*HANDSHAKE_REVISIONS, MODERN)

Message = dict[str, Any]


def envelope(revision: str = MODERN, capabilities: Mapping[str, Any] | None = None) -> Message:
    """The ``_meta`` of a modern request."""
    prefix = "io.modelcontextprotocol"
    return {
        f"{prefix}/protocolVersion": revision,
        f"{prefix}/clientInfo": {"name": "tests", "version": "1"},
        f"{prefix}/clientCapabilities": dict(capabilities or {}),
    }


class Client:
    """One server process and this end of its descriptors. Leaving the context closes them and kills what is left.

    Args:
        argv: the arguments after ``python``.
        stdin, stdout: the server's descriptors, closed here after the start; None makes pipes.
        reader, writer: this side's ends, if the server's were given.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        reader: int = -1,
        writer: int = -1,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if stdin is None:
            stdin, writer = os.pipe()
        if stdout is None:
            reader, stdout = os.pipe()
        self.reader = reader
        self.writer = writer
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self.process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=REPOSITORY,
            stdin=stdin,
            stdout=stdout,
            stderr=self._stderr if stderr is None else stderr,
            env={**os.environ, **(env or {})},
        )
        os.close(stdin)
        if stdout != stdin:
            os.close(stdout)
        self._buffer = bytearray()
        self._next = 0
        self.unexpected: list[Message] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.close_input()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT_S)
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1
        self._stderr.close()

    def close_input(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    # --- out

    def raw(self, data: bytes) -> None:
        """Write all of it; a test that may fill the pipe uses `raw_in_background`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.writer, view) :]

    def raw_in_background(self, *pieces: bytes) -> threading.Thread:
        """The same in a thread, one write for each piece if the pipe has room."""

        def write() -> None:
            for piece in pieces:
                self.raw(piece)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread

    def send(self, message: Any) -> None:
        self.raw(json.dumps(message).encode() + b"\n")

    def start(self, method: str, params: Mapping[str, Any] | None = None, identifier: int | str | None = None) -> Any:
        """Send a request without waiting for the answer. Returns its id."""
        if identifier is None:
            self._next += 1
            identifier = self._next
        message: Message = {"jsonrpc": "2.0", "id": identifier, "method": method}
        if params is not None:
            message["params"] = params
        self.send(message)
        return identifier

    def respond(self, question: Message, result: Any) -> None:
        """Answer a request of the server's."""
        self.send({"jsonrpc": "2.0", "id": question["id"], "result": result})

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        self.send({"jsonrpc": "2.0", "method": method} | ({"params": params} if params is not None else {}))

    # --- in

    def line(self, timeout_s: float = TIMEOUT_S) -> bytes | None:
        """The next line; None at the end. Fails the test after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.reader], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                pytest.fail(f"no line within {timeout_s:g} s; stderr: {self.stderr()[-2000:]}")
            try:
                chunk = os.read(self.reader, 1 << 20)
            except OSError:  # a terminal whose other end is closed
                chunk = b""
            if not chunk:
                return None
            self._buffer += chunk
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def message(self, timeout_s: float = TIMEOUT_S) -> Message:
        line = self.line(timeout_s)
        if line is None:
            pytest.fail(f"the server closed its output; stderr: {self.stderr()[-2000:]}")
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return dict(message)

    def answer(self, identifier: int | str | None, timeout_s: float = TIMEOUT_S) -> Message:
        """The response with this id; what comes before it is kept in ``unexpected``."""
        for message in self.unexpected:
            if "method" not in message and message.get("id") == identifier:
                self.unexpected.remove(message)
                return message
        deadline = time.monotonic() + timeout_s
        while True:
            message = self.message(max(0.0, deadline - time.monotonic()))
            if "method" not in message and message.get("id") == identifier:
                return message
            self.unexpected.append(message)

    def question(self, method: str = "elicitation/create", timeout_s: float = TIMEOUT_S) -> Message:
        """The next message, which is this request of the server's."""
        message = self.message(timeout_s)
        assert message.get("method") == method, message
        assert "id" in message
        return message

    def rest(self) -> list[Message]:
        """Everything up to the end of the server's output."""
        messages = []
        while (line := self.line()) is not None:
            messages.append(json.loads(line))
        return messages

    def stderr(self) -> str:
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    # --- both

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> Message:
        """The result; fails the test on an error."""
        answer = self.answer(self.start(method, params))
        assert "result" in answer, answer
        return dict(answer["result"])

    def error(self, method: str, params: Mapping[str, Any] | None = None) -> Message:
        """The error; fails the test on a result."""
        answer = self.answer(self.start(method, params))
        assert "error" in answer, answer
        return dict(answer["error"])

    def open(self, revision: str = HANDSHAKE_REVISIONS[-1], capabilities: Mapping[str, Any] | None = None) -> Message:
        """The handshake."""
        result = self.request(
            "initialize",
            {
                "protocolVersion": revision,
                "capabilities": dict(capabilities or {}),
                "clientInfo": {"name": "tests", "version": "1"},
            },
        )
        self.notify("notifications/initialized")
        return result

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Message:
        return self.request("tools/call", {"name": tool, "arguments": dict(arguments or {})})

    def start_call(self, tool: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> Any:
        return self.start("tools/call", {"name": tool, "arguments": dict(arguments or {}), **more})

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """The exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the server runs on after {timeout_s:g} s; stderr: {self.stderr()[-2000:]}")


def text_of(result: Message) -> str:
    return "".join(block["text"] for block in result["content"])
