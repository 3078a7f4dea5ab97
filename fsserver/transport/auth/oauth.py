"""Access tokens that are JWTs: signature and claims (RFC 7519, RFC 8725, RFC 9068).

*Trust.* Everything in a token is hostile until its signature is checked. Before that ``iss``, ``aud``, ``alg`` and
``kid`` choose among the operator's own issuers, algorithms and keys. ``jku``, ``x5u``, ``jwk`` and ``x5c``, with which
a token would bring its own key, are never looked at.

*Invariant.* An identity stands for a token that one of the issuers signed for this server, that is valid now, and that
is an access token and no other thing that the issuer signs.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import jwt

from fsserver.errors import ConfigError
from fsserver.policy.principals import Identity
from fsserver.policy.service import OAuthRules
from fsserver.transport.auth.failures import InsufficientScope, Unauthenticated
from fsserver.transport.auth.fetching import is_acceptable
from fsserver.transport.auth.issuer_keys import IssuerKeys
from fsserver.transport.auth.keys import ALGORITHMS, VerificationKey

MAX_NAME: Final = 255
"""Characters of a subject (OpenID Connect Core, section 2) and of a client."""

MAX_TIME: Final = 2**53
"""Seconds since the epoch: whole numbers that JSON can hold (RFC 8259, section 6)."""

_ACCESS: Final = ("at+jwt", "application/at+jwt")
_ID_TOKEN: Final = ("nonce", "at_hash", "c_hash", "s_hash")  # claims of OpenID Connect's ID tokens
_REASONS: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is not valid yet.",
    jwt.InvalidAudienceError: "The token is not for this server.",
    jwt.InvalidIssuerError: "The token is of another issuer.",
}


class Issuer:
    """One issuer that is trusted.

    Raises:
        ConfigError: a URL or an algorithm that is not acceptable; the policy's loader says it with its place.
    """

    def __init__(self, rules: OAuthRules, trust: ssl.SSLContext) -> None:
        urls = [rules.issuer] if rules.jwks is None else [rules.issuer, rules.jwks]
        if not all(is_acceptable(url, plain=True) for url in urls) or "#" in rules.issuer or "?" in rules.issuer:
            raise ConfigError("An issuer, and its keys, must be at an https URL, or at http on loopback.")
        if not rules.algorithms or not set(rules.algorithms) <= ALGORITHMS.keys():
            raise ConfigError(f"Signatures of tokens can be: {', '.join(ALGORITHMS)}.")
        if not rules.audience:
            raise ConfigError("An issuer needs an audience.")
        self.rules: Final = rules
        self.keys: Final = IssuerKeys(rules, trust)

    async def identity(self, token: str, header: Mapping[str, Any], *, only: bool) -> Identity:
        """Whose token it is.

        Args:
            header: of the token, as it was read.
            only: whether no other issuer is trusted.

        Raises:
            Unauthenticated, InsufficientScope, KeysUnavailable
        """
        _check_header(header)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self.rules.algorithms:
            raise _refused("The token is signed with an algorithm that is not accepted.")
        keys = await self.keys.find(key_id, algorithm)
        if not keys:
            raise _refused("The token is signed with a key that its issuer does not list.")
        claims = self._verified(token, keys, algorithm)
        if header.get("typ", "").lower() not in _ACCESS:
            _check_purpose(claims)
        self._check_scopes(claims)
        return _identity(claims, self.rules, only=only)

    def _verified(self, token: str, keys: Sequence[VerificationKey], algorithm: str) -> dict[str, Any]:
        """The claims, once the signature is found to be by one of ``keys``: an id may be given to two of them."""
        for key in keys:
            with contextlib.suppress(jwt.InvalidSignatureError):
                return self._decoded(token, key, algorithm)
        raise _refused("The signature of the token is not right.")

    def _decoded(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, Any]:
        """Raises Unauthenticated, or `jwt.InvalidSignatureError`: it is not by this key."""
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self.rules.audience,
                issuer=self.rules.issuer,
                leeway=self.rules.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.InvalidSignatureError:
            raise
        except jwt.PyJWTError as error:
            raise _refused(_reason(error)) from None
        _check_times(claims)
        return claims

    def _check_scopes(self, claims: Mapping[str, Any]) -> None:
        if not set(self.rules.scopes) <= _scopes(claims):
            raise InsufficientScope(self.rules.scopes)


def read_unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that anybody may have made. Raises Unauthenticated: it is no JWT."""
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError):
        raise _refused("The token is no signed JWT.") from None
    return read["header"], read["payload"]


def _refused(description: str) -> Unauthenticated:
    return Unauthenticated("invalid_token", description)


def _reason(error: jwt.PyJWTError) -> str:
    """Ours, not the library's text, which can hold what the token says."""
    if isinstance(error, jwt.MissingRequiredClaimError) and error.claim in ("exp", "iss", "aud"):
        return f"The token has no {error.claim}."
    return _REASONS.get(type(error), "The token is malformed.")


def _check_header(header: Mapping[str, Any]) -> None:
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in ("", "jwt", *_ACCESS):
        raise _refused("The token is no access token.")
    if not isinstance(header.get("kid"), str | None):
        raise _refused("The token is malformed.")
    if "crit" in header or "b64" in header:  # RFC 7515, section 4.1.11: what is not understood is refused
        raise _refused("The token has a header that is not understood.")


def _check_times(claims: Mapping[str, Any]) -> None:
    """Numbers that a clock may show; the library also takes texts and truth values."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_TIME:
            raise _refused("The token is malformed.")


def _check_purpose(claims: Mapping[str, Any]) -> None:
    """Of a token whose header does not say that it is an access token: nothing in it says that it is another thing.

    An ID token has one of four claims; Cognito says ``token_use``, Keycloak ``typ``.
    """
    use, kind = claims.get("token_use", "access"), claims.get("typ", "Bearer")
    if use != "access" or kind != "Bearer" or any(name in claims for name in _ID_TOKEN):
        raise _refused("The token is no access token.")


def _scopes(claims: Mapping[str, Any]) -> set[str]:
    """``scope`` (RFC 9068), or ``scp`` as some issuers call it: a text with spaces, or a list."""
    given = claims.get("scope", claims.get("scp"))
    if isinstance(given, str):
        return set(given.split(" "))
    return {each for each in given if isinstance(each, str)} if isinstance(given, list) else set()


def _identity(claims: Mapping[str, Any], rules: OAuthRules, *, only: bool) -> Identity:
    """Named by issuer and subject, or by issuer and client where nobody is the subject. An issuer's URL has no ``#``
    and no ``?`` (RFC 8414, section 2), so no two of these names are alike.
    """
    if "cnf" in claims:  # RFC 7800: of use only to who has a key, which is not asked for here
        raise _refused("The token is bound to a key of its client, which this server cannot check.")
    subject, client = _named(claims, "sub"), _named(claims, "client_id") or _named(claims, "azp")
    if subject is None and client is None:
        raise _refused("The token names neither a subject nor a client.")
    name = f"{rules.issuer}#{subject}" if subject is not None else f"{rules.issuer}?client_id={client}"
    return Identity(
        name,
        issuer=rules.issuer,
        subject=subject,
        client=client,
        claims=MappingProxyType(dict(claims)),
        expires=float(claims["exp"]) + rules.leeway_s,
        only_issuer=only,
    )


def _named(claims: Mapping[str, Any], claim: str) -> str | None:
    value = claims.get(claim)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise _refused("The token has a subject or client that is no plain text.")
    return value
