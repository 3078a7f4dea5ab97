"""How a server is confined, as data: what `plan` decides, what `confinement` applies, what was then in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fsserver.kernel.landlock import AccessFs, AccessNet, Scope
from fsserver.policy.compiled import Layer, Mode


@dataclass(frozen=True, slots=True)
class RootGrant:
    """One root that the server serves.

    Attributes:
        descriptor: of the opened directory, O_PATH will do. The grant is for this object, whatever its name leads to.
        path: its absolute path without links, for comparing with the other directories.
    """

    name: str
    descriptor: int
    path: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the server itself reads while it works. Absolute paths that existed when they were collected.

    Attributes:
        code: Python, its packages, fsserver: whoever writes there decides what the server does.
        system: shared libraries, locales, time zones and single files of the system.
        devices: device files, opened for reading and writing.
    """

    code: tuple[str, ...]
    system: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerNetwork:
    """What the server may do with the network. Its listening sockets were bound before it is confined.

    Attributes:
        serves: it accepts connections on those.
        ports: the TCP ports that it may connect to, at any address: Landlock looks at ports only.
        resolves: some of its peers have names, so it asks name servers, over UDP.
        files: what it reads for that: certificates of authorities, and how names are resolved. Absolute.
    """

    serves: bool = False
    ports: tuple[int, ...] = ()
    resolves: bool = False
    files: tuple[str, ...] = ()

    @property
    def connects(self) -> bool:
        return bool(self.ports)


NO_NETWORK: Final = ServerNetwork()


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that the kernel does not enforce here. ``code`` is stable, ``text`` completes "not enforced: …"."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class DescriptorRule:
    """What is allowed beneath an opened directory."""

    descriptor: int
    access: AccessFs


@dataclass(frozen=True, slots=True)
class NamedRule:
    """``required``: the directory must be there; otherwise a missing one is simply not granted."""

    path: str
    access: AccessFs
    required: bool


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A Landlock ruleset: the rights that are denied unless a rule grants them, and the rules. ``ports``: of TCP, to
    connect to.
    """

    abi: int
    handled_fs: AccessFs
    handled_net: AccessNet
    scoped: Scope
    descriptors: tuple[DescriptorRule, ...]
    paths: tuple[NamedRule, ...]
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """Everything that `confinement.confine` does. None: the kernel has no such layer.

    Attributes:
        prctl: whether the system has no_new_privs and dumpable (Linux).
        filter: the seccomp program, assembled.
        gaps: what stays open although everything was applied.
    """

    prctl: bool
    ruleset: Ruleset | None
    filter: bytes | None
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What is in force, read back from the kernel where it can be asked; for the log, the audit header and doctor.

    Attributes:
        landlock_abi: the ABI whose rights are in force, 0 for none.
        gaps: what is not enforced.
    """

    landlock_abi: int
    seccomp: bool
    no_new_privs: bool
    dumpable: bool
    gaps: tuple[Gap, ...]

    @property
    def layer(self) -> Layer:
        return available_layer(self.landlock_abi, seccomp=self.seccomp)

    def as_record(self) -> dict[str, str | int | bool | list[str]]:
        """For the audit header: plain data, gaps by their codes."""
        return {
            "layer": str(self.layer),
            "landlock_abi": self.landlock_abi,
            "seccomp": self.seccomp,
            "no_new_privs": self.no_new_privs,
            "dumpable": self.dumpable,
            "not_enforced": [gap.code for gap in self.gaps],
        }

    def __str__(self) -> str:
        parts = [
            f"Landlock ABI {self.landlock_abi}" if self.landlock_abi else "no Landlock",
            "seccomp" if self.seccomp else "no seccomp",
            "no_new_privs" if self.no_new_privs else "new privileges possible",
            "dumpable" if self.dumpable else "not dumpable",
        ]
        open_text = "; ".join(gap.text for gap in self.gaps)
        return f"layer {self.layer} ({', '.join(parts)})" + (f"; not enforced: {open_text}" if open_text else "")


# Below ABI 3 a file outside the roots can still be truncated, so that is not the layer called "landlock".
LEAST_LANDLOCK_ABI = 3


def available_layer(landlock_abi: int, *, seccomp: bool) -> Layer:
    """The layer that a server reaches with this much. `Layer.FULL` is for commands: mounts do not confine a server."""
    return Layer.LANDLOCK if landlock_abi >= LEAST_LANDLOCK_ABI and seccomp else Layer.NONE
