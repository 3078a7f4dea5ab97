"""A server that is told to end finishes what it began, says that it takes nothing more, and leaves nobody without an
answer.
"""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.protocol.http_client import Answer, HttpClient
from tests.redis_server import RedisServer
from tests.service.replicas import Replica, Service, replicas, runs
from tests.support import wait_until

pytestmark = pytest.mark.slow

ASKS: Final[dict[str, Any]] = {"elicitation": {"form": {}}}
QUICK_S: Final = 10.0
"""An end that waits for nothing takes less than this, also on a machine that has much to do."""


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Iterator[Service]:
    """One replica, for each test its own: each ends it. A parameter says for how long it drains."""
    drain = getattr(request, "param", "20s")
    with replicas(tmp_path.resolve(), 1, redis=redis.url, drain=drain) as service:
        yield service


def opened(service: Service, replica: Replica, **more: Any) -> HttpClient:
    client = service.client(replica.url, **more)
    client.open()
    return client


def sleeps(replica: Replica, client: HttpClient, seconds: int, pool: ThreadPoolExecutor) -> Any:
    """The future of a call that runs that long, once it runs."""
    call = pool.submit(client.start_call, "run_command", {"command": "sleep", "args": [str(seconds)]})
    wait_until(lambda: any(process.name() == "sleep" for process in replica.below()), "the command runs")
    return call


def ended(replica: Replica, left: list[psutil.Process]) -> None:
    """The process that was told to end has, in order, and so have those that it started."""
    assert replica.server.wait() == 0
    wait_until(lambda: not any(map(runs, left)), "no process is left")
    assert replica.records()[-1]["event"] == "run.end"
    assert replica.verified() == 0


def outcome(replica: Replica, tool: str) -> dict[str, Any]:
    (record,) = (record for record in replica.records() if record["event"] == "call.outcome" and record["tool"] == tool)
    return record


# --- connections

PER_CONNECTION: Final = {"one": 1, "many": 1_000_000}


