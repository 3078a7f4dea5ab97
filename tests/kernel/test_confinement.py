"""A process confined as the server is: what it can no longer do, and that all it needs still works."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # in a child of another user it may be out of reach
import dataclasses
import errno
import fcntl
import importlib
import linecache
import mimetypes
import os
import platform
import signal
import socket
import sys
import threading
import time
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import fsserver.sandbox.confinement as confinement_module
from fsserver.errors import SandboxSetupError
from fsserver.kernel import libc, process
from fsserver.kernel.constants import RENAME_NOREPLACE, RESOLVE_BENEATH
from fsserver.kernel.features import Features, probe
from fsserver.kernel.syscall_numbers import numbers
from fsserver.kernel.syscalls import birth_time_ns, open_how, openat2, renameat2
from fsserver.policy.compiled import Layer, Mode
from fsserver.sandbox.confinement import confine
from fsserver.sandbox.plan import plan_server
from fsserver.sandbox.profile import NO_NETWORK, Enforcement, RootGrant, ServerNetwork, ServerProfile, available_layer
from fsserver.sandbox.runtime import find_runtime
from tests.support import UNPRIVILEGED_UID, in_child, require_kernel

USERS = pytest.mark.parametrize("unprivileged", [False, True], ids=["same-user", "unprivileged"])
FEATURES = probe()
RUNTIME = find_runtime()
PTRACE_ATTACH = 16
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000


@dataclasses.dataclass(frozen=True)
class Place:
    """A tree that every user may change: two writable roots, a read-only one, a state directory, and an outside."""

    base: Path

    @property
    def work(self) -> Path:
        return self.base / "work"

    @property
    def reference(self) -> Path:
        return self.base / "reference"

    @property
    def state(self) -> Path:
        return self.base / "state"

    @property
    def outside(self) -> Path:
        return self.base / "outside"


@pytest.fixture
def place(open_tmp_path: Path) -> Place:
    if available_layer(FEATURES.landlock_abi, seccomp=FEATURES.seccomp) is Layer.NONE:
        require_kernel("Landlock ABI 3 and seccomp")
    for area in ("work", "work/sub", "work/empty", "second", "reference", "state", "outside"):
        (open_tmp_path / area).mkdir()
        (open_tmp_path / area).chmod(0o777)
    for name in ("work/file", "work/sub/file", "reference/file", "outside/file", "state/log"):
        (open_tmp_path / name).write_text("content")
        (open_tmp_path / name).chmod(0o777)
    (open_tmp_path / "work/link").symlink_to("file")
    return Place(open_tmp_path)


def plan(place: Place, features: Features = FEATURES, network: ServerNetwork = NO_NETWORK) -> ServerProfile:
    modes = {"work": Mode.RW, "second": Mode.RW, "reference": Mode.RO}
    return plan_server(
        roots=[
            RootGrant(name, os.open(place.base / name, os.O_PATH), str(place.base / name), mode)
            for name, mode in modes.items()
        ],
        state_directories=[str(place.state)],
        runtime=RUNTIME,
        features=features,
        pid=os.getpid(),
        network=network,
    )


def outcome(call: Callable[[], object]) -> str:
    """``ok`` or the errno's name."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def raw(name: str, *arguments: int | bytes | None) -> object:
    return libc.syscall(numbers(FEATURES.machine)[name], *arguments)


# --- Attacks. ``control`` is what the same call gives without confinement, to this user or to root: it must differ.


class Attack(NamedTuple):
    name: str
    call: Callable[[Place], object]
    confined: str
    control: str | None = "ok"  # None: not tried unconfined, or it depends on the user


def open_above(place: Place) -> None:
    above = os.open("..", os.O_PATH, dir_fd=os.open(place.work, os.O_PATH))
    os.open("outside/file", os.O_RDONLY, dir_fd=above)


def through_a_link(place: Place) -> None:
    os.symlink("../outside/file", place.work / "escape")
    (place.work / "escape").read_bytes()


def through_proc(place: Place) -> None:
    Path(f"/proc/self/root{place.outside}/file").read_bytes()


def reopen_a_name_only_descriptor(place: Place) -> None:
    os.open(f"/proc/self/fd/{os.open(place.outside / 'file', os.O_PATH)}", os.O_RDONLY)


def in_a_new_thread(place: Place) -> None:
    found: list[OSError] = []

    def attempt() -> None:
        try:
            (place.outside / "file").read_bytes()
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    if found:
        raise found[0]


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def spawn(place: Place) -> None:
    os.posix_spawn("/bin/true", ["true"], {})


