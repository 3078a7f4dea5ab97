"""From a command of the policy and what this machine offers to the profile of its cells. Pure: opens nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fsserver.kernel import seccomp
from fsserver.kernel.features import Features
from fsserver.kernel.landlock import AccessFs, AccessNet
from fsserver.policy.compiled import BuiltinProgram, Command, Layer, Mode, Network, PinnedProgram, Program
from fsserver.sandbox.cell_profile import (
    HOME,
    OWN,
    SHARED_MEMORY,
    TEMPORARY,
    TERMINALS,
    Bind,
    CellProfile,
    CellRoot,
    Ids,
    User,
)
from fsserver.sandbox.command_filter import command_filter
from fsserver.sandbox.downgrade import downgrade
from fsserver.sandbox.host import Host
from fsserver.sandbox.profile import NamedRule, Ruleset

EXECUTE: Final = AccessFs.EXECUTE | AccessFs.READ_FILE | AccessFs.READ_DIR
# All that a program does to files, in a root or in its own directories. Not device files: it may make none.
CHANGE: Final = (
    EXECUTE
    | AccessFs.WRITE_FILE
    | AccessFs.TRUNCATE
    | AccessFs.REMOVE_DIR
    | AccessFs.REMOVE_FILE
    | AccessFs.MAKE_DIR
    | AccessFs.MAKE_REG
    | AccessFs.MAKE_SYM
    | AccessFs.MAKE_SOCK
    | AccessFs.MAKE_FIFO
    | AccessFs.REFER
)
# Without IOCTL_DEV a terminal cannot be asked for its size, or given one.
DEVICE: Final = AccessFs.READ_FILE | AccessFs.WRITE_FILE | AccessFs.IOCTL_DEV
READ: Final = AccessFs.READ_FILE | AccessFs.READ_DIR

# What Landlock need not look at where a search of fsserver's own opens a hundred thousand files: all that such a cell
# shows may be read, and its roots are mounted read-only. To look costs an eighth of the search: a file that is opened
# for reading is followed up to "/", to see whether it might be cut too.
_READING: Final = EXECUTE | AccessFs.TRUNCATE

USER_NAME: Final = "user"


@dataclass(frozen=True, slots=True)
class RootFacts:
    """A root as it was opened.

    Attributes:
        path: absolute, without links.
        identity: device and inode.
        owner: whose directory it is.
        protected: the policy has rules for names in it.
        spellings: absolute paths by which it is known, ``path`` among them.
    """

    name: str
    path: str
    identity: tuple[int, int]
    owner: Ids
    protected: bool
    spellings: Sequence[str] = ()


def plan_cell(
    command: Command,
    *,
    layer: Layer,
    roots: Mapping[str, RootFacts],
    host: Host,
    launcher: Ids,
    user: User | None,
    mapped: bool,
    kept_home: tuple[str, Ids] | None,
    hidden: tuple[tuple[str, tuple[int, int]], ...],
    features: Features,
) -> CellProfile:
    """The profile of ``command``'s cells in ``layer``.

    Args:
        launcher: who the launcher is.
        user: who the command is; None to stay that.
        mapped: the owner of each root is shown as that user, by mapped mounts.
        kept_home: the directory that is kept for it and its owner, where it has one.
        hidden: as `CellProfile` has it.
    """
    granted = [(roots[name], mode is Mode.RW) for name, mode in command.roots.items()]
    full = layer is Layer.FULL
    own_network = full and command.network is Network.NONE
    inside = user.inside if user is not None else launcher
    binds = _binds(command, granted, host, full=full, mapped=mapped, kept_home=kept_home)
    return CellProfile(
        layer=layer,
        user=user,
        roots=tuple(CellRoot(root.name, root.path, writable) for root, writable in granted),
        binds=binds if full else (),
        hidden=hidden,
        links=(*host.links, *_etc_links(host), *_spelt(granted, binds, host)) if full else (),
        files=(*_files(inside), *_etc_files(host)) if full else (),
        home=kept_home[0] if kept_home is not None else None,
        git_config=git_config(host.git_identity),
        own_network=own_network,
        ruleset=_ruleset(command, granted, binds, features, full=full),
        filter=_filter(command, features, layer),
        memory_bytes=command.limits.memory_bytes,
        processes=command.limits.processes,
        judged=command.own,
    )


def _filter(command: Command, features: Features, layer: Layer) -> bytes:
    if not features.seccomp:
        return b""
    full = layer is Layer.FULL
    # Without a file system of its own a command would reach every socket of the host: the user's session, docker's.
    everywhere = (
        layer is Layer.LANDLOCK and AccessFs.RESOLVE_UNIX not in downgrade(features.landlock_abi, seccomp=True).fs
    )
    program = command_filter(
        features.machine,
        # In a network namespace of its own a command may serve and ask itself.
        internet=full or command.network is Network.FULL,
        unix_sockets=command.unix_sockets and not everywhere,
        own_namespaces=full,
        makes_files=not command.own,
    )
    return seccomp.assemble(program)


def _binds(
    command: Command,
    roots: Sequence[tuple[RootFacts, bool]],
    host: Host,
    *,
    full: bool,
    mapped: bool,
    kept_home: tuple[str, Ids] | None,
) -> tuple[Bind, ...]:
    etc = [(target, source) for target, source in host.etc if not full or _is_bound(host, target, source)]
    if command.network is Network.FULL:
        etc.extend(host.network_etc)  # bound, since they change with the network
    binds = [Bind(path, path, writable=False, system=True) for path in host.directories]
    binds += [Bind(path, path, writable=False) for path in command.runtime]
    binds += _program(command.program, host)
    binds += [Bind(source, target, writable=False, system=True) for target, source in etc]
    binds += [Bind(path, path, writable=True, device=True, system=True) for path in host.devices]
    if kept_home is not None:
        path, owner = kept_home
        binds.append(Bind(path, HOME, writable=True, owner=owner if mapped else None))
    binds += [
        Bind(root.path, root.path, writable, root.identity, owner=root.owner if mapped else None)
        for root, writable in roots
    ]
    # An outer directory first, or it would hide what was put inside it. Of two on one place the later is meant.
    by_target = {bind.target: bind for bind in binds}
    return tuple(by_target[target] for target in sorted(by_target, key=lambda path: path.split("/")))


def _in_system(host: Host, path: str) -> bool:
    return any(path.startswith(f"{directory}/") for directory in host.directories)


def _is_bound(host: Host, target: str, source: str) -> bool:
    return not _in_system(host, source) and target not in host.contents


def _etc_links(host: Host) -> tuple[tuple[str, str], ...]:
    """What lies in a directory that the command has anyway."""
    return tuple((target, source) for target, source in host.etc if _in_system(host, source))


def _spelt(roots: Sequence[tuple[RootFacts, bool]], binds: Sequence[Bind], host: Host) -> Iterator[tuple[str, str]]:
    """Roots by the paths that the policy has for them: clients write those, and so do scripts in their first lines.

    None within a place that is mounted, which the cell's root directory does not show, nor around one.
    """
    taken = ["/etc", "/dev", "/run", *OWN, *(bind.target for bind in binds), *(link for link, _ in host.links)]
    for root, _ in sorted(roots, key=lambda each: len(each[0].path)):  # an outer root's link leads to the inner one
        for path in root.spellings:
            if not any(f"{path}/".startswith(f"{each}/") or each.startswith(f"{path}/") for each in taken):
                taken.append(path)
                yield path, root.path


def _etc_files(host: Host) -> tuple[tuple[str, str], ...]:
    return tuple(
        (target, host.contents[target])
        for target, source in host.etc
        if target in host.contents and not _in_system(host, source)
    )


def _program(program: Program, host: Host) -> list[Bind]:
    """The program's installation and, where its name is not one of the system's, its file."""
    if isinstance(program, BuiltinProgram) and program.beside is not None:
        program = program.beside
    if not isinstance(program, PinnedProgram):
        return []
    binds = [Bind(program.prefix, program.prefix, writable=False)] if program.prefix is not None else []
    seen = [*host.directories, *(link for link, _ in host.links), *(bind.target for bind in binds)]
    if not any(program.path.startswith(f"{directory}/") for directory in seen):
        binds.append(Bind(program.path, program.path, writable=False, identity=(program.device, program.inode)))
    return binds


def _files(inside: Ids) -> tuple[tuple[str, str], ...]:
    uid, gid = inside
    return (
        ("/etc/passwd", f"{USER_NAME}:x:{uid}:{gid}::{HOME}:/bin/sh\n"),
        ("/etc/group", f"{USER_NAME}:x:{gid}:\n"),
    )


def git_config(identity: tuple[str, str]) -> str:
    """What git needs to know: who commits, and that a root is its user's although another owner may be shown."""
    name, address = identity
    return (
        f'[user]\n\tname = "{name or USER_NAME}"\n\temail = "{address or USER_NAME + "@localhost"}"\n'
        '[safe]\n\tdirectory = "*"\n'
    )


