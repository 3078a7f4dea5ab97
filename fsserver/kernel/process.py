"""What a process can switch off in itself. Sources: PR_SET_NO_NEW_PRIVS(2const), PR_SET_DUMPABLE(2const), proc(5)."""

from __future__ import annotations

import os

from fsserver.kernel import libc

# <linux/prctl.h>
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_GET_SECCOMP = 21
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39

SUID_DUMP_DISABLE = 0
SECCOMP_MODE_FILTER = 2


def set_no_new_privs() -> None:
    """No execve gains privileges any more, here and in every child. Cannot be undone. Raises `OSError`."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1)


def no_new_privs() -> bool:
    return libc.prctl(PR_GET_NO_NEW_PRIVS) == 1


def set_not_dumpable() -> None:
    """No core dumps, no ptrace by others of this user; ``/proc/PID`` belongs to root. Raises `OSError`.

    The process still reads its own ``/proc/self/fd``: the kernel lets threads of one process see each other.
    """
    libc.prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE)


def dumpable() -> bool:
    return libc.prctl(PR_GET_DUMPABLE) != SUID_DUMP_DISABLE


def seccomp_filtered() -> bool:
    """Whether a seccomp filter is in force for this thread."""
    return libc.prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER


def thread_count() -> int:
    """How many threads this process has, as the kernel counts them (``/proc/self/task``). Raises `OSError`."""
    return len(os.listdir("/proc/self/task"))
