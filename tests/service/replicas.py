"""Replicas of one server: real processes that share a root, tokens, a key and Redis, each with a log of its own."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from tests.protocol.http_client import HttpClient
from tests.protocol.http_server import TIMEOUT_S, Server, started
from tests.service.proxy import free_port
from tests.support import wait_until

TOKENS: Final = ("ada", "bob")

POLICY: Final = """
version: 1
name: replicas
roots: {{work: {{path: {base}/work, mode: rw, operations: {{delete: ask}}}}}}
commands: {{sleep: {{exec: /usr/bin/sleep, args: any, background: true, roots: {{work: ro}}}}}}
principals: [{{when: {{token: ada}}}}, {{when: {{token: bob}}}}]
server:
  transport: http
  listen: 127.0.0.1:{port}
  ops: 127.0.0.1:{ops}
  auth: {{tokens: {base}/secrets/tokens}}
  drain: {drain}
limits: {{calls: {{rate: 100000/m, classes: {{read: {{rate: 100000/m}}}}}}}}
state: {{redis: "{redis}", key: {base}/secrets/key, on_failure: {on_failure}}}
audit: {{sinks: [{{dir: {directory}/audit}}]}}
sandbox: {{accept_uid0: true}}
"""


@dataclass
class Replica:
    """One process at a time, always on the same ports.

    Attributes:
        directory: of its policy and its log.
        server: the last process.
    """

    directory: Path
    port: int
    ops: int
    server: Server = field(init=False)
    _held: ExitStack = field(default_factory=ExitStack)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/mcp"

    def start(self) -> None:
        """Returns when it is ready."""
        self._held.close()
        argv = ["-m", "fsserver", "serve", "--policy", str(self.directory / "policy.yaml")]
        state = {"XDG_STATE_HOME": str(self.directory / "state")}
        self.server = self._held.enter_context(started(argv, env=state))
        wait_until(lambda: self.asked("/readyz")[0] == 200, "the replica is ready", timeout_s=TIMEOUT_S)

    def stop(self) -> None:
        """End it in order."""
        status = self.server.stop()
        assert status == 0, self.server.stderr[-4000:]

    def asked(self, path: str) -> tuple[int, str]:
        """What the operator's address answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ops, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def records(self) -> list[dict[str, Any]]:
        """Of all its runs."""
        files = sorted((self.directory / "audit").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def verified(self) -> int:
        """The exit code of ``fsserver audit verify``."""
        command = [sys.executable, "-m", "fsserver", "audit", "verify", str(self.directory / "audit")]
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False).returncode

    def below(self) -> list[psutil.Process]:
        """The processes that it started, and theirs."""
        return psutil.Process(self.server.process.pid).children(recursive=True)

    def leave(self) -> None:
        """Begin to end, if it has not ended."""
        if hasattr(self, "server") and self.server.process.poll() is None:
            self.server.signal(signal.SIGTERM)

    def close(self) -> None:
        """Returns when it has ended."""
        if hasattr(self, "server"):
            self.server.wait()
        self._held.close()


@dataclass
class Service:
    """Attributes:
    base: a directory; what is served is ``work`` in it.
    tokens: by the name of their principal.
    """

    base: Path
    tokens: dict[str, str]
    replicas: list[Replica]

    @property
    def work(self) -> Path:
        return self.base / "work"

    def client(self, url: str, revision: str = "2025-11-25", *, who: str = "ada", **more: Any) -> HttpClient:
        """Without a session as yet."""
        return HttpClient(url, revision, token=self.tokens[who], **more)


def runs(process: psutil.Process) -> bool:
    """Whether it is more than a zombie that nobody waits for."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def replicas(
    base: Path, number: int, *, redis: str, drain: str = "20s", on_failure: str = "refuse"
) -> Iterator[Service]:
    """That many, ready to serve, until the context is left."""
    for directory in ("work", "secrets"):
        (base / directory).mkdir()
    secrets = base / "secrets"
    tokens = {name: _made("token", "new", name, "--file", str(secrets / "tokens")) for name in TOKENS}
    _made("state", "keygen", "--out", str(secrets / "key"))
    made = []
    for index in range(number):
        replica = Replica(base / f"replica{index}", free_port(), free_port())
        (replica.directory / "audit").mkdir(parents=True)
        values = {"port": replica.port, "ops": replica.ops, "directory": replica.directory, "redis": redis}
        text = POLICY.format(base=base, drain=drain, on_failure=on_failure, **values)
        (replica.directory / "policy.yaml").write_text(text)
        made.append(replica)
    try:
        with ThreadPoolExecutor() as starting:
            list(starting.map(Replica.start, made))
        yield Service(base, tokens, made)
    finally:
        for replica in made:
            replica.leave()
        for replica in made:
            replica.close()


def _made(*arguments: str) -> str:
    command = [sys.executable, "-m", "fsserver", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout.strip()
