"""One small JSON document from an issuer, over HTTP: bounded in size and in time, and from nowhere else.

*Trust.* The URL is the operator's, or of a document that came so. Who answers is not trusted to end, to be brief, or to
send where it should: no redirect is followed.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import httptools

from fsserver import __version__
from fsserver.policy.service import is_loopback
from fsserver.transport.ops.aside import Aside

MAX_BYTES: Final = 512 * 1024
"""Of a whole answer. Sets of keys with their certificates have some ten KiB."""

TIMEOUT_S: Final = 10.0
"""For everything: the name, the connection, TLS, the answer."""


class FetchError(Exception):
    """The document cannot be had. The text is for the operator. ``status``: what was answered instead; 0: nothing."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def is_acceptable(url: str, *, plain: bool) -> bool:
    """Whether ``url`` is https with a host and no userinfo; with ``plain`` also http on loopback."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # port: raises for one that is none
    except ValueError:
        return False
    if not host or not url.isascii() or not url.isprintable() or " " in url or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (plain and parts.scheme == "http" and is_loopback(host))


def port_of(url: str) -> int:
    """The TCP port that `fetch_json` connects to."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


async def fetch_json(url: str, trust: ssl.SSLContext, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The JSON object at ``url``.

    Raises:
        FetchError: it is not there, is no JSON object, is larger than `MAX_BYTES` or takes longer than ``timeout_s``.
    """
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _get(url, trust)
    except TimeoutError:
        raise FetchError(f"{url} did not answer within {timeout_s:g} s") from None
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        raise FetchError(f"{url} did not answer in HTTP") from None
    except UnicodeError:
        raise FetchError(f"{url} names a host that cannot be") from None
    except OSError as error:
        raise FetchError(f"{url} cannot be reached: {error.strerror or error}") from error
    if answer.status != 200:
        hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        raise FetchError(f"{url} answered {answer.status}{hint}", answer.status)
    try:
        document = json.loads(bytes(answer.body))
    except (ValueError, RecursionError):
        raise FetchError(f"{url} holds no JSON", answer.status) from None
    if not isinstance(document, dict):
        raise FetchError(f"{url} holds no JSON object", answer.status)
    return document


class _Answer:
    """Filled in by httptools."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.body = bytearray()
        self.whole = False

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.whole = True


async def _get(url: str, trust: ssl.SSLContext) -> _Answer:
    """The end of the connection is the end of an answer that gives no length; one that was cut is no JSON."""
    parts = urlsplit(url)
    encrypted = trust if parts.scheme == "https" else None
    reader, writer = await _connected(parts.hostname or "", port_of(url), encrypted)
    try:
        writer.write(_request(parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")))
        answer, received = _Answer(), 0
        while not answer.whole and (part := await reader.read(64 * 1024)):
            received += len(part)
            if received > MAX_BYTES:
                raise FetchError(f"{url} answered with more than {MAX_BYTES} bytes")
            answer.parser.feed_data(part)
        return answer
    finally:
        writer.transport.abort()


async def _connected(
    host: str, port: int, encrypted: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address of ``host`` that takes one. Raises OSError, UnicodeError.

    The name is looked up in a daemon thread. Those of the loop are waited for when the process ends, and name servers
    that are silent can keep one for a minute.
    """
    try:
        found = await Aside("name").ask(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except RuntimeError:  # no thread can be started
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for *_, address in found:
        try:
            named = None if encrypted is None else host
            return await asyncio.open_connection(str(address[0]), port, ssl=encrypted, server_hostname=named)
        except OSError as error:
            failure = error
    raise failure


def _request(host: str, target: str) -> bytes:
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: fsserver/{__version__}",
        "Accept: application/json",
        "Connection: close",
    )
    return "\r\n".join([*lines, "", ""]).encode("ascii")
