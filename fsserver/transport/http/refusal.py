"""Answers of HTTP to what is no use as a request: a status, one sentence, and what may be done instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from fsserver.transport import jsonrpc
from fsserver.transport.jsonrpc import INVALID_REQUEST

REFUSED: Final = INVALID_REQUEST
UNAVAILABLE: Final = -32000
"""JSON-RPC leaves the codes from -32000 to -32099 to servers."""


@dataclass(eq=False)  # not frozen: what passes an exception on sets its traceback
class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """An answer other than 2xx, before or instead of a JSON-RPC result.

    Attributes:
        reason: one word or two, for the log and for counting.
        retry_after_s: the same request can succeed later.
        close: the connection ends with it: the rest of the request is not read, or the server leaves.
    """

    status: int
    reason: str
    message: str
    code: int = REFUSED
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    retry_after_s: int | None = None
    close: bool = False
    id: int | str | None = None

    def body(self) -> bytes:
        data = None if self.retry_after_s is None else {"transient": True, "retryAfter": self.retry_after_s}
        return jsonrpc.error(self.id, self.code, self.message, data)

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields, the body's included."""
        fields = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in self.headers.items()]
        fields.append((b"content-type", b"application/json"))
        if self.retry_after_s is not None:
            fields.append((b"retry-after", str(self.retry_after_s).encode("ascii")))
        if self.close:
            fields.append((b"connection", b"close"))
        return fields


def draining(request: int | str) -> Refusal:
    """What a server that is about to end says to new requests. Nothing was done."""
    message = "This server is about to end and takes no more requests; nothing was done. Try again at once."
    return Refusal(503, "draining", message, UNAVAILABLE, retry_after_s=1, close=True, id=request)


def busy(message: str) -> Refusal:
    return Refusal(503, "busy", f"{message}; nothing was done.", UNAVAILABLE, retry_after_s=1)