def _ruleset(
    command: Command,
    roots: Sequence[tuple[RootFacts, bool]],
    binds: Sequence[Bind],
    features: Features,
    *,
    full: bool,
) -> Ruleset:
    enforceable = downgrade(features.landlock_abi, seccomp=features.seccomp)
    fs = enforceable.fs
    if full and command.own:
        fs &= ~_READING
    rights = {
        bind.target if full else bind.source: DEVICE if bind.device else CHANGE if bind.writable else EXECUTE
        for bind in binds
    }
    if full:
        # Nothing but its binds and directories of its own is below its root, and all of it may be read and executed.
        rights = {path: access for path, access in rights.items() if access != EXECUTE}
        rights |= dict.fromkeys((HOME, TEMPORARY, SHARED_MEMORY), CHANGE)
        rights |= {"/": EXECUTE, TERMINALS: DEVICE | AccessFs.READ_DIR}
    else:
        rights |= {"/etc/passwd": READ, "/etc/group": READ, "/proc": READ}
    required = set() if command.own else {root.path for root, _ in roots}  # a search does without what is gone
    unreachable = command.network is Network.NONE and not full
    return Ruleset(
        abi=enforceable.abi,
        handled_fs=fs,
        handled_net=enforceable.net if unreachable else AccessNet(0),
        scoped=enforceable.scoped,
        descriptors=(),
        paths=tuple(
            NamedRule(path, access & fs, required=path in required) for path, access in rights.items() if access & fs
        ),
    )
