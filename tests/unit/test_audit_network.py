"""Audit records over the network: what arrives is a chain; a required place refuses, an optional one stops nothing."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.log import AuditLog
from fsserver.audit.network import fault, place
from fsserver.audit.phrases import healing_words
from fsserver.audit.record import Json
from fsserver.audit.verify import Status, verify
from fsserver.cli.doctor_audit import log_checks
from fsserver.errors import AuditError, ConfigError
from fsserver.policy.compiled import AuditRules, AuditSink
from fsserver.policy.service import NetworkProtocol, NetworkSink
from tests.audit_logs import CALL, key_pair, open_log, private, records
from tests.audit_schema import misfits
from tests.receivers import MESSAGE, Authority, Certificate, Collector, SyslogServer, collector, once, syslog_server
from tests.support import REPOSITORY, in_child, wait_until

FAST_S = 0.5  # for what waits for nothing


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("127.0.0.1")


@pytest.fixture
def server(certificate: Certificate) -> Iterator[SyslogServer]:
    with syslog_server(certificate) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[SyslogServer]:
    with syslog_server() as running:
        yield running


def tls(server: SyslogServer, authority: Authority, *, required: bool = True) -> NetworkSink:
    return NetworkSink(NetworkProtocol.SYSLOG, "127.0.0.1", server.port, ca=authority.file, required=required)


def tcp(server: SyslogServer, *, required: bool = True) -> NetworkSink:
    return NetworkSink(NetworkProtocol.SYSLOG, "127.0.0.1", server.port, plain=True, required=required)


def otlp(server: Collector, *, required: bool = True) -> NetworkSink:
    return NetworkSink(NetworkProtocol.OTLP, url=f"http://127.0.0.1:{server.port}/v1/logs", required=required)


def rules(base: Path, *sinks: NetworkSink) -> AuditRules:
    return AuditRules(str(base / "audit"), network=sinks)


def verdict(lines: list[bytes], place: Path) -> Status:
    """Of what arrived, as an archive would have it."""
    archive = private(place) / "archive.jsonl"
    archive.write_bytes(b"".join(lines))
    archive.chmod(0o600)
    return verify(str(archive)).status


def events(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["event"] for line in lines]


def end(log: AuditLog, *servers: SyslogServer) -> None:
    """Close the log, and wait until its end has arrived."""
    log.close()
    wait_until(lambda: all(b'"event":"run.end"' in server.messages[-1] for server in servers), "the end arrives")


def refused(log: AuditLog) -> float:
    """A call that is refused; how many seconds that took."""
    began = time.monotonic()
    with pytest.raises(AuditError):
        log.append("call.intent", CALL, durable=True)
    return time.monotonic() - began


def until_taken(log: AuditLog) -> None:
    """Call until a call is not refused."""

    def taken() -> bool:
        try:
            log.append("call.intent", CALL)
        except AuditError:
            return False
        return True

    wait_until(taken, "the required place takes records again")


# --- what arrives


def test_syslog_over_tls_has_every_record_as_one_chain(
    tmp_path: Path, server: SyslogServer, authority: Authority
) -> None:
    log = open_log(rules(tmp_path, tls(server, authority)), run_id="run-1")
    for number in range(20):
        log.append("call.outcome", {**CALL, "call": number, "ok": True})
    end(log, server)
    assert verdict(server.lines, tmp_path / "received") is Status.WHOLE
    assert events(server.lines) == [record["event"] for record in records(log.path)]
    assert len(server.lines) == len(server.messages) == 22


def test_syslog_message_has_the_form_that_the_standard_asks_for(tmp_path: Path, plain: SyslogServer) -> None:
    log = open_log(rules(tmp_path, tcp(plain)), run_id="ru n\N{EURO SIGN}")
    hostile: dict[str, Json] = {**CALL, "session": 's"]\\', "principal": "p\ud800\n\N{EURO SIGN}", "ok": False}
    log.append("call.outcome", hostile)
    log.append("call.refused", CALL)
    log.append("call.outcome", {**CALL, "ok": True})
    end(log, plain)
    found = [MESSAGE.fullmatch(message) for message in plain.messages]
    assert None not in found
    seen = [each for each in found if each is not None]
    assert [int(each["priority"]) - 13 * 8 for each in seen] == [5, 5, 4, 6, 5]
    assert {each["process"] for each in seen} == {b"ru?n?"}
    told = json.loads(seen[1]["record"])
    assert seen[1]["time"].decode() == told["time"]
    assert seen[1]["data"] == b'[fsserver@32473 seq="2" session="s\\"\\]\\\\" principal="p??\xe2\x82\xac"]'
    assert told["session"] == hostile["session"]
    assert verdict(plain.lines, tmp_path / "received") is Status.WHOLE


def test_collector_has_every_record_as_one_chain_with_its_attributes(
    tmp_path: Path, authority: Authority, certificate: Certificate
) -> None:
    with collector(certificate) as running:
        url = f"https://127.0.0.1:{running.port}/v1/logs"
        sink = NetworkSink(NetworkProtocol.OTLP, url=url, ca=authority.file)
        log = open_log(rules(tmp_path, sink), run_id="run-1")
        trace = "0af7651916cd43dd8448eb211c80319c"
        log.append("call.refused", {**CALL, "session": "s", "principal": "p\ud800", "trace": trace})
        log.close()
    first, second, last = running.records
    told = json.loads(second.body.string_value)
    attributes = {each.key: each.value.string_value or each.value.int_value for each in second.attributes}
    assert attributes == {
        "fsserver.audit.event": "call.refused",
        "fsserver.audit.seq": 2,
        "fsserver.audit.session": "s",
        "fsserver.audit.principal": "p\\ud800",
    }
    assert (second.event_name, second.severity_text, second.trace_id.hex()) == ("call.refused", "WARN", trace)
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second.time_unix_nano // 10**9)) == told["time"][:19]
    assert (first.event_name, last.event_name, first.trace_id) == ("run.start", "run.end", b"")
    resource = running.batches[0].resource_logs[0].resource
    assert {each.key: each.value.string_value for each in resource.attributes}["service.instance.id"] == "run-1"
    assert verdict(running.lines, tmp_path / "received") is Status.WHOLE


def test_signed_log_is_signed_over_the_network_too(tmp_path: Path, plain: SyslogServer) -> None:
    key, public = key_pair(private(tmp_path / "keys"))
    log = open_log(replace(rules(tmp_path, tcp(plain)), key=key, checkpoint_records=3))
    for _ in range(5):
        log.append("call.outcome", CALL)
    end(log, plain)
    archive = private(tmp_path / "received") / "archive.jsonl"
    archive.write_bytes(b"".join(plain.lines))
    (chain,) = verify(str(archive), keys=(public,)).chains
    assert (chain.status, chain.signed, chain.signed_by) == (Status.WHOLE, chain.last.seq - 1, [public.id])
    assert events(plain.lines).count("log.checkpoint") == 2


def test_two_places_and_two_files_have_the_same_calls(
    tmp_path: Path, server: SyslogServer, plain: SyslogServer, authority: Authority
) -> None:
    first = rules(tmp_path, tls(server, authority), tcp(plain, required=False))
    log = open_log(replace(first, others=(AuditSink(None, str(tmp_path / "second/log.jsonl")),)))
    threads = [threading.Thread(target=lambda: [log.append("call.outcome", CALL) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [status.ok for status in log.status()] == [True] * 4
    end(log, server, plain)
    for lines, name in ((server.lines, "a"), (plain.lines, "b")):
        assert verdict(lines, tmp_path / name) is Status.WHOLE
        assert events(lines) == [record["event"] for record in records(log.path)]


def test_large_record_arrives_whole(tmp_path: Path, server: SyslogServer, authority: Authority) -> None:
    log = open_log(rules(tmp_path, tls(server, authority)))
    log.append("call.outcome", {**CALL, "text": "x" * 3_000_000})
    end(log, server)
    assert verdict(server.lines, tmp_path / "received") is Status.WHOLE


# --- when it connects


def test_nothing_is_connected_and_no_thread_runs_before_the_first_record(tmp_path: Path, plain: SyslogServer) -> None:
    threads = threading.active_count()
    log = open_log(rules(tmp_path, tcp(plain)))
    assert (threading.active_count(), plain.connections) == (threads, 0)
    log.append("run.confined", {})
    plain.wait_for(2)
    assert events(plain.lines) == ["run.start", "run.confined"]
    end(log, plain)


def test_log_without_a_record_after_its_start_was_never_there(tmp_path: Path, plain: SyslogServer) -> None:
    before = len(os.listdir("/proc/self/fd"))
    open_log(rules(tmp_path, tcp(plain))).close()
    assert plain.connections == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_certificates_are_read_when_the_log_is_opened(
    tmp_path: Path, server: SyslogServer, authority: Authority
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(Path(authority.file).read_bytes())
    log = open_log(rules(tmp_path, replace(tls(server, authority), ca=str(ca))))
    ca.unlink()
    log.append("call.outcome", CALL)
    log.close()


@pytest.mark.parametrize("required", [True, False])
def test_certificates_that_cannot_be_read_stop_the_start_only_if_the_place_is_required(
    tmp_path: Path, required: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sink = NetworkSink(NetworkProtocol.SYSLOG, "127.0.0.1", 6514, ca=str(tmp_path / "none"), required=required)
    if required:
        with pytest.raises(ConfigError, match="cannot be read"):
            open_log(rules(tmp_path, sink))
        return
    log = open_log(rules(tmp_path, sink))
    log.append("call.outcome", CALL)
    assert [status.ok for status in log.status()] == [True, False]
    log.close()
    assert records(log.path)[-1]["missed"] == {"syslog+tls://127.0.0.1:6514": 1}
    assert "no audit records in syslog+tls://127.0.0.1:6514" in caplog.text


def test_name_is_looked_up_and_each_of_its_addresses_tried(tmp_path: Path, authority: Authority) -> None:
    """The server listens on IPv4 only; where the name has an IPv6 address too, that one refuses."""
    with syslog_server(authority.issue("localhost")) as named:
        log = open_log(rules(tmp_path, replace(tls(named, authority), host="localhost")))
        log.append("call.outcome", CALL)
        end(log, named)
        assert events(named.lines) == ["run.start", "call.outcome", "run.end"]


@pytest.mark.parametrize("host", ["none.invalid", "x" * 70 + ".example", "a..b"])
def test_name_that_leads_nowhere_refuses_calls_and_says_so(tmp_path: Path, host: str) -> None:
    log = open_log(rules(tmp_path, NetworkSink(NetworkProtocol.SYSLOG, host, 601, plain=True)))
    assert refused(log) < 3
    with pytest.raises(AuditError):
        log.close()


def test_place_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    one = NetworkSink(NetworkProtocol.SYSLOG, "127.0.0.1", 6514, plain=True)
    with pytest.raises(ConfigError, match="twice"):
        open_log(rules(tmp_path, one, replace(one, required=False)))


def test_authorities_of_the_machine_are_read_when_the_log_is_opened(
    tmp_path: Path, server: SyslogServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a directory, which OpenSSL itself would read only when it looks at a certificate."""
    there = private(tmp_path / "certificates")
    (there / "ours.crt").write_bytes(Path(authority.file).read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(there))
    sink = replace(tls(server, authority), ca=None)
    log = open_log(rules(tmp_path, sink))
    (there / "ours.crt").unlink()
    log.append("call.outcome", CALL)
    log.close()
    with pytest.raises(ConfigError, match="of this machine"):
        open_log(rules(tmp_path, sink))