def run_from_memory(place: Place) -> None:
    raw("execveat", os.memfd_create("program"), b"", None, None, 0x1000)


def connect_unix() -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(b"\0nobody listens here")


def connect_tcp() -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", 9))


def send_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", ("127.0.0.1", 9))


def read_parents_environment() -> None:
    Path(f"/proc/{os.getppid()}/environ").read_bytes()


ATTACKS = [
    Attack("read outside", lambda at: (at.outside / "file").read_bytes(), "EACCES"),
    Attack("read a file of the system", lambda _: Path("/etc/passwd").read_bytes(), "EACCES"),
    Attack("list outside", lambda at: os.listdir(at.outside), "EACCES"),
    Attack("list above", lambda at: os.listdir(at.base), "EACCES"),
    Attack("read by .. from a descriptor", open_above, "EACCES"),
    Attack("read through a link", through_a_link, "EACCES"),
    Attack("read through /proc/self/root", through_proc, "EACCES"),
    Attack("read by reopening a descriptor", reopen_a_name_only_descriptor, "EACCES"),
    Attack("read in a new thread", in_a_new_thread, "EACCES"),
    Attack("write outside", lambda at: os.open(at.outside / "file", os.O_WRONLY), "EACCES"),
    Attack("append outside", lambda at: os.open(at.outside / "file", os.O_WRONLY | os.O_APPEND), "EACCES"),
    Attack("truncate outside", lambda at: os.truncate(at.outside / "file", 0), "EACCES"),
    Attack("create outside", lambda at: (at.outside / "new").touch(), "EACCES"),
    Attack("make a directory outside", lambda at: (at.outside / "new").mkdir(), "EACCES"),
    Attack("remove outside", lambda at: (at.outside / "file").unlink(), "EACCES"),
    Attack("rename outside", lambda at: os.rename(at.outside / "file", at.outside / "new"), "EACCES"),
    Attack("move out", lambda at: os.rename(at.work / "file", at.outside / "new"), "EACCES"),
    Attack("move in", lambda at: os.rename(at.outside / "file", at.work / "new"), "EACCES"),
    Attack("link in", lambda at: os.link(at.outside / "file", at.work / "new"), "EXDEV"),
    Attack("link out", lambda at: os.link(at.work / "file", at.outside / "new"), "EACCES"),
    Attack("write in a read-only root", lambda at: (at.reference / "file").write_text("x"), "EACCES"),
    Attack("create in a read-only root", lambda at: (at.reference / "new").touch(), "EACCES"),
    Attack("remove from a read-only root", lambda at: (at.reference / "file").unlink(), "EACCES"),
    Attack("move into a read-only root", lambda at: os.rename(at.work / "file", at.reference / "new"), "EACCES"),
    Attack("write fsserver's own code", lambda _: os.open(RUNTIME.code[0] + "/errors.py", os.O_WRONLY), "EACCES", None),
    Attack("make a directory in the state", lambda at: (at.state / "new").mkdir(), "EACCES"),
    Attack("make a link in the state", lambda at: (at.state / "new").symlink_to("/"), "EACCES"),
    Attack("move the log into a root", lambda at: os.rename(at.state / "log", at.work / "log"), "EXDEV"),
    Attack("chmod outside", lambda at: os.chmod(at.outside / "file", 0o777), "EPERM", None),
    Attack("chown outside", lambda at: os.chown(at.outside / "file", -1, -1), "EPERM", None),
    Attack("utime outside", lambda at: os.utime(at.outside / "file"), "EPERM"),
    Attack("setxattr outside", lambda at: os.setxattr(at.outside / "file", "user.x", b""), "EPERM"),
    Attack("removexattr outside", lambda at: os.removexattr(at.outside / "file", "user.x"), "EPERM", "ENODATA"),
    Attack("make a FIFO in a root", lambda at: os.mkfifo(at.work / "new"), "EPERM"),
    Attack("make a device in a root", lambda at: os.mknod(at.work / "new", 0o020600, 259), "EPERM", None),
    Attack("run a program", lambda _: os.execv("/bin/true", ["true"]), "EPERM", None),
    Attack("run a program of a root", lambda at: os.execv(at.work / "file", ["file"]), "EPERM", "ENOEXEC"),
    Attack("run a program from memory", run_from_memory, "EPERM", None),
    Attack("spawn a program", spawn, "EPERM"),
    Attack("fork", lambda _: fork(), "EPERM"),
    Attack("connect to a unix socket", lambda _: connect_unix(), "EPERM", "ECONNREFUSED"),
    Attack("connect over TCP", lambda _: connect_tcp(), "EPERM", "ECONNREFUSED"),
    Attack("send over UDP", lambda _: send_udp(), "EPERM"),
    Attack("signal the parent", lambda _: os.kill(os.getppid(), 0), "EPERM", None),
    Attack("kill everybody", lambda _: os.kill(-1, signal.SIGKILL), "EPERM", None),
    Attack("open the parent as a pidfd", lambda _: os.pidfd_open(os.getppid()), "EPERM"),
    Attack("read the parent's environment", lambda _: read_parents_environment(), "EACCES", None),
    Attack("trace the parent", lambda _: raw("ptrace", PTRACE_ATTACH, os.getppid(), 0, 0), "EPERM", None),
    Attack("read the parent's memory", lambda _: raw("process_vm_readv", os.getppid(), 0, 0, 0, 0, 0), "EPERM"),
    Attack("set up io_uring", lambda _: raw("io_uring_setup", 1, None), "EPERM", "EFAULT"),
    Attack("make a user namespace", lambda _: raw("unshare", CLONE_NEWUSER), "EPERM", None),
    Attack("make a mount namespace", lambda _: raw("unshare", CLONE_NEWNS), "EPERM", None),
    Attack("mount", lambda at: raw("mount", b"x", os.fsencode(at.work), b"tmpfs", 0, None), "EPERM", None),
    Attack("change the root directory", lambda _: os.chroot("/"), "EPERM", None),
    Attack("make a key", lambda _: raw("keyctl", 0, -3, 0), "EPERM", None),
    Attack("load a BPF program", lambda _: raw("bpf", 5, None, 0), "EPERM", None),
    Attack(
        "watch a directory outside", lambda at: raw("inotify_add_watch", 0, os.fsencode(at.outside), 2), "EPERM", None
    ),
]


