"""The steps that every server takes before it serves, whatever transport it is for."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING

from fsserver import __version__
from fsserver.audit.log import AuditLog
from fsserver.errors import KernelUnsupported
from fsserver.kernel import features as kernel
from fsserver.paths.root import Root
from fsserver.policy.compiled import Command, Layer, Policy
from fsserver.sandbox.plan import plan_server
from fsserver.sandbox.profile import NO_NETWORK, RootGrant, ServerNetwork, ServerProfile
from fsserver.sandbox.runtime import find_runtime
from fsserver.telemetry.watch import file_changed

if TYPE_CHECKING:
    from fsserver.sandbox.launching import LauncherRunner

_LOG = logging.getLogger("fsserver")


def close_inherited() -> None:
    """Close what the client left open: whoever took the server over could read and write there in spite of Landlock.

    Python opens nothing that outlives an exec, so what would, besides the standard three, is not this process's own.
    """
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():  # without, no root can be opened
        descriptor = int(name)
        with suppress(OSError):  # the descriptor that listed them
            if descriptor > 2 and os.get_inheritable(descriptor):
                os.close(descriptor)


def plan(
    policy: Policy,
    roots: Sequence[Root],
    audit: AuditLog,
    *,
    strict: bool,
    network: ServerNetwork = NO_NETWORK,
    files: Sequence[str] = (),
) -> ServerProfile:
    """The strongest confinement that the kernel offers; what is required and missing is refused or said."""

    def at_least(require: Layer) -> ServerProfile:
        return plan_server(
            roots=[RootGrant(root.rules.name, root.fd, root.shown, root.rules.mode) for root in roots],
            state_directories=tuple(dict.fromkeys(os.path.realpath(path) for path in audit.directories)),
            runtime=find_runtime(),
            features=kernel.probe(),
            pid=os.getpid(),
            require=require,
            network=network,
            files=files,
        )

    try:
        return at_least(policy.sandbox.require)
    except KernelUnsupported as missing:
        if strict:
            raise
        _LOG.warning("%s File tools are served all the same; --strict refuses.", missing.message)
        return at_least(Layer.NONE)


def start_launcher(
    policy: Policy, roots: Sequence[Root], run_id: str, own: Mapping[str, Command] = MappingProxyType({})
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


def hear_launcher(runner: LauncherRunner, audit: AuditLog, *, strict: bool, profile: str | None = None) -> None:
    """Which layer commands run in. Where it is less than the policy requires, there are none, and that is said.

    Args:
        profile: whose commands they are, where each profile that is served has a launcher of its own.

    Raises:
        KernelUnsupported: with ``strict``, commands cannot be confined as the policy requires.
    """
    runner.listen()
    fields = {"layer": runner.layer.value, "unavailable": runner.unavailable}
    audit.append("run.commands", fields if profile is None else {**fields, "profile": profile})
    if runner.unavailable is None:
        if runner.layer is not Layer.FULL:
            _LOG.warning("Commands run in layer %s; not enforced: %s.", runner.layer, "; ".join(runner.gaps))
        return
    if strict:
        raise KernelUnsupported(runner.unavailable)
    _LOG.warning("%s File tools are served all the same, and no commands; --strict refuses.", runner.unavailable)


def root_changes(roots: Sequence[Root]) -> dict[str, Callable[[], bool]]:
    told = "The root {} was replaced on disk; restart the server to serve the new one."
    return {told.format(root.rules.name): root.replaced for root in roots}


def policy_change(policy: Policy) -> dict[str, Callable[[], bool]]:
    by_name: dict[str, list[str]] = {}
    for path in policy.files:
        by_name.setdefault(os.path.basename(path), []).append(path)
    told = "The policy {} was changed; restart the server to apply it."
    return {told.format(name): file_changed(*paths) for name, paths in by_name.items()}


def header(policy: Policy) -> dict[str, str | int]:
    """What the audit log's first record says about this run."""
    return {
        "fsserver": __version__,
        "policy": policy.name,
        "policy_digest": policy.digest,
        "host": socket.gethostname(),
        "kernel": os.uname().release,
        "uid": os.getuid(),
    }
