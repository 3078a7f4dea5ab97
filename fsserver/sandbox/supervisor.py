"""The first process of a cell while its command runs: starts it, watches its limits, ends all of it.

*Trust.* The command is hostile. In the `full` layer this process is PID 1 of its PID namespace, which no signal from
inside reaches (pid_namespaces(7)). Where there is no such namespace it is an ordinary process of the same user.

*Invariant.* When `Supervisor.run` returns, nothing that the command started is left but what `end_all` could not see,
and it sees every process of the namespace, or every descendant.
"""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from fsserver.kernel import process
from fsserver.policy.compiled import CommandLimits
from fsserver.sandbox import messages
from fsserver.sandbox.processes import Processes
from fsserver.sandbox.runner import EndedBy

GRACE_S: Final = 0.5
"""From SIGTERM to SIGKILL."""

FIRST_SAMPLE_S: Final = 0.01
SAMPLE_S: Final = 0.05

# As numbers, which posix_spawn(3) is told at each request.
IGNORED: Final = tuple(
    int(each) for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)
)
"""What the launcher and its cells ignore, of all signals these only (see `ignore_signals`). Programs do not."""


Inside: TypeAlias = Callable[[Sequence[str]], int]
"""Takes arguments, uses the three standard descriptors, returns an exit status."""


@dataclass(frozen=True, slots=True)
class Start:
    """A program about to run: what posix_spawn(3) is told. ``inside`` runs instead, in a copy of this process."""

    path: str
    arguments: Sequence[str]
    environment: dict[str, str]
    pipes: Sequence[int]
    limits: CommandLimits
    timeout_s: float | None
    inside: Inside | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """``status`` is os.waitstatus_to_exitcode's: an exit code, or a signal below zero."""

    status: int
    ended_by: EndedBy | None
    duration_s: float
    cpu_s: float
    peak_bytes: int


def ignore_signals() -> None:
    """Ignore `IGNORED` and set all others, which whoever started the server may have ignored, to what they do by
    default: a program inherits what is ignored (signal(7)).
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in IGNORED else signal.SIG_DFL)


def bound_self(limits: CommandLimits, *, count_processes: bool) -> None:
    """Set the limits of this process, which the program inherits and cannot raise. Raises ``OSError``.

    Not that of processor time: this process looks at the program as long as that runs, and would reach it by that.

    Args:
        count_processes: the kernel counts this cell's processes apart from others of its user.
    """
    bounds = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: limits.open_files}
    if limits.file_bytes is not None:
        bounds[resource.RLIMIT_FSIZE] = limits.file_bytes
    if count_processes:
        bounds[resource.RLIMIT_NPROC] = limits.processes + 2  # one more than allowed, which is noticed, and this one
    for kind, bound in bounds.items():
        _bound(kind, bound)


def _bound(kind: int, bound: int, slack: int = 0) -> None:
    """``slack``: from the soft limit to the hard one."""
    _, most = resource.getrlimit(kind)
    if most != resource.RLIM_INFINITY:
        bound, slack = min(bound, most), 0
    resource.setrlimit(kind, (bound, bound + slack))


class Supervisor:
    """Runs one command. ``control`` is the launcher's end of this cell: ``stop`` comes from there."""

    def __init__(self, control: socket.socket, processes: Processes) -> None:
        self._control = control
        self._processes = processes

    def run(self, start: Start) -> Outcome:
        """Start the program and stay until it and all that it started are gone.

        Raises ``OSError``: it could not be started.
        """
        began = time.monotonic()
        main = _begin(start)
        messages.close(start.pipes)
        watch = _Watch(main, start, began, self._processes)
        try:
            self._watch(watch)
        finally:
            self._processes.end_all()
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = spent.ru_utime + spent.ru_stime
        return Outcome(watch.status, watch.reason(), time.monotonic() - began, cpu, watch.peak_bytes)

    def rehearse(self, start: Start) -> None:
        """Go through what `run` does, with a program that is not there, so that nothing is started."""
        with suppress(OSError):
            self.run(start)
        watch = _Watch(os.getpid(), start, time.monotonic(), self._processes)
        watch.next_look_ms()
        watch.look()
        self._watch(watch)  # without a child it is over at once

    def _watch(self, watch: _Watch) -> None:
        descriptor = os.pidfd_open(watch.main)
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.register(self._control, select.POLLIN)
        try:
            while not watch.over():
                for ready, _ in poller.poll(watch.next_look_ms()):
                    if ready == self._control.fileno():
                        watch.end(self._stop_reason())
                watch.look()
        finally:
            os.close(descriptor)

    def _stop_reason(self) -> EndedBy:
        fields, descriptors = messages.receive(self._control, messages.ROOM)
        messages.close(descriptors)
        return EndedBy(fields[1]) if fields[0] == "stop" else EndedBy.CANCELLED


