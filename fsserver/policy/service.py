"""What a policy says about serving over HTTP: where, to whom, how much, and what replicas share. Standard library only.

Times in seconds, sizes in bytes, paths absolute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from fsserver.policy.rules import Origin


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``amount`` in any ``per_s`` seconds: calls, or bytes."""

    amount: int
    per_s: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What one principal may use of one class of calls, or of all. None: no bound but the server's own.

    Attributes:
        rate: calls.
        concurrency: calls at work at the same time.
        output: bytes of results.
    """

    rate: Rate | None = None
    concurrency: int | None = None
    output: Rate | None = None


class CallClass(StrEnum):
    """What a tool takes of the server."""

    READ = "read"
    SEARCH = "search"
    CHANGE = "change"
    COMMAND = "command"


def is_loopback(host: str) -> bool:
    """Whether what goes to ``host`` stays on this machine. A name other than ``localhost`` may lead anywhere."""
    from ipaddress import ip_address  # noqa: PLC0415 - hardly any policy has an address

    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Transport(StrEnum):
    STDIO = "stdio"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: an IP address or ``localhost``, and a TCP port; 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. They are read again on SIGHUP.

    Attributes:
        client_ca: who signs the certificates that clients must show; None asks for none.
    """

    certificate: str
    key: str
    client_ca: str | None = None


@dataclass(frozen=True, slots=True)
class OAuthRules:
    """One issuer of access tokens in the form of JWTs (RFC 9068).

    Attributes:
        issuer: the URL that ``iss`` has to be.
        audience: what ``aud`` has to hold.
        jwks: URL of the issuer's keys; None: what its metadata (RFC 8414, OpenID Connect Discovery) names.
        algorithms: of signatures; no symmetric one, never "none".
        scopes: every token has to have all of them.
        leeway_s: by how much clocks may differ.
    """

    issuer: str
    audience: str
    jwks: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    scopes: tuple[str, ...] = ()
    leeway_s: float = 30.0


@dataclass(frozen=True, slots=True)
class AuthRules:
    """How a client proves who it is. With ``off`` nobody has to, and everybody is the principal "anonymous".

    Attributes:
        off: the policy says ``auth: none``.
        tokens: the file of static tokens, hashed.
    """

    off: bool = False
    oauth: tuple[OAuthRules, ...] = ()
    tokens: str | None = None


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds on what clients can make the server hold, whoever they are.

    Attributes:
        body_bytes: of a request's body.
        header_bytes: of its request line and headers.
        connections: open at the same time.
        streams: requests without an answer, of one principal.
        session_s: how long a session of a handshake client lasts.
        header_s, body_s: how long a client may take to send them.
    """

    body_bytes: int = 4 * 1024**2
    header_bytes: int = 16 * 1024
    connections: int = 1024
    streams: int = 128
    session_s: float = 24 * 3600.0
    header_s: float = 10.0
    body_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ServerRules:
    """How clients connect. All but ``transport`` is for HTTP.

    Attributes:
        public_url: the URL that clients know this server by; its host is accepted in ``Host``.
        hosts: further values of ``Host`` that are accepted; loopback names always are on a loopback address.
        origins: values of ``Origin`` that are accepted.
        proxies: addresses of proxies in front that terminate TLS: they may connect without, and what they say of the
            client's address is believed.
        ops: where health and metrics are served; None: nowhere.
        drain_s: how long calls may go on after SIGTERM.
    """

    transport: Transport = Transport.STDIO
    listen: Address = Address("127.0.0.1", 8080)
    public_url: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    tls: TlsFiles | None = None
    proxies: tuple[str, ...] = ()
    auth: AuthRules = field(default_factory=AuthRules)
    limits: HttpLimits = field(default_factory=HttpLimits)
    ops: Address | None = None
    drain_s: float = 30.0


@dataclass(frozen=True, slots=True)
class PrincipalRule:
    """Whom a profile is for. Everything that is set has to hold; of a claim that is a list, one item.

    Attributes:
        profile: None is the policy as it is.
        token: the name of a static token.
        anonymous: who need not prove anything, where ``auth: none`` lets them in.
    """

    origin: Origin
    profile: str | None = None
    issuer: str | None = None
    subject: str | None = None
    client: str | None = None
    token: str | None = None
    anonymous: bool = False
    claims: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class WithoutState(StrEnum):
    """What to do while Redis cannot be reached: refuse calls that need it, or count in this process alone."""

    REFUSE = "refuse"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class SharedRules:
    """What replicas share.

    Attributes:
        redis: a ``redis://`` or ``rediss://`` URL without a password; None: nothing is shared.
        password: the file that holds Redis's password.
        ca: PEM file of who signed Redis's certificate; None: the system's.
        key: the file with the key that seals sessions and questions; None: one of this process alone.
    """

    redis: str | None = None
    password: str | None = None
    ca: str | None = None
    key: str | None = None
    on_failure: WithoutState = WithoutState.REFUSE


@dataclass(frozen=True, slots=True)
class TelemetryRules:
    """What an operator can see.

    Attributes:
        calls: one line on standard error for each call.
        traces: URL of an OTLP/HTTP collector for spans; None: none are made.
        sample: which part of the traces that no client began is kept, 0 to 1.
    """

    calls: bool = False
    traces: str | None = None
    sample: float = 1.0


class NetworkProtocol(StrEnum):
    SYSLOG = "syslog"
    OTLP = "otlp"


@dataclass(frozen=True, slots=True)
class NetworkSink:
    """A place for audit records beyond this machine's disk, beside the first one.

    Attributes:
        host, port, ca: of a syslog server with TLS (RFC 5425); ``ca`` None: the system's.
        plain: syslog over TCP without TLS, on loopback only.
        url: of an OTLP/HTTP collector's logs.
        required: a record that it does not take refuses the call; else what it missed is counted.
    """

    protocol: NetworkProtocol
    host: str = ""
    port: int = 6514
    ca: str | None = None
    plain: bool = False
    url: str = ""
    required: bool = True

    @property
    def address(self) -> tuple[str, int]:
        """The host, which may be an IP address, and the TCP port."""
        if self.protocol is NetworkProtocol.SYSLOG:
            return self.host, self.port
        from urllib.parse import urlsplit  # noqa: PLC0415 - the launcher of commands has no use for it

        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
