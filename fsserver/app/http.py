"""Serving many clients over HTTP: every part is built from the policy, in the order that safety asks for, and wired.

The order is that of `fsserver.app.stdio`, with what the network needs: sockets are bound, certificates, tokens and keys
are read before the process is confined; threads and connections of its own exist only afterwards.
"""

from __future__ import annotations

import os
import resource
import secrets
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from fsserver.app.parts import close_inherited, header, hear_launcher, plan, policy_change, root_changes, start_launcher
from fsserver.audit.log import AuditLog
from fsserver.paths.root import Root
from fsserver.policy.compiled import Policy
from fsserver.policy.decision import narrow
from fsserver.policy.searching import Ripgrep, find_ripgrep, search_commands
from fsserver.sandbox.confinement import confine
from fsserver.sandbox.profile import ServerNetwork
from fsserver.sandbox.runtime import RESOLVER
from fsserver.telemetry.logging import configure
from fsserver.telemetry.watch import Watch

if TYPE_CHECKING:
    from fsserver.sandbox.launching import LauncherRunner
    from fsserver.transport.auth.authenticator import Authenticator
    from fsserver.transport.http.service import Front


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
    """What exists before the process is confined."""

    policy: Policy
    profiles: Mapping[str | None, _Profile]
    front: Front
    authenticator: Authenticator
    audit: AuditLog
    why_no_ripgrep: str | None


def serve_http(policy: Policy) -> None:
    """Serve principals over Streamable HTTP until a signal ends it.

    Raises:
        ConfigError: a root, a file or an address of the policy is unsuitable.
        AuditError: the audit log cannot be written, or another server writes it.
        KernelUnsupported: a required layer is missing: a service has nobody who would read a warning.
        SandboxSetupError: a step of the confinement failed, or a launcher of commands cannot be started.
    """
    from fsserver.transport.auth.authenticator import Authenticator  # noqa: PLC0415 - only who serves over HTTP needs it
    from fsserver.transport.http.service import Front  # noqa: PLC0415

    configure()
    close_inherited()
    _allow_many_descriptors()
    with ExitStack() as held:
        front = Front.open(policy.server)
        held.callback(front.close)
        authenticator = Authenticator(policy.server.auth)
        roots = {rules.name: held.enter_context(closing(Root.open(rules))) for rules in policy.roots}
        run_id = secrets.token_hex(8)
        ripgrep = find_ripgrep(policy.roots)
        profiles: dict[str | None, _Profile] = {}
        for name in dict.fromkeys(rule.profile for rule in policy.principals):
            profiles[name] = profile = _profile(policy, name, roots, ripgrep)
            if profile.runner is not None:
                held.callback(profile.runner.close)
        audit = AuditLog.open(policy.audit, run_id=run_id, header=header(policy))
        held.callback(audit.close)
        ports = authenticator.ports
        network = ServerNetwork(
            serves=True, ports=tuple(sorted(ports)), resolves=bool(ports), files=RESOLVER if ports else ()
        )
        confinement = plan(policy, list(roots.values()), audit, strict=True, network=network, files=_read_again(policy))
        enforcement = confine(confinement)
        audit.append("run.confined", enforcement.as_record())
        for name, profile in profiles.items():
            if profile.runner is not None and profile.here.commands:
                hear_launcher(profile.runner, audit, strict=True, profile=name)
            elif profile.runner is not None:  # it sleeps until the first search
                profile.runner.on_first_use = partial(hear_launcher, profile.runner, audit, strict=False, profile=name)
        _serve(_Opened(policy, profiles, front, authenticator, audit, ripgrep.why_not), held)


def _serve(opened: _Opened, held: ExitStack) -> None:
    """Load the protocol's libraries, build what answers, and answer."""
    from fsserver.server.lazy import put_off  # noqa: PLC0415 - the SDK takes longer to load than all the rest

    put_off("mcp", "mcp.server")

    from fsserver.paths.workspace import Workspace  # noqa: PLC0415
    from fsserver.server.files import FileServer  # noqa: PLC0415
    from fsserver.server.handshakes import Handshakes  # noqa: PLC0415
    from fsserver.server.sealing import Seal  # noqa: PLC0415
    from fsserver.tools.catalog import every_tool  # noqa: PLC0415
    from fsserver.tools.commands.host import CommandHost  # noqa: PLC0415
    from fsserver.tools.gate import Gate  # noqa: PLC0415
    from fsserver.tools.search.engine import SearchEngine  # noqa: PLC0415
    from fsserver.tools.session import Session  # noqa: PLC0415
    from fsserver.transport.http.application import Application  # noqa: PLC0415
    from fsserver.transport.http.grants import Grant, Grants  # noqa: PLC0415
    from fsserver.transport.http.service import Hooks, Service  # noqa: PLC0415
    from fsserver.transport.workers import Workers  # noqa: PLC0415

    policy, audit = opened.policy, opened.audit
    roots = {root.rules.name: root for profile in opened.profiles.values() for root in profile.roots}
    watch = Watch(root_changes(list(roots.values())) | policy_change(policy))
    watch.start()
    held.callback(watch.stop)
    key = secrets.token_bytes(32)
    workers = Workers(policy.limits.concurrency)
    seal = Seal(policy.approvals.timeout_s)
    grants: dict[str | None, Grant] = {}
    for name, profile in opened.profiles.items():
        host = CommandHost(profile.here, profile.runner, watch.seen)
        held.callback(host.close)
        apart = [root.rules.name for root in profile.roots if root.rules.each is not None]
        engine = SearchEngine(profile.runner, opened.why_no_ripgrep, policy.limits.time_s, apart=apart)
        gate = Gate(registry=every_tool(host, engine), policy=profile.policy, audit=audit)
        session = Session("", "", None, None, Workspace(profile.roots), transport="http")
        server = FileServer(gate, session, policy=profile.policy, run=workers.run, seal=seal)
        grants[name] = Grant(server.exchanges(), profile.roots)
    granted = Grants(policy, grants)
    held.callback(granted.close)
    application = Application(
        policy.server,
        authenticator=opened.authenticator,
        grants=granted,
        handshakes=Handshakes(key, policy.server.limits.session_s),
        observe=_unseen,
    )
    hooks = Hooks(reload=opened.authenticator.reload, background=(opened.authenticator.keep_fresh,))
    Service(policy.server, application, opened.front, others=(), hooks=hooks).run()


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


def _allow_many_descriptors() -> None:
    """As many as the system lets this process have: each connection and each principal's directory is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _unseen(status: int, reason: str | None) -> None:
    """Nobody counts."""
