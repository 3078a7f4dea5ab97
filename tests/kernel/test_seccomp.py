"""The server's filter on this kernel: the exact errno of each call, tried in a child that has only the filter."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import re
import resource
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fsserver.kernel import libc, process, seccomp
from fsserver.kernel.features import probe
from fsserver.kernel.syscall_numbers import MACHINES, NEWEST, names, numbers
from fsserver.sandbox.seccomp import denied_calls, server_filter
from tests.support import in_child, require_kernel

USERS = pytest.mark.parametrize("unprivileged", [False, True], ids=["same-user", "unprivileged"])

MACHINE = platform.machine()
GETPID = {"x86_64": 39, "aarch64": 172}
FIONREAD = 0x541B
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
F_SETSIG = 10
CLONE_NEWUSER, CLONE_VM, CLONE_SIGHAND = 0x10000000, 0x100, 0x800


@pytest.fixture(autouse=True)
def _seccomp() -> None:
    if not seccomp.available(MACHINE):
        require_kernel(f"seccomp filters on {MACHINE}")


def install() -> None:
    process.set_no_new_privs()
    seccomp.install(seccomp.assemble(server_filter(MACHINE, os.getpid())))


def outcome(call: Callable[[], object]) -> str:
    """``ok`` or the errno's name."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def raw(name: str, *arguments: int | None) -> Callable[[], object]:
    return lambda: libc.syscall(numbers(MACHINE)[name], *arguments)


@USERS
def test_every_denied_call_is_eperm(unprivileged: bool) -> None:
    def confined() -> dict[str, str]:
        install()
        # All arguments are 0: if the filter let one through, it would be an error or do nothing.
        return {name: outcome(raw(name, 0, 0, 0, 0, 0, 0)) for name in denied_calls() if name in numbers(MACHINE)}

    found = in_child(confined, unprivileged=unprivileged)
    assert found == dict.fromkeys(found, "EPERM")
    assert len(found) > 80


class Row(NamedTuple):
    attempt: str
    call: Callable[[], object]
    confined: str
    free: str | None = "ok"  # what the same call gives without the filter; None: not tried, it would take effect


def tty_ioctl(command: int) -> None:
    reader, _ = os.pipe()
    libc.syscall(numbers(MACHINE)["ioctl"], reader, command, 0)


def parent_limit() -> None:
    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)


def set_times(by_name: bool) -> None:
    descriptor = os.memfd_create("times")
    os.utime(f"/proc/self/fd/{descriptor}" if by_name else descriptor)


def start_thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


ROWS = [
    Row("start a thread", start_thread, "ok"),
    Row("clone3", raw("clone3", None, 0), "ENOSYS", "EINVAL"),
    Row("clone a process", raw("clone", signal.SIGCHLD, 0, 0, 0, 0), "EPERM", None),
    Row("clone sharing memory but no thread", raw("clone", CLONE_VM | CLONE_SIGHAND, 0, 0, 0, 0), "EPERM", None),
    Row("clone into a user namespace", raw("clone", CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0), "EPERM", None),
    Row("clone flags above 32 bits", raw("clone", 1 << 40 | signal.SIGCHLD, 0, 0, 0, 0), "EPERM", None),
    Row("a pair of streams", socket.socketpair, "ok"),
    Row("a pair of datagram sockets", lambda: socket.socketpair(type=socket.SOCK_DGRAM), "EPERM"),
    Row("a pair of packet sockets", lambda: socket.socketpair(type=socket.SOCK_SEQPACKET), "EPERM"),
    Row("a pair of another family", raw("socketpair", socket.AF_INET, socket.SOCK_STREAM, 0, 0), "EPERM", "EFAULT"),
    Row("a unix socket", lambda: socket.socket(socket.AF_UNIX), "EPERM"),
    Row("a TCP socket", lambda: socket.socket(socket.AF_INET), "EPERM"),
    Row("a UDP socket", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), "EPERM"),
    Row("a netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), "EPERM"),
    Row("an ioctl", lambda: fcntl.ioctl(os.pipe()[0], FIONREAD, b"\0" * 4), "ok"),
    Row("an ioctl of a terminal that sets something", lambda: tty_ioctl(0x540E), "EPERM", "ENOTTY"),
    Row(
        "an ioctl that sets up the network",
        lambda: fcntl.ioctl(socket.socketpair()[0], 0x8914, b"\0" * 40),
        "EPERM",
        None,
    ),
    Row("close-on-exec, by ioctl and by fcntl", lambda: os.set_inheritable(os.pipe()[0], False), "ok"),
    Row(
        "signals to another process through a pipe",
        lambda: fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid()),
        "EPERM",
    ),
    Row(
        "another signal than SIGIO through a pipe", lambda: fcntl.fcntl(os.pipe()[0], F_SETSIG, signal.SIGKILL), "EPERM"
    ),
    Row("TIOCSTI", lambda: tty_ioctl(TIOCSTI), "EPERM", "ENOTTY"),
    Row("TIOCLINUX", lambda: tty_ioctl(TIOCLINUX), "EPERM", "ENOTTY"),
    Row("TIOCSTI with bits above 32", lambda: tty_ioctl(1 << 32 | TIOCSTI), "EPERM", "ENOTTY"),
    Row("signal itself", lambda: os.kill(os.getpid(), 0), "ok"),
    Row("signal its thread", lambda: signal.raise_signal(signal.SIGCHLD), "ok"),
    Row("signal its group", lambda: os.kill(0, 0), "EPERM"),
    Row("signal everybody", lambda: os.kill(-1, 0), "EPERM", None),
    Row("signal its parent", lambda: os.kill(os.getppid(), 0), "EPERM", None),
    Row("signal a thread of its parent", raw("tgkill", os.getpid(), os.getpid(), 0), "EPERM", None),
    Row("its own limits", lambda: resource.getrlimit(resource.RLIMIT_NOFILE), "ok"),
    Row("its own limits by process id", lambda: resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE), "ok"),
    Row("its parent's limits", parent_limit, "EPERM", None),
    Row("times of a descriptor", lambda: set_times(by_name=False), "ok"),
    Row("times of a name", lambda: set_times(by_name=True), "EPERM"),
    Row("a call newer than the table", lambda: libc.syscall(NEWEST + 1, 0, 0, 0), "ENOSYS", None),
    Row("a number that no kernel has", lambda: libc.syscall(100_000), "ENOSYS", "ENOSYS"),
    Row("its process id", lambda: libc.syscall(GETPID[MACHINE]), "ok"),
]


