"""One line on standard error for each call, where the policy says ``telemetry: {calls: true}``.

It says who called what, and how it went: never an argument, a path or a result, which the audit log has. Like every
message it is dropped where nobody reads standard error, so that no call waits; see `fsserver.telemetry.logging`.
"""

from __future__ import annotations

import logging
from typing import Final

import structlog

from fsserver.telemetry.seen import Begun, Decision, Seen

LOGGER: Final = "fsserver.calls"
TEXT: Final = "call"


class CallLines:
    """An observer of the gate."""

    def __init__(self) -> None:
        logger = logging.getLogger(LOGGER)
        logger.setLevel(logging.INFO)  # whatever level other messages have
        self._log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
            logger,
            processors=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=True,
        )

    def began(self, _call: Begun, /) -> None:
        """Nothing is to be said yet."""

    def over(self, call: Seen, /) -> None:
        if call.again:
            return
        fields: dict[str, str | int | float | None] = {
            "call": call.call,
            "tool": call.tool,
            "via": call.via,
            "principal": call.principal,
            "session": call.session,
            "decision": call.decision.value,
            "outcome": _outcome(call),
            "code": call.code,
            "rule": call.rule,
            "duration_ms": round(call.duration_s * 1000, 3),
            "result_bytes": call.result_bytes,
            "request_id": call.request_id,
            "trace_id": call.trace_id,
        }
        self._log.info(TEXT, **{name: value for name, value in fields.items() if value is not None})


def _outcome(call: Seen) -> str:
    if call.decision is Decision.ASKED:
        return "asked"
    return "error" if call.is_error else "ok"
