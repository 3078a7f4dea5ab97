"""Sessions of handshake clients over HTTP, held by the client: the id *is* what was agreed, sealed.

*Trust.* The id comes back from the client, and may be anybody's, old or altered: it is hostile.

*Invariant.* `Handshakes.read` returns an agreement only if a server with the same key made that id, for the same
principal, and not longer ago than a session lasts.

So no replica holds anything of a session: any of them serves it, and to lose one loses none. The id proves nothing by
itself: every request is authenticated besides. It is not secret from the client, which said what is in it. That a
client ended its session is known to the replica that it told; the others go by the time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_ID: Final = 4096  # characters; what is longer is not looked at, and no id of ours is
MAX_WORD: Final = 100  # of a client's name, and of its version

MAX_KNOWN: Final = 4096
"""Ids that were read and are remembered: the code of one takes longer than the rest of what is done with it."""

MAX_ENDED: Final = 4096
"""Ended sessions that are remembered; of more, the ones that were ended last."""

_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "elicitation": ("form", "url"),
    "roots": ("listChanged",),
    "sampling": ("context", "tools"),
}
"""The capabilities that a server may ask about, with what may be said of them. Others are not kept."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a handshake agreed on.

    Attributes:
        protocol: the revision.
        name, version: what the client says it is.
        capabilities: of the client, as JSON; only those of `_KNOWN`.
        id: tells apart two handshakes.
    """

    protocol: str
    name: str
    version: str
    capabilities: Mapping[str, Any]
    id: str

    @classmethod
    def new(cls, protocol: str, name: str, version: str, capabilities: Mapping[str, Any]) -> Hello:
        kept: dict[str, Any] = {}
        for capability, words in _KNOWN.items():
            said = capabilities.get(capability)
            if isinstance(said, Mapping):
                kept[capability] = {word: _plain(said[word]) for word in words if said.get(word) is not None}
        return cls(protocol, name[:MAX_WORD], version[:MAX_WORD], kept, secrets.token_hex(8))


def _plain(said: object) -> object:
    """What is beneath a known word matters to nobody here, and would make the id long."""
    return said if isinstance(said, bool) else {}


class Handshakes:
    """Makes session ids and reads them.

    Args:
        key: 32 bytes, the same for all replicas.
        ttl_s: how long a session lasts.
        clock: seconds since the epoch: replicas compare it.
    """

    def __init__(self, key: bytes, ttl_s: float, *, clock: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(key, b"fsserver session", hashlib.sha256)
        self._ttl_s = ttl_s
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[Hello, int]] = {}  # ids whose code was right, with their principals
        self._ended: dict[tuple[str, str], None] = {}  # a principal, and the id of what was agreed

    def seal(self, hello: Hello, principal: str) -> str:
        """The session id: visible ASCII without a comma, as a header's value has to be."""
        fields = [
            hello.protocol,
            hello.name,
            hello.version,
            dict(hello.capabilities),
            hello.id,
            int(self._clock() + self._ttl_s),
        ]
        body = base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode("ascii")).decode("ascii")
        return f"{body}.{self._mac(body, principal)}"

    def read(self, identifier: str, principal: str) -> Hello | None:
        """What was agreed; None for an id that this principal has no session with (any more)."""
        known = self._known.get((identifier, principal)) or self._opened(identifier, principal)
        if known is None:
            return None
        hello, expires = known
        return None if self._clock() > expires or (principal, hello.id) in self._ended else hello

    def _opened(self, identifier: str, principal: str) -> tuple[Hello, int] | None:
        """What was agreed, and until when; kept, so that it is worked out once."""
        if len(identifier) > MAX_ID or not identifier.isascii():
            return None
        body, _, mac = identifier.partition(".")
        if not hmac.compare_digest(mac, self._mac(body, principal)):
            return None
        try:
            protocol, name, version, capabilities, once, expires = json.loads(
                base64.b64decode(body, altchars=b"-_", validate=True)
            )
        except (binascii.Error, ValueError):  # pragma: no cover - its code is right, so `seal` made it
            return None
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        opened = self._known[identifier, principal] = Hello(protocol, name, version, capabilities, once), expires
        return opened

    def end(self, hello: Hello, principal: str) -> None:
        """From now on `read` does not know it."""
        self._ended[principal, hello.id] = None
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def _mac(self, body: str, principal: str) -> str:
        message = f"{len(principal)}:{principal}{body}"
        return hmac.digest(self._key, message.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()
