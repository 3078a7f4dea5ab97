"""What this process owes clients over HTTP at the moment, bounded: requests without an answer, bodies that are being
read, and questions that a client was asked.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from fsserver.server.boundary import ProtocolError
from fsserver.transport.http.refusal import UNAVAILABLE, Refusal, busy
from fsserver.transport.jsonrpc import Id, Response

MAX_BODIES: Final = 64 * 1024 * 1024
"""Bytes of all bodies that are held at the same time, until their requests are answered."""

MAX_EACH: Final = MAX_BODIES // 4
"""Of them, those of one principal."""

MAX_OPEN: Final = 2048
"""Requests without an answer, of all principals."""

Key = tuple[str, str, Id]
"""A principal, the id of its session, and the id of a request in it."""


Hold = Callable[[int], None]


class Cancellable(Protocol):
    def cancel(self) -> None: ...


class Pending:
    """Used in the event loop's thread only.

    Args:
        streams: requests without an answer that one principal may have.
        body: bytes that a body may have.
    """

    def __init__(self, streams: int, body: int) -> None:
        self._streams = streams
        self._each: Counter[str] = Counter()
        self._most_each = max(MAX_EACH, body)
        self._all_bodies = 0
        self._bodies: Counter[str] = Counter()
        self._reading: Counter[str] = Counter()
        self._calls: dict[Key, Cancellable] = {}
        self._all: set[Cancellable] = set()
        self._asked: dict[tuple[str, str, str], asyncio.Future[dict[str, Any]]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def open(self) -> int:
        """Requests without an answer."""
        return len(self._all)

    # --- bodies

    @contextmanager
    def reading(self, principal: str) -> Iterator[None]:
        """Read a body. Raises Refusal: that principal sends as many as it may."""
        if self._reading[principal] >= self._streams:
            raise _too_many(f"{self._streams} requests of this principal are being read (server.limits.streams)")
        self._reading[principal] += 1
        try:
            yield
        finally:
            _less(self._reading, principal)

    @contextmanager
    def body(self, principal: str) -> Iterator[Hold]:
        """Hold the bytes of a body; each call adds to them. It raises Refusal: there is no room for them now."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self._bodies[principal] + size > self._most_each:
                raise _too_many("Too much of this principal's is at work already")
            if self._all_bodies + size > MAX_BODIES:
                raise busy("Too much is being sent to this server at the moment")
            held += size
            self._all_bodies += size
            self._bodies[principal] += size

        try:
            yield hold
        finally:
            self._all_bodies -= held
            _less(self._bodies, principal, held)

    # --- requests

    @contextmanager
    def stream(self, principal: str, call: Cancellable, key: Key | None) -> Iterator[None]:
        """Take note of a request until it is answered.

        Args:
            key: what a cancellation names it by; None if it cannot be named.

        Raises:
            Refusal: it is one too many, or its id has a request in flight.
        """
        if len(self._all) >= MAX_OPEN:
            raise busy("Too many requests are under way")
        if self._each[principal] >= self._streams:
            raise _too_many(f"{self._streams} requests of this principal have no answer yet (server.limits.streams)")
        if key is not None and key in self._calls:
            raise Refusal(400, "id in use", "This id has a request in flight", id=key[2])
        self._each[principal] += 1
        self._all.add(call)
        self._idle.clear()
        if key is not None:
            self._calls[key] = call
        try:
            yield
        finally:
            if key is not None:
                del self._calls[key]
            self._all.discard(call)
            _less(self._each, principal)
            if not self._all:
                self._idle.set()

    def cancel(self, key: Key) -> None:
        """Tell a request to stop; nothing if there is none."""
        call = self._calls.get(key)
        if call is not None:
            call.cancel()

    def cancel_session(self, principal: str, session: str) -> None:
        for key, call in list(self._calls.items()):
            if key[:2] == (principal, session):
                call.cancel()

    def cancel_all(self) -> None:
        for call in list(self._all):
            call.cancel()

    async def idle(self) -> None:
        """Wait until every request is answered."""
        await self._idle.wait()

    # --- questions

    @contextmanager
    def question(self, principal: str, session: str) -> Iterator[tuple[str, asyncio.Future[dict[str, Any]]]]:
        """An id that nobody can guess, and the future of the answer that comes with it."""
        identifier = f"fsserver-{secrets.token_hex(8)}"
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[principal, session, identifier] = answer
        try:
            yield identifier, answer
        finally:
            del self._asked[principal, session, identifier]

    def answered(self, principal: str, session: str, response: Response) -> None:
        """Take a client's answer; nothing if it was not asked that, here."""
        answer = self._asked.get((principal, session, str(response.id)))
        if answer is None or answer.done():
            return
        if response.result is not None:
            answer.set_result(response.result)
        else:
            answer.set_exception(ProtocolError(0, "the client answered with an error"))


def _less(counter: Counter[str], principal: str, number: int = 1) -> None:
    counter[principal] -= number
    if not counter[principal]:
        del counter[principal]


def _too_many(message: str) -> Refusal:
    return Refusal(429, "streams", f"{message}; nothing was done.", UNAVAILABLE, retry_after_s=1)
