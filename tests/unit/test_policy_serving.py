"""``server``, ``state``, ``telemetry`` and the bounds of principals: what arrives, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsserver.policy.advice import warnings
from fsserver.policy.compiled import Limits, Policy
from fsserver.policy.decision import narrow
from fsserver.policy.problems import PolicyErrors
from fsserver.policy.service import (
    Address,
    AuthRules,
    Budget,
    CallClass,
    HttpLimits,
    OAuthRules,
    Rate,
    ServerRules,
    SharedRules,
    TelemetryRules,
    TlsFiles,
    Transport,
    WithoutState,
)
from tests.policy_files import Desk, desk_in

ROOT = "version: 1\nroots: {app: {path: ~/app}}\n"
ISSUER = "https://id.example.org"
TOKENS = "auth: {tokens: /etc/fsserver/tokens}"
SERVED = "principals: [{when: {token: ci}}]\n"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def http(server: str, rest: str = SERVED) -> str:
    return f"{ROOT}server: {{transport: http, {server}}}\n{rest}"


def told(desk: Desk, text: str) -> list[str]:
    """What is wrong, without the root's two lines before it; each has its help."""
    with pytest.raises(PolicyErrors) as caught:
        desk.load(text)
    assert all(problem.help for problem in caught.value.problems)
    return [f"{p.code} {p.line}:{p.column} {p.message}" for p in caught.value.problems]


def test_a_policy_that_says_nothing_serves_one_client_over_stdio(desk: Desk) -> None:
    policy = desk.load(ROOT)
    assert (policy.server, policy.principals) == (ServerRules(), ())
    assert (policy.shared, policy.telemetry) == (SharedRules(), TelemetryRules())
    assert policy.server.transport is Transport.STDIO


def test_a_body_has_no_more_room_than_all_bodies_have(desk: Desk) -> None:
    assert desk.load(http(f"{TOKENS}, limits: {{body: 64MiB}}")).server.limits.body_bytes == 64 * 1024**2
    (problem,) = told(desk, http(f"{TOKENS}, limits: {{body: 65MiB}}"))
    assert problem.endswith("one body would take all the room that there is for bodies")


def test_auth_none_on_loopback_is_a_whole_service(desk: Desk) -> None:
    policy = desk.load(http("auth: none", ""))
    assert policy.server == ServerRules(Transport.HTTP, auth=AuthRules(off=True))
    assert policy.principals == ()


def test_every_key_of_a_service_arrives(desk: Desk) -> None:
    policy = desk.load(
        f"""\
{ROOT}server:
  transport: http
  listen: "[::]:8443"
  public_url: https://mcp.example.org/mcp
  hosts: [MCP.internal:8443]
  origins: ["https://app.example.org"]
  tls: {{certificate: ~/tls/crt, key: ~/tls/key, client_ca: ~/tls/ca}}
  proxies: [10.0.0.5]
  auth:
    oauth:
      - {{issuer: "{ISSUER}", audience: api, jwks: "{ISSUER}/keys", algorithms: [EdDSA], scopes: [a, b], leeway: 5s}}
      - {{issuer: "https://other.example.org/"}}
    tokens: ~/auth/tokens
  limits: {{body: 1MiB, headers: 8KiB, connections: 9, streams: 3, session: 1h, header_time: 2s, body_time: 3s}}
  ops: 127.0.0.1:9090
  drain: 5s
{SERVED}state: {{redis: "rediss://h:1/2", password: ~/secret, ca: ~/redis.crt, key: ~/seal, on_failure: local}}
telemetry: {{calls: true, traces: "http://localhost:4318/v1/traces", sample: 10%}}
"""
    )
    home = desk.home
    assert policy.server == ServerRules(
        transport=Transport.HTTP,
        listen=Address("::", 8443),
        public_url="https://mcp.example.org/mcp",
        hosts=("mcp.internal:8443",),
        origins=("https://app.example.org",),
        tls=TlsFiles(f"{home}/tls/crt", f"{home}/tls/key", f"{home}/tls/ca"),
        proxies=("10.0.0.5",),
        auth=AuthRules(
            oauth=(
                OAuthRules(ISSUER, "api", f"{ISSUER}/keys", ("EdDSA",), ("a", "b"), 5.0),
                OAuthRules("https://other.example.org/", "https://mcp.example.org/mcp"),
            ),
            tokens=f"{home}/auth/tokens",
        ),
        limits=HttpLimits(1024**2, 8192, 9, 3, 3600.0, 2.0, 3.0),
        ops=Address("127.0.0.1", 9090),
        drain_s=5.0,
    )
    assert policy.shared == SharedRules(
        "rediss://h:1/2", f"{home}/secret", f"{home}/redis.crt", f"{home}/seal", WithoutState.LOCAL
    )
    assert policy.telemetry == TelemetryRules(calls=True, traces="http://localhost:4318/v1/traces", sample=0.1)


