"""Addresses of the language: where to listen, who may connect, and URLs. Nothing is looked up and nothing connects.

What goes over a network that is not this machine's own has TLS, with one exception: Redis, which is often on a network
of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.service import Address, is_loopback
from fsserver.policy.text import shortened

ADDRESS_PATTERN: Final = r"^(localhost|[0-9.]+|\[[0-9A-Fa-f:.]+\]):(0|[1-9][0-9]{0,4})$"
NETWORK_PATTERN: Final = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"
HOST_PATTERN: Final = r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?$"

SYSLOG_PORT: Final = 6514  # RFC 5425
PLAIN_SYSLOG_PORT: Final = 601  # RFC 6587
REDIS_PORT: Final = 6379

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>[^/?#@\s]*)@)?"
    r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#\s]*)?(?P<query>\?[^#\s]*)?"
)
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in parts. ``host`` is in lower case and without the brackets of an IPv6 address; ``port`` as written."""

    scheme: str
    user: str | None
    host: str
    port: int | None
    path: str
    query: str


def parse_address(text: str) -> Address:
    """``"127.0.0.1:8080"`` or ``"[::1]:0"``. Raises `LanguageError`."""
    found = re.fullmatch(ADDRESS_PATTERN[1:-1], text)
    host = found[1].strip("[]") if found else ""
    if (
        found is None
        or int(found[2]) > 65535
        or not (host == "localhost" or _is_ip(host))
        or found[1].startswith("[") != (":" in host)
    ):
        message = f'"{shortened(text)}" is not an IP address or localhost, a colon and a port'
        help_text = "127.0.0.1:8080 is for this machine only, 0.0.0.0:8080 for every network that it is in"
        if re.fullmatch(":?[1-9][0-9]{0,4}", text):
            help_text = f'did you mean "127.0.0.1:{text.lstrip(":")}"?'
        raise LanguageError(Code.ADDRESS, message, help_text)
    return Address(host, int(found[2]))


def address(text: str) -> str:
    """``text``, if it is an address to listen on. Raises `LanguageError`."""
    parse_address(text)
    return text


def network(text: str) -> str:
    """An IP address, or a network as ``10.0.0.0/8``. Raises `LanguageError`."""
    from ipaddress import ip_network  # noqa: PLC0415 - only a policy for HTTP needs it

    try:
        found = ip_network(text, strict=False)
    except ValueError:
        message = f'"{shortened(text)}" is not an IP address or a network'
        raise LanguageError(Code.ADDRESS, message, "such as 10.0.0.5 or 10.0.0.0/24") from None
    if "/" in text and str(found) != text.lower():
        raise LanguageError(Code.ADDRESS, f'"{shortened(text)}" is not how a network is written', f'write "{found}"')
    if found.prefixlen == 0:
        message = "this is every address there is, so anybody could say who they are"
        raise LanguageError(Code.OPEN, message, "name the proxies")
    return text.lower()


def host(text: str) -> str:
    """A value of the header ``Host``, in lower case. Raises `LanguageError`."""
    if not re.fullmatch(HOST_PATTERN[1:-1], text):
        message = f'"{shortened(text)}" is not a host name, with a port where clients send one'
        raise LanguageError(Code.ADDRESS, message, "such as mcp.example.org, or mcp.example.org:8443")
    return text.lower()


def origin(text: str) -> str:
    """A value of the header ``Origin`` as browsers write it. Raises `LanguageError`."""
    url = _url(text)
    if url is None or url.path or url.query or url.user is not None:
        message = f'"{shortened(text)}" is not an origin: a scheme, a host, and a port that is not the usual one'
        raise LanguageError(Code.ADDRESS, message, "such as https://app.example.org or http://localhost:6274")
    if url.port is not None and _DEFAULT_PORTS.get(url.scheme) == url.port:
        short = text.lower().removesuffix(f":{url.port}")
        raise LanguageError(Code.ADDRESS, "a browser leaves out the usual port of an origin", f'write "{short}"')
    return text.lower()


def web_url(text: str) -> str:
    """A URL with https, or with http where that does not leave this machine. Raises `LanguageError`."""
    url = parse_url(text, ("https", "http"), "https://example.org/path")
    if url.scheme == "http" and not is_loopback(url.host):
        message = "http beyond this machine can be read and changed on the way"
        raise LanguageError(Code.OPEN, message, f'write "https{text[4:]}"')
    return text


def plain_web_url(text: str) -> str:
    """`web_url` without a query: one that is compared as a whole. Raises `LanguageError`."""
    if "?" in web_url(text):
        raise LanguageError(Code.ADDRESS, f'"{shortened(text)}" has a query', "write it without ? and what follows")
    return text


def redis_url(text: str) -> str:
    """Where Redis is. Raises `LanguageError`."""
    url = parse_url(text, ("redis", "rediss"), "rediss://redis.example.org:6379/0", user=True)
    if url.query or not re.fullmatch("(/[0-9]{0,4})?", url.path):
        message = f'"{shortened(text)}" names more than a host, a port and the number of a database'
        raise LanguageError(Code.ADDRESS, message, "such as redis://10.0.0.7:6379/0")
    return text


def syslog_url(text: str) -> str:
    """Where a syslog server is: with TLS, or plain where that does not leave this machine. Raises `LanguageError`."""
    url = parse_url(text, ("tls", "tcp"), "tls://logs.example.org:6514")
    if url.path or url.query:
        message = f'"{shortened(text)}" names more than a host and a port'
        raise LanguageError(Code.ADDRESS, message, "such as tls://logs.example.org:6514")
    if url.scheme == "tcp" and not is_loopback(url.host):
        message = "records without TLS beyond this machine can be read and changed on the way"
        raise LanguageError(Code.OPEN, message, f'write "tls{text[3:]}"')
    return text


def parse_url(text: str, schemes: tuple[str, ...], example: str, *, user: bool = False) -> Url:
    """A URL with one of ``schemes``, in lower case, and without a fragment. Raises `LanguageError`.

    Args:
        user: the URL may name a user.
    """
    url = _url(text)
    if url is None or url.scheme not in schemes or not text.startswith(f"{url.scheme}://"):
        # What may be a password is not repeated.
        shown = "this" if "@" in text else f'"{shortened(text)}"'
        message = f"{shown} is not a URL that begins with {' or '.join(f'{each}://' for each in schemes)}"
        raise LanguageError(Code.ADDRESS, message, f"such as {example}")
    if url.user is not None and (not user or ":" in url.user):
        help_text = "a password is in a file of its own that the policy names; take out what stands before the @"
        raise LanguageError(Code.ADDRESS, "a policy holds no password, and this URL has a place for one", help_text)
    return url


def _url(text: str) -> Url | None:
    found = _URL.fullmatch(text)
    if found is None or not text.isascii() or int(found["port"] or 1) not in range(1, 65536):
        return None
    host = found["host"].lower()
    if host.startswith("["):
        host = host[1:-1]
        if not _is_ip(host):
            return None
    port = int(found["port"]) if found["port"] else None
    return Url(found["scheme"].lower(), found["user"], host, port, found["path"] or "", found["query"] or "")


def _is_ip(host: str) -> bool:
    """Whether it is an IP address that is written in one way only: none in another's place, none of one link."""
    from ipaddress import IPv6Address, ip_address  # noqa: PLC0415 - as above

    try:
        found = ip_address(host)
    except ValueError:
        return False
    return not (isinstance(found, IPv6Address) and (found.ipv4_mapped is not None or found.scope_id is not None))
