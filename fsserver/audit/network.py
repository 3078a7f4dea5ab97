"""The places of the log beyond this machine's disk, as the policy names them: what they are called, where they are."""

from __future__ import annotations

import os
import re
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
from fsserver.policy.compiled import AuditRules
from fsserver.policy.service import NetworkProtocol, NetworkSink

_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")

OPTIONAL_PATIENCE_S: Final = 10.0
"""How long a place that nobody waits for may take for one thing."""


def place(sink: NetworkSink) -> str:
    """What the operator calls it: where it is, without what an address may hold besides."""
    if sink.protocol is NetworkProtocol.SYSLOG:
        scheme, host, port, path = "syslog+tcp" if sink.plain else "syslog+tls", sink.host, sink.port, ""
    else:
        parts = urlsplit(sink.url)
        scheme, (host, port), path = f"otlp+{parts.scheme}", _address(sink), parts.path
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"


def ports(rules: AuditRules) -> tuple[int, ...]:
    """The TCP ports that the places are reached at, each once."""
    return tuple(dict.fromkeys(_address(sink)[1] for sink in rules.network))


def hosts(rules: AuditRules) -> tuple[str, ...]:
    """The hosts of the places, addresses among them."""
    return tuple(dict.fromkeys(_address(sink)[0] for sink in rules.network))


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
    host, port = _address(sink)
    try:
        Stream.connect(host, port, context, PATIENCE_S).close()
    except OSError as error:
        return f"cannot be reached: {words(error)}"
    return None


def _address(sink: NetworkSink) -> tuple[str, int]:
    if sink.protocol is NetworkProtocol.SYSLOG:
        return sink.host, sink.port
    parts = urlsplit(sink.url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _context(sink: NetworkSink) -> ssl.SSLContext | None:
    """None: without TLS. Raises ConfigError."""
    if sink.plain if sink.protocol is NetworkProtocol.SYSLOG else not sink.url.startswith("https:"):
        return None
    try:
        roots = {"cafile": sink.ca} if sink.ca is not None else {"cadata": _system_roots()}
        context = ssl.create_default_context(**roots)  # type: ignore[arg-type]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The certificates {sink.ca or 'of this machine'}, for the audit log {place(sink)}, cannot be read."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _system_roots() -> str:
    """The certificates that this machine trusts, in PEM. Raises OSError, ValueError if there are none.

    All are read now: OpenSSL reads those of a directory when it needs them, which a confined server cannot.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None:
        files = [paths.cafile]
    else:
        there = sorted(os.scandir(paths.capath or "/nonexistent"), key=lambda entry: entry.name)
        files = list(dict.fromkeys(os.path.realpath(entry.path) for entry in there if entry.is_file()))
    found: dict[str, None] = {}
    for file in files:
        with open(file, encoding="ascii", errors="replace") as stream:
            found.update(dict.fromkeys(_CERTIFICATE.findall(stream.read())))
    if not found:
        raise ValueError("no certificates")
    return "\n".join(found)


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
    host, port = _address(sink)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Otlp(
        Url(context is not None, host, port, path), context, sender=sender, run_id=run_id, patience_s=patience_s
    )
