"""What a command tries from inside its cell: one attempt a name, each in a process of its own.

A program by itself, for the system's Python: it is run by its text, with what it must know as JSON in its first
argument and the names of attempts after that. It prints JSON: for each name ``done``, or the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

FACTS: dict[str, Any] = {}
ATTEMPTS: dict[str, Callable[[], object]] = {}

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

CLONE_NEW = {
    "user": 0x10000000,
    "mount": 0x00020000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "cgroup": 0x02000000,
}
AT_FDCWD = -100
SIGCHLD = 17
PTRACE_SEIZE = 0x4206  # attaches without stopping anybody
TIOCSTI = 0x5412
# What shows what is in a root beside what covers it, closes the root for all, or removes what may not be removed: on
# file systems with subvolumes.
OF_SUBVOLUMES = {
    "copy_by_a_snapshot": 0x50009417,
    "copy_by_an_old_snapshot": 0x50009401,
    "copy_by_a_snapshot_of_bcachefs": 0x4020BC10,
    "make_a_root_read_only": 0x4008941A,
    "remove_a_subvolume": 0x5000940F,
    "remove_a_subvolume_by_its_number": 0x5000943F,
    "remove_a_subvolume_of_bcachefs": 0x4020BC11,
}
IOPRIO_WHO_PROCESS = 1
IOPRIO_WHO_USER = 3
IOPRIO_BEST_EFFORT = 2 << 13 | 7


def attempt(function: Callable[[], object]) -> Callable[[], object]:
    ATTEMPTS[function.__name__] = function
    return function


def call(name: str, *arguments: int | bytes | None) -> int:
    """A system call by its name; its errno as OSError."""
    converted = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(LIBC.syscall(ctypes.c_long(FACTS["numbers"][name]), *converted))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def outside(name: str) -> str:
    return os.path.join(FACTS["outside"], name)


def notes(name: str) -> str:
    return os.path.join(FACTS["notes"], name)


def read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(4096)


def write(path: str, mode: str = "r+b") -> None:
    with open(path, mode) as stream:
        stream.write(b"attacked")


# --- Files outside the roots


@attempt
def read_outside() -> None:
    read(outside("secret"))


@attempt
def read_by_dots() -> None:
    read(os.path.join(FACTS["root"], "../outside/secret"))


@attempt
def read_by_dots_from_here() -> None:
    os.chdir(FACTS["root"])
    read("../outside/secret")


@attempt
def read_by_a_new_link() -> None:
    os.symlink(outside("secret"), os.path.join(FACTS["root"], "to-secret"))
    read(os.path.join(FACTS["root"], "to-secret"))


@attempt
def read_by_a_planted_link() -> None:
    read(os.path.join(FACTS["root"], "planted-link"))


@attempt
def read_by_proc_self_root() -> None:
    read("/proc/self/root" + outside("secret"))


@attempt
def read_by_root_of_init() -> None:
    read("/proc/1/root" + outside("secret"))


@attempt
def read_by_root_of_launcher() -> None:
    read(f"/proc/{FACTS['launcher']}/root" + outside("secret"))


@attempt
def read_by_an_open_descriptor() -> None:
    for descriptor in range(3):
        try:
            os.close(os.open("..", os.O_RDONLY, dir_fd=descriptor))
        except NotADirectoryError:
            continue
        return
    raise NotADirectoryError(errno.ENOTDIR, "no descriptor is a directory")


@attempt
def read_shadow() -> None:
    read("/etc/shadow")


@attempt
def read_state() -> None:
    os.listdir(FACTS["state"])


@attempt
def read_home() -> None:
    os.listdir(FACTS["home"])


@attempt
def list_outside() -> None:
    os.listdir(outside(""))


@attempt
def stat_outside() -> None:
    os.stat(outside("secret"))


@attempt
def stat_system() -> None:
    os.stat("/var/lib")


@attempt
def write_outside() -> None:
    write(outside("secret"))


@attempt
def truncate_outside() -> None:
    os.truncate(outside("secret"), 1)


@attempt
def create_outside() -> None:
    write(outside("new"), "xb")


@attempt
def make_directory_outside() -> None:
    os.mkdir(outside("new-directory"))


@attempt
def remove_outside() -> None:
    os.unlink(outside("victim"))


@attempt
def move_out() -> None:
    write(os.path.join(FACTS["root"], "mine"), "wb")
    os.rename(os.path.join(FACTS["root"], "mine"), outside("mine"))


@attempt
def link_in() -> None:
    os.link(outside("secret"), os.path.join(FACTS["root"], "linked-in"))


@attempt
def write_system() -> None:
    write("/usr/attacked", "xb")


@attempt
def write_etc() -> None:
    write("/etc/attacked", "xb")


@attempt
def write_top() -> None:
    write("/attacked", "xb")


@attempt
def chmod_outside() -> None:
    os.chmod(outside("secret"), 0o777)


@attempt
def utime_outside() -> None:
    os.utime(outside("secret"), (1, 1))


@attempt
def setxattr_outside() -> None:
    os.setxattr(outside("secret"), "user.attacked", b"x")


# --- A read-only root


@attempt
def read_in_read_only_root() -> None:
    read(notes("a.txt"))


@attempt
def write_in_read_only_root() -> None:
    write(notes("a.txt"))


@attempt
def create_in_read_only_root() -> None:
    write(notes("new"), "xb")


@attempt
def remove_in_read_only_root() -> None:
    os.unlink(notes("removed.txt"))


@attempt
def rename_in_read_only_root() -> None:
    os.rename(notes("renamed.txt"), notes("b.txt"))


@attempt
def chmod_in_read_only_root() -> None:
    os.chmod(notes("a.txt"), 0o700)


# --- Other processes


@attempt
def read_environment_of_launcher() -> None:
    read(f"/proc/{FACTS['launcher']}/environ")


@attempt
def read_environment_of_parent() -> None:
    read(f"/proc/{FACTS['parent']}/environ")


@attempt
def read_memory_of_parent() -> None:
    os.close(os.open(f"/proc/{FACTS['parent']}/mem", os.O_RDWR))


@attempt
def read_descriptors_of_parent() -> None:
    os.listdir(f"/proc/{FACTS['parent']}/fd")


@attempt
def read_environment_of_bystander() -> None:
    read(f"/proc/{FACTS['bystander']}/environ")


@attempt
def read_memory_of_bystander() -> None:
    os.close(os.open(f"/proc/{FACTS['bystander']}/mem", os.O_RDWR))


@attempt
def read_root_of_bystander() -> None:
    os.listdir(f"/proc/{FACTS['bystander']}/root/")


@attempt
def read_descriptors_of_bystander() -> None:
    os.listdir(f"/proc/{FACTS['bystander']}/fd")


@attempt
def read_through_descriptor_of_bystander() -> None:
    read(f"/proc/{FACTS['bystander']}/fd/0")


@attempt
def read_command_line_of_bystander() -> None:
    read(f"/proc/{FACTS['bystander']}/cmdline")


@attempt
def signal_bystander() -> None:
    os.kill(FACTS["bystander"], 0)


@attempt
def signal_launcher() -> None:
    os.kill(FACTS["launcher"], 0)


@attempt
def limit_bystander() -> None:
    resource.prlimit(FACTS["bystander"], resource.RLIMIT_CORE, (0, 0))


@attempt
def limit_parent() -> None:
    resource.prlimit(FACTS["parent"], resource.RLIMIT_CORE, (0, 0))


@attempt
def limit_itself() -> None:
    resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))


@attempt
def slow_bystander_down() -> None:
    os.setpriority(os.PRIO_PROCESS, FACTS["bystander"], 1)


@attempt
def slow_parent_down() -> None:
    os.setpriority(os.PRIO_PROCESS, FACTS["parent"], 1)


@attempt
def slow_all_of_the_user_down() -> None:
    os.setpriority(os.PRIO_USER, os.getuid(), 1)


@attempt
def slow_itself_down() -> None:
    os.nice(1)


@attempt
def schedule_bystander() -> None:
    os.sched_setaffinity(FACTS["bystander"], os.sched_getaffinity(0))


@attempt
def schedule_parent() -> None:
    os.sched_setscheduler(FACTS["parent"], os.SCHED_BATCH, os.sched_param(0))


@attempt
def schedule_itself() -> None:
    os.sched_setaffinity(0, os.sched_getaffinity(0))


@attempt
def order_input_and_output_of_parent() -> None:
    call("ioprio_set", IOPRIO_WHO_PROCESS, FACTS["parent"], IOPRIO_BEST_EFFORT)


@attempt
def order_input_and_output_of_all_of_the_user() -> None:
    call("ioprio_set", IOPRIO_WHO_USER, os.getuid(), IOPRIO_BEST_EFFORT)


@attempt
def ptrace_parent() -> None:
    call("ptrace", PTRACE_SEIZE, FACTS["parent"], 0, 0)


@attempt
def ptrace_bystander() -> None:
    call("ptrace", PTRACE_SEIZE, FACTS["bystander"], 0, 0)


@attempt
def ptrace_own_child() -> None:
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        signal.pause()
    try:
        call("ptrace", PTRACE_SEIZE, child, 0, 0)
    finally:
        os.kill(child, signal.SIGKILL)


@attempt
def read_memory_by_call() -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("@PQ", ctypes.addressof(buffer), 8)
    call("process_vm_readv", os.getpid(), vector, 1, vector, 1, 0)


@attempt
def take_a_descriptor_of_parent() -> None:
    call("pidfd_getfd", os.pidfd_open(FACTS["parent"]), 0, 0)


@attempt
def take_own_descriptor() -> None:
    call("pidfd_getfd", os.pidfd_open(os.getpid()), 0, 0)


@attempt
def compare_kernel_pointers() -> None:
    call("kcmp", os.getpid(), os.getpid(), 0, 0, 0)


@attempt
def write_core_pattern() -> None:
    """Opened only: it would be the host's."""
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))


