"""A cell: the child of the launcher that becomes the sandbox of one command. The order of the steps is the module.

*Trust.* The launcher, the profile and the command's rules are ours. What comes in a request was checked by the
launcher. The roots are hostile from the start, the command from the moment it runs.

*Invariant.* A cell says that it is ready only when every layer of its profile is in force; nothing of a request has
been read by then. It runs one command and ends, and with it all that the command started.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from fsserver.kernel import capabilities, namespaces, process, seccomp
from fsserver.kernel import constants as c
from fsserver.kernel.landlock import AccessFs, AccessNet
from fsserver.kernel.namespaces import Namespace
from fsserver.policy.compiled import WALK, BuiltinProgram, Command, Layer, PinnedProgram
from fsserver.sandbox import cell_mounts, messages, names
from fsserver.sandbox.cell_plan import CHANGE
from fsserver.sandbox.cell_profile import HOME, TEMPORARY, CellProfile, Ids
from fsserver.sandbox.cgroup import Leaf
from fsserver.sandbox.confinement import restrict
from fsserver.sandbox.messages import PeerGoneError
from fsserver.sandbox.processes import Processes
from fsserver.sandbox.profile import NamedRule, Ruleset
from fsserver.sandbox.protected import ProtectedIndex
from fsserver.sandbox.relocation import remove
from fsserver.sandbox.scratch import REMOVED_AT_ONCE, Scratch
from fsserver.sandbox.skeleton import Skeleton
from fsserver.sandbox.supervisor import Inside, Outcome, Start, Supervisor, bound_self

_DIRECTORY: Final = c.O_PATH | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC

# Besides those of users and of processes, which the launcher made this process in.
_OWN: Final = Namespace.MOUNT | Namespace.IPC | Namespace.UTS | Namespace.CGROUP
_OWN_AND_NETWORK: Final = _OWN | Namespace.NET


_GIT_CONFIG: Final = ".gitconfig"

_BUILTIN: Final[Mapping[str, Inside]] = {WALK: names.main}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that a cell needs and that it finds in its own memory, since it is a copy of the launcher.

    Attributes:
        commands: those that it may be asked to run, by name.
        environments: what is in each one's environment, without HOME and TMPDIR.
        trees: the detached mounts that the launcher had to open; the cell opens the other binds itself.
        skeleton: in the full layer, what becomes its root.
        scratch: None in the full layer.
        protected: the indexes by which the protected names of its roots are covered.
        leaf: its control group, where there is one to be had.
        launcher: who the launcher is.
    """

    profile: CellProfile
    commands: Mapping[str, Command]
    environments: Mapping[str, Mapping[str, str]]
    protected: Mapping[str, ProtectedIndex]
    trees: cell_mounts.Trees
    skeleton: Skeleton | None
    scratch: Scratch | None
    leaf: Leaf | None
    launcher: Ids


def live(blueprint: Blueprint, control: socket.socket) -> NoReturn:
    """Become the sandbox, serve one request, end. Never returns into the launcher that this is a copy of."""
    try:
        _live(blueprint, control)
    except BaseException as error:  # noqa: BLE001 - whatever it is, this process ends here
        with suppress(PeerGoneError, OSError, ValueError):
            messages.send(control, ["broken", f"{type(error).__name__}: {error}".replace("\0", "")[:1000]])
    finally:
        os._exit(0)


