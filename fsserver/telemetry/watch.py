"""Notices that what is served is no longer what is on disk: the policy was edited, or a root's name leads elsewhere.

Nothing is reloaded: a running server keeps the policy and the directories that it opened. The operator is told, once
for each, since everything would otherwise look as if the change had worked.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping

_LOG = logging.getLogger(__name__)

INTERVAL_S = 5.0


class Watch:
    """Looks every `INTERVAL_S` from a thread of its own, which ends with the process or with `stop`."""

    def __init__(self, changed: Mapping[str, Callable[[], bool]]) -> None:
        """Args:
        changed: for each warning, the question whether it is due.
        """
        self._changed = dict(changed)
        self._stopped = threading.Event()
        self._seen: list[str] = []

    def start(self) -> None:
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def seen(self) -> tuple[str, ...]:
        """The warnings that were due so far. May be called from any thread."""
        return tuple(self._seen)

    def look(self) -> None:
        """Log each warning that has become due."""
        due = [warning for warning, changed in self._changed.items() if changed()]
        for warning in due:
            del self._changed[warning]
            self._seen.append(warning)
            _LOG.warning(warning)

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            self.look()


def file_changed(*paths: str) -> Callable[[], bool]:
    """A question: is the file at one of the ``paths`` another one, or has it been written to, since now?"""
    before = [_identity(path) for path in paths]
    return lambda: [_identity(path) for path in paths] != before


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
