"""How strongly could commands be confined on this machine? Tried for real: a launcher, a cell, a program that attacks.

For ``fsserver doctor``. It uses a temporary directory, nothing of the user's.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fsserver.errors import SandboxSetupError
from fsserver.policy.compiled import (
    AnyArguments,
    AuditRules,
    Command,
    CommandLimits,
    Layer,
    Mode,
    Origin,
    PathRule,
    PinnedProgram,
    Policy,
    RootRules,
    SandboxRules,
)
from fsserver.sandbox.bootstrap import Bootstrap, OpenedRoot
from fsserver.sandbox.launching import LauncherRunner
from fsserver.sandbox.runner import Request

TIMEOUT_S: Final = 20.0

_ORIGIN: Final = Origin("doctor", 0)
_NAME: Final = "attempt"

# Each names a function of _PROGRAM. The last column: only the layer `full` stops it.
_STOPPED: Final = (
    ("read a file outside its roots", "read_outside", False),
    ("write a file outside its roots", "write_outside", False),
    ("see that a file outside is there", "see_outside", True),
    ("read a protected name", "read_protected", True),
    ("see processes of others", "see_processes", True),
    ("connect to a server of the host", "connect", False),
    ("make a unix socket", "unix_socket", False),
    ("make a user namespace", "unshare", False),
    ("trace a process", "trace", False),
    ("make a file set-user-ID", "set_id", False),
)
_WORKS: Final = (
    ("write a file in a root", "write_inside"),
    ("make a temporary file", "temporary"),
    ("start a process", "start"),
)

# Python's standard library only. It prints what each attempt raised: an errno's name, or null.
_PROGRAM: Final = """
import ctypes, errno, json, os, socket, subprocess, sys, tempfile
outside, port = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
def read_outside(): open(outside).close()
def write_outside(): open(outside, "r+").close()
def see_outside(): os.stat(outside)
def read_protected(): open("secret").close()
def see_processes():
    if sum(name.isdigit() for name in os.listdir("/proc")) <= 2:
        raise OSError(errno.ESRCH, "none but PID 1 and this one")
def connect(): socket.create_connection(("127.0.0.1", port), timeout=5).close()
def unix_socket(): socket.socket(socket.AF_UNIX).close()
def unshare(): call("unshare", 0x10000000)
def trace(): call("ptrace", 0, 0, 0, 0)
def set_id(): open("file", "w").close(); os.chmod("file", 0o4755)
def write_inside(): open("written", "w").close()
def temporary(): tempfile.NamedTemporaryFile().close()
def start(): subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
found = {}
for name in sys.argv[3:]:
    try:
        globals()[name]()
        found[name] = None
    except OSError as error:
        found[name] = errno.errorcode.get(error.errno or 0, str(error.errno))
    except Exception as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of the program.

    Attributes:
        error: the errno's name, or an exception's; None if it went through.
        promised: the layer is meant to stop it; None if it has to work.
    """

    attempt: str
    error: str | None
    promised: bool | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. ``gaps``: what the layer does not stop, as `Runner.gaps`."""

    layer: Layer
    gaps: tuple[str, ...]
    attempts: tuple[Attempt, ...]


def try_commands() -> Trial:
    """Run the program as a command would be run, in the strongest layer that there is. Starts a thread.

    Raises:
        SandboxSetupError: commands cannot be confined here, in one sentence; or the trial failed.
    """
    base = os.path.realpath(tempfile.mkdtemp(prefix="fsserver-trial-"))
    try:
        root = os.path.join(base, "root")
        os.mkdir(root, 0o700)
        for name in ("outside", "root/secret"):
            with open(os.path.join(base, name), "wb") as stream:
                stream.write(b"secret\n")
        runner = LauncherRunner(_start(base, root))
        try:
            runner.listen()
            if runner.unavailable is not None:
                raise SandboxSetupError(runner.unavailable)
            found = _run(runner, os.path.join(base, "outside"))
            return Trial(runner.layer, tuple(runner.gaps), _attempts(found, runner.layer))
        finally:
            runner.close()
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _attempts(found: dict[str, str | None], layer: Layer) -> tuple[Attempt, ...]:
    stopped = (Attempt(words, found[key], layer is Layer.FULL or not hidden) for words, key, hidden in _STOPPED)
    return (*stopped, *(Attempt(words, found[key], None) for words, key in _WORKS))


def _start(base: str, root: str) -> Bootstrap:
    secret = PathRule("secret", _ORIGIN)
    rules = RootRules("root", root, Mode.RW, _ORIGIN, deny=(secret,))
    program = os.path.realpath(sys.executable)
    found = os.stat(program)
    command = Command(
        _NAME,
        _ORIGIN,
        PinnedProgram(program, found.st_dev, found.st_ino, None, found.st_ctime_ns, None),
        prepend=("-I", "-S", "-c", _PROGRAM),
        roots={"root": Mode.RW},
        arguments=AnyArguments(),
        runtime=() if sys.base_prefix.startswith("/usr") else (os.path.realpath(sys.base_prefix),),
        limits=CommandLimits(time_s=TIMEOUT_S),
    )
    policy = Policy(
        "doctor",
        None,
        "",
        (rules,),
        AuditRules(directory=base),
        # Landlock is asked for, so that what is weaker than that is none: then nothing is run.
        sandbox=SandboxRules(require=Layer.LANDLOCK, accept_unprotected=True),
        commands={_NAME: command},
        state=os.path.join(base, "state"),
    )
    status = os.stat(root)
    opened = OpenedRoot("root", root, (root,), (status.st_dev, status.st_ino), folds=False)
    return Bootstrap(policy, (opened,), {}, os.path.expanduser("~"), secrets.token_hex(8))


def _run(runner: LauncherRunner, outside: str) -> dict[str, str | None]:
    keys = [row[1] for row in (*_STOPPED, *_WORKS)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = (outside, str(server.getsockname()[1]), *keys)
        run = runner.start(Request(_NAME, arguments, "root", "", TIMEOUT_S))
        try:
            run.close_stdin()
            assert run.stdout is not None, "it was asked for"
            answer = _read(run.stdout)
            ending = run.wait(TIMEOUT_S)
        finally:
            run.close()
    found: dict[str, str | None] = json.loads(answer) if answer else {}
    if set(found) != set(keys):
        raise SandboxSetupError(f"The program of the self-test gave no answer: {ending}")
    return found


def _read(descriptor: int) -> bytes:
    """Everything that comes within `TIMEOUT_S`."""
    deadline = time.monotonic() + TIMEOUT_S
    answer = b""
    while time.monotonic() < deadline:
        ready: Sequence[int] = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]
        data = os.read(descriptor, 65536) if ready else b""
        if not data:
            break
        answer += data
    return answer
