"""Who a client says it is, in the log."""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple

from fsserver.audit.log import AuditLog
from fsserver.tools.session import Client, Session

MAX_INTRODUCTIONS: Final = 20
"""How often the log says who a client is in one run. One that changes its name for each call does not fill the log."""


class _Introduction(NamedTuple):
    session: str
    client: Client | None
    protocol: str | None


class Introductions:
    """What the log has been told so far. Thread-safe."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._introducing = threading.Lock()  # over the next
        self._introduced: list[_Introduction] = []

    def introduce(self, session: Session) -> None:
        """Record who the client of this session says it is: once, and again when it says something else.

        Raises:
            AuditError: the log cannot be written. The next call tries again.
        """
        said = _Introduction(session.id, session.client, session.protocol)
        if said.client is None or (self._introduced and self._introduced[-1] == said):
            return
        with self._introducing:
            last = next((each for each in reversed(self._introduced) if each.session == said.session), None)
            if last == said or len(self._introduced) >= MAX_INTRODUCTIONS:
                return
            fields: dict[str, Any] = {"session": session.id, "principal": session.principal}
            fields["client"] = {"name": said.client.name, "version": said.client.version}
            fields |= {"protocol": session.protocol, "transport": session.transport}
            self._audit.append("session.client", fields)
            self._introduced.append(said)