@attempt
def write_own_sysctl() -> None:
    os.close(os.open("/proc/sys/kernel/ns_last_pid", os.O_WRONLY))


@attempt
def trigger_sysrq() -> None:
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))


@attempt
def write_own_uid_map() -> None:
    with open("/proc/self/uid_map", "w") as stream:
        stream.write("0 0 1")


# --- Sockets


@attempt
def connect_to_a_path() -> None:
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(os.path.join(FACTS["root"], "s"))


@attempt
def connect_to_an_abstract_name() -> None:
    with socket.socket(socket.AF_UNIX) as own:
        own.connect("\0" + FACTS["abstract"])


@attempt
def send_to_an_abstract_name_from_a_pair() -> None:
    own, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    own.sendto(b"attacked", "\0" + FACTS["abstract"] + "-datagram")


@attempt
def make_a_stream_pair() -> None:
    own, other = socket.socketpair()
    own.send(b"x")
    assert other.recv(1) == b"x"


@attempt
def make_vsock() -> None:
    socket.socket(40, socket.SOCK_STREAM)


@attempt
def make_netlink_uevent() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)


@attempt
def make_netlink_netfilter() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)


@attempt
def make_packet() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


@attempt
def make_kernel_crypto() -> None:
    socket.socket(38, socket.SOCK_SEQPACKET)


