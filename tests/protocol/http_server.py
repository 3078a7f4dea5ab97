"""Real server processes over HTTP, for tests: started, found by the address that they log, and ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from tests.support import REPOSITORY

TIMEOUT_S: Final = 20.0

_SERVING: Final = re.compile(r"Serving MCP on ([^/\s]+?):(\d+)(/[^\s\"]*)")


@dataclass
class Server:
    """A process that serves over HTTP.

    Attributes:
        lines: what it wrote to standard error so far; a thread adds to it.
        host, port, path: of ``url``.
    """

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    host: str = ""
    port: int = 0
    path: str = ""
    scheme: str = "http"
    _news: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}{self.path}"

    @property
    def stderr(self) -> str:
        with self._news:
            return "".join(self.lines)

    def line(self, pattern: str, timeout_s: float = TIMEOUT_S, *, after: int = 0) -> re.Match[str]:
        """What ``pattern`` finds in the first line that has it, from the ``after``-th on; waits for it."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            seen = after
            while True:
                for line in self.lines[seen:]:
                    if (found := re.search(pattern, line)) is not None:
                        return found
                seen = max(seen, len(self.lines))
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError(f"no line with {pattern!r} on standard error: {''.join(self.lines)[-4000:]}")
                self._news.wait(left)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """The exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server runs on after {timeout_s:g} s: {self.stderr[-4000:]}") from None

    def stop(self) -> int:
        """End it in order; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@contextmanager
def started(argv: Sequence[str], *, env: Mapping[str, str] | None = None, ready: bool = True) -> Iterator[Server]:
    """Start ``python argv``, wait until it serves, and kill what is left of it at the end.

    Args:
        env: beside this process's environment.
        ready: false does not wait, for a server that is to refuse to start.

    Raises:
        AssertionError: it does not serve within `TIMEOUT_S`; the text has its standard error.
    """
    process = subprocess.Popen(
        [sys.executable, *argv],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        encoding="utf-8",
        errors="replace",
    )
    assert process.stderr is not None
    server = Server(process)
    reader = threading.Thread(target=server._read, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        if ready:
            host, port, server.path = server.line(_SERVING.pattern).groups()
            server.host, server.port = host, int(port)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(TIMEOUT_S)
        reader.join(TIMEOUT_S)
        process.stderr.close()


@contextmanager
def served_http(
    policy: str, tmp_path: Path, *, env: Mapping[str, str] | None = None, ready: bool = True
) -> Iterator[Server]:
    """``fsserver serve`` with this policy's text, which says ``server: {transport: http, listen: 127.0.0.1:0, …}``.

    Its state is in ``tmp_path``, and the policy is ``tmp_path/policy.yaml``, which may be written anew for SIGHUP.
    """
    file = tmp_path / "policy.yaml"
    file.write_text(policy)
    argv = ["-m", "fsserver", "serve", "--policy", str(file)]
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with started(argv, env={**state, **(env or {})}, ready=ready) as server:
        if re.search(r"^\s*tls:", policy, re.MULTILINE):
            server.scheme = "https"
        yield server
