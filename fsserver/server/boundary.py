"""What passes between a transport and the server: no bytes and no protocol objects."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fsserver.errors import InternalError

_LOG = logging.getLogger(__name__)

INTERNAL_ERROR: Final = -32603


class ProtocolError(Exception):
    """A JSON-RPC error: ``code``, ``message``, and ``data`` or None."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.data = data


class PersonNeeded(Exception):  # noqa: N818 - no failure: an outcome of `Shortcut`
    """The call stopped before any effect, since a person has to be asked, which takes the long way."""


class Call(Protocol):
    """One request, as a transport hands it over.

    Attributes:
        counted: what its principal may use was charged for it, so who has to make it once more does not charge again.
    """

    counted: bool

    @property
    def id(self) -> int | str: ...

    @property
    def request_id(self) -> str | None:
        """The transport's name for it, which the log and every other record of it has. Printable, bounded."""
        ...

    @property
    def cancelled(self) -> threading.Event:
        """Set when the client cancels the request or the session ends."""
        ...

    def when_cancelled(self, notice: Callable[[], None]) -> None:
        """Have ``notice`` called when `cancelled` is set, or now if it is. In the event loop's thread; the last one
        counts.
        """
        ...

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Sends a notification that belongs to this request, from any thread; nothing once the request is over."""
        ...


class Peer(Protocol):
    """The way to one client."""

    async def ask(self, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """The client's answer.

        A wait that is cancelled tells the client that nobody waits for the answer any more.

        Raises:
            ProtocolError: the client answered with an error, or is gone.
        """
        ...

    def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Sends a notification that belongs to no request."""
        ...


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A tool call that is ready to be made.

    Attributes:
        make: takes the request, blocks, and returns the result as the client gets it. Raises `PersonNeeded`: nothing
            has happened, and it has to be made where a person can be asked.
        waits: it waits for another process rather than working.
    """

    make: Callable[[Call], Mapping[str, Any]]
    waits: bool


def internal_error(bug: BaseException) -> ProtocolError:
    """Logs a bug; the client gets a word to quote."""
    internal = InternalError(secrets.token_hex(6))
    _LOG.error("a request failed, %s", internal.correlation_id, exc_info=bug)
    return ProtocolError(INTERNAL_ERROR, internal.message)
