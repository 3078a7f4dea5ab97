"""Static tokens at work: which name a token has."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from fsserver.errors import ConfigError
from fsserver.policy.principals import Identity
from fsserver.transport.auth.failures import Unauthenticated
from fsserver.transport.auth.token_file import PREFIX, StoredToken, digest_of, read_tokens

_LOG: Final = logging.getLogger(__name__)


def is_static(token: str) -> bool:
    """Whether it has the form of a static token; no JWT has."""
    return token.startswith(PREFIX)


class StaticTokens:
    """The tokens of one file.

    A token is found by its SHA-256. How long that takes says at most how a digest begins, which helps nobody: who could
    make a token with a given digest would have broken the hash.

    Args:
        clock: seconds since the epoch.

    Raises:
        ConfigError: as `read_tokens`.
    """

    def __init__(self, path: str, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._by_digest = _by_digest(read_tokens(path))

    def identity(self, token: str) -> Identity:
        """Raises Unauthenticated: there is no such token, or it has expired."""
        stored = self._by_digest.get(digest_of(token))
        if stored is None:
            raise Unauthenticated("invalid_token", "The token is not known.")
        if stored.expired(self._clock()):
            raise Unauthenticated("invalid_token", "The token has expired.")
        return Identity(f"token:{stored.name}", token=stored.name, expires=stored.expires)

    def reload(self) -> bool:
        """Read the file again. One that cannot be used changes nothing and is logged. Whether it could be used."""
        try:
            self._by_digest = _by_digest(read_tokens(self._path))
        except ConfigError as error:
            _LOG.error("The tokens stay as they were: %s", error.message)
            return False
        _LOG.info("Tokens were read again")
        return True


def _by_digest(tokens: list[StoredToken]) -> dict[str, StoredToken]:
    return {token.digest: token for token in tokens}
