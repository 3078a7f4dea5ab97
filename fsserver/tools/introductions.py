"""Who a client says it is, in the log."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final, NamedTuple

from fsserver.audit.log import AuditLog
from fsserver.tools.session import Client, Session

MAX_INTRODUCTIONS: Final = 20
"""How often the log says who the client of one session is. One that changes its name for each call does not fill the
log.
"""

MAX_SESSIONS: Final = 4096
"""How many sessions are remembered; one that was forgotten is introduced again."""


class _Introduced(NamedTuple):
    client: Client
    protocol: str | None
    times: int


class Introductions:
    """What the log has been told so far. Thread-safe."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._introducing = threading.Lock()  # over the next
        self._introduced: OrderedDict[str, _Introduced] = OrderedDict()

    def introduce(self, session: Session) -> None:
        """Record who the client of this session says it is: once, and again when it says something else.

        Raises:
            AuditError: the log cannot be written. The next call tries again.
        """
        client = session.client
        if client is None or self._known(session):
            return
        with self._introducing:
            before = self._introduced.get(session.id)
            times = 0 if before is None else before.times
            if self._known(session) or times >= MAX_INTRODUCTIONS:
                return
            fields: dict[str, Any] = {"session": session.id, "principal": session.principal}
            fields["client"] = {"name": client.name, "version": client.version}
            fields |= {"protocol": session.protocol, "transport": session.transport}
            self._audit.append("session.client", fields)
            self._introduced[session.id] = _Introduced(client, session.protocol, times + 1)
            if len(self._introduced) > MAX_SESSIONS:
                self._introduced.popitem(last=False)

    def _known(self, session: Session) -> bool:
        last = self._introduced.get(session.id)
        return last is not None and last.client == session.client and last.protocol == session.protocol
