"""Audit records as log records of OpenTelemetry (OTLP/HTTP 1.x, binary protobuf), with the ``otel`` extra.

The body is the record's canonical line without its newline. A batch is taken when the collector answered 200 and
rejected none of it. The requests are made here and not by the SDK's exporter: that one tries again for as long as it
likes, and takes a batch of which the collector rejected a part for a success.
"""

from __future__ import annotations

import errno
import select
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import httptools
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from fsserver import __version__
from fsserver.audit.carrier import NotTaken, Sent
from fsserver.audit.fields import text
from fsserver.audit.record import Record, parse
from fsserver.audit.stream import Stream, StreamEnded
from fsserver.audit.syslog import INFORMATIONAL, NOTICE, severity

SCOPE: Final = "fsserver.audit"

MAX_ANSWER_BYTES: Final = 64 * 1024

# What is wrong with the records themselves. After every other answer they are sent again: the protocol says so of some,
# and others (401, 404, 302) say that the policy or the collector has to be mended, and nothing of the records.
_NEVER: Final = frozenset({400, 413, 422})

_SEVERITIES: Final = {
    INFORMATIONAL: (SeverityNumber.SEVERITY_NUMBER_INFO, "INFO"),
    NOTICE: (SeverityNumber.SEVERITY_NUMBER_INFO2, "INFO2"),
}
_WARNING: Final = (SeverityNumber.SEVERITY_NUMBER_WARN, "WARN")


class Url(NamedTuple):
    """Of an HTTP server. ``path`` has the query too."""

    tls: bool
    host: str
    port: int
    path: str


def _values(values: Mapping[str, str | int | None]) -> list[KeyValue]:
    """Attributes; those that are None are left out."""
    return [
        KeyValue(key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))
        for key, value in values.items()
        if value is not None
    ]


def log_record(line: bytes) -> LogRecord:
    """The log record of one canonical line, which this program sealed."""
    record = parse(line.decode("ascii"))
    number, name = _SEVERITIES.get(severity(record), _WARNING)
    return LogRecord(
        time_unix_nano=_nanoseconds(record["time"]),
        observed_time_unix_nano=time.time_ns(),
        severity_number=number,
        severity_text=name,
        event_name=record["event"],
        body=AnyValue(string_value=line.rstrip(b"\n").decode("ascii")),
        attributes=_values(
            {
                "fsserver.audit.event": record["event"],
                "fsserver.audit.seq": record["seq"],
                "fsserver.audit.session": _unicode(record, "session"),
                "fsserver.audit.principal": _unicode(record, "principal"),
            }
        ),
        trace_id=_trace(record),
    )


def _nanoseconds(moment: str) -> int:
    seconds = datetime.fromisoformat(moment)
    return int(seconds.replace(microsecond=0).timestamp()) * 10**9 + seconds.microsecond * 1000


def _unicode(record: Record, key: str) -> str | None:
    """Protobuf has no lone surrogates."""
    value = text(record, key)
    return None if value is None else value.encode("utf-8", "backslashreplace").decode("utf-8")


def _trace(record: Record) -> bytes:
    """The id of the call's trace, 16 bytes, or nothing."""
    try:
        found = bytes.fromhex(text(record, "trace") or "")
    except ValueError:
        return b""
    return found if len(found) == 16 else b""


class _Answer:
    """One response while it is read: what httptools found in it."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.status = 0
        self.keeps = False  # the connection can be used again
        self.whole = False

    def feed(self, data: bytes) -> None:
        """Raises httptools.HttpParserError."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        if self.whole:
            raise httptools.HttpParserError("more than was asked for")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.whole = True
        self.status, self.keeps = self._parser.get_status_code(), self._parser.should_keep_alive()


class Otlp:
    """Carries records to one collector. Used by one thread."""

    def __init__(
        self, url: Url, context: ssl.SSLContext | None, *, sender: str, run_id: str, patience_s: float
    ) -> None:
        """``sender``: this machine's name."""
        self._url = url
        self._context = context
        self._patience_s = patience_s
        self._stream: Stream | None = None
        self._resource = Resource(
            attributes=_values(
                {
                    "service.name": "fsserver",
                    "service.version": __version__,
                    "service.instance.id": run_id,
                    "host.name": sender.encode("utf-8", "backslashreplace").decode("utf-8"),
                }
            )
        )

    def connect(self) -> int | None:
        """Raises OSError. A batch without an answer is still in the queue, so here nothing is sent again."""
        self._stream = Stream.connect(self._url.host, self._url.port, self._context, self._patience_s)
        return None

    def send(self, batch: Sequence[Sent]) -> None:
        """Return when the collector has taken all. Raises NotTaken, OSError."""
        if self._stream is not None and self._stream.heard():
            self.close()  # what is there before the question cannot be the answer to it
        if self._stream is None:
            self.connect()
        assert self._stream is not None
        self._stream.send(self._request(batch), self._patience_s)
        answer = self._answer(time.monotonic() + self._patience_s)
        status = answer.status
        if not answer.keeps:
            self.close()
        if status in _NEVER:
            raise NotTaken(errno.EBADMSG, f"it answers {status}")
        if status != 200:
            raise OSError(errno.EAGAIN, f"it answers {status}")
        try:
            rejected = ExportLogsServiceResponse.FromString(answer.body).partial_success.rejected_log_records
        except DecodeError as error:
            raise OSError(errno.EPROTO, "its answer is none of OTLP") from error
        if rejected:
            raise NotTaken(errno.EBADMSG, "it rejects records")

    def watch(self, wake: int, timeout_s: float) -> None:
        """Return when `wake` can be read, or after the time. Raises OSError when the collector closed the connection.

        It may do so because nothing was sent for long; whether it is still there is known when there is a new one.
        """
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        if self._stream is not None:
            poll.register(self._stream.fileno(), select.POLLIN)
        poll.poll(timeout_s * 1000)
        if self._stream is not None:
            self._stream.require_open()

    def finish(self) -> None:
        """Each batch had its answer."""

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _request(self, batch: Sequence[Sent]) -> bytes:
        scope = ScopeLogs(
            scope=InstrumentationScope(name=SCOPE, version=__version__),
            log_records=[log_record(each.line) for each in batch],
        )
        resource = ResourceLogs(resource=self._resource, scope_logs=[scope])
        body: bytes = ExportLogsServiceRequest(resource_logs=[resource]).SerializeToString()
        host = f"[{self._url.host}]" if ":" in self._url.host else self._url.host
        head = (
            f"POST {self._url.path} HTTP/1.1\r\nHost: {host}:{self._url.port}\r\nUser-Agent: fsserver/{__version__}\r\n"
            f"Content-Type: application/x-protobuf\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("ascii") + body

    def _answer(self, deadline: float) -> _Answer:
        """Raises OSError."""
        assert self._stream is not None
        answer = _Answer()
        read = 0
        try:
            while not answer.whole:
                data = self._stream.receive(deadline)
                read += len(data)
                if read > MAX_ANSWER_BYTES:
                    raise OSError(errno.EMSGSIZE, "its answer is too long")
                answer.feed(data)
        except StreamEnded:
            if not read:
                raise
            raise OSError(errno.EPROTO, "its answer has no end") from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise OSError(errno.EPROTO, "its answer is not HTTP") from error
        return answer