@pytest.mark.claim("C7")
@pytest.mark.claim("C3")
@USERS
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_stopped(place: Place, attack: Attack, unprivileged: bool) -> None:
    def confined() -> str:
        confine(plan(place))
        return outcome(lambda: attack.call(place))

    assert in_child(confined, unprivileged=unprivileged) == attack.confined
    if attack.control is not None:
        (place.work / "escape").unlink(missing_ok=True)
        assert in_child(lambda: outcome(lambda: attack.call(place)), unprivileged=unprivileged) == attack.control


def test_root_itself_cannot_read_its_parents_environment(place: Place) -> None:
    """Without confinement root can, so for root it is the confinement that stops it."""

    def confined() -> str:
        confine(plan(place))
        return outcome(read_parents_environment)

    assert in_child(lambda: outcome(read_parents_environment)) == "ok"
    assert in_child(confined) == "EACCES"


def test_a_directory_moved_out_of_its_root_is_refused(place: Place) -> None:
    """Whoever holds its descriptor from before gets nothing more out of it; a file that is open already stays so."""

    def confined() -> tuple[str, str, str, str]:
        directory = os.open(place.work / "sub", os.O_RDONLY | os.O_DIRECTORY)
        go, moved, mover = _mover(place.work / "sub", place.outside / "sub")
        confine(plan(place))
        file = os.open("file", os.O_RDONLY, dir_fd=directory)
        before = outcome(lambda: os.read(file, 1))
        os.write(go, b"x")
        assert os.read(moved, 1) == b"x"
        os.waitpid(mover, 0)
        return (
            before,
            outcome(lambda: os.open("file", os.O_RDONLY, dir_fd=directory)),
            outcome(lambda: os.open("new", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)),
            outcome(lambda: os.read(file, 1)),
        )

    assert in_child(confined) == ("ok", "EACCES", "EACCES", "ok")


def _mover(source: Path, destination: Path) -> tuple[int, int, int]:
    """A process that is not confined and renames when told to: a descriptor to tell it, one to hear it, its id."""
    told, go = os.pipe()
    moved, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        if os.read(told, 1):
            os.rename(source, destination)
            os.write(tell, b"x")
        os._exit(0)
    os.close(told)
    os.close(tell)
    return go, moved, pid


