"""Serving many clients over HTTP: every part is built from the policy, in the order that safety asks for, and wired.

The order is that of `fsserver.app.stdio`, with what the network needs: sockets are bound, certificates, tokens and keys
are read before the process is confined; threads and connections of its own exist only afterwards.
"""

from __future__ import annotations

import itertools
import logging
import os
import platform
import resource
import secrets
import socket
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from fsserver import __version__
from fsserver.app.network import network_of
from fsserver.app.observing import Parts, audit_places, make_observer, make_traces
from fsserver.app.parts import close_inherited, header, hear_launcher, plan, policy_change, root_changes, start_launcher
from fsserver.audit.log import AuditLog
from fsserver.paths.root import Root
from fsserver.policy.compiled import Policy
from fsserver.policy.decision import narrow
from fsserver.policy.rules import Origin
from fsserver.policy.searching import Ripgrep, find_ripgrep, search_commands
from fsserver.policy.service import PrincipalRule
from fsserver.policy.toolnames import TOOL_NAMES
from fsserver.sandbox.confinement import confine
from fsserver.state.opening import open_state
from fsserver.state.secret import read_key
from fsserver.telemetry.logging import configure
from fsserver.telemetry.metrics import Metrics
from fsserver.telemetry.sources import Sources
from fsserver.telemetry.watch import Watch

if TYPE_CHECKING:
    from fsserver.sandbox.launching import LauncherRunner
    from fsserver.state.shared import SharedState
    from fsserver.telemetry.tracing import Traces
    from fsserver.transport.auth.authenticator import Authenticator
    from fsserver.transport.http.application import Application
    from fsserver.transport.http.grants import Grant
    from fsserver.transport.http.listening import Listening
    from fsserver.transport.http.service import Front, Listener
    from fsserver.transport.workers import Workers

_LOG = logging.getLogger(__name__)

LOOKERS: Final = 4
"""Threads of their own for directories of principals. In those of the calls, what cancels one of these, or answers its
question, would wait for one to end.
"""

OPS_HEADER_BYTES: Final = 8 * 1024
OPS_HEADER_S: Final = 5.0
OPS_CONNECTIONS: Final = 64
"""Of the listener for operators."""


def principals_of(policy: Policy) -> tuple[PrincipalRule, ...]:
    """Who gets what. Where nobody has to prove anything and the policy says no more, everybody gets all of it."""
    if policy.server.auth.off and not policy.principals:
        return (PrincipalRule(Origin(policy.name, 0), anonymous=True),)
    return policy.principals


@dataclass(frozen=True)
class _Profile:
    """One profile that some principal gets.

    Attributes:
        here: the policy without the roots that have a directory for each principal: what commands and searches see.
    """

    policy: Policy
    here: Policy
    roots: tuple[Root, ...]
    runner: LauncherRunner | None


@dataclass(frozen=True)
class _Opened:
    """What exists before the process is confined.

    Attributes:
        operations: the socket for operators, if the policy wants one.
        key: that replicas share; None: there is none.
    """

    policy: Policy
    run_id: str
    profiles: Mapping[str | None, _Profile]
    roots: tuple[Root, ...]
    front: Front
    operations: Listening | None
    authenticator: Authenticator
    state: SharedState
    key: bytes | None
    audit: AuditLog
    metrics: Metrics
    sources: Sources
    traces: Traces | None
    why_no_ripgrep: str | None


def serve_http(policy: Policy) -> None:
    """Serve principals over Streamable HTTP until a signal ends it.

    Raises:
        ConfigError: a root, a file or an address of the policy is unsuitable.
        AuditError: the audit log cannot be written, or another server writes it.
        KernelUnsupported: a required layer is missing: a service has nobody who would read a warning.
        SandboxSetupError: a step of the confinement failed, or a launcher of commands cannot be started.
    """
    configure(own=logging.INFO)
    close_inherited()
    _allow_many_descriptors(policy.server.limits.connections)
    with ExitStack() as held:
        opened = _open(policy, held)
        network = network_of(policy, serves=True, ports=opened.authenticator.ports)
        confinement = plan(policy, opened.roots, opened.audit, strict=True, network=network, files=_read_again(policy))
        enforcement = confine(confinement)
        opened.audit.append("run.confined", enforcement.as_record())
        for name, profile in opened.profiles.items():
            if profile.runner is not None and profile.here.commands:
                hear_launcher(profile.runner, opened.audit, strict=True, profile=name)
            elif profile.runner is not None:  # it sleeps until the first search
                profile.runner.on_first_use = partial(
                    hear_launcher, profile.runner, opened.audit, strict=False, profile=name
                )
        _serve(opened, held)


