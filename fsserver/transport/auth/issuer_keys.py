"""The keys of one issuer, kept and renewed.

*Trust.* Callers are not: each may send any key id, as often as he likes. The issuer is, but it may be unreachable.

*Invariant.* However many requests come, and whatever they ask for, the issuer is asked once at a time, and not again
before `PAUSE_S`, or `RETRY_S` after it failed. No key is used that the issuer did not list within the last `KEPT_S`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from typing import Final

from fsserver.policy.service import OAuthRules
from fsserver.transport.auth.discovery import find_jwks
from fsserver.transport.auth.failures import KeysUnavailable
from fsserver.transport.auth.fetching import FetchError, fetch_json
from fsserver.transport.auth.keys import VerificationKey, read_keys

_LOG: Final = logging.getLogger(__name__)

FRESH_S: Final = 600.0
"""After so long keys are asked for anew: a key that the issuer withdrew is refused from then on."""

KEPT_S: Final = 3600.0
"""While the issuer cannot be reached its keys stay in use for so long. It makes no new tokens then, and those that
there are hardly live longer."""

PAUSE_S: Final = 30.0
RETRY_S: Final = 5.0


class IssuerKeys:
    """For one event loop.

    Args:
        trust: for https.
        clock: seconds, never stepping back.
    """

    def __init__(
        self, rules: OAuthRules, trust: ssl.SSLContext, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = rules
        self._trust = trust
        self._clock = clock
        self._keys: tuple[VerificationKey, ...] = ()
        self._listed_at = -KEPT_S  # when the keys were; none are
        self._next_at = -KEPT_S  # not asked before
        self._problem: str | None = "not asked for yet"
        self._asking: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> list[VerificationKey]:
        """The keys that may have made a signature. Without an id there must be one only that fits.

        Raises:
            KeysUnavailable: the issuer cannot be reached, and has not been for a while.
        """
        if self._age() >= FRESH_S:
            await self._renew(wait=self._problem is None or not self._usable())
        found = self._matching(key_id, algorithm)
        if not found and self._may_ask():
            await self._renew(wait=True)  # a new key, perhaps
            found = self._matching(key_id, algorithm)
        if not self._usable():
            raise KeysUnavailable(max(1.0, self._next_at - self._clock()))
        return found

    async def keep_fresh(self) -> None:
        """Ask now, and whenever it is time, until cancelled: so hardly a request waits, and the status stays true."""
        while True:
            await self._renew(wait=True)
            due = self._next_at if self._problem else self._listed_at + FRESH_S
            await asyncio.sleep(max(RETRY_S, due - self._clock()))

    def status(self) -> tuple[bool, str]:
        """Whether tokens can be checked, and one sentence for the operator."""
        if not self._usable():
            return False, f"There are no keys of {self._rules.issuer}: {self._problem or 'they are too old'}."
        known = f"{len(self._keys)} keys of {self._rules.issuer}, {self._age():.0f} s old"
        return True, f"{known}." if self._problem is None else f"{known}; they cannot be renewed: {self._problem}."

    def _age(self) -> float:
        return self._clock() - self._listed_at

    def _usable(self) -> bool:
        return bool(self._keys) and self._age() < KEPT_S

    def _may_ask(self) -> bool:
        return self._asking is not None or self._clock() >= self._next_at

    def _matching(self, key_id: str | None, algorithm: str) -> list[VerificationKey]:
        if not self._usable():
            return []
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        if key_id is not None:
            return [key for key in fitting if key.id == key_id]
        return fitting if len(fitting) == 1 else []

    async def _renew(self, *, wait: bool) -> None:
        """Ask the issuer, unless that is under way or was done a moment ago; a caller who leaves does not stop it."""
        if self._asking is None and self._clock() >= self._next_at:
            self._asking = asyncio.create_task(self._ask(), name="issuer keys")
            self._asking.add_done_callback(self._asked)
        if wait and self._asking is not None:
            await asyncio.shield(self._asking)

    def _asked(self, _task: asyncio.Task[None]) -> None:
        self._asking = None

    async def _ask(self) -> None:
        self._next_at = self._clock() + RETRY_S
        try:
            url = self._rules.jwks or await find_jwks(self._rules.issuer, self._trust)
            keys = read_keys(await fetch_json(url, self._trust), self._rules.algorithms)
        except (FetchError, ValueError) as error:
            self._next_at = self._clock() + RETRY_S
            problem = str(error)
            if problem != self._problem:
                _LOG.warning("The keys of %s cannot be renewed: %s.", self._rules.issuer, problem)
            self._problem = problem
            return
        if self._problem is not None and self._keys:
            _LOG.warning("The keys of %s can be renewed again.", self._rules.issuer)
        self._keys, self._problem = keys, None
        self._listed_at = self._clock()
        self._next_at = self._listed_at + PAUSE_S