def _begin(start: Start) -> int:
    """The program's process id. Raises ``OSError``: it cannot be executed."""
    inside = start.inside
    if inside is not None:
        return _fork(start, lambda: _run_inside(inside, start.arguments[1:]))
    return _spawn(start) if start.limits.cpu_s is None else _spawn_bounded(start)


def _spawn(start: Start) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, pipe, number) for number, pipe in enumerate(start.pipes)]
    return os.posix_spawn(
        start.path,
        list(start.arguments),
        start.environment,
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=IGNORED,
    )


def _spawn_bounded(start: Start) -> int:
    """As `_spawn`, with a limit that only the program is to have."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = _fork(start, lambda: _execute(start, writer))
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    with open(reader, "rb") as why_not:
        number = why_not.read()
    if not number:
        return pid
    os.waitpid(pid, 0)
    raise OSError(int(number), "it cannot be executed")


def _execute(start: Start, trouble: int) -> int:
    try:
        os.execve(start.path, list(start.arguments), start.environment)  # noqa: S606 - a shell is what it must not be
    except OSError as error:
        os.write(trouble, str(error.errno).encode())
    return 1


def _run_inside(inside: Inside, arguments: Sequence[str]) -> int:
    process.close_all_but((0, 1, 2))
    return inside(arguments)


def _fork(start: Start, child: Callable[[], int]) -> int:
    """As `_spawn`, with what ``child`` does for the program."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        for each in IGNORED:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number, pipe in enumerate(start.pipes):
            os.dup2(pipe, number)
        if start.limits.cpu_s is not None:
            _bound(resource.RLIMIT_CPU, math.ceil(start.limits.cpu_s), slack=2)  # SIGXCPU first, SIGKILL then
        status = child()
    finally:
        os._exit(status)


class _Watch:
    """What is known of a running command, and when to look again."""

    def __init__(self, main: int, start: Start, began: float, processes: Processes) -> None:
        self.main = main
        self.status = 0
        self.peak_bytes = 0
        self._over = False
        self._limits = start.limits
        self._processes = processes
        self._deadline = math.inf if start.timeout_s is None else began + start.timeout_s
        self._next_sample = began + FIRST_SAMPLE_S
        self._ended_by: EndedBy | None = None
        self._kill_at = math.inf

    def over(self) -> bool:
        """Reap whoever ended; whether the program itself did."""
        while not self._over:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                break
            if pid == self.main:
                self.status = os.waitstatus_to_exitcode(status)
                self._over = True
        return self._over

    def next_look_ms(self) -> float:
        until = min(self._next_sample, self._deadline, self._kill_at) - time.monotonic()
        return max(0.0, math.ceil(until * 1000))

    def look(self) -> None:
        now = time.monotonic()
        if now >= self._kill_at:
            self._processes.signal_all(signal.SIGKILL)
            self._kill_at = now + GRACE_S
        if now >= self._deadline:
            self._deadline = math.inf
            self.end(EndedBy.TIME)
        if now >= self._next_sample:
            self._next_sample = now + self._processes.interval_s
            self._sample()

    def end(self, reason: EndedBy, *, at_once: bool = False) -> None:
        """Ask all of it to end, and make it after a grace; only the first reason counts."""
        if self._ended_by is not None:
            return
        self._ended_by = reason
        self._processes.signal_all(signal.SIGKILL if at_once else signal.SIGTERM)
        self._kill_at = time.monotonic() + GRACE_S

    def _sample(self) -> None:
        usage = self._processes.usage()
        self.peak_bytes = max(self.peak_bytes, usage.memory_bytes)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = usage.cpu_s + spent.ru_utime + spent.ru_stime
        # What is over here grows as long as it lives: no grace. Processes first: too many take too much memory too.
        if usage.tasks > self._limits.processes:
            self.end(EndedBy.PROCESSES, at_once=True)
        elif usage.memory_bytes > self._limits.memory_bytes:
            self.end(EndedBy.MEMORY, at_once=True)
        elif self._limits.cpu_s is not None and cpu > self._limits.cpu_s:
            self.end(EndedBy.CPU)

    def reason(self) -> EndedBy | None:
        if self._ended_by is None and self._limits.cpu_s is not None and self.status == -signal.SIGXCPU:
            return EndedBy.CPU
        if self._ended_by is None and self._limits.file_bytes is not None and self.status == -signal.SIGXFSZ:
            return EndedBy.FILE_SIZE
        return self._ended_by
