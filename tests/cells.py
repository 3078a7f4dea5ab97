"""A real launcher with real cells, for tests: as root and not, on a machine with user namespaces and without."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import select
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

import fsserver
from fsserver.kernel import namespaces
from fsserver.kernel.features import probe, user_namespaces
from fsserver.kernel.namespaces import Namespace
from fsserver.policy.compiled import (
    AnyArguments,
    AuditRules,
    Command,
    CommandLimits,
    Layer,
    Mode,
    Origin,
    PinnedProgram,
    Policy,
    RootRules,
    SandboxRules,
)
from fsserver.sandbox import launching
from fsserver.sandbox.bootstrap import Bootstrap, OpenedRoot
from fsserver.sandbox.launching import LauncherRunner
from fsserver.sandbox.profile import available_layer
from fsserver.sandbox.runner import EndedBy, Ending, Request
from tests.support import ORDINARY_UID, require_kernel

RULE = Origin("policy.yaml", 20)

# The system's own, which every user may run and every cell has; not the one that runs the tests.
PYTHON = "/usr/bin/python3"

_IS_ROOT = os.geteuid() == 0


@dataclass(frozen=True)
class Setting:
    """Where a launcher runs: which layer this machine gives it, and whether it is root."""

    layer: Layer
    root: bool

    def __str__(self) -> str:
        return f"{self.layer}-{'root' if self.root else 'unprivileged'}"

    @property
    def lowered(self) -> bool:
        """The launcher runs as `ORDINARY_UID`, though the test is root."""
        return _IS_ROOT and not self.root

    @property
    def owner(self) -> int:
        """Whose the roots are. A root's command runs as their owner where nothing can be mapped."""
        return ORDINARY_UID if self.lowered or (self.root and self.layer is not Layer.FULL) else os.geteuid()


SETTINGS = tuple(Setting(layer, root) for layer in (Layer.FULL, Layer.LANDLOCK) for root in (True, False))


def every_setting(*layers: Layer) -> list[Any]:
    """Parameters for pytest: each layer, or the ones that are given, as root and unprivileged."""
    marks = pytest.mark.skipif(not _IS_ROOT, reason="only root can start it; the run as root covers it")
    return [
        pytest.param(setting, id=str(setting), marks=[marks] if setting.root else [])
        for setting in SETTINGS
        if not layers or setting.layer in layers
    ]


@dataclass(frozen=True)
class Run:
    """What came of one command."""

    ending: Ending
    stdout: bytes
    stderr: bytes
    written: int
    """Bytes of standard output, kept or not."""

    def json(self) -> Any:
        assert self.ending.exit_code == 0, (self.ending, self.stderr.decode(errors="replace"))
        return json.loads(self.stdout)


