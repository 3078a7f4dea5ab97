"""At which replica a background process runs: told to the others for as long as this one knows it.

A process lives in one replica, and only that one can read, write to or stop it. What the others learn is where it is,
and they tell it to nobody but its owner. A replica that dies stops telling, and in `TTL_S` nobody knows any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from fsserver.errors import SharedStateError, UnknownProcess
from fsserver.state.shared import Held, SharedState

TTL_S: Final = 60.0
REFRESH_S: Final = 20.0
"""How often all that is known here is told again: two times may fail."""


class Whereabouts:
    """Thread-safe. Has a thread while there is something to tell again.

    Args:
        known: the processes that are known here.
    """

    def __init__(self, state: SharedState, known: Callable[[], Sequence[Held]]) -> None:
        self.replica: Final = state.replica
        self._state = state
        self._known = known
        self._mutex = threading.Lock()  # over the thread
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def began(self, process: Held) -> None:
        """A process runs here. Where the others cannot be told now, they are later."""
        with suppress(SharedStateError):
            self._state.announce([process], TTL_S)
        with self._mutex:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._tell_again, name="whereabouts", daemon=True)
                self._thread.start()

    def gone(self, processes: Sequence[Held]) -> None:
        """They are not known here any more."""
        with suppress(SharedStateError):  # then they expire
            self._state.forget(processes)

    def require_not_elsewhere(self, process: Held) -> None:
        """Raises:
        UnknownProcess: it runs at another replica, which is named.
        SharedStateError: nobody can say.
        """
        replica = self._state.find(process)
        if replica is not None and replica != self.replica:
            raise UnknownProcess(
                f"The process with this handle runs on replica {replica}, and this is replica {self.replica}.",
                allowed_instead=f"the same call, sent to replica {replica}: whoever balances the load has to keep the "
                "requests of one session on one replica (session affinity)",
            )

    def close(self) -> None:
        self._closed.set()

    def _tell_again(self) -> None:
        while not self._closed.wait(REFRESH_S):
            with self._mutex:
                known = self._known()
                if not known:
                    self._thread = None
                    return
            with suppress(SharedStateError):
                self._state.announce(known, TTL_S)