@attempt
def make_raw() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@attempt
def connect_to_host_loopback() -> None:
    with socket.socket() as own:
        own.settimeout(2)
        own.connect(("127.0.0.1", FACTS["tcp"]))


@attempt
def connect_to_host_loopback_6() -> None:
    with socket.socket(socket.AF_INET6) as own:
        own.settimeout(2)
        own.connect(("::1", FACTS["tcp"]))


@attempt
def send_a_datagram_to_host_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(0.2)
        own.connect(("127.0.0.1", FACTS["udp"]))
        own.send(b"attacked")
        try:
            own.recv(1)  # where nobody listens, the refusal arrives here
        except TimeoutError:
            return


@attempt
def ask_a_name_server() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.sendto(b"attacked", ("192.0.2.1", 53))


@attempt
def connect_to_the_internet() -> None:
    with socket.socket() as own:
        own.settimeout(2)
        own.connect(("192.0.2.1", 80))


# --- The kernel


@attempt
def make_io_uring() -> None:
    call("io_uring_setup", 4, bytes(120))


@attempt
def load_bpf() -> None:
    call("bpf", 0, bytes(128), 128)


@attempt
def open_perf_event() -> None:
    call("perf_event_open", struct.pack("=II", 1, 128).ljust(128, b"\0"), 0, -1, -1, 0)


@attempt
def use_keyring() -> None:
    call("keyctl", 0, -3, 0)


@attempt
def add_key() -> None:
    call("add_key", b"user\0", b"attacked\0", b"x", 1, -2)


@attempt
def handle_page_faults() -> None:
    call("userfaultfd", 1)


def _unshare(kind: str) -> Callable[[], object]:
    return lambda: call("unshare", CLONE_NEW[kind])