PLACES = {
    "syslog+tls://logs.example.org:6514": NetworkSink(NetworkProtocol.SYSLOG, "logs.example.org"),
    "syslog+tcp://[::1]:601": NetworkSink(NetworkProtocol.SYSLOG, "::1", 601, plain=True),
    "otlp+https://collector:443/v1/logs": NetworkSink(NetworkProtocol.OTLP, url="https://u:p@collector/v1/logs?k=v"),
    "otlp+http://[::1]:4318/": NetworkSink(NetworkProtocol.OTLP, url="http://[::1]:4318/"),
}


@pytest.mark.parametrize("name", PLACES)
def test_place_is_called_by_its_address_without_what_else_a_url_may_hold(name: str) -> None:
    assert place(PLACES[name]) == name


def test_ports_and_hosts_that_the_places_need_are_known_before_anything_is_connected() -> None:
    audit = AuditRules("/a", network=tuple(PLACES.values()))
    assert [sink.address[1] for sink in audit.network] == [6514, 601, 443, 4318]
    assert [sink.address[0] for sink in audit.network][:3] == ["logs.example.org", "::1", "collector"]


# --- who it is


@pytest.mark.parametrize("wrong", ["another name", "an unknown authority", "no TLS at all"])
def test_place_that_is_not_who_the_policy_names_gets_no_record(
    tmp_path: Path, authority: Authority, certificate: Certificate, wrong: str
) -> None:
    shown: dict[str, Any] = {
        "another name": authority.issue("logs.example.org"),
        "an unknown authority": Authority(private(tmp_path / "other"), "other").issue("127.0.0.1"),
        "no TLS at all": None,
    }
    with syslog_server(shown[wrong]) as impostor:
        sink = tls(impostor, authority)
        log = open_log(rules(tmp_path, sink))
        assert refused(log) < 3
        assert refused(log) < FAST_S
        assert not log.ready
        said = fault(sink) or ""
        assert said.startswith("cannot be reached: ")
        with pytest.raises(AuditError):
            log.close()
        assert impostor.messages == []
    assert ("certificate" in said) is (wrong != "no TLS at all")