def test_bounds_of_principals_arrive_over_stdio_too(desk: Desk) -> None:
    """There the one client is the one principal."""
    text = (
        "{concurrency: 4, rate: 600/m, output: 64MiB/h, each: 8, classes: {command: {rate: 10/30s}, read: {each: 2}}}"
    )
    limits = desk.load(f"{ROOT}limits: {{calls: {text}}}\n").limits
    assert limits == Limits(
        concurrency=4,
        budget=Budget(Rate(600, 60), 8, Rate(64 * 1024**2, 3600)),
        budgets={CallClass.COMMAND: Budget(Rate(10, 30)), CallClass.READ: Budget(concurrency=2)},
    )


HTTP_ONLY = "this is for HTTP, and this policy serves one client over standard input and output"


@pytest.mark.parametrize(
    ("section", "places"),
    [
        pytest.param("server: {listen: 127.0.0.1:80}", ["3:10"], id="listen"),
        pytest.param("server: {transport: stdio, ops: 127.0.0.1:80, drain: 1s}", ["3:28", "3:47"], id="ops and drain"),
        pytest.param("server: {auth: none}", ["3:10"], id="auth"),
        pytest.param("principals: []", ["3:1"], id="principals"),
        pytest.param("state: {key: /etc/fsserver/seal}", ["3:1"], id="state"),
    ],
)
def test_what_is_for_http_is_refused_over_stdio(desk: Desk, section: str, places: list[str]) -> None:
    assert told(desk, f"{ROOT}{section}\n") == [f"E022 {place} {HTTP_ONLY}" for place in places]


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        pytest.param("drain: 1s", "E011 3:9 over HTTP a policy says how clients prove who they are", id="no auth"),
        pytest.param("auth: {}", "E011 3:33 nobody could prove who they are", id="empty auth"),
        pytest.param(
            "listen: 0.0.0.0:80, auth: none, proxies: [10.0.0.1]",
            "E060 3:53 without authentication everybody who can reach 0.0.0.0:80 would be served",
            id="auth none beyond loopback",
        ),
        pytest.param(
            f"listen: 10.0.0.1:80, {TOKENS}",
            "E060 3:35 beyond this machine tokens and files would go over the network without TLS",
            id="no TLS beyond loopback",
        ),
        pytest.param(
            f"listen: 10.0.0.1:80, proxies: [], {TOKENS}",
            "E060 3:35 beyond this machine tokens and files would go over the network without TLS",
            id="no proxy",
        ),
        pytest.param(
            f"listen: 127.0.0.1:80, ops: 127.0.0.1:80, {TOKENS}",
            "E022 3:54 clients and operators cannot have the same address",
            id="ops beside the clients",
        ),
        pytest.param(
            f'auth: {{oauth: [{{issuer: "{ISSUER}"}}], tokens: /k/t}}',
            "E011 3:42 without an audience a token for any other service of this issuer would be taken",
            id="no audience",
        ),
        pytest.param(
            f'public_url: "{ISSUER}", auth: {{tokens: /k/t, oauth: [{{issuer: "{ISSUER}"}}, {{issuer: "{ISSUER}"}}]}}',
            f"E022 3:94 the issuer {ISSUER} is there twice",
            id="an issuer twice",
        ),
        pytest.param(
            'public_url: "http://mcp.example.org", auth: {tokens: /k/t}',
            "E060 3:39 http beyond this machine can be read and changed on the way",
            id="public URL without TLS",
        ),
    ],
)
def test_a_service_that_is_not_right(desk: Desk, server: str, problem: str) -> None:
    assert told(desk, http(server, "" if "none" in server else SERVED)) == [problem]


