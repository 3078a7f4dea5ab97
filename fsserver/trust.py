"""TLS towards others, with every certificate that is trusted in memory: a server that confined itself reads no more."""

from __future__ import annotations

import os
import re
import ssl

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def client_context(ca: str | None = None) -> ssl.SSLContext:
    """Trusts who signed in the PEM file ``ca``, or whom this machine trusts; TLS 1.2 and newer, names are checked.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
        ValueError: this machine trusts nobody.
    """
    context = ssl.create_default_context(cafile=ca) if ca else ssl.create_default_context(cadata=_system_roots())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _system_roots() -> str:
    """The certificates that this machine trusts, in PEM.

    All are read now: OpenSSL reads those of a directory when it needs them.
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
        raise ValueError("this machine has no certificates of authorities")
    return "\n".join(found)