for _kind in CLONE_NEW:
    ATTEMPTS[f"unshare_{_kind}"] = _unshare(_kind)


def _of_a_subvolume(request: int) -> Callable[[], object]:
    return lambda: fcntl.ioctl(os.open(FACTS["root"], os.O_RDONLY), request, bytes(8))


for _name, _request in OF_SUBVOLUMES.items():
    ATTEMPTS[_name] = _of_a_subvolume(_request)


@attempt
def clone_into_a_user_namespace() -> None:
    if call("clone", CLONE_NEW["user"] | SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


@attempt
def clone3_into_a_user_namespace() -> None:
    if call("clone3", struct.pack("=11Q", CLONE_NEW["user"], 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0), 88) == 0:
        os._exit(0)


@attempt
def join_a_namespace() -> None:
    call("setns", os.open("/proc/self/ns/user", os.O_RDONLY), 0)


@attempt
def mount() -> None:
    call("mount", b"none\0", b"/tmp\0", b"tmpfs\0", 0, None)


@attempt
def bind() -> None:
    call("mount", b"/usr\0", b"/tmp\0", None, 4096, None)


@attempt
def unmount() -> None:
    call("umount2", FACTS["root"].encode() + b"\0", 2)


@attempt
def pivot_root() -> None:
    call("pivot_root", b".\0", b".\0")


@attempt
def change_root() -> None:
    os.chroot(FACTS["root"])


@attempt
def open_a_mount_tree() -> None:
    call("open_tree", AT_FDCWD, b"/usr\0", 1)


@attempt
def open_a_file_system() -> None:
    call("fsopen", b"tmpfs\0", 0)


@attempt
def change_a_mount() -> None:
    call("mount_setattr", AT_FDCWD, b"/\0", 0, bytes(32), 32)


@attempt
def open_by_handle() -> None:
    call("open_by_handle_at", AT_FDCWD, struct.pack("=Ii", 8, 1).ljust(136, b"\0"), 0)


@attempt
def watch_whole_mounts() -> None:
    call("fanotify_init", 0x200, 0)


@attempt
def load_a_module() -> None:
    call("init_module", b"x", 1, b"\0")


@attempt
def set_the_host_name() -> None:
    socket.sethostname("attacked")


@attempt
def set_the_clock() -> None:
    call("clock_settime", 0, struct.pack("=qq", 0, 0))


@attempt
def read_the_kernel_log() -> None:
    call("syslog", 3, ctypes.create_string_buffer(64).raw, 64)


@attempt
def type_into_a_terminal() -> None:
    primary, secondary = os.openpty()
    try:
        fcntl.ioctl(secondary, TIOCSTI, b"x")
    finally:
        os.close(primary)


@attempt
def type_into_nothing() -> None:
    """TIOCSTI is refused whatever the descriptor is: by the filter, not by the terminal's driver."""
    fcntl.ioctl(0, TIOCSTI, b"x")


@attempt
def write_to_a_terminal_of_the_host() -> None:
    write(FACTS["terminal"], "ab")


@attempt
def open_the_controlling_terminal() -> None:
    os.close(os.open("/dev/tty", os.O_RDWR))


@attempt
def make_a_device() -> None:
    os.mknod(os.path.join(FACTS["root"], "device"), 0o600 | 0o020000, os.makedev(1, 1))


@attempt
def make_a_block_device() -> None:
    os.mknod(os.path.join(FACTS["root"], "disk"), 0o600 | 0o060000, os.makedev(8, 0))


@attempt
def open_a_disk() -> None:
    os.close(os.open(FACTS["disk"], os.O_RDONLY))


@attempt
def raise_open_files() -> None:
    call("prlimit64", 0, 7, struct.pack("=QQ", 1 << 19, 1 << 19), 0)


@attempt
def raise_priority() -> None:
    os.nice(-5)


@attempt
def become_root() -> None:
    os.setuid(0)


@attempt
def become_another() -> None:
    os.setuid(4242)


@attempt
def drop_groups() -> None:
    os.setgroups([])


# --- A file that whoever executes it becomes its owner by; from outside, where nothing forbids that


def _mine(name: str) -> str:
    path = os.path.join(FACTS["root"], name)
    write(path, "wb")
    return path


@attempt
def set_user_id_by_chmod() -> None:
    os.chmod(_mine("u1"), 0o4755)


@attempt
def set_group_id_by_chmod() -> None:
    os.chmod(_mine("g1"), 0o2755)


@attempt
def set_user_id_by_descriptor() -> None:
    descriptor = os.open(_mine("u2"), os.O_RDWR)
    os.fchmod(descriptor, 0o4755)


@attempt
def set_user_id_by_directory() -> None:
    directory = os.open(FACTS["root"], os.O_RDONLY)
    call("fchmodat", directory, os.path.basename(_mine("u3")).encode() + b"\0", 0o4755)


@attempt
def set_user_id_by_fchmodat2() -> None:
    call("fchmodat2", AT_FDCWD, _mine("u4").encode() + b"\0", 0o4755, 0)


def _made(name: str, mode: int) -> int:
    return os.open(os.path.join(FACTS["root"], name), os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)


@attempt
def make_a_file_with_user_id() -> None:
    _made("u5", 0o4755)


@attempt
def make_a_nameless_file_with_user_id() -> None:
    os.open(FACTS["root"], os.O_TMPFILE | os.O_RDWR, 0o4755)


@attempt
def make_a_node_with_user_id() -> None:
    os.mknod(os.path.join(FACTS["root"], "u6"), 0o4755)


@attempt
def make_a_file_with_user_id_unseen() -> None:
    how = struct.pack("=QQQ", os.O_CREAT | os.O_RDWR, 0o4755, 0)
    call("openat2", AT_FDCWD, os.path.join(FACTS["root"], "u7").encode() + b"\0", how, len(how))


@attempt
def make_a_file_with_group_id_that_an_access_list_makes_executable() -> None:
    os.write(descriptor := _made("g2", 0o2705), b"#!/bin/sh")  # kept: its group may not execute it yet
    entries = ((0x01, 7), (0x04, 5), (0x20, 5))  # the owner, the group, others
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, rights, 0xFFFFFFFF) for tag, rights in entries)
    os.setxattr(descriptor, "system.posix_acl_access", access)
    if os.fstat(descriptor).st_mode & 0o2010 != 0o2010:
        raise PermissionError(errno.EPERM, "the file lost it")


