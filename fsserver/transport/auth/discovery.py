"""Where an issuer's keys are, by its own metadata: RFC 8414 and OpenID Connect Discovery 1.0."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import urlsplit

from fsserver.transport.auth.fetching import FetchError, fetch_json, is_acceptable

_OAUTH: Final = "/.well-known/oauth-authorization-server"
_OPENID: Final = "/.well-known/openid-configuration"


def metadata_urls(issuer: str) -> list[str]:
    """Where the metadata may be, most likely first: between host and path (RFC 8414, section 3.1), or after both."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return list(dict.fromkeys([f"{origin}{_OAUTH}{path}", f"{origin}{_OPENID}{path}", f"{origin}{path}{_OPENID}"]))


async def find_jwks(issuer: str, trust: ssl.SSLContext) -> str:
    """The URL of the keys of ``issuer``.

    Metadata that names another issuer is not used (RFC 8414, section 3.3): it would let one tenant of a host speak for
    another. Keys at an http URL are taken on loopback only, and only if the issuer is there too.

    Raises:
        FetchError: there is no metadata, or none that names this issuer and acceptable keys.
    """
    last = FetchError("")
    for url in metadata_urls(issuer):
        try:
            document = await fetch_json(url, trust)
        except FetchError as error:
            if not error.status:
                raise  # nobody answers: the other places are at the same host
            last = error
            continue
        jwks = document.get("jwks_uri")
        if document.get("issuer") != issuer:
            last = FetchError(f"{url} is the metadata of another issuer")
        elif not isinstance(jwks, str) or not is_acceptable(jwks, plain=issuer.startswith("http:")):
            last = FetchError(f"{url} names no keys at an https URL")
        else:
            return jwks
    raise last
