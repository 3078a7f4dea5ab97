"""The server's end of the launcher: starts it, sends it requests, and hears from it how commands ended."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import fsserver
from fsserver.errors import (
    Cancelled,
    CommandUnconfined,
    FsserverError,
    NotFound,
    ProgramNotFound,
    SandboxSetupError,
)
from fsserver.policy.compiled import Layer, PinnedProgram, Program, SoughtProgram
from fsserver.sandbox import bootstrap, messages
from fsserver.sandbox.bootstrap import Bootstrap
from fsserver.sandbox.messages import PeerGoneError
from fsserver.sandbox.runner import EndedBy, Ending, Request

_LOG = logging.getLogger(__name__)

HELLO_S: Final = 20.0
END_S: Final = 3.0
STOP_S: Final = 10.0
LAST_WORD_S: Final = 0.5
"""How long the end of the launcher may be heard of after the end of what it answers on."""

_POLICY_FD: Final = 3
_SERVER_FD: Final = 4

# -I: nothing of the environment, the current directory or the user's site-packages decides what is imported; -S: no
# installed package either; -B: nothing is written. What is ours comes last, so it hides no module of Python's. One that
# sleeps ends where it is if the server goes away.
_PROGRAM: Final = (
    "import sys, select; poll = select.poll(); poll.register(4, select.POLLIN); "
    "sys.argv[1] and poll.poll()[0][1] & select.POLLHUP and sys.exit(); sys.path.append(sys.argv[2]); "
    "from fsserver.sandbox.spare import put_off; put_off('copy', 'inspect', 'selectors', 'shutil'); "
    "from fsserver.sandbox.launcher import main; main(3, 4)"
)

_GONE: Final = "The launcher of commands has ended; restart the server."
_CROWDED: Final = "The command could not be started: too many files are open in this server."
_LATER: Final = "again when another command has ended"

_ERRORS: Final[dict[str, type[FsserverError]]] = {
    each.code: each for each in (Cancelled, CommandUnconfined, NotFound, ProgramNotFound, SandboxSetupError)
}
_PROGRAM_WORDS: Final = {
    "ENOENT": "it is not there, or what its first line names cannot be seen. fsserver doctor says which, "
    "and `runtime:` in the policy adds directories",
    "ESTALE": "another file is there than when the server started: restart the server",
    "EACCES": "it may not be executed",
    "ENOEXEC": "it is no program for this machine",
    "E2BIG": "its arguments are too long",
}


class LauncherRunner:
    """A `Runner` over a launcher process. Make it before this process confines itself, `listen` afterwards.

    Args:
        asleep: the launcher is a bare interpreter until `listen` wakes it, and takes no processor and little memory.

    Attributes:
        on_first_use: called before the first command is started, instead of `listen` ahead of it; calls `listen`. Once,
            unless it raises.

    Raises:
        SandboxSetupError: the launcher cannot be started.
    """

    def __init__(self, start: Bootstrap, *, asleep: bool = False) -> None:
        self.programs = {name: _shown(each.program) for name, each in start.commands.items()}
        self._mutex = threading.Lock()  # over the numbers and the sending side
        self._running: set[str] = set()
        self._numbers = itertools.count(1)
        self._asleep = asleep
        self._waking = threading.Lock()
        self.on_first_use: Callable[[], None] | None = None
        self._unavailable: str | None = None if asleep else "The launcher of commands does not listen yet."
        self._greeted = False
        self._hearing: threading.Thread | None = None
        self._layer = Layer.NONE
        self._gaps: tuple[str, ...] = ()
        try:
            self._socket, theirs = messages.pair()
            with theirs:
                policy = bootstrap.write(start)
                try:
                    self._pid = _spawn(policy, theirs.fileno(), asleep=asleep)
                finally:
                    os.close(policy)
        except OSError as error:
            raise SandboxSetupError(f"The launcher of commands cannot be started: {error}.") from error

    @property
    def layer(self) -> Layer:
        return self._layer

    @property
    def gaps(self) -> Sequence[str]:
        return self._gaps

    @property
    def unavailable(self) -> str | None:
        return self._unavailable

    @property
    def running(self) -> int:
        """How many commands run now. May be asked from any thread."""
        return len(self._running)

    def listen(self) -> None:
        """Wait until the launcher knows what this machine offers, and hear it from then on. Starts a thread.

        May be called again where something after it failed, or the thread did not start.
        """
        if not self._greeted:
            self._greet()
        if self._greeted and self._hearing is None:
            hearing = threading.Thread(target=self._hear, name="launcher", daemon=True)
            hearing.start()
            self._hearing = hearing

    def _greet(self) -> None:
        if self._asleep:
            with suppress(PeerGoneError, OSError):
                messages.send(self._socket, ["wake"])
        match self._first_word():
            case ["hello", layer, why, *gaps]:
                self._layer, self._unavailable, self._gaps = Layer(layer), why or None, tuple(gaps)
                self._greeted = True
            case _:
                self._unavailable = "The launcher of commands did not start."

    def _first_word(self) -> Sequence[str]:
        """The launcher's greeting; empty if it gives none."""
        deadline = time.monotonic() + HELLO_S
        while True:
            ready = messages.wait(self._socket.fileno(), max(0.0, deadline - time.monotonic()))
            try:
                fields = messages.receive(self._socket)[0] if ready else []
            except PeerGoneError:
                return []
            if fields[:1] != ["log"]:
                return fields
            _LOG.warning("The launcher of commands says: %s", " ".join(fields[1:]))

    def start(self, request: Request, *, stdin: int | None = None, stdout: int | None = None) -> _Run:
        """As `Runner.start`."""
        with self._waking:
            if self.on_first_use is not None:
                self.on_first_use()  # raises: then the next command is the first
                self.on_first_use = None
        if self._unavailable is not None:
            raise SandboxSetupError(self._unavailable)
        run = _Run(self, str(next(self._numbers)), request, self._layer)
        theirs: list[int] = []
        try:
            run.open(stdin, stdout, theirs)
            timeout = "" if request.timeout_s is None else str(request.timeout_s)
            fields = ["run", run.number, request.command, request.root, request.directory, timeout, *request.arguments]
            with self._mutex:
                self._running.add(run.number)
                messages.send(self._socket, fields, theirs)
        except (PeerGoneError, OSError, ValueError) as error:
            run.over()
            run.close()
            if isinstance(error, PeerGoneError):
                raise SandboxSetupError(_GONE) from None
            _LOG.warning("A command could not be started: %s", error)
            words = _CROWDED if isinstance(error, OSError) else "The command could not be started."
            raise SandboxSetupError(words, allowed_instead=_LATER) from None
        finally:
            messages.close([each for each in theirs if each not in (stdin, stdout)])
        return run

    def close(self) -> None:
        """End every command, and the launcher. May be called twice."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # the launcher reads end of file
        deadline = time.monotonic() + END_S
        with suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    break  # it ends by itself, later: this process may not signal it any more
                time.sleep(0.002)
        if self._hearing is not None:
            self._hearing.join(END_S)  # it reads end of file
        self._socket.close()

    def unanswered(self) -> SandboxSetupError:
        """Why the launcher said nothing of a request: it is gone, or had no room for it."""
        if self._hearing is not None:
            self._hearing.join(LAST_WORD_S)
            if self._hearing.is_alive():
                return SandboxSetupError(_CROWDED, allowed_instead=_LATER)
        return SandboxSetupError(_GONE)

    def _forget(self, number: str) -> None:
        with self._mutex:
            self._running.discard(number)

    def _stop(self, number: str, why: EndedBy) -> None:
        with suppress(PeerGoneError, OSError), self._mutex:
            if number in self._running:
                messages.send(self._socket, ["stop", number, why])

    def _hear(self) -> None:
        with suppress(PeerGoneError, OSError):
            while True:
                fields, descriptors = messages.receive(self._socket)
                messages.close(descriptors)
                _LOG.warning("The launcher of commands says: %s", " ".join(fields[1:]))
        self._unavailable = _GONE
        with self._mutex:
            self._running.clear()  # the launcher's children end with it


class _Run:
    """A `Running` of the launcher. For one thread, but for `stop`."""

    def __init__(self, runner: LauncherRunner, number: str, request: Request, layer: Layer) -> None:
        self.number = number
        self.stdin: int | None = None
        self.stdout: int | None = None
        self.stderr: int = -1
        self._runner = runner
        self._request = request
        self._layer = layer
        self._answer = -1  # what the launcher says of its end is read from here; closed when it was
        self._ending: Ending | None = None
        self._error: FsserverError | None = None

    def open(self, stdin: int | None, stdout: int | None, theirs: list[int]) -> None:
        """Make the pipes that the caller did not bring, and that of the answer; ``theirs`` gets the launcher's ends."""
        if stdin is None:
            stdin, self.stdin = os.pipe2(os.O_CLOEXEC)
        theirs.append(stdin)
        if stdout is None:
            self.stdout, stdout = os.pipe2(os.O_CLOEXEC)
        theirs.append(stdout)
        self.stderr, stderr = os.pipe2(os.O_CLOEXEC)
        theirs.append(stderr)
        self._answer, answer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        theirs.append(answer)

    def close_stdin(self) -> None:
        stdin, self.stdin = self.stdin, None
        if stdin is not None:
            os.close(stdin)

    def stop(self, why: EndedBy) -> None:
        self._runner._stop(self.number, why)  # noqa: SLF001 - two halves of one thing

    def wait(self, timeout_s: float | None = None) -> Ending | None:
        if self._answer >= 0 and messages.wait(self._answer, timeout_s):
            self._hear()
        if self._error is not None:
            raise self._error
        return self._ending

    def close(self) -> None:
        self.close_stdin()
        if self._answer >= 0:
            self.stop(EndedBy.CANCELLED)
            with suppress(FsserverError):
                self.wait(STOP_S)
            self.over()
        stdout, self.stdout = self.stdout, None
        stderr, self.stderr = self.stderr, -1
        messages.close([each for each in (stdout, stderr) if each is not None and each >= 0])

    def over(self) -> None:
        """Nothing more is heard of it."""
        answer, self._answer = self._answer, -1
        if answer >= 0:
            os.close(answer)
            self._runner._forget(self.number)  # noqa: SLF001 - two halves of one thing

    def _hear(self) -> None:
        """Take the launcher's last word about this run."""
        try:
            fields = messages.take_answer(self._answer)
        except PeerGoneError:
            fields = []
        self.over()
        match fields:
            case ["ended", status, ended_by, duration, cpu, peak, moved, lost, *names]:
                code = int(status)
                quarantined, left = int(moved), int(moved) + int(lost)
                self._ending = Ending(
                    exit_code=code if code >= 0 else None,
                    signal=_signal_name(-code) if code < 0 else None,
                    ended_by=EndedBy(ended_by) if ended_by else None,
                    duration_s=float(duration),
                    cpu_s=float(cpu),
                    peak_memory_bytes=int(peak) or None,
                    layer=self._layer,
                    quarantined=tuple(names[:quarantined]),
                    not_moved=tuple(names[quarantined:left]),
                    masked=tuple(names[left:]),
                )
            case ["failed", code_name, message, rule, instead]:
                kind = _ERRORS.get(code_name, SandboxSetupError)
                words = self._worded(code_name, message)
                self._error = kind(words, rule=rule or None, allowed_instead=instead or None)
            case _:
                self._error = self._runner.unanswered()

    def _worded(self, code: str, message: str) -> str:
        if code == ProgramNotFound.code:
            program = self._runner.programs.get(self._request.command, "its program")
            why = _PROGRAM_WORDS.get(message, message)
            return f"The program of {self._request.command}, {program}, cannot be run: {why}."
        if code == NotFound.code:
            return f"The directory to run in is not there: {self._request.root}/{self._request.directory}"
        return message


def _shown(program: Program) -> str:
    if isinstance(program, SoughtProgram):
        return f"{program.name} in {program.root}"
    return program.path if isinstance(program, PinnedProgram) else program.name


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"  # a real-time signal


def _spawn(policy: int, server: int, *, asleep: bool) -> int:
    """The launcher's process id. Python is this process's own: the installation that was checked with the policy."""
    home = str(Path(next(iter(fsserver.__path__))).parent)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    # Above every number that they are moved to, or one would be overwritten before it is moved.
    high = [_raise(each) for each in (policy, server, null)]
    actions = [
        (os.POSIX_SPAWN_DUP2, high[2], 0),
        (os.POSIX_SPAWN_DUP2, high[2], 1),
        (os.POSIX_SPAWN_DUP2, high[0], _POLICY_FD),
        (os.POSIX_SPAWN_DUP2, high[1], _SERVER_FD),
    ]
    try:
        arguments = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _PROGRAM, "asleep" if asleep else "", home]
        return os.posix_spawn(sys.executable, arguments, {"LANG": "C.UTF-8"}, file_actions=actions, setsid=True)
    finally:
        messages.close([null, *high])


def _raise(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
