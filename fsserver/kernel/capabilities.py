"""Capabilities. Sources: capabilities(7), capset(2), PR_CAPBSET_DROP(2const), PR_CAP_AMBIENT(2const)."""

from __future__ import annotations

import struct

from fsserver.kernel import libc
from fsserver.kernel.syscall_numbers import number

# <linux/prctl.h>, <linux/capability.h>
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
LINUX_CAPABILITY_VERSION_3 = 0x20080522
HIGHEST = 63  # capabilities are 64 bits; the kernel answers EINVAL above its last one


def drop_all() -> None:
    """Give up every capability in every set, the bounding set included. Cannot be undone.

    The bounding set needs CAP_SETPCAP; without it that set is left, and no_new_privs is what keeps it without effect.
    Raises `OSError`.
    """
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    try:
        for capability in range(HIGHEST + 1):
            libc.prctl(PR_CAPBSET_DROP, capability)
    except OSError:
        pass  # EINVAL: past the kernel's last one. EPERM: not ours to drop
    header = struct.pack("=Ii", LINUX_CAPABILITY_VERSION_3, 0)
    libc.syscall(number("capset"), header, bytes(24))


def effective() -> int:
    """The effective set as bits, from ``/proc/self/status`` (proc(5)). Raises `OSError`."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    raise OSError("/proc/self/status has no CapEff")