# --- a required place


def test_required_place_that_is_not_there_refuses_fast_and_goes_on_when_it_is(tmp_path: Path) -> None:
    with syslog_server() as server:
        server.stop()
        log = open_log(rules(tmp_path, tcp(server)))
        assert refused(log) < FAST_S
        assert refused(log) < FAST_S
        assert not log.ready
        server.start()
        until_taken(log)
        assert log.ready
        end(log, server)
    assert verdict(once(server.lines), tmp_path / "received") is Status.WHOLE
    (healed,) = [json.loads(line) for line in server.lines if b"log.healed" in line]
    assert (healed["at"], healed["error"], healed["failed"] >= 1) == ("sink", "ECONNREFUSED", True)
    assert misfits(healed) == []


LARGE: dict[str, Json] = {**CALL, "text": "x" * 500_000}


@pytest.mark.parametrize("secure", [True, False], ids=["TLS", "plain"])
def test_required_server_that_stops_reading_refuses_when_no_more_can_be_handed_over(
    tmp_path: Path, authority: Authority, certificate: Certificate, secure: bool
) -> None:
    with syslog_server(certificate if secure else None) as server:
        log = open_log(rules(tmp_path, tls(server, authority) if secure else tcp(server)))
        log.append("call.outcome", CALL)
        server.reading.clear()
        began = time.monotonic()
        with pytest.raises(AuditError):  # noqa: PT012 - which one it is, the buffers decide
            for _ in range(20):
                began = time.monotonic()
                log.append("call.outcome", LARGE)
        assert 1 < time.monotonic() - began < 3
        assert refused(log) < FAST_S
        assert not log.ready
        server.reading.set()
        until_taken(log)
        end(log, server)
        assert verdict(once(server.lines), tmp_path / "received") is Status.WHOLE


