"""Who sent a request: the one place that decides it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

from fsserver.errors import ConfigError
from fsserver.policy.principals import ANONYMOUS, Identity
from fsserver.policy.service import AuthRules
from fsserver.transport.auth.bearer import bearer_token
from fsserver.transport.auth.failures import Unauthenticated
from fsserver.transport.auth.fetching import port_of
from fsserver.transport.auth.oauth import Issuer, read_unverified
from fsserver.transport.auth.static_tokens import StaticTokens, is_static
from fsserver.trust import client_context


class Authenticator:
    """Made before the server confines itself, since it reads the tokens and the certificate authorities; what it needs
    afterwards is to connect to `ports`, to resolve names, and to read the tokens again.

    Raises:
        ConfigError: the file of tokens, or an issuer, cannot be used.
    """

    def __init__(self, rules: AuthRules) -> None:
        self._off: Final = rules.off
        self._tokens: Final = StaticTokens(rules.tokens) if rules.tokens is not None else None
        trust = _trust() if rules.oauth else None
        self._issuers: Final = tuple(Issuer(each, trust) for each in rules.oauth) if trust is not None else ()
        self._only: Final = len({each.issuer for each in rules.oauth}) == 1

    @property
    def ports(self) -> frozenset[int]:
        """TCP ports of the issuers and their keys."""
        urls = [url for each in self._issuers for url in (each.rules.issuer, each.rules.jwks) if url is not None]
        return frozenset(port_of(url) for url in urls)

    async def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> Identity:
        """Who sent a request with these headers.

        Where the policy says ``auth: none``, everybody is anonymous, and a token that comes all the same is not looked
        at: some clients send one to every server.

        Raises:
            Unauthenticated: without a token, or with one that is not accepted.
            MalformedCredentials: with more than one, or what is none.
            InsufficientScope: with a token for less.
            KeysUnavailable: the token's issuer cannot be reached.
        """
        if self._off:
            return ANONYMOUS
        token = bearer_token(headers)
        if is_static(token):
            if self._tokens is None:
                raise Unauthenticated("invalid_token", "This server has no tokens of its own.")
            return self._tokens.identity(token)
        header, claims = read_unverified(token)
        issuer = self._issuer(claims.get("iss"), claims.get("aud"))
        return await issuer.identity(token, header, only=self._only)

    def reload(self) -> bool:
        """Read the file of tokens again; whether it could be used. Tokens that are no longer in it end."""
        return self._tokens is None or self._tokens.reload()

    async def keep_fresh(self) -> None:
        """Renew the issuers' keys, until cancelled: to be run beside the server."""
        async with asyncio.TaskGroup() as tasks:
            for each in self._issuers:
                tasks.create_task(each.keys.keep_fresh())

    def status(self) -> dict[str, tuple[bool, str]]:
        """For each issuer, whether its tokens can be checked, and one sentence."""
        return {each.rules.issuer: each.keys.status() for each in self._issuers}

    def _issuer(self, named: object, audience: object) -> Issuer:
        """The one that a token says it is of; of two rules for one issuer, the one for the audience that it names."""
        found = [each for each in self._issuers if each.rules.issuer == named]
        audiences = audience if isinstance(audience, list) else [audience]
        issuer = next((each for each in found if each.rules.audience in audiences), found[0] if found else None)
        if issuer is None:
            raise Unauthenticated("invalid_token", "The token is of an issuer that this server does not trust.")
        return issuer


def _trust() -> ssl.SSLContext:
    try:
        return client_context()
    except (OSError, ValueError) as error:
        raise ConfigError("server.auth.oauth: the certificates of this machine cannot be read.") from error