def _live(blueprint: Blueprint, control: socket.socket) -> None:
    (_, hurry), _ = messages.receive(control, messages.ROOM)  # by now the launcher has mapped this process's user
    profile = blueprint.profile
    full = profile.layer is Layer.FULL
    missing: tuple[str, ...] = ()
    if blueprint.leaf is not None:
        blueprint.leaf.enter(0)
    _become(profile, blueprint.launcher, full=full)
    if full:
        namespaces.leave(_OWN_AND_NETWORK if profile.own_network else _OWN)
    process.end_with_parent(signal.SIGKILL if full else signal.SIGTERM)
    if full:
        if profile.own_network:
            namespaces.raise_loopback()
        missing = _mount(blueprint)
    else:
        process.adopt_orphans()
    _close_everything_else(control)
    _lock(profile, blueprint.scratch)
    visible = "proc" not in missing and os.path.isdir("/proc/self")
    if not full:
        _leave_a_guard(profile, control, visible=visible)
    processes = Processes(alone=full, scoped=_scoped(profile), visible=visible)
    cell = _Cell(blueprint, control, processes)
    cell.make_ready(rehearse=not hurry)
    messages.send(control, ["ready", *missing])
    cell.serve()


def _become(profile: CellProfile, launcher: Ids, *, full: bool) -> None:
    """The command's user. Before anything is mounted: what is made from now on belongs to that one."""
    user = profile.user
    if user is None:
        if full:
            # In a user namespace of one's own one may map oneself, without groups. Who that is cannot be asked here any
            # more: until it is mapped, getuid(2) answers 65534.
            process.set_dumpable()
            namespaces.map_user("self", launcher, launcher, keep_groups=False)
        return
    uid, gid = user.inside if full else user.outside
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _mount(blueprint: Blueprint) -> tuple[str, ...]:
    opened = {bind.target for bind, _ in blueprint.trees}
    skeleton = blueprint.skeleton
    assert skeleton is not None, "in the full layer there is one"
    left = [bind for bind in (skeleton.bind, *blueprint.profile.binds) if bind.target not in opened]
    judged = blueprint.profile.judged
    trees = [*blueprint.trees, *cell_mounts.open_trees(left, _nobody_to_map, without_gone=judged)]
    return cell_mounts.build(blueprint.profile, trees, skeleton.inner, blueprint.protected)


def _nobody_to_map(owner: tuple[int, int]) -> int:
    raise OSError(errno.EPERM, f"only root can show the files of {owner[0]} as another user's")


def _close_everything_else(control: socket.socket) -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1, 2):
        os.dup2(null, number, inheritable=False)
    process.close_all_but((0, 1, 2, control.fileno()))


def _lock(profile: CellProfile, scratch: Scratch | None) -> None:
    process.set_no_new_privs()
    capabilities.drop_all()
    process.set_not_dumpable()
    # Where the kernel has neither, the layer is `none`, which the policy allowed in words.
    if profile.ruleset.abi:
        restrict(_with_scratch(profile.ruleset, profile, scratch))
    if profile.filter:
        seccomp.install(profile.filter)


def _with_scratch(ruleset: Ruleset, profile: CellProfile, scratch: Scratch | None) -> Ruleset:
    if scratch is None:
        return ruleset
    own = {scratch.temporary, profile.home or scratch.home}
    added = tuple(NamedRule(path, CHANGE & ruleset.handled_fs, required=True) for path in sorted(own))
    return Ruleset(
        ruleset.abi,
        ruleset.handled_fs,
        ruleset.handled_net,
        ruleset.scoped,
        ruleset.descriptors,
        (*ruleset.paths, *added),
    )


def _scoped(profile: CellProfile) -> bool:
    """Whether a signal to everybody reaches nobody outside this cell. Tried, not believed."""
    if profile.layer is Layer.FULL:
        return True
    try:
        os.kill(os.getppid(), 0)
    except PermissionError:
        return bool(profile.ruleset.scoped)
    except ProcessLookupError:
        pass
    return False


