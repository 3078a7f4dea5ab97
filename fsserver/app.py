"""The composition root: builds every part from the policy, in the order that safety asks for, and wires them.

The order is: open the roots → start the launcher of commands → open the audit log → confine this process → say that it
serves → only then load the protocol's libraries and read what a client says. Nothing that a client sends is looked at
before the process is confined, and nobody is told that it serves while the policy or the machine can still prevent it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from fsserver import __version__
from fsserver.audit.log import AuditLog
from fsserver.errors import KernelUnsupported
from fsserver.kernel import features as kernel
from fsserver.paths.root import Root
from fsserver.policy.compiled import Command, Layer, Policy
from fsserver.policy.searching import find_ripgrep, search_commands
from fsserver.sandbox.confinement import confine
from fsserver.sandbox.plan import plan_server
from fsserver.sandbox.profile import RootGrant, ServerProfile
from fsserver.sandbox.runtime import find_runtime
from fsserver.telemetry.logging import configure
from fsserver.telemetry.watch import Watch, file_changed

if TYPE_CHECKING:
    from fsserver.sandbox.launching import LauncherRunner

_LOG = logging.getLogger("fsserver")

LOCAL_PRINCIPAL = "local"
"""Whoever started the process: over stdio there is nobody else."""


def serve_stdio(policy: Policy, *, strict: bool, confined: Callable[[], None]) -> None:
    """Serve one client over standard input and output until it leaves or a signal comes.

    Args:
        strict: refuse to serve with less confinement than the policy requires, instead of saying so and going on.
        confined: called once roots and audit log are open and this process is confined. Standard input is the null
            device by then, and what it writes to standard output goes to standard error.

    Raises:
        ConfigError: a root, the audit log's place or the key that signs it is unsuitable.
        AuditError: the audit log cannot be written, or another server writes it.
        KernelUnsupported: no /proc; or with ``strict``, a required layer is missing.
        SandboxSetupError: a step of the confinement failed, or the launcher of commands cannot be started.
    """
    from fsserver.transport.descriptors import StandardStreams  # noqa: PLC0415

    configure()
    _close_inherited()
    with ExitStack() as held:
        streams = held.enter_context(StandardStreams.take())
        roots = [held.enter_context(closing(Root.open(rules))) for rules in policy.roots]
        run_id = secrets.token_hex(8)
        ripgrep = find_ripgrep(policy.roots)
        runner = start_launcher(policy, roots, run_id, search_commands(policy, ripgrep))
        if runner is not None:
            held.callback(runner.close)
        audit = AuditLog.open(policy.audit, run_id=run_id, header=_header(policy))
        held.callback(audit.close)
        enforcement = confine(_plan(policy, roots, audit, strict=strict))
        audit.append("run.confined", enforcement.as_record())
        if enforcement.layer is Layer.NONE:
            _LOG.warning("The kernel does not confine this server: %s", enforcement)
        if runner is not None:
            if policy.commands or strict:
                _hear_launcher(runner, audit, strict=strict)
            else:  # nothing but a search may need it, and perhaps none will be made
                runner.on_first_use = partial(_hear_launcher, runner, audit, strict=False)
        confined()

        # The SDK takes longer to load than everything above, so a mistake in the policy is told before.
        from fsserver.server.lazy import put_off  # noqa: PLC0415

        put_off("mcp", "mcp.server")

        from fsserver.paths.workspace import Workspace  # noqa: PLC0415
        from fsserver.server.files import FileServer  # noqa: PLC0415
        from fsserver.tools.catalog import every_tool  # noqa: PLC0415
        from fsserver.tools.commands.host import CommandHost  # noqa: PLC0415
        from fsserver.tools.gate import Gate  # noqa: PLC0415
        from fsserver.tools.search.engine import SearchEngine  # noqa: PLC0415
        from fsserver.tools.session import Session  # noqa: PLC0415
        from fsserver.transport import stdio  # noqa: PLC0415
        from fsserver.transport.workers import Workers  # noqa: PLC0415

        watch = Watch(_root_changes(roots) | _policy_change(policy))
        watch.start()
        held.callback(watch.stop)
        host = CommandHost(policy, runner, watch.seen)
        held.callback(host.close)
        engine = SearchEngine(runner, ripgrep.why_not, policy.limits.time_s)
        gate = Gate(registry=every_tool(host, engine), policy=policy, audit=audit)
        session = Session(run_id, LOCAL_PRINCIPAL, None, None, Workspace(roots))
        workers = Workers(policy.limits.concurrency)
        stdio.serve(FileServer(gate, session, policy=policy, run=workers.run), streams)


def _close_inherited() -> None:
    """Close what the client left open: whoever took the server over could read and write there in spite of Landlock.

    Python opens nothing that outlives an exec, so what would, besides the standard three, is not this process's own.
    """
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():  # without, no root can be opened
        descriptor = int(name)
        with suppress(OSError):  # the descriptor that listed them
            if descriptor > 2 and os.get_inheritable(descriptor):
                os.close(descriptor)


def _plan(policy: Policy, roots: list[Root], audit: AuditLog, *, strict: bool) -> ServerProfile:
    """The strongest confinement that the kernel offers; what is required and missing is refused or said."""

    def plan(require: Layer) -> ServerProfile:
        return plan_server(
            roots=[RootGrant(root.rules.name, root.fd, root.shown, root.rules.mode) for root in roots],
            state_directories=tuple(dict.fromkeys(os.path.realpath(path) for path in audit.directories)),
            runtime=find_runtime(),
            features=kernel.probe(),
            pid=os.getpid(),
            require=require,
        )

    try:
        return plan(policy.sandbox.require)
    except KernelUnsupported as missing:
        if strict:
            raise
        _LOG.warning("%s File tools are served all the same; --strict refuses.", missing.message)
        return plan(Layer.NONE)


def start_launcher(
    policy: Policy, roots: list[Root], run_id: str, own: Mapping[str, Command] = MappingProxyType({})
) -> LauncherRunner | None:
    """The process that runs commands, the policy's and fsserver's ``own``, if there are any. It is told everything now,
    and nothing more later. Where the policy has none it sleeps.

    Raises:
        SandboxSetupError: it cannot be started.
    """
    if not policy.commands and not own:
        return None
    if os.uname().sysname != "Linux":
        if policy.commands:
            _LOG.warning("Commands need Linux: here file tools are served, and no commands.")
        return None
    from fsserver.sandbox.bootstrap import Bootstrap, OpenedRoot  # noqa: PLC0415 - the kernel's words, and threads
    from fsserver.sandbox.launching import LauncherRunner  # noqa: PLC0415

    passed = {name for command in policy.commands.values() for name in command.passed}
    asleep = not policy.commands
    opened = (OpenedRoot(root.rules.name, root.shown, root.spellings, root.identity, root.folds) for root in roots)
    return LauncherRunner(
        Bootstrap(
            policy=policy,
            roots=tuple(opened),
            environment={name: os.environ[name] for name in passed if name in os.environ},
            home=os.path.expanduser("~"),
            run_id=run_id,
            own=own,
        ),
        asleep=asleep,
    )


def _hear_launcher(runner: LauncherRunner, audit: AuditLog, *, strict: bool) -> None:
    """Which layer commands run in. Where it is less than the policy requires, there are none, and that is said.

    Raises:
        KernelUnsupported: with ``strict``, commands cannot be confined as the policy requires.
    """
    runner.listen()
    audit.append("run.commands", {"layer": runner.layer.value, "unavailable": runner.unavailable})
    if runner.unavailable is None:
        if runner.layer is not Layer.FULL:
            _LOG.warning("Commands run in layer %s; not enforced: %s.", runner.layer, "; ".join(runner.gaps))
        return
    if strict:
        raise KernelUnsupported(runner.unavailable)
    _LOG.warning("%s File tools are served all the same, and no commands; --strict refuses.", runner.unavailable)


def _root_changes(roots: list[Root]) -> dict[str, Callable[[], bool]]:
    told = "The root {} was replaced on disk; restart the server to serve the new one."
    return {told.format(root.rules.name): root.replaced for root in roots}


def _policy_change(policy: Policy) -> dict[str, Callable[[], bool]]:
    if policy.source is None:
        return {}
    name = os.path.basename(policy.source)
    return {f"The policy {name} was changed; restart the server to apply it.": file_changed(policy.source)}


def _header(policy: Policy) -> dict[str, str | int]:
    """What the audit log's first record says about this run."""
    return {
        "fsserver": __version__,
        "policy": policy.name,
        "policy_digest": policy.digest,
        "host": socket.gethostname(),
        "kernel": os.uname().release,
        "uid": os.getuid(),
    }
