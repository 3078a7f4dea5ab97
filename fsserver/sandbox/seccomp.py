"""The server's system call filter, as data. Pure.

*Trust.* Whoever got the server to run their code makes any call with any arguments. A filter sees the number and the
arguments' bits, never what a pointer leads to; so a call is decided by its number, and by an argument only where that
is an integer.

*Invariant.* No other program runs, no other process is started, signalled, traced or read, no socket is made but what
`ServerNetwork` says, no device is commanded, nothing is mounted, and file metadata is changed only through a descriptor
that could be opened under Landlock.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from fsserver.kernel import seccomp
from fsserver.kernel.seccomp import Instruction
from fsserver.kernel.syscall_numbers import NEWEST, numbers
from fsserver.sandbox.profile import NO_NETWORK, ServerNetwork

# Refused with EPERM whatever the arguments, by what they would reach.
DENIED = MappingProxyType(
    {
        "programs": "execve execveat uselib",
        "processes": "fork vfork setns unshare",
        "signals": "tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal pidfd_getfd",
        "memory of others": """
            ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp migrate_pages move_pages
            userfaultfd""",
        "priority of others": """
            setpriority ioprio_set sched_setaffinity sched_setscheduler sched_setparam sched_setattr""",
        "sockets": "socket connect bind listen accept accept4",
        "shared memory and queues": """
            shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semctl semtimedop mq_open mq_unlink""",
        "mounts": """
            mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick
            mount_setattr statmount listmount quotactl quotactl_fd swapon swapoff""",
        "files by handle": "open_by_handle_at",
        "devices": "mknod mknodat",
        # By name these reach outside the roots, where Landlock does not look. By descriptor they stay: fchmod, fchown,
        # fsetxattr, fremovexattr, futimens. A descriptor that these accept was opened under Landlock.
        "metadata by name": """
            chmod fchmodat fchmodat2 chown lchown fchownat setxattr lsetxattr setxattrat removexattr lremovexattr
            removexattrat file_setattr utime utimes futimesat""",
        "watching others' files": "fanotify_init fanotify_mark inotify_add_watch",
        "the kernel's wide surfaces": """
            io_uring_setup io_uring_enter io_uring_register bpf perf_event_open keyctl add_key request_key
            lookup_dcookie personality modify_ldt""",
        "the machine": """
            init_module finit_module delete_module create_module query_module get_kernel_syms kexec_load kexec_file_load
            reboot acct syslog sethostname setdomainname settimeofday clock_settime clock_adjtime adjtimex vhangup iopl
            ioperm nfsservctl sysfs _sysctl ustat""",
    }
)

# clone(2)
CLONE_THREAD = 0x00010000
CLONE_NAMESPACES = 0x7E020000  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
# fcntl(2): F_SETOWN, F_SETSIG, F_SETOWN_EX. With them the kernel sends any signal to any process when a pipe is ready.
SIGNAL_OWNER = (8, 10, 15)
# ioctl(2): TCGETS, TCGETS2 and TIOCGWINSZ ask a terminal, FIONREAD and FIONBIO a pipe or socket, FIOCLEX and FIONCLEX
# are close-on-exec, FS_IOC_GETFLAGS asks a directory. Any other command may change a device, put characters into a
# terminal's input or, on any socket of root's, set up the network.
IOCTLS = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x80086601)
# socket(2): the type is in the low bits, SOCK_NONBLOCK and SOCK_CLOEXEC are above.
SOCKET_TYPE_MASK = 0xF
# sendto(2) and its like: connects, and Landlock is not asked.
MSG_FASTOPEN = 0x20000000

ALLOW: Instruction = (seccomp.RETURN, 0, 0, seccomp.SECCOMP_RET_ALLOW)
_KILL: Instruction = (seccomp.RETURN, 0, 0, seccomp.SECCOMP_RET_KILL_PROCESS)
EPERM: Instruction = (seccomp.RETURN, 0, 0, seccomp.SECCOMP_RET_ERRNO | errno.EPERM)
ENOSYS: Instruction = (seccomp.RETURN, 0, 0, seccomp.SECCOMP_RET_ERRNO | errno.ENOSYS)


# What a server does with sockets that listened before it was confined. Without listen: a new socket would get a port of
# the kernel's choice, which Landlock does not govern.
SERVING = frozenset({"accept", "accept4"})
# What it needs to connect to others. Landlock says to which TCP ports.
CONNECTING = frozenset({"socket", "connect"})


def denied_calls(network: ServerNetwork = NO_NETWORK) -> tuple[str, ...]:
    """The names of all calls that are refused whatever their arguments."""
    allowed = (SERVING if network.serves else frozenset()) | (CONNECTING if network.connects else frozenset())
    return tuple(name for calls in DENIED.values() for name in calls.split() if name not in allowed)


def server_filter(machine: str, pid: int, network: ServerNetwork = NO_NETWORK) -> tuple[Instruction, ...]:
    """The filter of a server on ``machine``, whose process id is and stays ``pid``. KeyError: unknown machine."""
    by_argument = _by_argument(pid)
    if network.connects:
        by_argument["socket"] = _internet(datagrams=network.resolves)
        by_argument |= {"sendto": _slow_open(3), "sendmsg": _slow_open(2), "sendmmsg": _slow_open(3)}
    return assemble(machine, by_argument, denied_calls(network))


def assemble(
    machine: str, by_argument: Mapping[str, Sequence[Instruction]], denied: Iterable[str]
) -> tuple[Instruction, ...]:
    """A filter that refuses ``denied`` with EPERM and asks a block of its own about each call of ``by_argument``.

    A call that Linux got after `NEWEST` is answered ENOSYS, as on a kernel that does not have it yet.
    """
    table = numbers(machine)
    program: list[Instruction] = [
        (seccomp.LOAD, 0, 0, seccomp.DATA_ARCH),
        (seccomp.JUMP_EQUAL, 1, 0, seccomp.AUDIT_ARCH[machine]),
        _KILL,  # another architecture's numbers mean other calls
        (seccomp.LOAD, 0, 0, seccomp.DATA_NR),
        (seccomp.JUMP_GREATER_OR_EQUAL, 0, 1, seccomp.X32_SYSCALL_BIT),
        EPERM,
    ]
    for name, block in by_argument.items():
        # Every block ends in a return on each of its paths, so the number is still loaded for whoever jumps over it.
        program += [(seccomp.JUMP_EQUAL, 0, len(block), table[name]), *block]
    for name in denied:
        if name in table:
            program += [(seccomp.JUMP_EQUAL, 0, 1, table[name]), EPERM]
    program += [(seccomp.JUMP_GREATER, 0, 1, NEWEST), ENOSYS, ALLOW]
    return tuple(program)


def _by_argument(pid: int) -> dict[str, Sequence[Instruction]]:
    """Calls that are decided by an integer argument. `int` arguments are 32 bits wide: the kernel drops the rest."""
    first, second = low(0), low(1)
    return {
        "clone3": CLONE3,
        "clone": [
            first,
            (seccomp.JUMP_ANY_BIT, 2, 0, CLONE_NAMESPACES),
            (seccomp.JUMP_ANY_BIT, 0, 1, CLONE_THREAD),
            ALLOW,
            EPERM,
        ],
        "socketpair": pairs_of(socket.SOCK_STREAM),
        "ioctl": [second, *only_if_in(IOCTLS)],
        "fcntl": [second, *unless_in(SIGNAL_OWNER)],
        "kill": [first, *only_if_in((pid,))],
        "tgkill": [first, *only_if_in((pid,))],
        "prlimit64": [first, *only_if_in((0, pid))],
        # A null name: the times of the descriptor itself.
        "utimensat": [
            second,
            (seccomp.JUMP_EQUAL, 0, 3, 0),
            (seccomp.LOAD, 0, 0, seccomp.DATA_ARGS + 8 * 1 + 4),
            (seccomp.JUMP_EQUAL, 0, 1, 0),
            ALLOW,
            EPERM,
        ],
    }


# glibc falls back to clone, whose flags are not behind a pointer.
CLONE3: Final = [ENOSYS]


def low(index: int) -> Instruction:
    """Load the low half of an argument."""
    return (seccomp.LOAD, 0, 0, seccomp.DATA_ARGS + 8 * index)


def pairs_of(*types: int) -> list[Instruction]:
    """socketpair(2) of these types: of connected ones. A datagram socket could be sent from to any address."""
    return [
        low(0),
        (seccomp.JUMP_EQUAL, 0, 2 + len(types), socket.AF_UNIX),
        low(1),
        (seccomp.AND, 0, 0, SOCKET_TYPE_MASK),
        *only_if_in(types),
    ]


def _internet(*, datagrams: bool) -> list[Instruction]:
    """socket(2) for TCP, and for UDP where names are looked up, over IPv4 and IPv6. Landlock governs ports of TCP only:
    a stream of another protocol, such as MPTCP, would reach any.
    """
    types = (socket.SOCK_STREAM, socket.SOCK_DGRAM) if datagrams else (socket.SOCK_STREAM,)
    protocols = (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP) if datagrams else (0, socket.IPPROTO_TCP)
    last = len(types)
    return [
        low(0),
        (seccomp.JUMP_EQUAL, 1, 0, socket.AF_INET),
        (seccomp.JUMP_EQUAL, 0, 2 + last, socket.AF_INET6),
        low(1),
        (seccomp.AND, 0, 0, SOCKET_TYPE_MASK),
        *((seccomp.JUMP_EQUAL, last - position, 0, value) for position, value in enumerate(types)),
        EPERM,
        low(2),
        *only_if_in(protocols),
    ]


def _slow_open(flags: int) -> list[Instruction]:
    """A call that sends, with its flags as this argument: on what is connected, or by UDP."""
    return [low(flags), (seccomp.JUMP_ANY_BIT, 0, 1, MSG_FASTOPEN), EPERM, ALLOW]


def only_if_in(values: tuple[int, ...]) -> list[Instruction]:
    last = len(values)
    return [
        *((seccomp.JUMP_EQUAL, last - position, 0, value) for position, value in enumerate(values)),
        EPERM,
        ALLOW,
    ]


def unless_in(values: tuple[int, ...]) -> list[Instruction]:
    last = len(values)
    return [
        *((seccomp.JUMP_EQUAL, last - position, 0, value) for position, value in enumerate(values)),
        ALLOW,
        EPERM,
    ]