def _leave_a_guard(profile: CellProfile, control: socket.socket, *, visible: bool) -> None:
    """Where there is no PID namespace: go on in a child whose signals do not reach this process.

    This process then only waits for that child's end, or the launcher's, and ends what is left. Without it a command
    could kill its supervisor and outlive it; or stop it, and nobody would look at its limits any more.
    """
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        process.adopt_orphans()
        if profile.ruleset.scoped:
            restrict(Ruleset(profile.ruleset.abi, AccessFs(0), AccessNet(0), profile.ruleset.scoped, (), ()))
    else:
        control.close()
    processes = Processes(alone=False, scoped=bool(profile.ruleset.scoped) and _scoped(profile), visible=visible)

    def end(number: int, frame: object) -> None:  # noqa: ARG001
        processes.end_all()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    if child == 0:
        # When memory runs out, the kernel may kill the guard too.
        process.end_with_parent(signal.SIGTERM)
        if os.getppid() != guard:
            os._exit(0)
        return
    os.waitpid(child, os.WUNTRACED)  # it ended, or was stopped, which nobody but its command does
    processes.end_all()
    os._exit(0)


class _Cell:
    """Ready, or nearly so."""

    def __init__(self, blueprint: Blueprint, control: socket.socket, processes: Processes) -> None:
        self._blueprint = blueprint
        self._control = control
        self._supervisor = Supervisor(control, processes)
        self._count_processes = blueprint.profile.layer is Layer.FULL
        scratch = blueprint.scratch
        self._home = HOME if scratch is None else blueprint.profile.home or scratch.home
        self._temporary = TEMPORARY if scratch is None else scratch.temporary
        self._tops: dict[str, int] = {}

    def make_ready(self, *, rehearse: bool) -> None:
        """What remains to be done when every layer is in force.

        Args:
            rehearse: nobody waits for this cell.
        """
        self._write_git_config()
        for root in self._blueprint.profile.roots:
            with suppress(OSError):  # what is gone, or lies in what is covered, can only not be run in
                self._tops[root.name] = os.open(root.path, c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC)
        if rehearse:
            self._rehearse()

    def _rehearse(self) -> None:
        """Go once through what a request goes through, so that the memory it writes to is this process's own by then.

        A cell is a copy of the launcher: the kernel copies each page when it is first written to (fork(2)).
        """
        command = next(iter(self._blueprint.commands.values()))
        root = self._blueprint.profile.roots[0]
        pipes = [descriptor for _ in range(3) for descriptor in os.pipe2(os.O_CLOEXEC)]
        with suppress(OSError, LookupError):
            self._enter(root.name, "")
            self._program(command, root.path, "")
        environment = self._environment(command, "/nowhere")
        self._supervisor.rehearse(Start("/nowhere", ["/nowhere"], environment, pipes[:3], command.limits, 1.0))
        messages.encode(_ended(Outcome(0, None, 0.0, 0.0, 0)))
        messages.close(pipes)
        os.chdir("/")

    def serve(self) -> None:
        """One request, then the end."""
        try:
            fields, pipes = messages.receive(self._control, messages.ROOM)
        except PeerGoneError:
            return
        _, name, root_name, directory, timeout, *arguments = fields
        command = self._blueprint.commands[name]
        root = next(each for each in self._blueprint.profile.roots if each.name == root_name)
        try:
            self._enter(root_name, directory)
        except OSError as error:
            self._fail("resource.not_found", _word(error))
            return
        messages.close(list(self._tops.values()))  # a small limit on open files is for what comes now
        try:
            inside = _BUILTIN[command.program.name] if isinstance(command.program, BuiltinProgram) else None
            path = self._program(command, root.path, directory) if inside is None else command.name
            bound_self(command.limits, count_processes=self._count_processes)
            start = Start(
                path,
                [path, *command.prepend, *arguments],
                self._environment(command, path),
                pipes,
                command.limits,
                float(timeout) if timeout else None,
                inside,
            )
            outcome = self._supervisor.run(start)
        except OSError as error:
            self._fail("resource.program", _word(error))
            return
        self._say(_ended(outcome))

    def _say(self, fields: Sequence[str]) -> None:
        """The last word. Then wait until the launcher has heard it: to end takes the kernel some time, during which it
        runs nobody else on this processor.
        """
        messages.send(self._control, fields)
        with suppress(PeerGoneError):
            messages.receive(self._control, messages.ROOM)

    def _fail(self, code: str, word: str) -> None:
        self._say(["failed", code, word])

    def _enter(self, root: str, directory: str) -> None:
        """Make ``directory``, beneath the root and without links, the current one. Raises ``OSError``."""
        if root not in self._tops:
            raise FileNotFoundError(errno.ENOENT, "it could not be opened when this cell was made")
        os.fchdir(self._tops[root])
        for part in directory.split("/") if directory else ():
            inner = os.open(part, _DIRECTORY)  # openat2 is closed to this process by now; the launcher refused ".."
            try:
                os.fchdir(inner)
            finally:
                os.close(inner)

    def _program(self, command: Command, root: str, directory: str) -> str:
        """The path to execute.

        Raises ``OSError``: it is not there, or not the file that was pinned (ESTALE).
        """
        program = command.program
        if not isinstance(program, PinnedProgram):
            return _search(root, directory, program.name)
        found = os.stat(program.path)
        if (found.st_dev, found.st_ino) != (program.device, program.inode):
            raise OSError(errno.ESTALE, "another file is there now")
        if program.sha256 is not None and found.st_ctime_ns != program.changed_ns:
            raise OSError(errno.ESTALE, "the file was changed")
        return program.path

    def _environment(self, command: Command, path: str) -> dict[str, str]:
        environment = {"HOME": self._home, "TMPDIR": self._temporary, **self._blueprint.environments[command.name]}
        beside = os.path.dirname(path)
        if beside not in environment["PATH"].split(":"):
            environment["PATH"] = f"{beside}:{environment['PATH']}"
        if self._blueprint.scratch is not None:
            environment.setdefault("GIT_CONFIG_NOSYSTEM", "1")  # git dies of an /etc/gitconfig that it may not read
        return environment

    def _write_git_config(self) -> None:
        """Anew, where the home is kept; in its place there, since a command in another cell may be reading it."""
        content = self._blueprint.profile.git_config.encode("utf-8", "surrogateescape")
        if self._blueprint.profile.home is None:
            _write_new(f"{self._home}/{_GIT_CONFIG}", content)
            return
        with suppress(PermissionError):  # so that no run can keep a later one from its home
            os.chmod(self._home, 0o700)
        home = os.open(self._home, c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC)
        try:
            if not _holds(home, _GIT_CONFIG, content):
                _replace(home, _GIT_CONFIG, content)
        finally:
            os.close(home)


