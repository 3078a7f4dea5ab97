"""What this kernel offers, asked anew each time: an answer is only true until the next filter or ruleset."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from fsserver.kernel import constants as c
from fsserver.kernel import landlock, libc, seccomp, syscall_numbers

CLONE_NEWUSER = 0x10000000  # unshare(2)


@dataclass(frozen=True, slots=True)
class Features:
    """What the server's own confinement and its path resolver depend on.

    Attributes:
        system, release, machine: as uname(2) has them.
        landlock_abi: 0 is none.
        seccomp: filters work here, on an architecture that we have call numbers for.
        openat2: openat2(2) answers, so paths can be resolved by the kernel.
        proc: ``/proc/self/fd`` can be read.
    """

    system: str
    release: str
    machine: str
    landlock_abi: int
    seccomp: bool
    openat2: bool
    proc: bool


def probe() -> Features:
    """Ask the kernel. Costs a few system calls and is not cached. Raises nothing that a kernel can cause by lacking."""
    name = os.uname()
    linux = name.sysname == "Linux"
    return Features(
        system=name.sysname,
        release=name.release,
        machine=name.machine,
        landlock_abi=landlock.abi() if linux else 0,
        seccomp=linux and seccomp.available(name.machine),
        openat2=linux and openat2_answers(),
        proc=linux and os.path.isdir("/proc/self/fd"),
    )


def openat2_answers() -> bool:
    """Whether openat2(2) is there now: a structure of size 0 is EINVAL there, ENOSYS or EPERM where it is not."""
    try:
        libc.syscall(c.SYS_OPENAT2, -1, b".", b"", 0)
    except OSError as error:
        return error.errno == errno.EINVAL
    return False


def user_namespaces() -> bool:
    """Whether this user may create a user namespace; tried in a forked child. Call it in a process without threads."""
    name = os.uname()
    if name.sysname != "Linux" or name.machine not in syscall_numbers.MACHINES:
        return False
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            libc.syscall(syscall_numbers.numbers(name.machine)["unshare"], CLONE_NEWUSER)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def cgroup() -> str:
    """Which control groups could bound a command: ``v2``, ``v1 (pids, memory)`` …, or ``none``.

    Says what is mounted, not whether this user may write to it.
    """
    try:
        with open("/sys/fs/cgroup/cgroup.controllers", encoding="ascii") as stream:
            return f"v2 ({', '.join(stream.read().split()) or 'no controllers'})"
    except OSError:
        found = [name for name in ("pids", "memory", "cpu") if os.path.isdir(f"/sys/fs/cgroup/{name}")]
        return f"v1 ({', '.join(found)})" if found else "none"
