"""What the server reads of its own installation and of the system while it works: lazy imports, tracebacks, time
zones, shared libraries. Found by looking at this process, before it is confined.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import fsserver
from fsserver.sandbox.profile import Runtime

# A Python that lives in one of these shares it with everything else; there only its library directory is meant.
SHARED_PREFIXES = ("/", "/usr", "/usr/local")

SYSTEM = (
    # Shared libraries, loaded when an extension module is imported; locales; Python of the system.
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/usr/share/locale",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/os-release",
    # OpenSSL reads it when hashlib is first used.
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies/back-ends/opensslcnf.config",
    # os.cpu_count, asked by every thread pool.
    "/sys/devices/system/cpu/online",
    # mimetypes opens each of these that exists, and fails where it may not.
    "/etc/mime.types",
    "/etc/httpd/mime.types",
    "/etc/httpd/conf/mime.types",
    "/etc/apache/mime.types",
    "/etc/apache2/mime.types",
    "/usr/local/etc/httpd/conf/mime.types",
    "/usr/local/etc/mime.types",
)
# What the C library reads to find the address of a name: resolver(5), nsswitch.conf(5), gai.conf(5).
RESOLVER = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")
DEVICES = ("/dev/null", "/dev/urandom")


def find_runtime() -> Runtime:
    """The runtime of this process. Only what exists; links resolved, for comparing with roots."""
    return Runtime(code=_existing(_code()), system=_existing(SYSTEM), devices=_existing(DEVICES))


def _code() -> Iterable[str]:
    """Python, its packages and fsserver itself, wherever an editable installation has it. Never the current directory:
    a ``sys.path`` entry counts only if it is one that packages are installed in.
    """
    yield from fsserver.__path__
    yield os.path.realpath(sys.executable)
    yield os.path.dirname(os.__file__)  # the standard library
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        if os.path.realpath(prefix) not in SHARED_PREFIXES:
            yield prefix
    for entry in sys.path:
        if os.path.basename(entry) in ("site-packages", "dist-packages", "lib-dynload"):
            yield entry


def _existing(paths: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order."""
    resolved = (os.path.realpath(path) for path in paths if path and os.path.exists(path))
    return tuple(dict.fromkeys(resolved))