@pytest.mark.parametrize(
    ("issuer", "problem"),
    [
        ('issuer: "http://id.example.org"', "E060 3:51 http beyond this machine can be read"),
        (f'jwks: "http://id.example.org", issuer: "{ISSUER}"', "E060 3:49 http beyond this machine can be read"),
        (f'algorithms: [HS256], issuer: "{ISSUER}"', 'E012 3:56 with "HS256" whoever can check a token can make one'),
        (f'algorithms: [none], issuer: "{ISSUER}"', 'E012 3:56 "none" is not a signature that a server can check'),
        (f'scopes: ["a b"], issuer: "{ISSUER}"', 'E015 3:52 "a b" is not a scope'),
        (f'leeway: 1h, issuer: "{ISSUER}"', 'E014 3:51 "1h" is no difference of clocks'),
    ],
)
def test_an_issuer_that_is_not_right(desk: Desk, issuer: str, problem: str) -> None:
    (found,) = told(desk, http(f"auth: {{oauth: [{{{issuer}, audience: a}}], tokens: /k/t}}"))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("client_roots: narrow", "E022 4:15 over HTTP a client's directories are on another machine: they say nothing"),
        ("state: {on_failure: local}", "E022 4:9 `on_failure` is about Redis, and the policy names none"),
        ("state: {password: /p}", "E022 4:9 `password` is about Redis, and the policy names none"),
        ('state: {redis: "redis://:x@h"}', "E019 4:16 a policy holds no password, and this URL has a place for one"),
        ('state: {redis: "redis://h", ca: /ca}', "E022 4:29 `ca` is for Redis with TLS"),
        ("telemetry: {sample: 1%}", "E022 4:13 `sample` is about traces, and none are made"),
        ('telemetry: {traces: "http://collector:4318"}', "E060 4:21 http beyond this machine can be read"),
        ("limits: {calls: {rate: 600}}", 'E014 4:24 "600" is not how many calls in how long'),
        ("limits: {calls: {classes: {commands: {}}}}", 'E010 4:28 unknown key "commands" in "classes"'),
    ],
)
def test_what_goes_with_a_service_is_checked(desk: Desk, rest: str, problem: str) -> None:
    (found,) = told(desk, http("auth: none", rest + "\n"))
    assert found.startswith(problem)


def test_a_key_of_the_sealing_is_fine_without_redis(desk: Desk) -> None:
    assert desk.load(http("auth: none", "state: {key: /etc/fsserver/seal}\n")).shared.key == "/etc/fsserver/seal"


def test_a_wrong_transport_is_told_alone(desk: Desk) -> None:
    """What is for HTTP only is no mistake where HTTP may be meant."""
    (problem,) = desk.problems(f"{ROOT}server: {{transport: htp, listen: 127.0.0.1:80}}\n{SERVED}")
    assert problem == 'E012 3:21 "htp" is not a valid transport; expected stdio or http'


GUARDED = [
    ("server: {transport: http, auth: {tokens: PATH}}", "the file of tokens", True),
    ("server: {transport: http, auth: none, tls: {certificate: /k/c, key: PATH}}", "the TLS key", True),
    ("server: {transport: http, auth: none, tls: {certificate: PATH, key: /k/k}}", "the TLS certificate", False),
    (
        "server: {transport: http, auth: none, tls: {certificate: /k/c, key: /k/k, client_ca: PATH}}",
        "the certificate of the clients' CA",
        False,
    ),
    (
        'server: {transport: http, auth: none}\nstate: {redis: "redis://h", password: PATH}',
        "the file with Redis's password",
        True,
    ),
    (
        'server: {transport: http, auth: none}\nstate: {redis: "rediss://h", ca: PATH}',
        "the certificate of Redis's CA",
        False,
    ),
    ("server: {transport: http, auth: none}\nstate: {key: PATH}", "the key that seals sessions", True),
    ("audit: {key: PATH, sinks: [{dir: ~/log}]}", "the key of the audit log", True),
    (
        'audit: {sinks: [{dir: ~/log}, {syslog: "tls://h", ca: PATH}]}',
        "the certificate of an audit sink's CA",
        False,
    ),
]


@pytest.mark.claim("C7")
@pytest.mark.parametrize(("section", "what", "secret"), GUARDED, ids=[what for _, what, _ in GUARDED])
def test_a_file_of_the_servers_own_is_kept_from_clients_and_commands(
    desk: Desk, section: str, what: str, secret: bool
) -> None:
    (desk.home / "way").symlink_to(desk.home / "app")
    rest = SERVED if "tokens" in section else ""

    def problems(path: str, commands: str = "") -> list[str]:
        text = f"{ROOT}{rest}{commands}{section.replace('PATH', path)}\n"
        try:
            desk.load(text)
        except PolicyErrors as error:
            return [f"{problem.code} {problem.message}" for problem in error.problems]
        return []

    for path in ("~/app/x", "~/way/x"):
        (problem,) = problems(path)
        assert problem == f"E032 {what} is in this root: {path.replace('~', str(desk.home))}"
    state = desk.directory(".local/state/fsserver") / "x"
    (problem,) = problems("~/.local/state/fsserver/x")
    assert problem == f"E032 {what} lies in fsserver's state directory, which the server may read and write: {state}"
    commands = "commands: {cat: {exec: /bin/cat, args: any}}\n"
    visible = [f"E032 {what} lies in /usr, which every command may read: /usr/local/etc/x"] if secret else []
    assert problems("/usr/local/etc/x", commands) == visible
    assert problems("/usr/local/etc/x") == problems("~/keys/x", commands) == []
    keys = desk.directory("keys")
    found = problems("~/keys/x", "commands: {cat: {exec: /bin/cat, args: any, runtime: [~/keys]}}\n")
    reason = f"E032 {keys} lies around {what}: the command would read there what the policy protects"
    assert found == ([reason] if secret else [])