def _open(policy: Policy, held: ExitStack) -> _Opened:
    """Everything that needs files or sockets which this process will not be able to open again."""
    from fsserver.transport.auth.authenticator import Authenticator  # noqa: PLC0415 - only who serves over HTTP needs it
    from fsserver.transport.http.listening import bind  # noqa: PLC0415
    from fsserver.transport.http.service import Front  # noqa: PLC0415

    rules = policy.server
    front = Front.open(rules)
    held.callback(front.close)
    operations = None if rules.ops is None else held.enter_context(closing(bind(rules.ops)))
    run_id = secrets.token_hex(8)
    state = open_state(policy.shared, f"{socket.gethostname()}:{run_id}")
    held.callback(state.close)
    key = None if policy.shared.key is None else read_key(policy.shared.key)
    sources = Sources()
    metrics = Metrics(
        version=__version__, policy=policy.name, policy_digest=policy.digest, tools=TOOL_NAMES, sources=sources
    )
    held.callback(metrics.close)
    roots = {root.name: held.enter_context(closing(Root.open(root))) for root in policy.roots}
    ripgrep = find_ripgrep(policy.roots)
    profiles: dict[str | None, _Profile] = {}
    for name in dict.fromkeys(rule.profile for rule in principals_of(policy)):
        profiles[name] = profile = _profile(policy, name, roots, ripgrep)
        if profile.runner is not None:
            held.callback(profile.runner.close)
    audit = AuditLog.open(policy.audit, run_id=run_id, header=header(policy))
    held.callback(audit.close)
    return _Opened(
        policy=policy,
        run_id=run_id,
        profiles=profiles,
        roots=tuple(roots.values()),
        front=front,
        operations=operations,
        authenticator=Authenticator(rules.auth),
        state=state,
        key=key,
        audit=audit,
        metrics=metrics,
        sources=sources,
        traces=make_traces(policy),
        why_no_ripgrep=ripgrep.why_not,
    )


def _serve(opened: _Opened, held: ExitStack) -> None:
    """Load the protocol's libraries, build what answers, and answer."""
    from fsserver.server.lazy import put_off  # noqa: PLC0415 - the SDK takes longer to load than all the rest

    put_off("mcp", "mcp.server")

    from fsserver.server.handshakes import Handshakes  # noqa: PLC0415
    from fsserver.transport.http.application import Application  # noqa: PLC0415
    from fsserver.transport.http.grants import Grants  # noqa: PLC0415
    from fsserver.transport.http.service import Hooks, Service  # noqa: PLC0415
    from fsserver.transport.workers import Workers  # noqa: PLC0415

    policy, rules, sources = opened.policy, opened.policy.server, opened.sources
    watch = Watch(root_changes(opened.roots) | policy_change(policy))
    watch.start()
    held.callback(watch.stop)
    workers = Workers(policy.limits.concurrency)
    grants = Grants(principals_of(policy), _grants(opened, watch, workers, held))
    application = Application(
        rules,
        look=Workers(LOOKERS).run,
        authenticator=opened.authenticator,
        grants=grants,
        handshakes=Handshakes(opened.key or secrets.token_bytes(32), rules.limits.session_s),
        observe=opened.metrics.request,
    )
    sources.sessions = application.sessions.recent
    sources.draining = lambda: application.draining
    sources.audit = lambda: audit_places(opened.audit)
    launchers = [profile.runner for profile in opened.profiles.values() if profile.runner is not None]
    sources.commands_running = lambda: sum(runner.running for runner in launchers)
    operations = [] if opened.operations is None else [_operations(opened, application, watch)]
    hooks = Hooks(opened.authenticator.reload, opened.metrics.request, background=(opened.authenticator.keep_fresh,))
    service = Service(rules, application, opened.front, others=operations, hooks=hooks)
    sources.connections = service.connections
    service.run()