def test_required_collector_that_hangs_refuses_all_who_wait_at_the_same_time(tmp_path: Path) -> None:
    with collector() as server:
        log = open_log(rules(tmp_path, otlp(server)))
        log.append("call.outcome", CALL)
        server.answering.clear()
        took: list[float] = []
        threads = [threading.Thread(target=lambda: took.append(refused(log))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert (len(took), max(took) < 3) == (4, True)
        assert refused(log) < FAST_S
        server.answering.set()
        until_taken(log)
        log.close()
        assert verdict(once(server.lines), tmp_path / "received") is Status.WHOLE


ANSWERS = {"busy": 503, "wrong address": 404, "no right": 401, "too large": 413}


@pytest.mark.parametrize("answer", ANSWERS)
def test_required_collector_that_answers_no_refuses_and_goes_on_when_it_answers_yes(
    tmp_path: Path, answer: str
) -> None:
    with collector() as server:
        log = open_log(rules(tmp_path, otlp(server)))
        log.append("call.outcome", CALL)
        server.status = ANSWERS[answer]
        assert refused(log) < 3
        assert refused(log) < FAST_S
        assert log.status()[1].text == f"it answers {ANSWERS[answer]}"
        server.status = 200
        until_taken(log)
        log.close()
        lines = once(server.lines)
    given_up = answer == "too large"  # nobody asks again after this answer, and the chain shows the gap
    assert verdict(lines, tmp_path / "received") is (Status.TAMPERED if given_up else Status.WHOLE)
    (healed,) = [json.loads(line) for line in lines if b"log.healed" in line]
    assert healed["doubtful_seq"] == 3
    assert misfits(healed) == []


def test_collector_that_rejects_a_part_of_a_batch_has_not_taken_it(tmp_path: Path) -> None:
    with collector() as server:
        log = open_log(rules(tmp_path, otlp(server)))
        log.append("call.outcome", CALL)
        server.rejected = 1
        assert refused(log) < 3
        server.rejected = 0
        until_taken(log)
        log.close()
        (healed,) = [json.loads(line) for line in server.lines if b"log.healed" in line]
    assert (healed["doubtful_seq"], healed["error"]) == (3, "EBADMSG")


def test_record_that_a_collector_never_takes_does_not_take_others_with_it(tmp_path: Path) -> None:
    with collector() as server:
        server.answering.clear()
        server.refuses = b"poison"
        log = open_log(rules(tmp_path, otlp(server, required=False)))
        for number in range(20):
            log.append("call.outcome", {**CALL, "call": number, "text": "poison" if number == 10 else ""})
        server.answering.set()
        wait_until(lambda: log.lags()[1].queued == 0, "the queue is empty")
        assert log.lags()[1].missed == 1
        log.close()
        lines = once(server.lines)
    assert [json.loads(line)["seq"] for line in lines] == [*range(1, 12), *range(13, 24)]
    assert records(log.path)[-1]["missed"] == {log.status()[1].name: 1}


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"x" * 100_000], ids=["no protobuf", "too long"])
def test_answer_that_is_none_takes_nothing(tmp_path: Path, body: bytes) -> None:
    with collector() as server:
        server.body = body
        log = open_log(rules(tmp_path, otlp(server)))
        assert refused(log) < 3
        server.body = None
        until_taken(log)
        log.close()


