"""The nginx configuration that is shipped repeats what was not done, and never what may have been."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.protocol.http_client import Answer, HttpClient
from tests.receivers import Authority
from tests.service.fake_replica import (
    FakeReplica,
    Manner,
    dies,
    dies_in_the_head,
    drains,
    fake_replicas,
    is_reset,
    is_silent,
)
from tests.service.proxy import SHIPPED, Proxy, configured, free_port, nginx
from tests.support import wait_until


@dataclass
class Front:
    """nginx in front of three servers that are none.

    Attributes:
        replicas: in the order in which nginx tries them for the token that tests use, as far as it is known: the first.
    """

    proxy: Proxy
    replicas: list[FakeReplica]

    def post(self, method: str = "tools/call", **fields: str) -> Answer:
        message = {"jsonrpc": "2.0", "id": 7, "method": method}
        client = HttpClient(self.proxy.url, "2025-11-25", token="one")
        return client.post(message, {name.replace("_", "-"): value for name, value in fields.items()})

    def seen(self) -> list[int]:
        """How many requests each was sent."""
        return [len(replica.seen) for replica in self.replicas]


@contextmanager
def fronted(directory: Path, more: Mapping[str, str] | None = None) -> Iterator[Front]:
    with (
        fake_replicas([free_port() for _ in range(3)]) as replicas,
        nginx([replica.address for replica in replicas], directory, more) as proxy,
    ):
        front = Front(proxy, replicas)
        with front.post() as answer:  # this token's replica becomes the first
            assert answer.status == 200
        replicas.sort(key=lambda replica: -len(replica.seen))
        assert front.seen() == [1, 0, 0]
        replicas[0].seen.clear()
        yield front


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with fronted(tmp_path / "nginx") as front:
        yield front


def test_requests_of_a_token_go_to_one_replica_on_one_connection(front: Front) -> None:
    for _ in range(6):
        with front.post() as answer:
            assert answer.json() == {}
    assert front.seen() == [6, 0, 0]
    assert {seen.connection for seen in front.replicas[0].seen} <= {1, 2}, "one for each of nginx's processes"


def test_sessions_are_spread_and_each_goes_to_one_replica(front: Front) -> None:
    for session in range(24):
        for _ in range(2):
            with front.post(Mcp_Session_Id=f"session {session}") as answer:
                assert answer.status == 200
    at = [{seen.field("mcp-session-id")[0] for seen in replica.seen} for replica in front.replicas]
    assert all(at), at
    assert sum(map(len, at)) == 24, "no session was at two"


def test_a_refused_connection_goes_to_another_replica(front: Front) -> None:
    front.replicas[0].refuse()
    with front.post() as answer:
        assert answer.status == 200
    assert sum(front.seen()) == 1


def test_two_refused_connections_go_to_the_third_replica(front: Front) -> None:
    front.replicas[0].refuse()
    front.replicas[1].refuse()
    for _ in range(2):  # the first finds out, the second knows
        with front.post() as answer:
            assert answer.status == 200
    assert front.seen() == [0, 0, 2]


def test_where_nobody_listens_the_client_is_told_that_nothing_was_done(front: Front) -> None:
    for replica in front.replicas:
        replica.refuse()
    with front.post() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert answer.json()["error"]["data"] == {"transient": True, "retryAfter": 2}


def test_a_replica_that_drains_is_asked_once_and_then_another(front: Front) -> None:
    front.replicas[0].manner = drains
    with front.post() as answer:
        assert answer.status == 200
    assert front.seen()[0] == 1
    assert sum(front.seen()) == 2
    with front.post() as answer:
        assert answer.status == 200
    assert front.seen()[0] == 1, "it is left alone for a moment"


def test_a_refused_connection_after_a_replica_that_drains_goes_to_the_third(front: Front) -> None:
    front.replicas[0].manner = drains
    with front.post() as answer:
        assert answer.status == 200
    second = next(replica for replica in front.replicas[1:] if replica.seen)
    second.refuse()
    with front.post() as answer:
        assert answer.status == 200
    assert sum(front.seen()) == 3


def test_a_second_replica_that_drains_is_the_last_that_is_asked(front: Front) -> None:
    for replica in front.replicas:
        replica.manner = drains
    with front.post() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json() == {"busy": True}, "its own words"
    assert sorted(front.seen()) == [0, 1, 1]


DEATHS: dict[str, Manner] = {
    "ends": dies,
    "is reset": is_reset,
    "ends in the answer's head": dies_in_the_head,
}


@pytest.mark.parametrize("size", [10, 2_000_000], ids=["small", "large"])
@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_a_request_whose_connection_died_is_seen_exactly_once(death: Manner, size: int, front: Front) -> None:
    require_seen_once(front, death, size)


def test_a_request_that_gets_no_answer_in_time_is_seen_exactly_once(tmp_path: Path) -> None:
    with fronted(tmp_path / "nginx", {"proxy_read_timeout 120s;": "proxy_read_timeout 500ms;"}) as front:
        require_seen_once(front, is_silent, 10)


def require_seen_once(front: Front, death: Manner, size: int) -> None:
    for replica in front.replicas:
        replica.manner = death
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"x": "y" * size}}
    with HttpClient(front.proxy.url, "2025-11-25", token="one").post(message) as answer:
        assert answer.status == 502
        error = answer.json()["error"]
        assert "whether it was done is not known" in error["message"]
        assert "data" not in error, "it is not to be repeated blindly"
    assert sum(front.seen()) == 1


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_kept_connection_that_dies_under_a_request_repeats_nothing(method: str, front: Front) -> None:
    for _ in range(4):  # both of nginx's processes have one
        with front.post() as answer:
            assert answer.status == 200
    before = sum(front.seen())
    for replica in front.replicas:
        replica.manner = dies
    with HttpClient(front.proxy.url, token="one").send(method) as answer:
        assert answer.status == 502
    assert sum(front.seen()) == before + 1


def test_events_come_as_they_are_sent(front: Front) -> None:
    got = []

    def streams(connection: socket.socket) -> bool:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        event = b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\r\n\r\n'
        connection.sendall(head + b"%x\r\n%s\r\n" % (len(event), event))
        connection.recv(1)  # nothing more is sent before the client hangs up
        got.append("the client left")
        return False

    front.replicas[0].manner = streams
    with front.post() as answer:
        assert answer.event() == {"jsonrpc": "2.0", "method": "notifications/progress"}
    front.replicas[0].refuse()  # waits for it
    assert got == ["the client left"]


def test_a_query_goes_nowhere_and_no_secret_is_logged(front: Front) -> None:
    client = HttpClient(front.proxy.url, token="a-token-of-mine")
    with client.send("POST", path="/mcp?access_token=secret-in-query") as answer:
        assert answer.status == 400
    front.replicas[0].manner = front.replicas[1].manner = front.replicas[2].manner = dies
    with client.send("POST", b"{}", {"Mcp-Session-Id": "an-id-of-a-session"}) as answer:
        assert answer.status == 502
    assert sum(front.seen()) == 1
    wait_until(lambda: front.proxy.log().count("\n") == 3, "each request is logged")
    lines = [json.loads(line) for line in front.proxy.log().splitlines()]
    assert sorted(line["status"] for line in lines) == [200, 400, 502]
    assert all(line["path"] == "/mcp" for line in lines)
    for secret in ("secret-in-query", "a-token-of-mine", "an-id-of-a-session"):
        assert secret not in front.proxy.log() + front.proxy.messages()


def test_a_replica_learns_the_clients_address_and_the_name_that_it_called(front: Front) -> None:
    with front.post(X_Forwarded_For="192.0.2.1", Host="mcp.example.org") as answer:
        assert answer.status == 200
    (seen,) = front.replicas[0].seen
    assert seen.field("x-forwarded-for") == ["127.0.0.1"]
    assert seen.field("host") == ["mcp.example.org"]
    assert seen.field("authorization") == ["Bearer one"]


@pytest.mark.parametrize(("body", "status"), [(4 * 1024 * 1024, 200), (4 * 1024 * 1024 + 1, 413)])
def test_a_body_is_as_large_as_the_servers_own_limit(body: int, status: int, front: Front) -> None:
    with HttpClient(front.proxy.url, token="one").send("POST", b"x" * body) as answer:
        assert answer.status == status
    assert sum(front.seen()) == (status == 200)


def test_other_addresses_lead_to_no_replica(front: Front) -> None:
    for path in ("/", "/metrics", "/readyz", "/mcp/", "/mcp/../metrics"):
        with HttpClient(front.proxy.url).send("GET", path=path) as answer:
            assert answer.status == 404
    assert sum(front.seen()) == 0


def test_what_the_configuration_only_proposes_is_valid_too(tmp_path: Path) -> None:
    """Its lines that are commented out, with certificates of our own."""
    text, times = re.subn(
        r"^( +)# ((?:listen|ssl_\w+|proxy_ssl_\w+) .*;)", r"\1\2", SHIPPED.read_text(), flags=re.MULTILINE
    )
    assert times == 10
    ca = Authority(tmp_path)
    ours = ca.issue("127.0.0.1")
    files = {
        "fsserver.crt": ours.certificate,
        "fsserver.key": ours.key,
        "clients.crt": ca.file,
        "replicas.crt": ca.file,
    }
    more = {f"/etc/nginx/{name}": file for name, file in files.items()}
    more |= {
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "listen 443 ssl;": f"listen 127.0.0.1:{free_port()} ssl;",
    }
    command = configured(["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], tmp_path / "nginx", text, more)
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30, check=False)
    assert (tried.returncode, "is successful" in tried.stderr) == (0, True), tried.stderr
