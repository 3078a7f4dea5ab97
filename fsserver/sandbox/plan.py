"""From what the policy grants and what the kernel offers to a profile, or a refusal. Pure: asks and opens nothing."""

from __future__ import annotations

from collections.abc import Sequence

from fsserver.errors import ConfigError, KernelUnsupported
from fsserver.kernel.features import Features
from fsserver.kernel.landlock import AccessFs
from fsserver.kernel.seccomp import assemble
from fsserver.policy.compiled import Layer, Mode
from fsserver.sandbox.downgrade import Enforceable, downgrade
from fsserver.sandbox.profile import (
    NO_NETWORK,
    DescriptorRule,
    Gap,
    NamedRule,
    RootGrant,
    Ruleset,
    Runtime,
    ServerNetwork,
    ServerProfile,
    available_layer,
)
from fsserver.sandbox.seccomp import server_filter

READ = AccessFs.READ_FILE | AccessFs.READ_DIR
# Every right that the file tools use. Not granted anywhere, although handled: EXECUTE, device files, FIFOs, sockets.
# MAKE_SYM is there because moving a link needs it at the destination.
WRITE = (
    READ
    | AccessFs.WRITE_FILE
    | AccessFs.TRUNCATE
    | AccessFs.MAKE_REG
    | AccessFs.MAKE_DIR
    | AccessFs.MAKE_SYM
    | AccessFs.REMOVE_FILE
    | AccessFs.REMOVE_DIR
    | AccessFs.REFER
)
# A state directory holds files that are made, written, renamed inside it and read back.
STATE = READ | AccessFs.WRITE_FILE | AccessFs.TRUNCATE | AccessFs.MAKE_REG | AccessFs.REMOVE_FILE
DEVICE = AccessFs.READ_FILE | AccessFs.WRITE_FILE

_ORDER = (Layer.NONE, Layer.LANDLOCK, Layer.FULL)


def plan_server(
    *,
    roots: Sequence[RootGrant],
    state_directories: Sequence[str],
    runtime: Runtime,
    features: Features,
    pid: int,
    require: Layer = Layer.NONE,
    network: ServerNetwork = NO_NETWORK,
    files: Sequence[str] = (),
) -> ServerProfile:
    """Decide how the server with process id ``pid`` confines itself.

    Args:
        files: further files, and directories with all in them, that it reads again later. Absolute.
        state_directories: absolute, without links: where the audit log and other state are written.
        require: the layer below which nothing may be served. `Layer.FULL` asks no more of the server than
            `Layer.LANDLOCK`: what is above concerns commands.

    Raises:
        KernelUnsupported: the kernel offers less than ``require``; plan again with `Layer.NONE` to go on without.
        ConfigError: a root and a directory of the server's own lie within each other, so that Landlock, whose
            grants only ever add up, would let tools write there.
    """
    _refuse_overlaps(roots, state_directories, runtime)
    enforceable = downgrade(features.landlock_abi, seccomp=features.seccomp)
    reached = available_layer(enforceable.abi, seccomp=features.seccomp)
    wanted = min(require, Layer.LANDLOCK, key=_ORDER.index)
    if _ORDER.index(reached) < _ORDER.index(wanted):
        missing = "; ".join(gap.text for gap in enforceable.gaps)
        raise KernelUnsupported(
            f"The policy requires sandbox layer {require}, this kernel does not enforce: {missing}."
        )
    named = (
        *(NamedRule(path, STATE, required=True) for path in state_directories),
        *(NamedRule(path, READ, required=False) for path in (*runtime.code, *runtime.system, *network.files, *files)),
        *(NamedRule(path, DEVICE, required=False) for path in runtime.devices),
    )
    return ServerProfile(
        prctl=features.system == "Linux",
        ruleset=_ruleset(enforceable, roots, named, network.ports) if enforceable.abi else None,
        filter=assemble(server_filter(features.machine, pid, network)) if features.seccomp else None,
        gaps=(*enforceable.gaps, *_nested(roots, enforceable), *_open_network(network, enforceable)),
    )


def _ruleset(
    enforceable: Enforceable, roots: Sequence[RootGrant], named: Sequence[NamedRule], ports: Sequence[int]
) -> Ruleset:
    fs = enforceable.fs
    return Ruleset(
        abi=enforceable.abi,
        handled_fs=fs,
        handled_net=enforceable.net,
        scoped=enforceable.scoped,
        descriptors=tuple(
            DescriptorRule(root.descriptor, (WRITE if root.mode is Mode.RW else READ) & fs) for root in roots
        ),
        paths=tuple(NamedRule(rule.path, rule.access & fs, rule.required) for rule in named),
        ports=tuple(ports) if enforceable.net else (),
    )


def _open_network(network: ServerNetwork, enforceable: Enforceable) -> tuple[Gap, ...]:
    """What the kernel does not hold the server to, of its connections to others."""
    gaps = []
    if network.resolves:
        gaps.append(Gap("udp", "UDP to any address, since names of others are looked up"))
    if network.connects and not enforceable.net:
        gaps.append(Gap("tcp_ports", "TCP connections to any port (Landlock below ABI 4)"))
    return tuple(gaps)


def _refuse_overlaps(roots: Sequence[RootGrant], state_directories: Sequence[str], runtime: Runtime) -> None:
    for directory in state_directories:
        for path in runtime.code:
            if _within(path, directory):
                raise ConfigError(f"The state directory {directory} holds fsserver's own code or Python: {path}.")
    for root in roots:
        for path in state_directories:
            if _within(path, root.path) or _within(root.path, path):
                raise ConfigError(f"Root {root.name} and the state directory {path} lie within each other.")
        for path in runtime.code:
            if root.mode is Mode.RW and _within(path, root.path):
                raise ConfigError(f"The writable root {root.name} holds fsserver's own code or Python: {path}.")


def _nested(roots: Sequence[RootGrant], enforceable: Enforceable) -> tuple[Gap, ...]:
    """Read-only roots that the kernel lets this process write to, because a writable root is around them."""
    if not enforceable.abi:
        return ()
    writable = [root for root in roots if root.mode is Mode.RW]
    return tuple(
        Gap(
            "nested_ro", f"root {inner.name} is read-only by the server's own checks only: it lies in root {outer.name}"
        )
        for inner in roots
        for outer in writable
        if inner.mode is Mode.RO and _within(inner.path, outer.path)
    )


def _within(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or beneath it, by components."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
