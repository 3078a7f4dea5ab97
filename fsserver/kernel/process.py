"""What a process can change about itself. Sources: PR_SET_NO_NEW_PRIVS(2const), PR_SET_DUMPABLE(2const),
PR_SET_PDEATHSIG(2const), PR_SET_CHILD_SUBREAPER(2const), close_range(2), proc(5).
"""

from __future__ import annotations

import os

from fsserver.kernel import libc
from fsserver.kernel.syscall_numbers import number

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_GET_SECCOMP = 21
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39

SUID_DUMP_DISABLE = 0
SUID_DUMP_USER = 1
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


def set_dumpable() -> None:
    """``/proc/PID`` belongs to the process's own user again, so that it may write its user map. Raises `OSError`."""
    libc.prctl(PR_SET_DUMPABLE, SUID_DUMP_USER)


def end_with_parent(signal: int) -> None:
    """Get ``signal`` when the thread that forked this process ends. A later change of user takes this back.

    A parent that ended before is not noticed: ask for it afterwards. Raises `OSError`.
    """
    libc.prctl(PR_SET_PDEATHSIG, signal)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ended. Raises `OSError`."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def close_all_but(kept: tuple[int, ...]) -> None:
    """Close every descriptor that is not in ``kept``. Raises `OSError`, ENOSYS before Linux 5.9."""
    first = 0
    for descriptor in sorted(kept):
        if descriptor > first:
            _close_range(first, descriptor - 1)
        first = descriptor + 1
    _close_range(first, 0xFFFFFFFF)


def _close_range(first: int, last: int) -> None:
    libc.syscall(number("close_range"), first, last, 0)


def dumpable() -> bool:
    return libc.prctl(PR_GET_DUMPABLE) != SUID_DUMP_DISABLE


def seccomp_filtered() -> bool:
    """Whether a seccomp filter is in force for this thread."""
    return libc.prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER


def thread_count() -> int:
    """How many threads this process has, as the kernel counts them (``/proc/self/task``). Raises `OSError`."""
    return len(os.listdir("/proc/self/task"))
