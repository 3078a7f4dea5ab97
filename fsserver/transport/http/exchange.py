"""One request on its way through the protocol, in the era that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from fsserver.server.exchanges import Asked, Exchanges, Headers, speaks_modern
from fsserver.server.handshakes import Hello
from fsserver.transport.http.answer import Answer

MODERN_STATUS: Final[Mapping[int, int]] = {
    -32700: 400,
    -32600: 400,
    -32602: 400,
    -32020: 400,
    -32021: 400,
    -32022: 400,
    -32601: 404,
}
"""The status of an error that is known before anything of the answer was sent (2026-07-28, Streamable HTTP)."""


class Era(Enum):
    OPENING = "initialize"
    HANDSHAKE = "handshake"
    MODERN = "modern"


class Exchange:
    """Attributes:
    era: None: the request belongs to no session and does not stand for itself.
    agreed: what ``initialize`` agreed on, once it is answered.
    """

    def __init__(
        self, exchanges: Exchanges, asked: Asked, answer: Answer, *, headers: Headers, hello: Hello | None
    ) -> None:
        self.asked = asked
        self.answer = answer
        self.hello = hello
        self.agreed: Hello | None = None
        self._exchanges = exchanges
        self._headers = headers
        self.era = self._era()

    def _era(self) -> Era | None:
        if speaks_modern(self.asked.method, self.asked.params, self._headers):
            return Era.MODERN
        if self.asked.method == "initialize":
            return Era.OPENING
        return None if self.hello is None else Era.HANDSHAKE

    async def result(self) -> Mapping[str, Any]:
        """Raises ProtocolError."""
        if self.era is Era.OPENING:
            result, self.agreed = await self._exchanges.initialize(self.asked)
            return result
        if self.era is Era.MODERN:
            return await self._exchanges.modern(self.asked, self._headers)
        assert self.hello is not None
        return await self._exchanges.handshaken(self.asked, self.hello)

    def status_of(self, code: int) -> int:
        """The status of an answer that is an error."""
        return MODERN_STATUS.get(code, 200) if self.era is Era.MODERN else 200
