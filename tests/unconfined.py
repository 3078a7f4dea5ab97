"""Real processes for tests of what is above the sandbox: a `Runner` without one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from fsserver.errors import ProgramNotFound, SandboxSetupError
from fsserver.policy.compiled import Command, Layer, PinnedProgram, Program, SoughtProgram
from fsserver.sandbox.runner import EndedBy, Ending, Request

GRACE_S = 0.2


class UnconfinedRunner:
    """Runs commands as what they are: processes of this user, confined by nothing. For tests only."""

    def __init__(self, commands: Mapping[str, Command], roots: Mapping[str, str]) -> None:
        self._commands = commands
        self._roots = roots
        self.layer = Layer.NONE
        self.gaps: Sequence[str] = ("anything",)
        self.unavailable: str | None = None
        self.requests: list[Request] = []
        self.started: list[UnconfinedProcess] = []
        self.masked: tuple[str, ...] = ()
        self.quarantined: tuple[str, ...] = ()
        self.not_moved: tuple[str, ...] = ()

    def start(self, request: Request, *, stdin: int | None = None, stdout: int | None = None) -> UnconfinedProcess:
        command = self._commands[request.command]
        argv = (self._path(command.program), *command.prepend, *request.arguments)
        directory = os.path.join(self._roots[request.root], request.directory)
        self.requests.append(request)
        running = UnconfinedProcess(self, argv, directory, request.timeout_s, stdin, stdout)
        self.started.append(running)
        return running

    def _path(self, program: Program) -> str:
        if isinstance(program, PinnedProgram):
            return program.path
        if not isinstance(program, SoughtProgram):
            raise SandboxSetupError("Only a cell has that in itself.")
        return os.path.join(self._roots[program.root], program.name)


class UnconfinedProcess:
    def __init__(
        self,
        runner: UnconfinedRunner,
        argv: Sequence[str],
        directory: str,
        timeout_s: float | None,
        stdin: int | None,
        stdout: int | None,
    ) -> None:
        self._runner = runner
        self._began = time.monotonic()
        self._why: EndedBy | None = None
        self._ending: Ending | None = None
        self._ended = threading.Event()
        self._mutex = threading.Lock()
        theirs: list[int] = []
        self.stdin: int | None = None
        self.stdout: int | None = None
        if stdin is None:
            stdin, self.stdin = os.pipe()
            theirs.append(stdin)
        if stdout is None:
            self.stdout, stdout = os.pipe()
            theirs.append(stdout)
        self.stderr, stderr = os.pipe()
        theirs.append(stderr)
        self.closed = False
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(FileNotFoundError):
            self._process = subprocess.Popen(
                argv, cwd=directory, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
            )
        for descriptor in theirs:
            os.close(descriptor)
        self._timers: list[threading.Timer] = []
        if self._process is not None:
            if timeout_s is not None:
                self._later(timeout_s, lambda: self.stop(EndedBy.TIME))
            self._waiter = threading.Thread(target=self._wait, daemon=True)
            self._waiter.start()

    def close_stdin(self) -> None:
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def stop(self, why: EndedBy) -> None:
        with self._mutex:
            if self._why is not None or self._ended.is_set():
                return
            self._why = why
        self._signal(signal.SIGTERM)
        self._later(GRACE_S, lambda: self._signal(signal.SIGKILL))

    def wait(self, timeout_s: float | None = None) -> Ending | None:
        if self._process is None:
            raise ProgramNotFound("The program is not there.")
        self._ended.wait(timeout_s)
        return self._ending

    def close(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._waiter.join(10)
        for timer in self._timers:
            timer.cancel()
        self.close_stdin()
        if not self.closed:
            self.closed = True
            os.close(self.stderr)
            if self.stdout is not None:
                os.close(self.stdout)

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        timer = threading.Timer(delay_s, act)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _wait(self) -> None:
        assert self._process is not None
        # Looked at and not yet reaped, so that its group can still be killed by number.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._signal(signal.SIGKILL)
        _, status, usage = os.wait4(self._process.pid, 0)
        code = self._process.returncode = os.waitstatus_to_exitcode(status)
        with self._mutex:
            self._ending = Ending(
                exit_code=code if code >= 0 else None,
                signal=None if code >= 0 else signal.Signals(-code).name,
                ended_by=self._why,
                duration_s=time.monotonic() - self._began,
                cpu_s=usage.ru_utime + usage.ru_stime,
                peak_memory_bytes=usage.ru_maxrss * 1024,
                layer=self._runner.layer,
                quarantined=self._runner.quarantined,
                not_moved=self._runner.not_moved,
                masked=self._runner.masked if code else (),
            )
            self._ended.set()