@USERS
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.attempt)
def test_a_call_is_decided_by_its_arguments(row: Row, unprivileged: bool) -> None:
    def confined() -> str:
        install()
        return outcome(row.call)

    assert in_child(confined, unprivileged=unprivileged) == row.confined
    if row.free is not None:
        assert in_child(lambda: outcome(row.call), unprivileged=unprivileged) == row.free


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is an ABI of x86_64")
def test_the_x32_abi_is_refused() -> None:
    def confined() -> str:
        install()
        return outcome(lambda: libc.syscall(seccomp.X32_SYSCALL_BIT + GETPID["x86_64"]))

    assert in_child(confined) == "EPERM"


@pytest.mark.skipif(MACHINE != "x86_64", reason="int 0x80 is an instruction of x86_64")
def test_a_call_by_another_architectures_numbers_kills() -> None:
    # Without the filter this is getpid of 32-bit x86, or SIGSEGV where the kernel has no 32-bit calls.
    child = os.fork()
    if child == 0:
        install()
        _int_0x80(20)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (-signal.SIGSYS, -signal.SIGSEGV)


def _int_0x80(number: int) -> None:
    import mmap  # noqa: PLC0415 - in the child

    code = bytes([0xB8]) + number.to_bytes(4, "little") + bytes([0xCD, 0x80, 0xC3])  # mov eax, n; int 0x80; ret
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def test_openat2_is_probed_anew_after_a_filter() -> None:
    """A filter of somebody else may take openat2 away; an answer from before would be wrong."""
    if not probe().openat2:
        require_kernel("openat2")
    refuse_openat2 = [
        (seccomp.LOAD, 0, 0, seccomp.DATA_NR),
        (seccomp.JUMP_EQUAL, 0, 1, 437),
        (seccomp.RETURN, 0, 0, seccomp.SECCOMP_RET_ERRNO | errno.EPERM),
        (seccomp.RETURN, 0, 0, seccomp.SECCOMP_RET_ALLOW),
    ]

    def confined() -> tuple[bool, bool]:
        before = probe().openat2
        process.set_no_new_privs()
        seccomp.install(seccomp.assemble(refuse_openat2))
        return before, probe().openat2

    assert in_child(confined) == (True, False)


def test_openat2_is_there_after_the_servers_own_filter() -> None:
    if not probe().openat2:
        require_kernel("openat2")

    def confined() -> bool:
        install()
        return probe().openat2

    assert in_child(confined)


def test_a_filter_needs_no_new_privs_for_the_unprivileged() -> None:
    program = server_filter(MACHINE, 1)
    assert in_child(lambda: outcome(lambda: seccomp.install(seccomp.assemble(program))), unprivileged=True) == "EACCES"


@pytest.mark.parametrize(
    ("machine", "header", "pattern"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+) (\d+)"),
        ("aarch64", "/usr/include/asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
    ],
    ids=MACHINES,
)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str, header: str, pattern: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    known = {name: int(number) for name, number in re.findall(pattern, Path(header).read_text())}
    ours = numbers(machine)
    assert {name: number for name, number in ours.items() if name in known} == {
        name: known[name] for name in ours if name in known
    }
    newest_there = max(known.values())
    assert all(name in known for name, number in ours.items() if number <= newest_there)
    # And no call that the header has, and we name, is missing from our column.
    assert not [name for name in names() - ours.keys() if name in known]
