"""What a running server takes up of changes on disk, and what it only says."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.protocol.http_client import HttpClient
from tests.protocol.http_server import Server, served_http
from tests.receivers import Authority
from tests.service.proxy import free_port
from tests.support import wait_until

pytestmark = pytest.mark.slow

POLICY = """
version: 1
name: reloading
roots: {{work: {{path: {base}/work}}}}
principals: [{{when: {{token: ada}}}}, {{when: {{token: bob}}}}]
server:
  transport: http
  listen: 127.0.0.1:0
  ops: 127.0.0.1:{ops}
  tls: {{certificate: {base}/tls/127.0.0.1.crt, key: {base}/tls/127.0.0.1.key}}
  auth: {{tokens: {base}/tokens/file}}
audit: {{sinks: [{{dir: {base}/audit}}]}}
"""


@dataclass
class Reloading:
    """A server with TLS."""

    server: Server
    base: Path
    ops: int
    authority: Authority
    token: str

    def connect(self) -> ssl.SSLSocket:
        raw = socket.create_connection((self.server.host, self.server.port), 20)
        return self.trusting().wrap_socket(raw, server_hostname="127.0.0.1")

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.file)

    def certificate(self) -> bytes | None:
        """The one that a new connection gets."""
        with self.connect() as connection:
            return connection.getpeercert(binary_form=True)

    def status(self, token: str) -> int:
        """Of a request with that token."""
        client = HttpClient(self.server.url, "2025-11-25", token=token, tls=self.trusting())
        with client.start("tools/list") as answer:
            return answer.status


def token(verb: str, name: str, base: Path) -> str:
    command = [sys.executable, "-m", "fsserver", "token", verb, name, "--file", str(base / "tokens/file")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@contextmanager
def reloading(base: Path, **environment: str) -> Iterator[Reloading]:
    for directory in ("work", "tls", "tokens", "audit"):
        (base / directory).mkdir()
    authority = Authority(base / "tls")
    authority.issue("127.0.0.1")
    made, ops = token("new", "ada", base), free_port()
    with served_http(POLICY.format(base=base, ops=ops), base, env=environment) as server:
        yield Reloading(server, base, ops, authority, made)
        if server.process.poll() is None:
            assert server.stop() == 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Reloading]:
    with reloading(tmp_path.resolve()) as running:
        yield running


NO_SESSION = 400
"""What a request gets that has a token and no session."""


def test_a_new_certificate_is_for_new_connections_and_a_broken_one_for_none(running: Reloading) -> None:
    before = running.certificate()
    kept = http.client.HTTPSConnection(running.server.host, running.server.port, timeout=20, context=running.trusting())
    try:
        asked(kept)
        assert kept.sock is not None
        first = kept.sock
        running.authority.issue("127.0.0.1")
        running.server.signal(signal.SIGHUP)
        running.server.line("Certificates were read again")
        after = running.certificate()
        assert after != before
        asked(kept)
        (running.base / "tls/127.0.0.1.crt").write_text("no certificate")
        running.server.signal(signal.SIGHUP)
        running.server.line("The old certificate stays in use")
        assert running.certificate() == after
        asked(kept)
        assert kept.sock is first, "the connection from before all of this goes on"
    finally:
        kept.close()


def test_a_reload_at_the_very_end_is_passed_over(running: Reloading) -> None:
    with running.connect() as idle:
        running.server.signal(signal.SIGTERM)
        assert idle.recv(4096).startswith(b"HTTP/1.1 503"), "it accepts no more"
        for _ in range(5):
            running.server.signal(signal.SIGHUP)
            wait_until(lambda: not _pending(running, signal.SIGHUP), "it has the signal")
    assert running.server.wait() == 0
    assert "failed" not in running.server.stderr


def _pending(running: Reloading, number: signal.Signals) -> bool:
    status = Path(f"/proc/{running.server.process.pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def asked(connection: http.client.HTTPSConnection) -> None:
    connection.request("GET", "/mcp")
    response = connection.getresponse()
    response.read()
    assert response.status == 405


def test_tokens_are_read_again(running: Reloading) -> None:
    assert running.status(running.token) == NO_SESSION
    bob = token("new", "bob", running.base)
    assert running.status(bob) == 401, "nothing is read by itself"
    token("revoke", "ada", running.base)
    running.server.signal(signal.SIGHUP)
    running.server.line("Tokens were read again")
    wait_until(lambda: running.status(bob) == NO_SESSION, "the new token works")
    assert running.status(running.token) == 401
    (running.base / "tokens/file").write_text("no token\n")
    said = len(running.server.lines)
    running.server.signal(signal.SIGHUP)
    running.server.line("The tokens stay as they were", after=said)
    assert running.status(bob) == NO_SESSION, "a file that is no use changes nothing"


def test_a_changed_policy_is_said_and_not_taken_up_before_a_restart(running: Reloading) -> None:
    def verbose() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", running.ops, timeout=20)
        try:
            connection.request("GET", "/readyz?verbose")
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    assert "policy.yaml was changed" not in verbose()[1]
    policy = running.base / "policy.yaml"
    policy.write_text(policy.read_text().replace("name: reloading", "name: changed"))
    running.server.line("The policy policy.yaml was changed; restart the server to apply it")
    wait_until(lambda: "policy.yaml was changed" in verbose()[1], "it is said to operators")
    assert verbose()[0] == 200, "it serves as before"
    client = HttpClient(running.server.url, "2025-11-25", token=running.token, tls=running.trusting())
    client.open()
    (block,) = client.call("describe_policy")["content"]
    assert "The policy policy.yaml was changed" in block["text"]
    assert "policy reloading" in block["text"].lower()


@pytest.mark.parametrize("kind", ["a path", "an abstract name"])
def test_the_service_manager_hears_of_the_start_a_reload_and_the_end(kind: str, tmp_path: Path) -> None:
    base = tmp_path.resolve()
    address = str(base / "notify") if kind == "a path" else f"@fsserver-test-{os.getpid()}-{free_port()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        manager.settimeout(20)

        def heard() -> dict[str, str]:
            return dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())

        with reloading(base, NOTIFY_SOCKET=address) as running:
            assert heard() == {"READY": "1", "STATUS": f"Serving on {running.server.url.partition('//')[2]}."}
            running.server.signal(signal.SIGHUP)
            began = heard()
            assert began["RELOADING"] == "1"
            assert int(began["MONOTONIC_USEC"]) > 0, "without it systemd waits for another one (Type=notify-reload)"
            assert heard()["READY"] == "1"
            running.server.signal(signal.SIGTERM)
            assert heard()["STOPPING"] == "1"
            assert running.server.wait() == 0