class Hammer:
    """Clients that send requests as fast as they can until they are refused, each on connections of its own.

    Attributes:
        seen: statuses, and what was no answer, with how often.
    """

    def __init__(self, replica: Replica, token: str) -> None:
        self.seen: Counter[object] = Counter()
        self._port = replica.port
        self._token = token
        self._mutex = threading.Lock()

    def work(self, each: int) -> None:
        """Args:
        each: requests on one connection.
        """
        client = {"name": "hammer", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode()
        fields = {
            "Host": "localhost",
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "*/*",
            "Content-Length": str(len(body)),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        request = f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body
        while True:
            with socket.socket() as connection:
                connection.settimeout(QUICK_S)
                try:
                    connection.connect(("127.0.0.1", self._port))
                except ConnectionRefusedError:
                    return
                self._use(connection, request, each)

    def _use(self, connection: socket.socket, request: bytes, each: int) -> None:
        for _ in range(each):
            try:
                connection.sendall(request)
            except ConnectionError:
                return  # nothing of it was sent
            try:
                response = HTTPResponse(connection)
                response.begin()
                response.read()
            except (OSError, HTTPException) as error:
                self._count(repr(error))
                return
            self._count(response.status)
            if response.getheader("Connection") == "close":
                return

    def _count(self, what: object) -> None:
        with self._mutex:
            self.seen[what] += 1


def test_whoever_could_send_a_request_has_an_answer(service: Service) -> None:
    replica = service.replicas[0]
    hammer = Hammer(replica, service.tokens["ada"])
    threads = [threading.Thread(target=hammer.work, args=(each,)) for each in PER_CONNECTION.values() for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: hammer.seen[200] > 300, "clients are served", timeout_s=QUICK_S)
    replica.stop()
    for thread in threads:
        thread.join(QUICK_S)
    assert set(hammer.seen) == {200, 503}


def test_idle_connections_are_told_and_keep_nobody_waiting(service: Service) -> None:
    replica = service.replicas[0]
    heads: dict[str, bytes] = {"fresh": b"", "in a head": b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"}
    heads["after an answer"] = b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connections = {name: socket.create_connection(("127.0.0.1", replica.port), QUICK_S) for name in heads}
    for name, connection in connections.items():
        connection.sendall(heads[name])
    assert connections["after an answer"].recv(100).startswith(b"HTTP/1.1 405 ")
    wait_until(lambda: "fsserver_http_connections 3.0" in replica.asked("/metrics")[1], "all are accepted")
    begun = time.monotonic()
    replica.stop()
    assert time.monotonic() - begun < QUICK_S
    for connection in connections.values():
        with connection:
            said = b"".join(iter(lambda: connection.recv(65536), b""))  # noqa: B023 - used at once
        status = said.rpartition(b"HTTP/1.1 ")[2].lower()
        assert status.startswith(b"503 ")
        assert b"connection: close" in status
        assert b"retry-after: 1" in status


# --- calls


def test_what_is_under_way_goes_on_and_nothing_new_begins(service: Service) -> None:
    replica = service.replicas[0]
    client, asker = opened(service, replica), opened(service, replica, capabilities=ASKS)
    file = service.work / "asked-for"
    file.write_text("x")
    with ThreadPoolExecutor() as pool:
        call = sleeps(replica, client, 2, pool)
        with asker.start_call("delete_file", {"path": str(file)}) as deletion:
            question = deletion.question()
            replica.server.signal(signal.SIGTERM)
            wait_until(lambda: replica.asked("/readyz")[0] == 503, "it says that it is not ready")
            assert "draining" in replica.asked("/readyz")[1]
            assert replica.asked("/livez")[0] == 200
            require_refused(client)
            # The answer to a question of a call that is under way is no new request.
            asker.respond(question, {"action": "accept", "content": {"approve": True}})
            assert not deletion.result().get("isError")
        left = replica.below()
        answer: Answer = call.result()
        with answer:
            assert answer.result()["structuredContent"]["exitCode"] == 0
    assert not file.exists()
    ended(replica, left)
    assert outcome(replica, "run_command")["ok"]
    assert outcome(replica, "delete_file")["ok"]


def require_refused(client: HttpClient) -> None:
    with client.start("tools/list", identifier="new") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        message = answer.json()
    assert message["id"] == "new"
    assert "nothing was done" in message["error"]["message"]
    assert message["error"]["data"] == {"transient": True, "retryAfter": 1}


@pytest.mark.parametrize("service", ["60s"], indirect=True)
def test_a_second_signal_ends_the_wait(service: Service) -> None:
    replica = service.replicas[0]
    client = opened(service, replica)
    with ThreadPoolExecutor() as pool:
        call = sleeps(replica, client, 50, pool)
        replica.server.signal(signal.SIGTERM)
        wait_until(lambda: replica.asked("/readyz")[0] == 503, "it drains")
        left = replica.below()
        begun = time.monotonic()
        replica.server.signal(signal.SIGTERM)
        require_cancelled(call.result())
        ended(replica, left)
        assert time.monotonic() - begun < QUICK_S


@pytest.mark.parametrize("service", ["1s"], indirect=True)
def test_what_takes_too_long_is_cancelled_and_the_result_says_so(service: Service) -> None:
    replica = service.replicas[0]
    client = opened(service, replica)
    with ThreadPoolExecutor() as pool:
        call = sleeps(replica, client, 50, pool)
        left = replica.below()
        replica.server.signal(signal.SIGTERM)
        require_cancelled(call.result())
    ended(replica, left)
    replica.server.line("1 requests are cancelled")


def require_cancelled(answer: Answer) -> None:
    with answer:
        assert answer.status == 200
        result = answer.result()
    assert result["isError"]
    assert result["structuredContent"]["endedBy"] == "cancelled"
