"""Questions that may block, asked beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from fsserver.transport.posting import post

T = TypeVar("T")


class Aside:
    """One question at a time, each in a daemon thread that lasts as long as it. Belongs to one event loop.

    A question that hangs keeps its thread and holds up those that come after it, and nothing else: neither the loop,
    nor the end of the process, nor the number of threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: asyncio.Future[None] | None = None

    async def ask(self, question: Callable[[], T]) -> T:
        """The answer, or what the question raises. The caller bounds the wait by cancelling it."""
        while self._asked is not None:
            await asyncio.wait([self._asked])
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        said: list[T] = []
        raised: list[BaseException] = []

        def put() -> None:
            try:
                said.append(question())
            except BaseException as error:  # noqa: BLE001 - it is raised again where the answer is awaited
                raised.append(error)
            post(loop, self._done)

        threading.Thread(target=put, name=self._name, daemon=True).start()  # raises, and then nobody was asked
        self._asked = over
        await asyncio.wait([over])
        if raised:
            raise raised[0]
        return said[0]

    def _done(self) -> None:
        assert self._asked is not None
        over, self._asked = self._asked, None
        over.set_result(None)