@dataclass
class Launched:
    """A launcher that listens."""

    setting: Setting
    runner: LauncherRunner
    base: Path
    policy: Policy
    kept: int = field(default=1 << 20)

    @property
    def pid(self) -> int:
        return self.runner._pid

    def run(
        self,
        command: str,
        *arguments: str,
        stdin: bytes = b"",
        root: str = "work",
        directory: str = "",
        timeout_s: float = 20.0,
    ) -> Run:
        """Run a command to its end; the test fails if that takes much longer than it may."""
        with self.running(command, *arguments, root=root, directory=directory, timeout_s=timeout_s) as running:
            if stdin:
                assert running.stdin is not None
                os.write(running.stdin, stdin)
            running.close_stdin()
            return self.finish(running, timeout_s + 10.0)

    @contextmanager
    def running(
        self, command: str, *arguments: str, root: str = "work", directory: str = "", timeout_s: float | None = 20.0
    ) -> Iterator[launching._Run]:
        """A command that may go on; what is left of it is ended."""
        running = self.runner.start(Request(command, arguments, root, directory, timeout_s))
        try:
            yield running
        finally:
            running.close()

    def finish(self, running: launching._Run, timeout_s: float = 30.0) -> Run:
        """Read a command's output and wait for its end."""
        assert running.stdout is not None
        kept = {running.stdout: bytearray(), running.stderr: bytearray()}
        totals = dict.fromkeys(kept, 0)
        deadline = time.monotonic() + timeout_s
        open_ = set(kept)
        while open_:
            ready, _, _ = select.select(list(open_), [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                pytest.fail(f"a command's output does not end within {timeout_s:g} s")
            for descriptor in ready:
                data = os.read(descriptor, 1 << 20)
                if not data:
                    open_.remove(descriptor)
                totals[descriptor] += len(data)
                kept[descriptor] += data[: self.kept - len(kept[descriptor])]
        ending = running.wait(max(0.0, deadline - time.monotonic()))
        if ending is None:
            pytest.fail(f"a command does not end within {timeout_s:g} s")
        stdout, stderr = (bytes(each) for each in kept.values())
        return Run(ending, stdout, stderr, totals[running.stdout])

    def stopped(self, running: launching._Run, why: EndedBy = EndedBy.CANCELLED) -> Run:
        running.stop(why)
        return self.finish(running)


def program(name: str, path: str, *prepend: str, limits: CommandLimits | None = None, **more: Any) -> Command:
    """A command with any arguments, in the root "work": nothing but the sandbox bounds it."""
    status = os.stat(path)
    pinned = PinnedProgram(path, status.st_dev, status.st_ino, None, status.st_ctime_ns, None)
    made = Command(name, RULE, pinned, prepend, {"work": Mode.RW}, AnyArguments(), limits=limits or CommandLimits())
    return replace(made, **more)


def python(name: str, code: str, **more: Any) -> Command:
    """A Python program; the client's arguments are its ``sys.argv[1:]``."""
    return program(name, PYTHON, "-I", "-S", "-B", "-c", code, **more)


def bootstrap(
    base: Path, commands: Sequence[Command], rules: Sequence[RootRules], setting: Setting, **sandbox: Any
) -> Bootstrap:
    """What `app` tells a launcher. The roots are there already; they and the state become their owner's."""
    state = base / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    if _IS_ROOT:
        for root in rules:
            give(Path(root.path), setting.owner)
        give(state, 0 if setting.root else ORDINARY_UID)
    demands: dict[str, Any] = {"require": setting.layer, "accept_unprotected": True, **sandbox}
    policy = Policy(
        "test",
        None,
        "0" * 64,
        tuple(rules),
        AuditRules(directory=str(state)),
        commands={each.name: each for each in commands},
        sandbox=SandboxRules(**demands),
        state=str(state),
    )
    opened = []
    for root in rules:
        status = os.stat(root.path)
        path = os.path.realpath(root.path)
        opened.append(OpenedRoot(root.name, path, (path,), (status.st_dev, status.st_ino), folds=False))
    passed = {name: f"passed {name}" for each in commands for name in each.passed}
    return Bootstrap(policy, tuple(opened), passed, str(base), secrets.token_hex(8))


@contextmanager
def launched(
    base: Path, setting: Setting, commands: Sequence[Command], rules: Sequence[RootRules], **sandbox: Any
) -> Iterator[Launched]:
    """A launcher over the roots. ``base`` can be reached by every user; the state is in it."""
    with started(bootstrap(base, commands, rules, setting, **sandbox), setting, base) as running:
        yield running


@contextmanager
def started(start: Bootstrap, setting: Setting, base: Path) -> Iterator[Launched]:
    """A launcher of what `bootstrap` made."""
    _require()
    with starting_as(setting):
        runner = LauncherRunner(start)
    try:
        runner.listen()
        assert runner.unavailable is None, runner.unavailable
        assert runner.layer is setting.layer
        yield Launched(setting, runner, base, start.policy)
    finally:
        runner.close()
        # What a launcher that was killed could not take away: the directories of root's commands without namespaces.
        shutil.rmtree(f"/tmp/fsserver-{start.run_id}", ignore_errors=True)


@cache
def _require() -> None:
    """What every setting needs of this machine. Asked once: there it is, or it is not."""
    features = probe()
    if available_layer(features.landlock_abi, seccomp=features.seccomp) is Layer.NONE:
        require_kernel("Landlock and seccomp")
    if not user_namespaces():
        require_kernel("user namespaces")


@contextmanager
def starting_as(setting: Setting) -> Iterator[None]:
    """What `os.posix_spawn` starts meanwhile is the setting's user, in the setting's world."""
    code = _readable_copy() if setting.lowered else None

    def spawn(
        path: str,
        argv: list[str],
        env: Mapping[str, str],
        *,
        file_actions: Sequence[tuple[int, int, int]],
        setsid: bool,
    ) -> int:
        if code is not None:
            path, argv = os.path.realpath(path), [os.path.realpath(path), *argv[1:-1], code]
        without = setting.layer is Layer.LANDLOCK
        reader, writer = os.pipe()
        pid = namespaces.fork_into(Namespace.USER) if without else os.fork()
        if pid == 0:
            os.close(writer)
            _become_and_execute(setting, reader, path, argv, env, file_actions)
        try:
            if without:
                _map_users(pid)
        finally:
            os.close(writer)
            os.close(reader)
        return pid

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "posix_spawn", spawn)
        yield


def _map_users(pid: int) -> None:
    """Everybody to themselves, or the one that this process may map."""
    if not _IS_ROOT:
        namespaces.map_user(str(pid), (os.getuid(), os.getgid()), (os.getuid(), os.getgid()), keep_groups=False)
        return
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{kind}").write_text("0 0 4294967294")


def _become_and_execute(
    setting: Setting,
    mapped: int,
    path: str,
    argv: list[str],
    env: Mapping[str, str],
    file_actions: Sequence[tuple[int, int, int]],
) -> NoReturn:
    """A child's way into another program. Never returns into the test runner that it is a copy of."""
    try:
        os.read(mapped, 1)  # end of file: the parent has mapped this process's users, where it does
        if setting.layer is Layer.LANDLOCK:
            # Of this namespace: none can be made below it.
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
        if setting.lowered:
            os.setgroups([])
            os.setresgid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID)
            os.setresuid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID)
        os.setsid()
        for _, source, target in file_actions:
            os.dup2(source, target)
        os.execve(path, argv, dict(env))
    finally:
        os._exit(127)


@cache
def _readable_copy() -> str:
    """fsserver's code where every user can read it: the repository may be in a private home. One for all launchers.

    With its bytecode, but for what somebody is about to write.
    """
    home = tempfile.mkdtemp(prefix="fsserver-code-")
    atexit.register(shutil.rmtree, home)
    os.chmod(home, 0o755)
    shutil.copytree(next(iter(fsserver.__path__)), f"{home}/fsserver", ignore=shutil.ignore_patterns("*.pyc.*"))
    return home


def alive(marker: str) -> list[int]:
    """The processes with ``marker`` in their command line. What only waits to be reaped has none."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and marker.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
        except OSError:
            continue  # it ended
    return found


def give(path: Path, owner: int) -> None:
    """Make it, and all that is in it, another user's."""
    os.chown(path, owner, owner)
    for directory, directories, files in os.walk(path):
        for name in directories + files:
            os.chown(os.path.join(directory, name), owner, owner, follow_symlinks=False)
