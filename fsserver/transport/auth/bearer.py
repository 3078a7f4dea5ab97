"""The one bearer token of a request (RFC 6750, section 2.1): from its header only, never from its URL or its body."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fsserver.transport.auth.failures import MalformedCredentials, Unauthenticated

MAX_TOKEN: Final = 8 * 1024
"""Bytes. Issuers' tokens have one or two KiB; what is longer is not looked at."""

_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # b64token


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The token in the ``Authorization`` header, ASCII.

    Raises:
        Unauthenticated: there is no such header, or it is of another scheme.
        MalformedCredentials: two headers, of which a proxy may have looked at the other one, or no token in it.
    """
    found = [value for name, value in headers if name.lower() == b"authorization"]
    if not found:
        raise Unauthenticated("", "This server needs a bearer token.")
    if len(found) > 1:
        raise MalformedCredentials("A request may have one Authorization header only.")
    scheme, _, token = found[0].strip(b" \t").partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthenticated("", "This server takes bearer tokens and no other credentials.")
    token = token.strip(b" ")
    if len(token) > MAX_TOKEN:
        raise MalformedCredentials(f"A token may have no more than {MAX_TOKEN} bytes.")
    if not _TOKEN.fullmatch(token):
        raise MalformedCredentials("The Authorization header holds no bearer token.")
    return token.decode("ascii")