def _ended(outcome: Outcome) -> list[str]:
    cpu, duration = f"{outcome.cpu_s:.6f}", f"{outcome.duration_s:.6f}"
    return ["ended", str(outcome.status), outcome.ended_by or "", duration, cpu, str(outcome.peak_bytes)]


def _holds(directory: int, name: str, content: bytes) -> bool:
    """Whether it is a file that holds just that. It may be anything: a run before was here."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(file).st_mode) and os.read(file, len(content) + 1) == content
    finally:
        os.close(file)


def _replace(directory: int, name: str, content: bytes) -> None:
    """Put a file in the place of whatever is there, in one step. If that cannot be done, what is there stays."""
    new = f"{name}-{os.urandom(8).hex()}"
    try:
        _write_new(new, content, directory)
        try:
            os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
        except IsADirectoryError:
            remove(directory, name, most=REMOVED_AT_ONCE)
            os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(new, dir_fd=directory)


def _write_new(path: str, content: bytes, directory: int | None = None) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=directory)
    try:
        os.write(file, content)
    finally:
        os.close(file)


def _search(root: str, directory: str, name: str) -> str:
    """``name`` in the directory, or the nearest one above it up to the root. It runs in this sandbox only."""
    parts = [part for part in directory.split("/") if part]
    for depth in range(len(parts), -1, -1):
        path = "/".join((root, *parts[:depth], name))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(errno.ENOENT, "not found from the directory up to the root")


def _word(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "EIO")
