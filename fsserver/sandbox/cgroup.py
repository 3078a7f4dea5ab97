"""Control groups (cgroups(7)) that bound the memory and the processes of one cell each.

A run of the launcher makes one group in its own group, and a leaf in that for each cell:
``<own group>/fsserver-<run id>/<number>``. So whatever bounds fsserver bounds its commands too. With version 1 that
happens in the hierarchies of ``memory`` and of ``pids``, whichever this user may write to. With version 2 a group that
holds processes cannot give controllers to groups below it, so the launcher and the server first move into a group of
their own, and nobody else may be in the group that they leave: that is what systemd calls Delegate=yes.

Sources: Documentation/admin-guide/cgroup-v1/{memory,pids}.rst and cgroup-v2.rst of the kernel, proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence

from fsserver.errors import SandboxSetupError
from fsserver.sandbox.hierarchies import CONTROLLERS, find_own_directories

PREFIX = "fsserver-"

# Killed processes leave their group within milliseconds. What takes longer is in the kernel, waiting for a disk.
_REMOVE_S = 1.0
_LOOK_S = 0.001
_KILL_ROUNDS = 200
_ATTEMPTS = 3


class Leaf:
    """The group of one cell. For one thread."""

    def __init__(self, version: int, directories: Mapping[str, str]) -> None:
        """``directories`` by controller; with version 2 all are the same one."""
        self._version = version
        self._directories = dict(directories)
        self._places = tuple(dict.fromkeys(directories.values()))

    def enter(self, pid: int) -> None:
        """Move the process, with all its threads, into the group. What it starts from then on is in it too.

        The kernel waits for all processors first, ten milliseconds and more. Not for a thread that moves only itself,
        which is what version 1 does where ``pid`` is 0: the caller, which has no other thread.

        Raises:
            SandboxSetupError: there is no such process, or the kernel refused.
        """
        try:
            file = "tasks" if pid == 0 and self._version == 1 else "cgroup.procs"
            for place in self._places:
                _write(f"{place}/{file}", str(pid))
        except OSError as error:
            raise SandboxSetupError("A cell could not enter its control group.") from error

    def oom_killed(self) -> bool:
        """Whether the kernel killed a process because the group had reached its memory."""
        return self._events("memory", "memory.oom_control" if self._version == 1 else "memory.events", "oom_kill") > 0

    def processes_hit(self) -> bool:
        """Whether a fork failed because the group held all the processes that it may."""
        return self._events("pids", "pids.events", "max") > 0

    def peak_bytes(self) -> int | None:
        """The most memory that the group held, with the pages of files that it read; None if nobody counts it."""
        name = "memory.max_usage_in_bytes" if self._version == 1 else "memory.peak"
        text = self._read("memory", name)
        return int(text) if text.strip().isdigit() else None

    def kill(self) -> None:
        """SIGKILL to every process in the group. Does not wait until they are gone."""
        if self._version == 2:
            with contextlib.suppress(OSError):  # Linux 5.14
                _write(f"{self._places[0]}/cgroup.kill", "1")
                return
        if "pids" in self._directories:
            with contextlib.suppress(OSError):  # nothing forks any more, so that the rounds below come to an end
                _write(f"{self._directories['pids']}/pids.max", "0")
        killed: set[int] = set()
        for _ in range(_KILL_ROUNDS):
            pids = self._pids() - killed
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            killed |= pids

    def remove(self, patience_s: float = _REMOVE_S) -> bool:
        """Remove the group; False if something in it does not die by then. May be called twice."""
        deadline = time.monotonic() + patience_s
        removed = [_remove(place, deadline) for place in self._places]
        return all(removed)

    def _pids(self) -> set[int]:
        found: set[int] = set()
        for place in self._places:
            with contextlib.suppress(OSError), open(f"{place}/cgroup.procs", encoding="ascii") as stream:
                # 0 is a process that this one cannot see, being in another PID namespace: never kill(0).
                found |= {int(line) for line in stream if int(line) > 0}
        return found

    def _events(self, controller: str, name: str, key: str) -> int:
        words = self._read(controller, name).split()
        return int(words[words.index(key) + 1]) if key in words else 0

    def _read(self, controller: str, name: str) -> str:
        if controller in self._directories:
            with contextlib.suppress(OSError), open(f"{self._directories[controller]}/{name}") as stream:
                return stream.read()
        return ""


class Groups:
    """The groups of one run of the launcher. For one thread.

    Attributes:
        version: of cgroups, 1 or 2.
        controllers: those that can be had: ``memory``, ``pids`` or both. What is missing is not bounded by leaves.
    """

    def __init__(self, version: int, directories: Mapping[str, str], locks: Sequence[int], outer: str | None) -> None:
        self.version = version
        self.controllers = frozenset(directories)
        self._directories = dict(directories)
        self._locks = tuple(locks)
        self._outer = outer
        self._numbers = itertools.count(1)

    @classmethod
    def open(cls, run_id: str, company: Collection[int] = ()) -> Groups | None:
        """Make the groups of this run, after removing those that ended runs have left; None if there can be none.

        Args:
            run_id: letters, digits, "-" and "_"; no other run has it.
            company: processes that belong to this run beside the calling one: the server.
        """
        assert run_id.replace("-", "").replace("_", "").isalnum()
        own = find_own_directories()
        unified = own.pop("unified", None)
        if unified is not None and set(CONTROLLERS) <= set(_words(f"{unified}/cgroup.controllers")):
            return cls._open_2(unified, run_id, company)
        directories: dict[str, str] = {}
        locks: list[int] = []
        for controller, directory in own.items():
            sweep(directory)
            with contextlib.suppress(OSError):
                locks.append(_make_locked(f"{directory}/{PREFIX}{run_id}"))
                directories[controller] = f"{directory}/{PREFIX}{run_id}"
        return cls(1, directories, locks, None) if directories else None

    @classmethod
    def _open_2(cls, own: str, run_id: str, company: Collection[int]) -> Groups | None:
        sweep(own)
        group, aside = f"{own}/{PREFIX}{run_id}", f"{own}/{PREFIX}{run_id}-self"
        enable = " ".join(f"+{controller}" for controller in CONTROLLERS)
        lock = -1
        try:
            lock = _make_locked(group)
            try:
                _write(f"{own}/cgroup.subtree_control", enable)
            except OSError:  # EBUSY: it holds processes, as every group does that is not the root
                _step_aside(own, aside, {os.getpid(), *company})
                _write(f"{own}/cgroup.subtree_control", enable)
            _write(f"{group}/cgroup.subtree_control", enable)
        except OSError:
            _move_back(own, aside)
            _remove(group)
            if lock >= 0:
                os.close(lock)
            return None
        return cls(2, dict.fromkeys(CONTROLLERS, group), [lock], own if os.path.isdir(aside) else None)

    def leaf(self, memory_bytes: int, processes: int | None) -> Leaf:
        """A group that holds no process yet.

        Args:
            memory_bytes: what all its processes together may hold, swap included.
            processes: how many there may be, threads counted, beside the cell's own PID 1; None is no bound. To enter
                one more group takes some more time.

        Raises:
            SandboxSetupError: the kernel refused.
        """
        number = next(self._numbers)
        directories = {
            controller: f"{parent}/{number}"
            for controller, parent in self._directories.items()
            if controller != "pids" or processes is not None
        }
        leaf = Leaf(self.version, directories)
        try:
            for place in dict.fromkeys(directories.values()):
                os.mkdir(place, 0o755)
            if "memory" in directories:
                self._bound_memory(directories["memory"], memory_bytes)
            if "pids" in directories and processes is not None:
                _write(f"{directories['pids']}/pids.max", str(processes + 1))
        except OSError as error:
            leaf.remove()
            raise SandboxSetupError("A control group for a cell could not be made.") from error
        return leaf

    def close(self) -> None:
        """Remove the groups of this run; what still holds a process stays for the next run's `sweep`."""
        for place in dict.fromkeys(self._directories.values()):
            _remove(place)
        if self._outer is not None:
            _move_back(self._outer, next(iter(self._directories.values())) + "-self")
            self._outer = None
        for lock in self._locks:
            os.close(lock)
        self._locks = ()

    def _bound_memory(self, place: str, size: int) -> None:
        if self.version == 2:
            _write(f"{place}/memory.max", str(size))
            swap, most = f"{place}/memory.swap.max", 0
        else:
            _write(f"{place}/memory.limit_in_bytes", str(size))
            swap, most = f"{place}/memory.memsw.limit_in_bytes", size
        if os.path.exists(swap):  # the kernel may count no swap at all
            _write(swap, str(most))