@attempt
def set_attributes_by_file_setattr() -> None:
    os.close(os.open(_mine("a1"), os.O_RDONLY))
    call(
        "file_setattr",
        AT_FDCWD,
        os.path.join(FACTS["root"], "a1").encode() + b"\0",
        struct.pack("=QIIII", 0, 0, 0, 0, 0),
        24,
        0,
    )


# --- Protected names; each attempt has a directory of its own, so that one does not help another


def denied(name: str) -> str:
    return os.path.join(FACTS["root"], f"protected/{name}/.env")


def hooks(name: str) -> str:
    return os.path.join(FACTS["root"], f"protected/{name}/.git/hooks")


@attempt
def read_denied() -> None:
    read(denied("read_denied"))


@attempt
def write_denied() -> None:
    write(denied("write_denied"))


@attempt
def append_denied() -> None:
    write(denied("append_denied"), "ab")


@attempt
def truncate_denied() -> None:
    os.truncate(denied("truncate_denied"), 0)


@attempt
def chmod_denied() -> None:
    os.chmod(denied("chmod_denied"), 0o777)
    read(denied("chmod_denied"))


@attempt
def unlink_denied() -> None:
    os.unlink(denied("unlink_denied"))


@attempt
def rename_denied() -> None:
    os.rename(denied("rename_denied"), denied("rename_denied") + "-moved")


@attempt
def replace_denied() -> None:
    write(denied("replace_denied") + "-new", "wb")
    os.rename(denied("replace_denied") + "-new", denied("replace_denied"))


@attempt
def exchange_denied() -> None:
    name = denied("exchange_denied")
    write(name + "-new", "wb")
    call("renameat2", AT_FDCWD, name.encode() + b"\0", AT_FDCWD, name.encode() + b"-new\0", 2)


@attempt
def rename_parent_of_denied() -> None:
    directory = os.path.dirname(denied("rename_parent_of_denied"))
    os.rename(directory, directory + "-moved")


@attempt
def link_denied() -> None:
    os.link(denied("link_denied"), denied("link_denied") + "-linked")


@attempt
def read_denied_by_link() -> None:
    name = denied("read_denied_by_link")
    os.symlink(".env", name + "-link")
    read(name + "-link")


