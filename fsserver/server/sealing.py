"""What a modern client carries from a question to the call that answers it: readable, and of use for that call only.

*Trust.* The client holds the text between question and answer, and may send any other: it is hostile.

*Invariant.* With a text an answer counts only if this process made the text, for the same principal, session, tool and
arguments, not longer ago than the policy lets a person think, and only once.

Nothing in it is secret from the client, which was shown the question; so it is authenticated and not encrypted:
HMAC-SHA256 (RFC 2104) with a key that lives as long as the process.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from fsserver.tools.approval import Answer, Consent, ConsentNeeded, canonical_digest
from fsserver.tools.session import Session

MAX_STATE: Final = 4096
"""Characters; ours have a few hundred. What is longer is not looked at."""

MAX_USED: Final = 4096
"""How many answers are remembered until they expire. While there are so many, no further one is taken."""


def bound_to(session: Session, name: str, arguments: Mapping[str, Any] | None) -> str:
    """Whom and which call a state is for, as a digest."""
    return canonical_digest([session.principal, session.id, "tools/call", name, arguments or {}])


class Seal:
    """Makes states and opens them. Thread-safe.

    Args:
        ttl_s: how long a state holds.
        clock: seconds, never stepping back.
    """

    def __init__(self, ttl_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._mutex = threading.Lock()  # over the next
        self._used: dict[str, float] = {}

    def make(self, needed: ConsentNeeded, bound: str) -> str:
        fields = {
            "asked": needed.call,
            "bound": bound,
            "digest": needed.digest,
            "expires": self._clock() + self._ttl_s,
            "once": secrets.token_hex(16),
            "rule": needed.questions[0].rule,
        }
        body = base64.urlsafe_b64encode(json.dumps(fields).encode("ascii")).decode("ascii")
        return f"{body}.{self._mac(body)}"

    def open(self, text: object, bound: str, answer: Answer) -> Consent:
        """What ``answer`` is worth for the call that ``bound`` stands for, if it came with the state ``text``."""
        fields = self._fields(text)
        if fields is None:
            return Consent(Answer.UNKNOWN_STATE)
        if not hmac.compare_digest(fields["bound"], bound):
            answer = Answer.OTHER_CALL
        elif self._clock() > fields["expires"]:
            answer = Answer.EXPIRED
        else:
            answer = self._spent(fields["once"], fields["expires"]) or answer
        return Consent(answer, fields["digest"], fields["asked"], fields["rule"])

    def _fields(self, text: object) -> dict[str, Any] | None:
        """What `make` wrote; None for any other text. Nothing in it is read before its code is found right."""
        if not isinstance(text, str) or len(text) > MAX_STATE or not text.isascii():
            return None
        body, _, mac = text.partition(".")
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        try:
            fields = json.loads(base64.b64decode(body, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError):
            return None
        return fields if isinstance(fields, dict) else None

    def _spent(self, once: str, expires: float) -> Answer | None:
        """Take note that the state is used; why it cannot be."""
        with self._mutex:
            if once in self._used:
                return Answer.USED
            if len(self._used) >= MAX_USED:
                now = self._clock()
                self._used = {used: until for used, until in self._used.items() if until >= now}
            if len(self._used) >= MAX_USED:
                return Answer.BUSY
            self._used[once] = expires
            return None

    def _mac(self, body: str) -> str:
        return hmac.digest(self._key, body.encode("ascii"), "sha256").hex()
