"""What is still to come of a request when its answer is sent.

A connection that is closed while something is still coming on it is reset by the kernel: often the client then never
sees the answer, and a proxy takes the server for a broken one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import Message, Receive

REST_BYTES: Final = 8 * 1024 * 1024
REST_S: Final = 5.0
"""How much of a body that nobody wants is read, and for how long, so that its sender sees why."""


class Incoming:
    """A request's ``receive`` that knows whether the body is over."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def __call__(self) -> Message:
        message = await self._receive()
        self._more = message.get("more_body", False)
        return message

    async def drop(self) -> None:
        """Read what is left of the body, within bounds, and keep nothing of it."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                while self._more and size < REST_BYTES:
                    size += len((await self()).get("body", b""))
