"""Who changes a file from what it holds goes after the others of this server who do: so none begins again for long."""

from __future__ import annotations

import threading

_LOCKS = 64


class Turns:
    """Locks for the names of one root. Two names can share one, which costs no more than waiting."""

    def __init__(self) -> None:
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def of(self, name: str) -> threading.Lock:
        """The lock of a name beneath the root; always the same one."""
        return self._locks[hash(name) % _LOCKS]
