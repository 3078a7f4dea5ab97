"""``server``, ``state`` and ``telemetry`` of a policy, compiled: where clients connect, and what replicas share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fsserver.policy.addresses import parse_address
from fsserver.policy.placement import Guarded, absolute
from fsserver.policy.problems import Code, LanguageError, Place, Problem
from fsserver.policy.service import (
    AuthRules,
    HttpLimits,
    OAuthRules,
    ServerRules,
    SharedRules,
    TelemetryRules,
    TlsFiles,
    Transport,
    WithoutState,
    is_loopback,
)
from fsserver.policy.surroundings import Surroundings
from fsserver.policy.tree import Node

LARGEST_BODY: Final = 64 * 1024**2
"""As many bytes as the bodies of all requests may have together."""

ONLY_HTTP: Final = "this is for HTTP, and this policy serves one client over standard input and output"


@dataclass(frozen=True, slots=True)
class Service:
    """What a policy says about serving. ``files``: what it reads for that, which no client may choose."""

    server: ServerRules
    shared: SharedRules
    telemetry: TelemetryRules
    files: tuple[Guarded, ...]


@dataclass(frozen=True, slots=True)
class _Compiler:
    here: Surroundings
    problems: list[Problem]
    files: list[Guarded]

    def file(self, node: Node | None, what: str, *, secret: bool = True, again: bool = False) -> str | None:
        """The path of a file that the server reads for itself; ``again`` also when it is confined."""
        if node is None:
            return None
        try:
            path = absolute(node.text, self.here)
        except LanguageError as error:
            self.problems.append(Problem(error.code, node.place, error.message, error.help))
            return None
        self.files.append(Guarded(what, path, node.place, secret, again))
        return path

    def tell(self, code: Code, place: Place, message: str, help_text: str | None = None) -> None:
        self.problems.append(Problem(code, place, message, help_text))


def compile_service(tree: Node, here: Surroundings, problems: list[Problem]) -> Service:
    """Build the three, appending whatever is wrong to ``problems``."""
    compiler = _Compiler(here, problems, [])
    node = tree.get("server") or Node(tree.place, {})
    server = _server(node, compiler)
    shared = _shared(tree.get("state") or Node(tree.place, {}), compiler)
    if server.transport is Transport.HTTP:
        _check_exposed(tree, node, server, compiler)
    elif says_transport(tree):
        _refuse_http(tree, node, compiler)
    return Service(server, shared, _telemetry(tree, compiler), tuple(compiler.files))


def says_transport(tree: Node) -> bool:
    """False if the policy may say that it is served over HTTP where something else was wrong."""
    node = tree.get("server")
    return not tree.incomplete if node is None else "transport" in node.entries or not node.incomplete


def _refuse_http(tree: Node, server: Node, compiler: _Compiler) -> None:
    """Report what has no meaning over standard input and output."""
    help_text = "write server: {transport: http}, or take it out"
    written = [entry.key for name, entry in server.entries.items() if name != "transport"]
    written += [tree.entries[name].key for name in ("principals", "state") if name in tree.entries]
    for place in written:
        compiler.tell(Code.CONFLICT, place, ONLY_HTTP, help_text)


def _check_exposed(tree: Node, node: Node, server: ServerRules, compiler: _Compiler) -> None:
    """Report what would let others in than who is meant, and what cannot be over HTTP."""
    listen, auth, ops = node.get("listen"), node.get("auth"), node.get("ops")
    if auth is None and not node.incomplete:
        message = "over HTTP a policy says how clients prove who they are"
        help_text = "write auth: {tokens: FILE} or auth: {oauth: […]}; for this machine alone there is auth: none"
        place = node.place if node.place.source is tree.place.source else tree.place
        compiler.tell(Code.MISSING, place, message, help_text)
    if listen is not None and not is_loopback(server.listen.host):
        if auth is not None and server.auth.off:
            message = f"without authentication everybody who can reach {server.listen} would be served"
            compiler.tell(
                Code.OPEN, auth.place, message, "write how clients prove who they are, or listen on 127.0.0.1"
            )
        if server.tls is None and not server.proxies and not node.incomplete:
            message = "beyond this machine tokens and files would go over the network without TLS"
            help_text = "write tls: {certificate: FILE, key: FILE}, or name the proxies in front that do it"
            compiler.tell(Code.OPEN, listen.place, message, help_text)
    if ops is not None and server.ops == server.listen and server.listen.port:
        message = "clients and operators cannot have the same address"
        compiler.tell(Code.CONFLICT, ops.place, message, "give it a port of its own, such as 127.0.0.1:9090")
    narrow = tree.get("client_roots")
    if narrow is not None and narrow.text == "narrow":
        message = "over HTTP a client's directories are on another machine: they say nothing about these roots"
        compiler.tell(Code.CONFLICT, narrow.place, message, "write ignore; what each principal gets is in `principals`")


def _server(node: Node, compiler: _Compiler) -> ServerRules:
    defaults = ServerRules()
    listen, ops, drain = node.get("listen"), node.get("ops"), node.get("drain")
    return ServerRules(
        transport=Transport(_text(node, "transport") or defaults.transport),
        listen=parse_address(listen.text) if listen else defaults.listen,
        public_url=_text(node, "public_url"),
        hosts=_texts(node, "hosts"),
        origins=_texts(node, "origins"),
        tls=_tls(node.get("tls"), compiler),
        proxies=_texts(node, "proxies"),
        auth=_auth(node, compiler),
        limits=_limits(node, compiler),
        ops=parse_address(ops.text) if ops else None,
        drain_s=float(drain.number) if drain else defaults.drain_s,
    )


def _tls(node: Node | None, compiler: _Compiler) -> TlsFiles | None:
    if node is None:
        return None
    certificate = compiler.file(node.get("certificate"), "the TLS certificate", secret=False, again=True)
    key = compiler.file(node.get("key"), "the TLS key", again=True)
    ca = compiler.file(node.get("client_ca"), "the certificate of the clients' CA", secret=False, again=True)
    return TlsFiles(certificate or "/", key or "/", ca)


def _auth(server: Node, compiler: _Compiler) -> AuthRules:
    node = server.get("auth")
    if node is None or node.value == "none":
        return AuthRules(off=node is not None)
    if not node.entries and not node.incomplete:
        message = "nobody could prove who they are"
        compiler.tell(Code.MISSING, node.place, message, "write tokens: and a file, or oauth: and a list")
    issuers = node.items_at("oauth")
    oauth = tuple(_issuer(item, _text(server, "public_url"), server, compiler) for item in issuers)
    names = [each.issuer for each in oauth]
    for item, name in zip(issuers, names, strict=True):
        if names.count(name) > 1:
            compiler.tell(Code.CONFLICT, item.place, f"the issuer {name} is there twice", "make one of them")
            break
    return AuthRules(oauth=oauth, tokens=compiler.file(node.get("tokens"), "the file of tokens", again=True))


def _issuer(item: Node, public_url: str | None, server: Node, compiler: _Compiler) -> OAuthRules:
    audience, leeway = _text(item, "audience") or public_url, item.get("leeway")
    if audience is None and not item.incomplete and not server.incomplete:
        message = "without an audience a token for any other service of this issuer would be taken"
        compiler.tell(Code.MISSING, item.place, message, "write audience: here, or public_url: in server")
    issuer = item.get("issuer")
    assert issuer is not None
    defaults = OAuthRules("", "")
    return OAuthRules(
        issuer=issuer.text,
        audience=audience or "",
        jwks=_text(item, "jwks"),
        algorithms=_texts(item, "algorithms") or defaults.algorithms,
        scopes=_texts(item, "scopes"),
        leeway_s=float(leeway.number) if leeway else defaults.leeway_s,
    )


def _limits(node: Node, compiler: _Compiler) -> HttpLimits:
    defaults = HttpLimits()
    body = node.get("limits", "body")
    if body is not None and body.number > LARGEST_BODY:
        message = "one body would take all the room that there is for bodies"
        compiler.tell(Code.CONFLICT, body.place, message, "64MiB is the most; a message of the protocol has hardly 4")

    def number(key: str, default: float) -> float:
        found = node.get("limits", key)
        return found.number if found else default

    return HttpLimits(
        body_bytes=int(number("body", defaults.body_bytes)),
        header_bytes=int(number("headers", defaults.header_bytes)),
        connections=int(number("connections", defaults.connections)),
        streams=int(number("streams", defaults.streams)),
        session_s=float(number("session", defaults.session_s)),
        header_s=float(number("header_time", defaults.header_s)),
        body_s=float(number("body_time", defaults.body_s)),
    )


def _shared(node: Node, compiler: _Compiler) -> SharedRules:
    redis = _text(node, "redis")
    for key in ("password", "ca", "on_failure"):
        entry = node.entries.get(key)
        if entry is not None and redis is None and not node.incomplete:
            message = f"`{key}` is about Redis, and the policy names none"
            compiler.tell(Code.CONFLICT, entry.key, message, "write redis: and its URL, or take it out")
    ca = node.entries.get("ca")
    if ca is not None and redis is not None and not redis.startswith("rediss:"):
        message = "`ca` is for Redis with TLS"
        compiler.tell(Code.CONFLICT, ca.key, message, "write rediss://, or take it out")
    return SharedRules(
        redis=redis,
        password=compiler.file(node.get("password"), "the file with Redis's password"),
        ca=compiler.file(node.get("ca"), "the certificate of Redis's CA", secret=False),
        key=compiler.file(node.get("key"), "the key that seals sessions"),
        on_failure=WithoutState(_text(node, "on_failure") or WithoutState.REFUSE),
    )


def _telemetry(tree: Node, compiler: _Compiler) -> TelemetryRules:
    node = tree.get("telemetry") or Node(tree.place, {})
    calls, sample = node.get("calls"), node.get("sample")
    if sample is not None and "traces" not in node.entries and not node.incomplete:
        message = "`sample` is about traces, and none are made"
        compiler.tell(Code.CONFLICT, node.entries["sample"].key, message, "write traces: and a URL, or take it out")
    return TelemetryRules(
        calls=calls is not None and calls.value is True,
        traces=_text(node, "traces"),
        sample=float(sample.number) if sample else TelemetryRules().sample,
    )


def _text(node: Node, key: str) -> str | None:
    found = node.get(key)
    return found.text if found else None


def _texts(node: Node, key: str) -> tuple[str, ...]:
    return tuple(item.text for item in node.items_at(key))
