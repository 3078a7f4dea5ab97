"""Who watches the calls of a gate, for metrics, traces and lines in a log. An observer decides nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from fsserver.telemetry.seen import Begun, Decision, Seen
from fsserver.telemetry.trace_context import trace_id
from fsserver.tools.approval import ConsentNeeded
from fsserver.tools.result import Text, ToolResult
from fsserver.tools.trail import Trail

_LOG = logging.getLogger(__name__)

_DECISIONS: Final = {"denied": Decision.DENIED, "limit": Decision.LIMITED, "command": Decision.ALLOWED}
"""By the branch of the tree of errors. A command that a limit ended was allowed."""


class Observer(Protocol):
    """Told of every call, also of refused ones, in the thread that makes it. It never waits. What it raises is logged
    and harms no call.
    """

    def began(self, call: Begun, /) -> str | None:
        """The id of the trace that the call is part of, 32 hexadecimal digits, if the observer knows or began one."""
        ...

    def over(self, call: Seen, /) -> None: ...


class Observers:
    """Several as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def began(self, call: Begun) -> str | None:
        traces = [observer.began(call) for observer in self._observers]
        return next((trace for trace in traces if trace is not None), None)

    def over(self, call: Seen) -> None:
        for observer in self._observers:
            observer.over(call)


class Watched:
    """One call under an observer's eyes.

    Args:
        trail: what the log says about it; gets the trace that the observer knows.
        traceparent: what the client said that it belongs to.
    """

    __slots__ = ("_observer", "_trail")

    def __init__(self, observer: Observer, trail: Trail, traceparent: str | None) -> None:
        self._observer = observer
        self._trail = trail
        begun = Begun(trail.call, trail.tool, trail.via, trail.session, trail.principal, trail.request, traceparent)
        try:
            trail.trace = observer.began(begun) or trail.trace
        except Exception:  # noqa: BLE001 - a bug in what watches is none of the call
            _LOG.exception("the beginning of call %d was not observed", trail.call)

    def over(self, outcome: ToolResult | ConsentNeeded, *, asks: bool) -> None:
        """What the client gets. ``asks`` as in `fsserver.tools.gate.Gate.call`."""
        try:
            self._observer.over(_seen(self._trail, outcome, asks=asks))
        except Exception:  # noqa: BLE001
            _LOG.exception("the end of call %d was not observed", self._trail.call)


def trace_of(traceparent: str | None) -> str | None:
    return None if traceparent is None else trace_id(traceparent)


def _seen(trail: Trail, outcome: ToolResult | ConsentNeeded, *, asks: bool) -> Seen:
    code: str | None = None
    rule: str | None = None
    decision, is_error, size = Decision.ASKED, False, 0
    if isinstance(outcome, ToolResult):
        is_error, size = outcome.is_error, _size(outcome)
        code, rule = _error(outcome) if is_error else (None, None)
        decision = _DECISIONS.get(code.partition(".")[0], Decision.FAILED) if code else Decision.ALLOWED
    return Seen(
        call=trail.call,
        tool=trail.tool,
        via=trail.via,
        session=trail.session,
        principal=trail.principal,
        request_id=trail.request,
        trace_id=trail.trace,
        decision=decision,
        code=code,
        rule=rule,
        duration_s=(time.perf_counter_ns() - trail.started_ns) / 1e9,
        result_bytes=size,
        is_error=is_error,
        again=decision is Decision.ASKED and not asks,
    )


def _error(result: ToolResult) -> tuple[str, str | None]:
    """Its code, and the rule that decided; see `fsserver.tools.render.error_result`."""
    fields: Any = result.structured or {}
    error = fields.get("error")
    if error is None:
        return f"command.{fields.get('endedBy', 'failed')}", None
    return error["code"], error.get("rule")


def _size(result: ToolResult) -> int:
    return sum(_bytes(block.text if isinstance(block, Text) else block.data) for block in result.content)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