def test_restarted_server_gets_what_the_one_before_did_not_read(
    tmp_path: Path, authority: Authority, certificate: Certificate
) -> None:
    with syslog_server(certificate) as server:
        log = open_log(rules(tmp_path, tls(server, authority)))
        log.append("call.outcome", CALL)
        server.wait_for(2)
        server.reading.clear()
        for number in range(100):
            log.append("call.intent", {**CALL, "call": number})
        server.stop(abruptly=True)
        server.start()
        until_taken(log)
        end(log, server)
    assert verdict(once(server.lines), tmp_path / "received") is Status.WHOLE
    assert {json.loads(line)["call"] for line in server.lines if b"call.intent" in line} == set(range(100))
    (healed,) = [json.loads(line) for line in once(server.lines) if b"log.healed" in line]
    assert (healed["doubtful_seq"] <= 3, misfits(healed)) == (True, [])


HOSTILE_ANSWERS = {
    "no HTTP": b"hello\r\n\r\n",
    "nothing": b"",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "a change of protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    "two answers": b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE_ANSWERS)
def test_hostile_answer_takes_nothing_and_its_connection_is_given_up(tmp_path: Path, name: str) -> None:
    with collector() as server:
        server.raw = HOSTILE_ANSWERS[name]
        log = open_log(rules(tmp_path, otlp(server)))
        assert refused(log) < 3
        assert refused(log) < FAST_S
        server.raw = None
        until_taken(log)
        log.close()
        assert verdict(once(server.lines), tmp_path / "received") is Status.WHOLE


def test_answer_that_came_before_its_question_is_not_one(tmp_path: Path) -> None:
    """A second answer, unasked, on a connection that stays open: it must not stand for that to the next batch."""
    with collector() as server:
        log = open_log(rules(tmp_path, otlp(server)))
        log.append("call.outcome", CALL)
        server.status = 503
        server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert refused(log) < 3
        server.status = 200
        until_taken(log)
        log.close()


def test_slow_server_refuses_nothing_while_it_keeps_up(
    tmp_path: Path, server: SyslogServer, authority: Authority
) -> None:
    server.pause_s = 0.005
    log = open_log(rules(tmp_path, tls(server, authority)))
    for _ in range(50):
        log.append("call.outcome", {**CALL, "text": "x" * 10_000})
    assert log.ready
    end(log, server)
    server.wait_for(52)
    assert verdict(server.lines, tmp_path / "received") is Status.WHOLE


def test_server_that_talks_back_is_not_listened_to(tmp_path: Path, plain: SyslogServer) -> None:
    plain.says = b"no, thank you\n" * 1000
    log = open_log(rules(tmp_path, tcp(plain)))
    for _ in range(20):
        log.append("call.outcome", CALL)
    end(log, plain)
    assert verdict(once(plain.lines), tmp_path / "received") is Status.WHOLE


RECIPE = r"sed -E 's/^[^[]*\[fsserver@32473 ([^]\\]|\\.)*\] //' | awk '!seen[$0]++'"


def test_archive_is_cut_as_the_manual_says(tmp_path: Path, plain: SyslogServer) -> None:
    manual = (REPOSITORY / "docs/audit.md").read_text()
    assert RECIPE in manual
    log = open_log(rules(tmp_path, tcp(plain)))
    log.append("call.outcome", {**CALL, "session": 'a"] {\\', "text": "[fsserver@32473 x] {}"})
    end(log, plain)
    messages = b"".join(message + b"\n" for message in (*plain.messages[:2], *plain.messages[1:]))
    cut = subprocess.run(["sh", "-c", RECIPE], input=messages, capture_output=True, check=True, timeout=30).stdout
    assert verdict(cut.splitlines(keepends=True), tmp_path / "received") is Status.WHOLE


def test_server_that_closes_is_noticed_without_a_call_and_the_next_call_is_not_refused(
    tmp_path: Path, plain: SyslogServer
) -> None:
    log = open_log(rules(tmp_path, tcp(plain)))
    log.append("call.outcome", CALL)
    plain.wait_for(2)
    plain.stop()
    wait_until(lambda: not log.ready, "the lost connection is noticed")
    plain.start()
    wait_until(lambda: log.ready, "it connects by itself")
    log.append("call.outcome", CALL)
    end(log, plain)
    assert verdict(once(plain.lines), tmp_path / "received") is Status.WHOLE


def test_collector_that_closes_is_noticed_without_a_call(tmp_path: Path) -> None:
    with collector() as server:
        log = open_log(rules(tmp_path, otlp(server)))
        log.append("call.outcome", CALL)
        server.stop()
        wait_until(lambda: not log.ready, "the lost connection is noticed")
        with pytest.raises(AuditError):
            log.close()


def test_server_that_restarts_in_a_moment_refuses_no_call(tmp_path: Path, plain: SyslogServer) -> None:
    log = open_log(rules(tmp_path, tcp(plain)))
    began = time.monotonic()
    wait_until(lambda: log.append("call.outcome", CALL) > 0 and time.monotonic() > began + 1.2, "it was up for long")
    plain.drop()
    log.append("call.outcome", CALL)
    wait_until(lambda: plain.connections == 2, "it connects again")
    end(log, plain)
    assert verdict(once(plain.lines), tmp_path / "received") is Status.WHOLE


HEALED = {
    "timeout": {"failed": 2},
    "closed": {"doubtful_seq": 7},
    "name": {"failed": 2, "doubtful_seq": 7},
}


@pytest.mark.parametrize("error", HEALED)
def test_reports_tell_that_a_place_could_not_be_reached(error: str) -> None:
    said = healing_words({"event": "log.healed", "at": "sink", "error": error, **HEALED[error]})
    assert said.startswith(f"this place of the log could not be reached ({error})")
    assert ("2 records are not in it" in said) is ("failed" in HEALED[error])
    assert ("from 7 on may be missing or be there twice" in said) is ("doubtful_seq" in HEALED[error])


# --- an optional place


def test_optional_place_that_is_away_stops_nothing_and_gets_what_its_queue_held(
    tmp_path: Path, plain: SyslogServer, caplog: pytest.LogCaptureFixture
) -> None:
    plain.stop()
    log = open_log(rules(tmp_path, tcp(plain, required=False)))
    began = time.monotonic()
    for _ in range(100):
        log.append("call.intent", CALL, durable=True)
    assert time.monotonic() - began < 2
    wait_until(lambda: not log.status()[1].ok, "it is known to be away")
    assert log.ready
    _, lag = log.lags()
    assert (lag.name, lag.queued, lag.missed, lag.oldest_s > 0) == (log.status()[1].name, 101, 0, True)
    plain.start()
    plain.wait_for(101)
    wait_until(lambda: log.lags()[1].oldest_s == 0.0, "the queue is empty")
    end(log, plain)
    assert verdict(plain.lines, tmp_path / "received") is Status.WHOLE
    assert "missed" not in records(log.path)[-1]
    told = [message for message in caplog.messages if "reached" in message]
    assert ["cannot be reached: connection refused" in told[0], "reached again" in told[1], len(told)] == [
        True,
        True,
        2,
    ]


def test_optional_place_drops_what_its_queue_cannot_hold_and_the_chain_counts_it(
    tmp_path: Path, plain: SyslogServer, caplog: pytest.LogCaptureFixture
) -> None:
    plain.stop()
    log = open_log(rules(tmp_path, tcp(plain, required=False)))
    for _ in range(40):
        log.append("call.intent", LARGE)
    missed = log.lags()[1].missed
    assert missed >= 5
    assert log.lags()[1].queued == 41 - missed
    plain.start()
    wait_until(lambda: log.lags()[1].queued == 0, "the queue is empty")
    log.append("call.outcome", CALL)
    end(log, plain)
    assert verdict(plain.lines, tmp_path / "received") is Status.WHOLE
    assert events(plain.lines).count("call.intent") == 40 - missed
    (healed,) = [json.loads(line) for line in plain.lines if b"log.healed" in line]
    assert (healed["failed"], healed["error"], misfits(healed)) == (missed, "ECONNREFUSED", [])
    assert records(log.path)[-1]["missed"] == {log.status()[1].name: missed}
    assert [message.count("its queue is full") for message in caplog.messages].count(1) == 1


def test_optional_place_that_never_was_there_is_counted_by_the_others_at_the_end(
    tmp_path: Path, plain: SyslogServer
) -> None:
    plain.stop()
    log = open_log(rules(tmp_path, tcp(plain, required=False)))
    log.append("call.outcome", CALL)
    wait_until(lambda: not log.status()[1].ok, "it is known to be away")
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < 2
    assert records(log.path)[-1]["missed"] == {log.status()[1].name: 3}


def test_record_that_none_can_hold_fails_in_no_place(tmp_path: Path, plain: SyslogServer) -> None:
    log = open_log(rules(tmp_path, tcp(plain)))
    for fields in ({"a": 1.5}, {"a": "x" * 5_000_000}):
        with pytest.raises(AuditError):
            log.append("call.outcome", fields)  # type: ignore[arg-type]
    assert log.ready
    log.append("call.outcome", CALL)
    end(log, plain)
    assert verdict(plain.lines, tmp_path / "received") is Status.WHOLE


# --- standard error


def through_stderr(act: Callable[[], None], read: Callable[[int], bytes]) -> bytes:
    """What `act` writes to descriptor 2 in a child, as `read` gets it from a pipe here."""
    reader, writer = os.pipe()

    def child() -> None:
        os.dup2(writer, 2)
        os.close(writer)
        os.close(reader)
        act()

    got: list[bytes] = []
    reading = threading.Thread(target=lambda: got.append(read(reader)))
    try:
        reading.start()
        in_child(child)
    finally:
        os.close(writer)
        reading.join(30)
        os.close(reader)
    return got[0]


def everything(reader: int) -> bytes:
    """Until nobody writes any more."""
    data = b""
    while more := os.read(reader, 65536):
        data += more
    return data


def test_standard_error_has_every_record_as_one_chain(tmp_path: Path) -> None:
    def act() -> None:
        log = open_log(AuditRules(str(tmp_path / "audit"), stderr=True))
        for number in range(30):
            log.append("call.outcome", {**CALL, "call": number, "text": "x" * 5000})
        log.close()

    lines = [line for line in through_stderr(act, everything).splitlines(keepends=True) if line.startswith(b"{")]
    assert verdict(lines, tmp_path / "received") is Status.WHOLE
    assert len(lines) == 32


def test_standard_error_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    def act() -> None:
        log = open_log(AuditRules(str(tmp_path / "audit"), stderr=True))
        began = time.monotonic()
        for _ in range(40):
            log.append("call.intent", LARGE)
        assert time.monotonic() - began < 10
        assert log.ready
        assert log.lags()[1].missed > 0
        log.close()

    through_stderr(act, lambda _: b"nobody reads")
    (written,) = (tmp_path / "audit").glob("*.jsonl")
    assert records(written)[-1]["missed"]["standard error"] > 0


def test_closed_standard_error_stops_nothing(tmp_path: Path) -> None:
    def act() -> str:
        os.close(2)
        log = open_log(AuditRules(str(tmp_path / "audit"), stderr=True))
        log.append("call.outcome", CALL)
        log.close()
        return log.path

    assert [record["event"] for record in records(in_child(act))] == ["run.start", "call.outcome", "run.end"]


# --- doctor


def test_doctor_tells_whether_each_place_can_be_reached(
    tmp_path: Path, server: SyslogServer, authority: Authority
) -> None:
    with syslog_server() as away:
        pass
    with collector() as collecting:
        sinks = (
            tls(server, authority),
            otlp(collecting),
            tcp(away),
            tcp(away, required=False),
            replace(tls(server, authority), ca=str(tmp_path / "none")),
            replace(tls(server, authority), ca=str(tmp_path / "none"), required=False),
        )
        checks = list(log_checks(rules(tmp_path, *sinks)))[1:]
    assert [check.verdict for check in checks] == ["ok", "ok", "error", "warning", "error", "warning"]
    assert [check.exit_code for check in checks] == [0, 0, 2, 0, 2, 0]
    assert "connection refused" in checks[2].text
    assert server.messages == []
    assert collecting.records == []
