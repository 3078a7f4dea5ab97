"""What a modern client carries from a question to the call that answers it: readable, and of use for that call only.

*Trust.* The client holds the text between question and answer, and may send any other: it is hostile.

*Invariant.* With a text an answer counts only if this process made the text, or another that has the same key and
the same memory of what was used; for the same principal, scope of sessions, tool and arguments, not longer ago than
the policy lets a person think, and only once. Where that memory cannot be asked, no answer counts.

Nothing in it is secret from the client, which was shown the question; so it is authenticated and not encrypted:
HMAC-SHA256 (RFC 2104), with a key that lives as long as the process unless replicas share one.
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
from typing import Any, Final, Self, TypeAlias

from fsserver.errors import SharedStateError
from fsserver.state.secret import derived
from fsserver.state.shared import SharedState
from fsserver.tools.approval import Answer, Consent, ConsentNeeded, canonical_digest
from fsserver.tools.session import Session

MAX_STATE: Final = 4096
"""Characters; ours have a few hundred. What is longer is not looked at."""

MAX_USED: Final = 4096
"""How many answers of one principal are remembered until they expire. While there are so many, no further one of it is
taken."""

MAX_USED_BY_ALL: Final = 65_536
"""The same of all principals together."""


CLOCKS_S: Final = 300.0
"""By how much the clocks of replicas may differ: for so long after its end a state that was used is remembered."""

Spend: TypeAlias = Callable[[str, float], bool]
"""See `fsserver.state.shared.SharedState.spend`."""


def bound_to(session: Session, name: str, arguments: Mapping[str, Any] | None) -> str:
    """Whom and which call a state is for, as a digest."""
    return canonical_digest([*session.owner, "tools/call", name, arguments or {}])


class Seal:
    """Makes states and opens them. Thread-safe.

    Args:
        ttl_s: how long a state holds.
        key, spend: what replicas share; both or neither. A key whose uses are remembered by one process alone would
            let an answer be used once in each.
        clock: seconds. Default: of the machine since its start, which never steps back; with a key that of the day,
            since no other is the same on two machines.
    """

    def __init__(
        self,
        ttl_s: float,
        key: bytes | None = None,
        spend: Spend | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if (key is None) is not (spend is None):
            raise ValueError("a key is shared together with the memory of its uses")
        self._ttl_s = ttl_s
        self._clock = clock or (time.monotonic if key is None else time.time)
        self._key = secrets.token_bytes(32) if key is None else derived(key, "question")
        self._spend = spend
        self._mutex = threading.Lock()  # over the next
        self._used: dict[str, dict[str, float]] = {}  # by principal

    @classmethod
    def of(cls, ttl_s: float, key: bytes | None, state: SharedState) -> Self:
        """A seal for every process that has this key, if they share a state; for this one alone if they do not."""
        return cls(ttl_s, key, state.spend) if key is not None and state.shared else cls(ttl_s)

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

    def open(self, text: object, bound: str, answer: Answer, principal: str) -> Consent:
        """What ``answer`` is worth for the call that ``bound`` stands for, if it came with the state ``text``.

        Args:
            principal: whose call it is. None takes the room of others.
        """
        fields = self._fields(text)
        if fields is None:
            return Consent(Answer.UNKNOWN_STATE)
        if not hmac.compare_digest(fields["bound"], bound):
            answer = Answer.OTHER_CALL
        elif self._clock() > fields["expires"]:
            answer = Answer.EXPIRED
        else:
            answer = self._spent(fields["once"], fields["expires"], principal) or answer
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

    def _spent(self, once: str, expires: float, principal: str) -> Answer | None:
        """Take note that the state is used; why it cannot be."""
        if self._spend is not None:
            return self._spent_anywhere(self._spend, once, expires)
        with self._mutex:
            if once in self._used.get(principal, ()):
                return Answer.USED
            if self._is_full(principal):
                self._forget()
            if self._is_full(principal):
                return Answer.BUSY
            self._used.setdefault(principal, {})[once] = expires
            return None

    def _is_full(self, principal: str) -> bool:
        if len(self._used.get(principal, ())) >= MAX_USED:
            return True
        return sum(map(len, self._used.values())) >= MAX_USED_BY_ALL

    def _forget(self) -> None:
        """What has expired."""
        now = self._clock()
        left = {
            whose: {once: until for once, until in used.items() if until >= now} for whose, used in self._used.items()
        }
        self._used = {whose: used for whose, used in left.items() if used}

    def _spent_anywhere(self, spend: Spend, once: str, expires: float) -> Answer | None:
        left_s = max(0.0, expires - self._clock())
        try:
            return None if spend(f"question {once}", left_s + CLOCKS_S) else Answer.USED
        except SharedStateError:
            return Answer.UNREACHABLE

    def _mac(self, body: str) -> str:
        return hmac.digest(self._key, body.encode("ascii"), "sha256").hex()
