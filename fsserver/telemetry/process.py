"""This process's own metrics under their usual names: processor time, memory, open files, age, garbage collection.

A confined server may open nothing in /proc any more, so what is read there is opened before and read again each time:
Landlock looks at files when they are opened. Where there is no /proc, those metrics are missing.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PAGE: Final = resource.getpagesize()
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class ProcessMetrics(Collector):
    """Make it before the process confines itself. Keeps two descriptors for as long as the process lives."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stat = _opened("/proc/self/stat", os.O_RDONLY)
        self._files = _opened("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
        registry.register(self)
        GCCollector(registry)

    def close(self) -> None:
        """Let go of the descriptors; there are fewer metrics then."""
        opened = [each for each in (self._stat, self._files) if each is not None]
        self._stat = self._files = None
        for descriptor in opened:
            os.close(descriptor)

    def collect(self) -> Iterator[Metric]:
        spent = "Processor time of the server, user and system, without commands."
        yield CounterMetricFamily("process_cpu_seconds", spent, value=time.process_time())
        yield _gauge("process_max_fds", "How many files may be open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if self._files is not None:
            open_now = len(os.listdir(self._files)) - 1  # without the one that lists them
            yield _gauge("process_open_fds", "How many files are open.", open_now)
        if self._stat is not None:
            # The second field is a name in parentheses and may hold any of them; proc_pid_stat(5) counts from 1.
            fields = os.pread(self._stat, 4096, 0).rpartition(b")")[2].split()
            began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / _TICKS
            yield _gauge("process_start_time_seconds", "When the server began, in seconds since 1970.", began)
            yield _gauge("process_virtual_memory_bytes", "Virtual memory of the server.", int(fields[20]))
            yield _gauge("process_resident_memory_bytes", "Memory of the server.", int(fields[21]) * _PAGE)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _opened(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None
