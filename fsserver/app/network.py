"""What a server needs of the network beside its clients, so that it is granted no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from fsserver.policy.compiled import Policy
from fsserver.sandbox.profile import ServerNetwork
from fsserver.sandbox.runtime import RESOLVER

_PORTS = {"https": 443, "http": 80, "redis": 6379, "rediss": 6379}


def network_of(policy: Policy, *, serves: bool = False, ports: Iterable[int] = ()) -> ServerNetwork:
    """Args:
    serves: it accepts connections.
    ports: further ones to connect to, at hosts that have names.
    """
    peers = list(_peers(policy))
    more = frozenset(ports)
    resolves = bool(more) or any(_is_name(host) for host, _ in peers)
    wanted = more | {port for _, port in peers}
    return ServerNetwork(serves, tuple(sorted(wanted)), resolves, RESOLVER if resolves else ())


def _peers(policy: Policy) -> Iterator[tuple[str, int]]:
    """Hosts and ports of whatever the policy names."""
    for sink in policy.audit.network:
        yield sink.address
    for url in (policy.shared.redis, policy.telemetry.traces):
        if url is not None:
            yield _of(url)


def _of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False
