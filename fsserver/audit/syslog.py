"""Audit records as syslog messages (RFC 5424) over TLS (RFC 5425), or over plain TCP on this machine (RFC 6587).

MSG is the record's canonical line without its newline, so whoever cuts the JSON out of an archive has the chain.

*What handed over means.* Syslog has no answer. A record is handed over when the kernel has all of it in the buffer of
a connection that the peer had not closed. What the peer's kernel has not acknowledged, and what was sent in the second
before the connection was lost, is sent again on the next one: it can arrive twice. What the peer's kernel took and its
program never read, longer than that second, is lost; the chain of what arrived has a gap then.
"""

from __future__ import annotations

import re
import select
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fsserver.audit.carrier import FINISH_S, Sent
from fsserver.audit.fields import text
from fsserver.audit.record import CALL_OUTCOME, CALL_REFUSED, LOG_HEALED, Record, parse
from fsserver.audit.stream import Stream

LOG_AUDIT: Final = 13
"""RFC 5424, table 1."""

NOTICE: Final = 5
WARNING: Final = 4
INFORMATIONAL: Final = 6

STRUCTURED_ID: Final = "fsserver@32473"
"""32473 is the number that examples have (RFC 5612): fsserver has none of its own."""

DOUBT_S: Final = 1.0
MAX_DOUBTFUL: Final = 4096
MAX_DOUBTFUL_BYTES: Final = 4 * 1024**2
"""What is held to be sent again, besides what is not acknowledged."""

_NOT_PRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
_ESCAPED: Final = re.compile(r'["\\\]]')


def severity(record: Record) -> int:
    """RFC 5424, table 2: what a person should look at is a warning, other ends and the log's own events a notice."""
    event = record.get("event")
    if event in (CALL_REFUSED, LOG_HEALED):
        return WARNING
    if event == CALL_OUTCOME:
        return INFORMATIONAL if record.get("ok") else NOTICE
    return INFORMATIONAL if str(event).startswith("call.") else NOTICE


def header_word(value: str, most: int) -> str:
    """A field of the header: printable ASCII without spaces, never empty."""
    return _NOT_PRINTABLE.sub("?", value)[:most] or "-"


def message(line: bytes, host: str, run_id: str) -> bytes:
    """The message of one canonical line, which this program sealed."""
    record = parse(line.decode("ascii"))
    header = " ".join(
        (
            f"<{LOG_AUDIT * 8 + severity(record)}>1",
            record["time"],
            header_word(host, 255),
            "fsserver",
            header_word(run_id, 128),
            header_word(record["event"], 32),
            _structured(record),
        )
    )
    return header.encode("utf-8", "backslashreplace") + b" " + line.rstrip(b"\n")


def _structured(record: Record) -> str:
    values: dict[str, Any] = {"seq": record["seq"], "session": text(record, "session")}
    values["principal"] = text(record, "principal")
    shown = (f' {key}="{_parameter(str(value))}"' for key, value in values.items() if value is not None)
    return f"[{STRUCTURED_ID}{''.join(shown)}]"


def _parameter(value: str) -> str:
    """RFC 5424, 6.3.3: UTF-8 with three characters escaped; here without control characters too."""
    plain = "".join(each if each.isprintable() else "?" for each in value[:200])
    return _ESCAPED.sub(lambda found: "\\" + found[0], plain)


def frame(line: bytes, host: str, run_id: str) -> bytes:
    """The message with its length in front (RFC 5425, 4.3; RFC 6587, 3.4.1)."""
    data = message(line, host, run_id)
    return b"%d %b" % (len(data), data)


class _Handed(NamedTuple):
    """A record that was handed over, and when by the monotonic clock."""

    at: float
    seq: int
    framed: bytes


class Syslog:
    """Carries records to one syslog server. Used by one thread."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext | None, *, sender: str, run_id: str, patience_s: float
    ) -> None:
        """``context`` None: without TLS. ``sender``: this machine's name."""
        self._place = (host, port, context, patience_s)
        self._sender = sender
        self._run_id = run_id
        self._patience_s = patience_s
        self._stream: Stream | None = None
        self._doubtful: deque[_Handed] = deque()
        self._held = 0  # their bytes

    def connect(self) -> int | None:
        """Connect and send again what may not have arrived: the number of the first such record. Raises OSError."""
        self._stream = Stream.connect(*self._place)
        for each in self._doubtful:
            self._stream.send(each.framed, self._patience_s)
        now = time.monotonic()
        self._doubtful = deque(each._replace(at=now) for each in self._doubtful)
        return self._doubtful[0].seq if self._doubtful else None

    def send(self, batch: Sequence[Sent]) -> None:
        """Hand them over. Raises OSError."""
        assert self._stream is not None
        self._stream.require_open()
        self._settle()
        frames = [frame(each.line, self._sender, self._run_id) for each in batch]
        self._stream.send(b"".join(frames), self._patience_s)
        now = time.monotonic()
        self._doubtful.extend(_Handed(now, each.seq, framed) for each, framed in zip(batch, frames, strict=True))
        self._held += sum(map(len, frames))

    def watch(self, wake: int, timeout_s: float) -> None:
        """Return when `wake` can be read, or after the time. Raises OSError when the connection ended."""
        assert self._stream is not None
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._stream.fileno(), select.POLLIN)
        poll.poll(timeout_s * 1000)
        self._stream.require_open()
        self._settle()

    def finish(self) -> None:
        """Nothing more comes. Raises OSError."""
        if self._stream is not None:
            self._stream.finish(time.monotonic() + FINISH_S)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _settle(self) -> None:
        """Let go of what has arrived: acknowledged, and longer ago than a program takes to read it.

        No fewer bytes are on the way than their text has, so the newest records that have as many bytes as are not
        acknowledged are no fewer than those that are not.
        """
        assert self._stream is not None
        unacknowledged = self._stream.unacknowledged() or 0
        before = time.monotonic() - DOUBT_S
        while self._doubtful:
            oldest = self._doubtful[0]
            left = self._held - len(oldest.framed)
            few = len(self._doubtful) <= MAX_DOUBTFUL and self._held <= MAX_DOUBTFUL_BYTES
            if left < unacknowledged or (oldest.at > before and few):
                return
            self._doubtful.popleft()
            self._held = left
