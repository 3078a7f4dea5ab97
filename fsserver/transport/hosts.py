"""Whether the ``Host`` of a request is a name of this listener. Pure.

A page from elsewhere that a browser here shows can have its own name lead to this machine. Its requests then have that
name as ``Host``. An address as ``Host`` cannot come about so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence

from fsserver.policy.service import Address


class Hosts:
    """What is accepted: the address that is listened on and the names given, with any port or none, since ports are
    forwarded; ``localhost`` and the loopback addresses on a loopback listener. Where it listens on all addresses of the
    machine, which it does not know, every address.
    """

    def __init__(self, listen: Address, more: Collection[str]) -> None:
        self._names = {name.lower() for name in map(host_of, (str(listen), *more)) if name is not None}
        address = _address(listen.host)
        self._loopback = listen.host == "localhost" or (address is not None and address.is_loopback)
        self._all = address is not None and address.is_unspecified

    def accept(self, values: Sequence[bytes]) -> bool:
        """Args:
        values: of all ``Host`` headers of one request. There has to be exactly one.
        """
        if len(values) != 1:
            return False
        host = host_of(values[0].decode("latin-1"))
        if host is None:
            return False
        address = _address(host)
        if address is None:
            return host.lower() in self._names or (host.lower() == "localhost" and (self._loopback or self._all))
        return host.lower() in self._names or self._all or (self._loopback and address.is_loopback)


def host_of(value: str) -> str | None:
    """The host of ``host``, ``host:port`` or ``[address]:port``, without brackets; None where it is none of these."""
    if value.startswith("["):
        host, bracket, port = value[1:].partition("]")
        valid = bool(bracket) and (port == "" or (port[0] == ":" and port[1:].isdecimal()))
        return host if valid and _address(host) is not None else None
    host, colon, port = value.partition(":")
    return host if host and (not colon or port.isdecimal()) else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
