"""Ending a listening socket without a connection in between. Sources: socket(7), SO_ATTACH_FILTER; <linux/filter.h>.

Whoever connected is in the socket's queue, and closing it resets those that nobody accepted yet, whatever they sent. So
the kernel first has to begin no more connections, and then those that there are can be accepted.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

from fsserver.kernel import seccomp

SO_ATTACH_FILTER = 26

_LOAD_BYTE = 0x30  # BPF_LD | BPF_B | BPF_ABS
_FLAGS = 13  # of the TCP header, where the filter of a TCP socket begins
_SYN = 0x02

_WITHOUT_SYN = (
    (_LOAD_BYTE, 0, 0, _FLAGS),
    (seccomp.JUMP_ANY_BIT, 0, 1, _SYN),
    (seccomp.RETURN, 0, 0, 0),
    (seccomp.RETURN, 0, 0, 0xFFFFFFFF),
)


def begin_no_more(listener: socket.socket) -> bool:
    """Have the kernel drop what would begin a connection to this TCP listener. Connections that have begun are
    accepted as before; who wants another one tries again after a second, and is refused once the socket is closed.

    Returns:
        False: this kernel does not do it.
    """
    if sys.platform != "linux":
        return False
    code = seccomp.assemble(_WITHOUT_SYN)
    program = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; } with the pointer's natural alignment.
    header = struct.pack("@HP", len(_WITHOUT_SYN), ctypes.addressof(program))
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)
    except OSError:
        return False
    return True
