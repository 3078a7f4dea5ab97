"""What clients say of themselves with each request over HTTP, remembered."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from fsserver.tools.session import Session

MAX_CLIENTS: Final = 4096
MAX_SAID: Final = 4096
"""Bytes of what one says, as JSON. A client that says more is not remembered."""


class Said(NamedTuple):
    """What a request says of its client, as it came: the revision is one that is served, the others are anything."""

    protocol: str
    info: Any
    capabilities: Any


class Clients:
    """The sessions of clients whose requests were understood, by whose they are and what the client said."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, bytes], tuple[Session, Session]] = {}

    def known(self, granted: Session, said: Said) -> Session | None:
        """The session as this client has it; None where the same was not said before, or something else is granted."""
        granted_then, session = self._known.get((granted.principal, granted.id, to_json(said)), (None, None))
        return session if granted_then is granted else None

    def remember(self, granted: Session, said: Said, session: Session) -> None:
        """Args:
        said: with a request that was answered, so it has the form that the protocol wants.
        """
        key = to_json(said)
        if len(key) <= MAX_SAID:
            if len(self._known) >= MAX_CLIENTS:
                self._known.clear()
            self._known[granted.principal, granted.id, key] = granted, session
