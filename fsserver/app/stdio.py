"""Serving one client over standard input and output: every part is built from the policy, in the order that safety
asks for, and wired.

The order is: open the roots → start the launcher of commands → open the audit log → confine this process → say that it
serves → only then load the protocol's libraries and read what a client says. Nothing that a client sends is looked at
before the process is confined, and nobody is told that it serves while the policy or the machine can still prevent it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

from fsserver.app.network import network_of
from fsserver.app.observing import make_observer, make_traces
from fsserver.app.parts import close_inherited, header, hear_launcher, plan, policy_change, root_changes, start_launcher
from fsserver.audit.log import AuditLog
from fsserver.paths.root import Root
from fsserver.policy.compiled import Layer, Policy
from fsserver.policy.searching import find_ripgrep, search_commands
from fsserver.sandbox.confinement import confine
from fsserver.state.local import LocalState
from fsserver.telemetry.logging import configure
from fsserver.telemetry.watch import Watch

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
    close_inherited()
    with ExitStack() as held:
        streams = held.enter_context(StandardStreams.take())
        roots = [held.enter_context(closing(Root.open(rules))) for rules in policy.roots]
        run_id = secrets.token_hex(8)
        ripgrep = find_ripgrep(policy.roots)
        runner = start_launcher(policy, roots, run_id, search_commands(policy, ripgrep))
        if runner is not None:
            held.callback(runner.close)
        audit = AuditLog.open(policy.audit, run_id=run_id, header=header(policy))
        held.callback(audit.close)
        traces = make_traces(policy)
        enforcement = confine(plan(policy, roots, audit, strict=strict, network=network_of(policy)))
        audit.append("run.confined", enforcement.as_record())
        if enforcement.layer is Layer.NONE:
            _LOG.warning("The kernel does not confine this server: %s", enforcement)
        if runner is not None:
            if policy.commands or strict:
                hear_launcher(runner, audit, strict=strict)
            else:  # nothing but a search may need it, and perhaps none will be made
                runner.on_first_use = partial(hear_launcher, runner, audit, strict=False)
        confined()

        # The SDK takes longer to load than everything above, so a mistake in the policy is told before.
        from fsserver.server.lazy import put_off  # noqa: PLC0415

        put_off("mcp", "mcp.server")

        from fsserver.paths.workspace import Workspace  # noqa: PLC0415
        from fsserver.server.files import FileServer  # noqa: PLC0415
        from fsserver.tools.budgets import Budgets  # noqa: PLC0415
        from fsserver.tools.catalog import every_tool  # noqa: PLC0415
        from fsserver.tools.commands.host import CommandHost  # noqa: PLC0415
        from fsserver.tools.gate import Gate  # noqa: PLC0415
        from fsserver.tools.search.engine import SearchEngine  # noqa: PLC0415
        from fsserver.tools.session import Session  # noqa: PLC0415
        from fsserver.transport import stdio  # noqa: PLC0415
        from fsserver.transport.workers import Workers  # noqa: PLC0415

        watch = Watch(root_changes(roots) | policy_change(policy))
        watch.start()
        held.callback(watch.stop)
        host = CommandHost(policy, runner, watch.seen)
        held.callback(host.close)
        engine = SearchEngine(runner, ripgrep.why_not, policy.limits.time_s)
        gate = Gate(
            registry=every_tool(host, engine),
            policy=policy,
            audit=audit,
            budgets=Budgets.of(policy.limits, LocalState()),
            observer=make_observer(policy, traces, None, held),
        )
        session = Session(run_id, LOCAL_PRINCIPAL, None, None, Workspace(roots))
        workers = Workers(policy.limits.concurrency)
        stdio.serve(FileServer(gate, session, policy=policy, run=workers.run), streams)