def _grants(opened: _Opened, watch: Watch, workers: Workers, held: ExitStack) -> dict[str | None, Grant]:
    """What is served, by profile: a gate for each, over one log, one count of calls and one set of threads."""
    from fsserver.paths.workspace import Workspace  # noqa: PLC0415
    from fsserver.server.files import FileServer  # noqa: PLC0415
    from fsserver.server.sealing import Seal  # noqa: PLC0415
    from fsserver.tools.budgets import Budgets  # noqa: PLC0415
    from fsserver.tools.catalog import every_tool  # noqa: PLC0415
    from fsserver.tools.commands.host import CommandHost  # noqa: PLC0415
    from fsserver.tools.gate import Gate  # noqa: PLC0415
    from fsserver.tools.search.engine import SearchEngine  # noqa: PLC0415
    from fsserver.tools.session import Session  # noqa: PLC0415
    from fsserver.transport.http.grants import Grant  # noqa: PLC0415

    policy = opened.policy
    seal = Seal.of(policy.approvals.timeout_s, opened.key, opened.state)
    numbers = itertools.count(1)
    budgets = Budgets.of(policy.limits, opened.state)
    observer = make_observer(policy, opened.traces, opened.metrics, held)
    grants: dict[str | None, Grant] = {}
    for name, profile in opened.profiles.items():
        host = CommandHost(profile.here, profile.runner, watch.seen, opened.state)
        held.callback(host.close)
        apart = [root.rules.name for root in profile.roots if root.rules.each is not None]
        engine = SearchEngine(profile.runner, opened.why_no_ripgrep, policy.limits.time_s, apart=apart)
        gate = Gate(
            registry=every_tool(host, engine),
            policy=profile.policy,
            audit=opened.audit,
            budgets=budgets,
            observer=observer,
            numbers=numbers,
        )
        session = Session("", "", None, None, Workspace(profile.roots), transport="http")
        server = FileServer(gate, session, policy=profile.policy, run=workers.run, seal=seal)
        grants[name] = Grant(server.exchanges(), profile.roots)
    return grants


def _operations(opened: _Opened, application: Application, watch: Watch) -> Listener:
    """What operators' machines ask, on an address of its own."""
    from fsserver.transport.http.protocol import Bounds  # noqa: PLC0415
    from fsserver.transport.http.service import Listener  # noqa: PLC0415
    from fsserver.transport.ops.endpoints import Operations  # noqa: PLC0415
    from fsserver.transport.ops.readiness import Readiness  # noqa: PLC0415

    policy, rules = opened.policy, opened.policy.server
    assert opened.operations is not None
    assert rules.ops is not None
    runners = {
        name or policy.name: profile.runner
        for name, profile in opened.profiles.items()
        if profile.runner is not None and profile.here.commands
    }
    parts = Parts(
        policy,
        opened.roots,
        runners,
        opened.audit,
        state=opened.state,
        issuers=opened.authenticator.status,
        notices=watch.seen,
        draining=lambda: application.draining,
    )
    readiness = Readiness(parts.checks())
    opened.sources.checks = readiness.last
    version = {
        "version": __version__,
        "python": platform.python_version(),
        "policy": policy.name,
        "policy_digest": policy.digest,
        "run": opened.run_id,
    }
    answers = Operations(
        readiness, listen=rules.ops, hosts=rules.hosts, version=version, metrics=opened.metrics.exposed
    )
    bounds = Bounds(header_bytes=OPS_HEADER_BYTES, header_s=OPS_HEADER_S, connections=OPS_CONNECTIONS)
    return Listener(opened.operations, answers, bounds)


def _profile(policy: Policy, name: str | None, roots: Mapping[str, Root], ripgrep: Ripgrep) -> _Profile:
    narrowed = policy if name is None else narrow(policy, name)
    here = replace(narrowed, roots=tuple(rules for rules in narrowed.roots if rules.each is None))
    views = tuple(
        roots[rules.name] if rules == roots[rules.name].rules else roots[rules.name].with_rules(rules)
        for rules in narrowed.roots
    )
    within = [root for root in views if root.rules.each is None]
    # Each launcher has files of its own, named after its run.
    runner = start_launcher(here, within, secrets.token_hex(8), search_commands(here, ripgrep)) if within else None
    return _Profile(narrowed, here, views, runner)


def _read_again(policy: Policy) -> tuple[str, ...]:
    """What SIGHUP reads again, by the directories that hold it: a file that is replaced is another object."""
    tls, tokens = policy.server.tls, policy.server.auth.tokens
    files = [] if tls is None else [tls.certificate, tls.key, *([tls.client_ca] if tls.client_ca else [])]
    files += [tokens] if tokens else []
    # Under the name that the policy has, and where that leads now: Kubernetes replaces a link.
    names = (name for each in files for name in (each, os.path.realpath(each)))
    return tuple(dict.fromkeys(os.path.dirname(name) for name in names))


def _allow_many_descriptors(connections: int) -> None:
    """As many as the system lets this process have: each connection and each principal's directory is one."""
    from fsserver.transport.http.listening import room  # noqa: PLC0415 - only who serves over HTTP needs it

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if room() < connections:
        told = "This process may have %d files open, so it takes %d connections and not the %d of server.limits."
        _LOG.warning(told, most, room(), connections)