def test_the_digest_is_of_the_service_too(desk: Desk) -> None:
    base = desk.load(http(TOKENS)).digest
    assert desk.load("# x\n" + http(TOKENS)).digest == base
    for other in (
        http(TOKENS + ", drain: 1s"),
        http(TOKENS, "principals: [{when: {token: other}}]\n"),
        http(TOKENS, SERVED + "limits: {calls: {rate: 1/s}}\n"),
        http(TOKENS, SERVED + "telemetry: {calls: true}\n"),
        http(TOKENS, SERVED + "state: {key: /k/k}\n"),
    ):
        assert desk.load(other).digest != base


def whole(desk: Desk) -> Policy:
    """A policy in which nothing of a service is as it is by default."""
    return desk.load(
        http(
            TOKENS,
            "principals: [{when: {token: ci}, profile: reader}]\n"
            "profiles: {reader: {roots: {app: ro}, tools: [read_text_file]}}\n"
            "state: {key: /k/k}\n"
            "telemetry: {calls: true}\n"
            "limits: {calls: {rate: 1/s, classes: {read: {each: 1}}}}\n"
            "audit: {sinks: [{dir: ~/log}, {stderr: true}, {otlp: 'https://h'}]}\n",
        )
    )


def test_a_profile_keeps_how_the_policy_is_served(desk: Desk) -> None:
    policy = whole(desk)
    narrowed = narrow(policy, "reader")
    assert narrowed.tools == frozenset({"read_text_file"})
    for name in ("server", "principals", "shared", "telemetry", "limits", "audit", "digest", "state"):
        assert getattr(narrowed, name) == getattr(policy, name), name


def test_preset_service_serves_nobody_until_a_policy_says_whom(desk: Desk) -> None:
    text = "version: 1\nextends: [preset:service]\nroots: {app: {path: ~/app}}\n"
    assert told(desk, text) == ["E011 1:1 over HTTP a policy says how clients prove who they are"]
    policy = desk.load(f"{text}server: {{{TOKENS}, ops: 0.0.0.0:9090}}\n{SERVED}")
    assert policy.server.listen == Address("127.0.0.1", 8080)
    assert policy.server.ops == Address("0.0.0.0", 9090)
    assert policy.telemetry.calls
    assert policy.limits.budget.rate is not None
    assert set(policy.limits.budgets) == {CallClass.SEARCH, CallClass.CHANGE, CallClass.COMMAND}


@pytest.mark.parametrize(
    ("server", "warned"),
    [
        ("auth: none", False),
        ("auth: none, proxies: [127.0.0.1]", True),
        ('auth: none, public_url: "https://mcp.example.org"', True),
        (f"{TOKENS}, proxies: [127.0.0.1]", False),
    ],
)
def test_no_authentication_behind_a_proxy_is_a_warning(desk: Desk, server: str, warned: bool) -> None:
    policy = desk.load(http(server, SERVED if TOKENS in server else ""))
    assert any("with auth: none everybody is served" in warning for warning in warnings(policy)) is warned


@pytest.mark.claim("C7")
@pytest.mark.parametrize("path", ["/t", "/etc/t", "~/t", "~/../t", "~/auth/link"])
@pytest.mark.parametrize(
    ("section", "what"), [(row[0], row[1]) for row in GUARDED[:4]], ids=[row[1] for row in GUARDED[:4]]
)
def test_what_is_read_again_lies_in_a_directory_of_its_own(desk: Desk, section: str, what: str, path: str) -> None:
    (desk.directory("auth") / "link").symlink_to("/etc/t")
    if ".." in path:
        path = str(desk.home.parent / "t")
    with pytest.raises(PolicyErrors) as caught:
        desk.load(f"{ROOT}{SERVED if 'tokens' in section else ''}{section.replace('PATH', path)}\n")
    (problem,) = caught.value.problems
    assert problem.code == "E032"
    assert problem.message.startswith(f"{what} is read again on SIGHUP, so the server could read everything in /")
