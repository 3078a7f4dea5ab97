"""Metrics that are asked for when somebody reads them, from parts that know nothing of metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """One sink of the audit log.

    Attributes:
        name: what the operator knows it by; no path.
        takes: whether it took the last record.
        lag_s: how long the oldest record waits that it has not taken; 0 if it has all.
        waiting: how many records wait.
        missed: how many it will never have.
    """

    name: str
    takes: bool = True
    lag_s: float = 0.0
    waiting: int = 0
    missed: int = 0


@dataclass(slots=True)
class Sources:
    """Each is a quick question that waits for nothing and may be asked from any thread; None: nobody can tell. They
    may be set as parts come into being.

    Attributes:
        sessions: how many clients have one.
        connections: how many are open over HTTP.
        commands_running: how many commands run, those in the background too.
        audit: the places of the log.
        checks: the last answer of each readiness check; does not look again.
        draining: whether the server takes no new calls since it is about to end.
    """

    sessions: Callable[[], int] | None = None
    connections: Callable[[], int] | None = None
    commands_running: Callable[[], int] | None = None
    audit: Callable[[], Sequence[AuditPlace]] | None = None
    checks: Callable[[], Mapping[str, bool]] | None = None
    draining: Callable[[], bool] | None = None


_NUMBERS: Final = {
    "sessions": ("fsserver_sessions", "Sessions of clients."),
    "connections": ("fsserver_http_connections", "Connections that are open over HTTP."),
    "commands_running": ("fsserver_commands_running", "Commands that run, those in the background too."),
    "draining": ("fsserver_draining", "1 while the server takes no new calls since it is about to end."),
}


class SourceMetrics(Collector):
    """Asks the sources. One that fails is left out and told to the operator, and the others are there."""

    def __init__(self, sources: Sources, registry: CollectorRegistry) -> None:
        self._sources = sources
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Every name, whoever can be asked: nothing else may take one."""
        for name, meaning in _NUMBERS.values():
            yield GaugeMetricFamily(name, meaning)
        yield from _audit(())
        yield _checks({})

    def collect(self) -> Iterator[Metric]:
        for source, (name, meaning) in _NUMBERS.items():
            number = _asked(getattr(self._sources, source), source)
            if number is not None:
                yield GaugeMetricFamily(name, meaning, value=number)
        places = _asked(self._sources.audit, "audit")
        if places is not None:
            yield from _audit(places)
        checks = _asked(self._sources.checks, "checks")
        if checks is not None:
            yield _checks(checks)


def _asked(source: Callable[[], T] | None, name: str) -> T | None:
    try:
        return None if source is None else source()
    except Exception:  # noqa: BLE001 - a bug in one source takes no other metric away
        _LOG.exception("the metrics of %s cannot be read", name)
        return None


def _audit(places: Sequence[AuditPlace]) -> Iterator[Metric]:
    takes = GaugeMetricFamily("fsserver_audit_up", "1 if the place of the log took its last record.", labels=["sink"])
    lag = GaugeMetricFamily(
        "fsserver_audit_lag_seconds", "Age of the oldest record that the place has not taken yet.", labels=["sink"]
    )
    waiting = GaugeMetricFamily("fsserver_audit_waiting_records", "Records that wait for the place.", labels=["sink"])
    missed = CounterMetricFamily(
        "fsserver_audit_missed_records", "Records that the place will never have.", labels=["sink"]
    )
    for place in places:
        takes.add_metric([place.name], float(place.takes))
        lag.add_metric([place.name], place.lag_s)
        waiting.add_metric([place.name], place.waiting)
        missed.add_metric([place.name], place.missed)
    yield from (takes, lag, waiting, missed)


def _checks(checks: Mapping[str, bool]) -> Metric:
    family = GaugeMetricFamily("fsserver_check_up", "1 if the readiness check of this name is well.", labels=["check"])
    for name, well in checks.items():
        family.add_metric([name], float(well))
    return family
