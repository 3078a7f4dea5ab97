"""Clients that take and give nothing back: connections, headers and bodies that never end, answers that nobody reads.
While each goes on, somebody else's calls succeed.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.attacks.web import BODY_S, HEADER_S, STREAMS, WAIT_S, Web, Wire, message, web
from tests.support import wait_until

CONNECTIONS = 1024
"""The default."""

MIB = 1024**2


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    base = tmp_path_factory.mktemp("load").resolve()
    with web(base) as service:
        (base / "work/kept").write_text("x")
        (base / "work/large.txt").write_text("x" * 900_000)
        service.works()
        yield service
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def wires(service: Web) -> Iterator[list[Wire]]:
    """Connections of the attack, closed at its end."""
    wires: list[Wire] = []
    yield wires
    for wire in wires:
        wire.socket.close()
    wait_until(lambda: connections(service) == 0, "the attack's connections are gone", timeout_s=WAIT_S)
    wait_until(lambda: service.asked(service.read()).status == 200, "and so are its requests", timeout_s=WAIT_S)


def connections(service: Web) -> int:
    """Of clients, as the service has them."""
    port, established = f":{service.server.port:04X}", "01"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]  # proc_pid_net(5): local address, peer, state
    return sum(fields[1].endswith(port) and fields[3] == established for fields in map(str.split, lines))


def memory(service: Web) -> int:
    """Resident bytes."""
    return int(service.process.memory_info().rss)


def many(service: Web, wires: list[Wire], number: int) -> list[Wire]:
    made = [service.wire() for _ in range(number)]
    wires += made
    return made


@contextmanager
def asked(service: Web, wires: list[Wire], who: str, number: int, padding: bytes = b"") -> Iterator[None]:
    """So many calls of one principal that wait for a person."""
    session = service.session(who, {"elicitation": {}})
    fields = service.fields(who, session=session)
    path = {"path": f"{service.base}/work/kept"}
    for identifier, wire in enumerate(many(service, wires, number)):
        call = message("tools/call", {"name": "delete_file", "arguments": path}, identifier)
        wire.send(service.post(call + padding, fields=fields))
        assert b"text/event-stream" in wire.head()
    yield
    service.end(who, session)
    wait_until(lambda: service.asked(service.read(who)).status == 200, "it can call again")


def test_headers_that_drip_are_cut_off_in_time(service: Web, wires: list[Wire]) -> None:
    dripping = many(service, wires, 200)
    with service.undisturbed():
        started = time.monotonic()
        for wire in dripping:
            wire.send(b"POST /mcp HTTP/1.1\r\n")
        while time.monotonic() - started < HEADER_S * 0.9:
            for wire in dripping:
                wire.send(b"X: y\r\n")
            time.sleep(0.1)
        for wire in dripping:
            assert b" 408 " in wire.ends()
        assert time.monotonic() - started < HEADER_S + 5


def test_connections_that_say_nothing_are_cut_off_in_time(service: Web, wires: list[Wire]) -> None:
    with service.undisturbed():
        for wire in many(service, wires, 200):
            assert b" 408 " in wire.ends()


def test_a_head_that_begins_after_a_refused_body_is_cut_off_in_time(service: Web, wires: list[Wire]) -> None:
    (wire,) = many(service, wires, 1)
    wire.send(service.post(b"", fields=service.fields(None), length="Content-Length: 9\r\n"))
    assert wire.answer().status == 401
    wire.send(b"x" * 9 + b"POST /mcp HTTP/1.1\r\n")
    assert b" 408 " in wire.ends()


@pytest.mark.slow
def test_bodies_that_do_not_come_are_cut_off_in_time(service: Web, wires: list[Wire]) -> None:
    slow = many(service, wires, STREAMS)
    with service.undisturbed():
        started = time.monotonic()
        for wire in slow:
            wire.send(service.read()[:-1])
        assert {wire.answer().status for wire in slow} == {408}
        assert BODY_S <= time.monotonic() - started < BODY_S + 5
    assert all(wire.ends() == b"" for wire in slow)


def test_one_principal_sends_only_so_many_bodies_at_once(service: Web, wires: list[Wire]) -> None:
    slow = many(service, wires, STREAMS)
    for wire in slow:
        wire.send(service.read()[:-1])
    wait_until(lambda: connections(service) == STREAMS, "they are all there")
    with service.undisturbed():
        refused = service.asked(service.read())
    assert refused.status == 429
    assert refused.header("retry-after") == "1"
    assert {wire.answer().status for wire in slow} == {408}
    service.works("ada")


def test_a_connection_too_many_takes_the_place_of_the_one_that_is_idle_longest(service: Web, wires: list[Wire]) -> None:
    idle = many(service, wires, CONNECTIONS)
    wait_until(lambda: connections(service) == CONNECTIONS, "they are all there")
    service.works()
    told = idle[0].ends()
    assert b" 503 " in told
    assert b"retry-after: 1" in told
    idle[-1].send(service.read())
    assert idle[-1].answer().status == 200


def test_a_thousand_idle_sessions_and_connections_disturb_nobody(
    service: Web, wires: list[Wire], record_property: Callable[[str, object], None]
) -> None:
    before = memory(service)
    with service.undisturbed():
        for _ in range(1000):
            service.session("ada")
        idle = many(service, wires, 1000)
        for wire in idle:
            wire.send(service.post(message("notifications/x", None, None)))
        assert {wire.answer().status for wire in idle} == {202}
    growth = memory(service) - before
    record_property("growth_bytes", growth)
    assert growth < 64 * MIB, "64 KiB for each session and connection together"


def test_one_principal_waits_for_only_so_many_answers(service: Web, wires: list[Wire]) -> None:
    with asked(service, wires, "ada", STREAMS), service.undisturbed():
        for _ in range(1000):
            refused = service.asked(service.read())
            assert (refused.status, refused.header("retry-after")) == (429, "1")
    assert "server.limits.streams" in refused.json()["error"]["message"]
    assert (service.base / "work/kept").exists()


def test_answers_that_nobody_reads_take_bounded_memory(service: Web, wires: list[Wire]) -> None:
    """An answer that is not taken counts among those that are waited for."""
    before = memory(service)
    request = service.modern("read_text_file", {"path": f"{service.base}/work/large.txt"})
    service.asked(request)
    with service.undisturbed():
        for wire in many(service, wires, 4 * STREAMS):
            wire.socket.setsockopt(1, 8, 4096)  # SO_RCVBUF
            wire.send(request * 8)
        wait_until(lambda: service.asked(service.read()).status == 429, "no more of them are taken", timeout_s=WAIT_S)
    assert memory(service) - before < 4 * STREAMS * MIB


def test_bodies_that_are_held_are_bounded_for_each_and_for_all(service: Web, wires: list[Wire]) -> None:
    padding = b" " * (4 * MIB - 1024)
    with ExitStack() as stack:
        for who in ("ada", "cleo", "dan", "eve"):
            stack.enter_context(asked(service, wires, who, 4, padding))
        with service.undisturbed():
            own = service.asked(service.post(padding, fields=service.fields("ada")))
            of_all = service.asked(service.post(padding, fields=service.fields("bob")))
    assert (own.status, of_all.status) == (429, 503)


def test_garbage_from_many_at_once_writes_few_lines(service: Web) -> None:
    before = len(service.server.lines)
    with service.undisturbed():
        for _ in range(300):
            assert service.asked(b"\x16\x03\x01" * 20).status == 400
    assert len(service.server.lines) - before < 100
