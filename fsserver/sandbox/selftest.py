"""Does the confinement hold on this machine? Tried for real: a forked child confines itself and attacks.

For ``fsserver doctor``. It uses a temporary directory and this process's own parent, nothing of the user's.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fsserver.errors import SandboxSetupError
from fsserver.kernel import libc
from fsserver.kernel.features import Features
from fsserver.kernel.syscall_numbers import numbers
from fsserver.policy.compiled import Mode
from fsserver.sandbox.confinement import confine
from fsserver.sandbox.plan import plan_server
from fsserver.sandbox.profile import RootGrant, Runtime

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One attempt.

    Attributes:
        stopped_wanted: whether the confinement is meant to stop it; otherwise the server needs it.
        error: the errno's name, or ImportError; None if it went through.
    """

    attempt: str
    stopped_wanted: bool
    error: str | None

    @property
    def stopped(self) -> bool:
        """EACCES and EPERM are the confinement's answers; any other error means that nothing stood in the way."""
        return self.error in ("EACCES", "EPERM")

    @property
    def as_wanted(self) -> bool:
        return self.stopped if self.stopped_wanted else self.error is None


def run_selftest(features: Features, runtime: Runtime) -> tuple[Finding, ...]:
    """Confine a child as a server would be, and report what it could do. Call it in a process without threads.

    Raises:
        SandboxSetupError: the child could not confine itself, or did not answer within `TIMEOUT_S`.
    """
    base = os.path.realpath(tempfile.mkdtemp(prefix="fsserver-selftest-"))
    try:
        for name in ("root", "state"):
            os.mkdir(os.path.join(base, name), 0o700)
        for name in ("outside", "root/inside"):
            with open(os.path.join(base, name), "wb") as stream:
                stream.write(b"not a program\n")
            os.chmod(os.path.join(base, name), 0o700)
        answer = _in_child(lambda: _confine_and_try(base, features, runtime))
    finally:
        shutil.rmtree(base)
    if "failed" in answer:
        raise SandboxSetupError(str(answer["failed"]))
    stopped, works = _attempts(base, os.getpid(), features.machine)
    return tuple(
        Finding(name, stopped_wanted, answer[name])
        for table, stopped_wanted in ((stopped, True), (works, False))
        for name in table
    )


def _confine_and_try(base: str, features: Features, runtime: Runtime) -> dict[str, str | None]:
    root = os.path.join(base, "root")
    grant = RootGrant("selftest", os.open(root, os.O_PATH | os.O_DIRECTORY), root, Mode.RW)
    profile = plan_server(
        roots=(grant,),
        state_directories=(os.path.join(base, "state"),),
        runtime=runtime,
        features=features,
        pid=os.getpid(),
    )
    stopped, works = _attempts(base, os.getppid(), features.machine)
    confine(profile)
    return {name: _error_of(attempt) for name, attempt in {**stopped, **works}.items()}


Attempts = Mapping[str, Callable[[], object]]


def _attempts(base: str, other_pid: int, machine: str) -> tuple[Attempts, Attempts]:
    """What must be stopped, and what must work."""
    outside, inside = os.path.join(base, "outside"), os.path.join(base, "root", "inside")
    stopped: dict[str, Callable[[], object]] = {
        "read a file outside": lambda: os.open(outside, os.O_RDONLY),
        "write a file outside": lambda: os.open(outside, os.O_WRONLY),
        "create a file outside": lambda: os.open(outside + ".new", os.O_WRONLY | os.O_CREAT, 0o600),
        "list a directory outside": lambda: os.listdir(base),
        "chmod a file outside": lambda: os.chmod(outside, 0o700),
        "run a program": lambda: os.execv(inside, [inside]),  # noqa: S606 - no program: ENOEXEC at most
        "start a process": _fork,
        "signal another process": lambda: os.kill(other_pid, 0),
        "read another process's environment": lambda: _read(f"/proc/{other_pid}/environ"),
        "make a unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "connect over TCP": _connect,
        "make a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    }
    if machine in ("x86_64", "aarch64"):
        calls = numbers(machine)
        stopped["make a user namespace"] = lambda: libc.syscall(calls["unshare"], 0x10000000)
        stopped["set up io_uring"] = lambda: libc.syscall(calls["io_uring_setup"], 0, None)
    return stopped, {
        "read a file in a root": lambda: _read(inside),
        "write a file in a root": lambda: _write(os.path.join(base, "root", "new")),
        "write to the state directory": lambda: _write(os.path.join(base, "state", "log")),
        "import a module, run an event loop and a thread": _run_event_loop,
    }


def _read(path: str) -> None:
    with open(path, "rb") as stream:
        stream.read()


def _write(path: str) -> None:
    with open(path, "wb") as stream:
        stream.write(b"x")


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _connect() -> None:
    with socket.socket(socket.AF_INET) as client:
        client.connect(("127.0.0.1", 9))


def _run_event_loop() -> None:
    import asyncio  # noqa: PLC0415 - that it can still be imported is what is tried

    asyncio.run(asyncio.to_thread(os.getpid))


def _error_of(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    except ImportError:
        return "ImportError"
    return None


def _in_child(work: Callable[[], Mapping[str, str | None]]) -> dict[str, str | None]:
    """Run ``work`` in a forked child. Its answer, or ``{"failed": why}``."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                answer = work()
            except (SandboxSetupError, OSError) as error:
                answer = {"failed": str(error)}
            os.write(writer, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        # The answer is smaller than a pipe's buffer and written at once.
        ready, _, _ = select.select([reader], [], [], TIMEOUT_S)
        data = os.read(reader, 65536) if ready else b""
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    answer_read: dict[str, str | None] = json.loads(data) if data else {"failed": "the confined child gave no answer"}
    return answer_read