def test_a_root_replaced_under_its_name_grants_nothing_to_the_new_one(place: Place) -> None:
    def confined() -> tuple[str, str]:
        profile = plan(place)
        root = os.open(place.work, os.O_PATH)
        os.rename(place.work, place.base / "moved")
        os.rename(place.outside, place.work)
        confine(profile)
        return (
            outcome((place.work / "file").read_bytes),
            outcome(lambda: os.open("file", os.O_RDWR, dir_fd=root)),
        )

    assert in_child(confined) == ("EACCES", "ok")


# --- What the server needs.


def reopened(path: Path, flags: int) -> int:
    return os.open(f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_NOFOLLOW)}", flags)


def read_link_of_descriptor(place: Place) -> None:
    path = os.readlink(f"/proc/self/fd/{os.open(place.work / 'file', os.O_PATH)}")
    assert path == str(place.work / "file")


def resolve_beneath(place: Place) -> None:
    root = os.open(place.work, os.O_PATH)
    os.close(openat2(root, b"sub/file", open_how(os.O_PATH, RESOLVE_BENEATH)))


def replace_atomically(place: Place) -> None:
    root = os.open(place.work, os.O_PATH)
    new = os.open(".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=root)
    os.write(new, b"x")
    os.fsync(new)
    os.fchmod(new, 0o640)
    os.fchown(new, os.geteuid(), os.getegid())
    os.setxattr(new, "user.x", b"1")
    os.removexattr(new, "user.x")
    os.utime(new, ns=(1, 2))
    os.rename(".new", "file", src_dir_fd=root, dst_dir_fd=root)


def rename_between_roots(place: Place) -> None:
    work, second = os.open(place.work, os.O_PATH), os.open(place.base / "second", os.O_PATH)
    renameat2(work, b"sub/file", second, b"file", RENAME_NOREPLACE)
    renameat2(work, b"link", second, b"link", RENAME_NOREPLACE)
    renameat2(work, b"sub", second, b"sub", RENAME_NOREPLACE)


def lock_and_rotate(place: Place) -> None:
    log = os.open(place.state / "log", os.O_RDWR | os.O_APPEND)
    fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(log, b"record\n")
    os.fdatasync(log)
    os.ftruncate(log, 3)
    os.rename(place.state / "log", place.state / "log.1")
    os.close(os.open(place.state / "log", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    assert sorted(os.listdir(place.state)) == ["log", "log.1"]
    os.unlink(place.state / "log.1")


def run_event_loop(_: Place) -> None:
    async def several() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(os.getpid) for _ in range(4)))

    assert asyncio.run(several()) == [os.getpid()] * 4


def run_thread_pool(_: Place) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]


def copy_a_file(place: Place) -> None:
    source, destination = reopened(place.reference / "file", os.O_RDONLY), reopened(place.work / "file", os.O_WRONLY)
    os.sendfile(destination, source, 0, 7)


def know_the_time_zone(_: Place) -> None:
    if not zoneinfo.available_timezones():
        raise AssertionError("this machine has no time zones")
    assert zoneinfo.ZoneInfo.no_cache("UTC").key == "UTC"
    time.tzset()
    time.localtime()


def read_own_source(_: Place) -> None:
    linecache.clearcache()
    assert linecache.getline(str(confinement_module.__file__), 1)


NEEDS: list[tuple[str, Callable[[Place], object]]] = [
    ("read in a read-only root", lambda at: (at.reference / "file").read_bytes()),
    ("list a root", lambda at: os.listdir(at.work)),
    ("reopen through /proc/self/fd", lambda at: reopened(at.work / "file", os.O_RDWR)),
    ("read the path of a descriptor", read_link_of_descriptor),
    ("openat2", resolve_beneath),
    ("replace a file with its metadata", replace_atomically),
    ("truncate", lambda at: os.ftruncate(reopened(at.work / "file", os.O_RDWR), 1)),
    ("make a directory", lambda at: (at.work / "new").mkdir()),
    ("remove a directory", lambda at: (at.work / "empty").rmdir()),
    ("remove a file", lambda at: (at.work / "file").unlink()),
    ("move between roots", rename_between_roots),
    ("copy between roots", copy_a_file),
    ("birth time", lambda at: birth_time_ns(os.open(at.work / "file", os.O_PATH))),
    ("write and rotate the log", lock_and_rotate),
    ("event loop", run_event_loop),
    ("thread pool", run_thread_pool),
    ("time zones", know_the_time_zone),
    ("random bytes", lambda _: (os.urandom(8), os.getrandom(8))),
    ("null device", lambda _: os.write(os.open("/dev/null", os.O_WRONLY), b"x")),
    ("types of files", lambda _: mimetypes.init()),
    ("count processors", lambda _: os.cpu_count()),
    ("catch a signal", lambda _: signal.raise_signal(signal.SIGCHLD)),
]


