"""Messages for the operator on standard error: text on a terminal, elsewhere one JSON object a line.

Modules log through the standard library; structlog gives the lines their form.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
from typing import Final

import structlog
from structlog.typing import EventDict, Processor

STDERR: Final = 2

PIPE_BUF: Final = 4096
"""pipe(7): poll says writable when this many bytes fit, so a write of no more never waits."""

MAX_LINE_BYTES: Final = 64 * 1024

CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control and bidirectional characters but tab and line feed."""


class StderrHandler(logging.Handler):
    """Writes to descriptor 2 and never waits: what a client that does not read its server's messages leaves no room
    for is dropped. After one that was dropped in part the next begins a line of its own. Keeps no buffer whose lock a
    thread could hold when the process ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self._torn = False
        self._poll = select.poll()
        self._poll.register(STDERR, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode("utf-8", "backslashreplace")[:MAX_LINE_BYTES] + b"\n"
        line = b"\n" + line if self._torn else line
        with contextlib.suppress(OSError):  # there is no standard error: nobody can be told
            while line and any(event & select.POLLOUT for _, event in self._poll.poll(0)):
                line = line[os.write(STDERR, line[:PIPE_BUF]) :]
                self._torn = bool(line)


def configure(level: int = logging.WARNING, *, own: int | None = None) -> None:
    """Send every logger's messages of ``level`` and above to standard error; fsserver's own from ``own`` on."""
    terminal = os.isatty(STDERR)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [_neutral, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [structlog.processors.format_exc_info, _message_first, structlog.processors.JSONRenderer()]
    )
    handler = StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("fsserver").setLevel(level if own is None else own)
    logging.captureWarnings(True)


def _neutral(_logger: object, _method: str, event: EventDict) -> EventDict:
    """What a client sent may be in the text and the values: no escape sequence of it reaches the terminal, and no value
    begins a line. JSON escapes by itself.
    """
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable() and key != "event":
            event[key] = ascii(value)[1:-1]
    event["event"] = CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(event.get("event", "")))
    return event


def _message_first(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Time, level and text in front, so that a line reads well before anything parses it."""
    front = {key: event.pop(key) for key in ("timestamp", "level", "event", "logger") if key in event}
    return {**front, **event}
