"""Seccomp filters: constants of their classic BPF, and installing one. Sources: seccomp(2), <linux/seccomp.h>,
<linux/audit.h>, <linux/filter.h>.
"""

from __future__ import annotations

import array
import errno
import struct
from collections.abc import Sequence
from types import MappingProxyType

from fsserver.kernel import libc, syscall_numbers

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2

SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000

# <linux/audit.h>: the value of seccomp_data.arch for native 64-bit calls.
AUDIT_ARCH = MappingProxyType({"x86_64": 0xC000003E, "aarch64": 0xC00000B7})
# On x86_64, calls of the x32 ABI carry this bit and the same arch.
X32_SYSCALL_BIT = 0x40000000

# struct seccomp_data { int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }; both architectures little-endian.
DATA_NR = 0
DATA_ARCH = 4
DATA_ARGS = 16

# <linux/bpf_common.h>, combined as the filter uses them.
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
JUMP_GREATER_OR_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

# One instruction: code, jump if true, jump if false, operand.
Instruction = tuple[int, int, int, int]
_INSTRUCTION = struct.Struct("=HBBI")


def available(machine: str) -> bool:
    """Whether this kernel takes filters that return an errno, on an architecture that we have numbers for."""
    if machine not in syscall_numbers.MACHINES:
        return False
    action = struct.pack("=I", SECCOMP_RET_ERRNO)
    try:
        libc.syscall(syscall_numbers.numbers(machine)["seccomp"], SECCOMP_GET_ACTION_AVAIL, 0, action)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            return False
        raise
    return True


def assemble(program: Sequence[Instruction]) -> bytes:
    """The program as the kernel reads it: an array of struct sock_filter."""
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def install(code: bytes) -> None:
    """Put the calling thread, and every thread and process it starts from now on, under the filter.

    Needs no_new_privs (or CAP_SYS_ADMIN). Cannot be undone. Raises `OSError`, EINVAL for a malformed program.

    Args:
        code: from `assemble`.
    """
    program = array.array("B", code)
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; } with the pointer's natural alignment.
    header = struct.pack("@HP", len(code) // _INSTRUCTION.size, program.buffer_info()[0])
    libc.syscall(syscall_numbers.number("seccomp"), SECCOMP_SET_MODE_FILTER, 0, header)
