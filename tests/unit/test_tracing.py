"""Spans as a collector gets them over HTTP, and that no collector can hold a call or the server up."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from fsserver.errors import ConfigError
from fsserver.policy.compiled import Action, Effect
from fsserver.telemetry import tracing
from fsserver.telemetry.seen import Begun, Decision, Seen
from fsserver.telemetry.tracing import Traces
from fsserver.tools.control import Control
from tests.collector import Collector, attributes, collecting, self_signed
from tests.gates import Served, served
from tests.support import REPOSITORY
from tests.trees import build, rules

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEPT, LEFT_OUT = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
TOOLS = ("read_text_file", "list_directory", "delete_file")
BEGUN = Begun(1, "read_text_file", None, "s", "p", None, None)
SEEN = Seen(1, "read_text_file", None, "s", "p", None, None, Decision.ALLOWED, None, None, 0.003, 10, is_error=False)


@contextmanager
def tracing_to(collector: Collector, *, sample: float = 1.0) -> Iterator[Traces]:
    traces = Traces(collector.url, sample, version="1.2", tools=TOOLS)
    traces.start()
    try:
        yield traces
    finally:
        traces.close()


@contextmanager
def gate(tmp_path: Path, traces: Traces) -> Iterator[Served]:
    work = tmp_path / "work"
    work.mkdir()
    build(work, ["file a.txt one", "file .env SECRET"])
    root = rules(work, deny=["**/.env"], operations={Action.DELETE: Effect.ASK})
    with served(tmp_path, [root], can_ask=True, observer=traces) as running:
        yield running


def test_call_is_a_span_with_the_conventions_names(tmp_path: Path) -> None:
    with collecting() as collector:
        with tracing_to(collector) as traces, gate(tmp_path, traces) as served_:
            served_.call("read_text_file", Control(request_id="4f2a"), path="a.txt")
            (record,) = served_.records()
        (span,) = collector.expect(1)
        (resource,) = (each.resource for each in collector.requests[0].resource_spans)
    assert (span.name, span.kind, span.status.code) == (
        "tools/call read_text_file",
        Span.SPAN_KIND_SERVER,
        Status.STATUS_CODE_UNSET,
    )
    assert attributes(list(span.attributes)) == {
        "mcp.method.name": "tools/call",
        "mcp.session.id": "s1",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "read_text_file",
        "fsserver.call": 1,
        "fsserver.principal": "tester",
        "fsserver.decision": "allowed",
        "fsserver.result.bytes": 3,
        "fsserver.request.id": "4f2a",
    }
    named = attributes(list(resource.attributes))
    assert (named["service.name"], named["service.version"]) == ("fsserver", "1.2")
    assert span.trace_id.hex() == record["trace"]
    assert span.parent_span_id == b""
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 10**10


def test_refused_call_is_a_span_in_error_that_tells_no_path(tmp_path: Path) -> None:
    with collecting() as collector:
        with tracing_to(collector) as traces, gate(tmp_path, traces) as served_:
            served_.call("read_text_file", path=".env")
        (span,) = collector.expect(1)
        sent = collector.requests[0].SerializeToString()
    said = attributes(list(span.attributes))
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert (said["error.type"], said["fsserver.error.code"], said["fsserver.decision"]) == (
        "tool_error",
        "denied.protected",
        "denied",
    )
    assert said["fsserver.rule"] == "policy.yaml:7"
    assert b".env" not in sent
    assert str(tmp_path).encode() not in sent


def test_span_continues_the_clients_trace_and_the_log_has_it(tmp_path: Path) -> None:
    with collecting() as collector:
        with tracing_to(collector, sample=0.0) as traces, gate(tmp_path, traces) as served_:
            served_.call("read_text_file", Control(trace=KEPT), path="a.txt")
            (record,) = served_.records()
        (span,) = collector.expect(1)
    assert (span.trace_id.hex(), span.parent_span_id.hex(), record["trace"]) == (TRACE, SPAN, TRACE)


def test_trace_that_the_client_leaves_out_is_left_out_and_the_log_has_it(tmp_path: Path) -> None:
    with collecting() as collector:
        with tracing_to(collector) as traces, gate(tmp_path, traces) as served_:
            served_.call("read_text_file", Control(trace=LEFT_OUT), path="a.txt")
            (record,) = served_.records()
        assert collector.spans == []
    assert record["trace"] == TRACE


@pytest.mark.parametrize(("sample", "least", "most"), [(0.0, 0, 0), (0.25, 60, 200), (1.0, 500, 500)])
def test_part_of_the_other_traces_is_kept(sample: float, least: int, most: int) -> None:
    with collecting() as collector:
        with tracing_to(collector, sample=sample) as traces:
            known = [traces.began(BEGUN._replace(call=number)) for number in range(500)]
            for number in range(500):
                traces.over(SEEN._replace(call=number))
        assert least <= len(collector.spans) <= most
        assert {span.trace_id.hex() for span in collector.spans} == {each for each in known if each is not None}


def test_other_requests_and_invented_names_are_spans_of_few_names(tmp_path: Path) -> None:
    with collecting() as collector:
        with tracing_to(collector) as traces, gate(tmp_path, traces) as served_:
            served_.read(f"file://{served_.top}")
            served_.call("invented", path="a.txt")
            served_.gate.call(served_.session, "delete_file", {"path": "a.txt"}, Control(), asks=False)
            served_.needed("delete_file", path="a.txt")
        spans = collector.expect(3)
    assert [span.name for span in spans] == ["resources/read", "tools/call", "tools/call delete_file"]
    assert attributes(list(spans[0].attributes))["gen_ai.tool.name"] == "list_directory"
    assert "gen_ai.tool.name" not in attributes(list(spans[1].attributes))
    assert not traces._open


# --- a collector that is slow, gone or false


def test_collector_that_hangs_holds_no_call_and_loses_the_oldest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "QUEUE", 16)
    monkeypatch.setattr(tracing, "BATCH", 8)
    monkeypatch.setattr(tracing, "CLOSE_S", 0.3)
    monkeypatch.setattr(tracing, "SEND_S", 1.0)
    with collecting() as collector:
        collector.released.clear()
        began = time.monotonic()
        with tracing_to(collector) as traces:
            for number in range(500):
                traces.began(BEGUN._replace(call=number))
                traces.over(SEEN._replace(call=number))
        assert time.monotonic() - began < 10
    assert "the last spans are lost" in caplog.text


@pytest.mark.parametrize("status", [400, 503])
def test_collector_that_refuses_harms_nothing_and_is_told_to_the_operator(
    status: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "SEND_S", 0.5)
    with collecting() as collector, caplog.at_level(logging.WARNING):
        collector.status = status
        with tracing_to(collector) as traces:
            traces.began(BEGUN)
            traces.over(SEEN)
    assert "Failed to export spans batch" in caplog.text


def test_collector_that_is_not_there_harms_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "SEND_S", 0.5)
    traces = Traces("http://127.0.0.1:1/v1/traces", 1.0, version="1", tools=TOOLS)
    traces.start()
    traces.began(BEGUN)
    traces.over(SEEN)
    traces.close()
    assert "Failed to export spans batch" in caplog.text


def test_environment_decides_neither_the_way_nor_the_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NETRC", str(netrc))
    with collecting() as collector:
        with tracing_to(collector) as traces:
            traces.began(BEGUN)
            traces.over(SEEN)
        collector.expect(1)
    assert "authorization" not in collector.headers[0]


# --- TLS, and a process that confines itself between


def test_certificates_are_the_systems_and_are_read_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with collecting((certificate, key)) as collector:
        traces = Traces(collector.url, 1.0, version="1", tools=TOOLS)
        certificate.unlink()
        traces.start()
        traces.began(BEGUN)
        traces.over(SEEN)
        traces.close()
        collector.expect(1)


def test_collector_whose_certificate_nobody_signed_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "SEND_S", 0.5)
    with collecting(self_signed(tmp_path)) as collector:
        with tracing_to(collector) as traces:
            traces.began(BEGUN)
            traces.over(SEEN)
        assert collector.requests == []
    assert "Failed to export spans batch" in caplog.text


def test_until_it_is_started_no_thread_ever_was() -> None:
    """One that has just ended is seen by the kernel for a moment longer, and the server may not confine itself then."""
    code = "import threading; begun = []; threading.Thread.start = begun.append\n"
    code += "from fsserver.telemetry.tracing import Traces\n"
    code += "Traces('https://127.0.0.1:1/v1/traces', 1.0, version='1', tools=()); print(begun)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_operators_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "files")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with collecting() as collector:
        with tracing_to(collector) as traces:
            traces.began(BEGUN)
            traces.over(SEEN)
        collector.expect(1)
    named = attributes(list(collector.requests[0].resource_spans[0].resource.attributes))
    assert (named["service.name"], named["deployment.environment.name"]) == ("files", "test")
    assert named["telemetry.sdk.language"] == "python"


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"install fsserver\[otel\]"):
        Traces("http://127.0.0.1:1/v1/traces", 1.0, version="1", tools=())