def sweep(directory: str) -> None:
    """Remove the groups below ``directory`` that ended runs have left. Only empty ones go; a run that lives holds a
    lock (flock(2)) on its group, and the kernel removes no group that holds a process.
    """
    try:
        left = [name for name in os.listdir(directory) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in left:
        group = f"{directory}/{name}"
        with contextlib.suppress(OSError):
            lock = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for leaf in os.listdir(group):
                    if leaf.isdecimal():
                        _remove(f"{group}/{leaf}")
                os.rmdir(group)
            finally:
                os.close(lock)


def _make_locked(group: str) -> int:
    """Make the group and hold a lock on it, so that no other run's `sweep` takes it for a dead one's."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileExistsError):
            os.mkdir(group, 0o755)
        try:
            lock = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # it was swept before it was locked
            continue
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.path.isdir(group):
                return lock
        os.close(lock)
    raise OSError(f"{group} cannot be locked")


def _step_aside(own: str, aside: str, company: Collection[int]) -> None:
    if not {int(word) for word in _words(f"{own}/cgroup.procs")} <= set(company):
        raise PermissionError("the group holds processes that are not ours to move")
    os.mkdir(aside, 0o755)
    for pid in company:
        _write(f"{aside}/cgroup.procs", str(pid))


def _move_back(own: str, aside: str) -> None:
    """Undo what version 2 needed: the processes into the group where they were, which gives no controllers any more."""
    if not os.path.isdir(aside):
        return
    with contextlib.suppress(OSError):
        _write(f"{own}/cgroup.subtree_control", " ".join(f"-{controller}" for controller in CONTROLLERS))
    for pid in _words(f"{aside}/cgroup.procs"):
        with contextlib.suppress(OSError):
            _write(f"{own}/cgroup.procs", pid)
    _remove(aside)


def _remove(group: str, deadline: float = 0.0) -> bool:
    """Remove a group; what holds a process is tried again until ``deadline``, of `time.monotonic`."""
    while True:
        try:
            os.rmdir(group)
        except FileNotFoundError:
            return True
        except OSError:  # EBUSY: a process in it has not ended yet
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_S)
        else:
            return True


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read().split()
    except OSError:
        return []


def _write(path: str, text: str) -> None:
    """One write(2), as the kernel wants it; without O_CREAT, so that a file that is missing is an error."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
