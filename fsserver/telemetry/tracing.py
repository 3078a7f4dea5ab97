"""A span for each call, sent to an OpenTelemetry collector over OTLP/HTTP.

Names and attributes are those of OpenTelemetry's conventions for MCP, and a few of our own that begin with
``fsserver.``; none is an argument, a path or a result. A call that belongs to a trace of the client's goes with it,
also in whether it is kept; of the others a part is kept.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fsserver.errors import ConfigError
from fsserver.telemetry.seen import Begun, Seen
from fsserver.trust import client_context

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_LOG = logging.getLogger(__name__)

QUEUE: Final = 2048
"""Spans that wait for the collector; further ones take the place of the oldest."""

BATCH: Final = 512
EVERY_S: Final = 2.0
SEND_S: Final = 5.0
"""How long a batch is tried to be sent before it is given up."""

CLOSE_S: Final = 5.0
"""How long the end of the server may wait for the last batch."""

CALL: Final = "tools/call"


class Traces:
    """An observer of the gate. Make it before the process confines itself, `start` it afterwards: until then it has no
    thread, and from then on it opens no file outside Python's installation.

    Args:
        url: of the collector, with the path for traces.
        sample: which part of the traces that no client began is kept, 0 to 1.
        tools: the names that there are.

    Raises:
        ConfigError: the packages for it are not installed.
    """

    def __init__(self, url: str, sample: float, *, version: str, tools: Collection[str]) -> None:
        try:
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
            from opentelemetry.trace import SpanKind  # noqa: PLC0415
            from opentelemetry.trace.status import Status, StatusCode  # noqa: PLC0415
        except ImportError as missing:
            raise ConfigError(
                "telemetry.traces needs the packages for OpenTelemetry: install fsserver[otel]."
            ) from missing
        self._exporter = _exporter(url)
        sampler = ParentBased(TraceIdRatioBased(sample))
        self._provider = TracerProvider(sampler=sampler, resource=_resource(version), shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("fsserver", version)
        self._kind = SpanKind.SERVER
        self._error = Status(StatusCode.ERROR)
        self._tools = frozenset(tools)
        self._open: dict[int, Span] = {}

    def start(self) -> None:
        """Begin to send. Starts a thread."""
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=QUEUE,
                max_export_batch_size=BATCH,
                schedule_delay_millis=EVERY_S * 1000,
                export_timeout_millis=SEND_S * 1000,
            )
        )

    def close(self) -> None:
        """Send what is left, as far as that takes no longer than `CLOSE_S`."""
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            _LOG.warning("The collector of traces does not answer: the last spans are lost.")

    def began(self, call: Begun, /) -> str | None:
        """The trace, if it is kept."""
        from opentelemetry.trace import format_trace_id  # noqa: PLC0415

        span = self._tracer.start_span(call.via or CALL, _parent(call.traceparent), self._kind)
        self._open[call.call] = span
        return format_trace_id(span.get_span_context().trace_id) if span.is_recording() else None

    def over(self, call: Seen, /) -> None:
        span = self._open.pop(call.call)
        if call.again or not span.is_recording():
            return  # a span that never ends is never sent
        if call.tool in self._tools:
            if call.via is None:
                span.update_name(f"{CALL} {call.tool}")
            span.set_attribute("gen_ai.tool.name", call.tool)
        if call.is_error:
            span.set_status(self._error)
        span.set_attributes(_attributes(call))
        span.end()


def _attributes(call: Seen) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "mcp.method.name": call.via or CALL,
        "mcp.session.id": call.session,
        "gen_ai.operation.name": "execute_tool",
        "fsserver.call": call.call,
        "fsserver.principal": call.principal,
        "fsserver.decision": call.decision.value,
        "fsserver.result.bytes": call.result_bytes,
    }
    if call.is_error:
        attributes["error.type"] = "tool_error"  # as the conventions have it where isError is true
    for name, value in (("error.code", call.code), ("rule", call.rule), ("request.id", call.request_id)):
        if value is not None:
            attributes[f"fsserver.{name}"] = value
    return attributes


def _parent(traceparent: str | None) -> Any:
    """The context of a span of the client's; an empty one, whatever this thread did before, makes a new trace."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    if traceparent is None:
        return Context()
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


def _resource(version: str) -> Any:
    """What the spans are of; the operator's environment adds to it. `Resource.create` would start threads."""
    from opentelemetry.sdk import resources  # noqa: PLC0415
    from opentelemetry.sdk.version import __version__ as sdk  # noqa: PLC0415

    ours = {
        resources.TELEMETRY_SDK_LANGUAGE: "python",
        resources.TELEMETRY_SDK_NAME: "opentelemetry",
        resources.TELEMETRY_SDK_VERSION: sdk,
        resources.SERVICE_NAME: "fsserver",
        resources.SERVICE_VERSION: version,
    }
    return resources.Resource(ours).merge(resources.OTELResourceDetector().detect())


def _exporter(url: str) -> Any:
    """What sends spans. The certificates that it trusts are the system's, and are read now.

    Nothing of the environment decides where it connects: neither a proxy nor ~/.netrc.
    """
    import requests  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    try:
        context = client_context()
    except (OSError, ValueError) as error:
        raise ConfigError("telemetry.traces: the certificates of this machine cannot be read.") from error

    class Adapter(HTTPAdapter):
        """Connects with that context and never reads certificates anew."""

        def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
            super().init_poolmanager(*arguments, ssl_context=context, **more)

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """The context verifies."""

    session = requests.Session()
    session.trust_env = False
    session.mount(f"{urlsplit(url).scheme}://", Adapter())
    return OTLPSpanExporter(endpoint=url, session=session, timeout=SEND_S)
