"""What a cell is, as data: what `cell_plan` decides, and `cell` builds. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fsserver.policy.compiled import Layer
from fsserver.sandbox.profile import Ruleset

HOME: Final = "/run/home"
TEMPORARY: Final = "/tmp"  # noqa: S108 - the command's own, not the host's
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - the same
TERMINALS: Final = "/dev/pts"
PROC: Final = "/proc"
OWN: Final = (PROC, TEMPORARY, SHARED_MEMORY, HOME, TERMINALS)
"""Where a cell mounts file systems of its own."""

Ids = tuple[int, int]
"""A user id and a group id."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the host as a command sees it.

    Attributes:
        source: absolute, without links.
        target: absolute, in the cell.
        identity: device and inode that must be found at ``source``; None where nobody but the host's administrator
            decides what is there.
        device: a device file; it is bound so that it works as one.
        owner: whose files these are on the host, if that is to be the command's own user in the cell.
        system: every user may reach it. The rest is opened by the launcher where that is root and commands are not.
    """

    source: str
    target: str
    writable: bool
    identity: tuple[int, int] | None = None
    device: bool = False
    owner: Ids | None = None
    system: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """Who a command is.

    Attributes:
        inside, outside: the ids that it sees, and what the host takes it for.
    """

    inside: Ids
    outside: Ids


@dataclass(frozen=True, slots=True)
class CellRoot:
    """A root in a cell: its name in the policy, and where it is there and on the host."""

    name: str
    path: str
    writable: bool


@dataclass(frozen=True, slots=True)
class CellProfile:
    """Everything that is the same for all cells of one kind. Cells with equal profiles serve each other's commands.

    Attributes:
        user: None to stay who the launcher is.
        binds: outer ones before those inside them. Empty where there is no mount namespace.
        hidden: directories that the binds would show and that the command is not granted, with device and inode.
        links: symbolic links, each an absolute path and what it says.
        files: what is written for the command alone, each an absolute path and its content.
        home: a kept home on the host; None for an empty one each time.
        ruleset: without the directories that are made for each cell anew.
        own_network: in a network namespace of its own, where there is nobody else.
        filter: the seccomp program, assembled; empty where the kernel has none.
        judged: what its commands say of a root is judged name by name by the server, so that a cell is made also where
            a root's protected names cannot all be covered, or the root is gone.
    """

    layer: Layer
    user: User | None
    roots: tuple[CellRoot, ...]
    binds: tuple[Bind, ...]
    hidden: tuple[tuple[str, tuple[int, int]], ...]
    links: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    home: str | None
    git_config: str
    own_network: bool
    ruleset: Ruleset
    filter: bytes
    memory_bytes: int
    processes: int
    judged: bool = False