@USERS
@pytest.mark.parametrize("need", [row[1] for row in NEEDS], ids=[row[0] for row in NEEDS])
def test_what_the_server_needs_still_works(place: Place, need: Callable[[Place], object], unprivileged: bool) -> None:
    def confined() -> str:
        confine(plan(place))
        return outcome(lambda: need(place))

    assert in_child(confined, unprivileged=unprivileged) == "ok"


@pytest.mark.parametrize(
    "module", ["fsserver.sandbox.selftest", "mcp.server.lowlevel", "xmlrpc.client", "sqlite3", "pydantic.v1", "lzma"]
)
def test_a_module_can_be_imported_afterwards(place: Place, module: str) -> None:
    def confined() -> str:
        for name in [name for name in sys.modules if name == module or name.startswith(module + ".")]:
            del sys.modules[name]
        confine(plan(place))
        return importlib.import_module(module).__name__

    assert in_child(confined) == module


def test_own_sources_can_be_read_for_a_traceback(place: Place) -> None:
    def confined() -> None:
        confine(plan(place))
        read_own_source(place)
        platform.platform()

    in_child(confined)


# --- Setting it up.


@USERS
def test_what_is_in_force_is_read_back_from_the_kernel(place: Place, unprivileged: bool) -> None:
    found = in_child(lambda: confine(plan(place)), unprivileged=unprivileged)
    assert found == Enforcement(
        landlock_abi=min(FEATURES.landlock_abi, 9), seccomp=True, no_new_privs=True, dumpable=False, gaps=found.gaps
    )
    assert found.layer is Layer.LANDLOCK


@pytest.mark.claim("C8")
def test_without_any_layer_the_rest_is_applied_and_said(place: Place) -> None:
    bare = dataclasses.replace(FEATURES, landlock_abi=0, seccomp=False)

    def confined() -> tuple[Enforcement, str]:
        return confine(plan(place, bare)), outcome((place.outside / "file").read_bytes)

    found, reading = in_child(confined)
    assert found == Enforcement(0, seccomp=False, no_new_privs=True, dumpable=False, gaps=found.gaps)
    assert found.layer is Layer.NONE
    assert {"landlock", "seccomp"} <= {gap.code for gap in found.gaps}
    assert reading == "ok"


METADATA: dict[str, Callable[[int], None]] = {
    "fchmod": lambda file: os.fchmod(file, 0o600),
    "fchown": lambda file: os.fchown(file, os.geteuid(), os.getegid()),
    "futimens": lambda file: os.utime(file, ns=(1, 2)),
    "fsetxattr": lambda file: os.setxattr(file, "user.x", b"1"),
}


@pytest.mark.claim("C8")
@pytest.mark.parametrize("call", METADATA)
def test_metadata_of_what_may_only_be_read_is_as_open_as_the_gaps_say(place: Place, call: str) -> None:
    def confined() -> tuple[list[str], str, str]:
        enforcement = confine(plan(place))
        file = os.open(place.reference / "file", os.O_RDONLY)
        writing = outcome(lambda: os.open(place.reference / "file", os.O_WRONLY))
        return [gap.code for gap in enforcement.gaps], writing, outcome(lambda: METADATA[call](file))

    gaps, writing, changing = in_child(confined)
    assert writing == "EACCES"
    assert ("metadata" in gaps) == (changing == "ok")


# What an older kernel gives: read outside, truncate outside through a descriptor opened to read, move a file to
# another directory.
ABIS = [
    (1, "EACCES", "ok", "EXDEV"),
    (2, "EACCES", "ok", "ok"),
    (3, "EACCES", "EACCES", "ok"),
    (4, "EACCES", "EACCES", "ok"),
    (5, "EACCES", "EACCES", "ok"),
    (6, "EACCES", "EACCES", "ok"),
    (7, "EACCES", "EACCES", "ok"),
]


