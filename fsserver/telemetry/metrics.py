"""Metrics in Prometheus' form. What each means, and how many time series there can be, is in docs/observability.md.

Nothing that a client chooses becomes a label, but for what is bounded here: a tool that there is none of is
"unknown", and principals and rules beyond the first `MOST_PRINCIPALS` and `MOST_RULES` are "other".
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Collection
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from fsserver.errors import AuditError, InternalError, SharedStateError
from fsserver.telemetry.process import ProcessMetrics
from fsserver.telemetry.seen import Begun, Decision, Seen
from fsserver.telemetry.sources import SourceMetrics, Sources

MOST_PRINCIPALS: Final = 100
MOST_RULES: Final = 200
UNKNOWN: Final = "unknown"
OTHER: Final = "other"

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds. The longest is the default of the policy's limits.time."""

_NO_LIMITS: Final = frozenset({"command.cancelled", "command.failed"})

_FROM_ZERO: Final = (AuditError.code, InternalError.code, SharedStateError.code)


class Metrics:
    """Counts calls, as an observer of the gate, and requests. Make it before the process confines itself.

    Args:
        tools: the names that there are.
        sources: what is asked when somebody reads.
    """

    def __init__(
        self, *, version: str, policy: str, policy_digest: str, tools: Collection[str], sources: Sources
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which hardly anybody reads
        self._registry = CollectorRegistry()
        self._tools = frozenset(tools)
        self._principals = _Bounded(MOST_PRINCIPALS)
        self._rules = _Bounded(MOST_RULES)
        self._known: dict[tuple[str, str, Decision], tuple[Counter, Counter, Histogram, Counter]] = {}
        self._process = ProcessMetrics(self._registry)
        SourceMetrics(sources, self._registry)
        self._calls = self._counter("fsserver_calls", "Calls that are over.", "tool", "outcome")
        self._by_principal = self._counter(
            "fsserver_principal_calls", "The same by who made them.", "principal", "outcome"
        )
        self._errors = self._counter("fsserver_errors", "Calls whose result is an error.", "tool", "code")
        self._denials = self._counter("fsserver_denials", "Calls that a rule or a person refused.", "code", "rule")
        self._limits = self._counter("fsserver_limits_hit", "Calls that a limit refused or ended.", "kind")
        self._bytes = self._counter("fsserver_result_bytes", "Bytes of results.", "tool")
        self._requests = self._counter("fsserver_http_requests", "Answers over HTTP.", "status")
        self._duration = Histogram(
            "fsserver_call_duration_seconds", "How long calls took.", ["tool"], registry=self._registry, buckets=BUCKETS
        )
        self._in_flight = Gauge("fsserver_calls_in_flight", "Calls at work.", registry=self._registry)
        for tool in self._tools:
            for code in _FROM_ZERO:  # what one must be told of at the first time, which is seen from a zero before it
                self._errors.labels(tool, code)
        about = {"version": version, "python": platform.python_version()}
        self._about("fsserver_build_info", "Which server this is.", about)
        self._about("fsserver_policy_info", "Which policy it serves.", {"name": policy, "digest": policy_digest})

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def _about(self, name: str, meaning: str, labels: dict[str, str]) -> None:
        Gauge(name, meaning, tuple(labels), registry=self._registry).labels(**labels).set(1)

    def began(self, _call: Begun, /) -> None:
        self._in_flight.inc()

    def over(self, call: Seen, /) -> None:
        self._in_flight.dec()
        if call.again:
            return
        tool = call.tool if call.tool in self._tools else UNKNOWN
        calls, by_principal, duration, size = self._series(tool, call.principal, call.decision)
        calls.inc()
        by_principal.inc()
        duration.observe(call.duration_s)
        size.inc(call.result_bytes)
        if call.code is not None:
            self._failed(tool, call.code, call.rule)

    def _series(self, tool: str, principal: str, decision: Decision) -> tuple[Counter, Counter, Histogram, Counter]:
        """Those of every call, found at once where such a call was before."""
        principal = self._principals.label(principal)
        key = tool, principal, decision
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (
                self._calls.labels(tool, decision.value),
                self._by_principal.labels(principal, decision.value),
                self._duration.labels(tool),
                self._bytes.labels(tool),
            )
        return known

    def _failed(self, tool: str, code: str, rule: str | None) -> None:
        self._errors.labels(tool, code).inc()
        branch, _, word = code.partition(".")
        if branch == "denied":
            self._denials.labels(code, "" if rule is None else self._rules.label(rule)).inc()
        elif branch == "limit":
            self._limits.labels(word).inc()
        elif branch == "command" and code not in _NO_LIMITS:
            self._limits.labels(f"command_{word}").inc()

    def request(self, status: int) -> None:
        """A request over HTTP got its answer."""
        self._requests.labels(status).inc()

    def exposed(self, accept: str) -> tuple[str, bytes]:
        """The content type and the text, in OpenMetrics' form or Prometheus' own, as an ``Accept`` header asks."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)

    def close(self) -> None:
        self._process.close()


class _Bounded:
    """The first so many values of a label as they are, and one word for the others. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()
        self._mutex = threading.Lock()

    def label(self, value: str) -> str:
        if value in self._known:
            return value
        with self._mutex:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
            return value
