"""Why a caller is not let in, as RFC 6750 and RFC 9110 say it. No text of these ever holds a part of a credential."""
# ruff: noqa: N818 - as in fsserver/errors.py, their names are what they say

from __future__ import annotations

from typing import ClassVar


class AuthenticationError(Exception):
    """Base: each becomes an answer with ``status`` and, but for 503, with the challenge that
    `fsserver.transport.auth.metadata.challenge` makes of it.

    Attributes:
        status: of HTTP.
        error: RFC 6750, section 3.1; empty where the request held no credential of the right kind.
        description: one sentence, of characters that a quoted string may hold as they are.
    """

    status: ClassVar[int] = 401

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class Unauthenticated(AuthenticationError):
    """No token, or none that is accepted."""


class MalformedCredentials(AuthenticationError):
    """What the request says of its sender cannot be read in one way only."""

    status = 400

    def __init__(self, description: str) -> None:
        super().__init__("invalid_request", description)


class InsufficientScope(AuthenticationError):
    """The token is genuine and lacks one of ``scopes``, which every token has to have."""

    status = 403

    def __init__(self, scopes: tuple[str, ...]) -> None:
        super().__init__("insufficient_scope", f"The token needs the scopes: {' '.join(scopes)}.")
        self.scopes = scopes


class KeysUnavailable(AuthenticationError):
    """The issuer's keys cannot be had at present, so that nobody knows whether the token is genuine. It is no answer to
    a client that it should get another one, so there is no challenge.

    Attributes:
        retry_after_s: when they are asked for again, for ``Retry-After``.
    """

    status = 503

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("temporarily_unavailable", "The keys of the issuer of the token cannot be reached at present.")
        self.retry_after_s = retry_after_s