@pytest.mark.parametrize(("abi", "read", "truncate", "move"), ABIS, ids=[f"abi-{row[0]}" for row in ABIS])
def test_an_older_abi_gives_what_its_gaps_say(place: Place, abi: int, read: str, truncate: str, move: str) -> None:
    if abi > FEATURES.landlock_abi:
        require_kernel(f"Landlock ABI {abi}")

    def confined() -> tuple[list[str], str, str, str]:
        enforcement = confine(plan(place, dataclasses.replace(FEATURES, landlock_abi=abi)))
        return (
            [gap.code for gap in enforcement.gaps],
            outcome((place.outside / "file").read_bytes),
            outcome(lambda: os.truncate(place.outside / "file", 0)),
            outcome(lambda: os.rename(place.work / "file", place.work / "empty/file")),
        )

    gaps, *found = in_child(confined)
    assert found == [read, truncate, move]
    assert ("truncate" in gaps) == (truncate == "ok")
    assert ("refer" in gaps) == (move == "EXDEV")


def test_a_thread_from_before_is_a_setup_error_and_nothing_is_applied(place: Place) -> None:
    def confined() -> tuple[str, bool, bool, bool]:
        release = threading.Event()
        thread = threading.Thread(target=release.wait)
        thread.start()
        try:
            confine(plan(place))
        except SandboxSetupError as error:
            return error.message, process.no_new_privs(), process.dumpable(), process.seccomp_filtered()
        finally:
            release.set()
            thread.join()
        raise AssertionError("a second thread was not noticed")

    message, no_new_privs, dumpable, filtered = in_child(confined)
    assert "2 threads" in message
    assert (no_new_privs, dumpable, filtered) == (False, True, False)


def close_a_root(_: Place, profile: ServerProfile) -> None:
    assert profile.ruleset is not None
    os.close(profile.ruleset.descriptors[0].descriptor)


def remove_the_state(place: Place, _: ServerProfile) -> None:
    os.unlink(place.state / "log")
    os.rmdir(place.state)


@pytest.mark.parametrize("spoil", [close_a_root, remove_the_state])
def test_a_step_that_fails_is_a_setup_error(place: Place, spoil: Callable[[Place, ServerProfile], None]) -> None:
    def confined() -> bool:
        profile = plan(place)
        spoil(place, profile)
        try:
            confine(profile)
        except SandboxSetupError:
            return True
        return False

    assert in_child(confined)


def test_confining_leaves_no_descriptor_open(place: Place) -> None:
    def open_descriptors() -> int:
        return sum(os.path.exists(f"/proc/self/fd/{number}") for number in range(256))

    def confined() -> tuple[int, int]:
        profile = plan(place)
        before = open_descriptors()
        confine(profile)
        return before, open_descriptors()

    before, after = in_child(confined)
    assert before == after


def test_nobody_is_a_user_of_his_own() -> None:
    """The unprivileged rows mean something only if the child really is somebody else when root runs the tests."""
    expected = UNPRIVILEGED_UID if os.geteuid() == 0 else os.geteuid()
    assert in_child(os.geteuid, unprivileged=True) == expected


# --- A server with a network: it serves on what was bound before, and connects to named ports.


@pytest.mark.parametrize("unprivileged", [False, True], ids=["same-user", "unprivileged"])
def test_a_server_connects_to_named_ports_only(place: Place, unprivileged: bool) -> None:
    if FEATURES.landlock_abi < 4:
        require_kernel("Landlock ABI 4")
    with socket.create_server(("127.0.0.1", 0)) as named, socket.create_server(("127.0.0.1", 0)) as other:
        ports = named.getsockname()[1], other.getsockname()[1]

        def attempts() -> dict[str, str]:
            confine(plan(place, network=ServerNetwork(ports=(ports[0],))))
            return {
                "named": outcome(lambda: socket.create_connection(("127.0.0.1", ports[0]), 5).close()),
                "other": outcome(lambda: socket.create_connection(("127.0.0.1", ports[1]), 5).close()),
                "bind": outcome(lambda: socket.create_server(("127.0.0.1", 0)).close()),
                "udp": outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
                "unix": outcome(lambda: socket.socket(socket.AF_UNIX).close()),
            }

        found = in_child(attempts, unprivileged=unprivileged)
    assert found == {"named": "ok", "other": "EACCES", "bind": "EPERM", "udp": "EPERM", "unix": "EPERM"}


def test_a_server_accepts_on_what_was_bound_before(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:

        def serve() -> str:
            confine(plan(place, network=ServerNetwork(serves=True)))
            accepted, _ = listener.accept()
            accepted.sendall(b"hello")
            return outcome(lambda: socket.create_connection(listener.getsockname(), 5).close())

        assert in_child(serve) == "EPERM"
        assert client.recv(5) == b"hello"
