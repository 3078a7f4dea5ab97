"""A network, and a kill at any moment, against a log with a required place elsewhere.

What has to hold each time: nothing is changed before the place has the intent, and what it has is a chain.
"""

from __future__ import annotations

import os
import random
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsserver.audit.verify import Status, verify
from fsserver.policy.compiled import AuditRules
from fsserver.policy.service import NetworkProtocol, NetworkSink
from tests.audit_logs import CALL, open_log, private
from tests.gates import Served, served
from tests.receivers import Authority, Collector, SyslogServer, collector, once, syslog_server
from tests.support import wait_until
from tests.trees import build, rules


@contextmanager
def serving(base: Path, *sinks: NetworkSink) -> Iterator[Served]:
    top = base / "work"
    top.mkdir()
    build(top, ["file a.txt old", "file gone.txt old"])
    with served(base, [rules(top)], audit=AuditRules(str(base / "state"), network=sinks)) as gate:
        yield gate


def tcp(server: SyslogServer) -> NetworkSink:
    return NetworkSink(NetworkProtocol.SYSLOG, "127.0.0.1", server.port, plain=True)


def otlp(server: Collector) -> NetworkSink:
    return NetworkSink(NetworkProtocol.OTLP, url=f"http://127.0.0.1:{server.port}/v1/logs")


@pytest.mark.claim("C6")
def test_nothing_is_changed_before_a_required_collector_has_answered_to_the_intent(tmp_path: Path) -> None:
    seen: list[str] = []
    with collector() as server, serving(tmp_path, otlp(server)) as gate:
        target = gate.top / "a.txt"

        def look(data: bytes) -> None:
            if b"call.intent" in data:
                seen.append(target.read_text())

        server.seen = look
        for number in range(5):
            gate.text("write_file", path="a.txt", content=str(number))
        assert seen == ["old", "0", "1", "2", "3"]


@pytest.mark.claim("C6")
@pytest.mark.parametrize("kind", ["a server that went away", "a collector that hangs", "a collector that rejects"])
def test_required_place_that_takes_nothing_refuses_every_call_with_nothing_changed(tmp_path: Path, kind: str) -> None:
    with syslog_server() as server, collector() as other:
        sink = tcp(server) if kind == "a server that went away" else otlp(other)
        with serving(tmp_path, sink) as gate:
            gate.text("read_text_file", path="a.txt")
            if kind == "a server that went away":
                server.stop()
                wait_until(lambda: not gate.log.ready, "the lost connection is noticed")
            elif kind == "a collector that hangs":
                other.answering.clear()
            else:
                other.rejected = 1
            before = {path.name: path.read_bytes() for path in gate.top.iterdir()}
            for name, arguments in {
                "write_file": {"path": "a.txt", "content": "x" * 500},
                "create_directory": {"path": "made"},
                "delete_file": {"path": "gone.txt"},
                "move_file": {"source": "a.txt", "destination": "b.txt"},
                "read_text_file": {"path": "a.txt"},
            }.items():
                error = gate.error(name, **arguments)
                assert error["code"] == "audit.append", name
                assert "127.0.0.1" not in str(error), "a client learns nothing of the place"
            assert {path.name: path.read_bytes() for path in gate.top.iterdir()} == before
            server.reading.set()
            other.answering.set()
            other.rejected = 0
            if kind == "a server that went away":
                server.start()
            wait_until(lambda: not gate.call("write_file", path="a.txt", content="new").is_error, "calls are made")


# --- A kill at any moment.

KILLS = 12
THREADS = 3
EFFECTS = 400  # what each thread of a child may do, however its parent ends
LIFE_S = 60


def working_child(audit: AuditRules, effects: Path) -> tuple[int, int]:
    """A forked child whose threads do what the gate does: intent, effect, outcome; its pid and a pipe that it holds.

    The effect is a file that is called as its intent's call.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIFE_S)
            log = open_log(audit)
            log.append("run.confined", {})
            os.write(writer, b".")

            def work(first: int) -> None:
                for number in range(first, first + EFFECTS):
                    log.append("call.intent", {**CALL, "call": number}, durable=True)
                    (effects / str(number)).touch()
                    log.append("call.outcome", {"ok": True})

            for thread in range(THREADS):
                threading.Thread(target=work, args=(thread * EFFECTS,)).start()
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    return pid, reader


@pytest.mark.slow
@pytest.mark.claim("C6")
@pytest.mark.parametrize("kind", ["syslog over TLS", "otlp"])
def test_killed_at_any_moment_leaves_no_effect_without_an_intent_at_the_place(tmp_path: Path, kind: str) -> None:
    moments = random.Random(kind)  # the same moments in each run
    authority = Authority(private(tmp_path / "authority"))
    certificate = authority.issue("127.0.0.1")
    done = 0
    for number in range(KILLS):
        effects = private(tmp_path / f"effects-{number}")
        with syslog_server(certificate, room_bytes=None) as server, collector() as other:
            sink = NetworkSink(NetworkProtocol.SYSLOG, "127.0.0.1", server.port, ca=authority.file)
            if kind == "otlp":
                sink = otlp(other)
            pid, reader = working_child(AuditRules(str(tmp_path / "audit"), network=(sink,)), effects)
            try:
                ready, _, _ = select.select([reader], [], [], 30)
                assert ready, "the child has its log open"
                assert os.read(reader, 1) == b"."
                ended, _, _ = select.select([reader], [], [], moments.uniform(0, 0.2))
                assert not ended, "the child ended by itself"
            finally:
                os.close(reader)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            there = {name.encode() for name in os.listdir(effects)}
            place = other if kind == "otlp" else server

            def missing(place: SyslogServer | Collector = place, there: set[bytes] = there) -> set[bytes]:
                lines = [line for line in place.lines if b'"event":"call.intent"' in line]
                return there - {line.partition(b'"call":')[2].partition(b",")[0] for line in lines}

            wait_until(lambda: not missing(), f"the place has the intent of every effect, not {missing()}")
            archive = private(tmp_path / f"received-{number}") / "archive.jsonl"
            archive.write_bytes(b"".join(once(place.lines)))
            assert verify(str(archive)).status is Status.WHOLE
        done += len(there)
    assert done > KILLS
