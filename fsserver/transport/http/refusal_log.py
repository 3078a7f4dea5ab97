"""Refusals in the operator's log: each, as long as there are few, and how many, when there are many. What somebody
without a token can have written is bounded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from fsserver.transport.http.refusal import Refusal

_LOG = logging.getLogger(__name__)

INTERVAL_S: Final = 10.0
MOST: Final = 20
"""Lines in `INTERVAL_S`, of all reasons together."""


class RefusalLog:
    """Used in the event loop's thread only."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._lines = 0
        self._untold = 0

    def tell(self, refusal: Refusal, client: str, request_id: str) -> None:
        """Args:
        client: its address.
        """
        now = self._clock()
        if now - self._since >= INTERVAL_S:
            if self._untold:
                _LOG.warning("%d more requests were refused within %g s", self._untold, now - self._since)
            self._since, self._lines, self._untold = now, 0, 0
        if self._lines >= MOST:
            self._untold += 1
            return
        self._lines += 1
        _LOG.warning("refused with %d (%s): client %s, request %s", refusal.status, refusal.reason, client, request_id)