@attempt
def read_denied_by_hard_link_from_before() -> None:
    read(denied("read_denied_by_hard_link_from_before").replace(".env", "other-name"))


@attempt
def read_denied_by_descriptor_of_directory() -> None:
    directory = os.open(os.path.dirname(denied("read_denied_by_descriptor_of_directory")), os.O_RDONLY)
    os.close(os.open(".env", os.O_RDONLY, dir_fd=directory))


@attempt
def read_denied_by_proc() -> None:
    path = os.open(denied("read_denied_by_proc"), os.O_PATH)
    read(f"/proc/self/fd/{path}")


@attempt
def mount_over_denied() -> None:
    call("mount", b"/tmp\0", denied("mount_over_denied").encode() + b"\0", None, 4096, None)


@attempt
def unmount_denied() -> None:
    call("umount2", denied("unmount_denied").encode() + b"\0", 2)


@attempt
def read_denied_directory() -> None:
    os.listdir(os.path.join(FACTS["root"], "protected/vault"))


@attempt
def read_in_denied_directory() -> None:
    read(os.path.join(FACTS["root"], "protected/vault/key"))


@attempt
def make_in_denied_directory() -> None:
    write(os.path.join(FACTS["root"], "protected/vault/new"), "xb")


@attempt
def rename_denied_directory() -> None:
    vault = os.path.join(FACTS["root"], "protected/vault")
    os.rename(vault, vault + "-moved")


@attempt
def read_hook() -> None:
    read(hooks("read_hook") + "/pre-commit")


@attempt
def write_hook() -> None:
    write(hooks("write_hook") + "/pre-commit")


@attempt
def create_hook() -> None:
    write(hooks("create_hook") + "/post-commit", "xb")


@attempt
def chmod_hook() -> None:
    os.chmod(hooks("chmod_hook") + "/pre-commit", 0o777)


@attempt
def unlink_hook() -> None:
    os.unlink(hooks("unlink_hook") + "/pre-commit")


@attempt
def rename_hooks() -> None:
    os.rename(hooks("rename_hooks"), hooks("rename_hooks") + "-moved")


@attempt
def rename_git() -> None:
    git = os.path.dirname(hooks("rename_git"))
    os.rename(git, git + "-moved")


@attempt
def commit_beside_hooks() -> None:
    write(os.path.dirname(hooks("commit_beside_hooks")) + "/HEAD", "wb")


# --- Last, since what these do is in the way of others


@attempt
def rename_top_of_denied() -> None:
    top = os.path.join(FACTS["root"], "protected")
    os.rename(top, top + "-moved")


@attempt
def move_in() -> None:
    os.rename(outside("secret"), os.path.join(FACTS["root"], "moved-in"))


def report() -> dict[str, Any]:
    """What this process is, as it sees itself."""
    with open("/proc/self/status") as stream:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
    descriptors = []
    for number in range(256):
        try:
            kind = os.fstat(number).st_mode >> 12
        except OSError:
            continue
        descriptors.append([number, kind])
    with open("/proc/self/stat") as stream:
        terminal = int(stream.read().rpartition(")")[2].split()[4])
    return {
        "terminal": terminal,
        "uid": [os.getuid(), os.geteuid()],
        "gid": [os.getgid(), os.getegid()],
        "groups": os.getgroups(),
        "status": status,
        "descriptors": descriptors,
        "environment": dict(os.environ),
        "pid": os.getpid(),
        "session": os.getsid(0),
        "directory": os.getcwd(),
        "processes": [name for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc") else [],
        "umask": os.umask(0o22),
    }


def outcome_of(function: Callable[[], object]) -> str:
    """In a child, so that whatever it does to itself is gone with it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        word = "done"
        try:
            function()
        except OSError as error:
            word = errno.errorcode.get(error.errno or 0, repr(error))
        except BaseException as error:  # noqa: BLE001 - this process's last word
            word = repr(error)
        os.write(writer, word.encode())
        os._exit(0)
    os.close(writer)
    word = os.read(reader, 4096).decode()
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return word or f"ended with {status}"


def main() -> None:
    FACTS.update(json.loads(sys.argv[1]))
    FACTS["parent"] = os.getppid()
    names = sys.argv[2:]
    if names == ["report"]:
        print(json.dumps(report()))
        return
    print(json.dumps({name: outcome_of(ATTEMPTS[name]) for name in names}))


if __name__ == "__main__":
    main()
