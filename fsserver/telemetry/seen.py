"""What an observer of calls is told: names, numbers and codes. Never an argument, a path or a result."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Decision(StrEnum):
    """What became of a call."""

    ALLOWED = "allowed"
    DENIED = "denied"
    """A rule refused it, or a person did."""
    LIMITED = "limited"
    """It was allowed in kind, and too much in amount."""
    ASKED = "asked"
    """It stopped before any effect, since a person has to be asked. What is done after the answer is another call."""
    FAILED = "failed"
    """The client made a mistake, or the operating system, the log or the server had a failure."""


class Begun(NamedTuple):
    """A call that the gate was given; nothing about it is checked yet.

    Attributes:
        call: its number in this run.
        tool: as the client named it, its first 100 characters: there may be no such tool.
        via: the method of a request that is no tool call, else None.
        request_id: the transport's name for the request.
        traceparent: what the client said it belongs to, in the form of W3C Trace Context.
    """

    call: int
    tool: str
    via: str | None
    session: str
    principal: str
    request_id: str | None
    traceparent: str | None


class Seen(NamedTuple):
    """A call that is over, and in the log.

    Attributes:
        call, tool, via, session, principal, request_id: as in `Begun`; of a request that is no tool call ``tool`` is
            what served it.
        trace_id: 32 hexadecimal digits.
        code: of the error; ``command.`` and a word where a limit ended a command; None of what went well.
        rule: the rule that decided, as ``policy-basename:line``.
        duration_s: from the gate's door to its door.
        result_bytes: of the texts and pictures that the client gets.
        again: nothing was done or recorded: the same call comes again where a person can be asked.
    """

    call: int
    tool: str
    via: str | None
    session: str
    principal: str
    request_id: str | None
    trace_id: str | None
    decision: Decision
    code: str | None
    rule: str | None
    duration_s: float
    result_bytes: int
    is_error: bool
    again: bool = False
