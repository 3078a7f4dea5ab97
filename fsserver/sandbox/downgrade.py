"""What each Landlock ABI can enforce, and what is left open without it. Pure. Source: landlock(7)."""

from __future__ import annotations

from dataclasses import dataclass

from fsserver.kernel.landlock import AccessFs, AccessNet, Scope
from fsserver.sandbox.profile import Gap

NEWEST_ABI = 9

_ABI_1 = AccessFs((1 << 13) - 1)
_FS_ADDED = {2: AccessFs.REFER, 3: AccessFs.TRUNCATE, 5: AccessFs.IOCTL_DEV, 9: AccessFs.RESOLVE_UNIX}

# These stay open in every case: no hook of Landlock sees stat, and seccomp cannot read a path.
STAT = Gap("stat", "names, sizes, times, attributes and link targets outside the roots can be seen")
# Nor of these on a descriptor, and the server needs them there; whatever may be read can be opened to get one.
METADATA = Gap(
    "metadata",
    "mode, owner, times and extended attributes of whatever may be read can be changed through a descriptor, also in "
    "read-only roots and of the server's own code",
)
NO_LANDLOCK = Gap("landlock", "the kernel does not hold the server to its roots (no Landlock); only its own checks do")
NO_SECCOMP = Gap("seccomp", "UDP and unix sockets, chmod and chown outside the roots, and the kernel's other calls")

_ALWAYS = (METADATA, STAT)
_MISSING = {
    2: Gap("refer", "moving a file into another directory is not possible (Landlock below ABI 2)"),
    3: Gap("truncate", "a file outside the roots can be cut to zero length (Landlock below ABI 3)"),
    5: Gap("ioctl_dev", "ioctl on device files inside a root (Landlock below ABI 5)"),
}
# What these ABIs stop, the seccomp filter stops too: a gap only where both are missing.
_MISSING_WITHOUT_SECCOMP = {
    4: Gap("tcp", "TCP connections (Landlock below ABI 4)"),
    6: Gap("signals", "signals and abstract unix sockets to other processes (Landlock below ABI 6)"),
}


@dataclass(frozen=True, slots=True)
class Enforceable:
    """The rights that a ruleset can handle, and what remains open."""

    abi: int
    fs: AccessFs
    net: AccessNet
    scoped: Scope
    gaps: tuple[Gap, ...]


def downgrade(kernel_abi: int, *, seccomp: bool) -> Enforceable:
    """Everything that a kernel with this Landlock ABI (0: none) can enforce. A newer kernel counts as `NEWEST_ABI`."""
    abi = min(kernel_abi, NEWEST_ABI)
    if abi < 1:
        without = (NO_LANDLOCK, *_ALWAYS) if seccomp else (NO_LANDLOCK, NO_SECCOMP, *_ALWAYS)
        return Enforceable(0, AccessFs(0), AccessNet(0), Scope(0), without)
    fs = _ABI_1
    for since, rights in _FS_ADDED.items():
        if abi >= since:
            fs |= rights
    missing = _MISSING if seccomp else {**_MISSING, **_MISSING_WITHOUT_SECCOMP}
    gaps = tuple(gap for since, gap in sorted(missing.items()) if abi < since)
    return Enforceable(
        abi=abi,
        fs=fs,
        net=AccessNet.BIND_TCP | AccessNet.CONNECT_TCP if abi >= 4 else AccessNet(0),
        scoped=Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL if abi >= 6 else Scope(0),
        gaps=(*gaps, *_ALWAYS) if seccomp else (*gaps, NO_SECCOMP, *_ALWAYS),
    )
