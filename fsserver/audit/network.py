"""The places of the log beyond this machine's disk, as the policy names them: what they are called, where they are."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from fsserver.audit.carrier import PATIENCE_S, Carrier
from fsserver.audit.record import Json
from fsserver.audit.remote import RemoteChain
from fsserver.audit.stderr import Stderr
from fsserver.audit.stream import Stream, words
from fsserver.audit.syslog import Syslog
from fsserver.audit.writer import Settings
from fsserver.errors import ConfigError
from fsserver.policy.service import NetworkProtocol, NetworkSink
from fsserver.trust import client_context

OPTIONAL_PATIENCE_S: Final = 10.0
"""How long a place that nobody waits for may take for one thing."""


def place(sink: NetworkSink) -> str:
    """What the operator calls it: where it is, without what an address may hold besides."""
    if sink.protocol is NetworkProtocol.SYSLOG:
        scheme, host, port, path = "syslog+tcp" if sink.plain else "syslog+tls", sink.host, sink.port, ""
    else:
        parts = urlsplit(sink.url)
        scheme, (host, port), path = f"otlp+{parts.scheme}", sink.address, parts.path
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"


def open_network(sink: NetworkSink, settings: Settings, header: Mapping[str, Json]) -> RemoteChain:
    """The chain of `sink`. Its certificates are read now; it connects with the second record, so when the server is
    confined.

    Raises ConfigError: the certificates cannot be read, or OTLP is not installed.
    """
    patience_s = PATIENCE_S if sink.required else OPTIONAL_PATIENCE_S
    context = _context(sink)
    sender = socket.gethostname()
    carrier: Carrier
    if sink.protocol is NetworkProtocol.SYSLOG:
        carrier = Syslog(sink.host, sink.port, context, sender=sender, run_id=settings.run_id, patience_s=patience_s)
    else:
        carrier = _otlp(sink, context, sender, settings.run_id, patience_s)
    return RemoteChain(place(sink), carrier, settings, header, required=sink.required)


def open_stderr(settings: Settings, header: Mapping[str, Json]) -> RemoteChain:
    """The chain on standard error."""
    return RemoteChain("standard error", Stderr(), settings, header, required=False)


def fault(sink: NetworkSink) -> str | None:
    """Why it cannot be reached now, or None: a connection is made, its certificate checked, and closed again.

    Completes "NAME ...". Raises ConfigError as `open_network`.
    """
    if sink.protocol is NetworkProtocol.OTLP:
        _require_otlp()
    context = _context(sink)
    host, port = sink.address
    try:
        Stream.connect(host, port, context, PATIENCE_S).close()
    except OSError as error:
        return f"cannot be reached: {words(error)}"
    return None


def _context(sink: NetworkSink) -> ssl.SSLContext | None:
    """None: without TLS. Raises ConfigError."""
    if sink.plain if sink.protocol is NetworkProtocol.SYSLOG else not sink.url.startswith("https:"):
        return None
    try:
        return client_context(sink.ca)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The certificates {sink.ca or 'of this machine'}, for the audit log {place(sink)}, cannot be read."
        ) from error


def _require_otlp() -> None:
    try:
        import fsserver.audit.otlp  # noqa: F401, PLC0415 - a large library, and an extra
    except ImportError as error:
        raise ConfigError(
            "A sink `otlp` needs the extra packages of fsserver: pip install 'fsserver[otel]'."
        ) from error


def _otlp(sink: NetworkSink, context: ssl.SSLContext | None, sender: str, run_id: str, patience_s: float) -> Carrier:
    _require_otlp()
    from fsserver.audit.otlp import Otlp, Url  # noqa: PLC0415 - as above

    parts = urlsplit(sink.url)
    host, port = sink.address
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Otlp(
        Url(context is not None, host, port, path), context, sender=sender, run_id=run_id, patience_s=patience_s
    )
